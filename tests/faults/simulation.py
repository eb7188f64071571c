"""Simulated schedules of the tracker: the real code from the Tracker down on a simulated Kafka, clock and process.

``python -m tests.faults.simulation --seed N`` runs one again and prints it; ``--count`` and ``--processes`` run many.
"""

import argparse
import asyncio
import hashlib
import json
import random
import sys
import time
from base64 import b64decode
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import SimpleNamespace
from typing import Any, Final, NamedTuple

import asyncpg
import structlog
from aiokafka.errors import KafkaConnectionError
from pydantic import SecretStr

from events.codec import Record
from services import kafka, progress
from services.settings import Settings
from tests.faults.auditor import audit
from tests.faults.evidence import Tables, read_tables
from tests.faults.schedule import REFUSED, Schedule, draw
from tests.faults.simulated_clock import PROCESS, SimulatedLoop
from tests.faults.simulated_postgres import Server
from tests.faults.simulated_world import World

TABLES: Final = ("event", "claim", "rollup", "position", "gap", "dead_letter")
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


def run(address: str, first_seed: int, count: int, *, tell: bool = False) -> Iterator[Outcome]:
    """Yield the outcomes of schedules, which run one after another in a database of their own."""
    with in_the_simulation() as told:
        loop = SimulatedLoop()
        settings = Settings(kafka="nowhere:1", database_url=SecretStr(address))
        server = Server(loop, address)
        broken: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: broken.append(context))
        try:
            loop.run_until_complete(_ready(server))
            for seed in range(first_seed, first_seed + count):
                yield loop.run_until_complete(_run(draw(seed), server, settings, told))
                if broken:
                    raise RuntimeError(f"the simulation of seed {seed} broke: {broken}") from broken[0].get("exception")
                if seed % VACUUM_EVERY == 0:
                    loop.run_until_complete(server.tell(_vacuum))
            loop.run_until_complete(server.close())
        finally:
            loop.close()


async def _run(schedule: Schedule, server: Server, settings: Settings, told: list[World]) -> Outcome:
    await server.tell(_empty)
    random.seed(schedule.seed)  # the lanes' pauses
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    world = World(schedule, server, settings)
    told[:] = [world]
    for action in schedule.actions:
        await asyncio.sleep(began_s + action.at_s - loop.time())
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
    return Outcome(schedule.seed, tuple(world.lines), tuple(violations), fired, records, loop.time() - began_s)


def _as_intended(schedule: Schedule, tables: Tables) -> list[str]:
    """Return which dead letters are of records that were not meant to become one, or for another reason."""
    published = {_bytes(each): each for each in schedule.messages()}
    said = []
    for row in tables.dead_letter:
        headers = [(name, None if value is None else b64decode(value)) for name, value in json.loads(row["headers"])]
        message = published[_bytes(Record("", row["key"], row["value"], headers))]
        reasons = {"conflict"} if message.reason is None else {message.reason}
        if REFUSED.encode() in (row["key"] or b""):
            reasons.add("unprocessable")
        if row["reason"] not in reasons:
            said.append(f"a record that is {message.intended} was refused as {row['reason']}")
    return said


def _bytes(record: Record) -> tuple[bytes | None, bytes | None, tuple[tuple[str, bytes | None], ...]]:
    return record.key, record.value, tuple(record.headers)


# --- the database ---

REFUSING: Final = f"""
CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.claim_id LIKE '%{REFUSED}' THEN RAISE EXCEPTION USING ERRCODE = '22023'; END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER refusing BEFORE INSERT ON event FOR EACH ROW EXECUTE FUNCTION refuse();
"""


async def _ready(server: Server) -> None:
    await server.start()
    await server.tell(lambda owner: owner.execute(REFUSING))


async def _empty(owner: asyncpg.Connection) -> None:
    await owner.execute("; ".join(f"DELETE FROM {table}" for table in TABLES))


async def _vacuum(owner: asyncpg.Connection) -> None:
    for table in TABLES:
        await owner.execute(f"VACUUM {table}")


# --- the product in the simulation ---


@contextmanager
def in_the_simulation() -> Iterator[list[World]]:
    """Give the product the simulated time and broker, and its log to the world that is in the list."""
    worlds: list[World] = []

    def note(_logger: object, method: str, event: dict[str, Any]) -> dict[str, Any]:
        process = PROCESS.get()
        if worlds and process and process.alive:
            worlds[0].note(process, method, event.pop("event"), *(f"{name}={event[name]}" for name in sorted(event)))
        raise structlog.DropEvent

    @asynccontextmanager
    async def administration(_settings: Settings, *, application: str) -> AsyncIterator[SimpleNamespace]:
        await worlds[0].broker.answer()
        yield SimpleNamespace(describe_cluster=worlds[0].broker.answer)

    def now_s() -> float:
        return EPOCH_S + asyncio.get_running_loop().time()

    before = structlog.get_config(), kafka.administration, progress.time
    structlog.configure(processors=[note], wrapper_class=structlog.BoundLogger, cache_logger_on_first_use=False)
    vars(kafka)["administration"] = administration
    vars(progress)["time"] = SimpleNamespace(monotonic=now_s, time=now_s)
    try:
        yield worlds
    finally:
        structlog.configure(**before[0])
        vars(kafka)["administration"], vars(progress)["time"] = before[1:]


if __name__ == "__main__":
    t = time.time()
    n = 0
    total = Counter()
    for outcome in run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])):
        n += 1
        total += outcome.fired
        if len(sys.argv) > 4:
            print(draw(outcome.seed)); print("\n".join(outcome.trace))
        print(outcome.seed, outcome.digest, outcome.records, round(outcome.simulated_s, 1), outcome.violations)
    print((time.time() - t) / n * 1000, "ms", total)
