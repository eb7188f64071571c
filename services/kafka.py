"""Kafka as settings describe it: how to connect, and the three topics as they must be."""

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError, TopicAlreadyExistsError, for_code
from faststream.security import BaseSecurity, SASLPlaintext, SASLScram256, SASLScram512

from events.topics import TOPICS
from services.settings import Settings

ADMIN_LIMIT_S: Final = 15
"""How long the cluster may take over a question or a new topic."""
RETENTION_DAYS: Final = 30
"""What our own topics keep: the longest that trackers may stand still without losing a record."""
RETENTION_FLOOR_DAYS: Final = 3
"""A weekend: with less, one spent without trackers loses records."""

_DAY_MS: Final = 86_400_000
_SASL: Final = {"PLAIN": SASLPlaintext, "SCRAM-SHA-256": SASLScram256, "SCRAM-SHA-512": SASLScram512}


@dataclass(frozen=True)
class Topic:
    """A topic as the cluster has it; a retention of -1 is for ever."""

    name: str
    partitions: int
    replication: int
    cleanup: str
    retention_ms: int


def topic(settings: Settings, name: str) -> str:
    """Return a topic's name in the cluster."""
    return f"{settings.topic_prefix}{name}"


def our_names(settings: Settings) -> dict[str, str]:
    """Return the contract's names of our topics by their names in the cluster."""
    return {topic(settings, name): name for name in TOPICS}


def client_options(settings: Settings, *, application: str) -> dict[str, Any]:
    """Return what every aiokafka client needs to connect."""
    options: dict[str, Any] = {
        "bootstrap_servers": bootstrap_servers(settings),
        "client_id": application,
        "security_protocol": settings.kafka_security,
        "ssl_context": _tls(settings),
    }
    if settings.kafka_security.startswith("SASL"):
        username, password = _login(settings)
        options["sasl_mechanism"] = settings.kafka_sasl_mechanism
        options |= {"sasl_plain_username": username, "sasl_plain_password": password}
    return options


def bootstrap_servers(settings: Settings) -> list[str]:
    """Return the addresses one by one."""
    return [address.strip() for address in settings.kafka.split(",")]


def broker_security(settings: Settings) -> BaseSecurity:
    """Return the same as FastStream wants it."""
    tls = settings.kafka_security.endswith("SSL")
    if not settings.kafka_security.startswith("SASL"):
        return BaseSecurity(ssl_context=_tls(settings), use_ssl=tls)
    return _SASL[settings.kafka_sasl_mechanism](*_login(settings), ssl_context=_tls(settings), use_ssl=tls)


