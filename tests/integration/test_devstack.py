"""The embedded servers: what they keep, that they leave nothing behind, and that they run only what was pinned."""

import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import psutil  # type: ignore[import-untyped]
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from infra import embedded_kafka
from infra.devstack import Stack
from infra.server_process import ServerError

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 30.0
POLL_S = 0.05
TOPIC = "kept"

# A program that starts a stack in a directory of its own or the given one, says where, and stays or goes.
STARTS_A_STACK = """
import sys, time
from pathlib import Path
from infra.devstack import Stack
stack = Stack(Path(sys.argv[1]) if sys.argv[1] else None, quick_jit=True, outlive_us=sys.argv[2] == "outlive")
stack.start()
print(stack.directory, *(server.pid for server in stack.status()), flush=True)
time.sleep(0 if sys.argv[2] == "outlive" else 600)
"""


async def test_a_kept_stack_has_its_data_and_addresses_after_a_restart(tmp_path: Path) -> None:
    """What was written to a directory of the caller's is there after the servers were stopped and started again."""
    with Stack(tmp_path, quick_jit=True) as first:
        addresses = first.kafka, first.database_url
        await write(first)
    assert [server.pid for server in first.status()] == [None, None]
    with Stack(tmp_path, quick_jit=True) as second:
        assert (second.kafka, second.database_url) == addresses
        assert await read(second) == (b"to Kafka", "to PostgreSQL")


async def test_each_server_comes_back_after_a_crash_of_its_own() -> None:
    """Either server can be killed and started while the other runs on, and has lost nothing that it acknowledged."""
    with Stack(quick_jit=True) as stack:
        await write(stack)
        kafka, postgres = (server.pid for server in stack.status())
        stack.kill_kafka()
        assert [server.pid for server in stack.status()] == [None, postgres]
        stack.start_kafka()
        stack.kill_postgres()
        stack.start_postgres()
        stack.stop_postgres(signal.SIGQUIT)
        stack.start_postgres()
        assert await read(stack) == (b"to Kafka", "to PostgreSQL")
        assert kafka not in (server.pid for server in stack.status())
    assert not stack.directory.exists()


@pytest.mark.parametrize("guards_too", [False, True])
def test_a_killed_parent_leaves_no_process_and_no_directory(guards_too: bool) -> None:
    """Kill -9 of the program that started the servers ends them, even when it hits every Python process of it."""
    with starts_a_stack("", "follow") as parent:
        directory, family = Path(said(parent)[0]), psutil.Process(parent.pid).children(recursive=True)
        guards = [process for process in family if process.ppid() == parent.pid]
        assert len(guards) == 2
        assert len(family) > 4
        for process in [psutil.Process(parent.pid), *(guards if guards_too else [])]:
            process.kill()
    wait_until(lambda: not any(is_alive(process) for process in family))
    if guards_too:
        shutil.rmtree(directory)  # nobody is left to do it
    wait_until(lambda: not directory.exists())


async def test_a_stack_that_outlives_its_starter_is_ended_by_another_process(tmp_path: Path) -> None:
    """`stack up` leaves the servers running and says the same when called again; `stack down` ends them."""
    with starts_a_stack(str(tmp_path), "outlive") as first:
        said_first = said(first)
    with starts_a_stack(str(tmp_path), "outlive") as again:
        assert said(again) == said_first
    stack = Stack(tmp_path)
    with pytest.raises(ServerError, match="already running"):
        stack.start()
    family = [psutil.Process(server.pid) for server in stack.status()]
    await write(stack)
    stack.stop()
    assert not any(is_alive(process) for process in family)


def test_a_process_with_a_reused_pid_is_left_alone(tmp_path: Path) -> None:
    """A pid file of a server that is long gone never leads to the end of the process that has its pid now."""
    with subprocess.Popen(["sleep", "600"]) as stranger:
        now = psutil.Process(stranger.pid).create_time()
        (tmp_path / "kafka.pid").write_text(f"{stranger.pid} {now - 3600}")
        stack = Stack(tmp_path)
        assert [server.pid for server in stack.status()] == [None, None]
        stack.stop()
        assert stranger.poll() is None
        stranger.kill()


