"""Where each partition stands: runs of records and gaps, and the rows in PostgreSQL that say how far they are taken."""

import base64
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal, NamedTuple

import asyncpg
import msgspec
from msgspec import Struct

from events import codec

GapKind = Literal["no_record", "lost"]
Outcome = Literal["accepted", "duplicate", "dead_letter", "gap"]
Offsets = Mapping[tuple[str, int], tuple[int, int]]
"""Of topics' partitions, the first offset that Kafka holds, and the one that comes next."""
Reason = codec.RefusalReason | Literal["conflict", "unprocessable"]


class Refused(NamedTuple):
    """Why a record becomes a dead letter; holds no byte of it."""

    reason: Reason
    path: str
    rule: str


class Item(Struct, frozen=True, gc=False):
    """A record of Kafka, and what the codec made of it."""

    offset: int
    timestamp_ms: int
    record: codec.Record
    outcome: codec.Decoded | Refused


class Gap(NamedTuple):
    """Offsets that hold no record: never one (``no_record``), or not any more (``lost``)."""

    first: int
    last: int
    kind: GapKind

    @property
    def offsets(self) -> int:
        """How many offsets the gap spans."""
        return self.last - self.first + 1


class Place(NamedTuple):
    """A partition, as positions name it; a topic made anew begins a generation."""

    topic: str
    partition: int
    generation: int


class Run(NamedTuple):
    """All that lies in [first, next) of a partition: records and gaps."""

    place: Place
    first: int
    next: int
    items: Sequence[Item]
    gaps: Sequence[Gap] = ()


class Counts(NamedTuple):
    """How the offsets of a run came out; their sum is its length."""

    accepted: int
    duplicate: int
    dead_letter: int
    gap: int


class Opened(NamedTuple):
    """Where partitions continue, and those of a topic that was made anew."""

    positions: dict[Place, int]
    anew: list[Place]


class BehindError(Exception):
    """A run begins beyond the position in PostgreSQL: what lies between must be read first."""

    def __init__(self, place: Place, position: int) -> None:
        super().__init__(f"{place.topic} {place.partition} continues at {position}")
        self.place = place
        self.position = position


async def lock(connection: asyncpg.Connection, cluster_id: str, runs: Iterable[Run]) -> list[Run]:
    """Lock the runs' positions, in order; return the runs without what lies below them, which was done before."""
    by_place = {run.place: run for run in runs}
    topics, partitions, generations = zip(*by_place, strict=True)
    found = await connection.fetch(
        """
        SELECT topic, partition, generation, next_offset FROM position
        WHERE cluster_id = $1 AND (topic, partition, generation)
              IN (SELECT * FROM unnest($2::text[], $3::int[], $4::int[]))
        ORDER BY topic, partition, generation FOR UPDATE
        """,
        cluster_id,
        topics,
        partitions,
        generations,
    )
    kept = []
    for topic, partition, generation, position in found:
        run = by_place.pop(Place(topic, partition, generation))
        if run.first > position:
            raise BehindError(run.place, position)
        if run.next > position:
            kept.append(_cut(run, position))
    for place in by_place:
        raise BehindError(place, -1)
    return kept


def _cut(run: Run, position: int) -> Run:
    if run.first == position:
        return run
    items = [item for item in run.items if item.offset >= position]
    gaps = [gap._replace(first=max(gap.first, position)) for gap in run.gaps if gap.last >= position]
    return Run(run.place, position, run.next, items, gaps)


def counts(run: Run, accepted: Counter[Place], dead: Counter[Place]) -> Counts:
    """Count the outcomes of a run; a record that is neither accepted nor a dead letter is a duplicate."""
    place = run.place
    return Counts(
        accepted[place],
        len(run.items) - accepted[place] - dead[place],
        dead[place],
        sum(gap.offsets for gap in run.gaps),
    )


