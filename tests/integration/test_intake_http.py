"""The HTTP intake as publishers meet it, and what of their events reaches Kafka."""

import asyncio
import json
import logging
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from pydantic import SecretStr

from events.codec import Decoded, Record, Refusal, decode
from events.topics import TOPIC_OF_TYPE
from infra.devstack import Stack
from services import kafka, publish
from services.intake import http
from services.intake.http import create_app, run
from services.settings import BadSetting, Settings
from tests.http_events import BATCH, BEARER, EVENTS, INVALID, REFUSED, SINGLE, TOKEN, batch, changed, in_headers
from tests.running import free_port, read


@asynccontextmanager
async def calling(
    settings: Settings, *, token: str | None = TOKEN, host: str = "127.0.0.1"
) -> AsyncIterator[httpx.AsyncClient]:
    """Lend a caller, who shows the token, of an intake with that token."""
    secret = None if token is None else SecretStr(token)
    app = create_app(settings.model_copy(update={"intake_token": secret}))
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(
            transport=transport, base_url=f"http://{host}:8081", headers=BEARER, timeout=30
        ) as caller:
            yield caller


@pytest.fixture
async def caller(settings: Settings, topics: None) -> AsyncIterator[httpx.AsyncClient]:
    """A caller of an intake whose topics exist."""
    async with calling(settings) as found:
        yield found


async def in_kafka(settings: Settings, count: int) -> list[Record]:
    """This many records, by their values, without the prefix of the test's topics."""
    found = await read(settings.kafka, kafka.our_names(settings), count)
    return sorted(found, key=lambda record: record.value or b"")


async def test_a_batch_reaches_kafka_byte_for_byte(settings: Settings, caller: httpx.AsyncClient) -> None:
    """Each event is a record on the topic of its type, with its subject as key, as it was written."""
    odd = changed(EVENTS[0], '"data":{', '"data" : {"x":"\\u00e9 ] , [\\"","y":1.50e1, ')
    answer = await caller.post("/events", content=batch(*EVENTS[1:], odd), headers=BATCH)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == {
        "published": 5,
        "refused": 0,
        "failed": 0,
        "events": [{"index": index, "outcome": "published"} for index in range(5)],
    }
    records = await in_kafka(settings, 5)
    assert [record.value for record in records] == sorted([*EVENTS[1:], odd])
    for record in records:
        assert record.topic == TOPIC_OF_TYPE[json.loads(record.value or b"")["type"]]
        assert record.key == b"CLM-000123"
        assert [*record.headers] == [("content-type", b"application/cloudevents+json")]


async def test_one_event_is_taken_in_both_modes(settings: Settings, caller: httpx.AsyncClient) -> None:
    """In structured mode the body is the event, in binary mode its data; a tracker makes the same event of both."""
    strange = changed(EVENTS[0], "CLM-000123", "CLM Ä €")
    headers, data = in_headers(strange)
    headers |= {"ce-subject": '"CLM\\ %c3%84 %E2%82%AC"', "ce-tenant": "50%25", "x-request-id": "7"}
    for given in (headers, {**SINGLE, "content-type": "Application/CloudEvents+JSON; charset=UTF-8"}):
        answer = await caller.post("/events", content=data if given is headers else strange, headers=given)
        assert (answer.status_code, answer.json()["published"]) == (200, 1), answer.text
    binary, structured = await in_kafka(settings, 2)
    assert (structured.value, binary.value) == (strange, data)
    assert structured.key == binary.key == "CLM Ä €".encode()
    told = dict(binary.headers)
    assert told["content-type"] == b"application/json"
    assert (told["ce_subject"], told["ce_tenant"]) == ("CLM Ä €".encode(), b"50%")
    assert {name for name in told if not name.startswith("ce_")} == {"content-type"}
    one, other = decode(structured), decode(binary)
    assert isinstance(one, Decoded)
    assert isinstance(other, Decoded)
    assert one.event == other.event


