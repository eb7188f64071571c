"""The partitions that a tracker has: which offset comes next in each, and what offsets without a record mean."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import CorruptRecordException, IllegalStateError, KafkaError, UnsupportedCodecError

from services.database import describe_error
from services.positions import BehindError, Gap, Item, Offsets, Place, Run

KAFKA_LIMIT_S: Final = 10.0
"""For one answer of Kafka; aiokafka itself may wait for ever."""
FETCH_PAUSE_S: Final = 1.0
"""After a fetch that fails or brings nothing, which may be asked for again at once, thousands of times a second."""
APART_RECORDS: Final = 256
"""So many at most, once each partition is fetched by itself."""
APART_WAIT_MS: Final = 500
"""For a partition that may have nothing, while others' records wait with it: as long as Kafka waits for news."""
UNREADABLE_PAUSE_S: Final = 10.0
"""Between two tries of a partition whose next record cannot be read."""

# Other errors speak of the group or of rights. No record must be blamed for them: who is called might delete it.
_OF_RECORDS: Final = (CorruptRecordException, UnsupportedCodecError, ValueError)

Record = ConsumerRecord[bytes, bytes]
Fetch = Callable[[AIOKafkaConsumer], Awaitable[tuple[Record, ...]]]

_log = structlog.get_logger(__name__)


