"""The HTTP intake: CloudEvents judged as a tracker would, published, and answered once Kafka has acknowledged them."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Final, Literal
from urllib.parse import unquote_to_bytes

import msgspec
from aiokafka.errors import KafkaError
from fastapi import FastAPI, HTTPException, Request, Response, Security
from msgspec import Struct
from starlette.requests import ClientDisconnect

from events.codec import Record, Refusal, RefusalReason, decode
from events.topics import TOPIC_OF_TYPE, TOPICS
from services import http_server, metrics
from services.event_lines import record_of
from services.http_server import BEARER, READY_LIMIT_S, new_app, problem, problems
from services.metrics import IntakeOutcome
from services.publish import Publisher, TopicsUnfit, check_topics
from services.settings import Settings

MAX_BODY_BYTES: Final = 8_388_608
"""A thousand events as real ones are, with room; what is larger is better sent in parts, as it is retried whole."""
MAX_EVENTS: Final = 1_000
"""In one batch, so that its answer comes in about a second."""
MAX_BODIES: Final = 8
"""Requests whose bodies are held at one time: the largest, with what is made of them, fill some 200 MB."""
BODY_LIMIT_S: Final = 30
"""How long a body may take to arrive: 8 MiB over a line of 2.5 Mbit/s."""
RETRY_AFTER_S: Final = 5
"""What a caller is told to wait before it sends the same events again."""

Mode = Literal["single", "batch", "binary"]

_APPLICATION: Final = "claimpath-intake"
_SINGLE: Final = "application/cloudevents+json"
_BATCH: Final = "application/cloudevents-batch+json"
_DATA: Final = "application/json"
_BLANKS: Final = b" \t\r\n"
# A string (one that never ends too), a bracket or a comma: enough to tell where a value of an array ends.
_TOKEN: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]|,', re.DOTALL)
_QUOTED: Final = re.compile(rb'"((?:[^"\\]++|\\.)*+)"', re.DOTALL)
_PROBLEMS: Final = (
    *(HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.REQUEST_TIMEOUT),
    *(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
)


class Told(Struct, frozen=True, omit_defaults=True):
    """What became of one event; where it was refused also why, without a byte of it."""

    index: int
    outcome: IntakeOutcome
    reason: RefusalReason | None = None
    path: str | None = None
    rule: str | None = None


class Answer(Struct, frozen=True):
    """What became of all events of a request, one by one in their order."""

    published: int
    refused: int
    failed: int
    events: Sequence[Told]


async def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT, then return 0; raises BadSetting where it must not or cannot listen."""
    return await http_server.run("intake", settings, create_app(settings))


def create_app(settings: Settings) -> FastAPI:
    """Return the application; it writes to Kafka and knows no database."""
    publisher = Publisher(settings, application=_APPLICATION)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await publisher.close()

    app = new_app("intake", settings, "Events for claimpath from publishers who speak HTTP.", lifespan)
    app.add_exception_handler(ClientDisconnect, _gone)
    _add_probes(app, settings)
    _add_events(app, publisher)
    return app


def _add_probes(app: FastAPI, settings: Settings) -> None:
    asking = asyncio.Lock()

    @app.get(
        "/readyz",
        summary="Whether Kafka answers and its topics are fit",
        status_code=HTTPStatus.NO_CONTENT,
        responses=problems(HTTPStatus.SERVICE_UNAVAILABLE),
    )
    async def readyz() -> None:
        try:
            async with asyncio.timeout(READY_LIMIT_S), asking:  # each asks by a connection of its own
                await check_topics(settings, application=_APPLICATION)
        except TopicsUnfit as unfit:
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, str(unfit)) from None
        except (KafkaError, OSError):
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, "Kafka does not answer.") from None

    @app.get(
        "/metrics",
        summary="What this process was given, for Prometheus",
        dependencies=[Security(BEARER)],
        response_class=Response,
        responses=problems(HTTPStatus.UNAUTHORIZED),
    )
    async def metrics_(request: Request) -> Response:
        text, media_type = metrics.expose_intake(request.headers.get("accept", ""))
        return Response(text, headers={"content-type": media_type})


def _add_events(app: FastAPI, publisher: Publisher) -> None:
    bodies = asyncio.Semaphore(MAX_BODIES)

    @app.post(
        "/events",
        summary="Publish CloudEvents: one (structured or binary mode), or a batch",
        dependencies=[Security(BEARER)],
        response_class=Response,
        responses=_documented(),
        openapi_extra={"requestBody": {"required": True, "content": {kind: {} for kind in (_SINGLE, _BATCH, _DATA)}}},
    )
    async def events(request: Request) -> Response:
        mode = _mode(request)
        if bodies.locked():
            busy = f"{MAX_BODIES} requests are under way: send the same events again."
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, busy, {"retry-after": str(RETRY_AFTER_S)})
        async with bodies:
            body = await _read(request)
            # In a thread: a large batch would keep the others, and the health check, from being answered.
            judged = await asyncio.to_thread(_judged, mode, body, request.headers.raw)
            return _answered(await _published(publisher, judged))


# --- a request to records and refusals ---


def _mode(request: Request) -> Mode:
    """Return how the events are written; raises HTTPException with 415."""
    kind, *parameters = (part.strip().lower() for part in request.headers.get("content-type", "").split(";"))
    charsets = {word.partition("=")[2].strip('"') for word in parameters if word.startswith("charset=")}
    plain = request.headers.get("content-encoding", "identity").lower() == "identity"
    if plain and charsets <= {"utf-8"}:
        if kind == _SINGLE:
            return "single"
        if kind == _BATCH:
            return "batch"
        if kind == _DATA and "ce-specversion" in request.headers:
            return "binary"
    raise HTTPException(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        f"Send {_SINGLE}, {_BATCH}, or {_DATA} with the attributes in ce- headers; UTF-8, not compressed.",
    )