async def test_two_stacks_run_side_by_side(stack: Stack, kafka_admin: AIOKafkaAdminClient) -> None:
    """Two stacks share neither an address nor data."""
    with Stack(quick_jit=True) as other:
        assert other.kafka != stack.kafka
        assert urlsplit(other.database_url).netloc != urlsplit(stack.database_url).netloc
        await write(other)
        assert await read(other) == (b"to Kafka", "to PostgreSQL")
        assert TOPIC not in await kafka_admin.list_topics()


def test_a_server_that_does_not_start_says_why_and_takes_the_other_with_it(tmp_path: Path) -> None:
    """The error quotes the end of the server's own log and names the file; nothing is left running."""
    with Stack(tmp_path, quick_jit=True) as stack:
        port = urlsplit(stack.database_url).port
    with socket.create_server(("127.0.0.1", port or 0)):
        with pytest.raises(ServerError, match="Address already in use") as failure:
            stack.start()
        assert str(tmp_path / "postgres.log") in str(failure.value)
    assert [server.pid for server in stack.status()] == [None, None]


def test_a_tampered_jar_is_refused(stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not one byte of what is run may differ from what was pinned."""
    jars = embedded_kafka.fetch_jars(print)
    monkeypatch.setenv("CLAIMPATH_CACHE", str(tmp_path))
    copies = shutil.copytree(jars[0].parent, tmp_path / jars[0].parent.name)
    tampered = copies / "kafka-clients-4.4.0.jar"
    content = bytearray(tampered.read_bytes())
    content[len(content) // 2] ^= 1
    tampered.write_bytes(content)
    with pytest.raises(ServerError, match=r"kafka-clients-4\.4\.0\.jar was damaged or replaced"):
        Stack().start()


async def write(stack: Stack) -> None:
    """One record and one row."""
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka)
    await admin.start()
    await admin.create_topics([NewTopic(TOPIC, 1, 1)])
    await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=stack.kafka) as producer:
        await producer.send_and_wait(TOPIC, b"to Kafka")
    await sql(stack, "CREATE TABLE kept AS SELECT 'to PostgreSQL' AS what")


async def read(stack: Stack) -> tuple[bytes | None, str]:
    """What `write` wrote."""
    async with AIOKafkaConsumer(bootstrap_servers=stack.kafka) as consumer:
        consumer.assign([TopicPartition(TOPIC, 0)])
        await consumer.seek_to_beginning()
        record = await consumer.getone()
    return record.value, await sql(stack, "SELECT what FROM kept")


async def sql(stack: Stack, statement: str) -> str:
    """The first value of the first row, or nothing."""
    engine = create_async_engine(stack.database_url.replace("postgresql:", "postgresql+asyncpg:"), poolclass=NullPool)
    async with engine.begin() as connection:
        result = await connection.execute(text(statement))
        return str(result.scalar_one()) if result.returns_rows else ""


def starts_a_stack(directory: str, life: str) -> subprocess.Popen[str]:
    """The program above, started."""
    command = [sys.executable, "-c", STARTS_A_STACK, directory, life]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def said(program: subprocess.Popen[str]) -> list[str]:
    """The words of the program's one line."""
    assert program.stdout is not None
    return program.stdout.readline().split()


def is_alive(process: psutil.Process) -> bool:
    """Whether a process still runs; one that nobody collected does not."""
    try:
        return bool(process.is_running()) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(done: Callable[[], bool]) -> None:
    """Return when `done()`; fail after LIMIT_S."""
    deadline = time.monotonic() + LIMIT_S
    while not done():
        assert time.monotonic() < deadline
        time.sleep(POLL_S)