async def advance(connection: asyncpg.Connection, cluster_id: str, outcomes: Iterable[tuple[Run, Counts]]) -> None:
    """Move the positions to the ends of the runs; the table checks that the outcomes add up to the offsets."""
    await connection.executemany(
        """
        UPDATE position SET next_offset = $5, accepted = accepted + $6, duplicate = duplicate + $7,
               dead_letter = dead_letter + $8, gap = gap + $9, updated_at = clock_timestamp()
        WHERE cluster_id = $1 AND topic = $2 AND partition = $3 AND generation = $4
        """,
        [(cluster_id, *run.place, run.next, *count) for run, count in outcomes],
    )


async def write_gaps(connection: asyncpg.Connection, cluster_id: str, runs: Iterable[Run]) -> None:
    """Tell each gap once."""
    rows = [(cluster_id, *run.place, *gap) for run in runs for gap in run.gaps]
    if rows:
        await connection.executemany("INSERT INTO gap VALUES ($1, $2, $3, $4, $5, $6, $7)", rows)


async def write_dead_letters(
    connection: asyncpg.Connection, cluster_id: str, letters: Sequence[tuple[Place, Item, Refused]]
) -> None:
    """Keep what was refused whole: its bytes as received, where it stood, and why."""
    if letters:
        await connection.copy_records_to_table(
            "dead_letter",
            columns=(
                "cluster_id",
                "topic",
                "partition",
                "generation",
                "offset",
                "published_at",
                "key",
                "value",
                "headers",
                "reason",
                "path",
                "rule",
            ),
            records=[
                (
                    cluster_id,
                    *place,
                    item.offset,
                    _instant(item.timestamp_ms),
                    item.record.key,
                    item.record.value,
                    _headers(item.record),
                    *refused,
                )
                for place, item, refused in letters
            ],
        )


def _instant(timestamp_ms: int) -> datetime | None:
    """Return the record's timestamp; None for -1 (none), or what no calendar holds: producers set it at will."""
    try:
        return datetime.fromtimestamp(timestamp_ms / 1000, UTC) if timestamp_ms >= 0 else None
    except (ValueError, OverflowError, OSError):
        return None


def _headers(record: codec.Record) -> str:
    pairs = [(name, None if value is None else base64.b64encode(value).decode()) for name, value in record.headers]
    return msgspec.json.encode(pairs).decode()


async def open_positions(
    connection: asyncpg.Connection, cluster_id: str, log: Offsets, look_again: Callable[[], Awaitable[Offsets]]
) -> Opened:
    """Return where each partition continues, given the first and the end offset of each in Kafka.

    A partition never seen begins at the log's start. A position above the log's end means that the topic was made anew:
    it begins a new generation, also at the log's start. Raises what ``look_again`` raises.
    """
    known = {
        (topic, partition): (generation, position)
        for topic, partition, generation, position in await connection.fetch(
            """
            SELECT DISTINCT ON (topic, partition) topic, partition, generation, next_offset FROM position
            WHERE cluster_id = $1 ORDER BY topic, partition, generation DESC
            """,
            cluster_id,
        )
    }
    if any(part in known and known[part][1] > end for part, (_, end) in log.items()):
        # A tracker that slept since it looked finds positions of one that has read on: only what the log is now tells.
        log = await look_again()
    opened = Opened({}, [])
    for (topic, partition), (first, end) in sorted(log.items()):
        generation, position = known.get((topic, partition), (0, end + 1))
        if position <= end:
            opened.positions[Place(topic, partition, generation)] = position
            continue
        place = Place(topic, partition, generation + 1)
        opened.positions[place] = first
        if generation:
            opened.anew.append(place)
        await connection.execute(
            """
            INSERT INTO position (cluster_id, topic, partition, generation, start_offset, next_offset)
            VALUES ($1, $2, $3, $4, $5, $5) ON CONFLICT DO NOTHING
            """,
            cluster_id,
            *place,
            first,
        )
    return opened
