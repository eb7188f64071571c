"""The tracker on ordinary days: whatever any client publishes, in any order, makes the right claims."""

import asyncio
import base64
import json
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from msgspec.structs import replace

from events import samples
from events.codec import Record
from events.simulation.troubles import POISONS
from events.topics import TOPIC_OF_TYPE, TOPICS
from services import kafka
from services.breaker import BREAKER_WINDOW, Breaker
from services.settings import Settings
from services.show import claim_show
from tests.contract_example import PUBLISHED, SHOWN
from tests.running import (
    Outcomes,
    caught_up,
    committed_is_never_ahead,
    nothing_differs,
    outcomes,
    producer,
    publish,
    publish_elsewhere,
    rows,
    send,
    tracker,
)
from tests.stored import record
from tests.stories import CLAIM, original, session

QUICK_LIMIT_S = 15
TROUBLES = samples.Switches(duplicates=0.1, disorder=0.3, lateness=0.1, conflicts=0.03, poison=0.1)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where this test's trackers log."""
    return tmp_path / "tracker.log"


@pytest.mark.usefixtures("topics")
async def test_any_client_in_any_order_with_poison(settings: Settings, log: Path) -> None:
    """Events shuffled between two clients that place keys differently, with duplicates, conflicts and every kind of
    poison among them, make the right claims; every record has one outcome; poison is kept to the byte and hurts nobody.
    """
    messages = [*samples.stream(80, 11, TROUBLES)]
    fact = next(message for message in messages if message.intended == "event")
    messages += [_as_poison(poison.spoil(fact)) for poison in POISONS.values()]
    Random(11).shuffle(messages)
    await publish(settings, messages[::2])
    publish_elsewhere(settings, messages[1::2])
    async with tracker(settings, log) as running:
        await caught_up(settings, log=log)
        intended = Counter(message.intended for message in messages)
        assert await outcomes(settings) == Outcomes(
            intended["event"], intended["duplicate"], intended["poison"] + intended["conflict"], 0
        )
        shown = await running.metrics()
        await running.stop()
    assert f"claimpath_conflicts_total {intended['conflict']:.1f}" in shown
    await nothing_differs(settings)
    kept = await rows(settings, "SELECT topic, key, value, headers FROM dead_letter WHERE reason <> 'conflict'")
    assert Counter(map(tuple, kept)) == Counter(
        _as_kept(settings, message) for message in messages if message.intended == "poison"
    )
    assert await committed_is_never_ahead(settings) > 0


@pytest.mark.usefixtures("topics")
async def test_no_header_holds_a_record_up(settings: Settings, log: Path) -> None:
    """Headers that are null, empty or no UTF-8, all of which Kafka allows, keep back neither their record nor those
    beside it.
    """
    odd = [("trace", None), ("origin", b"\xff\xfe"), ("", b"")]
    facts = [record(session(claim_id=f"CLM-{number}")) for number in range(9)]
    await publish(settings, [replace(fact, headers=odd) if fact is facts[4] else fact for fact in facts])
    async with tracker(settings, log):
        await caught_up(settings, QUICK_LIMIT_S, log)
    assert await outcomes(settings) == Outcomes(9, 0, 0, 0)


@pytest.mark.usefixtures("topics")
async def test_compressed_topics_are_read(settings: Settings, log: Path) -> None:
    """A publisher may compress with each of Kafka's codecs."""
    for codec in ("gzip", "snappy", "lz4", "zstd"):
        publish_elsewhere(settings, [record(session(event_id=codec))] * 50, **{"compression.type": codec})
    async with tracker(settings, log):
        await caught_up(settings, log=log)
    assert await outcomes(settings) == Outcomes(4, 4 * 49, 0, 0)


