"""The tracker: Kafka's records in, lanes to PostgreSQL out; it ends itself rather than stand still."""

import asyncio
import signal
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import KafkaError
from asyncpg.exceptions import InterfaceError, PostgresError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka.message import KafkaMessage
from msgspec.structs import astuple
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from events import codec
from services import database, garbage, kafka, metrics, positions, store
from services.assignment import KAFKA_LIMIT_S, Assignment, Record, offsets
from services.breaker import BREAKER_SHARE, BREAKER_WINDOW, Breaker
from services.lanes import Lane
from services.positions import BehindError, Item, Refused, Run
from services.progress import Progress
from services.settings import Settings, host_and_port

APPLICATION: Final = "claimpath-tracker"
DONE: Final = 0
BREAKER: Final = 4
STALLED: Final = 70
"""The tracker ended itself, for its supervisor to start it afresh (sysexits: internal error)."""

SHUTDOWN_LIMIT_S: Final = 5.0
"""For what is under way, and as long for all the rest; a supervisor that grants 15 s never has to kill."""
COMMIT_LIMIT_S: Final = 1.0
"""For the last courtesy to Kafka."""
LEAVE_LIMIT_S: Final = 3.0
"""For leaving the group, so that others have the partitions at once."""
CANCEL_LIMIT_S: Final = 1.0
"""For a PostgreSQL that does not answer; whether a transaction is committed, the next tracker sees."""
REVOKE_LIMIT_S: Final = 10.0
"""For what is under way when partitions move; what is not done by then is fenced by the positions."""
OPEN_PAUSE_S: Final = 1.0
"""Between two tries to read the positions of partitions just assigned."""
HEARTBEAT_S: Final = 1.0
"""Between two looks at lag and progress, and two commits to Kafka."""
SESSION_LIMIT_MS: Final = 10_000
"""After which Kafka gives a dead tracker's partitions to another."""
GROUP_HEARTBEAT_MS: Final = 1_000
"""How soon a tracker hears that the group changes: 15 s after a kill all must be taken again."""
REBALANCE_LIMIT_MS: Final = 15_000
"""How long Kafka waits for every tracker to let go: until its next heartbeat, the revocation, a commit."""
POLL_LIMIT_MS: Final = 3_600_000
"""How long PostgreSQL may keep us from asking for more before Kafka gives the partitions to others, who wait too."""
METADATA_LIMIT_MS: Final = 10_000
"""How long a topic made anew, or with more partitions than before, may go unnoticed."""
RETRY_PAUSE_MS: Final = 500
"""Between aiokafka's tries to reach Kafka, each of which it logs."""
BATCH_WAIT_MS: Final = 50
"""FastStream sleeps for this long after an empty poll, twice."""

_log = structlog.get_logger(__name__)


async def run(settings: Settings) -> int:
    """Track until SIGTERM, the breaker or the watchdog; return the exit code.

    Raises what database and Kafka raise where one cannot be reached at the start.
    """
    garbage.collect_seldom()
    engine = database.engine(settings, application=APPLICATION, role="claimpath_tracker")
    try:
        await database.require_schema(engine)
        async with kafka.administration(settings, application=APPLICATION) as client:
            cluster_id = (await client.describe_cluster())["cluster_id"]
        tracker = Tracker(settings, engine, cluster_id)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, tracker.end, DONE, "asked to")
        metrics.serve_tracker(*host_and_port(settings.tracker_listen))
        return await tracker.run(_subscribe(settings, tracker))
    finally:
        # Closing a connection waits for PostgreSQL, which may not answer at all.
        with suppress(TimeoutError):
            await asyncio.wait_for(engine.dispose(), CANCEL_LIMIT_S)


