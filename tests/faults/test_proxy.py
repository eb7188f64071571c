"""Each fault of the proxy as clients meet it: what they see, and what their servers made of it meanwhile."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from confluent_kafka import Consumer, KafkaException
from confluent_kafka import TopicPartition as Part
from confluent_kafka.admin import AdminClient

from tests.faults.proxy import BLACK_HOLE, CUT, LATENCY, REFUSE, RESET, SLOW, Proxy, proxied, proxied_kafka
from tests.faults.wire import AFTER_COMMIT, AT_COMMIT, FETCH, OFFSET_COMMIT, PostgreSQL, dropped
from tests.running import until

LIMIT_S = 10.0
SHORT_S = 0.5
"""How long a client waits for an answer that does not come."""


@pytest.fixture
async def postgres(database_url: str) -> AsyncIterator[Proxy]:
    """A proxy before PostgreSQL."""
    async with proxied(urlsplit(database_url).netloc.rpartition("@")[2], PostgreSQL) as proxy:
        yield proxy


@pytest.fixture
async def broker(kafka: str) -> AsyncIterator[Proxy]:
    """A proxy before Kafka."""
    async with proxied_kafka(kafka) as (proxy,):
        yield proxy


@pytest.fixture
async def topic(kafka_admin: AIOKafkaAdminClient, topic_prefix: str, kafka: str) -> str:
    """A topic with three records."""
    name = f"{topic_prefix}faults"
    await kafka_admin.create_topics([NewTopic(name, 1, 1)])
    async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
        for value in (b"1", b"2", b"3"):
            await producer.send_and_wait(name, value, partition=0)
    return name


@asynccontextmanager
async def connected(proxy: Proxy, database_url: str, limit_s: float = LIMIT_S) -> AsyncIterator[asyncpg.Connection]:
    """Lend a connection through the proxy to the database of the test."""
    address = urlsplit(database_url)
    through = urlunsplit(address._replace(netloc=f"{address.netloc.rpartition('@')[0]}@{proxy.address}"))
    connection = await asyncpg.connect(through, timeout=limit_s, command_timeout=limit_s)
    try:
        yield connection
    finally:
        connection.terminate()


async def seconds(connection: asyncpg.Connection, statement: str) -> float:
    """Run a statement; return how long it took."""
    started = time.monotonic()
    await connection.fetchval(statement)
    return time.monotonic() - started


async def test_latency(postgres: Proxy, database_url: str) -> None:
    """An answer takes the latency twice longer, on a connection that was there, until it ends."""
    async with connected(postgres, database_url) as connection:
        await connection.fetchval("SELECT 1")
        postgres.latency_s = 0.15
        assert await seconds(connection, "SELECT 1") >= 0.3
        assert postgres.fired[LATENCY] >= 2
        await ended(postgres, connection)


async def test_slow(postgres: Proxy, database_url: str) -> None:
    """No more bytes than allowed come in a second."""
    async with connected(postgres, database_url) as connection:
        postgres.bytes_per_s = 400_000
        assert await seconds(connection, "SELECT repeat('x', 200_000)") >= 0.45
        assert postgres.fired[SLOW] > 10
        await ended(postgres, connection)


async def ended(proxy: Proxy, connection: asyncpg.Connection) -> None:
    """Say that the connection goes on without the fault when it is over."""
    proxy.heal()
    fired = proxy.fired.copy()
    assert await connection.fetchval("SELECT 1") == 1
    assert proxy.fired == fired


async def test_cut_and_reset(postgres: Proxy) -> None:
    """A cut connection ends in order and a reset one does not; who comes then is let in."""
    host, port = postgres.address.split(":")
    reader, writer = await asyncio.open_connection(host, port)
    await has_come_through(postgres, writer, reader)
    postgres.cut()
    assert await reader.read() == b""
    writer.close()
    reader, writer = await asyncio.open_connection(host, port)
    await has_come_through(postgres, writer, reader)
    postgres.reset()
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()
    assert postgres.fired == {CUT: 1, RESET: 1}


async def has_come_through(proxy: Proxy, writer: asyncio.StreamWriter, reader: asyncio.StreamReader) -> None:
    """Ask PostgreSQL for encryption, which it has not."""
    writer.write(b"\0\0\0\x08\x04\xd2\x16\x2f")
    assert await asyncio.wait_for(reader.readexactly(1), LIMIT_S) == b"N"


async def test_refuse(postgres: Proxy, database_url: str) -> None:
    """While it is refused nobody comes in, and who was in stays."""
    async with connected(postgres, database_url) as connection:
        postgres.refuse()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", postgres.port)
        assert await connection.fetchval("SELECT 1") == 1
    postgres.listen()
    async with connected(postgres, database_url) as connection:
        assert await connection.fetchval("SELECT 1") == 1
    assert postgres.fired == {REFUSE: 1}


async def test_black_hole(postgres: Proxy, database_url: str) -> None:
    """What is said into a black hole is not answered and does not arrive; when it is gone its connections are reset."""
    async with connected(postgres, database_url, SHORT_S) as connection:
        await connection.execute("CREATE TABLE fact (id int)")
        postgres.black_hole()
        with pytest.raises(TimeoutError):
            await connection.execute("INSERT INTO fact VALUES (1)")
        with pytest.raises(TimeoutError):
            async with connected(postgres, database_url, SHORT_S):
                pass
        assert postgres.fired[BLACK_HOLE] >= 2
        postgres.heal()
        await until(connection.is_closed, LIMIT_S, "the connection to be reset")
    async with connected(postgres, database_url) as connection:
        assert await connection.fetchval("SELECT count(*) FROM fact") == 0


@pytest.mark.parametrize("commit", ["COMMIT;", "prepared commit"])
@pytest.mark.parametrize(("fault", "rows"), [(AT_COMMIT, 1), (AFTER_COMMIT, 2)])
async def test_the_second_commit_is_lost(
    postgres: Proxy, database_url: str, fault: str, rows: int, commit: str
) -> None:
    """The client sees the same error, and its row is there if the commit was cut off after it and not if at it."""
    {AT_COMMIT: postgres.cut_at_commit, AFTER_COMMIT: postgres.cut_after_commit}[fault](2)

    async def insert(connection: asyncpg.Connection, number: int) -> None:
        await connection.execute("BEGIN")
        await connection.execute("INSERT INTO fact VALUES ($1)", number)
        await (connection.execute(commit) if commit == "COMMIT;" else connection.fetch("commit transaction"))

    async with connected(postgres, database_url) as connection:
        await connection.execute("CREATE TABLE fact (id int)")
        await insert(connection, 1)
        with pytest.raises((asyncpg.PostgresConnectionError, OSError)):
            await insert(connection, 2)
    async with connected(postgres, database_url) as connection:
        assert await connection.fetchval("SELECT count(*) FROM fact") == rows
        await insert(connection, 3)
    assert postgres.fired == {fault: 1}


async def test_a_commit_that_rolls_back_is_answered(postgres: Proxy, database_url: str) -> None:
    """Only the answer to a COMMIT that succeeded is lost: the first that does is the one that was meant."""
    postgres.cut_after_commit()
    async with connected(postgres, database_url) as connection:
        await connection.execute("BEGIN")
        with pytest.raises(asyncpg.DivisionByZeroError):
            await connection.execute("SELECT 1 / 0")
        assert await connection.execute("COMMIT") == "ROLLBACK"
        assert postgres.fired == {}
        with pytest.raises((asyncpg.PostgresConnectionError, OSError)):
            async with connection.transaction():
                await connection.execute("SELECT 1")
    assert postgres.fired == {AFTER_COMMIT: 1}


@pytest.mark.expects_error_logs  # aiokafka may ask before Kafka has made its topic of offsets
async def test_clients_of_kafka_stay_with_the_proxy(broker: Proxy, topic: str) -> None:
    """Whatever Kafka says where it is, clients hear the proxy's address, and their data comes through unharmed."""
    async with AIOKafkaConsumer(
        topic, bootstrap_servers=broker.address, group_id=topic, auto_offset_reset="earliest"
    ) as consumer:
        assert [(await consumer.getone()).value for _ in range(3)] == [b"1", b"2", b"3"]
    # Blocks this thread, and the proxy goes on in its own.
    other = AdminClient({"bootstrap.servers": broker.address})
    assert {each.port for each in other.list_topics(timeout=LIMIT_S).brokers.values()} == {broker.port}
    assert {each.port for each in other.describe_cluster().result(LIMIT_S).nodes} == {broker.port}
    group = other.describe_consumer_groups([topic])[topic].result(LIMIT_S)
    assert group.coordinator.port == broker.port


