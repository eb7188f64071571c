"""A tracker as a process of its own, what is published for it, and what it made of that."""

import asyncio
import os
import signal
import socket
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from confluent_kafka import Producer
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from events.codec import Record
from events.topics import TOPICS
from services import kafka
from services.settings import Settings, variable
from services.verify import verify

START_LIMIT_S = 30
STOP_LIMIT_S = 15
"""What a supervisor grants between SIGTERM and the kill, and what the tracker promises to need at most."""
CATCH_UP_LIMIT_S = 60
READ_LIMIT_S = 10
LOOK_S = 0.05
COMMAND = "from services.cli import main; main()"


class Process:
    """A process of ours that runs until it is ended, by itself or by a test."""

    def __init__(self, settings: Settings, words: Sequence[str], listen: str, log: Path, first: str = "") -> None:
        self.log = log
        self.metrics_url = f"http://{listen}/metrics"
        with log.open("ab") as output:
            # Not through asyncio: a test that kills many must not wait for its child watcher.
            self.pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-c", f"{first}\n{COMMAND}", *words],
                environment(settings),
                file_actions=[(os.POSIX_SPAWN_DUP2, output.fileno(), descriptor) for descriptor in (1, 2)],
            )
        self._code: int | None = None

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        if self.code() is None:
            os.kill(self.pid, number)

    def code(self) -> int | None:
        """Return the exit code, that of a signal below zero; None while it runs."""
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code

    async def ended(self, limit_s: float) -> int:
        """Wait until it has ended and return the exit code."""
        await until(lambda: self.code() is not None, limit_s, "the process to end", self.log)
        assert self._code is not None
        return self._code

    async def says(self, words: str, limit_s: float = START_LIMIT_S) -> None:
        """Wait until its log holds the words."""

        def said() -> bool:
            assert self.code() is None or words in self.said(), f"ended with {self._code}\n{self.said()[-3000:]}"
            return words in self.said()

        await until(said, limit_s, f"the process to say {words!r}", self.log)

    def said(self) -> str:
        """Return its log."""
        return self.log.read_text(errors="replace")

    async def stop(self) -> float:
        """Ask it to end, as a supervisor does; return the seconds that it took."""
        started = time.monotonic()
        self.send(signal.SIGTERM)
        code = await self.ended(STOP_LIMIT_S)
        assert code == 0, f"ended with {code}\n{self.said()[-3000:]}"
        return time.monotonic() - started

    async def kill(self) -> None:
        """Kill it, as a machine that loses power does."""
        self.send(signal.SIGKILL)
        await self.ended(STOP_LIMIT_S)

    async def metrics(self) -> str:
        """Return what it shows to Prometheus."""
        return await asyncio.to_thread(_read, self.metrics_url)

    async def metrics_answer(self) -> bool:
        """Say whether it serves its metrics."""
        try:
            await self.metrics()
        except OSError:
            return False
        return True


@asynccontextmanager
async def tracker(settings: Settings, log: Path, first: str = "", **changes: object) -> AsyncIterator[Process]:
    """Run a tracker, with some settings of its own, after some Python; whatever the test leaves running is killed."""
    own = settings.model_copy(update={"tracker_listen": f"127.0.0.1:{free_port()}", **changes})
    process = Process(own, ("tracker",), own.tracker_listen, log, first)
    try:
        yield process
    finally:
        await process.kill()


@asynccontextmanager
async def watch(settings: Settings, folder: Path, log: Path) -> AsyncIterator[Process]:
    """Run `claimpath intake watch` over a folder; whatever the test leaves running is killed."""
    own = settings.model_copy(update={"watch_listen": f"127.0.0.1:{free_port()}"})
    process = Process(own, ("intake", "watch", str(folder)), own.watch_listen, log)
    try:
        yield process
    finally:
        await process.kill()