def _subscribe(settings: Settings, tracker: "Tracker") -> KafkaBroker:
    broker = KafkaBroker(
        kafka.bootstrap_servers(settings),
        security=kafka.broker_security(settings),
        client_id=APPLICATION,
        metadata_max_age_ms=METADATA_LIMIT_MS,
        retry_backoff_ms=RETRY_PAUSE_MS,
        consumer_only=True,
        allow_auto_create_topics=False,
        # What was handed over is waited for before; what could not be handed over stays in Kafka.
        graceful_timeout=COMMIT_LIMIT_S,
        apply_types=False,
        # FastStream logs what it could not handle, with the payload.
        logger=None,
        # Its own parser fails on headers that Kafka allows, and with it the batch.
        parser=tracker.wrap,
        decoder=_decode,
    )
    subscriber = broker.subscriber(
        *kafka.our_names(settings),
        batch=True,
        max_records=settings.batch_records * settings.lanes,
        batch_timeout_ms=BATCH_WAIT_MS,
        group_id=settings.group,
        group_instance_id=settings.group_instance_id,
        ack_policy=AckPolicy.MANUAL,
        no_reply=True,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        partition_assignment_strategy=(RangePartitionAssignor,),
        session_timeout_ms=SESSION_LIMIT_MS,
        heartbeat_interval_ms=GROUP_HEARTBEAT_MS,
        rebalance_timeout_ms=REBALANCE_LIMIT_MS,
        max_poll_interval_ms=POLL_LIMIT_MS,
        listener=tracker,
    )
    subscriber(tracker.take)
    tracker.subscriber = subscriber
    return broker


async def _decode(message: KafkaMessage) -> object:
    return message.body


