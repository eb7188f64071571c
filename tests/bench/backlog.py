"""The backlog that is measured: seeded events in three topics, what they must come to, and whether they did."""

from collections import Counter
from typing import Final, NamedTuple

import asyncpg
from confluent_kafka import Producer

from events import codec, samples
from events.topics import TOPICS
from services import kafka
from services.lifecycle import fold
from services.settings import Settings

SEED: Final = 7
FLUSH_LIMIT_S: Final = 120.0


class WrongWork(AssertionError):
    """What was measured is not what should have been done: its speed means nothing."""


class Backlog(NamedTuple):
    """What is in the topics, and the claims that it makes."""

    records: dict[str, int]
    """By the topic's name in the cluster, in the order in which they are read."""
    claims: int
    states: dict[str, int]

    @property
    def events(self) -> int:
        """How many events there are in all topics."""
        return sum(self.records.values())


async def make(settings: Settings, claims: int) -> Backlog:
    """Make the topics and publish all events of so many claims."""
    await kafka.create_topics(settings)
    _publish(settings, claims)
    records: Counter[str] = Counter()
    states: Counter[str] = Counter()
    for messages in samples.histories(claims, SEED):
        events = []
        for message in messages:
            decoded = codec.decode(message)
            if isinstance(decoded, codec.Refusal):
                raise WrongWork(str(decoded))
            records[kafka.topic(settings, message.topic)] += 1
            events.append(decoded.event)
        states[fold(events).state or "none"] += 1
    return Backlog({name: records[name] for name in (kafka.topic(settings, topic) for topic in TOPICS)}, claims, states)


def _publish(settings: Settings, claims: int) -> None:
    # The partitioner of Java's and aiokafka's producers.
    producer = Producer(
        {
            "bootstrap.servers": settings.kafka,
            "enable.idempotence": True,
            "linger.ms": 20,
            "partitioner": "murmur2_random",
            "queue.buffering.max.messages": 0,
            "log_level": 3,  # errors
        }
    )
    for number, message in enumerate(samples.stream(claims, SEED)):
        producer.produce(kafka.topic(settings, message.topic), message.value, message.key)
        if number % 1_000 == 0:
            producer.poll(0)
    if left := producer.flush(FLUSH_LIMIT_S):
        raise TimeoutError(f"{left} events could not be published in {FLUSH_LIMIT_S:.0f} s")


async def check_claims(connection: asyncpg.Connection, backlog: Backlog) -> None:
    """Raise WrongWork unless every event is stored and the claims are in the states that their events make."""
    _require("events", await connection.fetchval("SELECT count(*) FROM event"), backlog.events)
    found = await connection.fetch("SELECT coalesce(state, 'none'), count(*) FROM claim GROUP BY 1")
    _require("states", dict(map(tuple, found)), dict(backlog.states))
    _require("claims", sum(backlog.states.values()), backlog.claims)


async def check_positions(connection: asyncpg.Connection, backlog: Backlog) -> None:
    """Raise WrongWork unless every record of every topic came out as an accepted event."""
    found = await connection.fetch(
        "SELECT topic, sum(accepted), sum(next_offset - start_offset) FROM position GROUP BY 1"
    )
    _require("records", sorted(map(tuple, found)), sorted((name, n, n) for name, n in backlog.records.items()))


async def check_copied(connection: asyncpg.Connection, backlog: Backlog) -> None:
    """Raise WrongWork unless every event was copied."""
    _require("copied", await connection.fetchval("SELECT count(*) FROM copied"), backlog.events)


def _require(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise WrongWork(f"{what}: {found}, expected {expected}")
