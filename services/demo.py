"""The demo: servers, tracker and API of its own, claims as clinics live them, and what becomes of them, live."""

import asyncio
import itertools
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

from msgspec import Struct
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from events import samples
from infra.devstack import Stack
from infra.server_process import ServerProcess
from services import database, kafka
from services.demo_screen import Progress, Screen, Timing, progress_of
from services.publish import publish
from services.settings import Settings, host_and_port, variable
from services.verify import verify

EVENTS_PER_S: Final = 250
"""Of the live demo: quick enough to see claims move, slow enough to follow them."""
PARTITIONS: Final = 6
LOOK_S: Final = 0.5
"""Between two looks at the database."""
START_LIMIT_S: Final = 30.0
"""For tracker and API to answer."""
DRAIN_LIMIT_S: Final = 600.0
"""For the last record to be taken after it was published."""
TROUBLES: Final = samples.Switches(duplicates=0.02, disorder=0.03, lateness=0.01, conflicts=0.002, poison=0.005)
# The first claims are half a year old by now, and the last have no answer yet, as on any day in a practice.
PAST_DAYS: Final = 150

Say = Callable[[str], None]
Processes = list[ServerProcess]


class Summary(Struct, frozen=True):
    """What a demo that ran to its end tells; every published record is in exactly one of the three outcomes."""

    published: int
    accepted: int
    duplicates: int
    dead_letters: int
    waiting: int
    set_aside: int
    claims_by_state: dict[str, int]
    timing: dict[str, dict[str, Timing]]
    verify_differences: int
    seconds: float

    @property
    def holds(self) -> bool:
        """Whether every record is accounted for and verify found nothing."""
        accounted = self.accepted + self.duplicates + self.dead_letters
        return accounted == self.published and not self.verify_differences


class Told(Struct):
    """How many records were handed to Kafka so far."""

    records: int = 0


class DemoFailed(Exception):
    """The demo cannot go on; the message says why and which log tells more."""


def once(claims: int, seed: int, say: Say) -> Summary:
    """Publish that many claims, wait until they are taken, verify, and stop everything."""
    with _servers(say) as (settings, processes):
        return asyncio.run(_once(settings, processes, claims, seed, say))


def live(claims: int, seed: int, say: Say) -> None:
    """Publish claims at an easy pace, that many with each seed, and show them until interrupted."""
    with _servers(say) as (settings, processes):
        asyncio.run(_live(settings, processes, claims, seed, say))


async def _once(settings: Settings, processes: Processes, claims: int, seed: int, say: Say) -> Summary:
    await _ready(settings, processes, say)
    started = time.monotonic()
    say(f"publishing {claims:,} claims")
    published = await publish(settings, _told(claims, seed))
    async with _reader(settings) as engine:
        say(f"{published:,} records are published: waiting until all are taken")
        progress = await _drained(engine, processes, published)
    say("verifying every claim by a second telling of the rules")
    report = await verify(settings)
    return _summary(progress, report.difference_count, time.monotonic() - started)


async def _live(settings: Settings, processes: Processes, claims: int, seed: int, say: Say) -> None:
    await _ready(settings, processes, say)
    told = Told()
    publishing = asyncio.create_task(publish(settings, _told_slowly(claims, seed, told)))
    try:
        async with _reader(settings) as engine:
            with Screen(_addresses(settings)) as screen:
                while not publishing.done():
                    screen.show(await progress_of(engine, told.records))
                    _see_to(processes)
                    await asyncio.sleep(LOOK_S)
        publishing.result()
    finally:
        publishing.cancel()


@contextmanager
def _servers(say: Say) -> Iterator[tuple[Settings, Processes]]:
    """Start the servers and lend what starts the rest; on the way out stop everything, whatever the reason."""
    # A supervisor's SIGTERM takes the way of Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with Stack(report=say, quick_jit=True) as stack:
        settings = Settings(
            kafka=stack.kafka,
            database_url=SecretStr(stack.database_url),
            partitions=PARTITIONS,
            tracker_listen=f"127.0.0.1:{_free_port(9464)}",
            api_listen=f"127.0.0.1:{_free_port(8080)}",
        )
        processes = [ServerProcess(name, stack.directory) for name in ("tracker", "api")]
        try:
            yield settings, processes
        finally:
            for process in processes:
                process.stop(signal.SIGTERM)