async def _read(request: Request) -> bytes:
    """Return the body, of which never more than the limit is held; raises HTTPException with 413 or 408."""
    if int(request.headers.get("content-length", "0")) > MAX_BODY_BYTES:
        raise _too_large()
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_LIMIT_S):
            async for part in request.stream():
                if len(body) + len(part) > MAX_BODY_BYTES:
                    raise _too_large()
                body += part
    except TimeoutError:
        slow = f"The body did not arrive within {BODY_LIMIT_S} s: send the same events again, or fewer."
        raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, slow, {"connection": "close"}) from None
    return bytes(body)


def _too_large() -> HTTPException:
    most = f"A body has at most {MAX_BODY_BYTES:,} bytes and {MAX_EVENTS:,} events: send fewer at a time."
    return HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, most)


def _judged(mode: Mode, body: bytes, headers: Iterable[tuple[bytes, bytes]]) -> list[Record | Refusal]:
    """Return each event as the record to publish or as the refusal that a tracker would make of it."""
    match mode:
        case "single":
            return [record_of(body)]
        case "binary":
            return [_binary(body, headers)]
        case "batch":
            return [record_of(event) for event in _elements(body)]


def _binary(data: bytes, headers: Iterable[tuple[bytes, bytes]]) -> Record | Refusal:
    attributes = [
        (f"ce_{name[3:].decode('latin-1')}", _attribute(value)) for name, value in headers if name.startswith(b"ce-")
    ]
    given = dict(attributes)
    topic = TOPIC_OF_TYPE.get(given.get("ce_type", b"").decode(errors="replace"), TOPICS[0])
    record = Record(topic, given.get("ce_subject"), data, [("content-type", _DATA.encode()), *attributes])
    refusal = decode(record)
    return refusal if isinstance(refusal, Refusal) else record


def _attribute(value: bytes) -> bytes:
    """Return what a header says: without its quotes, percent-decoded once (CloudEvents' HTTP binding, 3.1.3.2)."""
    quoted = _QUOTED.fullmatch(value)
    return unquote_to_bytes(re.sub(rb"\\(.)", rb"\1", quoted[1]) if quoted else value)


def _elements(body: bytes) -> list[bytes]:
    """Return the values of a JSON array as they are written; raises HTTPException where it is none, or has too many.

    Only brackets, commas and strings are looked at: a value that is not JSON, or nests without end, is refused by the
    codec and harms no other.
    """
    text = body.strip(_BLANKS)
    not_array = HTTPException(HTTPStatus.BAD_REQUEST, "The body is not a JSON array.")
    if not (text.startswith(b"[") and text.endswith(b"]") and len(text) > 1):
        raise not_array
    inner = text[1:-1].strip(_BLANKS)
    if not inner:
        return []
    found, depth, start = [], 0, 0
    for token in _TOKEN.finditer(inner):
        match token[0][:1]:
            case b"[" | b"{":
                depth += 1
            case b"]" | b"}":
                depth -= 1
                if depth < 0:
                    raise not_array
            case b"," if depth == 0:
                found.append(inner[start : token.start()].strip(_BLANKS))
                start = token.end()
                if len(found) == MAX_EVENTS:
                    raise _too_large()
    if depth:
        raise not_array
    return [*found, inner[start:].strip(_BLANKS)]


# --- records and refusals to an answer ---


async def _published(publisher: Publisher, judged: Sequence[Record | Refusal]) -> Answer:
    records = [each for each in judged if isinstance(each, Record)]
    acknowledged = iter(await publisher.publish(records) if records else ())
    told = [
        Told(index, "refused", each.reason, each.path, each.rule)
        if isinstance(each, Refusal)
        else Told(index, "published" if next(acknowledged) else "failed")
        for index, each in enumerate(judged)
    ]
    for event in told:
        metrics.took_in(event.outcome, event.reason)
    counts = Counter(event.outcome for event in told)
    return Answer(counts["published"], counts["refused"], counts["failed"], told)


def _answered(answer: Answer) -> Response:
    response = Response(msgspec.json.encode(answer), media_type="application/json")
    if answer.failed:
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
        response.headers["retry-after"] = str(RETRY_AFTER_S)
    elif answer.refused:
        response.status_code = HTTPStatus.MULTI_STATUS if answer.published else HTTPStatus.UNPROCESSABLE_ENTITY
    return response


async def _gone(_request: Request, _error: Exception) -> Response:
    return problem(HTTPStatus.BAD_REQUEST, "The caller went away before its body was whole.")  # heard by nobody


def _documented() -> dict[int | str, dict[str, Any]]:
    """Return what the OpenAPI document says of the answers."""
    told = {
        HTTPStatus.OK: "All published.",
        HTTPStatus.MULTI_STATUS: "Some published, the others refused.",
        HTTPStatus.UNPROCESSABLE_ENTITY: "All refused.",
        HTTPStatus.SERVICE_UNAVAILABLE: "Kafka did not acknowledge all, or too much is under way: send it all again.",
    }
    return problems(*_PROBLEMS) | {
        status.value: {"description": words, "content": {"application/json": {}}} for status, words in told.items()
    }
