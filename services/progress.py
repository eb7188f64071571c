"""What a tracker knows of its progress: when it last got on, and how far it is behind."""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final

from aiokafka import TopicPartition

from services import metrics
from services.positions import Run

ANEW_LIMIT_S: Final = 10.0
"""How long a log must end below our position to be a new one, not a broker that was just elected."""


class Progress:
    """Owns the times by which the watchdog judges; ``topics`` are Kafka's names and ours."""

    def __init__(self, topics: Mapping[str, str]) -> None:
        self._topics = topics
        self._alive_at = time.monotonic()
        self._short_since: float | None = None
        self._stamps_ms: dict[TopicPartition, int] = {}

    def note_life(self) -> None:
        """Note that the tracker got on, or that there was nothing to do, or nothing that it could do."""
        self._alive_at = time.monotonic()
        metrics.LAST_PROGRESS.set_to_current_time()

    def note_written(self, runs: Iterable[Run]) -> None:
        """Note what is in PostgreSQL."""
        for run in runs:
            if run.items:
                self._stamps_ms[TopicPartition(run.place.topic, run.place.partition)] = run.items[-1].timestamp_ms
        self.note_life()

    @property
    def silent_s(self) -> float:
        """For how long nothing was noted."""
        return time.monotonic() - self._alive_at

    def see(self, lag: Mapping[TopicPartition, int]) -> None:
        """Take the offsets of each partition that are not in PostgreSQL, and show them by topic.

        Seconds behind are since the last record of the partition that is furthest behind.
        """
        counts: defaultdict[str, int] = defaultdict(int)
        stamps_ms: defaultdict[str, list[int]] = defaultdict(list)
        for partition, count in lag.items():
            if count > 0:
                counts[partition.topic] += count
                if partition in self._stamps_ms:
                    stamps_ms[partition.topic].append(self._stamps_ms[partition])
        for topic, name in self._topics.items():
            seconds = time.time() - min(stamps_ms[topic]) / 1000 if stamps_ms[topic] else 0.0
            metrics.LAG_RECORDS[name].set(counts[topic])
            metrics.SECONDS_BEHIND[name].set(max(seconds, 0.0))
        if not any(lag.values()):
            self.note_life()
        if min(lag.values(), default=0) >= 0:
            self._short_since = None
        elif self._short_since is None:
            self._short_since = time.monotonic()

    @property
    def a_topic_is_anew(self) -> bool:
        """Whether a log has ended below our position for too long to be the same one."""
        return self._short_since is not None and time.monotonic() - self._short_since > ANEW_LIMIT_S