@asynccontextmanager
async def supervised(settings: Settings, log: Path) -> AsyncIterator[None]:
    """Run a tracker, and another one whenever it has ended itself to be started afresh."""

    async def work() -> None:
        code = 70
        while code == 70:
            async with tracker(settings, log) as running:
                code = await running.ended(3600)

    task = asyncio.create_task(work())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def environment(settings: Settings) -> dict[str, str]:
    """Return this process's environment with the settings in it."""
    given = {name: value for name, value in settings if value is not None}
    for name, value in given.items():
        given[name] = value.get_secret_value() if isinstance(value, SecretStr) else value
    return {**os.environ, **{variable(name): str(value) for name, value in given.items()}}


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=START_LIMIT_S) as answer:  # noqa: S310  (our own)
        return str(answer.read().decode())


async def until(holds: Any, limit_s: float, what: str, log: Path | None = None) -> float:  # noqa: ANN401  (any question)
    """Wait until something holds, asked again and again; return the seconds that it took."""
    started = time.monotonic()
    while True:
        answer = holds()
        if await answer if asyncio.iscoroutine(answer) else answer:
            return time.monotonic() - started
        said = log.read_text(errors="replace")[-3000:] if log and log.exists() else ""
        assert time.monotonic() - started < limit_s, f"waited {limit_s} s for {what}\n{said}"
        await asyncio.sleep(LOOK_S)


# --- into Kafka ---


async def publish(settings: Settings, records: Iterable[Record], **options: Any) -> None:  # noqa: ANN401
    """Publish with aiokafka, which chooses partitions as Java does; only this client can send null headers."""
    async with producer(settings, **options) as client:
        await send(settings, client, records)


@asynccontextmanager
async def producer(settings: Settings, **options: Any) -> AsyncIterator[AIOKafkaProducer]:  # noqa: ANN401
    """Lend a producer."""
    async with AIOKafkaProducer(bootstrap_servers=settings.kafka, linger_ms=2, **options) as client:
        yield client


async def send(settings: Settings, client: AIOKafkaProducer, records: Iterable[Record]) -> None:
    """Send records and wait until all are acknowledged."""
    sent = [
        await client.send(kafka.topic(settings, each.topic), each.value, key=each.key, headers=[*each.headers])
        for each in records
    ]
    await asyncio.gather(*sent)


def publish_elsewhere(settings: Settings, records: Sequence[Record], **options: str) -> None:
    """Publish with librdkafka, whose partitions for the same keys are others."""
    client = Producer({"bootstrap.servers": settings.kafka, "linger.ms": 2, **options})
    for each in records:
        # The C client takes null headers too.
        client.produce(kafka.topic(settings, each.topic), each.value, each.key, headers=[*each.headers])
        client.poll(0)
    assert client.flush(START_LIMIT_S) == 0


