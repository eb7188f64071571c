"""The event log and what was made of it, all of it in order and in constant memory: what verify and rebuild read."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final, NamedTuple, get_args

from msgspec.structs import replace
from sqlalchemy import Row, TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from events import codec
from events.contracts import Event, SubmissionKind
from events.topics import CLAIM_SUBMITTED, PAYER_RESPONSE, SESSION_RECORDED, TOPIC_OF_TYPE
from services.claim_rows import ClaimRow
from services.rollups import RollupKey

FETCHED_ROWS: Final = 1_000
"""How many rows of each stream are in memory at once."""
_SUBMISSIONS: Final = get_args(SubmissionKind)


class Logged(NamedTuple):
    """A row of the event log; times in microseconds since 1970-01-01T00:00:00Z."""

    claim_id: str
    identity: bytes
    kind: str
    time_us: int
    recorded_at_us: int
    body: str


class Kept(NamedTuple):
    """A claim's events, and its row; one of them may be missing, which is a fault."""

    claim_id: str
    events: list[Logged]
    row: ClaimRow | None


class Account(NamedTuple):
    """A position as it counts, and what there is of it in the other tables."""

    cluster_id: str
    topic: str
    partition: int
    generation: int
    offsets: int
    """How many lie between its start and its end."""
    accepted: int
    duplicate: int
    dead_letter: int
    gap: int
    dead_letter_rows: int
    gap_offsets: int


async def count_events(connection: AsyncConnection) -> int:
    """Return how many events there are."""
    counted: int = (await connection.execute(_COUNT)).scalar_one()
    return counted


async def claims(connection: AsyncConnection) -> AsyncGenerator[Kept]:
    """Yield all that has events or a claim's row, in the order of ids by code point."""
    await connection.execute(_WHOLE)
    async with aclosing(_histories(connection)) as histories, aclosing(_rows(connection)) as rows:
        events: list[Logged] = await anext(histories, [])
        row = await anext(rows, None)
        while events or row:
            claim_id = min([each.claim_id for each in (*events[:1], row) if each])
            its_events = events if events and events[0].claim_id == claim_id else []
            its_row = row if row and row.claim_id == claim_id else None
            yield Kept(claim_id, its_events, its_row)
            events = await anext(histories, []) if its_events else events
            row = await anext(rows, None) if its_row else row


async def rollups(connection: AsyncConnection) -> AsyncGenerator[tuple[RollupKey, tuple[int, int]]]:
    """Yield the rows of the rollups, count and total; one that counts nothing is as good as none."""
    async with aclosing(_stream(connection, _ROLLUPS)) as rows:
        async for row in rows:
            yield (row.name, row.payer, row.label, row.day, row.bucket), (row.n, row.total)


async def accounts(connection: AsyncConnection) -> list[Account]:
    """Return every position, and what has dead letters or gaps without one."""
    return [Account(*row) for row in await connection.execute(_ACCOUNTS)]


def read(logged: Logged) -> Event | codec.Refusal:
    """Return the event of a row, or why this release refuses what one before it accepted, or what was changed since."""
    outcome = codec.decode(codec.Record(_topic(logged.kind), logged.claim_id.encode(), logged.body.encode()))
    if isinstance(outcome, codec.Refusal):
        return outcome
    return replace(outcome.event, recorded_at_us=logged.recorded_at_us)


def _topic(kind: str) -> str:
    if kind == "session":
        return TOPIC_OF_TYPE[SESSION_RECORDED]
    return TOPIC_OF_TYPE[CLAIM_SUBMITTED if kind in _SUBMISSIONS else PAYER_RESPONSE]


async def _histories(connection: AsyncConnection) -> AsyncGenerator[list[Logged]]:
    """Yield the events of one claim after another."""
    gathered: list[Logged] = []
    async with aclosing(_stream(connection, _EVENTS)) as rows:
        async for row in rows:
            event = Logged(*row)
            if gathered and gathered[0].claim_id != event.claim_id:
                yield gathered
                gathered = []
            gathered.append(event)
    if gathered:
        yield gathered


async def _rows(connection: AsyncConnection) -> AsyncGenerator[ClaimRow]:
    async with aclosing(_stream(connection, _CLAIMS)) as rows:
        async for row in rows:
            yield ClaimRow(*row)


async def _stream(connection: AsyncConnection, query: TextClause) -> AsyncGenerator[Row[*tuple[Any, ...]]]:
    async with connection.stream(query, execution_options={"yield_per": FETCHED_ROWS}) as rows:
        async for row in rows:
            yield row


def _micros(column: str) -> str:
    return f"(extract(epoch FROM {column}) * 1000000)::bigint"


# A cursor is planned for its first rows, which would mean an index and a random read for each row of the whole table.
_WHOLE: Final = text("SET LOCAL cursor_tuple_fraction = 1")
_COUNT: Final = text("SELECT count(*) FROM event")
_EVENTS: Final = text(f"""
    SELECT claim_id, identity, kind, {_micros("time")}, {_micros("recorded_at")}, body FROM event ORDER BY claim_id
""")  # noqa: S608  (constants of this file)
_CLAIMS: Final = text(f"""
    SELECT claim_id, version, state, payer, open, {_micros("since")}, {_micros("waiting_since")},
           convert_to(packed, 'UTF8')
    FROM claim ORDER BY claim_id
""")  # noqa: S608  (constants of this file)
_ROLLUPS: Final = text("""
    SELECT name, payer, label, day, bucket, n, total FROM rollup WHERE (n, total) <> (0, 0)
""")
_ACCOUNTS: Final = text("""
    WITH letters AS (
        SELECT cluster_id, topic, partition, generation, count(*) AS n FROM dead_letter GROUP BY 1, 2, 3, 4
    ), holes AS (
        SELECT cluster_id, topic, partition, generation, sum(last_offset - first_offset + 1)::bigint AS n
        FROM gap GROUP BY 1, 2, 3, 4
    )
    SELECT cluster_id, topic, partition, generation, coalesce(next_offset - start_offset, 0), coalesce(accepted, 0),
           coalesce(duplicate, 0), coalesce(dead_letter, 0), coalesce(gap, 0), coalesce(letters.n, 0),
           coalesce(holes.n, 0)
    FROM position
    FULL JOIN letters USING (cluster_id, topic, partition, generation)
    FULL JOIN holes USING (cluster_id, topic, partition, generation)
    ORDER BY cluster_id, topic, partition, generation
""")