@pytest.mark.usefixtures("topics")
async def test_the_example_of_the_contract_in_any_order(settings: Settings, log: Path) -> None:
    """However the five events of the contract's example arrive, its claim has the state, money, durations and history
    that the contract shows.
    """
    lines = PUBLISHED.strip().splitlines()
    orders = [Random(number).sample(lines, len(lines)) for number in range(30)]
    async with tracker(settings, log):
        for step in range(len(lines)):
            await publish(settings, [_renamed(order[step], number) for number, order in enumerate(orders)])
            await caught_up(settings, log=log)
    for number in range(len(orders)):
        shown = await claim_show(settings, f"{CLAIM}-{number}")
        assert shown is not None
        assert shown["facets"].pop("draft") is None
        assert _without_recording(shown) == _without_recording(json.loads(SHOWN)) | {"claim_id": f"{CLAIM}-{number}"}


@pytest.mark.usefixtures("topics")
async def test_of_two_conflicting_events_the_first_stays(settings: Settings, log: Path) -> None:
    """The same identity with other content changes nothing and becomes a dead letter, also within a batch and after a
    restart; said again in other words it is a duplicate.
    """
    first, other = record(session(event_id="same")), record(session(event_id="same", charge="999.00"))
    later = record(original(event_id="same-too")), record(original(event_id="same-too", charge="999.00"))
    async with tracker(settings, log) as running:
        await publish(settings, [first])
        await caught_up(settings, log=log)
        await publish(settings, [other, first, *later])
        await caught_up(settings, log=log)
        await running.stop()
    async with tracker(settings, log):
        await publish(settings, [other, first])
        await caught_up(settings, log=log)
    assert await outcomes(settings) == Outcomes(2, 2, 3, 0)
    kept = await rows(settings, "SELECT reason, value FROM dead_letter ORDER BY dead_letter_id")
    assert Counter(map(tuple, kept)) == Counter({("conflict", other.value): 2, ("conflict", later[1].value): 1})
    shown = await claim_show(settings, CLAIM)
    assert shown is not None
    assert shown["money"]["billed"] == "130.00"


@pytest.mark.usefixtures("topics")
async def test_transactions_leave_silent_gaps(settings: Settings, log: Path) -> None:
    """Records of aborted transactions are never seen, markers are gaps without a record, positions reach the end of a
    topic that ends in a marker, and an open transaction is no reason to end.
    """
    facts = [record(session(claim_id=f"CLM-T{number}")) for number in range(20)]
    ghosts = [record(session(claim_id=f"CLM-G{number}")) for number in range(20)]
    async with tracker(settings, log, stall_limit_s=5) as running, producer(settings, transactional_id="t") as client:
        await publish(settings, [record(session())])
        async with client.transaction():
            await send(settings, client, facts[:10])
        await client.begin_transaction()
        await send(settings, client, ghosts)
        await client.abort_transaction()
        async with client.transaction():
            await send(settings, client, facts[10:])
        await caught_up(settings, log=log)
        await client.begin_transaction()
        await send(settings, client, [record(original())])
        await asyncio.sleep(6.5)  # longer than a silent tracker would be let alone
        assert running.code() is None, running.said()
        await client.commit_transaction()
        await caught_up(settings, log=log)
        shown = await running.metrics()
    found = await outcomes(settings)
    assert found[:3] == (22, 0, 0)
    assert await rows(settings, "SELECT DISTINCT kind FROM gap") == [("no_record",)]
    assert f'claimpath_gaps_total{{kind="no_record"}} {found.gap:.1f}' in shown
    assert found.gap > len(ghosts)
    await nothing_differs(settings)


@pytest.mark.usefixtures("topics")
async def test_small_transactions_without_pause_do_not_hold_it_up(settings: Settings, log: Path) -> None:
    """A publisher that commits a transaction for each event, one after another, is followed closely."""
    worst = 0
    async with tracker(settings, log) as running, producer(settings, transactional_id="small") as client:
        await running.says("partitions assigned")
        for number in range(120):
            async with client.transaction():
                await send(settings, client, [record(session(claim_id="CLM-1", session_id=f"S-{number}"))])
            if number % 10 == 9:
                worst = max(worst, number + 1 - (await outcomes(settings)).accepted)
        await caught_up(settings, log=log)
    assert (await outcomes(settings)).accepted == 120
    assert worst < 60


