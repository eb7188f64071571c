"""The field of a fault: servers behind proxies, supervised trackers, endless records, and the audit of all of it."""

import asyncio
import signal
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from aiokafka.errors import KafkaError
from asyncpg.exceptions import InterfaceError, PostgresError
from confluent_kafka import KafkaException
from pydantic import SecretStr

from events import samples
from services import kafka
from services.database import migrate
from services.settings import Settings
from services.terminal import UNREACHABLE
from services.tracker import STALLED
from tests.faults.auditor import audit, audit_committed, audit_metrics, audit_words
from tests.faults.evidence import QUIET, Log, PartitionLog, Tables, committed, ends, read_log, tables
from tests.faults.proxy import Proxy, proxied, proxied_kafka
from tests.faults.servers import Servers
from tests.faults.wire import PostgreSQL
from tests.running import Process, free_port, publish, publish_elsewhere, until

TROUBLES = samples.Switches(duplicates=0.1, disorder=0.1, conflicts=0.02, poison=0.05)
# Enough for any field: it takes of them what it needs.
CLAIMS = 100_000
BURST = 60
PARTITIONS = 3
BATCH_RECORDS = 20
RESTART_PAUSE_S = 0.1
STOP_LIMIT_S = 15
SHARED_LIMIT_S = 45
"""How long it may take until every tracker has partitions, and something of them."""
LIFE_LIMIT_S = 100_000
LOOK_S = 0.05
FORESEEN = {-signal.SIGKILL, STALLED, UNREACHABLE}
"""How a tracker may end that nobody asked to: killed, by its watchdog, or because it cannot start without a server."""
CAME_BACK_LIMIT_S = 90
"""How long lag may take to fall to zero before a fault counts as not overcome; the targets are shorter."""


# What a tracker's process does first: here it can be killed at named points; of another release it takes all of ours.
_WITH_POINTS = "import tests.faults.killing as killing\nkilling.listen({0!r})"
_OF_A_RELEASE = """
import os
os.chdir({0!r})
from events import codec
from services import tracker
for module in (codec, tracker):
    assert module.__file__.startswith({0!r}), f"took {{module.__file__}} instead of what is in {0}"
"""


class Reading(NamedTuple):
    """What was there before a fault."""

    tables: Tables
    expositions: dict[int, str]
    """Of each tracker by its pid."""


class Endured(NamedTuple):
    """What a fault came to."""

    fired: int
    recovery_s: float
    """From its end until all that was published was in PostgreSQL."""
    records: int
    outcomes: dict[str, int]
    violations: list[str]


class Tracked:
    """A place for one tracker, in which a new one is started whenever it ended, as a supervisor does."""

    def __init__(
        self, settings: Settings, folder: Path, name: str, *, known: bool = True, release: Path | None = None
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._settings = settings.model_copy(
            update={
                "tracker_listen": f"127.0.0.1:{free_port()}",
                # One that Kafka knows by name gets its partitions back at once; another one leaves the group for good.
                "group_instance_id": name if known else None,
            }
        )
        self._first = _OF_A_RELEASE.format(str(release)) if release else _WITH_POINTS.format(str(folder))
        self.process = self._start()
        self.codes: list[int] = []
        self._judged = 0
        self.died_at = 0.0
        """When the last one ended, on the clock of ``time.monotonic``."""
        self._task = asyncio.create_task(self._supervise())

    def _start(self) -> Process:
        return Process(self._settings, ("tracker",), self._settings.tracker_listen, self.log, self._first)

    async def _supervise(self) -> None:
        while True:
            code = await self.process.ended(LIFE_LIMIT_S)
            self.died_at = time.monotonic()
            self.codes.append(code)
            await asyncio.sleep(RESTART_PAUSE_S)
            self.process = self._start()

    def unforeseen(self) -> list[int]:
        """Return the exit codes since the last call that no fault explains."""
        codes, self._judged = self.codes[self._judged :], len(self.codes)
        return [code for code in codes if code not in FORESEEN]

    async def shown(self) -> tuple[int, str]:
        """Return the pid of a process that answers, and what it shows; one that ends meanwhile is not waited for."""
        told: list[tuple[int, str]] = []

        async def answers() -> bool:
            with suppress(OSError):
                told.append((self.process.pid, await self.process.metrics()))
            return bool(told)

        await until(answers, CAME_BACK_LIMIT_S, "a tracker to answer", self.log)
        return told[0]

    async def taken(self) -> float:
        """Return how many records the process that runs now has taken."""
        _, shown = await self.shown()
        return sum(float(line.split()[-1]) for line in shown.splitlines() if line.startswith("claimpath_records_total"))

    async def stop(self) -> None:
        """Stop it in order, for good."""
        await self._let_go()
        with suppress(AssertionError):
            await self.process.stop()
        await self.process.kill()

    async def kill(self) -> None:
        """Kill it, for good."""
        await self._let_go()
        await self.process.kill()

    async def _let_go(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])


