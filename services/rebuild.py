"""Claims and rollups made again from the event log, after a change of the rules or of what is stored of them."""

import time
from collections.abc import Callable
from contextlib import aclosing
from typing import Final

from msgspec import Struct
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from events import codec
from events.contracts import Event
from services import database, event_log
from services.claim_rows import ClaimRow, add_rollup, claim_row, copy_claims, write_rollup
from services.event_log import Kept
from services.lifecycle import fold
from services.rollups import Rollup, rollup
from services.settings import Settings

BATCH_CLAIMS: Final = 1_000
"""How many claims are written at once."""

_LOCK_NOT_AVAILABLE: Final = "55P03"

Progress = Callable[[int, int], None]
"""Gets how many events are done, and of how many."""


class TrackersRun(Exception):
    """A tracker is connected to this database: stop every tracker, then rebuild."""


class Unreadable(Exception):
    """The event log holds an event that this release cannot read: see `claimpath verify`."""


class Rebuilt(Struct, frozen=True):
    """What was read, and how many claims came out other than they were stored."""

    claims: int
    events: int
    changed: int
    removed: int
    """Rows of claims that had no events."""
    seconds: float


def _silent(_done: int, _total: int) -> None:
    """Nobody wants to know."""


async def rebuild(settings: Settings, progress: Progress = _silent) -> Rebuilt:
    """Make all claims and rollups again in one transaction: whoever reads meanwhile sees what was before.

    Only claims that come out different are written: a table of millions is not doubled for a rule that moves a few.
    Acts as the user of the database's address, who must own the tables. Raises TrackersRun and Unreadable, after
    which nothing has changed, and SQLAlchemyError.
    """
    started = time.monotonic()
    work = _Rebuilding()
    engine = database.engine(settings, application="claimpath-rebuild", limits=database.LONG)
    try:
        await database.require_schema(engine)
        async with engine.begin() as connection:
            await _keep_trackers_out(connection)
            total = await event_log.count_events(connection)
            async with aclosing(event_log.claims(connection)) as claims:
                async for kept in claims:
                    work.take(kept)
                    if len(work.batch) >= BATCH_CLAIMS:
                        await work.write(connection)
                    progress(work.events, total)
            await work.write(connection)
            await connection.execute(text("DELETE FROM rollup"))
            await write_rollup(await database.driver(connection), work.sums)
    finally:
        await engine.dispose()
    seconds = round(time.monotonic() - started, 3)
    return Rebuilt(work.claims, work.events, work.changed, work.removed, seconds)


class _Rebuilding:
    """Owns what was made so far: memory grows with the rows of the rollups, not with claims or events."""

    def __init__(self) -> None:
        self.claims = self.events = self.changed = self.removed = 0
        self.sums: Rollup = {}
        self.batch: dict[str, ClaimRow | None] = {}
        """Claims by id as they must be; None for one that must go."""

    def take(self, kept: Kept) -> None:
        """Make one claim again."""
        if not kept.events:
            self.removed += 1
            self.batch[kept.claim_id] = None
            return
        claim = fold([_read(event_log.read(logged)) for logged in kept.events])
        add_rollup(self.sums, rollup(claim), 1)
        self.claims += 1
        self.events += len(kept.events)
        row = claim_row(kept.claim_id, kept.row.version if kept.row else 1, claim)
        if row != kept.row:
            self.changed += 1
            self.batch[kept.claim_id] = row

    async def write(self, connection: AsyncConnection) -> None:
        """Put the batch in place of what was."""
        rows = [row for row in self.batch.values() if row is not None]
        await connection.execute(text("DELETE FROM claim WHERE claim_id = ANY(:ids)"), {"ids": list(self.batch)})
        await copy_claims(await database.driver(connection), "claim", rows)
        self.batch.clear()


def _read(outcome: Event | codec.Refusal) -> Event:
    if isinstance(outcome, codec.Refusal):
        raise Unreadable
    return outcome


async def _keep_trackers_out(connection: AsyncConnection) -> None:
    """Refuse while a tracker is there; hold up one that starts, until the transaction ends.

    A tracker's first statement locks positions, so it waits before it has touched anything; readers do not wait.
    """
    found = await connection.execute(_TRACKERS)
    if found.scalar_one():
        raise TrackersRun
    try:
        await connection.execute(_LOCK)
    except DBAPIError as error:
        if database.sqlstate(error) == _LOCK_NOT_AVAILABLE:
            raise TrackersRun from None
        raise


_TRACKERS: Final = text("""
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'claimpath-tracker'
""")
_LOCK: Final = text("LOCK TABLE position, event, claim, rollup IN EXCLUSIVE MODE")
