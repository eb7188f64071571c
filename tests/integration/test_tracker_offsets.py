"""Offsets: what Kafka is told of them, who says where to go on, and that none is believed to be empty too soon."""

import asyncio
from pathlib import Path

import pytest

from services.settings import Settings
from tests.running import (
    Outcomes,
    caught_up,
    committed_is_never_ahead,
    nothing_differs,
    outcomes,
    publish,
    rows,
    tracker,
)
from tests.stored import held, record
from tests.stories import session

QUICK_LIMIT_S = 15
COMMITS_BY_ITSELF_S = 5
"""After which Kafka's clients tell how far they have read, unless they are told not to."""

# A client that passes over one record, once, as aiokafka does with one that is too large for a fetch.
CARELESS = """
import aiokafka
fetch = aiokafka.AIOKafkaConsumer.getmany
lost = []
async def careless(*given, **options):
    batches = await fetch(*given, **options)
    for records in batches.values():
        if not lost and len(records) > 2:
            lost.append(records.pop(1))
            print("passed over", lost[0].offset, flush=True)
    return batches
aiokafka.AIOKafkaConsumer.getmany = careless
"""
# What a database holds that was restored from a backup of its first hour.
RESTORED = (
    "TRUNCATE event, claim, rollup, gap, dead_letter",
    "UPDATE position SET next_offset = start_offset, accepted = 0, duplicate = 0, dead_letter = 0, gap = 0",
)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where this test's trackers log."""
    return tmp_path / "tracker.log"


@pytest.mark.usefixtures("topics")
async def test_kafka_is_told_only_of_what_postgres_has(settings: Settings, log: Path) -> None:
    """While PostgreSQL holds a batch up, Kafka's offsets stay where PostgreSQL is, for longer than a client waits that
    commits by itself; afterwards they follow.
    """
    await publish(settings, [record(session(claim_id=f"CLM-{number}")) for number in range(30)])
    async with tracker(settings, log) as running:
        async with held(settings, "event", "SHARE"):
            await running.says("partitions assigned")
            await asyncio.sleep(COMMITS_BY_ITSELF_S + 1.5)
            await committed_is_never_ahead(settings)
        await caught_up(settings, QUICK_LIMIT_S, log)
        await running.stop()
    assert await outcomes(settings) == Outcomes(30, 0, 0, 0)
    assert await committed_is_never_ahead(settings) == 3 * settings.partitions


@pytest.mark.usefixtures("topics")
async def test_a_record_that_the_client_passed_over_is_fetched_again(settings: Settings, log: Path) -> None:
    """Offsets that did not come are asked for once more before they count as a gap: a client may skip a record, the
    tracker never does.
    """
    await publish(settings, [record(session(session_id=f"S-{number}")) for number in range(20)])
    async with tracker(settings, log, CARELESS) as running:
        await caught_up(settings, QUICK_LIMIT_S, log)
        await running.stop()
    assert running.said().count("passed over") == 1
    assert await outcomes(settings) == Outcomes(20, 0, 0, 0)


@pytest.mark.usefixtures("topics")
async def test_a_tracker_goes_on_where_a_restored_database_is(settings: Settings, log: Path) -> None:
    """Whatever Kafka remembers, and however far a tracker has read: it goes back to PostgreSQL's position, at its start
    and at the next record after a backup was restored below it.
    """
    facts = [record(session(session_id=f"S-{number}")) for number in range(12)]
    await publish(settings, facts[:10])
    async with tracker(settings, log) as running:
        await caught_up(settings, QUICK_LIMIT_S, log)
        await running.stop()
    await restore(settings)
    async with tracker(settings, log) as running:
        await caught_up(settings, QUICK_LIMIT_S, log)
        await restore(settings)
        await publish(settings, facts[10:])
        await caught_up(settings, QUICK_LIMIT_S, log)
        await running.stop()
    assert "going back to the position in PostgreSQL" in running.said()
    assert await outcomes(settings) == Outcomes(12, 0, 0, 0)
    await nothing_differs(settings)


async def restore(settings: Settings) -> None:
    """Put the database back to where nothing was taken yet."""
    for statement in RESTORED:
        await rows(settings, statement)
