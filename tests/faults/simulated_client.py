"""A tracker's Kafka client, in place of FastStream's broker and aiokafka's consumer, on the simulated broker."""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import CorruptRecordException, KafkaConnectionError, KafkaError

from services.tracker import Tracker
from tests.faults.simulated_clock import PROCESS
from tests.faults.simulated_kafka import HEARTBEAT_S, Broker, Stored, require_assigned

Fetched = ConsumerRecord[bytes, bytes]

RETRY_S: Final = 0.5
"""aiokafka's pause before it tries again."""
WHOLE: Final = 0.7
"""The share of fetches that bring all that may come."""
FAILS: Final = 0.3
"""The chance of each record that is read to be the one that cannot be."""
AFTER_ERROR_S: Final = 5.0
"""FastStream's pause after an error of Kafka."""


class Client:
    """Owns a consumer's assignment and positions, and the tasks that read, beat and join on its behalf."""

    def __init__(self, broker: Broker, tracker: Tracker, name: str, most_records: int) -> None:
        self._broker = broker
        self._tracker = tracker
        self._process_name = name
        self._most_records = most_records
        self._member = broker.new_name(name)
        self._generation = -1
        self._assigned: list[TopicPartition] = []
        self._positions: dict[TopicPartition, int] = {}
        self._reassigning = True
        self._joining = False
        self._rejoin = asyncio.Event()
        self._started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks: list[asyncio.Task[None]] = []
        self._skips: set[tuple[TopicPartition, int]] = set()
        self._paused: set[TopicPartition] = set()
        self.skipping = False
        """Whether the client leaves out the next record that it never left out before."""
        self.failing_s = 0.0
        """For how long a record cannot be read, of those that come next."""
        self.consumer = self
        self._coordinator = self

    # --- what FastStream's broker does ---

    async def start(self) -> None:
        """Join the group; return once it gave us partitions."""
        self._rejoin.set()
        self._tasks = [asyncio.create_task(each()) for each in (self._coordinate, self._beat, self._consume)]
        self._coordination_task = self._tasks[0]
        for task in self._tasks:
            task.add_done_callback(_must_not_fail)
        await self._started

    async def stop(self) -> None:
        """Leave the group and read no more."""
        for task in self._tasks:
            task.cancel()
        with suppress(KafkaError):
            await self._broker.leave(self._member)
        self._assigned = []

    async def get_msg(self, consumer: "Client") -> tuple[Fetched, ...]:  # noqa: ARG002  (FastStream's)
        """Return what is fetched next, as soon as there is something; raises KafkaError, and what was read is gone."""
        while True:
            grown = self._broker.grown()
            try:
                await self._broker.answer()
            except KafkaConnectionError:
                await asyncio.sleep(RETRY_S)  # aiokafka waits until it has a connection again
                continue
            chance = self._broker.chance
            most = self._most_records if chance.random() < WHOLE else chance.randint(1, self._most_records)
            if records := self._read(chance.sample(self._assigned, len(self._assigned)), most):
                return records
            await grown

    # --- what the tracker asks of aiokafka's consumer ---

    async def getmany(
        self, partition: TopicPartition, *, timeout_ms: int, max_records: int
    ) -> dict[TopicPartition, list[Fetched]]:
        """Return records of a partition; raises KafkaError, and what was read is gone."""
        with suppress(KafkaConnectionError):
            await self._broker.answer()
            if records := self._read([partition], max_records):
                return {partition: [*records]}
        await asyncio.sleep(timeout_ms / 1000)
        return {}

    def assignment(self) -> set[TopicPartition]:
        """Return the partitions that are ours."""
        return {*self._assigned}

    def pause(self, partition: TopicPartition) -> None:
        """Read no more of a partition; raises IllegalStateError for one of another's."""
        require_assigned(partition, self._assigned)
        self._paused.add(partition)

    def resume(self, partition: TopicPartition) -> None:
        """Read a partition again; raises IllegalStateError for one of another's."""
        require_assigned(partition, self._assigned)
        self._paused.discard(partition)
        self._broker.tell_readers()

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read on from there; raises IllegalStateError for a partition of another's."""
        require_assigned(partition, self._assigned)
        self._positions[partition] = offset
        self._broker.tell_readers()

    async def position(self, partition: TopicPartition) -> int:
        """Return the offset that is read next; raises IllegalStateError for a partition of another's."""
        require_assigned(partition, self._assigned)
        self._check()
        return self._positions[partition]

    async def beginning_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Return where the logs begin."""
        await self._broker.answer()
        return {partition: self._broker.logs[partition].start for partition in partitions}

    async def end_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Return where the logs end."""
        await self._broker.answer()
        return {partition: self._broker.logs[partition].end for partition in partitions}

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit; raises KafkaError."""
        for partition in offsets:
            require_assigned(partition, self._assigned)
        await self._broker.commit(self._member, self._generation, offsets)

    def partitions_for_topic(self, topic: str) -> set[int]:
        """Return which partitions a topic has."""
        return {partition.partition for partition in self._broker.logs if partition.topic == topic}

    def request_rejoin(self) -> None:
        """Join the group again."""
        self._rejoin.set()

    # --- what goes wrong in a client ---

    def go_back(self, count: int) -> None:
        """Read the last records of each partition once more."""
        for partition, position in self._positions.items():
            self._positions[partition] = max(position - count, self._broker.logs[partition].start)
        self._broker.tell_readers()

    def lose_place(self) -> None:
        """Join the group again."""
        self._rejoin.set()

    # --- aiokafka's tasks ---

    async def _coordinate(self) -> None:
        while True:
            await self._rejoin.wait()
            self._reassigning = True
            await self._call(self._tracker.on_partitions_revoked(list(self._assigned)))
            self._assigned = await self._share()
            # Where Kafka thinks that we are; the tracker knows better, but records may come before it says so.
            self._positions = {
                partition: self._broker.committed.get(partition, self._broker.logs[partition].start)
                for partition in self._assigned
            }
            self._reassigning = False
            self._paused.clear()
            self._broker.tell_readers()
            await self._call(self._tracker.on_partitions_assigned(list(self._assigned)))
            if not self._started.done():
                self._started.set_result(None)

    async def _share(self) -> list[TopicPartition]:
        self._joining = True
        while True:
            try:
                self._generation, share = await self._broker.join(self._member)
            except KafkaError:
                await asyncio.sleep(RETRY_S)
            else:
                self._joining = False
                self._rejoin.clear()
                return share

    async def _call(self, listener: Coroutine[Any, Any, None]) -> None:
        """Call a listener; aiokafka logs what it raises and goes on."""
        with suppress(Exception):
            await listener

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            if self._joining or self._generation < 0:
                continue
            try:
                again = await self._broker.heartbeat(self._member, self._generation)
            except KafkaError:
                continue
            except LookupError:
                self._member = self._broker.new_name(self._process_name)
                self._generation = -1
                again = True
            if again and not self._joining:
                self._rejoin.set()

    async def _consume(self) -> None:
        """Do as FastStream's loop does: what the handler raises is swallowed, and after a failed fetch it sleeps."""
        while True:
            try:
                records = await self.get_msg(self)
            except KafkaError:
                await asyncio.sleep(AFTER_ERROR_S)
                continue
            with suppress(Exception):
                await self._tracker.take(records)

    def _read(self, partitions: Sequence[TopicPartition], most: int) -> tuple[Fetched, ...]:
        """Return records as a fetch may bring them, and move the positions on; raises KafkaError half-way."""
        records: list[Fetched] = []
        for partition in () if self._reassigning else partitions:
            if partition in self._paused or partition not in self._positions:
                continue
            log = self._broker.logs[partition]
            position = self._positions[partition]
            if not log.start <= position <= log.end:
                # Out of range: aiokafka begins anew at the earliest.
                self._positions[partition] = position = log.start
            while position < log.end and (len(records) < most or log.entries[position] is None):
                stored = log.entries[position]
                if stored and self._fails_now(partition, position):
                    raise CorruptRecordException
                if stored and not self._skips_now(partition, position):
                    records.append(_record(partition, position, stored))
                position += 1
            self._positions[partition] = position
        return tuple(records)

    def _fails_now(self, partition: TopicPartition, offset: int) -> bool:
        now, unreadable = asyncio.get_running_loop().time(), self._broker.unreadable
        if self.failing_s and self._broker.chance.random() < FAILS:
            unreadable[partition, offset] = now + self.failing_s
            self.failing_s = 0.0
            self._broker.failed_fetches += 1
        return unreadable.get((partition, offset), 0.0) > now

    def _skips_now(self, partition: TopicPartition, offset: int) -> bool:
        if not self.skipping or (partition, offset) in self._skips:
            return False
        self._skips.add((partition, offset))
        self.skipping = False
        self._broker.skipped += 1
        return True

    def _check(self) -> None:
        process = PROCESS.get()
        if process and not process.alive:
            raise asyncio.CancelledError


def _must_not_fail(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.result()


def _record(partition: TopicPartition, offset: int, stored: Stored) -> Fetched:
    record = stored.record
    return ConsumerRecord(
        topic=partition.topic,
        partition=partition.partition,
        offset=offset,
        timestamp=stored.timestamp_ms,
        timestamp_type=0,
        key=record.key,
        value=record.value,
        checksum=None,
        serialized_key_size=len(record.key or b""),
        serialized_value_size=len(record.value or b""),
        headers=tuple(record.headers),  # type: ignore[arg-type]  # null values are legal
    )
