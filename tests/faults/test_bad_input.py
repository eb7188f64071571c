"""Bad input, all of it at once, through a real Kafka and a tracker's process into PostgreSQL: what became of each."""

import asyncio
import base64
import json
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from confluent_kafka import Producer
from pydantic import SecretStr

from events.codec import Decoded, Record, decode
from infra.devstack import Stack
from services import kafka
from services.settings import Settings
from tests.conftest import address_of, run_as_owner
from tests.faults.bad_input import ROWS
from tests.faults.outcomes import ACCEPTED, CONFLICT, Letter, Row, Taken
from tests.faults.records import CANARY, DATA, STRUCTURED, good
from tests.running import (
    Outcomes,
    Process,
    caught_up,
    nothing_differs,
    outcomes,
    producer,
    publish,
    rows,
    tracker,
)
from tests.stored import record
from tests.stories import response, session

LARGEST_REQUEST = 32 * 1024 * 1024
SEND_LIMIT_S = 20
FLOOD = 3_000
FLOOD_LIMIT_S = 20.0
"""For a flood of one claim's events; it takes about two."""

Place = tuple[str, int, int]
"""Topic, partition, offset."""


class Judged(NamedTuple):
    """What a tracker made of the whole catalogue."""

    settings: Settings
    sent: dict[str, Record]
    """By the row's sentence."""
    places: dict[str, Place]
    letters: dict[Place, Any]
    bodies: dict[Place, str]
    running: Process
    stack: Stack


@pytest.fixture(scope="module")
async def judged(
    stack: Stack, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Judged]:
    """The catalogue, published: first what some rows repeat or contradict, then every row in one go."""
    name = f"bad_input_{uuid.uuid4().hex}"
    await run_as_owner(stack, f"CREATE DATABASE {name} TEMPLATE {template_database}")
    settings = Settings(
        kafka=stack.kafka,
        database_url=SecretStr(address_of(stack, name)),
        topic_prefix=f"{name}-",
        partitions=3,
        group=name,
    )
    await kafka.create_topics(settings)
    await _take_any_timestamp(settings)
    log = tmp_path_factory.mktemp("bad_input") / "tracker.log"
    facts = {row.sentence: good(row.topic, _claim_id(number)) for number, row in enumerate(ROWS)}
    sent = {row.sentence: row.way(facts[row.sentence]) for row in ROWS}
    async with tracker(settings, log) as running:
        await publish(settings, [facts[row.sentence] for row in ROWS if row.needs_the_fact])
        await caught_up(settings, log=log)
        places = await _send_all(settings, sent)
        await caught_up(settings, log=log)
        yield Judged(settings, sent, places, await _letters(settings), await _bodies(settings), running, stack)
    async with kafka.administration(settings, application="test") as admin:
        await admin.delete_topics([*kafka.our_names(settings)])
    await run_as_owner(stack, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.sentence)
def test_it_becomes_what_the_catalogue_says(judged: Judged, row: Row) -> None:
    """Each kind of input is accepted, known already, or a dead letter with this reason, path and rule."""
    place, sent = judged.places[row.sentence], judged.sent[row.sentence]
    letter, body = judged.letters.get(place), judged.bodies.get(place)
    if isinstance(row.outcome, Letter):
        assert body is None
        assert letter is not None
        assert (letter.reason, letter.path) == row.outcome[:2]
        assert row.outcome.rule in (letter.rule, None)
        assert letter.rule
        assert (letter.key, letter.value) == (sent.key, sent.value)
        assert _headers(letter.headers) == [*sent.headers]
        # A producer may write any number: what is no instant of a calendar is none.
        assert (letter.published_at is None) == ("timestamp_ms" in row.sending)
    else:
        assert letter is None, (letter.reason, letter.path, letter.rule)
        assert (body is not None) == (row.outcome == ACCEPTED)
        if body is not None and STRUCTURED in sent.headers:
            assert body.encode() == sent.value
        elif body is not None:
            decoded = decode(sent)
            assert isinstance(decoded, Decoded)
            assert body.encode() == decoded.body


def test_no_row_is_said_twice_and_every_field_is_tried() -> None:
    """A sentence names one row, and the good records have every field of the contract."""
    assert [sentence for sentence, count in Counter(row.sentence for row in ROWS).items() if count > 1] == []
    for topic in DATA:
        decoded = decode(good(topic, CANARY))
        assert isinstance(decoded, Decoded)
        assert [*_left_out(decoded.event.data)] == []


async def test_nothing_of_it_is_told(judged: Judged) -> None:
    """Neither a rule nor a path, neither a log nor a metric holds a word of what was refused."""
    told = {f"letter {letter.reason}": letter.path + letter.rule for letter in judged.letters.values()}
    told |= {server.name: server.log.read_text(errors="replace") for server in judged.stack.status()}
    told |= {"tracker": judged.running.said(), "metrics": await judged.running.metrics()}
    assert [place for place, text in told.items() if CANARY in text] == []


async def test_every_record_has_its_outcome(judged: Judged) -> None:
    """The positions count as many of each outcome as the catalogue has, and claims, rollups and log agree."""
    wanted = Counter(row.outcome.outcome if isinstance(row.outcome, Taken) else "letter" for row in ROWS)
    facts = sum(row.needs_the_fact for row in ROWS)
    assert await outcomes(judged.settings) == Outcomes(
        wanted["accepted"] + facts, wanted["duplicate"], wanted["letter"], 0
    )
    conflicts = sum(row.outcome == CONFLICT for row in ROWS)
    assert f"claimpath_conflicts_total {conflicts:.1f}" in await judged.running.metrics()
    await nothing_differs(judged.settings)


