"""What our own clients do with the servers: migrate, act as a role, hide values in errors, make and judge topics."""

import asyncio

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from faststream.kafka.security import parse_security
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from events.topics import TOPICS
from infra.devstack import Stack
from services import database, kafka
from services.settings import Settings
from tests.conftest import address_of, run_as_owner

BREAKS_A_RULE = "INSERT INTO gap VALUES ('canary', 'canary', 0, 0, 5, 4, 'lost')"


async def test_a_schema_is_migrated_once_however_many_do_it(stack: Stack, settings: Settings) -> None:
    """Three processes that migrate an empty database at once all succeed, and one of them does the work."""
    await run_as_owner(stack, "CREATE DATABASE migrated_together")
    empty = settings.model_copy(update={"database_url": SecretStr(address_of(stack, "migrated_together"))})
    moves = await asyncio.gather(*(database.migrate(empty) for _ in range(3)))
    head = database.head_revision()
    assert sorted(moves, key=str) == [(head, head), (head, head), (None, head)]
    await run_as_owner(stack, "DROP DATABASE migrated_together WITH (FORCE)")


@pytest.mark.parametrize("role", ["claimpath_tracker", "claimpath_reader"])
async def test_a_role_can_do_its_work_and_no_more(settings: Settings, role: database.Role) -> None:
    """Neither role may change or delete what the event log holds, and each can tell the schema's revision."""
    pool = database.engine(settings, application="test", role=role)
    assert await database.schema_revision(pool) == database.head_revision()
    for statement in ("DELETE FROM event", "UPDATE event SET body = ''", "DROP TABLE event", "DELETE FROM claim"):
        async with pool.connect() as connection:
            with pytest.raises(SQLAlchemyError) as refused:
                await connection.execute(text(statement))
            assert database.describe_error(refused.value) == "InsufficientPrivilegeError 42501"
    await pool.dispose()


async def test_an_error_is_told_without_the_row(settings: Settings) -> None:
    """The server quotes the failing row; what we say of it is class, SQLSTATE and constraint."""
    pool = database.engine(settings, application="test")
    async with pool.connect() as connection:
        with pytest.raises(SQLAlchemyError) as broken:
            await connection.execute(text(BREAKS_A_RULE))
    assert "canary" in str(broken.value)
    assert database.describe_error(broken.value) == "CheckViolationError 23514 gap_is_not_empty"
    await pool.dispose()


async def test_a_connection_has_its_limits(settings: Settings) -> None:
    """No statement, lock or idle transaction lasts for ever, and the server knows whose each connection is."""
    names = ("application_name", "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    pool = database.engine(settings, application="test-limits")
    async with pool.connect() as connection:
        shown = [(await connection.execute(text(f"SHOW {name}"))).scalar_one() for name in names]
    assert shown == ["test-limits", "45s", "15s", "1min"]
    await pool.dispose()


async def test_topics_are_made_once_with_one_partition_count(
    settings: Settings, kafka_admin: AIOKafkaAdminClient
) -> None:
    """Making the topics again changes nothing, and what was made is without fault."""
    wanted = [kafka.topic(settings, name) for name in TOPICS]
    assert await kafka.create_topics(settings) == wanted
    assert await kafka.create_topics(settings) == []
    found = await kafka.topics(settings, kafka_admin)
    assert [(each.name, each.partitions, each.cleanup) for each in found] == [(name, 3, "delete") for name in wanted]
    assert kafka.faults(settings, found) == []


async def test_topics_that_would_lose_events_are_named(settings: Settings, kafka_admin: AIOKafkaAdminClient) -> None:
    """A missing topic, differing partition counts, compaction and a short retention are each told."""
    sessions, claims, answers = (kafka.topic(settings, name) for name in TOPICS)
    await kafka_admin.create_topics(
        [
            NewTopic(sessions, 2, 1, topic_configs={"cleanup.policy": "compact"}),
            NewTopic(claims, 3, 1, topic_configs={"retention.ms": "3600000"}),
        ]
    )
    found = await kafka.topics(settings, kafka_admin)
    told = "\n".join(kafka.faults(settings, found))
    assert f"topic {answers} does not exist" in told
    assert f"{sessions} 2, {claims} 3" in told
    assert f"topic {sessions} is compacted" in told
    assert kafka.short_lived(found) == [f"topic {claims} keeps records under 3 days: raise its retention.ms"]


@pytest.mark.parametrize("security", ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_the_tracker_connects_as_every_other_client(security: str, mechanism: str) -> None:
    """What FastStream makes of our security is what we give to aiokafka ourselves."""
    settings = Settings.model_validate(
        {
            "kafka": "localhost:9092",
            "database_url": "postgresql://localhost/test",
            "kafka_security": security,
            "kafka_sasl_mechanism": mechanism,
            "kafka_username": "somebody",
            "kafka_password": "anything",
        }
    )
    ours = kafka.client_options(settings, application="test")
    theirs = parse_security(kafka.broker_security(settings))
    for options in (ours, theirs):
        options["ssl_context"] = options["ssl_context"] is not None
    assert theirs.items() <= ours.items()
    assert ours["ssl_context"] == security.endswith("SSL")
