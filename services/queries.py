"""The read SQL: claims, the events behind them, and what the business metrics are made of."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from sqlalchemy import TextClause, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from events import codec
from events.contracts import Event
from services.claim import Claim
from services.claim_rows import unpack
from services.timing import EDGES_DAYS

Database = AsyncEngine
"""What readers hold: `services.database.engine` makes one."""
FAILURES: Final = (SQLAlchemyError, OSError)
"""What readers raise where PostgreSQL does not answer, or with an error."""
EXPORT_ROWS: Final = 1_000
"""How many claims of an export are in memory at once."""
WINDOWS: Final = ("all", "30d", "90d")
"""Which durations a metric counts: all, or what ended on one of the last so many UTC days, today being the last."""


class Count(NamedTuple):
    """Rows of the rollup added up; ``payer`` and ``label`` are None for all those beyond the limit."""

    name: str
    payer: str | None
    label: str | None
    n: int
    total: int


class Ages(NamedTuple):
    """Spans of one measure and window that fall into one bucket, and their seconds together."""

    payer: str | None
    measure: str
    window: str
    bucket: int
    n: int
    seconds: int


class Business(NamedTuple):
    """All that the business metrics show, of one moment."""

    counts: Sequence[Count]
    durations: Sequence[Ages]
    open_ages: Sequence[Ages]
    dead_letters: Sequence[tuple[str, int]]
    gap_records: Sequence[tuple[str, int]]
    waiting_oldest_s: float
    dead_letters_oldest_s: float


@asynccontextmanager
async def reading(database: Database) -> AsyncIterator[AsyncConnection]:
    """Give a connection whose statements all see the database of one moment, and can change nothing."""
    async with database.connect() as connection:
        yield await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


async def claim(connection: AsyncConnection, claim_id: str) -> Claim | None:
    """Return the claim as its events so far make it; None where there is none."""
    row = (await connection.execute(_CLAIM, {"claim_id": claim_id})).one_or_none()
    return None if row is None else unpack(row.packed)


async def events(
    connection: AsyncConnection, claim_id: str, as_of_us: int | None = None, known_at_us: int | None = None
) -> list[Event]:
    """Return the claim's events that happened by ``as_of_us`` and were recorded by ``known_at_us``, in no order.

    Both are microseconds since 1970-01-01T00:00:00Z and include that instant; None is no limit.
    """
    limits = {"as_of": _instant(as_of_us), "known_at": _instant(known_at_us)}
    rows = await connection.execute(_EVENTS, {"claim_id": claim_id, **limits})
    return [codec.read(row.body, row.recorded_at_us) for row in rows]


async def claims(connection: AsyncConnection) -> AsyncIterator[tuple[str, Claim]]:
    """Yield every claim in the order of ids by code point, few in memory at once."""
    async with connection.stream(_CLAIMS, execution_options={"yield_per": EXPORT_ROWS}) as rows:
        async for row in rows:
            yield row.claim_id, unpack(row.packed)


async def business(connection: AsyncConnection, max_payers: int, max_reasons: int) -> Business:
    """Read what the business metrics show; payers beyond those with the most claims, and rare reasons, come as None."""
    limits = {"payers": max_payers, "reasons": max_reasons}
    durations = await connection.execute(_DURATIONS, {"payers": max_payers})
    ages = await connection.execute(_OPEN_AGES, {"payers": max_payers, "edges": list(EDGES_DAYS)})
    letters = (await connection.execute(_DEAD_LETTERS)).all()
    return Business(
        counts=[Count(*row) for row in await connection.execute(_COUNTS, limits)],
        durations=[
            Ages(payer, measure, window, bucket, n, seconds)
            for payer, measure, bucket, *sums in durations
            for window, n, seconds in zip(WINDOWS, sums[::2], sums[1::2], strict=True)
        ],
        open_ages=[Ages(*row) for row in ages],
        dead_letters=[(row.reason, row.n) for row in letters],
        gap_records=[(row.kind, row.n) for row in await connection.execute(_GAPS)],
        waiting_oldest_s=(await connection.execute(_WAITING_OLDEST)).scalar_one(),
        dead_letters_oldest_s=max((row.oldest_s for row in letters), default=0.0),
    )


async def outcomes(connection: AsyncConnection) -> Counter[str]:
    """Return how many records had each outcome, over all positions."""
    row = (await connection.execute(_OUTCOMES)).one()
    return Counter(row._asdict())


def _instant(time_us: int | None) -> datetime | None:
    return None if time_us is None else datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)


_OUTCOMES: Final = text("""
    SELECT coalesce(sum(accepted), 0)::bigint AS accepted, coalesce(sum(duplicate), 0)::bigint AS duplicate,
           coalesce(sum(dead_letter), 0)::bigint AS dead_letter, coalesce(sum(gap), 0)::bigint AS gap
    FROM position
