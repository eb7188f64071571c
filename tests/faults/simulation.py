"""Simulated schedules of the tracker: the real code from the Tracker down on a simulated Kafka, clock and process.

``python -m tests.faults.simulation --seed N`` runs one again and prints it; ``--count`` and ``--processes`` run many.
"""

import argparse
import asyncio
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from base64 import b64decode
from collections import Counter
from collections.abc import AsyncIterator, Generator, Iterable, Iterator, MutableMapping
from contextlib import ExitStack, asynccontextmanager, contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any, Final, NamedTuple, NoReturn, cast
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import structlog
from pydantic import SecretStr

from events.codec import Record
from infra.devstack import Stack
from services import kafka, progress
from services.database import migrate
from services.settings import Settings
from tests.faults.auditor import audit
from tests.faults.evidence import Tables, read_tables
from tests.faults.planted import PLANTED, Planted
from tests.faults.schedule import REFUSED, Schedule, draw, draw_many
from tests.faults.simulated_clock import PROCESS, SimulatedLoop
from tests.faults.simulated_postgres import Server
from tests.faults.simulated_tables import empty, prepare, vacuum
from tests.faults.simulated_world import World

NOWHERE: Final = "nowhere:1"
VACUUM_EVERY: Final = 200
"""Schedules after which the tables are cleaned of the rows that were deleted."""
EPOCH_S: Final = 1_780_000_000.0


class Outcome(NamedTuple):
    """What a schedule came to."""

    seed: int
    trace: tuple[str, ...]
    violations: tuple[str, ...]
    fired: Counter[str]
    records: int
    simulated_s: float

    @property
    def digest(self) -> str:
        """What two runs of a seed have in common."""
        return hashlib.sha256("\n".join(self.trace).encode()).hexdigest()[:16]


class Summary(NamedTuple):
    """What many schedules came to."""

    schedules: int
    first_seed: int
    records: int
    fired: dict[str, int]
    violations: dict[int, list[str]]
    seconds: float


def run(address: str, schedules: Iterable[Schedule], planted: Planted | None = None) -> Generator[Outcome, None, None]:
    """Yield the outcomes of schedules, which run one after another in a database of their own."""
    with in_the_simulation() as told, planted.broken() if planted else nullcontext():
        loop = SimulatedLoop()
        settings = Settings(kafka=NOWHERE, database_url=SecretStr(address))
        server = Server(loop, address)
        broken: list[dict[str, Any]] = []
        # What a killed process leaves unread is no fault; what a callback raises is one of the simulation's.
        loop.set_exception_handler(lambda _, context: broken.append(context) if "handle" in context else None)
        try:
            loop.run_until_complete(server.start())
            loop.run_until_complete(server.tell(prepare))
            if planted and planted.statement:
                loop.run_until_complete(server.tell(lambda owner: owner.execute(planted.statement)))
            for number, schedule in enumerate(schedules):
                yield loop.run_until_complete(_run(schedule, server, settings, told))
                if broken:
                    raise RuntimeError(f"seed {schedule.seed} broke it: {broken}") from broken[0].get("exception")
                if number % VACUUM_EVERY == 0:
                    loop.run_until_complete(server.tell(vacuum))
        finally:
            loop.run_until_complete(server.close())
            loop.close()


async def _run(schedule: Schedule, server: Server, settings: Settings, told: list[World]) -> Outcome:
    await server.tell(empty)
    random.seed(schedule.seed)  # the lanes' pauses
    loop = cast("SimulatedLoop", asyncio.get_running_loop())
    loop.begin_again()
    world = World(schedule, server, settings)
    told[:] = [world]
    for action in schedule.actions:
        await asyncio.sleep(action.at_s - loop.time())
        await world.act(action)
    await world.heal()
    await world.end()
    tables = await server.tell(read_tables)
    violations = [*world.violations, *audit(world.log(), tables), *_as_intended(schedule, tables)]
    fired = world.all_fired()
    fired.update(f"{row['kind']} gap" for row in tables.gap)
    fired.update(f"dead letter: {row['reason']}" for row in tables.dead_letter)
    fired["duplicate"] = sum(row["duplicate"] for row in tables.position)
    records = sum(len(part.records) for part in world.log().values())
    return Outcome(schedule.seed, tuple(world.lines), tuple(violations), fired, records, loop.time())


def _as_intended(schedule: Schedule, tables: Tables) -> list[str]:
    """Return which dead letters are of records that were not meant to become one, or for another reason."""
    published = {_bytes(each): each for each in schedule.messages()}
    said = []
    for row in tables.dead_letter:
        headers = [(name, None if value is None else b64decode(value)) for name, value in json.loads(row["headers"])]
        message = published[_bytes(Record(row["topic"], row["key"], row["value"], headers))]
        reasons: set[str] = {message.reason or "conflict"}
        if REFUSED.encode() in (row["key"] or b""):
            reasons.add("unprocessable")
        if row["reason"] not in reasons:
            said.append(f"a record that is {message.intended} was refused as {row['reason']}")
    return said


