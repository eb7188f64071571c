"""The rounds: each measures the whole path, COPY alone and one ORM session per event, on fresh databases in turn."""

import socket
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from aiokafka.admin import AIOKafkaAdminClient
from pydantic import SecretStr

from infra.devstack import Stack
from services import database
from services.settings import Settings
from tests.bench import backlog, child, copy_alone, orm_per_event, whole_path
from tests.bench.backlog import Backlog
from tests.bench.child import Spent

STATEMENT_LIMIT_S: Final = 300.0


class Round(NamedTuple):
    """What one round measured; COPY in seconds, of streams made before and of rows that the driver encodes."""

    whole: Spent
    copy_s: float
    copy_by_driver_s: float
    orm: Spent


class Measured(NamedTuple):
    """All rounds, and what they went over."""

    backlog: Backlog
    sample: Backlog
    """The backlog of the ORM, which would need an hour for the other."""
    batch_records: int
    servers: dict[str, str]
    """What PostgreSQL says of itself."""
    rounds: list[Round]


async def measure(stack: Stack, claims: int, sample: int, rounds: int, report: Callable[[str], None]) -> Measured:
    """Measure so many rounds; ``sample`` are the ORM's claims. Raises WrongWork where one did not do its work."""
    bench = Bench(stack)
    async with bench.ready():
        report(f"publishing the events of {claims:,} claims")
        full = await backlog.make(bench.settings("all-"), claims)
        few = await backlog.make(bench.settings("few-"), sample)
        measured = Measured(full, few, bench.settings().batch_records, await bench.servers(), [])
        batches: list[bytes] = []
        for number in range(1, rounds + 1):
            whole, batches = await bench.whole_path(full, batches)
            copy_s, copy_by_driver_s = await bench.copy_alone(full, batches, measured.batch_records)
            orm = await bench.orm(few)
            measured.rounds.append(Round(whole, copy_s, copy_by_driver_s, orm))
            told = ", ".join(
                f"{name} {events / seconds:,.0f}"
                for name, events, seconds in (
                    ("whole path", full.events, whole.seconds),
                    ("COPY", full.events, copy_s),
                    ("COPY by the driver", full.events, copy_by_driver_s),
                    ("ORM", few.events, orm.seconds),
                )
            )
            report(f"round {number} of {rounds}, events/s: {told}")
    return measured


async def profile(stack: Stack, claims: int, report: Callable[[str], None]) -> float:
    """Run the whole path once under the profiler, which prints; return events/s, which the profiler lowers."""
    bench = Bench(stack)
    async with bench.ready():
        report(f"publishing the events of {claims:,} claims")
        full = await backlog.make(bench.settings("all-"), claims)
        spent, _ = await bench.whole_path(full, [], profiled=True)
    return full.events / spent.seconds


class Bench:
    """The servers, and the names under which one run keeps its databases and topics."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._name = f"bench_{uuid.uuid4().hex[:8]}"
        self._pids = {each.name: each.pid for each in stack.status() if each.pid is not None}

    def settings(self, topics: str = "", of_database: str = "template") -> Settings:
        """Return what a process is told: topics that begin so, a database, a group of its own."""
        return Settings(
            kafka=self._stack.kafka,
            database_url=SecretStr(self._address(of_database)),
            topic_prefix=f"{self._name}-{topics}",
            group=f"{self._name}-{uuid.uuid4().hex}",
            tracker_listen=f"127.0.0.1:{_free_port()}",
        )

    @asynccontextmanager
    async def ready(self) -> AsyncIterator[None]:
        """Make the database of which every measurement gets a copy; leave nothing behind."""
        await self._as_owner(f"CREATE DATABASE {self._name}_template")
        await database.migrate(self.settings())
        try:
            yield
        finally:
            await self._as_owner(f"DROP DATABASE {self._name}_template WITH (FORCE)")
            admin = AIOKafkaAdminClient(bootstrap_servers=self._stack.kafka)
            await admin.start()
            await admin.delete_topics([name for name in await admin.list_topics() if name.startswith(self._name)])
            await admin.close()

    async def servers(self) -> dict[str, str]:
        """Return the settings of PostgreSQL that decide its speed."""
        async with self._connected("template") as connection:
            names = ("server_version", "fsync", "synchronous_commit", "shared_buffers", "wal_compression")
            return {name: await connection.fetchval(f"SHOW {name}") for name in names}

    async def whole_path(
        self, full: Backlog, batches: list[bytes], *, profiled: bool = False
    ) -> tuple[Spent, list[bytes]]:
        """Measure the tracker; also return the rows that it wrote, the first time they are asked for."""
        async with self.fresh("whole") as connection:
            given = self.settings("all-", "whole")
            spent = await child.measure(self._pids, whole_path.run, given, full.records, profiled)
            await backlog.check_positions(connection, full)
            await backlog.check_claims(connection, full)
            return spent, batches or await copy_alone.rows_of(connection, given.batch_records)

    async def copy_alone(self, full: Backlog, batches: list[bytes], batch_records: int) -> tuple[float, float]:
        """Measure COPY; return its seconds, of streams and of rows that the driver encodes."""
        async with self.fresh("copy") as connection:
            seconds = await copy_alone.run(connection, batches)
            await backlog.check_copied(connection, full)
        async with self.fresh("copy") as connection:
            by_driver_s = await copy_alone.run_by_driver(connection, batches, batch_records)
            await backlog.check_copied(connection, full)
        return seconds, by_driver_s

    async def orm(self, few: Backlog) -> Spent:
        """Measure one ORM session per event."""
        async with self.fresh("orm") as connection:
            spent = await child.measure(self._pids, orm_per_event.run, self.settings("few-", "orm"), few.records)
            await backlog.check_claims(connection, few)
            return spent

    @asynccontextmanager
    async def fresh(self, name: str) -> AsyncIterator[asyncpg.Connection]:
        """Lend an empty database with the schema."""
        await self._as_owner(f"CREATE DATABASE {self._name}_{name} TEMPLATE {self._name}_template")
        # What the measurement before left to be written must not be written in this one's time.
        await self._as_owner("CHECKPOINT")
        async with self._connected(name) as connection:
            yield connection
        await self._as_owner(f"DROP DATABASE {self._name}_{name} WITH (FORCE)")

    async def _as_owner(self, statement: str) -> None:
        connection = await asyncpg.connect(self._stack.database_url, command_timeout=STATEMENT_LIMIT_S)
        await connection.execute(statement)
        await connection.close()

    @asynccontextmanager
    async def _connected(self, name: str) -> AsyncIterator[asyncpg.Connection]:
        connection = await asyncpg.connect(self._address(name), command_timeout=STATEMENT_LIMIT_S)
        try:
            yield connection
        finally:
            await connection.close()

    def _address(self, name: str) -> str:
        return urlunsplit(urlsplit(self._stack.database_url)._replace(path=f"/{self._name}_{name}"))


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
