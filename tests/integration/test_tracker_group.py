"""The tracker and what its client takes from Kafka: partitions that nobody shares out, records that nobody can read."""

import asyncio
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, RecordsToDelete
from aiokafka.producer import message_accumulator, producer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from services import kafka
from services.settings import Settings
from tests.running import caught_up, outcomes, publish, tracker
from tests.stored import record
from tests.stories import session

NAME = "the-first"
UNSHARED_LIMIT_S = 40
LOOKED_AT_S = 4
UNREADABLE = "records cannot be fetched"


async def test_partitions_that_came_while_it_was_away_are_taken(settings: Settings, tmp_path: Path) -> None:
    """A tracker that Kafka knows by its name is given back what it had, and takes what its topics got meanwhile too."""
    await kafka.create_topics(settings)
    async with tracker(settings, tmp_path / "a.log", group_instance_id=NAME) as first:
        await first.says('"count": 9')
        await first.kill()
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    await admin.start()
    await admin.create_partitions({topic: NewPartitions(4) for topic in kafka.our_names(settings)})
    await admin.close()
    async with tracker(settings, tmp_path / "b.log", group_instance_id=NAME) as second:
        await second.says('"count": 12', UNSHARED_LIMIT_S)
        assert '"count": 9' in second.said()  # which is all that it was given back


class Unreadable(str):
    """A header's name that is not UTF-8."""

    __slots__ = ()

    def encode(self, *_: str) -> bytes:
        """Return what only a client in C would send."""
        return b"\xff\xfe"


async def test_a_record_that_cannot_be_read_is_told_without_a_flood(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a header's name is not UTF-8 the tracker stands still and says so about once a second, and goes on with
    what comes after when the record is deleted.
    """
    await kafka.create_topics(settings)
    topic = kafka.topic(settings, "session-recorded")
    for module in (message_accumulator, producer):
        monkeypatch.setattr(module, "DefaultRecordBatchBuilder", _DefaultRecordBatchBuilderPy)
    async with tracker(settings, tmp_path / "tracker.log") as running:
        await running.says("partitions assigned")
        async with producer.AIOKafkaProducer(bootstrap_servers=settings.kafka) as client:
            await client.send_and_wait(topic, b"{}", partition=0, headers=[(Unreadable("name"), b"")])
        monkeypatch.undo()
        await publish(settings, [record(session())])
        await running.says(UNREADABLE)
        await asyncio.sleep(LOOKED_AT_S)
        assert running.said().count(UNREADABLE) <= LOOKED_AT_S + 2
        admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
        await admin.start()
        await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(1)})
        await admin.close()
        await caught_up(settings, log=running.log)
    found = await outcomes(settings)
    assert (found.accepted, found.gap) == (1, 1)


LOOKED_FOR = "all garbage is looked for"
LOOKS = f"""
import gc, services.garbage
services.garbage.PAUSE_S = 0.5
gc.callbacks.append(
    lambda phase, found: phase == "stop" and found["generation"] == 2 and print({LOOKED_FOR!r}, flush=True)
)
"""


async def test_a_tracker_with_little_to_do_looks_for_garbage_too(settings: Settings, tmp_path: Path) -> None:
    """However few its records are, garbage in cycles does not pile up for hours."""
    await kafka.create_topics(settings)
    async with tracker(settings, tmp_path / "tracker.log", LOOKS) as running:
        await running.says("partitions assigned")
        before = running.said().count(LOOKED_FOR)
        await asyncio.sleep(2)
        assert running.said().count(LOOKED_FOR) >= before + 2
