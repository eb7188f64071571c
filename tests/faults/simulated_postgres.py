"""A real PostgreSQL that is asked one statement at a time, so that a schedule repeats itself exactly."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Final, TypeVar

import asyncpg
from asyncpg.exceptions import InterfaceError, PostgresError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from services.database import LOCK_LIMIT_MS, QUICK
from tests.faults.simulated_clock import PROCESS, Process, SimulatedLoop

QUICKEST_S: Final = 0.0005
SLOWEST_S: Final = 0.003
"""How long an answer takes, in simulated time."""
LOCK_LIMIT_S: Final = LOCK_LIMIT_MS / 1000
IDLE_LIMIT_S: Final = QUICK.idle_in_transaction_ms / 1000
CONNECTIONS: Final = 12
ROLE: Final = "claimpath_tracker"

Call = Callable[[], Awaitable[object]]
Job = Callable[[], Awaitable[None]]
T = TypeVar("T")


_NONE: Final = object()


class _Statement:
    """A statement at the server."""

    def __init__(self, connection: asyncpg.Connection, answer: asyncio.Future[Any]) -> None:
        self.connection = connection
        self.answer = answer
        self.outcome: object = _NONE
        """What the server answered, its error if it is one."""


class Server:
    """Owns the connections to the server and the order in which it is asked."""

    def __init__(self, loop: SimulatedLoop, address: str) -> None:
        self._loop = loop
        self._address = address
        self._idle: list[asyncpg.Connection] = []
        self._jobs: asyncio.Queue[Job] = asyncio.Queue()
        self._known: set[tuple[asyncpg.Connection, str]] = set()
        self._wake = asyncio.Event()
        self._stalled = asyncio.Event()
        self._looking = asyncio.Lock()
        self._asked: _Statement | None = None
        self._waiting: dict[asyncpg.Connection, _Statement] = {}
        self._chance = Random(0)
        self._start_worker()
        self._watcher = loop.create_task(self._watch())
        self._watcher.add_done_callback(self._must_not_fail)
        self.lock_waits = 0
        self._late: list[tuple[asyncio.TimerHandle, Job]] = []
        self.lend: Callable[[asyncpg.Connection, Process], asyncpg.Connection] = _refuse
        """What a process gets over a connection of ours; raises OSError where it cannot connect."""
        loop.on_stall = self._on_stall
        self.engine: AsyncEngine = create_async_engine(
            "postgresql+asyncpg://", async_creator=self._client, poolclass=NullPool, hide_parameters=True
        )

    async def start(self) -> None:
        """Connect; the engine asks once what server this is."""
        with self._loop.really():
            self._owner = await self._connect({})
            self._monitor = await self._connect({})
            # Enough for nearly any schedule: making one takes turns, which another run of the seed might not need.
            self._idle += [await self._connect({"role": ROLE}) for _ in range(CONNECTIONS)]
            async with self.engine.connect():
                pass

    async def close(self) -> None:
        """Close all connections."""
        self._loop.on_stall = lambda: None
        with self._loop.really():
            for connection in (*self._idle, self._owner, self._monitor):
                await connection.close()
        for task in (self._worker, self._watcher):
            task.cancel()
        await asyncio.sleep(0)

    def begin(self, seed: int) -> None:
        """Begin a schedule: its answers take as long as the seed says."""
        self._chance = Random(f"{seed}:answers")
        self.lock_waits = 0

    async def tell(self, work: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
        """Return what some work on a connection of the world's returns; takes no simulated time."""
        answer: asyncio.Future[T] = self._loop.create_future()

        async def ask() -> None:
            _set(answer, await _outcome(lambda: work(self._owner)))

        self._jobs.put_nowait(ask)
        return await answer

    async def ask(self, connection: asyncpg.Connection, call: Call, *, ends: bool) -> Any:  # noqa: ANN401
        """Return what the server answers to a process's statement; ``ends`` says that it lets go of locks."""
        statement = _Statement(connection, self._loop.create_future())

        async def execute() -> None:
            self._asked = statement
            statement.outcome = await _outcome(call)
            if connection in self._waiting:
                # This worker was left behind for a lock, and another took over: what it counts was taken back.
                self._loop.at_server += 1
                self._wake.set()
                self._jobs.put_nowait(self._settle)
                raise asyncio.CancelledError
            self._asked = None
            self._answer(statement)
            if ends or isinstance(statement.outcome, Exception):
                await self._settle()

        self._jobs.put_nowait(execute)
        try:
            return await statement.answer
        except asyncio.CancelledError:
            process = PROCESS.get()
            if process and process.alive:  # asyncpg has the server give up what it does for nobody
                self._give_up(statement)
            raise

    async def ask_once(self, connection: asyncpg.Connection, name: str, call: Call) -> Any:  # noqa: ANN401
        """Ask what holds for as long as a connection lives; asked again, it only takes its turn and its time."""
        known = (connection, name) in self._known
        self._known.add((connection, name))
        return await self.ask(connection, _nothing if known else call, ends=False)

    def give_back(self, connection: asyncpg.Connection, after_s: float = 0) -> None:
        """Roll back what is open, as when a client's socket closes, and keep the connection for another client.

        Where the server hears of it only later, the locks are kept until then.
        """

        async def roll_back() -> None:
            if connection in self._waiting:
                await self._cancel(self._waiting[connection])
            if connection.is_in_transaction():
                await connection.execute("ROLLBACK")
                await self._settle()
            self._idle.append(connection)

        if after_s:
            # Not on behalf of the process, which may be paused or gone by then.
            timer = self._loop.call_later(after_s, self._jobs.put_nowait, roll_back, context=contextvars.Context())
            self._late.append((timer, roll_back))
        else:
            self._jobs.put_nowait(roll_back)

    def end_what_is_late(self) -> None:
        """See now, at a schedule's end, which clients are gone."""
        for timer, roll_back in self._late:
            if timer.when() > self._loop.time():
                timer.cancel()
                self._jobs.put_nowait(roll_back)
        self._late.clear()

    # --- one at a time ---

    def _start_worker(self) -> None:
        self._worker = self._loop.create_task(self._work(), context=contextvars.Context())
        self._worker.add_done_callback(self._must_not_fail)

    async def _work(self) -> None:
        while True:
            job = await self._jobs.get()
            with self._loop.really():
                await job()

    async def _watch(self) -> None:
        """Leave a statement that waits for another's lock to itself, so that the other can go on."""
        while True:
            await self._stalled.wait()
            self._stalled.clear()
            statement = self._asked
            if statement is None:
                continue
            with self._loop.really():
                blocked = await self._is_blocked(statement.connection)
            if blocked and self._asked is statement:
                self.lock_waits += 1
                self._asked = None
                self._waiting[statement.connection] = statement
                self._loop.call_later(LOCK_LIMIT_S, self._give_up, statement)
                self._loop.at_server -= 1  # the worker's that waits
                self._start_worker()

    def _on_stall(self) -> None:
        self._wake.set()
        if self._asked:
            self._stalled.set()

    def _give_up(self, statement: "_Statement") -> None:
        async def cancel() -> None:
            if self._waiting.get(statement.connection) is statement:
                await self._cancel(statement)

        self._jobs.put_nowait(cancel)

    async def _is_blocked(self, connection: asyncpg.Connection) -> bool:
        return bool(await self._look("SELECT cardinality(pg_blocking_pids($1)) > 0", connection))

    async def _look(self, question: str, connection: asyncpg.Connection) -> object:
        async with self._looking:
            return await self._monitor.fetchval(question, connection.get_server_pid())

    async def _settle(self) -> None:
        """Let those go on who waited for a lock that is free now, until all who wait have reason to."""
        again = True
        while again and self._waiting:
            again = False
            for statement in list(self._waiting.values()):
                while statement.outcome is _NONE and not await self._is_blocked(statement.connection):
                    self._wake.clear()
                    if statement.outcome is _NONE:
                        await self._wake.wait()
                if statement.outcome is not _NONE:
                    del self._waiting[statement.connection]
                    self._answer(statement)
                    again = True

    async def _cancel(self, statement: "_Statement") -> None:
        """End a statement that waited for too long, or for a client that is gone."""
        await self._look("SELECT pg_cancel_backend($1)", statement.connection)
        while statement.outcome is _NONE:
            self._wake.clear()
            await self._wake.wait()
        del self._waiting[statement.connection]
        statement.outcome = asyncpg.LockNotAvailableError("canceling statement due to lock timeout")
        self._answer(statement)
        await self._settle()

    def _must_not_fail(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self._loop.on_stall = task.result  # raises, and with it the whole run
            self._loop.at_server += 1

    def _answer(self, statement: "_Statement") -> None:
        took_s = self._chance.uniform(QUICKEST_S, SLOWEST_S)
        self._loop.call_later(took_s, _set, statement.answer, statement.outcome)

    # --- connections ---

    async def _client(self, *_: object, **__: object) -> asyncpg.Connection:
        process = PROCESS.get()
        if process is None:  # the engine's first look at the server
            return await self._connect({})
        if not self._idle:
            await self._one_more()
        connection = self.lend(self._idle[-1], process)
        self._idle.pop()
        return connection

    async def _one_more(self) -> None:
        answer: asyncio.Future[None] = self._loop.create_future()

        async def connect() -> None:
            self._idle.append(await self._connect({"role": ROLE}))
            _set(answer, None)

        self._jobs.put_nowait(connect)
        await answer

    async def _connect(self, settings: dict[str, str]) -> asyncpg.Connection:
        connection: asyncpg.Connection = await asyncpg.connect(
            self._address,
            ssl=False,
            server_settings={
                "synchronous_commit": "off",  # nobody cuts the power of this server
                "deadlock_timeout": "1ms",  # and nothing but deadlocks takes long
                "TimeZone": "UTC",
                "jit": "off",
                **settings,
            },
        )
        return connection


async def _nothing() -> None:
    """Ask nothing."""


async def _outcome(call: Call) -> object:
    """Return what a statement returns, or the error that it ends with."""
    try:
        return await call()
    except (PostgresError, InterfaceError, OSError) as error:
        return error


def _set(answer: asyncio.Future[Any], outcome: object) -> None:
    if answer.done():
        return
    if isinstance(outcome, Exception):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)


def _refuse(_connection: asyncpg.Connection, _process: Process) -> asyncpg.Connection:
    raise ConnectionRefusedError("no schedule runs")