@asynccontextmanager
async def administration(settings: Settings, *, application: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """Lend a client for topics and groups."""
    options = client_options(settings, application=application)
    client = AIOKafkaAdminClient(**options, request_timeout_ms=ADMIN_LIMIT_S * 1000)
    try:
        await client.start()
        yield client
    finally:
        await client.close()


async def create_topics(settings: Settings) -> list[str]:
    """Make the topics that do not exist and return their names; raises KafkaError."""
    async with administration(settings, application="claimpath-topics") as client:
        existing = {found.name for found in await topics(settings, client)}
        missing = [name for name in our_names(settings) if name not in existing]
        # aiokafka types every answer as the one thing that all answers are.
        created: Any = await client.create_topics([_new(settings, name) for name in missing]) if missing else None
    for name, code, message in created.topic_errors if created else ():
        refused = for_code(code)
        if code and refused is not TopicAlreadyExistsError:  # another process made it in between
            raise refused(f"{name}: {message}")
    return missing


async def topics(settings: Settings, client: AIOKafkaAdminClient) -> list[Topic]:
    """Return those of the three topics that exist."""
    # All are listed: a question about a missing one would make it on clusters that create topics by themselves.
    listed = {each["topic"]: each["partitions"] for each in await client.describe_topics()}
    names = [name for name in our_names(settings) if name in listed]
    configured = await _configurations(client, names)
    return [
        Topic(
            name,
            len(listed[name]),
            min(len(partition["replicas"]) for partition in listed[name]),
            configured[name]["cleanup.policy"],
            int(configured[name]["retention.ms"]),
        )
        for name in names
    ]


def faults(settings: Settings, found: list[Topic]) -> list[str]:
    """Say why the topics cannot serve: one is missing or compacted, or their partition counts differ."""
    existing = {each.name for each in found}
    said = [
        f"topic {name} does not exist: run `claimpath topics`" for name in our_names(settings) if name not in existing
    ]
    counts = {each.partitions for each in found}
    if len(counts) > 1:
        told = ", ".join(f"{each.name} {each.partitions}" for each in found)
        said.append(f"the topics differ in their number of partitions ({told}): give each {max(counts)}")
    said += [
        f"topic {each.name} is compacted, which loses events: set its cleanup.policy to delete"
        for each in found
        if "compact" in each.cleanup
    ]
    return said


def short_lived(found: list[Topic]) -> list[str]:
    """Say which topics forget so early that a pause of the trackers may lose records."""
    return [
        f"topic {each.name} keeps records under {RETENTION_FLOOR_DAYS} days: raise its retention.ms"
        for each in found
        if 0 <= each.retention_ms < RETENTION_FLOOR_DAYS * _DAY_MS
    ]


def _new(settings: Settings, name: str) -> NewTopic:
    configuration = {
        "cleanup.policy": "delete",
        "retention.ms": str(RETENTION_DAYS * _DAY_MS),
        # One copy may be down, and what was acknowledged is on all the others.
        "min.insync.replicas": str(max(1, settings.replication - 1)),
    }
    return NewTopic(name, settings.partitions, settings.replication, topic_configs=configuration)


async def _configurations(client: AIOKafkaAdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    wanted: dict[str, object] = dict.fromkeys(("cleanup.policy", "retention.ms"))
    resources = [ConfigResource(ConfigResourceType.TOPIC, name, wanted) for name in names]
    found = {}
    answers: list[Any] = await client.describe_configs(resources)
    for answer in answers:
        for code, message, _, name, entries in answer.resources:
            if code:
                raise for_code(code)(f"{name}: {message}")
            found[name] = {entry[0]: entry[1] for entry in entries}
    return found


def _login(settings: Settings) -> tuple[str, str]:
    assert settings.kafka_username
    assert settings.kafka_password
    return settings.kafka_username, settings.kafka_password.get_secret_value()


def _tls(settings: Settings) -> ssl.SSLContext | None:
    if not settings.kafka_security.endswith("SSL"):
        return None
    return ssl.create_default_context(cafile=settings.kafka_ca_file)


def rejoin(consumer: AIOKafkaConsumer) -> None:
    """Join the group anew.

    aiokafka's own way, to subscribe again, ends its part in the group for good where it looks for its coordinator just
    then, as after a restart of Kafka.
    """
    consumer._coordinator.request_rejoin()  # type: ignore[union-attr]  # noqa: SLF001


def is_coordinated(consumer: AIOKafkaConsumer) -> bool:
    """Say whether what joins the group for a consumer that was started still runs; if not, it never will again."""
    return not consumer._coordinator._coordination_task.done()  # type: ignore[union-attr]  # noqa: SLF001


# aiokafka expects an OSError of a connection that was just reset, and uvloop raises RuntimeError: it would end the task
# that fetches, and the consumer would hear nothing more until it is started again.
_send: Final[Callable[..., Any]] = AIOKafkaConnection.send


def _send_or_lose(connection: AIOKafkaConnection, request: Any, expect_response: Any = True) -> Any:  # noqa: ANN401, FBT002
    try:
        return _send(connection, request, expect_response)
    except RuntimeError as closed:
        connection.close(reason=CloseReason.CONNECTION_BROKEN)
        raise KafkaConnectionError(str(closed)) from closed


AIOKafkaConnection.send = _send_or_lose  # type: ignore[method-assign]
