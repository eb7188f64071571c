"""That rebuild makes from the event log what should be there, while nobody writes, and shows nobody half of it."""

import asyncio
import threading

import pytest

from events import samples
from services import database, event_log, rebuild
from services.rebuild import TrackersRun, Unreadable
from services.settings import Settings
from services.tracker import APPLICATION
from services.verify import verify
from tests.stored import run_sql, store_events, store_records
from tests.stories import CLAIM, original, response, session

TABLES = "SELECT claim_id, state, payer, open, since, waiting_since, packed FROM claim ORDER BY claim_id"
ROLLUPS = "SELECT * FROM rollup WHERE (n, total) <> (0, 0) ORDER BY 1, 2, 3, 4, 5"
PAYERS = "SELECT payer FROM claim UNION SELECT payer FROM rollup WHERE name = 'claims'"
PAYERS_BEFORE = """
    UPDATE claim SET payer = 'before';
    DELETE FROM rollup WHERE name = 'claims';
    INSERT INTO rollup VALUES ('claims', 'before', 'draft', '1970-01-01', -1, 1, 0)
"""
WAIT_LIMIT_S = 30
FAULTS = {
    "nothing at all": "DELETE FROM claim; DELETE FROM rollup",
    "every column": """
        UPDATE claim SET state = 'x', payer = 'x', open = true, since = now(), waiting_since = now(), packed = '{}';
        UPDATE rollup SET n = n + 1, total = 0
    """,
    "claims that cannot be read": "UPDATE claim SET packed = 'x', version = 7; DELETE FROM rollup WHERE name = 'open'",
    "claims of nothing": """
        INSERT INTO claim SELECT 'ghost ' || claim_id, version, state, payer, open, since, NULL, packed FROM claim;
        INSERT INTO rollup VALUES ('claims', 'ghost', 'draft', '1970-01-01', -1, 5, 5)
    """,
}


async def fill(settings: Settings) -> None:
    """Store some claims with all the troubles there are."""
    switches = samples.Switches(duplicates=0.1, disorder=0.3, lateness=0.05, conflicts=0.03, poison=0.03)
    messages = list(samples.stream(60, 11, switches))
    for start in range(0, len(messages), 150):
        await store_records(settings, messages[start : start + 150])


@pytest.mark.parametrize("planted", FAULTS.values(), ids=FAULTS.keys())
async def test_whatever_was_wrong_is_right_afterwards(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, planted: str
) -> None:
    """Claims and rollups come back as the trackers wrote them, and trackers go on from there."""
    monkeypatch.setattr(rebuild, "BATCH_CLAIMS", 7)
    monkeypatch.setattr(event_log, "FETCHED_ROWS", 10)
    await fill(settings)
    claims, rollups = await run_sql(settings, TABLES), await run_sql(settings, ROLLUPS)
    await run_sql(settings, planted)
    assert (await verify(settings)).difference_count > 0
    seen: list[tuple[int, int]] = []
    made = await rebuild.rebuild(settings, lambda done, total: seen.append((done, total)))
    assert (await verify(settings)).differences == []
    assert await run_sql(settings, TABLES) == claims
    assert await run_sql(settings, ROLLUPS) == rollups
    assert made.claims == len(claims)
    assert made.changed == (0 if "ghost" in planted else 60)
    assert made.removed == (60 if "ghost" in planted else 0)
    assert seen[-1] == (made.events, made.events)
    await store_events(settings, [session(), original(), response("approved", claim_id=claims[0][0])])
    assert (await verify(settings)).differences == []


async def test_what_is_right_is_left_alone(settings: Settings) -> None:
    """A rebuild that changes nothing writes no claim, so that no table grows by it."""
    await fill(settings)
    rows = "SELECT claim_id, version, xmin FROM claim ORDER BY claim_id"
    before = await run_sql(settings, rows)
    made = await rebuild.rebuild(settings)
    assert (made.changed, made.removed, made.claims) == (0, 0, 60)
    assert await run_sql(settings, rows) == before
    assert (await verify(settings)).differences == []