async def test_what_is_refused_stops_no_neighbour(settings: Settings, caller: httpx.AsyncClient) -> None:
    """Of a mixed batch each event is answered in its order, with the tracker's own reason, path and rule."""
    sent = [event for _, refused in REFUSED for event in (refused, EVENTS[0])]
    answer = await caller.post("/events", content=batch(*sent), headers=BATCH)
    assert answer.status_code == 207
    told = answer.json()
    assert (told["published"], told["refused"], told["failed"]) == (len(REFUSED), len(REFUSED), 0)
    assert [each["index"] for each in told["events"]] == [*range(len(sent))]
    assert {each["outcome"] for each in told["events"][1::2]} == {"published"}
    for (reason, event), each in zip(REFUSED, told["events"][::2], strict=True):
        refusal = decode(Record("claim-submitted", b"CLM-000123", event))
        assert isinstance(refusal, Refusal)
        assert each == {
            "index": each["index"],
            "outcome": "refused",
            "reason": refusal.reason,
            "path": refusal.path,
            "rule": refusal.rule,
        }
        assert refusal.reason == reason
    assert [record.value for record in await in_kafka(settings, len(REFUSED))] == [EVENTS[0]] * len(REFUSED)

    alone = await caller.post("/events", content=dict(REFUSED)["too_deep"], headers=SINGLE)
    assert (alone.status_code, alone.json()["events"][0]["reason"]) == (422, "too_deep")
    none = await caller.post("/events", content=batch(INVALID, b"7"), headers=BATCH)
    assert (none.status_code, none.json()["refused"]) == (422, 2)
    empty = await caller.post("/events", content=b" [ ] ", headers=BATCH)
    assert (empty.status_code, empty.json()) == (200, {"published": 0, "refused": 0, "failed": 0, "events": []})


@pytest.mark.parametrize(
    ("header", "reason", "path"),
    [
        ({"ce-id": "%C0%A0"}, "bad_header", "header"),
        ({"ce-subject": "CLM%00"}, "bad_text", "$"),
        ({"ce-subject": "x" * 65}, "not_cloudevent", "$.subject"),
        ({"ce-subject": None}, "not_cloudevent", "$"),
        ({"ce-type": None}, "not_cloudevent", "$"),
        ({"ce-specversion": "0.3"}, "not_cloudevent", "$.specversion"),
        ({"ce-data": "1"}, "bad_header", "header"),
    ],
)
async def test_in_headers_binary_mode_are_judged_like_kafkas(
    caller: httpx.AsyncClient, header: dict[str, str | None], reason: str, path: str
) -> None:
    """An attribute that is missing, no UTF-8 or against its rule is refused, and named as the tracker names it."""
    headers, data = in_headers(EVENTS[0])
    given = {name: value for name, value in (headers | header).items() if value is not None}
    answer = await caller.post("/events", content=data, headers=given)
    told = answer.json()["events"][0]
    assert (answer.status_code, told["outcome"], told["reason"]) == (422, "refused", reason)
    assert told["path"].startswith(path)


async def large() -> AsyncIterator[bytes]:
    """A body without a length that goes on and on."""
    for _ in range(1_000):
        yield b" " * 65_536


