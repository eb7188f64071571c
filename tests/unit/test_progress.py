"""What a tracker tells of how far it is behind."""

import time

import pytest
from aiokafka import TopicPartition

from events import codec
from services import metrics
from services.positions import Item, Place, Refused, Run
from services.progress import Progress

TOPIC = "claim-submitted"
PARTITION = TopicPartition(TOPIC, 0)


def run(first: int, age_s: float) -> Run:
    """A run of one record, published so long ago."""
    record = codec.Record(TOPIC, None, None)
    item = Item(first, int((time.time() - age_s) * 1000), record, Refused("no_value", "$", "a rule"))
    return Run(Place(TOPIC, 0, 1), first, first + 1, [item])


def told() -> tuple[float, float]:
    """What the metrics say of the topic: records, seconds."""
    labels = {"topic": TOPIC}
    samples = [
        metrics.TRACKER.get_sample_value(f"claimpath_{name}", labels) for name in ("lag_records", "seconds_behind")
    ]
    return samples[0] or 0.0, samples[1] or 0.0


def test_seconds_behind_are_the_age_of_the_oldest_record_under_way() -> None:
    """A record that waits is as late as it is old, and not as the one before it; without lag nothing is late."""
    progress = Progress({TOPIC: TOPIC})
    progress.note_taken([run(0, age_s=90), run(1, age_s=30)])
    progress.see({PARTITION: 2})
    assert list(told()) == [2, pytest.approx(90, abs=1)]
    progress.note_written([run(0, age_s=90)])
    progress.see({PARTITION: 1})
    assert list(told()) == [1, pytest.approx(30, abs=1)]
    progress.note_written([run(1, age_s=30)])
    progress.see({PARTITION: 0})
    assert told() == (0, 0)


def test_lag_that_is_not_fetched_ages_too() -> None:
    """Before anything is read of a partition, it is behind for as long as its lag was seen."""
    progress = Progress({TOPIC: TOPIC})
    progress.see({PARTITION: 5})
    time.sleep(0.05)
    progress.see({PARTITION: 5})
    records, seconds = told()
    assert records == 5
    assert 0.04 < seconds < 5
    progress.forget([PARTITION])
    progress.see({})
    assert told() == (0, 0)


def test_partitions_that_nobody_shares_out_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a topic has other partitions than the group shares, its leader gets some time; then it is said, once."""
    monkeypatch.setattr("services.progress.UNSHARED_LIMIT_S", 0.05)
    progress = Progress({TOPIC: TOPIC})
    progress.note_shared({TOPIC: 3})
    assert not progress.others_are_shared({TOPIC: 3})
    assert not progress.others_are_shared({TOPIC: 4})
    time.sleep(0.06)
    assert not progress.others_are_shared({TOPIC: 3})
    assert not progress.others_are_shared({TOPIC: 4})
    time.sleep(0.06)
    assert progress.others_are_shared({TOPIC: 4})
    assert not progress.others_are_shared({TOPIC: 4})
    progress.note_shared({TOPIC: 4})
    assert not progress.others_are_shared({TOPIC: 4})


def test_what_a_tracker_is_given_back_may_be_less_than_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is known by its name joins the group anew after its start, once: only then all is shared out."""
    monkeypatch.setattr("services.progress.UNSHARED_LIMIT_S", 0.05)
    progress = Progress({TOPIC: TOPIC}, is_known_by_name=True)
    progress.note_shared({TOPIC: 4})
    assert not progress.others_are_shared({TOPIC: 4})
    time.sleep(0.06)
    assert progress.others_are_shared({TOPIC: 4})
    progress.note_shared({TOPIC: 4})
    time.sleep(0.06)
    assert not progress.others_are_shared({TOPIC: 4})