@pytest.mark.expects_error_logs
async def test_kafka_keeps_the_offset_and_its_answer_is_lost(
    broker: Proxy, topic: str, kafka_admin: AIOKafkaAdminClient
) -> None:
    """An offset whose answer is lost was committed all the same, and the client, aiokafka or librdkafka, times out."""
    part = TopicPartition(topic, 0)
    async with AIOKafkaConsumer(
        bootstrap_servers=broker.address, group_id=f"{topic}-a", enable_auto_commit=False
    ) as ours:
        ours.assign([part])
        await ours.commit({part: 1})
        broker.drop_answers(OFFSET_COMMIT)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ours.commit({part: 2}), SHORT_S)
        assert await kept(kafka_admin, f"{topic}-a", part) == 2
        assert broker.fired == {dropped(OFFSET_COMMIT): 1}
        broker.heal()
    options: dict[str, Any] = {
        "bootstrap.servers": broker.address,
        "group.id": f"{topic}-b",
        "socket.timeout.ms": 1_000,
    }
    other = Consumer(options)
    other.commit(offsets=[Part(topic, 0, 1)], asynchronous=False)
    broker.drop_answers(OFFSET_COMMIT)
    with pytest.raises(KafkaException):
        other.commit(offsets=[Part(topic, 0, 2)], asynchronous=False)
    assert await kept(kafka_admin, f"{topic}-b", part) == 2
    assert broker.fired[dropped(OFFSET_COMMIT)] >= 2
    other.close()


async def kept(admin: AIOKafkaAdminClient, group: str, part: TopicPartition) -> int:
    """Return the offset that Kafka keeps."""
    return int((await admin.list_consumer_group_offsets(group))[part].offset)


@pytest.mark.expects_error_logs
async def test_fetches_without_answers(broker: Proxy, topic: str) -> None:
    """A consumer whose fetches are not answered gets nothing, and everything soon after they are again."""
    async with AIOKafkaConsumer(bootstrap_servers=broker.address, request_timeout_ms=1_000) as consumer:
        consumer.assign([TopicPartition(topic, 0)])
        broker.drop_answers(FETCH)
        await consumer.seek_to_beginning()
        assert await consumer.getmany(timeout_ms=int(SHORT_S * 1000)) == {}
        assert broker.fired[dropped(FETCH)] >= 1
        broker.heal()
        assert (await asyncio.wait_for(consumer.getone(), LIMIT_S)).value == b"1"
