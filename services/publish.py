"""Events into Kafka, each acknowledged by every replica in service before we say that it is published."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError

from events.codec import Record
from services import kafka
from services.settings import Settings

DELIVERY_LIMIT_S: Final = 30
"""How long Kafka may take to acknowledge a record, all attempts together."""
ANSWER_LIMIT_S: Final = 10
"""The same where somebody waits for the answer: longer than a partition takes to change its leader."""
STOP_LIMIT_S: Final = 3
"""How long a producer may take to say good-bye when nobody waits for its records any more."""
MAX_UNACKNOWLEDGED: Final = 5_000

_LINGER_MS: Final = 5
# While Kafka is away the client logs each attempt to reach it: two a second are enough.
_RETRY_MS: Final = 500
_BATCH_BYTES: Final = 131_072
# Above what clusters allow: whether a record is too large is theirs to say.
_REQUEST_BYTES: Final = 67_108_864
_CONTENT_TYPE: Final = ("content-type", b"application/cloudevents+json")
_log = logging.getLogger(__name__)


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
    producer = await _started(settings, application="claimpath-publish", limit_s=DELIVERY_LIMIT_S)
    published, under_way = 0, []
    try:
        async for record in records:
            under_way.append(await _send(settings, producer, record, headers))
            if len(under_way) == MAX_UNACKNOWLEDGED:
                published += len(await asyncio.gather(*under_way))
                under_way.clear()
        return published + len(await asyncio.gather(*under_way))
    finally:
        await producer.stop()


class Publisher:
    """Publishes as long as its process lives, whether Kafka is there or comes back.

    The producer is made when it is first needed, kept while it only gets no answer, as it goes on by itself, and made
    anew after it failed.
    """

    def __init__(self, settings: Settings, *, application: str) -> None:
        self._settings = settings
        self._application = application
        self._making = asyncio.Lock()
        self._producer: AIOKafkaProducer | None = None

    async def publish(self, records: Sequence[Record]) -> list[bool]:
        """Publish the records; say of each, in order, whether Kafka acknowledged it within ANSWER_LIMIT_S.

        One that was not acknowledged may have arrived nevertheless, or still arrive.
        """
        now = asyncio.get_running_loop().time
        deadline_s = now() + ANSWER_LIMIT_S
        under_way: list[asyncio.Future[Any]] = []
        errors: list[BaseException] = []
        producer: AIOKafkaProducer | None = None
        try:
            async with asyncio.timeout_at(deadline_s):
                producer = await self._ready()
                for record in records:
                    sent = await _send(self._settings, producer, record, (_CONTENT_TYPE,))
                    under_way.append(sent)  # one by one: what was sent before an error may be acknowledged
        except (KafkaError, TopicsUnfit, OSError) as error:  # TimeoutError is an OSError
            errors.append(error)
        if under_way:
            await asyncio.wait(under_way, timeout=max(0.0, deadline_s - now()))
        errors += [failure for sent in under_way if sent.done() and (failure := sent.exception())]
        acknowledged = [sent.done() and sent.exception() is None for sent in under_way]
        for sent in under_way:
            sent.cancel()  # nobody will ask for those that are still under way
        acknowledged += [False] * (len(records) - len(under_way))
        if not all(acknowledged):
            await self._judge(producer, errors)
        return acknowledged

    async def close(self) -> None:
        """Let go of Kafka, in at most STOP_LIMIT_S."""
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_LIMIT_S):
                    await producer.stop()  # would wait for an answer as long as there is none

    async def _ready(self) -> AIOKafkaProducer:
        async with self._making:
            if self._producer is None:
                self._producer = await _started(self._settings, application=self._application, limit_s=ANSWER_LIMIT_S)
            return self._producer

    async def _judge(self, producer: AIOKafkaProducer | None, errors: Sequence[BaseException]) -> None:
        """Tell what failed, and part with the producer unless it only got no answer."""
        told = {str(error) if isinstance(error, TopicsUnfit) else type(error).__name__ for error in errors}
        _log.warning("Kafka did not acknowledge: %s", ", ".join(sorted(told)) or "no answer in time")
        failed = any(not isinstance(error, TimeoutError | KafkaTimeoutError) for error in errors)
        if failed and producer is self._producer:  # not one that was made anew meanwhile
            await self.close()


async def _started(settings: Settings, *, application: str, limit_s: float) -> AIOKafkaProducer:
    """Return a producer, once the topics are found fit for one."""
    await check_topics(settings, application=application)
    producer = AIOKafkaProducer(
        **kafka.client_options(settings, application=application),
        acks="all",
        enable_idempotence=True,
        linger_ms=_LINGER_MS,
        retry_backoff_ms=_RETRY_MS,
        max_batch_size=_BATCH_BYTES,
        max_request_size=_REQUEST_BYTES,
        request_timeout_ms=int(limit_s * 1000),
    )
    try:
        await producer.start()
    except BaseException:
        await producer.stop()
        raise
    return producer


async def _send(
    settings: Settings, producer: AIOKafkaProducer, record: Record, headers: Sequence[tuple[str, bytes | None]]
) -> "asyncio.Future[Any]":
    """Hand a record over; what is returned is done when Kafka has acknowledged it."""
    topic, told = kafka.topic(settings, record.topic), list(record.headers or headers)
    sent: asyncio.Future[Any] = await producer.send(topic, record.value, key=record.key, headers=told)
    return sent


async def check_topics(settings: Settings, *, application: str) -> None:
    """Raise TopicsUnfit where the topics cannot serve, and KafkaError where Kafka does not answer."""
    # Without this a cluster that creates topics by itself would, with a partition count of its own.
    async with kafka.administration(settings, application=application) as client:
        if wrong := kafka.faults(settings, await kafka.topics(settings, client)):
            raise TopicsUnfit(f"{wrong[0]}.")
