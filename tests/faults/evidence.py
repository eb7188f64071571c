"""What an audit judges by: Kafka's log as librdkafka reads it, and PostgreSQL's tables as plain SQL does."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import asyncpg
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

READ_LIMIT_S = 30
LOOK_S = 0.05
READ_AT_ONCE = 2_000
QUIET = {"log_level": "0"}
"""librdkafka says on standard error what our servers do on purpose."""

Place = tuple[str, int, int]
"""Topic as Kafka has it, partition, and which topic of that name it is: the first is 1."""


class Kept(NamedTuple):
    """A record as Kafka keeps it."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()


class PartitionLog(NamedTuple):
    """A partition: from where Kafka still has it, where it ends, and every record that it ever held."""

    start: int
    end: int
    records: Sequence[Kept]


Log = dict[Place, PartitionLog]


class Tables(NamedTuple):
    """The rows of each table."""

    event: list[dict[str, Any]]
    claim: list[dict[str, Any]]
    history: list[dict[str, Any]]
    rollup: list[dict[str, Any]]
    position: list[dict[str, Any]]
    gap: list[dict[str, Any]]
    dead_letter: list[dict[str, Any]]


# Instants as microseconds since 1970, so that no float and no time zone comes in between.
QUERIES = Tables(
    *(
        """SELECT claim_id, identity, kind, partition, "offset", body,
                  (extract(epoch FROM time) * 1000000)::bigint AS time_us,
                  (extract(epoch FROM recorded_at) * 1000000)::bigint AS recorded_at_us FROM event""",
        """SELECT claim_id, version, state, payer, open, packed,
                  (extract(epoch FROM since) * 1000000)::bigint AS since_us,
                  (extract(epoch FROM waiting_since) * 1000000)::bigint AS waiting_since_us FROM claim""",
        """SELECT claim_id, state_before, state, source, id, (extract(epoch FROM at) * 1000000)::bigint AS at_us
           FROM claim_history ORDER BY claim_id, ordinal""",
        "SELECT name, payer, label, day, bucket, n, total FROM rollup WHERE n <> 0 OR total <> 0",
        """SELECT topic, partition, generation, start_offset, next_offset, accepted, duplicate, dead_letter, gap
           FROM position ORDER BY topic, partition, generation""",
        "SELECT topic, partition, generation, first_offset, last_offset, kind FROM gap",
        """SELECT topic, partition, generation, "offset", key, value, headers, reason, path, rule
           FROM dead_letter""",
    )  # type: ignore[arg-type]
)


async def read_tables(connection: asyncpg.Connection) -> Tables:
    """Read every table as of one moment."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        return Tables(*[[dict(row) for row in await connection.fetch(query)] for query in QUERIES])


async def tables(url: str) -> Tables:
    """Read every table of a database as of one moment."""
    connection = await asyncpg.connect(url, timeout=READ_LIMIT_S, command_timeout=READ_LIMIT_S)
    try:
        return await read_tables(connection)
    finally:
        await connection.close()


def read_log(
    servers: str,
    topics: Iterable[str],
    before: Log | None = None,
    generations: Mapping[tuple[str, int], int] | None = None,
) -> Log:
    """Read all committed records of the topics from where Kafka has them to where they end.

    ``before`` is an earlier reading: what Kafka has deleted since is kept from it. ``generations`` says which topic of
    its name a partition's is now, where it is not the first.
    """
    log = dict(before or {})
    with _consumer(servers, "auditor") as consumer:
        bounds = _bounds(consumer, topics)
        found = _read(consumer, {part: low for part, (low, _) in bounds.items()})
    for part, (low, _) in bounds.items():
        place = (*part, (generations or {}).get(part, 1))
        old = log.get(place, PartitionLog(low, low, ()))
        deleted = [kept for kept in old.records if kept.offset < low]
        end, records = found[part]
        # A broker that was killed forgets for a while what it had deleted.
        log[place] = PartitionLog(max(low, old.start), end, deleted + records)
    return log


def ends(servers: str, topics: Iterable[str]) -> dict[tuple[str, int], int]:
    """Return where each partition ends, markers of transactions included."""
    with _consumer(servers, "auditor") as consumer:
        return {part: end for part, (_, end) in _bounds(consumer, topics).items()}


def committed(servers: str, group: str, topics: Iterable[str]) -> dict[tuple[str, int], int]:
    """Return the offsets that Kafka keeps for a group."""
    with _consumer(servers, group) as consumer:
        parts = [TopicPartition(*part) for part in _parts(consumer, topics)]
        return {
            (told.topic, told.partition): told.offset
            for told in consumer.committed(parts, timeout=READ_LIMIT_S)
            if told.offset >= 0
        }


@contextmanager
def _consumer(servers: str, group: str) -> Iterator[Consumer]:
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            **QUIET,
        }
    )
    try:
        yield consumer
    finally:
        consumer.close()


def _parts(consumer: Consumer, topics: Iterable[str]) -> list[tuple[str, int]]:
    return [
        (topic, number)
        for topic in topics
        for number in sorted(consumer.list_topics(topic, timeout=READ_LIMIT_S).topics[topic].partitions)
    ]


def _bounds(consumer: Consumer, topics: Iterable[str]) -> dict[tuple[str, int], tuple[int, int]]:
    return {
        part: consumer.get_watermark_offsets(TopicPartition(*part), timeout=READ_LIMIT_S)
        for part in _parts(consumer, topics)
    }


def _read(consumer: Consumer, starts: Mapping[tuple[str, int], int]) -> dict[tuple[str, int], tuple[int, list[Kept]]]:
    consumer.assign([TopicPartition(*part, start) for part, start in starts.items()])
    records: dict[tuple[str, int], list[Kept]] = {part: [] for part in starts}
    ends: dict[tuple[str, int], int] = {}
    deadline = time.monotonic() + READ_LIMIT_S
    while len(ends) < len(starts):
        # It waits until it has so many, or for so long.
        messages = consumer.consume(READ_AT_ONCE, timeout=LOOK_S)
        if time.monotonic() > deadline:
            raise TimeoutError("Kafka does not give its log to the auditor")
        for message in messages:
            part = (message.topic() or "", message.partition() or 0)
            error = message.error()
            if error is None:
                headers: Any = tuple(message.headers() or ())
                records[part].append(Kept(message.offset() or 0, message.key(), message.value(), headers))
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  (its public name)
                ends[part] = message.offset() or 0
            elif not error.retriable():
                raise KafkaException(error)
    return {part: (ends[part], records[part]) for part in starts}