async def test_what_is_no_request_for_us_is_a_problem(
    caller: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Another media type, a body that is no array, and too much of anything are refused as a whole, without a word
    of the request.
    """
    caplog.set_level(logging.INFO, "services")
    binary, _ = in_headers(EVENTS[0])
    many = b"[" + b",".join([b"1"] * (http.MAX_EVENTS + 1)) + b"]"
    asked: list[tuple[dict[str, str], bytes | AsyncIterator[bytes], int]] = [
        ({}, EVENTS[0], 415),
        ({"content-type": "text/plain"}, EVENTS[0], 415),
        ({"content-type": "application/json"}, EVENTS[0], 415),
        ({"content-type": "application/cloudevents+avro"}, EVENTS[0], 415),
        ({"content-type": "application/cloudevents+json; charset=latin-1"}, EVENTS[0], 415),
        ({**SINGLE, "content-encoding": "gzip"}, EVENTS[0], 415),
        ({**binary, "content-type": "application/xml"}, EVENTS[0], 415),
        *((BATCH, content, 400) for content in (b"", b"[", b"{}", EVENTS[0], b"[1]]", b"[{]", b"[[1]", b"[]]")),
        (BATCH, many, 413),
        (SINGLE, b" " * (http.MAX_BODY_BYTES + 1), 413),
        (SINGLE, large(), 413),
    ]
    for headers, content, status in asked:
        answer = await caller.post("/events", content=content, headers=headers)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
        assert answer.json()["status"] == status
        assert "CLM" not in answer.text
    assert (await caller.get("/events")).status_code == 405
    assert (await caller.post("/CLM-000123")).status_code == 404
    lines = {
        record.getMessage().rpartition(" in ")[0] for record in caplog.records if record.name.startswith("services")
    }
    assert lines == {f"POST /events: {status}" for status in (400, 413, 415)} | {
        "GET /events: 405",
        "POST (no route): 404",
    }


async def test_without_the_token_nothing_is_taken(settings: Settings, topics: None) -> None:
    """Routes known and unknown answer alike; live and ready stay open. Without any, only this machine is heard."""
    async with calling(settings, host="claimpath.example") as caller:
        assert (await caller.post("/events", content=EVENTS[0], headers=SINGLE)).status_code == 200
        for shown in ("", f"Basic {TOKEN}", f"Bearer {TOKEN}x"):
            answers = [
                await caller.post(path, content=EVENTS[0], headers={**SINGLE, "authorization": shown})
                for path in ("/events", "/metrics", "/openapi.json", "/nowhere")
            ]
            assert {answer.status_code for answer in answers} == {401}
            assert len({answer.text for answer in answers}) == 1
            assert (await caller.get("/livez", headers={"authorization": shown})).status_code == 204
            assert (await caller.get("/readyz", headers={"authorization": shown})).status_code == 204
    for host, status in (("127.0.0.1", 200), ("localhost", 200), ("claimpath.example", 421)):
        async with calling(settings, token=None, host=host) as caller:
            assert (await caller.post("/events", content=b"[]", headers=BATCH)).status_code == status
    with pytest.raises(BadSetting, match=r"CLAIMPATH_INTAKE_LISTEN: others reach .*, so set CLAIMPATH_INTAKE_TOKEN"):
        await run(settings.model_copy(update={"intake_listen": "0.0.0.0:8081"}))


async def test_the_openapi_document_tells_what_is_taken(caller: httpx.AsyncClient) -> None:
    """It names the routes, the media types and every status that /events has."""
    document = (await caller.get("/openapi.json")).json()
    assert set(document["paths"]) == {"/livez", "/readyz", "/metrics", "/events"}
    told = document["paths"]["/events"]["post"]
    assert set(told["requestBody"]["content"]) == {*SINGLE.values(), *BATCH.values(), "application/json"}
    assert set(told["responses"]) == {"200", "207", "400", "401", "408", "413", "415", "422", "503"}


@pytest.mark.expects_error_logs
async def test_without_kafka_the_answer_still_comes(settings: Settings) -> None:
    """Good events fail, to be sent again; bad ones are refused all the same; the process lives and is not ready."""
    nowhere = settings.model_copy(update={"kafka": f"127.0.0.1:{free_port()}"})
    async with calling(nowhere) as caller:
        started_s = time.monotonic()
        answer = await caller.post("/events", content=batch(EVENTS[0], INVALID), headers=BATCH)
        assert time.monotonic() - started_s < publish.ANSWER_LIMIT_S
        assert (answer.status_code, answer.headers["retry-after"]) == (503, str(http.RETRY_AFTER_S))
        assert [each["outcome"] for each in answer.json()["events"]] == ["failed", "refused"]
        assert (await caller.get("/livez")).status_code == 204
        ready = await caller.get("/readyz")
        assert (ready.status_code, ready.json()["detail"]) == (503, "Kafka does not answer.")


async def test_without_fit_topics_nothing_is_published(settings: Settings) -> None:
    """A missing topic is told, never made; once the topics are there, the same process publishes."""
    async with calling(settings) as caller:
        answer = await caller.post("/events", content=EVENTS[0], headers=SINGLE)
        assert (answer.status_code, answer.json()["failed"]) == (503, 1)
        ready = await caller.get("/readyz")
        assert (ready.status_code, "run `claimpath topics`" in ready.json()["detail"]) == (503, True)
        await kafka.create_topics(settings)
        assert (await caller.get("/readyz")).status_code == 204
        assert (await caller.post("/events", content=EVENTS[0], headers=SINGLE)).status_code == 200
    assert [record.value for record in await in_kafka(settings, 1)] == [EVENTS[0]]


async def test_what_kafka_will_not_take_fails_alone(settings: Settings, kafka_admin: AIOKafkaAdminClient) -> None:
    """An event above the size that a topic allows has failed, each time; those after it are published all the same."""
    narrow = {"max.message.bytes": "500"}
    names = kafka.our_names(settings)
    await kafka_admin.create_topics([NewTopic(name, 1, 1, topic_configs=narrow) for name in names])
    small = (
        b'{"specversion":"1.0","id":"v","source":"/b","type":"claim.submitted.v1","subject":"C",'
        b'"time":"2026-03-04T14:00:00Z","data":{"submission_id":"S","kind":"appeal","payer_id":"6","payer_rank":1}}'
    )
    async with calling(settings) as caller:
        for event, status in ((small, 200), (EVENTS[1], 503), (small, 200), (EVENTS[1], 503), (small, 200)):
            answer = await caller.post("/events", content=event, headers=SINGLE)
            assert answer.status_code == status, answer.text
    assert [record.value for record in await in_kafka(settings, 3)] == [small] * 3


async def test_a_silent_kafka_is_waited_for_only_so_long(
    settings: Settings, caller: httpx.AsyncClient, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events that Kafka does not acknowledge in time have failed; when it speaks again, they can be sent again."""
    assert (await caller.post("/events", content=EVENTS[0], headers=SINGLE)).status_code == 200
    monkeypatch.setattr(publish, "ANSWER_LIMIT_S", 0.5)
    (pid,) = (server.pid for server in stack.status() if server.name == "kafka")
    assert pid
    os.kill(pid, signal.SIGSTOP)
    try:
        started_s = time.monotonic()
        answer = await caller.post("/events", content=batch(*EVENTS), headers=BATCH)
        assert (answer.status_code, answer.json()["failed"]) == (503, len(EVENTS))
        assert time.monotonic() - started_s < 2
    finally:
        os.kill(pid, signal.SIGCONT)
    monkeypatch.undo()
    assert (await caller.post("/events", content=batch(*EVENTS), headers=BATCH)).status_code == 200
    assert {record.value for record in await in_kafka(settings, 1 + len(EVENTS))} == {*EVENTS}


async def test_bodies_are_few_at_a_time_and_come_in_time(
    caller: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While too many are under way the next is sent away; one that does not arrive gives its place free."""
    monkeypatch.setattr(http, "BODY_LIMIT_S", 1)
    last = asyncio.Event()

    async def slow(wait: asyncio.Event) -> AsyncIterator[bytes]:
        yield b"["
        await wait.wait()
        yield b"]"

    bodies = [slow(last if number else asyncio.Event()) for number in range(http.MAX_BODIES)]
    tasks = [asyncio.create_task(caller.post("/events", content=body, headers=BATCH)) for body in bodies]
    await asyncio.sleep(0.1)
    busy = await caller.post("/events", content=b"[]", headers=BATCH)
    assert (busy.status_code, busy.headers["retry-after"]) == (503, str(http.RETRY_AFTER_S))
    assert busy.headers["content-type"] == "application/problem+json"
    last.set()
    assert [answer.status_code for answer in await asyncio.gather(*tasks)] == [408] + [200] * (http.MAX_BODIES - 1)
    assert (await caller.post("/events", content=b"[]", headers=BATCH)).status_code == 200