@asynccontextmanager
async def publishing(settings: Settings, records: Sequence[Record], a_second: int) -> AsyncIterator[None]:
    """Publish in the background at this pace; at the end wait until all is published."""

    async def work() -> None:
        async with producer(settings) as client:
            for start in range(0, len(records), a_second // 10):
                await send(settings, client, records[start : start + a_second // 10])
                await asyncio.sleep(0.1)

    task = asyncio.create_task(work())
    try:
        yield
        await task
    finally:
        task.cancel()


async def make_topic(admin: AIOKafkaAdminClient, settings: Settings, name: str) -> None:
    """Make one topic again after it was deleted, as soon as Kafka lets us."""

    async def made() -> bool:
        answer: Any = await admin.create_topics([NewTopic(kafka.topic(settings, name), settings.partitions, 1)])
        return not any(code for _, code, _ in answer.topic_errors)

    await until(made, START_LIMIT_S, "the topic to be made again")


# --- what became of it ---


async def read(kafka: str, names: dict[str, str], count: int) -> list[Record]:
    """Read this many records from the beginning, as of the topics that the names stand for."""
    consumer = AIOKafkaConsumer(*names, bootstrap_servers=kafka, auto_offset_reset="earliest")
    await consumer.start()
    try:
        found: list[Record] = []
        while len(found) < count:
            batches = await consumer.getmany(timeout_ms=READ_LIMIT_S * 1000)
            assert batches, f"{len(found)} of {count} records came"
            for records in batches.values():
                found += [Record(names[record.topic], record.key, record.value, record.headers) for record in records]
        return found
    finally:
        await consumer.stop()


def _url(settings: Settings) -> str:
    return settings.database_url.get_secret_value().replace("postgresql:", "postgresql+asyncpg:")


async def rows(settings: Settings, statement: str, **parameters: object) -> list[Any]:
    """Run one statement as the owner and return what it returns."""
    engine = create_async_engine(_url(settings), poolclass=NullPool)
    async with engine.begin() as connection:
        result = await connection.execute(text(statement), parameters)
        return [*result.all()] if result.returns_rows else []


class Outcomes(NamedTuple):
    """How many offsets came out how, over all partitions."""

    accepted: int
    duplicate: int
    dead_letter: int
    gap: int

    @property
    def records(self) -> int:
        """How many of the offsets held a record."""
        return self.accepted + self.duplicate + self.dead_letter


async def outcomes(settings: Settings) -> Outcomes:
    """Return what the positions count."""
    (found,) = await rows(
        settings,
        "SELECT coalesce(sum(accepted), 0), coalesce(sum(duplicate), 0), coalesce(sum(dead_letter), 0),"
        " coalesce(sum(gap), 0) FROM position",
    )
    return Outcomes(*map(int, found))


async def ends(settings: Settings) -> dict[tuple[str, int], int]:
    """Return the end of each partition's log."""
    async with AIOKafkaConsumer(bootstrap_servers=settings.kafka, isolation_level="read_committed") as consumer:
        names = [kafka.topic(settings, name) for name in TOPICS]
        parts = [TopicPartition(name, number) for name in names for number in range(settings.partitions)]
        found = await consumer.end_offsets(parts)
    return {(part.topic, part.partition): offset for part, offset in found.items()}


async def positions(settings: Settings) -> dict[tuple[str, int], int]:
    """Return where each partition stands in its latest generation."""
    found = await rows(settings, "SELECT topic, partition, next_offset FROM position ORDER BY generation")
    return {(topic, partition): position for topic, partition, position in found}


async def caught_up(settings: Settings, limit_s: float = CATCH_UP_LIMIT_S, log: Path | None = None) -> float:
    """Wait until all that Kafka holds now is in PostgreSQL; return the seconds that it took."""
    wanted = await ends(settings)

    async def reached() -> bool:
        done = await positions(settings)
        return all(done.get(part, -1) >= end for part, end in wanted.items())

    return await until(reached, limit_s, "PostgreSQL to have all of Kafka", log)


async def nothing_differs(settings: Settings) -> None:
    """Say that every claim, rollup and position is what a naive second telling of the event log makes it."""
    report = await verify(settings)
    assert report.difference_count == 0, report.differences[:5]
    strangers = await rows(
        settings,
        'SELECT topic, partition, generation, "offset" FROM dead_letter'
        ' GROUP BY cluster_id, topic, partition, generation, "offset" HAVING count(*) > 1',
    )
    assert strangers == []


async def committed_is_never_ahead(settings: Settings) -> int:
    """Say that no offset which Kafka keeps for the group is beyond PostgreSQL's; return how many it keeps."""
    # Asked first: PostgreSQL can only have gone on meanwhile.
    async with kafka.administration(settings, application="test") as admin:
        kept = await admin.list_consumer_group_offsets(settings.group)
    done = await positions(settings)
    ahead = {
        part: told.offset for part, told in kept.items() if told.offset > done.get((part.topic, part.partition), 0)
    }
    assert ahead == {}
    return len(kept)


# A claim that the database refuses, with words that must not be repeated.
REFUSING = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.claim_id LIKE '%-REFUSED' THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'refused', DETAIL = NEW.body;
    END IF;
    RETURN NEW;
END $$
"""


async def refuse(settings: Settings) -> None:
    """Let the database refuse claims whose id says so."""
    await rows(settings, REFUSING)
    await rows(settings, "CREATE TRIGGER refusing BEFORE INSERT ON event FOR EACH ROW EXECUTE FUNCTION refuse()")