class Field:
    """Owns the trackers, and what is known of the log and of the time before a fault."""

    def __init__(
        self, servers: Servers, brokers: Sequence[Proxy], postgres: Proxy, direct: Settings, folder: Path, seed: int
    ) -> None:
        self.servers = servers
        self.stack = servers.stack
        self.kafka = brokers[0]
        """The proxy before Kafka; on a cluster, that before its first broker."""
        self.postgres = postgres
        self.direct = direct
        self.folder = folder
        self.seed = seed
        self.chance = Random(seed)
        self.topics = [*kafka.our_names(direct)]
        url = direct.database_url.get_secret_value()
        server = urlsplit(url)
        self.told = direct.model_copy(
            update={
                "kafka": ",".join(proxy.address for proxy in brokers),
                "database_url": SecretStr(url.replace(f"{server.hostname}:{server.port}", self.postgres.address)),
            }
        )
        self.trackers: dict[str, Tracked] = {}
        self.log: Log = {}
        self.generations: dict[tuple[str, int], int] = {}
        self._numbers = count()
        self._last: Reading | None = None
        self.over_at = 0.0
        self._messages = samples.stream(CLAIMS, seed, TROUBLES)

    # --- what a fault does ---

    async def publish(self, number: int = BURST) -> None:
        """Publish the next records, some with another client, whose partitions for the same claims are others."""
        messages = self.take(number)
        if self.chance.random() < 0.5:
            await publish(self.direct, messages, acks="all")
        else:
            await asyncio.to_thread(publish_elsewhere, self.direct, messages, **QUIET)

    def take(self, number: int) -> list[samples.Message]:
        """Return the next records."""
        return [next(self._messages) for _ in range(number)]

    @asynccontextmanager
    async def publishing(self, pause_s: float = 0.1, number: int = 20) -> AsyncIterator[None]:
        """Publish all the while; where Kafka is away, what could not be published is not missed."""
        over = asyncio.Event()

        async def work() -> None:
            while not over.is_set():
                with suppress(KafkaError):
                    await self.publish(number)
                await asyncio.sleep(pause_s)

        task = asyncio.create_task(work())
        try:
            yield
        finally:
            # Never in the middle of a record: it would come when everybody thinks that all is taken.
            over.set()
            await task

    def start(self, name: str, *, known: bool = True, release: Path | None = None) -> Tracked:
        """Start a tracker and keep it running, known to the group by its name or not, of another release or of ours."""
        assert name not in self.trackers, f"{name} is running"
        self.trackers[name] = Tracked(self.told, self.folder, name, known=known, release=release)
        return self.trackers[name]

    @asynccontextmanager
    async def passing(self, *, dies: bool = False) -> AsyncIterator[None]:
        """Let another tracker join the group, and leave it again or die."""
        name = f"passing-{next(self._numbers)}"
        passing = self.start(name, known=False)
        try:
            yield
        finally:
            del self.trackers[name]
            await (passing.kill() if dies else passing.stop())

    async def stop(self, *names: str) -> None:
        """Stop trackers in order; without a name, all of them."""
        await asyncio.gather(*(self.trackers.pop(name).stop() for name in names or [*self.trackers]))

    async def all_take(self) -> None:
        """Wait until every tracker has taken records since now; needs `publishing`."""
        before = {each: await each.taken() for each in self.trackers.values()}

        async def do() -> bool:
            return all([await each.taken() > taken for each, taken in before.items()])

        await until(do, SHARED_LIMIT_S, f"every tracker to take records (seed {self.seed})", self._newest_log())

    def any_tracker(self) -> Tracked:
        """Return one of the trackers."""
        return self.trackers[self.chance.choice(sorted(self.trackers))]

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        """Lend a connection of the owner, past the proxy."""
        connection = await asyncpg.connect(self.direct.database_url.get_secret_value(), timeout=STOP_LIMIT_S)
        try:
            yield connection
        finally:
            await connection.close()

    async def sql(self, statement: str, *values: object) -> list[Any]:
        """Run a statement as the owner, past the proxy."""
        async with self.connection() as owner:
            return list(await owner.fetch(statement, *values))

    # --- what is held against it ---

    async def endure(self, fault: Any) -> Endured:  # noqa: ANN401  (a Fault, which knows a Field)
        """Let a fault happen, wait until all is taken, and audit everything."""
        # One from before may know of trackers that ended since, and their counters with them.
        before = self._last if self._last and not fault.counts_hold else await self._reading()
        first_end = self._records()
        self.over_at = 0.0
        fired = await fault.strike(self)
        over_at = self.over_at or time.monotonic()
        await self.caught_up()
        recovery_s = time.monotonic() - over_at
        violations = await self.audited(before if fault.counts_hold else None)
        return Endured(fired, recovery_s, self._records() - first_end, self._outcomes(), violations)

    def over(self, at: float | None = None) -> None:
        """Note that what went wrong is over, now or at a time of ``time.monotonic``: from here on recovery counts."""
        self.over_at = at or time.monotonic()

    def _records(self) -> int:
        return sum(len(part.records) for part in self.log.values())

    def _outcomes(self) -> dict[str, int]:
        assert self._last is not None
        rows = self._last.tables.position
        return {name: sum(row[name] for row in rows) for name in ("accepted", "duplicate", "dead_letter", "gap")}

    async def caught_up(self, limit_s: float = CAME_BACK_LIMIT_S) -> float:
        """Wait until all that Kafka holds now is in PostgreSQL; return the seconds that it took."""
        started = time.monotonic()
        wanted: dict[tuple[str, int], int] = {}

        async def reached() -> bool:
            nonlocal wanted
            try:
                wanted = wanted or await asyncio.to_thread(ends, self.direct.kafka, self.topics)
                found = await self.positions()
            except (OSError, PostgresError, InterfaceError, TimeoutError, KafkaException):
                return False
            return all(found.get(part, -1) == end for part, end in wanted.items())

        await until(reached, limit_s, f"PostgreSQL to have all of Kafka (seed {self.seed})", self._newest_log())
        return time.monotonic() - started

    async def positions(self) -> dict[tuple[str, int], int]:
        """Return where each partition stands in its latest generation."""
        rows = await self.sql("SELECT topic, partition, next_offset FROM position ORDER BY generation")
        return {(topic, partition): position for topic, partition, position in rows}

    async def read(self) -> None:
        """Read what Kafka has now; what it deletes later stays known."""
        self.log = await asyncio.to_thread(read_log, self.direct.kafka, self.topics, self.log, self.generations)

    def made_anew(self, topic: str) -> None:
        """Note that a topic was deleted and made again."""
        for part in self.current():
            if part[0] == topic:
                self.generations[part] = self.generations.get(part, 1) + 1

    def current(self) -> dict[tuple[str, int], PartitionLog]:
        """Return the log of the topics that there are now."""
        return {place[:2]: part for place, part in self.log.items() if place[2] == self.generations.get(place[:2], 1)}

    async def _reading(self) -> Reading:
        shown = dict([await each.shown() for each in self.trackers.values()])
        await self.read()
        return Reading(await tables(self.direct.database_url.get_secret_value()), shown)

    async def audited(self, before: Reading | None = None) -> list[str]:
        """Return all that is not as promised; with an earlier reading, what was counted since is looked at too."""
        told = await asyncio.to_thread(committed, self.direct.kafka, self.direct.group, self.topics)
        after = self._last = await self._reading()
        found = audit(self.log, after.tables) + audit_committed(told, after.tables)
        if before and before.expositions.keys() != after.expositions.keys():
            found.append("a tracker ended that had no reason to")
        elif before:
            found += audit_metrics(before.expositions.values(), after.expositions.values(), before.tables, after.tables)
        found += [f"a tracker ended with {code}" for each in self.trackers.values() for code in each.unforeseen()]
        said = self._said() | {"metrics": "".join(after.expositions.values())}
        said["refusals"] = "".join(row["path"] + row["rule"] for row in after.tables.dead_letter)
        found += [f"{place} tells of a bug of ours" for place, text in said.items() if "This is a bug of ours" in text]
        return found + audit_words(self._canaries(), said)

    def _canaries(self) -> set[str]:
        # As JSON has the reference of a patient, and as a message about it might.
        return {f"CLM-{self.seed}-", "p_other", *(f"{before}p_" for before in "\"' =:(")}

    def _said(self) -> dict[str, str]:
        logs = [*self.folder.glob("*.log"), *self.servers.logs]
        return {str(log): log.read_text(errors="replace") for log in logs}

    def _newest_log(self) -> Path | None:
        return max(self.folder.glob("*.log"), key=lambda log: log.stat().st_mtime, default=None)


