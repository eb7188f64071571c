"""Kafka of three brokers: what it acknowledged survives the loss of any one of them."""

from collections.abc import Iterator

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.faults.cluster import NUMBERS, Cluster
from tests.faults.proxy import proxied_kafka
from tests.running import until

TOPIC = "replicated"
LIMIT_S = 20.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Three brokers."""
    with Cluster() as running:
        yield running


@pytest.mark.expects_error_logs
async def test_a_leader_that_is_lost_takes_no_record_with_it(cluster: Cluster) -> None:
    """Another broker leads, goes on where the killed one was with every acknowledged record, and the killed one comes
    back and has them too; clients may come by proxies, one before each.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=cluster.kafka)
    await admin.start()
    await admin.create_topics([NewTopic(TOPIC, 1, replication_factor=3)])
    await admin.close()
    await until(lambda: cluster.in_sync(TOPIC, 0) == {*NUMBERS}, LIMIT_S, "all copies")
    async with proxied_kafka(cluster.kafka) as proxies:
        through = [proxy.address for proxy in proxies]
        async with AIOKafkaProducer(bootstrap_servers=through, acks="all", enable_idempotence=True) as producer:
            acknowledged = [await send(producer, number) for number in range(100)]
            lost = cluster.leader(TOPIC, 0)
            cluster.kill(lost)
            acknowledged += [await send(producer, number) for number in range(100, 200)]
        assert cluster.leader(TOPIC, 0) not in {lost, -1}
        async with AIOKafkaConsumer(TOPIC, bootstrap_servers=through, auto_offset_reset="earliest") as consumer:
            found = [(each.offset, each.value) for each in [await consumer.getone() for _ in range(200)]]
    assert found == acknowledged
    cluster.start(lost)
    await until(lambda: cluster.in_sync(TOPIC, 0) == {*NUMBERS}, LIMIT_S, "the third copy to be complete again")


async def send(producer: AIOKafkaProducer, number: int) -> tuple[int, bytes]:
    """Send a record; return where it is and what it says when that is acknowledged."""
    value = str(number).encode()
    return (await producer.send_and_wait(TOPIC, value, partition=0)).offset, value
