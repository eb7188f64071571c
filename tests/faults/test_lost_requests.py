"""Our client of Kafka, on the loop that our processes run on, where a connection is reset under a request."""

import asyncio

import pytest
import uvloop
from aiokafka.conn import AIOKafkaConnection, create_conn
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.admin import ApiVersionRequest

from services import kafka as _our_client  # noqa: F401  (it is this module that makes it so)
from tests.faults.proxy import RESET, proxied_kafka

LIMIT_S = 10.0
TIMES = 20


def test_a_request_on_a_reset_connection_is_an_error_of_kafka(kafka: str) -> None:
    """Whatever uvloop calls it, aiokafka tells a connection that was just reset as one that it may open again."""
    uvloop.run(asyncio.wait_for(reset_again_and_again(kafka), LIMIT_S))


async def reset_again_and_again(address: str) -> None:
    """Reset connections that are in use."""
    async with proxied_kafka(address) as (proxy,):
        for _ in range(TIMES):
            connection = await create_conn("127.0.0.1", proxy.port)
            reset = asyncio.create_task(asyncio.to_thread(proxy.reset))
            with pytest.raises(KafkaConnectionError):
                await ask_until_it_fails(connection)
            await reset
            connection.close()
        assert proxy.fired[RESET] >= TIMES


async def ask_until_it_fails(connection: AIOKafkaConnection) -> None:
    """Send a request whenever there is a moment; raise what the sending raises, and not what becomes of the answers."""
    answers = []
    try:
        while True:
            answers.append(asyncio.ensure_future(connection.send(ApiVersionRequest())))
            await asyncio.sleep(0)
    finally:
        await asyncio.gather(*answers, return_exceptions=True)
