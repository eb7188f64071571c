"""A tracker's connection to the simulated PostgreSQL: each of its statements may fail, or be the process's last."""

import asyncio
import contextvars
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple

import asyncpg
from asyncpg.exceptions import InterfaceError, PostgresError

from tests.faults.simulated_clock import Process
from tests.faults.simulated_postgres import IDLE_LIMIT_S, Server

FaultKind = Literal[
    "connection lost",
    "connection lost unseen",
    "answer lost",
    "deadlock",
    "serialization",
    "disk full",
    "read only",
    "time-out",
    "killed before",
    "killed after",
    "paused before",
    "paused after",
]
ERRORS: Final[dict[str, Callable[[str], Exception]]] = {
    "deadlock": asyncpg.DeadlockDetectedError,
    "serialization": asyncpg.SerializationError,
    "disk full": asyncpg.DiskFullError,
    "read only": asyncpg.ReadOnlySQLTransactionError,
    "time-out": asyncpg.QueryCanceledError,
}
COMMIT: Final = "COMMIT;"
ENDS: Final = frozenset({COMMIT, "ROLLBACK;"})
OF_THE_SESSION: Final = ("SET ", "CREATE TEMPORARY TABLE IF NOT EXISTS ")
"""What holds for as long as a real connection lives, and is asked of it only once."""
STATEMENTS: Final = {
    "SELECT topic": "lock positions",
    "SELECT claim_id, version": "lock claims",
    "SELECT claim_id, identity": "look up",
    "SELECT floor": "clock",
    "SELECT claim_id, body": "read events",
    "UPDATE claim": "update claims",
    "INSERT INTO gap": "gaps",
    "INSERT INTO rollup": "rollups",
    "UPDATE position": "advance",
    "SELECT DISTINCT": "read positions",
    "INSERT INTO position": "open",
}


class StatementFault(NamedTuple):
    """What happens at the first statement of this name (of any, where it is empty) after so many others."""

    after: int
    name: str
    kind: FaultKind
    seconds: float
    """Of a pause, until a time-out, or until the server sees that nobody is there."""


class Network:
    """What lies between the trackers of one schedule and PostgreSQL: which statement fails next, and how."""

    def __init__(
        self,
        server: Server,
        planned: Sequence[StatementFault],
        on_process: Callable[[Process, StatementFault], None],
        note: Callable[..., None],
    ) -> None:
        self.server = server
        self._planned = list(planned)
        self._passed = 0
        self._on_process = on_process
        self.note = note
        self.away = False
        """Whether nothing gets through."""
        self.fired: Counter[str] = Counter()
        self._leases: list[Lease] = []

    def stop_failing(self) -> None:
        """Let all get through from now on."""
        self._planned.clear()
        self.away = False

    def lend(self, real: asyncpg.Connection, process: Process) -> asyncpg.Connection:
        """Return a connection for a process."""
        if not process.alive:
            raise asyncio.CancelledError
        if self.away:
            raise ConnectionRefusedError
        lease = Lease(self, real, process)
        self._leases.append(lease)
        return lease

    def cut(self, process: Process, after_s: float = 0) -> None:
        """Cut all of a process's connections; the server sees it now or only later."""
        for lease in self._leases:
            if lease.process is process:
                lease.lose(after_s)
        self._leases = [lease for lease in self._leases if not lease.is_closed()]

    def cut_all(self) -> None:
        """Cut every connection, as a server does that ends."""
        for lease in self._leases:
            lease.lose()
        self._leases.clear()

    def next(self, name: str) -> StatementFault | None:
        """Return what happens at this statement."""
        self._passed += 1
        if not self._planned:
            return None
        fault = self._planned[0]
        if self._passed <= fault.after or fault.name not in ("", name):
            return None
        self._passed = 0
        self.fired[fault.kind] += 1
        return self._planned.pop(0)

    async def strike(self, process: Process, fault: StatementFault) -> None:
        """Kill or pause the process that is at a statement."""
        self._on_process(process, fault)
        await asyncio.sleep(0)  # from here on it does not go on


