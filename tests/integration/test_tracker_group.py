"""The tracker and what its client takes from Kafka: partitions that nobody shares out, records that nobody can read."""

import asyncio
from functools import partial
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, RecordsToDelete
from aiokafka.errors import GroupAuthorizationFailedError
from aiokafka.producer import message_accumulator, producer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from services import kafka
from services.assignment import Assignment, Record
from services.positions import Item
from services.settings import Settings
from tests.running import caught_up, outcomes, publish, tracker, until
from tests.stored import record
from tests.stories import session

NAME = "the-first"
UNSHARED_LIMIT_S = 40
UNREADABLE = "a record cannot be read, and its partition waits"
MANY = 100
OTHERS_LIMIT_S = 8
AGAIN_LIMIT_S = 20
STALL_LIMIT_S = 8
"""Less than until the next try: a tracker that has nothing else to do does not end itself."""


@pytest.mark.usefixtures("topics")
async def test_partitions_that_came_while_it_was_away_are_taken(
    settings: Settings, kafka_admin: AIOKafkaAdminClient, tmp_path: Path
) -> None:
    """A tracker that Kafka knows by its name is given back what it had, and takes what its topics got meanwhile too."""
    async with tracker(settings, tmp_path / "a.log", group_instance_id=NAME) as first:
        await first.says('"count": 9')
        await first.kill()
    await kafka_admin.create_partitions({topic: NewPartitions(4) for topic in kafka.our_names(settings)})
    async with tracker(settings, tmp_path / "b.log", group_instance_id=NAME) as second:
        await second.says('"count": 12', UNSHARED_LIMIT_S)
        assert '"count": 9' in second.said()  # which is all that it was given back


LOOKING_S = 15
LOOKS_FOR_ITS_COORDINATOR = f"""
import asyncio, time
from aiokafka.consumer.group_coordinator import GroupCoordinator
from services import progress

progress.UNSHARED_LIMIT_S = 2.0
known, begun = GroupCoordinator.ensure_coordinator_known, time.monotonic()

async def known_at_last(self):
    await known(self)
    if self.generation > 0 and time.monotonic() - begun < {LOOKING_S}:
        await asyncio.sleep(0.5)
        self.coordinator_dead()

GroupCoordinator.ensure_coordinator_known = known_at_last
"""


@pytest.mark.usefixtures("topics")
async def test_a_tracker_that_looks_for_its_coordinator_can_join_anew(settings: Settings, tmp_path: Path) -> None:
    """A tracker that joins the group anew while it looks for its coordinator, as after Kafka's restart, goes on."""
    async with tracker(
        settings, tmp_path / "tracker.log", LOOKS_FOR_ITS_COORDINATOR, group_instance_id=NAME
    ) as running:
        await running.says("joining the group anew")
        await publish(settings, [record(session())])
        await caught_up(settings, log=running.log)
        assert running.code() is None


class Unreadable(str):
    """A header's name that is not UTF-8."""

    __slots__ = ()

    def encode(self, *_: str) -> bytes:
        """Return what only a client in C would send."""
        return b"\xff\xfe"


@pytest.mark.usefixtures("topics")
async def test_a_record_that_cannot_be_read_holds_up_its_own_partition_only(
    settings: Settings, kafka_admin: AIOKafkaAdminClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a header's name is not UTF-8 the records before it and those of other partitions are taken, it is told
    without a flood, and what comes after it is taken when it is deleted.
    """
    topic = kafka.topic(settings, "session-recorded")
    before, after, *others = (record(session(claim_id=f"CLM-{number}")) for number in range(2 + 2 * MANY))
    async with AIOKafkaProducer(bootstrap_servers=settings.kafka) as client:
        await client.send_and_wait(topic, before.value, before.key, partition=0)
    with monkeypatch.context() as patched:
        for module in (message_accumulator, producer):
            patched.setattr(module, "DefaultRecordBatchBuilder", _DefaultRecordBatchBuilderPy)
        async with AIOKafkaProducer(bootstrap_servers=settings.kafka) as client:
            await client.send_and_wait(topic, b"{}", partition=0, headers=[(Unreadable("name"), b"")])
    async with AIOKafkaProducer(bootstrap_servers=settings.kafka) as client:
        await client.send_and_wait(topic, after.value, after.key, partition=0)
        for other in others[:MANY]:
            await client.send_and_wait(topic, other.value, other.key, partition=1)
        async with tracker(settings, tmp_path / "tracker.log", stall_limit_s=STALL_LIMIT_S) as running:
            await running.says(UNREADABLE)
            for other in others[MANY:]:
                await client.send_and_wait(topic, other.value, other.key, partition=2)
            await until(partial(_taken, settings, 1 + 2 * MANY), OTHERS_LIMIT_S, "the others to be taken", running.log)
            assert running.said().count(UNREADABLE) == 1
            await until(lambda: running.said().count(UNREADABLE) > 1, AGAIN_LIMIT_S, "it to be tried again")
            assert running.code() is None
            await kafka_admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(2)})
            await caught_up(settings, log=running.log)
    found = await outcomes(settings)
    assert (found.accepted, found.gap) == (2 + 2 * MANY, 1)


async def _taken(settings: Settings, count: int) -> bool:
    return (await outcomes(settings)).accepted == count


@pytest.mark.expects_error_logs
async def test_no_record_is_blamed_for_an_error_of_the_group() -> None:
    """Where the group is refused, that is told, and no partition is said to wait for one of its records."""

    async def refused(_: object) -> tuple[Record, ...]:
        raise GroupAuthorizationFailedError

    def unread(_: Record) -> Item:
        raise AssertionError("nothing is fetched")

    consumer = AIOKafkaConsumer()
    with pytest.raises(GroupAuthorizationFailedError):
        await Assignment(unread).all_or_nothing(refused)(consumer)
    await consumer.stop()


LOOKED_FOR = "all garbage is looked for"
LOOKS = f"""
import gc, services.garbage
services.garbage.PAUSE_S = 0.5
gc.callbacks.append(
    lambda phase, found: phase == "stop" and found["generation"] == 2 and print({LOOKED_FOR!r}, flush=True)
)
"""


@pytest.mark.usefixtures("topics")
async def test_a_tracker_with_little_to_do_looks_for_garbage_too(settings: Settings, tmp_path: Path) -> None:
    """However few its records are, garbage in cycles does not pile up for hours."""
    async with tracker(settings, tmp_path / "tracker.log", LOOKS) as running:
        await running.says("partitions assigned")
        before = running.said().count(LOOKED_FOR)
        await asyncio.sleep(2)
        assert running.said().count(LOOKED_FOR) >= before + 2
