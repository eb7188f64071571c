"""COPY alone: the rows that the tracker wrote, in its order and batches, into an identical table.

Twice: as streams encoded before the clock starts, which is PostgreSQL alone, and as rows that the driver encodes, which
is what a program that has rows and not streams can reach.
"""

import time
from collections.abc import Iterator
from io import BytesIO
from itertools import pairwise
from struct import unpack_from
from typing import Final

import asyncpg

# Source: PostgreSQL documentation, COPY, "Binary Format": signature, flags, length of the header's extension.
_HEADER_BYTES: Final = 11 + 4 + 4
_TRAILER: Final = b"\xff\xff"


async def rows_of(connection: asyncpg.Connection, batch_records: int) -> list[bytes]:
    """Return the event log as COPY streams of a batch each, in the order in which the tracker wrote it."""
    whole = BytesIO()
    await connection.copy_from_query(
        'SELECT * FROM event ORDER BY recorded_at, partition, "offset"', output=whole, format="binary"
    )
    stream = memoryview(whole.getvalue())
    ends = [_HEADER_BYTES, *_row_ends(stream)]
    borders = [*ends[:-1:batch_records], ends[-1]]
    return [b"".join((stream[:_HEADER_BYTES], stream[begin:end], _TRAILER)) for begin, end in pairwise(borders)]


async def run(connection: asyncpg.Connection, batches: list[bytes]) -> float:
    """Return the seconds that the batches take, a transaction each, into an empty table like ``event``."""
    await connection.execute("CREATE TABLE copied (LIKE event INCLUDING ALL)")
    began = time.perf_counter()
    for batch in batches:
        async with connection.transaction():
            await connection.copy_to_table("copied", source=BytesIO(batch), format="binary")
    return time.perf_counter() - began


async def run_by_driver(connection: asyncpg.Connection, batches: list[bytes], batch_records: int) -> float:
    """Return the seconds that the same rows take as tuples, a transaction for each batch."""
    await run(connection, batches)
    rows = [tuple(row) for row in await connection.fetch("SELECT * FROM copied")]
    await connection.execute("DROP TABLE copied; CREATE TABLE copied (LIKE event INCLUDING ALL); CHECKPOINT")
    began = time.perf_counter()
    for first in range(0, len(rows), batch_records):
        async with connection.transaction():
            await connection.copy_records_to_table("copied", records=rows[first : first + batch_records])
    return time.perf_counter() - began


def _row_ends(stream: memoryview) -> Iterator[int]:
    place = _HEADER_BYTES
    while (columns := unpack_from(">h", stream, place)[0]) >= 0:
        place += 2
        for _ in range(columns):
            place += 4 + max(0, unpack_from(">i", stream, place)[0])
        yield place
