"""A broker in this process: three topics' logs and a consumer group, as aiokafka 0.14 shows them to a tracker."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Mapping, Sequence
from random import Random
from typing import Final, NamedTuple

from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaConnectionError

from events.codec import Record
from services.tracker import GROUP_HEARTBEAT_MS, METADATA_LIMIT_MS, REBALANCE_LIMIT_MS, SESSION_LIMIT_MS
from tests.faults.simulated_clock import PROCESS

SESSION_LIMIT_S: Final = SESSION_LIMIT_MS / 1000
REBALANCE_LIMIT_S: Final = REBALANCE_LIMIT_MS / 1000
HEARTBEAT_S: Final = GROUP_HEARTBEAT_MS / 1000
LOOK_S: Final = 1.0
"""Between two looks for members that fell silent."""
METADATA_LIMIT_S: Final = METADATA_LIMIT_MS / 1000
LED: Final = 0.5
"""How often a group has a leader that looks after new partitions."""
QUICKEST_S: Final = 0.001
SLOWEST_S: Final = 0.01
"""How long an answer of the broker takes."""


class Stored(NamedTuple):
    """A record in a log."""

    record: Record
    timestamp_ms: int


class Log:
    """A partition: what stands at each offset, a record, or nothing a consumer gets (a marker, an aborted record)."""

    def __init__(self, generation: int = 1) -> None:
        self.generation = generation
        self.start = 0
        self.entries: list[Stored | None] = []

    @property
    def end(self) -> int:
        """The offset that comes next."""
        return len(self.entries)

    def records(self) -> list[tuple[int, Stored]]:
        """Return what a consumer can still read, with the offsets."""
        return [(offset, each) for offset, each in enumerate(self.entries) if each and offset >= self.start]


class Member:
    """A client in the group, as the coordinator knows it."""

    def __init__(self, name: str, seen_s: float) -> None:
        self.name = name
        self.seen_s = seen_s
        self.joining: asyncio.Future[tuple[int, list[TopicPartition]]] | None = None


class Broker:
    """Owns the logs, the group, and the offsets that the group committed."""

    def __init__(self, partitions: Sequence[TopicPartition], seed: int) -> None:
        self.logs = {partition: Log() for partition in partitions}
        self.old_logs: list[tuple[TopicPartition, Log]] = []
        """Of topics that were made anew."""
        self.committed: dict[TopicPartition, int] = {}
        self.away = False
        """Whether it answers nobody."""
        self.on_commit: Callable[[Mapping[TopicPartition, int]], Awaitable[None]] = _believe
        self.chance = Random(f"{seed}:broker")
        self.rebalances = 0
        self.failed_fetches = 0
        self.unreadable: dict[tuple[TopicPartition, int], float] = {}
        """Until when a record cannot be read."""
        self.skipped = 0
        """Of records that a client left out once."""
        self._loop = asyncio.get_running_loop()
        self._grown: list[asyncio.Future[None]] = []
        self._members: dict[str, Member] = {}
        self._generation = 0
        self._rebalancing: asyncio.TimerHandle | None = None
        self._names = 0
        self._watch = asyncio.create_task(self._look_for_the_dead())

    def close(self) -> None:
        """Look after the group no more."""
        self._watch.cancel()
        if self._rebalancing:
            self._rebalancing.cancel()

    # --- logs ---

    def append(self, partition: TopicPartition, entries: Sequence[Stored | None]) -> None:
        """Put records and holes at the end of a log."""
        self.logs[partition].entries += entries
        self.tell_readers()

    def truncate(self, partition: TopicPartition, start: int) -> None:
        """Forget what is older, read or not, as retention does."""
        log = self.logs[partition]
        log.start = max(log.start, min(start, log.end))

    def make_anew(self, topic: str) -> None:
        """Delete a topic and make it again, empty; nobody is told."""
        for partition, log in self.logs.items():
            if partition.topic == topic:
                self.old_logs.append((partition, log))
                # A consumer sees a new log only where its own position shows it.
                self.logs[partition] = Log(log.generation + bool(log.end))
                self.committed.pop(partition, None)

    def add(self, partitions: Sequence[TopicPartition]) -> bool:
        """Add partitions; the group's leader sees them in a while, or nobody does that has a duty to (KIP-814)."""
        self.logs.update({partition: Log() for partition in partitions})
        if partitions and self.chance.random() < LED:
            after_s = self.chance.uniform(0, METADATA_LIMIT_S)
            self._loop.call_later(after_s, self._begin_rebalance, context=contextvars.Context())
        return bool(partitions)

    def tell_readers(self) -> None:
        """Wake those who wait for more."""
        grown, self._grown = self._grown, []
        for each in grown:
            if not each.done():
                each.set_result(None)

    def grown(self) -> asyncio.Future[None]:
        """Return what is done when there may be more to read."""
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._grown.append(waiter)
        return waiter

    async def answer(self) -> None:
        """Take the time of an answer; raises KafkaConnectionError while the broker is away."""
        await asyncio.sleep(self.chance.uniform(QUICKEST_S, SLOWEST_S))
        process = PROCESS.get()
        if process and not process.alive:
            raise asyncio.CancelledError
        if self.away:
            raise KafkaConnectionError

    # --- the group ---

    def new_name(self, process: str) -> str:
        """Return the id of a member that has none."""
        self._names += 1
        return f"{process}-{self._names}"

    async def join(self, name: str) -> tuple[int, list[TopicPartition]]:
        """Return the generation and its share of the partitions, once all members came or were given up."""
        await self.answer()
        member = self._members.setdefault(name, Member(name, self._loop.time()))
        joining: asyncio.Future[tuple[int, list[TopicPartition]]] = self._loop.create_future()
        member.joining = joining
        self._begin_rebalance()
        self._end_rebalance_if_all_came()
        return await joining

    async def heartbeat(self, name: str, generation: int) -> bool:
        """Say that a member lives; return whether it must join again. Raises LookupError where it is unknown."""
        await self.answer()
        member = self._members[name]
        member.seen_s = self._loop.time()
        return self._rebalancing is not None or generation != self._generation

    async def leave(self, name: str) -> None:
        """Go at once."""
        await self.answer()
        self._drop(name)

    async def commit(self, name: str, generation: int, offsets: Mapping[TopicPartition, int]) -> None:
        """Keep offsets of the group, from a member of this generation only."""
        await self.answer()
        if name not in self._members or generation != self._generation:
            raise CommitFailedError
        self.committed.update(offsets)
        await self.on_commit(offsets)
        await self.answer()  # it may be kept, and the answer lost

    def _drop(self, name: str) -> None:
        if self._members.pop(name, None) and self._members:
            self._begin_rebalance()
            self._end_rebalance_if_all_came()

    def _begin_rebalance(self) -> None:
        if self._rebalancing is None:
            self.rebalances += 1
            self._rebalancing = self._loop.call_later(
                REBALANCE_LIMIT_S, self._give_up_the_late, context=contextvars.Context()
            )

    def _give_up_the_late(self) -> None:
        self._members = {name: member for name, member in self._members.items() if member.joining}
        self._end_rebalance_if_all_came()

    def _end_rebalance_if_all_came(self) -> None:
        if self._rebalancing is None or not all(member.joining for member in self._members.values()):
            return
        self._rebalancing.cancel()
        self._rebalancing = None
        self._generation += 1
        shares = self._range_shares(sorted(self._members))
        for name, member in self._members.items():
            member.seen_s = self._loop.time()
            joining, member.joining = member.joining, None
            if joining and not joining.done():
                joining.set_result((self._generation, shares[name]))

    def _range_shares(self, names: list[str]) -> dict[str, list[TopicPartition]]:
        """Divide each topic among the members, as RangePartitionAssignor does."""
        shares: dict[str, list[TopicPartition]] = {name: [] for name in names}
        for topic in sorted({partition.topic for partition in self.logs}):
            partitions = sorted(partition for partition in self.logs if partition.topic == topic)
            each, more = divmod(len(partitions), max(len(names), 1))
            for number, name in enumerate(names):
                first = each * number + min(number, more)
                shares[name] += partitions[first : first + each + (number < more)]
        return shares

    async def _look_for_the_dead(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            now = self._loop.time()
            silent = [
                name
                for name, member in self._members.items()
                if not member.joining and now - member.seen_s > SESSION_LIMIT_S
            ]
            for name in silent:
                self._drop(name)


async def _believe(_offsets: Mapping[TopicPartition, int]) -> None:
    """Check nothing."""


def require_assigned(partition: TopicPartition, assigned: Sequence[TopicPartition]) -> None:
    """Raise what aiokafka raises for a partition that the client has not."""
    if partition not in assigned:
        raise IllegalStateError(f"No current assignment for partition {partition}")