""")
_CLAIM: Final = text("SELECT packed FROM claim WHERE claim_id = :claim_id")
_CLAIMS: Final = text("SELECT claim_id, packed FROM claim ORDER BY claim_id")
_EVENTS: Final = text("""
    SELECT body, (extract(epoch FROM recorded_at) * 1000000)::bigint AS recorded_at_us FROM event
    WHERE claim_id = :claim_id AND time <= coalesce(CAST(:as_of AS timestamptz), 'infinity')
          AND recorded_at <= coalesce(CAST(:known_at AS timestamptz), 'infinity')
""")


def _of_payers(query: str) -> TextClause:
    """Begin a query with ``kept``, the payers with the most claims: a row that joins none of them is of the others."""
    return text(f"""
        WITH kept AS (
            SELECT payer FROM rollup WHERE name = 'claims'
            GROUP BY payer ORDER BY sum(n) DESC, payer COLLATE "C" LIMIT :payers
        ), today AS (SELECT (now() AT TIME ZONE 'UTC')::date AS day)
        {query}
    """)  # noqa: S608  (constants of this file)


# Only denial reasons are words of payers, and may be many.
_COUNTS: Final = _of_payers("""
    , reasons AS (
        SELECT name, label FROM rollup WHERE name = 'denial'
        GROUP BY name, label ORDER BY sum(n) DESC, label COLLATE "C" LIMIT :reasons
    )
    SELECT name, kept.payer, CASE name WHEN 'denial' THEN reasons.label ELSE rollup.label END AS label,
           sum(n)::bigint, sum(total)::bigint
    FROM rollup LEFT JOIN kept USING (payer) LEFT JOIN reasons USING (name, label)
    WHERE name IN ('claims', 'finding', 'denial', 'waiting', 'set_aside')
    GROUP BY 1, 2, 3
""")
# One pass for all windows. What ends on a later day than today (a transfer may be announced) is in none but ``all``.
_DURATIONS: Final = _of_payers("""
    SELECT kept.payer, label, bucket, sum(n)::bigint, sum(total)::bigint,
           coalesce(sum(n) FILTER (WHERE age BETWEEN 0 AND 29), 0)::bigint,
           coalesce(sum(total) FILTER (WHERE age BETWEEN 0 AND 29), 0)::bigint,
           coalesce(sum(n) FILTER (WHERE age BETWEEN 0 AND 89), 0)::bigint,
           coalesce(sum(total) FILTER (WHERE age BETWEEN 0 AND 89), 0)::bigint
    FROM rollup LEFT JOIN kept USING (payer) CROSS JOIN today
    CROSS JOIN LATERAL (SELECT today.day - rollup.day) AS span (age)
    WHERE name = 'duration'
    GROUP BY 1, 2, 3
""")
# Only the day of the start is known: an age is whole days. `width_bucket` counts the edges that are not above its
# argument, so a day less gives the first edge that is not below the age, as `timing.bucket` does.
_OPEN_AGES: Final = _of_payers("""
    SELECT kept.payer, label, 'all', width_bucket(days - 1, CAST(:edges AS integer[])),
           sum(n)::bigint, sum(n * days * 86400)::bigint
    FROM rollup LEFT JOIN kept USING (payer) CROSS JOIN today
    CROSS JOIN LATERAL (SELECT greatest(today.day - rollup.day, 0)) AS age (days)
    WHERE name = 'open'
    GROUP BY 1, 2, 3, 4
""")
_DEAD_LETTERS: Final = text("""
    SELECT reason, count(*) AS n, extract(epoch FROM now() - min(recorded_at))::float8 AS oldest_s
    FROM dead_letter WHERE replayed_at IS NULL GROUP BY reason
""")
_GAPS: Final = text("SELECT kind, sum(last_offset - first_offset + 1)::bigint AS n FROM gap GROUP BY kind")
_WAITING_OLDEST: Final = text("""
    SELECT coalesce(extract(epoch FROM now() - min(waiting_since)), 0)::float8
    FROM claim WHERE waiting_since IS NOT NULL
""")