class Lease(asyncpg.Connection):
    """A connection as one process has it, over one that outlives it: logging in takes longer than a schedule."""

    def __init__(self, network: Network, real: asyncpg.Connection, process: Process) -> None:
        # What asyncpg's own transactions look at; all else goes to the real connection.
        self._protocol = real._protocol  # noqa: SLF001
        self._top_xact = None
        self._pool_release_ctr = 0
        self._network = network
        self._real = real
        self.process = process
        self._is_open = True
        self._idle: asyncio.TimerHandle | None = None

    def __del__(self) -> None:
        """Leave nothing to warn of: what a process leaves open, the world closes."""

    def is_closed(self) -> bool:
        """Say whether the process knows that the connection is gone."""
        return not self._is_open

    def lose(self, after_s: float = 0) -> None:
        """Cut the connection; the server sees it now, or only later and keeps its locks until then."""
        if self._is_open:
            self._is_open = False
            if self._idle:
                self._idle.cancel()
            self._network.server.give_back(self._real, after_s if self._real.is_in_transaction() else 0)

    async def close(self, **_: Any) -> None:  # noqa: ANN401
        """Close it, as the process asks."""
        if self.process.alive:
            self.lose()

    def terminate(self) -> None:
        """Close it, as the process asks."""
        if self.process.alive:
            self.lose()

    async def set_type_codec(self, *_: Any, **__: Any) -> None:  # noqa: ANN401
        """Do nothing: nothing of ours is read through these codecs, and each costs a statement."""

    async def execute(self, query: str, *args: Any, **_: Any) -> str:  # noqa: ANN401
        """Ask as asyncpg does."""
        return str(await self._ask(query, lambda: self._real.execute(query, *args)))

    async def fetch(self, query: str, *args: Any, **_: Any) -> Any:  # noqa: ANN401
        """Ask as asyncpg does."""
        return await self._ask(query, lambda: self._real.fetch(query, *args))

    async def fetchval(self, query: str, *args: Any, **_: Any) -> Any:  # noqa: ANN401
        """Ask as asyncpg does."""
        return await self._ask(query, lambda: self._real.fetchval(query, *args))

    async def executemany(self, command: str, args: Any, **_: Any) -> None:  # noqa: ANN401
        """Ask as asyncpg does."""
        await self._ask(command, lambda: self._real.executemany(command, args))

    async def copy_to_table(self, table_name: str, **options: Any) -> str:  # noqa: ANN401
        """Ask as asyncpg does."""
        return str(await self._ask(f"COPY {table_name}", lambda: self._real.copy_to_table(table_name, **options)))

    async def copy_records_to_table(self, table_name: str, **options: Any) -> str:  # noqa: ANN401
        """Ask as asyncpg does."""
        return str(
            await self._ask(f"COPY {table_name}", lambda: self._real.copy_records_to_table(table_name, **options))
        )

    async def _ask(self, query: str, call: Callable[[], Awaitable[object]]) -> object:
        name, network = statement(query), self._network
        self._check()
        fault = network.next(name)
        network.note(self.process, name, fault.kind if fault else "")
        if network.away:
            self.lose()
            raise _lost()
        if fault:
            await self._before(fault)
        if self._idle:
            self._idle.cancel()
            self._idle = None
        try:
            if name.startswith(OF_THE_SESSION):
                answer = await network.server.ask_once(self._real, name, call)
            else:
                answer = await network.server.ask(self._real, call, ends=name in ENDS)
        except (PostgresError, InterfaceError) as error:
            network.note(self.process, name, type(error).__name__)
            raise
        if fault:
            await self._after(fault)
        self._check()
        if name not in ENDS and self._real.is_in_transaction():
            loop = asyncio.get_running_loop()
            self._idle = loop.call_later(IDLE_LIMIT_S, self.lose, context=contextvars.Context())
        return answer

    def _check(self) -> None:
        if not self.process.alive:
            raise asyncio.CancelledError
        if not self._is_open:
            raise _lost()

    async def _before(self, fault: StatementFault) -> None:
        match fault.kind:
            case "connection lost":
                self.lose()
                raise _lost()
            case "connection lost unseen":
                self.lose(fault.seconds)
                raise _lost()
            case "time-out":
                await asyncio.sleep(fault.seconds)
                self._check()
            case "killed before" | "paused before":
                await self._network.strike(self.process, fault)
                self._check()
        if fault.kind in ERRORS:
            raise ERRORS[fault.kind]("as planned")

    async def _after(self, fault: StatementFault) -> None:
        match fault.kind:
            case "answer lost":
                self.lose()
                raise _lost()
            case "killed after" | "paused after":
                await self._network.strike(self.process, fault)


def _lost() -> asyncpg.ConnectionDoesNotExistError:
    return asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")


@lru_cache
def statement(query: str) -> str:
    """Return a statement's name."""
    words = " ".join(query.split())
    return next((name for begin, name in STATEMENTS.items() if words.startswith(begin)), words[:40])
