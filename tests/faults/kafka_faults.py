"""Faults of Kafka, of its topics, and of the network before it; and a PostgreSQL that went back in time."""

import asyncio
from collections.abc import Callable
from functools import partial
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions, NewTopic

from events.samples import Message
from infra.devstack import Stack
from services import kafka
from tests.faults.evidence import QUIET
from tests.faults.fault import AFTER_A_PROCESS_S, Fault, Runs
from tests.faults.field import BURST, Field
from tests.faults.postgres_faults import network
from tests.faults.process_faults import all_die
from tests.faults.wire import FETCH, HEARTBEAT, OFFSET_COMMIT
from tests.running import until

KAFKA_LIMIT_S = 40
AWAY_S = 2.0
DROPPED_S = 3.0
TRANSACTIONS = 4
LITTLE = 9
"""So few records that a topic made anew stays shorter than the old one was."""


async def restart(stop: Callable[[Stack], None], field: Field) -> int:
    """Stop Kafka under the trackers and start it again after a while."""
    async with field.publishing():
        await asyncio.sleep(field.chance.uniform(0.1, 0.6))
        await asyncio.to_thread(stop, field.stack)
        await asyncio.sleep(field.chance.uniform(0, AWAY_S))
        await asyncio.to_thread(field.stack.start_kafka)
        field.over()
    return 1


async def lose_answers(kind: int, field: Field) -> int:
    """Lose the answers to one kind of request, as a network does that is cut just then."""
    before = field.kafka.fired.total()
    field.kafka.drop_answers(kind)
    async with field.publishing():
        await until(lambda: field.kafka.fired.total() > before, KAFKA_LIMIT_S, "an answer to be lost")
        await asyncio.sleep(DROPPED_S)
        field.kafka.heal()
        field.over()
    return field.kafka.fired.total() - before


async def transactions(field: Field) -> int:
    """Publish in transactions, some aborted, and end in a marker after which nothing comes."""
    producer = Producer(
        {"bootstrap.servers": field.direct.kafka, "transactional.id": f"publisher-{field.seed}", **QUIET}
    )
    await asyncio.to_thread(producer.init_transactions, KAFKA_LIMIT_S)
    for number in range(TRANSACTIONS):
        messages = field.take(BURST // TRANSACTIONS)
        producer.begin_transaction()
        _produce(field, producer, messages)
        await asyncio.to_thread(producer.abort_transaction, KAFKA_LIMIT_S)
        producer.begin_transaction()
        _produce(field, producer, messages[number:])
        await asyncio.to_thread(producer.commit_transaction, KAFKA_LIMIT_S)
    return 2 * TRANSACTIONS


def _produce(field: Field, producer: Producer, messages: list[Message]) -> None:
    for each in messages:
        producer.produce(kafka.topic(field.direct, each.topic), each.value, each.key, headers=[*each.headers])
    producer.flush(KAFKA_LIMIT_S)


async def retention(field: Field) -> int:
    """Let Kafka delete records that no tracker has read, while all are stopped."""
    names = [*field.trackers]
    await field.stop()
    await field.publish()
    await field.read()
    done = await field.positions()
    borders = {place: (done[place] + part.end) // 2 for place, part in field.current().items() if place in done}
    # Held, since what was asked of an admin client that is gone is never answered.
    admin = AdminClient({"bootstrap.servers": field.direct.kafka, **QUIET})
    futures = admin.delete_records([TopicPartition(*part, border) for part, border in borders.items()])
    for future in futures.values():
        await asyncio.to_thread(future.result, KAFKA_LIMIT_S)
    for name in names:
        field.start(name)
    return sum(border - done[part] for part, border in borders.items())


async def make_anew(field: Field) -> int:
    """Delete a topic of which all is taken and make it again, with less in it than before."""
    topic = field.chance.choice(field.topics)
    await field.read()
    while any(len(part.records) <= LITTLE for place, part in field.current().items() if place[0] == topic):
        await field.publish()
        await field.read()
    await field.caught_up()
    await field.read()
    admin = AdminClient({"bootstrap.servers": field.direct.kafka, **QUIET})
    await asyncio.to_thread(admin.delete_topics([topic])[topic].result, KAFKA_LIMIT_S)
    partitions = sum(place[0] == topic for place in field.current())

    def made() -> bool:
        return admin.create_topics([NewTopic(topic, partitions, 1)])[topic].exception(KAFKA_LIMIT_S) is None

    await until(made, KAFKA_LIMIT_S, "the topic to be made again")
    field.made_anew(topic)
    await field.publish(LITTLE)
    return 1


async def add_partitions(field: Field) -> int:
    """Give every topic one more partition, when the group's leader was restarted and does not know that it leads."""
    await all_die(field)
    await field.caught_up()
    await field.read()
    admin = AdminClient({"bootstrap.servers": field.direct.kafka, **QUIET})
    more = [NewPartitions(topic, 1 + sum(place[0] == topic for place in field.current())) for topic in field.topics]
    for future in admin.create_partitions(more).values():
        await asyncio.to_thread(future.result, KAFKA_LIMIT_S)
    await field.publish()
    return len(more)


async def restore(field: Field) -> int:
    """Put a backup in PostgreSQL's place that is older than what Kafka was told."""
    names = [*field.trackers]
    await field.stop()
    address = urlsplit(field.direct.database_url.get_secret_value())
    database = address.path.removeprefix("/")
    server = await asyncpg.connect(urlunsplit(address._replace(path="/postgres")))
    try:
        await server.execute(f"CREATE DATABASE {database}_backup TEMPLATE {database}")
        for name in names:
            field.start(name)
        await field.publish()
        await field.caught_up()
        await field.stop()
        await server.execute(f"DROP DATABASE {database} WITH (FORCE)")
        await server.execute(f"ALTER DATABASE {database}_backup RENAME TO {database}")
    finally:
        await server.close()
    for name in names:
        field.start(name)
    return 1


def _loses(what: str, kind: int, *, runs: Runs = "always") -> Fault:
    return Fault(f"Kafka's answers to {what} are lost", "network to Kafka", partial(lose_answers, kind), runs=runs)


KAFKA_FAULTS = (
    Fault("Kafka is killed and started", "Kafka", partial(restart, Stack.kill_kafka)),
    Fault("Kafka is stopped in order and started", "Kafka", partial(restart, Stack.stop_kafka), runs="in the campaign"),
    _loses("offset commits", OFFSET_COMMIT),
    _loses("fetches", FETCH, runs="seldom"),
    _loses("heartbeats", HEARTBEAT, runs="in the campaign"),
    *network("kafka", "Kafka"),
    Fault("publishers abort and commit transactions", "topics", transactions, counts_hold=True),
    Fault("Kafka deletes what no tracker has read", "topics", retention, AFTER_A_PROCESS_S),
    Fault("a topic is deleted and made anew", "topics", make_anew, runs="in the campaign"),
    Fault("topics get more partitions", "topics", add_partitions),
    Fault("an old backup takes PostgreSQL's place", "backup", restore),
)
