"""Events into Kafka, each acknowledged by every replica in service before we say that it is published."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final

from aiokafka import AIOKafkaProducer

from events.codec import Record
from services import kafka
from services.settings import Settings

DELIVERY_LIMIT_S: Final = 30
"""How long Kafka may take to acknowledge a record, all attempts together."""
MAX_UNACKNOWLEDGED: Final = 5_000

_LINGER_MS: Final = 5
_BATCH_BYTES: Final = 131_072
# Above what clusters allow: whether a record is too large is theirs to say.
_REQUEST_BYTES: Final = 67_108_864
_CONTENT_TYPE: Final = ("content-type", b"application/cloudevents+json")


class TopicsUnfit(Exception):
    """The topics are not as they must be; the message says what to do."""


async def publish(
    settings: Settings, records: AsyncIterator[Record], headers: Sequence[tuple[str, bytes | None]] = (_CONTENT_TYPE,)
) -> int:
    """Publish the records, each by its key; return how many, all acknowledged.

    A record that brings no headers gets these. Records whose key and value are both null cannot be sent by this client.
    Raises TopicsUnfit before anything is sent, and KafkaError where one cannot be delivered: what was sent before it
    may be sent again, since the same event twice is one event.
    """
    await _check_topics(settings)
    producer = AIOKafkaProducer(
        **kafka.client_options(settings, application="claimpath-publish"),
        acks="all",
        enable_idempotence=True,
        linger_ms=_LINGER_MS,
        max_batch_size=_BATCH_BYTES,
        max_request_size=_REQUEST_BYTES,
        request_timeout_ms=DELIVERY_LIMIT_S * 1000,
    )
    published, under_way = 0, []
    await producer.start()
    try:
        async for record in records:
            topic = kafka.topic(settings, record.topic)
            told = list(record.headers or headers)
            under_way.append(await producer.send(topic, record.value, key=record.key, headers=told))
            if len(under_way) == MAX_UNACKNOWLEDGED:
                published += len(await asyncio.gather(*under_way))
                under_way.clear()
        return published + len(await asyncio.gather(*under_way))
    finally:
        await producer.stop()


async def _check_topics(settings: Settings) -> None:
    # Without this a cluster that creates topics by itself would, with a partition count of its own.
    async with kafka.administration(settings, application="claimpath-publish") as client:
        if wrong := kafka.faults(settings, await kafka.topics(settings, client)):
            raise TopicsUnfit(f"{wrong[0]}.")
