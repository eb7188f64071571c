"""What tests share: one embedded Kafka and PostgreSQL for the whole run, and a database and topics for each test."""

import logging
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from infra.devstack import Stack
from services.database import migrate
from services.kafka import create_topics
from services.settings import Settings

SETTINGS = "CLAIMPATH_"
NOT_A_SETTING = "CLAIMPATH_CACHE"  # where downloads are kept, for tests as for everything else


SHARED = pytest.StashKey[Stack]()


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known by which a test says that it provokes an error."""
    config.addinivalue_line("markers", "expects_error_logs: the test provokes what is logged at ERROR")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:  # noqa: ANN401  (a class of pytest-xdist that it does not export)
    """Start the servers once, here, for all the processes among which pytest-xdist divides the tests."""
    shared = node.config.stash.setdefault(SHARED, Stack(quick_jit=True))
    if not any(server.pid for server in shared.status()):
        shared.start()
    node.workerinput["stack"] = str(shared.directory)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the servers that were shared."""
    if shared := config.stash.get(SHARED, None):
        shared.stop()


@pytest.fixture(scope="session", autouse=True)
def settings_of_the_tests_only() -> Iterator[None]:
    """Nobody's settings reach a test: it would run against their servers."""
    with pytest.MonkeyPatch.context() as environment:
        for name in tuple(os.environ):
            if name.upper().startswith(SETTINGS) and name != NOT_A_SETTING:
                environment.delenv(name)
        yield


@pytest.fixture(autouse=True)
def nothing_swallowed(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test during which something was logged at ERROR and went no further."""
    yield
    if request.node.get_closest_marker("expects_error_logs"):
        return
    records = [record for phase in ("setup", "call") for record in caplog.get_records(phase)]
    errors = [f"{record.name}: {record.getMessage()}" for record in records if record.levelno >= logging.ERROR]
    if errors:
        pytest.fail("logged at ERROR and swallowed:\n" + "\n".join(errors))


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """The servers of this run; in a run that is not divided, the first test that asks for them starts them."""
    if shared := getattr(request.config, "workerinput", {}).get("stack"):
        yield Stack(Path(shared))
        return
    with Stack(quick_jit=True) as running:
        yield running


@pytest.fixture(scope="session")
def kafka(stack: Stack) -> str:
    """The bootstrap address of Kafka."""
    return stack.kafka


@pytest.fixture(scope="session")
async def template_database(stack: Stack) -> str:
    """The name of a database with the schema and nothing in it, of which every test gets a copy."""
    name = f"template_of_tests_{os.getpid()}"
    await run_as_owner(stack, f"CREATE DATABASE {name}")
    await migrate(Settings(kafka=stack.kafka, database_url=SecretStr(address_of(stack, name))))
    return name


@pytest.fixture
async def database_url(stack: Stack, template_database: str) -> AsyncIterator[str]:
    """The address of a database that this test has for itself."""
    name = f"test_{uuid.uuid4().hex}"
    await run_as_owner(stack, f"CREATE DATABASE {name} TEMPLATE {template_database}")
    yield address_of(stack, name)
    await run_as_owner(stack, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def settings(kafka: str, database_url: str, topic_prefix: str) -> Settings:
    """What a process of this test is told: its own database and topics, and nothing of the environment."""
    return Settings(
        kafka=kafka,
        database_url=SecretStr(database_url),
        topic_prefix=topic_prefix,
        partitions=3,
        group=f"{topic_prefix}trackers",  # a tracker that a test killed stays in its group for a while
    )


@pytest.fixture
async def topics(settings: Settings) -> None:
    """The three topics of this test."""
    await create_topics(settings)


@pytest.fixture
async def kafka_admin(kafka: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """A client that makes, describes and deletes topics."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    yield admin
    await admin.close()


@pytest.fixture
async def topic_prefix(kafka_admin: AIOKafkaAdminClient) -> AsyncIterator[str]:
    """What the topics of this test begin with (CLAIMPATH_TOPIC_PREFIX), so that it has them for itself."""
    prefix = f"{uuid.uuid4().hex[:12]}-"
    yield prefix
    await kafka_admin.delete_topics([name for name in await kafka_admin.list_topics() if name.startswith(prefix)])


def address_of(stack: Stack, database: str) -> str:
    """The address of another database on the server of the tests."""
    return urlunsplit(urlsplit(stack.database_url)._replace(path=f"/{database}"))


async def run_as_owner(stack: Stack, statement: str) -> None:
    """Run one statement outside a transaction, as CREATE DATABASE wants it."""
    engine = create_async_engine(
        stack.database_url.replace("postgresql:", "postgresql+asyncpg:"),
        isolation_level="AUTOCOMMIT",
        poolclass=NullPool,
    )
    async with engine.connect() as connection:
        await connection.execute(text(statement))