async def test_an_empty_log_makes_nothing(settings: Settings) -> None:
    """Without events there are no claims."""
    await run_sql(settings, "INSERT INTO rollup VALUES ('claims', 'x', 'draft', '1970-01-01', -1, 1, 0)")
    made = await rebuild.rebuild(settings)
    assert (made.claims, made.events, made.changed, made.removed) == (0, 0, 0, 0)
    assert await run_sql(settings, "SELECT * FROM rollup") == []


async def test_it_refuses_while_a_tracker_is_connected(settings: Settings) -> None:
    """Trackers are stopped first; one of another database is none of our business."""
    await fill(settings)
    await run_sql(settings, "DELETE FROM rollup")
    tracker = database.engine(settings, application=APPLICATION, role="claimpath_tracker")
    async with tracker.connect():
        with pytest.raises(TrackersRun):
            await rebuild.rebuild(settings)
    assert await run_sql(settings, "SELECT * FROM rollup") == []
    await tracker.dispose()
    await rebuild.rebuild(settings)
    assert (await verify(settings)).differences == []


async def test_it_refuses_when_somebody_does_not_stop_writing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What holds positions under whatever name is waited for, and not for ever."""
    monkeypatch.setattr(database, "LOCK_LIMIT_MS", 300)
    await store_events(settings, [session()])
    engine = database.engine(settings, application="somebody", role="claimpath_tracker")
    async with engine.connect() as connection:
        driver = await database.driver(connection)
        transaction = driver.transaction()
        await transaction.start()
        await driver.execute("SELECT FROM position FOR UPDATE")
        with pytest.raises(TrackersRun):
            await rebuild.rebuild(settings)
        await transaction.rollback()
    await engine.dispose()


async def test_readers_see_what_was_and_writers_wait(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it is done nobody sees a part of it, and a tracker that starts meanwhile writes after it."""
    monkeypatch.setattr(rebuild, "BATCH_CLAIMS", 1)
    await fill(settings)
    await run_sql(settings, PAYERS_BEFORE)
    halfway, goes_on = threading.Event(), threading.Event()

    def wait_halfway(done: int, total: int) -> None:
        if done > total / 2 and not halfway.is_set():
            halfway.set()
            assert goes_on.wait(WAIT_LIMIT_S)

    def in_a_thread() -> rebuild.Rebuilt:
        return asyncio.run(rebuild.rebuild(settings, wait_halfway))

    rebuilding = asyncio.create_task(asyncio.to_thread(in_a_thread))
    assert await asyncio.to_thread(halfway.wait, WAIT_LIMIT_S)
    assert await run_sql(settings, PAYERS) == [("before",)]
    writing = asyncio.create_task(store_events(settings, [session(), original()]))
    done, _ = await asyncio.wait([writing], timeout=0.3)
    assert not done
    goes_on.set()
    await rebuilding
    await writing
    assert (await verify(settings)).differences == []


async def test_an_interrupted_rebuild_changes_nothing(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is one transaction: all of it or nothing."""
    monkeypatch.setattr(rebuild, "BATCH_CLAIMS", 1)
    await fill(settings)
    await run_sql(settings, PAYERS_BEFORE)

    def interrupt(done: int, total: int) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await rebuild.rebuild(settings, interrupt)
    assert await run_sql(settings, PAYERS) == [("before",)]


async def test_an_event_that_cannot_be_read_stops_it(settings: Settings) -> None:
    """Nothing is guessed: an event that this release cannot read leaves everything as it was."""
    await store_events(settings, [session(), original(), session(claim_id="A")])
    await run_sql(settings, f"{PAYERS_BEFORE}; UPDATE event SET body = '{{' WHERE claim_id = '{CLAIM}'")
    with pytest.raises(Unreadable):
        await rebuild.rebuild(settings)
    assert await run_sql(settings, PAYERS) == [("before",)]
