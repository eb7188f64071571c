"""PostgreSQL on a full disk: what it refuses, what ends it, and that it works again when there is room."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from tests.faults.small_disk import MayNotMount, SmallDisk
from tests.running import until

LIMIT_S = 10.0
LOG_LIMIT_S = 60.0
"""For writing as much as the disk holds; a statement given up before would be no sign that the server did."""
GROW = "INSERT INTO fact SELECT repeat('x', 1000) FROM generate_series(1, 1000)"
# 60 MB that go to the log alone: more than what is left of its segment of 16 MB and those that were made ready.
LOG = "SELECT count(pg_logical_emit_message(false, 'fault', repeat('x', 1_000_000))) FROM generate_series(1, 60)"


@pytest.fixture(params=[True, False], ids=["log elsewhere", "log on it"])
def disk(request: pytest.FixtureRequest) -> Iterator[SmallDisk]:
    """A server on a small disk, with its log elsewhere and with its log on it."""
    try:
        with SmallDisk(log_elsewhere=request.param) as running:
            yield running
    except MayNotMount as reason:
        pytest.skip(f"no small disk can be mounted here: {reason}")


@asynccontextmanager
async def connected(disk: SmallDisk, limit_s: float = LIMIT_S) -> AsyncIterator[asyncpg.Connection]:
    """Lend a connection, each statement of which may take so long."""
    connection = await asyncpg.connect(disk.database_url, timeout=LIMIT_S, command_timeout=limit_s)
    try:
        yield connection
    finally:
        connection.terminate()


async def answers(disk: SmallDisk) -> bool:
    """Say whether the server takes connections."""
    try:
        async with connected(disk):
            return True
    except (asyncpg.CannotConnectNowError, OSError):
        return False


async def test_a_table_cannot_grow_on_a_full_disk(disk: SmallDisk) -> None:
    """An INSERT fails with 53100 while the disk is full, and works on the same connection when there is room."""
    async with connected(disk) as connection:
        await connection.execute("CREATE TABLE fact (words text)")
        await connection.execute(GROW)
        disk.fill()
        with pytest.raises(asyncpg.DiskFullError) as full:
            await connection.execute(GROW)
        assert full.value.sqlstate == "53100"
        assert await connection.fetchval("SELECT count(*) FROM fact") == 1_000
        disk.free()
        await connection.execute(GROW)
        assert await connection.fetchval("SELECT count(*) FROM fact") == 2_000


@pytest.mark.parametrize("disk", [False], indirect=True, ids=["log on it"])
async def test_a_log_that_cannot_grow_ends_the_server(disk: SmallDisk) -> None:
    """What was committed is there when there is room and the server was started again."""
    async with connected(disk, LOG_LIMIT_S) as connection:
        await connection.execute("CREATE TABLE fact (words text)")
        await connection.execute(GROW)
        disk.fill()
        with pytest.raises((asyncpg.PostgresConnectionError, ConnectionError)):
            await connection.fetchval(LOG)
    await until(lambda: not disk.is_running, LIMIT_S, "the server to give up")
    disk.free()
    disk.start()
    await until(lambda: answers(disk), LIMIT_S, "the server to recover")
    async with connected(disk) as connection:
        assert await connection.fetchval("SELECT count(*) FROM fact") == 1_000
        await connection.execute(GROW)
