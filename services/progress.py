"""What a tracker knows of its progress: when it last got on, and how far it is behind."""

import time
from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from aiokafka import TopicPartition

from services import metrics
from services.positions import Run

ANEW_LIMIT_S: Final = 10.0
"""How long a log must end below our position to be a new one, not a broker that was just elected."""
UNSHARED_LIMIT_S: Final = 12.0
"""How long a topic may have other partitions than the group shares; its leader has seen them by then."""


class Progress:
    """Owns the times by which the watchdog judges; ``topics`` are Kafka's names and ours.

    A tracker that the group knows by its name is at first given back what it had, whatever the topics have by now.
    """

    def __init__(self, topics: Mapping[str, str], *, is_known_by_name: bool = False) -> None:
        self._topics = topics
        self._alive_at = time.monotonic()
        self._short_since: float | None = None
        self._shared: dict[str, int] = {}
        self._is_given_back = is_known_by_name
        self._unshared_since: float | None = None
        # Of each partition, the runs under way: where each ends, and its first record's time.
        self._under_way: defaultdict[TopicPartition, deque[tuple[int, int]]] = defaultdict(deque)
        self._behind_since: dict[TopicPartition, float] = {}

    def note_life(self) -> None:
        """Note that the tracker got on, or that there was nothing to do, or nothing that it could do."""
        self._alive_at = time.monotonic()
        metrics.LAST_PROGRESS.set_to_current_time()

    def note_taken(self, runs: Iterable[Run]) -> None:
        """Note what is on its way to PostgreSQL."""
        for run in runs:
            if run.items:
                self._under_way[_partition(run)].append((run.next, run.items[0].timestamp_ms))

    def note_written(self, runs: Iterable[Run]) -> None:
        """Note what is in PostgreSQL."""
        for run in runs:
            waiting = self._under_way[_partition(run)]
            while waiting and waiting[0][0] <= run.next:
                waiting.popleft()
        self.note_life()

    def forget(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget partitions that are another tracker's now."""
        for partition in partitions:
            self._under_way.pop(partition, None)
            self._behind_since.pop(partition, None)

    @property
    def silent_s(self) -> float:
        """For how long nothing was noted."""
        return time.monotonic() - self._alive_at

    def see(self, lag: Mapping[TopicPartition, int], held_up: Collection[TopicPartition] = ()) -> None:
        """Take the offsets of each partition that are not in PostgreSQL, and show them by topic.

        Seconds behind are the age of the oldest record under way, or for how long there is lag, whichever is more.
        Those held up by a record that cannot be read are no reason to end: the next start could not read it either.
        """
        now = time.time()
        behind = {partition: count for partition, count in lag.items() if count > 0}
        self._behind_since = {partition: self._behind_since.get(partition, now) for partition in behind}
        for topic, name in self._topics.items():
            partitions = [partition for partition in behind if partition.topic == topic]
            since = [self._behind_since[partition] for partition in partitions]
            since += [self._under_way[partition][0][1] / 1000 for partition in partitions if self._under_way[partition]]
            metrics.LAG_RECORDS[name].set(sum(behind[partition] for partition in partitions))
            metrics.SECONDS_BEHIND[name].set(max(now - min(since), 0.0) if since else 0.0)
        if not any(count for partition, count in lag.items() if partition not in held_up):
            self.note_life()
        if min(lag.values(), default=0) >= 0:
            self._short_since = None
        elif self._short_since is None:
            self._short_since = time.monotonic()

    @property
    def a_topic_is_anew(self) -> bool:
        """Whether a log has ended below our position for too long to be the same one."""
        return self._short_since is not None and time.monotonic() - self._short_since > ANEW_LIMIT_S

    def note_shared(self, partitions: Mapping[str, int]) -> None:
        """Note how many partitions each topic has as the group shares them, unless it only gave back what it had."""
        self._shared = {} if self._is_given_back else dict(partitions)
        self._is_given_back = False
        self._unshared_since = None

    def others_are_shared(self, partitions: Mapping[str, int]) -> bool:
        """Say whether the group has for too long shared another number of partitions than the topics have.

        Its leader sees to that, but a tracker that was restarted and is known by its name (static membership) is not
        told that it leads (KIP-814), and then nobody would.
        """
        if partitions == self._shared:
            self._unshared_since = None
        elif self._unshared_since is None:
            self._unshared_since = time.monotonic()
        elif time.monotonic() - self._unshared_since > UNSHARED_LIMIT_S:
            self._unshared_since = None
            return True
        return False


def _partition(run: Run) -> TopicPartition:
    return TopicPartition(run.place.topic, run.place.partition)