class Assignment:
    """What is ours of the three topics, and how far it is read and done."""

    def __init__(self, item: Callable[[Record], Item]) -> None:
        self._item = item
        self._consumer: AIOKafkaConsumer | None = None
        self._places: dict[TopicPartition, Place] = {}
        self._expected: dict[TopicPartition, int] = {}
        self._holes: defaultdict[TopicPartition, set[tuple[int, int]]] = defaultdict(set)
        self._waiting: dict[TopicPartition, asyncio.TimerHandle] = {}
        self.done: dict[TopicPartition, int] = {}
        """Up to where each partition is in PostgreSQL."""

    def open(self, consumer: AIOKafkaConsumer, positions: Mapping[Place, int]) -> None:
        """Go on with partitions where PostgreSQL says."""
        self._consumer = consumer
        for place, position in positions.items():
            partition = TopicPartition(place.topic, place.partition)
            self._places[partition] = place
            self.done[partition] = position
            self._holes.pop(partition, None)
            self._seek(partition, position)

    def drop(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget partitions that are another tracker's now."""
        for partition in partitions:
            self._places.pop(partition, None)
            self._expected.pop(partition, None)
            self._holes.pop(partition, None)
            self.done.pop(partition, None)
            if again := self._waiting.pop(partition, None):
                again.cancel()

    async def runs(self, records: Sequence[Record]) -> list[Run]:
        """Return the runs with which the records continue their partitions; what does not continue is fetched again."""
        parts: defaultdict[TopicPartition, list[Record]] = defaultdict(list)
        for record in records:
            parts[TopicPartition(record.topic, record.partition)].append(record)
        found = [await self._run(partition, part) for partition, part in parts.items()]
        return [run for run in found if run is not None]

    async def tails(self) -> list[Run]:
        """Return runs of nothing: offsets at a log's end that hold no record, as a transaction's marker does.

        Only the consumer's own position tells of them. Where records are on their way to ``runs``, what they leave
        looks like a hole once, and is fetched again.
        """
        found: list[Run] = []
        for partition, expected in list(self._expected.items()):
            try:
                position = await asyncio.wait_for(self._kafka().position(partition), KAFKA_LIMIT_S)
                hole = (expected, position - 1)
                if position <= expected or not self._is_real(partition, [hole]):
                    continue
                gaps = await self._gaps(partition, [hole])
            except (KafkaError, TimeoutError):
                # The others are asked at the next call. What was found counts as read already and must be returned.
                break
            found.append(Run(self._places[partition], expected, position, (), gaps))
            self._expected[partition] = position
        return found

    def finished(self, runs: Iterable[Run]) -> None:
        """Note that runs are in PostgreSQL."""
        for run in runs:
            partition = TopicPartition(run.place.topic, run.place.partition)
            if self._places.get(partition) == run.place:
                self.done[partition] = max(run.next, self.done[partition])

    def rewind(self, runs: Iterable[Run], behind: BehindError) -> None:
        """Go back to where PostgreSQL is: another tracker had the partition, or a backup was restored."""
        for run in runs:
            partition = TopicPartition(run.place.topic, run.place.partition)
            if self._places.get(partition) == run.place:
                position = behind.position if run.place == behind.place else run.first
                self.done[partition] = min(position, self.done[partition])
                self._seek(partition, position)

    def all_or_nothing(self, fetch: Fetch) -> Fetch:
        """Let a fetch that fails for one partition hold up that one only.

        What aiokafka took of others in the same call is gone, their positions are behind it: it would pass for gaps.
        """

        async def fetch_or_go_back(consumer: AIOKafkaConsumer) -> tuple[Record, ...]:
            try:
                try:
                    return await fetch(consumer)
                except _OF_RECORDS as error:
                    _log.warning("fetching again, each partition by itself", error=describe_error(error))
                    self._go_back()
                    return await self._fetch_apart(consumer)
            except BaseException as error:
                self._go_back()
                if not isinstance(error, asyncio.CancelledError):
                    _log.error("records cannot be fetched", error=describe_error(error))
                    await asyncio.sleep(FETCH_PAUSE_S)
                raise

        return fetch_or_go_back

    def _go_back(self) -> None:
        # Nothing else runs between the failure of a fetch and this.
        for partition, expected in list(self._expected.items()):
            self._seek(partition, expected)
        # What was missing before was not looked for in vain.
        self._holes.clear()

    async def _fetch_apart(self, consumer: AIOKafkaConsumer) -> tuple[Record, ...]:
        asked = [self._fetch_of(partition, consumer) for partition in self._expected if partition not in self._waiting]
        # All of them end, also where one fails: none may read on once all have gone back.
        parts: list[list[Record]] = []
        for part in await asyncio.gather(*asked, return_exceptions=True):
            if isinstance(part, BaseException):
                raise part
            parts.append(part)
        if not any(parts):
            await asyncio.sleep(FETCH_PAUSE_S)
        return tuple(chain(*parts))

    async def _fetch_of(self, partition: TopicPartition, consumer: AIOKafkaConsumer) -> list[Record]:
        """Return what can be read of a partition; what cannot makes it wait, and others go on."""
        most, failed = APART_RECORDS, ""
        while most and partition in self._expected:
            try:
                found = await consumer.getmany(partition, timeout_ms=APART_WAIT_MS, max_records=most)
            except _OF_RECORDS as error:
                failed = describe_error(error)
                # Fewer, until those before the one that cannot be read are had.
                most //= 2
                if partition in self._expected:
                    self._seek(partition, self._expected[partition])
            else:
                return found.get(partition, [])
        if partition in self._expected:
            # Who is called must know why: it waits until the record is gone, or can be read.
            _log.error(
                "a record cannot be read, and its partition waits",
                topic=partition.topic,
                partition=partition.partition,
                offset=self._expected[partition],
                error=failed,
            )
            consumer.pause(partition)
            loop = asyncio.get_running_loop()
            self._waiting[partition] = loop.call_later(UNREADABLE_PAUSE_S, self._resume, partition, consumer)
        return []

    def _resume(self, partition: TopicPartition, consumer: AIOKafkaConsumer) -> None:
        del self._waiting[partition]
        if partition in consumer.assignment():
            consumer.resume(partition)

    @property
    def held_up(self) -> frozenset[TopicPartition]:
        """The partitions that wait before a record that cannot be read, and all before it is in PostgreSQL."""
        return frozenset(each for each in self._waiting if self.done[each] == self._expected[each])

    async def lag(self) -> dict[TopicPartition, int]:
        """Return how many offsets of each partition are not in PostgreSQL; below zero where the topic was made anew."""
        partitions = list(self.done)
        if not partitions:
            return {}
        ends = await asyncio.wait_for(self._kafka().end_offsets(partitions), KAFKA_LIMIT_S)
        return {partition: ends[partition] - self.done[partition] for partition in partitions if partition in self.done}

    async def _run(self, partition: TopicPartition, records: list[Record]) -> Run | None:
        first = expected = self._expected.get(partition, -1)
        # Below the position a record was done; a partition without one is not ours any more.
        records = [record for record in records if record.offset >= expected >= 0]
        if not records:
            return None
        holes = []
        for record in records:
            if record.offset > expected:
                holes.append((expected, record.offset - 1))
            expected = record.offset + 1
        if not self._is_real(partition, holes):
            return None
        try:
            gaps = await self._gaps(partition, holes)
        except (KafkaError, TimeoutError):
            # Nothing is lost: the records are a hole that is fetched again.
            self._seek(partition, first)
            return None
        self._expected[partition] = expected
        return Run(self._places[partition], first, expected, [self._item(record) for record in records], gaps)

    def _is_real(self, partition: TopicPartition, holes: list[tuple[int, int]]) -> bool:
        """Fetch once more before a hole is believed: the client may skip a record, we never do."""
        if self._holes[partition].issuperset(holes):
            self._holes[partition].clear()
            return True
        self._holes[partition] = set(holes)
        self._seek(partition, self._expected[partition])
        return False

    async def _gaps(self, partition: TopicPartition, holes: list[tuple[int, int]]) -> list[Gap]:
        """Tell what Kafka deleted unread from what never was a record (transaction markers, aborted records)."""
        if not holes:
            return []
        starts = await asyncio.wait_for(self._kafka().beginning_offsets([partition]), KAFKA_LIMIT_S)
        start = starts[partition]
        gaps = []
        for first, last in holes:
            if first < start:
                gaps.append(Gap(first, min(last, start - 1), "lost"))
                _log.error("records lost", topic=partition.topic, partition=partition.partition, count=gaps[-1].offsets)
            if last >= start:
                gaps.append(Gap(max(first, start), last, "no_record"))
        return gaps

    def _seek(self, partition: TopicPartition, offset: int) -> None:
        try:
            self._kafka().seek(partition, offset)
        except IllegalStateError:
            # Another tracker's since a moment ago.
            self.drop([partition])
        else:
            self._expected[partition] = offset

    def _kafka(self) -> AIOKafkaConsumer:
        assert self._consumer is not None, "no partition is open before one is assigned"
        return self._consumer


async def offsets(consumer: AIOKafkaConsumer, partitions: list[TopicPartition]) -> Offsets:
    """Return where Kafka's log of each partition begins and ends now; raises KafkaError and TimeoutError."""
    starts = await asyncio.wait_for(consumer.beginning_offsets(partitions), KAFKA_LIMIT_S)
    ends = await asyncio.wait_for(consumer.end_offsets(partitions), KAFKA_LIMIT_S)
    return {(each.topic, each.partition): (starts[each], ends[each]) for each in partitions}
