"""What `claim show`, `claims export` and the API say of claims, now or as of another time."""

import csv
import re
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Final, Literal

import msgspec

from events.contracts import MAX_ID_CHARS
from services import database, queries
from services.claim import Claim
from services.lifecycle import explain
from services.settings import Settings
from services.view import CSV_COLUMNS, View, flat, view

Format = Literal["jsonl", "csv"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_INSTANT: Final = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}:\d{2})(?:\.(\d{1,6})\d*)?([Zz]|[+-]\d{2}:\d{2})", re.ASCII
)


class BadTime(ValueError):
    """A time is an instant with an offset, like 2026-03-20T14:00:00Z, or a date, like 2026-03-20."""


async def claim_show(
    settings: Settings, claim_id: str, as_of: str | None = None, known_at: str | None = None
) -> View | None:
    """Return the claim with its timeline as JSON shows it; None where it is not known, or was not yet.

    ``as_of`` limits it to what had happened by then, ``known_at`` to what was recorded by then; BadTime where one is no
    time as ``read_time`` reads it.
    """
    limits = [None if limit is None else read_time(limit) for limit in (as_of, known_at)]
    engine = database.engine(settings, application="claimpath-show", role="claimpath_reader")
    try:
        return await show(engine, claim_id, *limits)
    finally:
        await engine.dispose()


async def show(
    pool: queries.Database, claim_id: str, as_of_us: int | None = None, known_at_us: int | None = None
) -> View | None:
    """Do as ``claim_show`` does, on a pool and with times in microseconds since 1970-01-01T00:00:00Z."""
    # What the codec lets into the database; PostgreSQL would stumble over NUL.
    if not (0 < len(claim_id) <= MAX_ID_CHARS and claim_id.isprintable()):
        return None
    async with queries.reading(pool) as connection:
        now = as_of_us is None and known_at_us is None
        stored = await queries.claim(connection, claim_id) if now else None
        events = await queries.events(connection, claim_id, as_of_us, known_at_us)
    folded, explained = explain(events)
    claim = folded if stored is None else stored
    return view(claim_id, claim, explained) if explained else None


async def claims_export(settings: Settings, form: Format) -> AsyncIterator[str]:
    """Yield every claim as a line, line break included, in the order of ids; as JSON Lines, or as CSV with a header.

    All of one moment, however long it takes to read, and in constant memory.
    """
    write = _json_line if form == "jsonl" else _csv_line
    engine = database.engine(settings, application="claimpath-export", role="claimpath_reader", limits=database.LONG)
    try:
        if form == "csv":
            yield _csv(CSV_COLUMNS)
        async with queries.reading(engine) as connection:
            async for claim_id, claim in queries.claims(connection):
                yield write(claim_id, claim)
    finally:
        await engine.dispose()


def read_time(text: str) -> int:
    """Return microseconds since 1970-01-01T00:00:00Z of an instant in RFC 3339, or of the end of a day in UTC."""
    if found := _INSTANT.fullmatch(text):
        day, clock, fraction, offset = found.groups()
        written = f"{day}T{clock}.{(fraction or '').ljust(6, '0')}{offset.upper().replace('Z', '+00:00')}"
    elif _DAY.fullmatch(text):
        written = f"{text}T23:59:59.999999+00:00"
    else:
        raise BadTime(BadTime.__doc__)
    try:
        time_us = (datetime.fromisoformat(written) - _EPOCH) // timedelta(microseconds=1)
        _EPOCH + timedelta(microseconds=time_us)  # the offset may lead out of the calendar
    except (ValueError, OverflowError):
        raise BadTime(BadTime.__doc__) from None
    return time_us


def _json_line(claim_id: str, claim: Claim) -> str:
    return msgspec.json.encode(view(claim_id, claim)).decode() + "\n"


def _csv_line(claim_id: str, claim: Claim) -> str:
    return _csv(flat(claim_id, claim))


def _csv(cells: Iterable[str]) -> str:
    line = StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()
