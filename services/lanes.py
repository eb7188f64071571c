"""Lanes: each takes its partitions' runs into PostgreSQL, one transaction after another, for as long as it takes."""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Final

import asyncpg
import msgspec
import structlog
from asyncpg.exceptions import InterfaceError, InternalClientError, PostgresError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services import metrics, store
from services.database import describe_error, driver, sqlstate
from services.positions import BehindError, Refused, Run

FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 5.0
"""Pauses between tries double up to this; short enough that the lag falls soon after PostgreSQL is back."""
MAX_COLLISIONS: Final = 10
"""Of tries that met another tracker making the same claim; beyond, it is the record's fault."""

# SQLSTATE classes that speak of the data: data exception, integrity constraint violation, program limit exceeded. The
# others speak of the server or the schema, and no record must be condemned for these.
_FAULTS_OF_RECORDS: Final = frozenset({"22", "23", "54"})
_UNIQUE_VIOLATION: Final = "23505"

_log = structlog.get_logger(__name__)


class Lane:
    """One connection and the runs that go through it in order."""

    def __init__(
        self,
        database: AsyncEngine,
        cluster_id: str,
        *,
        on_written: Callable[[store.Written, Sequence[Run]], None],
        on_behind: Callable[[Sequence[Run], BehindError], None],
        on_try: Callable[[], None],
        may_refuse: Callable[[], bool],
    ) -> None:
        self._database = database
        self._cluster_id = cluster_id
        self._on_written = on_written
        self._on_behind = on_behind
        self._on_try = on_try
        self._may_refuse = may_refuse
        # One batch is written while the next is decoded; more would only be memory.
        self._queue: asyncio.Queue[Sequence[Run]] = asyncio.Queue(maxsize=1)
        self._stopping = asyncio.Event()
        self._connection: AsyncConnection | None = None

    async def put(self, runs: Sequence[Run]) -> None:
        """Hand over runs; waits while the lane has enough."""
        await self._queue.put(runs)

    async def drain(self) -> None:
        """Wait until all that was handed over is written."""
        await self._queue.join()

    async def run(self) -> None:
        """Write what is handed over, until ``stop``, and cancelled if nothing comes any more."""
        # Asked each time: cancelling a transaction may surface as an error of the connection, which is tried again.
        while not self._stopping.is_set():
            runs = await self._queue.get()
            try:
                await self._take(runs)
            finally:
                self._queue.task_done()

    def stop(self) -> None:
        """Give up waiting for PostgreSQL; what is not written stays in Kafka."""
        self._stopping.set()

    async def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    async def _take(self, runs: Sequence[Run]) -> None:
        """Write the runs; try again whatever may pass; halve a batch that never will, down to the record at fault."""
        pause_s = FIRST_PAUSE_S
        collisions = 0
        while not self._stopping.is_set():
            self._on_try()
            try:
                connection = await self._connected()
                written = await store.write(
                    connection, self._cluster_id, runs, metrics.batch_phase, look_up_all=collisions > 0
                )
            except BehindError as behind:
                self._on_behind(runs, behind)
                return
            except Exception as error:  # noqa: BLE001  (whatever a record can bring about must end as a dead letter)
                collisions += _is_collision(error)
                if _is_fault_of_a_record(error) and (not _is_collision(error) or collisions > MAX_COLLISIONS):
                    await self._halve(runs, error)
                    return
                _log.warning("batch is tried again", error=describe_error(error), pause_s=round(pause_s, 1))
                metrics.retried(error)
                # The pause after a statement that ran into its limit would be silence for too long.
                self._on_try()
                await self._reconnect()
                await self._pause(pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
            else:
                self._on_written(written, runs)
                return

    async def _halve(self, runs: Sequence[Run], error: Exception) -> None:
        await self._reconnect()
        halves = _halves(runs)
        if halves:
            for half in halves:
                await self._take(half)
            return
        run = runs[0]
        if not run.items or isinstance(run.items[0].outcome, Refused):
            # Not even its dead letter goes in: nothing of the record is to blame.
            raise error
        if not self._may_refuse():
            return
        refused = Refused("unprocessable", "$", f"it cannot be stored: {describe_error(error)}")
        await self._take([run._replace(items=[msgspec.structs.replace(run.items[0], outcome=refused)])])

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is None:
            self._connection = await self._database.connect()
            await store.prepare(await driver(self._connection))
        return await driver(self._connection)

    async def _reconnect(self) -> None:
        """Leave a connection of which nobody knows in what state it is."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                await connection.invalidate()
                await connection.close()
            except (SQLAlchemyError, PostgresError, InterfaceError, OSError) as error:
                _log.info("connection is given up", error=describe_error(error))

    async def _pause(self, pause_s: float) -> None:
        # Trackers that lost the same server must not all come back at once.
        limit_s = pause_s * random.uniform(0.5, 1.5)  # noqa: S311  (no secret)
        try:
            await asyncio.wait_for(self._stopping.wait(), limit_s)
        except TimeoutError:
            return


def _halves(runs: Sequence[Run]) -> list[list[Run]]:
    """Split into two parts that each continue their partitions; nothing where one record is left."""
    if len(runs) > 1:
        middle = len(runs) // 2
        return [list(runs[:middle]), list(runs[middle:])]
    (run,) = runs
    if len(run.items) < 2:  # noqa: PLR2004  (one record cannot be halved)
        return []
    middle = len(run.items) // 2
    border = run.items[middle].offset
    before = [gap for gap in run.gaps if gap.last < border]
    after = [gap for gap in run.gaps if gap.last >= border]
    # A gap lies between records, so it ends before the border or begins after it.
    return [
        [Run(run.place, run.first, border, run.items[:middle], before)],
        [Run(run.place, border, run.next, run.items[middle:], after)],
    ]


def _is_collision(error: Exception) -> bool:
    return sqlstate(error) == _UNIQUE_VIOLATION


def _is_fault_of_a_record(error: Exception) -> bool:
    """Say whether trying again is hopeless because of what the batch holds."""
    if (code := sqlstate(error)) is not None:
        return code[:2] in _FAULTS_OF_RECORDS
    if isinstance(error, RecursionError):
        return True
    # uvloop tells a connection that was reset a moment ago as a RuntimeError, asyncpg as an error of its own.
    lost = (OSError, EOFError, TimeoutError, RuntimeError, InterfaceError, InternalClientError, SQLAlchemyError)
    return not isinstance(error, (*lost, MemoryError, store.ClaimMovedError))