@pytest.mark.usefixtures("topics")
async def test_what_retention_took_is_told(settings: Settings, log: Path, kafka_admin: AIOKafkaAdminClient) -> None:
    """Records that Kafka deleted before they were read are gaps of the kind lost, counted and logged, where some
    records are left and where none are.
    """
    part = TopicPartition(kafka.topic(settings, TOPICS[0]), 0)
    empty = TopicPartition(kafka.topic(settings, TOPICS[1]), 0)
    async with tracker(settings, log) as running:
        await _fill(settings, part, empty, 3)
        await caught_up(settings, log=log)
        await running.stop()
    await _fill(settings, part, empty, 10)
    await kafka_admin.delete_records({part: RecordsToDelete(7), empty: RecordsToDelete(13)})
    async with tracker(settings, log) as running:
        await caught_up(settings, log=log)
        shown = await running.metrics()
    found = await rows(
        settings, "SELECT topic, first_offset, last_offset, kind FROM gap ORDER BY first_offset, last_offset"
    )
    assert sorted(found) == sorted([(part.topic, 3, 6, "lost"), (empty.topic, 3, 12, "lost")])
    assert 'claimpath_gaps_total{kind="lost"} 14.0' in shown
    assert running.said().count("records lost") == 2
    assert (await outcomes(settings)).records == 6 + 6


@pytest.mark.usefixtures("topics")
async def test_a_flood_of_garbage_opens_the_breaker(settings: Settings, log: Path) -> None:
    """When nearly every record is refused, the tracker ends with exit code 4 before it commits that batch and says the
    way out; told to go on, it takes them all as dead letters.
    """
    await publish(settings, [record(session())])
    garbage = [Record(TOPICS[number % 3], b"k", b"garbage") for number in range(3 * BREAKER_WINDOW)]
    async with tracker(settings, log) as running:
        await caught_up(settings, log=log)
        await publish(settings, garbage)
        assert await running.ended(30) == 4
    assert "CLAIMPATH_BREAKER=false" in running.said()
    assert (await outcomes(settings)).dead_letter < BREAKER_WINDOW
    async with tracker(settings, log) as running:
        assert await running.ended(30) == 4
    async with tracker(settings, log, breaker=False):
        await caught_up(settings, log=log)
    assert await outcomes(settings) == Outcomes(1, 0, len(garbage), 0)


def test_the_breaker_opens_by_share() -> None:
    """A batch of which a fifth is refused, however large it is, does not open the breaker, nor do those after it;
    nine tenths over a whole window do, whether in one batch or in many.
    """
    breaker = Breaker(on=True)
    for _ in range(3):
        assert not breaker.opens(taken=8_000, refused=2_000)
        breaker.note(taken=8_000, refused=2_000)
    assert breaker.opens(taken=0, refused=10 * 10_000)
    fresh = Breaker(on=True)
    for _ in range(BREAKER_WINDOW // 10 - 1):
        assert not fresh.opens(taken=1, refused=9)
        fresh.note(taken=1, refused=9)
    assert fresh.opens(taken=1, refused=9)


def _as_poison(each: Record) -> samples.Message:
    return samples.Message(each.topic, each.key, each.value, [*each.headers], "poison")


def _as_kept(settings: Settings, message: Record) -> tuple[object, ...]:
    headers = [[name, value if value is None else base64.b64encode(value).decode()] for name, value in message.headers]
    return (
        kafka.topic(settings, message.topic),
        message.key,
        message.value,
        json.dumps(headers, separators=(",", ":"), ensure_ascii=False),
    )


def _renamed(line: str, number: int) -> Record:
    event = json.loads(line)
    event["subject"] = f"{CLAIM}-{number}"
    return Record(TOPIC_OF_TYPE[event["type"]], event["subject"].encode(), json.dumps(event).encode())


def _without_recording(shown: dict[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(shown))
    for entry in plain["events"] + plain["history"]:
        del entry["recorded_at"]
    return plain


async def _fill(settings: Settings, part: TopicPartition, empty: TopicPartition, count: int) -> None:
    async with producer(settings) as client:
        for _ in range(count):
            for where, fact in ((part, session()), (empty, original())):
                body = record(fact)
                await client.send_and_wait(where.topic, body.value, body.key, partition=where.partition)