def _bytes(record: Record) -> tuple[object, ...]:
    return record.topic, record.key, record.value, tuple(record.headers)


# --- the product in the simulation ---


@contextmanager
def in_the_simulation() -> Iterator[list[World]]:
    """Give the product the simulated time and broker, and its log to the world that is in the list."""
    worlds: list[World] = []

    def note(_logger: object, _method: str, event: MutableMapping[str, Any]) -> NoReturn:
        process = PROCESS.get()
        if worlds and process and process.alive:
            said = event.pop("event")
            worlds[0].fired[f"says: {said}"] += 1
            worlds[0].note(process, said, *(f"{name}={event[name]}" for name in sorted(event)))
        raise structlog.DropEvent

    @asynccontextmanager
    async def administration(_settings: Settings, *, application: str) -> AsyncIterator[SimpleNamespace]:
        await worlds[0].broker.answer()
        yield SimpleNamespace(describe_cluster=worlds[0].broker.answer)

    def now_s() -> float:
        return EPOCH_S + asyncio.get_running_loop().time()

    before = structlog.get_config(), random.getstate(), vars(kafka)["administration"], vars(progress)["time"]
    structlog.configure(processors=[note], wrapper_class=structlog.BoundLogger, cache_logger_on_first_use=False)
    vars(kafka)["administration"] = administration
    vars(progress)["time"] = SimpleNamespace(monotonic=now_s, time=now_s)
    try:
        yield worlds
    finally:
        structlog.configure(**before[0])
        random.setstate(before[1])
        vars(kafka)["administration"], vars(progress)["time"] = before[2:]


# --- the command ---


def summarize(outcomes: Iterable[Outcome]) -> Summary:
    """Add outcomes up."""
    began_s = time.monotonic()
    fired: Counter[str] = Counter()
    seeds, records, violations = [], 0, {}
    for outcome in outcomes:
        seeds.append(outcome.seed)
        records += outcome.records
        fired += outcome.fired
        if outcome.violations:
            violations[outcome.seed] = [*outcome.violations]
    return Summary(len(seeds), min(seeds), records, dict(fired), violations, round(time.monotonic() - began_s, 1))


async def _database(server: str, name: str) -> str:
    """Make a database for one process and return its address."""
    connection = await asyncpg.connect(server)
    try:
        await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()
    address = urlunsplit(urlsplit(server)._replace(path=f"/{name}"))
    await migrate(Settings(kafka=NOWHERE, database_url=SecretStr(address)))
    return address


def _divided(server: str, given: argparse.Namespace) -> Summary:
    """Run the schedules in several processes, each with its database."""
    began_s = time.monotonic()
    each = -(-given.count // given.processes)
    children = []
    for number in range(given.processes):
        first = given.seed + number * each
        count = min(each, given.seed + given.count - first)
        address = asyncio.run(_database(server, f"simulation_{number}"))
        words = ["--seed", str(first), "--count", str(count), "--database", address]
        # A file, since nobody reads what they say before they end.
        output = tempfile.TemporaryFile()  # noqa: SIM115
        command = [sys.executable, "-m", "tests.faults.simulation", *words]
        children.append((subprocess.Popen(command, stdout=output), output))
    parts = []
    for child, output in children:
        child.wait()
        output.seek(0)
        *failed, summary = output.read().decode().splitlines()
        print("\n".join(failed))
        parts.append(Summary(**json.loads(summary)))
    return Summary(
        sum(part.schedules for part in parts),
        given.seed,
        sum(part.records for part in parts),
        dict(sum((Counter(part.fired) for part in parts), Counter())),
        {seed: told for part in parts for seed, told in part.violations.items()},
        round(time.monotonic() - began_s, 1),
    )


def _told(outcomes: Iterable[Outcome], *, whole: bool) -> Iterator[Outcome]:
    """Pass outcomes on and print what is wrong with any, with its schedule."""
    for outcome in outcomes:
        if outcome.violations or whole:
            print("", draw(outcome.seed), *outcome.trace, f"trace {outcome.digest}", *outcome.violations, sep="\n")
        yield outcome


def main() -> int:
    """Run what the command line asks for; print a line of JSON in the end, and before it whatever is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of the first schedule")
    parser.add_argument("--count", type=int, default=1, help="of schedules; a single one is printed whole")
    parser.add_argument("--processes", type=int, default=1, help="among which the schedules are divided")
    parser.add_argument(
        "--database", help="the address of an empty database with the schema (else servers are started)"
    )
    parser.add_argument("--plant", choices=[*PLANTED], help="break the product on purpose")
    given = parser.parse_args()
    with ExitStack() as opened:
        server = "" if given.database else opened.enter_context(Stack(quick_jit=True)).database_url
        if given.processes > 1:
            summary = _divided(server, given)
        else:
            address = given.database or asyncio.run(_database(server, "simulation"))
            outcomes = run(address, draw_many(given.seed, given.count), PLANTED.get(given.plant))
            summary = summarize(_told(outcomes, whole=given.count == 1))
    print(json.dumps(summary._asdict()))
    return int(bool(summary.violations))


if __name__ == "__main__":
    sys.exit(main())
