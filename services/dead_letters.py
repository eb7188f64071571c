"""Dead letters: what was refused, listed, shown as it was received, and published again."""

import base64
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import Struct
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncEngine

from events import codec
from services import database, kafka
from services.event_lines import record_of
from services.publish import publish
from services.settings import Settings

REPLAYED_AT_ONCE: Final = 100
"""Letters published before they are marked; each may be as large as Kafka takes them, and all are in memory."""

Shown = dict[str, str] | None
"""Bytes as ``text`` where they can be printed, else as ``base64``."""
Progress = Callable[[int, int], None]
"""Gets how many letters are published, and of how many."""


class Letter(Struct, frozen=True):
    """A dead letter, without what it holds."""

    id: int
    topic: str
    partition: int
    generation: int
    offset: int
    published_at: datetime | None
    recorded_at: datetime
    replayed_at: datetime | None
    reason: str
    path: str
    rule: str


class OpenedLetter(Letter, frozen=True):
    """A dead letter with what it holds, which may be a patient's: for the eyes of who asked, and for no log."""

    key: Shown
    value: Shown
    headers: list[tuple[str, Shown]]


class Listing(Struct, frozen=True):
    """The latest letters, and how many there are in all."""

    total: int
    letters: list[Letter]


class Replayed(Struct, frozen=True):
    """How many letters were published again, and how many could not be: no topic of ours, or neither key nor value."""

    published: int
    left: int


class CannotReplay(Exception):
    """The letters asked for cannot be published again; the message says why, and nothing was published."""


def _silent(_done: int, _total: int) -> None:
    """Nobody wants to know."""


async def list_letters(
    settings: Settings, reason: str | None = None, limit: int = 50, *, replayed: bool = False
) -> Listing:
    """Return the latest letters, of one reason if it is given; with ``replayed`` also those published again since."""
    engine = _engine(settings, "claimpath_reader")
    filters = {"reason": reason, "replayed": replayed}
    try:
        async with engine.connect() as connection:
            total = (await connection.execute(_COUNT, filters)).scalar_one()
            letters = [Letter(*row) for row in await connection.execute(_LIST, {**filters, "limit": limit})]
            return Listing(total, letters)
    finally:
        await engine.dispose()


async def show(settings: Settings, letter_id: int) -> OpenedLetter | None:
    """Return a letter with what it holds; None where there is none of that id."""
    engine = _engine(settings, "claimpath_reader")
    try:
        async with engine.connect() as connection:
            row = (await connection.execute(_SHOW, {"id": letter_id})).one_or_none()
    finally:
        await engine.dispose()
    if row is None:
        return None
    headers = [(name, _shown(header)) for name, header in _headers(row.headers)]
    return OpenedLetter(**{**row._asdict(), "key": _shown(row.key), "value": _shown(row.value), "headers": headers})


async def replay(
    settings: Settings,
    ids: Sequence[int] | None = None,
    reason: str | None = None,
    *,
    force: bool = False,
    progress: Progress = _silent,
) -> Replayed:
    """Publish letters again as they were received, to the same topic; the ids given, else all not replayed yet.

    First published, then marked: what is interrupted in between is published twice, which is one event. With ``force``
    ids replayed before go again. Raises CannotReplay, TopicsUnfit and KafkaError.
    """
    engine = _engine(settings, "claimpath_operator")
    try:
        if ids is not None:
            await _check(settings, engine, ids, force=force)
        filters = {"ids": ids, "reason": reason, "again": force and ids is not None}
        async with engine.connect() as connection:
            # What is refused again becomes a letter of a higher id, and waits for the next time.
            bounds = (await connection.execute(_BOUNDS, filters)).one()
        done = after = 0
        while letters := await _next_letters(settings, engine, {**filters, "after": after, "last": bounds.last}):
            await _publish(settings, engine, {row.id: _received(settings, row) for row in letters})
            after, done = letters[-1].id, done + len(letters)
            progress(done, bounds.n)
        return Replayed(done, bounds.n - done)
    finally:
        await engine.dispose()


async def replay_edited(settings: Settings, letter_id: int, value: bytes, *, force: bool = False) -> None:
    """Publish another value in place of a letter's; the codec must accept it.

    It goes to the letter's topic with its key and headers, or, where the codec would refuse it there, as ``publish``
    sends it.
    Raises as ``replay`` does.
    """
    engine = _engine(settings, "claimpath_operator")
    try:
        await _check(settings, engine, [letter_id], force=force, edited=True)
        async with engine.connect() as connection:
            row = (await connection.execute(_RECEIVED, {"id": letter_id})).one()
        await _publish(settings, engine, {letter_id: _edited(_received(settings, row), value)})
    finally:
        await engine.dispose()


