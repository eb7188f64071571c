"""Lines of JSON to records that may be published, or to refusals that name line, path and rule and never a value."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from typing import Final

import msgspec
from msgspec import Struct

from events.codec import MAX_VALUE_BYTES, Record, Refusal, RefusalReason, decode
from events.topics import TOPIC_OF_TYPE, TOPICS

_READ_BYTES: Final = 262_144


class RefusedLine(Struct, frozen=True):
    """A line that is no event: its number, from 1, and why."""

    line: int
    reason: RefusalReason
    path: str
    rule: str

    def __str__(self) -> str:
        """One sentence for people."""
        return f"line {self.line}: {self.reason} at {self.path}: {self.rule}"


class _Head(Struct):
    type: str = ""
    subject: str = ""


async def records(
    descriptor: int, refuse: Callable[[RefusedLine], None], tell: Callable[[int], None]
) -> AsyncIterator[Record]:
    """Yield the records of an open file, pipe or terminal as soon as each line is whole; empty lines are passed over.

    `refuse` is told of every other line, `tell` how many bytes are read so far.
    """
    number = size = 0
    async for line in _lines(descriptor):
        number += 1
        outcome = record_of(line.strip()) if not line.isspace() else None
        if isinstance(outcome, Record):
            yield outcome
        elif outcome is not None:
            refuse(RefusedLine(number, outcome.reason, outcome.path, outcome.rule))
        size += len(line)
        tell(size)


def record_of(text: bytes) -> Record | Refusal:
    """Return an event's JSON as the record to publish, on the topic of its type with its subject as key, or why not."""
    try:
        head = msgspec.json.decode(text, type=_Head)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        head = _Head()  # the codec says what is wrong with it
    record = Record(TOPIC_OF_TYPE.get(head.type, TOPICS[0]), head.subject.encode(), text)
    refusal = decode(record)
    return refusal if isinstance(refusal, Refusal) else record


async def _lines(descriptor: int) -> AsyncIterator[bytes]:
    """Yield the lines with their ends."""
    rest = b""
    while data := await _read(descriptor):
        *whole, rest = (rest + data).split(b"\n")
        for line in whole:
            yield line + b"\n"
        # What is too large is refused as such; there is no need to hold all of it.
        rest = rest[: MAX_VALUE_BYTES + 1]
    if rest:
        yield rest


async def _read(descriptor: int) -> bytes:
    """Read what is there, without keeping the event loop from sending, or from being interrupted, while nothing is."""
    loop, readable = asyncio.get_running_loop(), asyncio.Event()
    try:
        loop.add_reader(descriptor, readable.set)
    except PermissionError:  # a regular file cannot be waited for: it is always readable
        return os.read(descriptor, _READ_BYTES)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(descriptor)
    return os.read(descriptor, _READ_BYTES)
