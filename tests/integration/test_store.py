"""What one transaction of the write SQL makes of a batch, beside another one, and what it leaves when it fails."""

import asyncio
from random import Random

import asyncpg
import pytest

from events.codec import Record
from events.simulation.troubles import contradicted, said_again
from services import kafka
from services.positions import BehindError, Counts
from services.settings import Settings
from services.verify import verify
from tests.running import rows, until
from tests.stored import held, record, run_sql, store_events, store_records, store_run
from tests.stories import CLAIM, appeal, original, response, session

TOPIC = "session-recorded"
POISON = Record(TOPIC, b"k", b"no event")
TABLES = ("event", "claim", "rollup", "position", "gap", "dead_letter")
FAIL = """
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION USING ERRCODE = '53100', MESSAGE = 'the disk is full'; END $$
"""
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
WAIT_LIMIT_S = 10


def sessions(count: int) -> list[Record]:
    """Return records of one topic, each of another claim."""
    return [record(session(claim_id=f"CLM-{number}", event_id="same")) for number in range(count)]


async def counted(settings: Settings, **counts: int) -> None:
    """Say that the position of the topic counts so, and that nothing differs from the event log."""
    wanted = Counts(**dict.fromkeys(Counts._fields, 0) | counts)
    where = f"topic = '{kafka.topic(settings, TOPIC)}'"
    found = await run_sql(settings, f"SELECT accepted, duplicate, dead_letter, gap FROM position WHERE {where}")
    assert found == [wanted]
    assert (await verify(settings)).differences == []


async def test_every_record_of_a_batch_has_its_outcome(settings: Settings) -> None:
    """All that a batch holds is taken: no event of it is passed for a duplicate, and no poison hides its neighbours."""
    await store_records(settings, [*sessions(5), POISON, *sessions(7)])
    await counted(settings, accepted=7, duplicate=5, dead_letter=1)


async def test_each_event_of_a_claim_in_one_batch_moves_it(settings: Settings) -> None:
    """A claim whose whole story comes in one batch has all of it, in time order, whatever the order of arrival."""
    story = [session(day=2), original(day=3), response("denied", day=9), appeal(day=12), response("approved", day=20)]
    await store_events(settings, [story[number] for number in (4, 0, 3, 1, 2)])
    ((state, packed),) = await run_sql(settings, "SELECT state, packed::jsonb ->> 'applied' FROM claim")
    assert (state, packed) == ("approved", "5")
    assert (await verify(settings)).differences == []


async def test_a_fact_told_again_is_a_duplicate_however_it_is_written(settings: Settings) -> None:
    """The same identity and content change nothing: in one batch or another, respelt, in binary mode, at any time."""
    chance = Random(3)
    facts = sessions(6)
    again = [said_again(fact, chance) for fact in facts for _ in range(5)]
    await store_records(settings, [*facts[:3], *again[:15]])
    await store_records(settings, [*facts[3:], *again])
    await counted(settings, accepted=6, duplicate=45)


async def test_a_fact_told_otherwise_is_a_conflict(settings: Settings) -> None:
    """The same identity with other content is kept as a dead letter, and the first stays as it was accepted."""
    facts = sessions(4)
    others = [contradicted(fact) for fact in facts]
    await store_records(settings, [*facts, *others[:2]])
    await store_records(settings, others[2:])
    await counted(settings, accepted=4, dead_letter=4)
    kept = await run_sql(settings, "SELECT reason, value FROM dead_letter ORDER BY dead_letter_id")
    assert kept == [("conflict", other.value) for other in others]
    assert await run_sql(settings, "SELECT body FROM event WHERE body LIKE '%p_other%'") == []


async def test_a_claim_adds_itself_to_the_rollups_once(settings: Settings) -> None:
    """However often a claim moves, step by step or by a late event, it is one claim with its own money."""
    for event in (original(day=4), response("denied", day=9), appeal(day=12), response("approved", day=20), session()):
        await store_events(settings, [event])
    found = await run_sql(settings, "SELECT label, n, total FROM rollup WHERE name = 'claims' AND (n, total) <> (0, 0)")
    assert [(label, n) for label, n, _ in found] == [("approved", 1)]
    assert (await verify(settings)).differences == []


@pytest.mark.parametrize("place", [*TABLES, "the commit"])
async def test_a_batch_is_written_whole_or_not_at_all(settings: Settings, place: str) -> None:
    """Wherever it fails, events, claims, rollups, dead letters, gaps and positions are as they were before it."""
    batch = [record(session()), record(original()), record(response("approved")), POISON]
    await store_records(settings, batch)
    before = [await run_sql(settings, f"SELECT * FROM {table} ORDER BY 1, 2, 3, 4") for table in TABLES]
    when = f"TRIGGER failing BEFORE INSERT OR UPDATE ON {place} FOR EACH STATEMENT"
    if place == "the commit":
        when = "CONSTRAINT TRIGGER failing AFTER UPDATE ON position DEFERRABLE INITIALLY DEFERRED FOR EACH ROW"
    await rows(settings, FAIL)
    await rows(settings, f"CREATE {when} EXECUTE FUNCTION fail()")
    more = [record(session(day=5)), record(response("reversed", day=30, paid="-88.00", allowed="-110.00")), POISON]
    with pytest.raises(asyncpg.exceptions.DiskFullError):
        await store_records(settings, more, gaps={TOPIC: 2})
    assert [await run_sql(settings, f"SELECT * FROM {table} ORDER BY 1, 2, 3, 4") for table in TABLES] == before


async def test_a_run_beyond_the_position_is_refused(settings: Settings) -> None:
    """Records that do not continue their partition are not taken, since those between would never be read."""
    facts = sessions(6)
    await store_records(settings, facts[:2])
    with pytest.raises(BehindError) as behind:
        await store_run(settings, TOPIC, 4, facts[4:])
    assert behind.value.position == 2
    await counted(settings, accepted=2)


async def test_what_lies_below_the_position_is_left_out(settings: Settings) -> None:
    """Records that come twice, as after a crash before Kafka was told, count once; those after them are taken."""
    facts = sessions(6)
    await store_records(settings, facts[:4])
    await store_run(settings, TOPIC, 2, [*facts[2:4], POISON, facts[4]])
    await store_run(settings, TOPIC, 4, [POISON, facts[4]])
    await counted(settings, accepted=5, dead_letter=1)


async def test_writers_of_one_claim_wait_for_each_other(settings: Settings) -> None:
    """Of two batches with events of one claim, the second reads the claim as the first left it, and neither is lost or
    has to start over.
    """
    await store_events(settings, [session(), original(), response("accepted")])
    async with held(settings, "rollup", "EXCLUSIVE"):
        first = asyncio.create_task(store_events(settings, [response("approved", day=20)]))
        await until(lambda: waiting(settings, 1), WAIT_LIMIT_S, "the first to hold the claim")
        second = asyncio.create_task(store_events(settings, [session(day=21, session_id="S-2", served=1)]))
        await until(lambda: waiting(settings, 2), WAIT_LIMIT_S, "the second to wait for the claim")
    await asyncio.gather(first, second)
    assert await run_sql(settings, f"SELECT state, version FROM claim WHERE claim_id = '{CLAIM}'") == [("approved", 3)]
    assert (await verify(settings)).differences == []


async def waiting(settings: Settings, count: int) -> bool:
    """Say whether so many statements wait for a lock."""
    return await run_sql(settings, WAITING) == [(count,)]
