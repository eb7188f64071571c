"""The whole path: the real tracker on a backlog read topic by topic, from the first record to the last COMMIT."""

import asyncio
import cProfile
import logging
import pstats
import sys
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any, Final, get_args

import uvloop
from aiokafka import TopicPartition

from services import logs, metrics, tracker
from services.metrics import BatchPhase
from services.positions import Run
from services.settings import Settings
from services.store import Written
from tests.bench.child import Clock

SETTLE_S: Final = 0.3
"""From the assignment to the start of the clock, so that no rebalance is measured."""
PROFILED_LINES: Final = 30


class TopicByTopic(tracker.Tracker):
    """Reads the next topic only when the one before is in PostgreSQL to its end."""

    def __init__(self, clock: Clock, records: dict[str, int], *arguments: Any) -> None:  # noqa: ANN401  (the tracker's)
        super().__init__(*arguments)
        self._clock = clock
        self._left = Counter(records)
        self._topics_left = list(records)
        self._began: tuple[float, float] = (0, 0)

    async def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        """Take the partitions as ever, but read nothing yet."""
        self.subscriber.consumer.pause(*assigned)
        await super().on_partitions_assigned(assigned)
        asyncio.get_running_loop().call_later(SETTLE_S, self._start)

    def _start(self) -> None:
        self._clock.start()
        self._began = time.perf_counter(), time.process_time()
        self._resume()

    def _resume(self) -> None:
        consumer = self.subscriber.consumer
        consumer.resume(*(part for part in consumer.assignment() if part.topic == self._topics_left[0]))

    def _written(self, written: Written, runs: Sequence[Run]) -> None:
        super()._written(written, runs)
        for each in runs:
            self._left[each.place.topic] -= each.next - each.first
        if self._topics_left and not self._left[self._topics_left[0]]:
            del self._topics_left[0]
            self._resume() if self._topics_left else self._stop()

    def _stop(self) -> None:
        seconds, cpu_s = time.perf_counter() - self._began[0], time.process_time() - self._began[1]
        self._clock.stop(seconds, cpu_s, _phases())
        self.end(tracker.DONE, "all is read")


def run(clock: Clock, settings: Settings, records: dict[str, int], profile: bool) -> None:
    """Track ``records`` (by topic, in the order in which the topics are read), then end."""
    logs.configure("text")
    logging.getLogger().setLevel(logging.WARNING)
    # A Kafka just started has no group coordinator yet, which aiokafka calls an error and tries again.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    # Pausing is the benchmark's own business and no flag of the product.
    tracker.Tracker = partial(TopicByTopic, clock, records)  # type: ignore[misc,assignment]
    profiler = cProfile.Profile()
    if profile:
        profiler.enable()
    code = uvloop.run(tracker.run(settings))
    if profile:
        profiler.disable()
        for order in ("tottime", "cumulative"):
            pstats.Stats(profiler, stream=sys.stderr).sort_stats(order).print_stats(PROFILED_LINES)
    sys.exit(code)


def _phases() -> dict[str, float]:
    """Return the seconds of each phase, of both lanes together, as the tracker's own metrics tell them."""
    return {
        phase: metrics.TRACKER.get_sample_value("claimpath_batch_seconds_sum", {"phase": phase}) or 0.0
        for side in get_args(BatchPhase)
        for phase in get_args(side) or (side,)
    }