@asynccontextmanager
async def field_on(servers: Servers, folder: Path, seed: int) -> AsyncIterator[Field]:
    """Open a field with a database and topics of its own on servers, and two trackers that wait for records."""
    name = f"field_{seed}_{uuid.uuid4().hex[:8]}"
    server = urlsplit(servers.database_url)
    owner = await asyncpg.connect(servers.database_url, timeout=STOP_LIMIT_S)
    try:
        await owner.execute(f"CREATE DATABASE {name}")
    finally:
        await owner.close()
    direct = Settings(
        kafka=servers.kafka,
        database_url=SecretStr(urlunsplit(server._replace(path=f"/{name}"))),
        topic_prefix=f"{name}-",
        partitions=PARTITIONS,
        replication=servers.replication,
        group=name,
        batch_records=BATCH_RECORDS,
    )
    await migrate(direct)
    await kafka.create_topics(direct)
    async with (
        proxied_kafka(servers.kafka) as to_kafka,
        proxied(f"{server.hostname}:{server.port}", PostgreSQL) as to_postgres,
    ):
        field = Field(servers, to_kafka, to_postgres, direct, folder, seed)
        try:
            for tracker in ("first", "second"):
                field.start(tracker)
            # Enough that every partition has some.
            await field.publish(3 * BURST)
            await field.caught_up()
            yield field
        finally:
            await field.stop()
