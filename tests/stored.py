"""Events into a test's database through the real store, without Kafka: what a tracker writes for a batch."""

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import asyncpg
from sqlalchemy import text

from events import codec
from events.contracts import ClaimSubmitted, Event, SessionRecorded
from services import database, kafka, positions, store
from services.positions import Gap, Item, Place, Refused, Run
from services.settings import Settings
from tests.stories import body

CLUSTER = "cluster-of-the-test"


def record(event: Event) -> codec.Record:
    """Return the event as a publisher's record."""
    topics = {SessionRecorded: "session-recorded", ClaimSubmitted: "claim-submitted"}
    topic = topics.get(type(event.data), "payer-response")
    return codec.Record(topic, event.claim_id.encode(), body(event).encode())


async def store_events(settings: Settings, events: Iterable[Event]) -> store.Written:
    """Store the events as one batch."""
    return await store_records(settings, [record(event) for event in events])


async def store_records(
    settings: Settings, records: Iterable[codec.Record], gaps: dict[str, int] | None = None
) -> store.Written:
    """Store the records as one batch; ``gaps`` says how many offsets are lost at the end of a topic's run."""
    lost = {kafka.topic(settings, topic): count for topic, count in (gaps or {}).items()}
    by_topic: defaultdict[str, list[codec.Record]] = defaultdict(list, {topic: [] for topic in lost})
    for each in records:
        by_topic[kafka.topic(settings, each.topic)].append(each)
    async with writer(settings) as connection:
        log = {(topic, 0): (0, 1_000_000_000) for topic in by_topic}
        begins = (await positions.open_positions(connection, CLUSTER, log, _unasked)).positions
        runs = [_run(place, begin, by_topic[place.topic], lost) for place, begin in begins.items()]
        return await store.write(connection, CLUSTER, runs, _untimed)


async def store_run(settings: Settings, topic: str, begin: int, records: list[codec.Record]) -> store.Written:
    """Store the records as those of a topic from an offset on, whatever its position is."""
    async with writer(settings) as connection:
        run = _run(Place(kafka.topic(settings, topic), 0, 1), begin, records, {})
        return await store.write(connection, CLUSTER, [run], _untimed)


async def _unasked() -> positions.Offsets:
    raise AssertionError("no position is above the end of this log")


@asynccontextmanager
async def writer(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    """Lend a connection as a lane has it."""
    engine = database.engine(settings, application="test", role="claimpath_tracker")
    try:
        async with engine.connect() as connection:
            driver = await database.driver(connection)
            await store.prepare(driver)
            yield driver
    finally:
        await engine.dispose()


@asynccontextmanager
async def held(settings: Settings, table: str, mode: str) -> AsyncIterator[None]:
    """Hold a lock on a table, so that no batch gets past its writing of it."""
    engine = database.engine(settings, application="test-owner")
    async with engine.connect() as connection:
        await connection.execute(text(f"LOCK TABLE {table} IN {mode} MODE"))
        yield
        await connection.rollback()
    await engine.dispose()


async def run_sql(settings: Settings, statements: str) -> list[tuple[Any, ...]]:
    """Do to the database what only its owner can; return the rows of the last statement."""
    engine = database.engine(settings, application="test-owner")
    try:
        async with engine.connect() as connection:
            driver = await database.driver(connection)
            *before, last = [statement for statement in statements.split(";") if statement.strip()]
            for statement in before:
                await driver.execute(statement)
            return [tuple(row) for row in await driver.fetch(last)]
    finally:
        await engine.dispose()


def _run(place: Place, begin: int, records: list[codec.Record], lost: dict[str, int]) -> Run:
    items = [_item(offset, each) for offset, each in enumerate(records, begin)]
    end = begin + len(items)
    missing = lost.get(place.topic, 0)
    gaps = [Gap(end, end + missing - 1, "lost")] if missing else []
    return Run(place, begin, end + missing, items, gaps)


def _item(offset: int, received: codec.Record) -> Item:
    outcome = codec.decode(received)
    if isinstance(outcome, codec.Refusal):
        return Item(offset, -1, received, Refused(outcome.reason, outcome.path, outcome.rule))
    return Item(offset, -1, received, outcome)


@contextmanager
def _untimed(_phase: str) -> Iterator[None]:
    yield