class Tracker(ConsumerRebalanceListener):
    """Owns a consumer's partitions and the lanes that they go through."""

    def __init__(self, settings: Settings, engine: AsyncEngine, cluster_id: str) -> None:
        self._settings = settings
        self._engine = engine
        self._cluster_id = cluster_id
        self._topics = kafka.our_names(settings)
        self._assignment = Assignment(self._item)
        self._progress = Progress(self._topics, is_known_by_name=settings.group_instance_id is not None)
        self._breaker = Breaker(on=settings.breaker)
        self._lanes = [
            Lane(
                engine,
                cluster_id,
                on_written=self._written,
                on_behind=self._behind,
                on_try=self._progress.note_life,
                may_refuse=self._may_refuse,
            )
            for _ in range(settings.lanes)
        ]
        # Held while records are handed to the lanes: rebalances and the heartbeat must not come in between.
        self._handing_over = asyncio.Lock()
        self._joined = False
        self._committed: dict[TopicPartition, int] = {}
        self.subscriber: Any = None
        """FastStream's subscriber, whose consumer is there once it starts."""
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def end(self, code: int, why: str) -> None:
        """Ask the process to end with an exit code."""
        if not self.ended.done():
            (_log.info if code == DONE else _log.error)("tracker ends", why=why, exit_code=code)
            self.ended.set_result(code)

    async def wrap(self, records: tuple[Record, ...]) -> KafkaMessage:
        """Pass records through FastStream as they are."""
        return KafkaMessage(body=records, raw_message=records, headers={}, consumer=self._kafka())

    async def take(self, records: Sequence[Record]) -> None:
        """Hand a batch to the lanes."""
        try:
            async with self._handing_over:
                if not self.ended.done():
                    await self._take(records)
        except BaseException as error:
            # FastStream swallows what is raised here, and the batch would come again and again.
            self.end(STALLED, f"a batch cannot be taken: {database.describe_error(error)}")
            raise

    async def _take(self, records: Sequence[Record]) -> None:
        with metrics.batch_phase("decode"):
            runs = await self._assignment.runs(records)
        outcomes = [isinstance(item.outcome, Refused) for run in runs for item in run.items]
        if self._breaker.opens(taken=outcomes.count(False), refused=outcomes.count(True)):
            self._end_by_breaker()
        else:
            await self._hand_over(runs)

    async def _hand_over(self, runs: Sequence[Run]) -> None:
        self._progress.note_taken(runs)
        by_lane: defaultdict[Lane, list[Run]] = defaultdict(list)
        for run in runs:
            # Equal partitions of the three topics hold the same claims: in one lane they need not wait for each other.
            by_lane[self._lanes[run.place.partition % len(self._lanes)]].append(run)
        for lane, share in by_lane.items():
            await lane.put(share)

    def _item(self, record: Record) -> Item:
        received = codec.Record(self._topics[record.topic], record.key, record.value, record.headers)
        decoded = codec.decode(received)
        outcome = Refused(*astuple(decoded)) if isinstance(decoded, codec.Refusal) else decoded
        return Item(record.offset, record.timestamp, received, outcome)

    def _may_refuse(self) -> bool:
        """Say whether a record that cannot be stored may become a dead letter."""
        if self._breaker.opens(taken=0, refused=1):
            self._end_by_breaker()
        return not self.ended.done()

    def _end_by_breaker(self) -> None:
        self.end(
            BREAKER,
            f"{BREAKER_SHARE:.0%} of the last {BREAKER_WINDOW} records were refused: see why with `claimpath"
            " dead-letters list`; to take them as dead letters and go on, start with CLAIMPATH_BREAKER=false",
        )

    def _written(self, written: store.Written, runs: Sequence[Run]) -> None:
        self._assignment.finished(runs)
        metrics.wrote(written)
        refused = written.refusals.total()
        self._breaker.note(
            taken=sum(count.accepted + count.duplicate for count in written.counts.values()), refused=refused
        )
        self._progress.note_written(runs)

    def _behind(self, runs: Sequence[Run], behind: BehindError) -> None:
        if behind.position < 0:
            self.end(STALLED, "a partition's position is gone from PostgreSQL")
        else:
            _log.warning("going back to the position in PostgreSQL", position=behind.position)
            self._assignment.rewind(runs, behind)

    # --- rebalances ---

    async def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        """Finish what is under way before another tracker goes on with it."""
        self._joined = False
        async with self._handing_over:
            await self.drain(REVOKE_LIMIT_S)
            await self._commit(COMMIT_LIMIT_S)
            self._assignment.drop(revoked)
            self._progress.forget(revoked)
            self._committed.clear()

    async def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        """Go on where PostgreSQL says; asked until it answers."""
        # As the group shares them: while PostgreSQL makes us wait there may be more, which nobody has shared.
        shared = self._partitions()
        async with self._handing_over:
            while not self.ended.done():
                try:
                    await self._open(list(assigned))
                except (OSError, KafkaError, SQLAlchemyError, PostgresError, InterfaceError) as error:
                    _log.warning("positions are not to be had yet", error=database.describe_error(error))
                    await asyncio.sleep(OPEN_PAUSE_S)
                except BaseException as error:
                    # aiokafka swallows what is raised here and would go on from an offset that is not ours.
                    self.end(STALLED, f"positions cannot be read: {database.describe_error(error)}")
                    raise
                else:
                    self._joined = True
                    self._progress.note_shared(shared)
                    return

    async def _open(self, assigned: list[TopicPartition]) -> None:
        if not assigned:
            return
        consumer = self._kafka()
        look = partial(offsets, consumer, assigned)
        log = await look()
        # From here on it is PostgreSQL that makes us wait, as long as it takes.
        self._progress.note_life()
        async with self._engine.begin() as connection:
            opened = await positions.open_positions(await database.driver(connection), self._cluster_id, log, look)
        for place in opened.anew:
            metrics.GENERATIONS.inc()
            _log.error("topic was made anew", topic=place.topic, partition=place.partition)
        self._assignment.open(consumer, opened.positions)
        _log.info("partitions assigned", count=len(assigned))

    # --- heartbeat ---

    async def watch(self) -> None:
        """End a tracker that stands still while there is lag, or outside its group, whatever it hangs on."""
        limit_s = self._settings.stall_limit_s
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            if self.ended.done():
                return
            if self._progress.silent_s > limit_s:
                self.end(STALLED, f"no progress for {limit_s:.0f} s while there is lag, or no place in the group")
            if self._joined and not kafka.is_coordinated(self._kafka()):
                self.end(STALLED, "its client takes no more part in the group")

    async def beat(self) -> None:
        """Look after lag and Kafka's offsets for as long as the tracker runs."""
        while not self.ended.done():
            await asyncio.sleep(HEARTBEAT_S)
            try:
                if self._joined:
                    await self._look()
                    await self._commit(KAFKA_LIMIT_S)
                    continue
            except (KafkaError, TimeoutError) as error:
                _log.info("lag is not to be had", error=database.describe_error(error))
            if await self._kafka_is_away():
                # Nobody knows of any lag, and aiokafka keeps asking.
                self._progress.note_life()

    async def _kafka_is_away(self) -> bool:
        """Ask on a connection of its own: a client that stalls must not pass for a cluster that is away."""
        try:
            async with (
                asyncio.timeout(KAFKA_LIMIT_S),
                kafka.administration(self._settings, application=APPLICATION) as client,
            ):
                await client.describe_cluster()
        except (KafkaError, OSError):
            return True
        return False

    async def _look(self) -> None:
        if not self._handing_over.locked():
            async with self._handing_over:
                await self._hand_over(await self._assignment.tails())
        self._progress.see(await self._assignment.lag(), self._assignment.held_up)
        if self._progress.others_are_shared(self._partitions()):
            _log.warning("joining the group anew: topics have other partitions than it is known to share")
            kafka.rejoin(self._kafka())
        if self._progress.a_topic_is_anew:
            self.end(STALLED, "a topic ends below our position: it was made anew, and the next start reads it")

    def _partitions(self) -> dict[str, int]:
        consumer = self._kafka()
        return {topic: len(consumer.partitions_for_topic(topic) or ()) for topic in self._topics}

    async def _commit(self, limit_s: float) -> None:
        """Tell Kafka how far PostgreSQL is; a courtesy to lag tools, nothing of ours reads it."""
        new = {part: done for part, done in self._assignment.done.items() if self._committed.get(part) != done}
        if new:
            with suppress(KafkaError, TimeoutError):
                await asyncio.wait_for(self._kafka().commit(new), limit_s)
                self._committed.update(new)

    # --- lifetime ---

    async def drain(self, limit_s: float) -> None:
        """Wait until the lanes wrote what they have, but not for ever: what they leave is fenced by the positions."""
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*(lane.drain() for lane in self._lanes)), limit_s)

    async def run(self, broker: KafkaBroker) -> int:
        """Track until something ends it; return the exit code. Raises KafkaError where it cannot start."""
        tasks = [asyncio.create_task(lane.run()) for lane in self._lanes]
        self.subscriber.get_msg = self._assignment.all_or_nothing(self.subscriber.get_msg)
        tasks += [asyncio.create_task(each) for each in (self.beat(), self.watch(), garbage.collect_now_and_then())]
        # It returns once the group gave us partitions, for which another member may make us wait.
        start = asyncio.create_task(broker.start())
        for task in (*tasks, start):
            task.add_done_callback(self._task_ended)
        try:
            code = await self.ended
            await self.drain(SHUTDOWN_LIMIT_S)
            for lane in self._lanes:
                lane.stop()
            await self._commit(COMMIT_LIMIT_S)
            try:
                with suppress(TimeoutError):
                    await asyncio.wait_for(broker.stop(), LEAVE_LIMIT_S)
            except ExceptionGroup as failed:
                # FastStream tells only now of a fetch that failed. What was handed over is done, the rest is in Kafka.
                errors = [database.describe_error(error) for error in failed.exceptions]
                _log.warning("the group was not left in order", errors=errors)
            if start.done():
                await start
            return code
        finally:
            for task in (*tasks, start):
                task.cancel()
            await asyncio.wait((*tasks, start), timeout=CANCEL_LIMIT_S)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.end(STALLED, f"it cannot go on: {database.describe_error(error)}")

    def _kafka(self) -> AIOKafkaConsumer:
        consumer: AIOKafkaConsumer = self.subscriber.consumer
        return consumer