async def _ready(settings: Settings, processes: Processes, say: Say) -> None:
    """Make schema and topics, start tracker and API, and wait until both answer."""
    say("making the schema and the topics")
    await database.migrate(settings)
    await kafka.create_topics(settings)
    say("starting the tracker and the API")
    command = str(Path(sys.executable).with_name("claimpath"))
    environment = {
        variable("kafka"): settings.kafka,
        variable("database_url"): settings.database_url.get_secret_value(),
        variable("tracker_listen"): settings.tracker_listen,
        variable("api_listen"): settings.api_listen,
        variable("log_format"): "text",
    }
    for process in processes:
        process.launch([command, process.name], stop_signal=signal.SIGTERM, environment=environment)
    for process, address in zip(processes, (settings.tracker_listen, settings.api_listen), strict=True):
        await asyncio.to_thread(process.wait_until, partial(_answers, *host_and_port(address)), START_LIMIT_S)


def _see_to(processes: Processes) -> None:
    for process in processes:
        if process.find() is None:
            raise DemoFailed(f"The {process.name} has ended. {process.log_tail()}")


@asynccontextmanager
async def _reader(settings: Settings) -> AsyncIterator[AsyncEngine]:
    engine = database.engine(settings, application="claimpath-demo", role="claimpath_reader")
    try:
        yield engine
    finally:
        await engine.dispose()


async def _drained(engine: AsyncEngine, processes: Processes, published: int) -> Progress:
    """Wait until every record that was published is taken."""
    deadline = time.monotonic() + DRAIN_LIMIT_S
    while True:
        progress = await progress_of(engine, published)
        if progress.outcomes.total() >= published:
            return progress
        _see_to(processes)
        if time.monotonic() > deadline:
            raise DemoFailed(
                f"After {DRAIN_LIMIT_S:.0f} s the tracker has not taken every record. {processes[0].log_tail()}"
            )
        await asyncio.sleep(LOOK_S)


def _summary(progress: Progress, differences: int, seconds: float) -> Summary:
    outcomes = progress.outcomes
    return Summary(
        published=progress.published,
        accepted=outcomes["accepted"],
        duplicates=outcomes["duplicate"],
        dead_letters=outcomes["dead_letter"],
        waiting=progress.waiting,
        set_aside=progress.set_aside,
        claims_by_state=dict(progress.states),
        timing=progress.timing,
        verify_differences=differences,
        seconds=round(seconds, 1),
    )


async def _told(claims: int, seed: int) -> AsyncIterator[samples.Message]:
    today = datetime.now(UTC).date()
    for message in samples.stream(claims, seed, TROUBLES, today - timedelta(days=PAST_DAYS), today):
        yield message


async def _told_slowly(claims: int, seed: int, told: Told) -> AsyncIterator[samples.Message]:
    started = time.monotonic()
    for later_seed in itertools.count(seed):
        async for message in _told(claims, later_seed):
            yield message
            told.records += 1
            await asyncio.sleep(max(0.0, started + told.records / EVENTS_PER_S - time.monotonic()))


def _addresses(settings: Settings) -> dict[str, str]:
    return {
        "business metrics": f"http://{settings.api_listen}/metrics",
        "operational metrics": f"http://{settings.tracker_listen}/metrics",
        "a claim": f"http://{settings.api_listen}/claims/…",
    }


def _free_port(wanted: int) -> int:
    """Return the port that people know, or any other where that is taken."""
    for port in (wanted, 0):
        with socket.socket() as listening, suppress(OSError):
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(("127.0.0.1", port))
            return int(listening.getsockname()[1])
    raise DemoFailed("No port is free on this machine.")


def _answers(host: str, port: int) -> bool:
    with socket.socket() as trying:
        return trying.connect_ex((host, port)) == 0