async def test_a_flood_of_one_claim(settings: Settings, tmp_path: Path) -> None:
    """Thousands of events of one claim, which all wait for its submission, are all accepted, and in good time."""
    await kafka.create_topics(settings)
    log = tmp_path / "tracker.log"
    flood = [record(response("pended", event_id=f"e-{number}")) for number in range(FLOOD)]
    async with tracker(settings, log) as running:
        await running.says("partitions assigned")
        await publish(settings, flood)
        took_s = await caught_up(settings, log=log)
    assert await outcomes(settings) == Outcomes(FLOOD, 0, 0, 0)
    assert took_s < FLOOD_LIMIT_S
    await nothing_differs(settings)


# What aiokafka does where a record cannot be unpacked, or a checksum is wrong: what the same call took of other
# partitions is gone, and their positions are behind it.
FAILING = """
import time
from aiokafka.consumer.fetcher import Fetcher

fetched, until = Fetcher.fetched_records, []

async def fail(*given, **options):
    records = await fetched(*given, **options)
    if records:
        until.append(time.monotonic() + 3)
        if time.monotonic() < until[0]:
            raise UnicodeDecodeError("utf-8", b"\\xff", 0, 1, "the name of a header")
    return records

Fetcher.fetched_records = fail
"""


async def test_a_fetch_that_fails_loses_nothing(settings: Settings, tmp_path: Path) -> None:
    """Records that the client took and did not hand over are fetched again until they come, and never called a gap."""
    await kafka.create_topics(settings)
    log = tmp_path / "tracker.log"
    await publish(settings, [record(session(claim_id=_claim_id(number))) for number in range(30)])
    async with tracker(settings, log, FAILING):
        await caught_up(settings, log=log)
    assert await outcomes(settings) == Outcomes(30, 0, 0, 0)


def _claim_id(number: int) -> str:
    return f"{CANARY}-{number}"


async def _take_any_timestamp(settings: Settings) -> None:
    """Let the brokers take records of any future, as those before Kafka 3.6 do."""
    any_future = {"message.timestamp.after.max.ms": str(2**63 - 1)}
    async with kafka.administration(settings, application="test") as admin:
        for name in kafka.our_names(settings):
            await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, any_future)])


async def _send_all(settings: Settings, sent: dict[str, Record]) -> dict[str, Place]:
    """Send every row's record as the row says; return where each is."""
    told = {}
    async with AsyncExitStack() as clients:
        kinds = {row.sending.get("compression_type") for row in ROWS}
        by_kind = {
            kind: await clients.enter_async_context(
                producer(settings, compression_type=kind, max_request_size=LARGEST_REQUEST)
            )
            for kind in kinds
        }
        for row in ROWS:
            each = sent[row.sentence]
            if row.sending.get("client") == "librdkafka":
                told[row.sentence] = _send_elsewhere(settings, each)
            else:
                client = by_kind[row.sending.get("compression_type")]
                told[row.sentence] = await _send(settings, client, each, row.sending.get("timestamp_ms"))
        return dict(zip(told, await asyncio.wait_for(asyncio.gather(*told.values()), SEND_LIMIT_S), strict=True))


async def _send(
    settings: Settings, client: AIOKafkaProducer, each: Record, timestamp_ms: int | None
) -> "asyncio.Future[Place]":
    delivery = await client.send(
        kafka.topic(settings, each.topic),
        each.value,
        each.key,
        timestamp_ms=timestamp_ms,
        headers=[*each.headers],
    )

    async def place() -> Place:
        told = await delivery
        return told.topic, told.partition, told.offset

    return asyncio.ensure_future(place())


def _send_elsewhere(settings: Settings, each: Record) -> "asyncio.Future[Place]":
    """Send with librdkafka, which sends records that have neither key nor value."""
    found: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
    client = Producer({"bootstrap.servers": settings.kafka})
    client.produce(
        kafka.topic(settings, each.topic),
        each.value,
        each.key,
        headers=[*each.headers],
        on_delivery=lambda _, told: found.set_result((str(told.topic()), told.partition() or 0, told.offset() or 0)),
    )
    assert client.flush(SEND_LIMIT_S) == 0
    return found


async def _letters(settings: Settings) -> dict[Place, Any]:
    found = await rows(settings, "SELECT * FROM dead_letter")
    return {(letter.topic, letter.partition, letter.offset): letter for letter in found}


async def _bodies(settings: Settings) -> dict[Place, str]:
    found = await rows(settings, 'SELECT kind, partition, "offset", body FROM event')
    topics = {"session": "session-recorded", "original": "claim-submitted"}
    return {
        (kafka.topic(settings, topics.get(event.kind, "payer-response")), event.partition, event.offset): event.body
        for event in found
    }


def _headers(written: str) -> list[tuple[str, bytes | None]]:
    return [(name, value if value is None else base64.b64decode(value)) for name, value in json.loads(written)]


def _left_out(data: Any) -> Iterable[str]:  # noqa: ANN401  (any part of an event)
    """Yield the fields of an event's data that hold nothing."""
    for name in getattr(data, "__struct_fields__", ()):
        part = getattr(data, name)
        if part in (None, [], False):
            yield f"{type(data).__name__}.{name}"
        for inner in part if isinstance(part, list) else [part]:
            yield from _left_out(inner)
