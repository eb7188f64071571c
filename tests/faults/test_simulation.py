"""Simulated schedules: thousands of bad days of a tracker in a minute, each of which repeats from its seed."""

from collections import Counter
from contextlib import closing
from typing import get_args

import pytest
from aiokafka import TopicPartition

from events.topics import TOPICS
from tests.faults.planted import PLANTED
from tests.faults.schedule import Action, Schedule, What, draw, draw_many
from tests.faults.simulated_connection import FaultKind, StatementFault
from tests.faults.simulation import Outcome, run

SCHEDULES = 2_000
REPEATED = 60
PLANTED_SCHEDULES = 300
"""Within so many each planted fault must be found; the rarest took 98."""
# What goes wrong by the clock, at a statement, and what comes of it.
KINDS = (
    *get_args(What),
    *get_args(FaultKind),
    "rebalance",
    "lock wait",
    "record skipped",
    "fetch failed",
    "commit to Kafka",
    "duplicate",
    "ended itself",
    "lost gap",
    "no_record gap",
    "dead letter: conflict",
    "dead letter: unprocessable",
    "says: batch is tried again",
    "says: joining the group anew: topics have other partitions than it is known to share",
    "says: going back to the position in PostgreSQL",
    "says: a record cannot be read, and its partition waits",
    "says: lag is not to be had",
    "says: positions are not to be had yet",
    "says: records lost",
    "says: topic was made anew",
)


def told(outcome: Outcome) -> str:
    """Return all that is known of a schedule, and how to run it again."""
    again = f"again: python -m tests.faults.simulation --seed {outcome.seed}"
    return "\n".join([again, str(draw(outcome.seed)), *outcome.trace, *outcome.violations])


@pytest.mark.timeout(600)
def test_nothing_is_lost_or_doubled_on_any_schedule(database_url: str) -> None:
    """Crashes, pauses, rebalances, repeated, delayed, reordered and deleted records, and a PostgreSQL that fails at any
    statement: on each schedule every record has its one outcome, every claim is what its events make it, Kafka is never
    told more than PostgreSQL has, and the lag falls to zero by itself.
    """
    fired: Counter[str] = Counter()
    with closing(run(database_url, draw_many(0, SCHEDULES))) as outcomes:
        for outcome in outcomes:
            assert not outcome.violations, told(outcome)
            fired += outcome.fired
    print({kind: fired[kind] for kind in KINDS})
    assert [kind for kind in KINDS if not fired[kind]] == []


def test_a_seed_repeats(database_url: str) -> None:
    """A schedule runs the same again, statement for statement and instant for instant, whatever ran before it: so its
    failure repeats too.
    """
    once = list(run(database_url, draw_many(SCHEDULES, REPEATED)))
    # The later half of them, so that other schedules went before.
    again = list(run(database_url, draw_many(SCHEDULES + REPEATED // 2, REPEATED // 2)))
    assert sum(outcome.fired["lock wait"] for outcome in once) > 0
    for one, other in zip(once[REPEATED // 2 :], again, strict=True):
        assert one.trace == other.trace, f"seed {one.seed}"


def test_partitions_that_come_while_positions_are_read_are_taken(database_url: str) -> None:
    """Topics that get partitions while PostgreSQL makes a tracker wait for its positions are noticed: the group shares
    what there was when it met, though nobody in it has the duty to look.
    """
    schedules = [
        Schedule(
            seed,
            tuple(TopicPartition(topic, number) for topic in sorted(TOPICS) for number in range(2)),
            at_first=1,
            lanes=1,
            batch_records=1,
            actions=(Action(0.0, "start"), Action(1.0, "add partitions"), Action(2.0, "publish", 1, 0.0, (None,))),
            faults=(StatementFault(0, "read positions", "time-out", 3.0),),
        )
        for seed in range(10)  # about half of them without a leader
    ]
    outcomes = list(run(database_url, schedules))
    assert [outcome.violations for outcome in outcomes if outcome.violations] == []
    assert (
        sum(
            outcome.fired["says: joining the group anew: topics have other partitions than it is known to share"]
            for outcome in outcomes
        )
        > 0
    )


def test_a_tracker_that_slept_believes_no_old_end_of_a_log(database_url: str) -> None:
    """One that slept between its look at Kafka's log and the positions, while another had its partitions and read on,
    does not take a log that has grown for one that was made anew.
    """
    partitions = tuple(TopicPartition(topic, 0) for topic in sorted(TOPICS))
    schedule = Schedule(
        1,
        partitions,
        at_first=1,
        lanes=1,
        batch_records=2,
        actions=(
            Action(0.0, "start", 0),
            Action(0.2, "start", 1),
            *(Action(at, "publish", number, 0.0, (None,)) for at in (2.0, 20.0) for number in range(len(partitions))),
        ),
        faults=(StatementFault(0, "read positions", "paused before", 15.0),),
    )
    (outcome,) = run(database_url, [schedule])
    assert not outcome.violations, told(outcome)
    assert outcome.fired["paused before"] == 1
    assert outcome.fired["says: topic was made anew"] == 0


@pytest.mark.parametrize("name", PLANTED)
def test_it_finds(database_url: str, name: str) -> None:
    """The simulation can fail: it finds a fault that is planted into the tracker on purpose."""
    with closing(run(database_url, draw_many(0, PLANTED_SCHEDULES), PLANTED[name])) as outcomes:
        first = next((outcome for outcome in outcomes if outcome.violations), None)
    assert first is not None, f"{name}: {PLANTED_SCHEDULES} schedules found nothing"
    print(f"{name}: found by schedule {first.seed + 1}: {first.violations[0]}")