def _edited(received: codec.Record, value: bytes) -> codec.Record:
    record = msgspec.structs.replace(received, value=value)
    if not isinstance(codec.decode(record), codec.Refusal):
        return record
    outcome = record_of(value)
    if isinstance(outcome, codec.Refusal):
        raise CannotReplay(f"The edited event would be refused: {outcome}.")
    return msgspec.structs.replace(outcome, headers=[("content-type", b"application/cloudevents+json")])


async def _check(
    settings: Settings, engine: AsyncEngine, ids: Sequence[int], *, force: bool, edited: bool = False
) -> None:
    async with engine.connect() as connection:
        rows = (await connection.execute(_ASKED, {"ids": ids})).all()
    topics = kafka.our_names(settings)
    known = {row.id for row in rows}
    refused = {
        "there is no dead letter {}": [letter_id for letter_id in ids if letter_id not in known],
        "{} went out before: --force sends it again": [row.id for row in rows if row.replayed_at and not force],
        "the topic of {} is none of these settings'": [row.id for row in rows if row.topic not in topics],
        "{} has neither key nor value, which cannot be sent: replay it from an edited file": [
            row.id for row in rows if row.empty and not edited
        ],
    }
    for why, which in refused.items():
        if which:
            raise CannotReplay(f"Nothing was replayed: {why.format(', '.join(map(str, which)))}.")


async def _next_letters(settings: Settings, engine: AsyncEngine, filters: dict[str, Any]) -> Sequence[Row[Any]]:
    options = {"topics": list(kafka.our_names(settings)), "limit": REPLAYED_AT_ONCE}
    async with engine.connect() as connection:
        return (await connection.execute(_NEXT, {**filters, **options})).all()


async def _publish(settings: Settings, engine: AsyncEngine, letters: dict[int, codec.Record]) -> None:
    async def records() -> AsyncIterator[codec.Record]:
        for record in letters.values():
            yield record

    await publish(settings, records(), headers=())
    async with engine.begin() as connection:
        await connection.execute(_MARK, {"ids": list(letters)})


def _received(settings: Settings, row: Row[Any]) -> codec.Record:
    return codec.Record(kafka.our_names(settings)[row.topic], row.key, row.value, _headers(row.headers))


def _headers(stored: str) -> list[tuple[str, bytes | None]]:
    pairs: list[tuple[str, bytes | None]] = msgspec.json.decode(stored, type=list[tuple[str, bytes | None]])
    return pairs


def _shown(received: bytes | None) -> Shown:
    if received is None:
        return None
    try:
        words = received.decode()
    except UnicodeDecodeError:
        words = "\0"
    # What is not printable could steer the terminal that it is shown on.
    if all(letter.isprintable() or letter in "\n\r\t" for letter in words):
        return {"text": words}
    return {"base64": base64.b64encode(received).decode()}


def _engine(settings: Settings, role: database.Role) -> AsyncEngine:
    return database.engine(settings, application="claimpath-dead-letters", role=role)


_LETTER: Final = """
    SELECT dead_letter_id AS id, topic, partition, generation, "offset", published_at, recorded_at, replayed_at,
           reason, path, rule
"""
_LISTED: Final = """
    FROM dead_letter WHERE (replayed_at IS NULL OR :replayed) AND reason = coalesce(:reason, reason)
"""
_COUNT: Final = text(f"SELECT count(*) {_LISTED}")
_LIST: Final = text(f"{_LETTER} {_LISTED} ORDER BY dead_letter_id DESC LIMIT :limit")
_SHOW: Final = text(f"{_LETTER}, key, value, headers FROM dead_letter WHERE dead_letter_id = :id")
_RECEIVED: Final = text("SELECT topic, key, value, headers FROM dead_letter WHERE dead_letter_id = :id")
_ASKED: Final = text("""
    SELECT dead_letter_id AS id, topic, replayed_at, key IS NULL AND value IS NULL AS empty
    FROM dead_letter WHERE dead_letter_id = ANY(CAST(:ids AS bigint[])) ORDER BY dead_letter_id
""")
_WANTED: Final = """
    FROM dead_letter WHERE (replayed_at IS NULL OR :again) AND reason = coalesce(:reason, reason)
          AND (CAST(:ids AS bigint[]) IS NULL OR dead_letter_id = ANY(CAST(:ids AS bigint[])))
"""
_BOUNDS: Final = text(f"SELECT count(*) AS n, coalesce(max(dead_letter_id), 0) AS last {_WANTED}")
_NEXT: Final = text(f"""
    SELECT dead_letter_id AS id, topic, key, value, headers {_WANTED}
          AND dead_letter_id > :after AND dead_letter_id <= :last
          AND topic = ANY(CAST(:topics AS text[])) AND NOT (key IS NULL AND value IS NULL)
    ORDER BY dead_letter_id LIMIT :limit
""")
_MARK: Final = text("""
    UPDATE dead_letter SET replayed_at = clock_timestamp() WHERE dead_letter_id = ANY(CAST(:ids AS bigint[]))
""")
