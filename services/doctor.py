"""Checks everything a tracker stands on: settings, both servers, topics, group and schema; changes nothing."""

import asyncio
from typing import Any, Final, Literal

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaError
from msgspec import Struct
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from services import database, kafka
from services.settings import Settings, database_place, host_and_port, is_loopback, unknown_variables

LIMIT_S: Final = 20
"""How long each server may take over all of its questions."""
SUPPORTED_POSTGRES: Final = 14

Status = Literal["ok", "warning", "failed", "unreachable"]


class Check(Struct, frozen=True):
    """One thing looked at, and what there is to say of it; no secret, no value of an event."""

    name: str
    status: Status
    told: str


async def examine(settings: Settings) -> list[Check]:
    """Look at everything, in the order in which to mend it."""
    found = [Check("settings", "warning", f"{name} is no setting: misspelt?") for name in unknown_variables()]
    return [*found, *await _kafka(settings), *await _postgres(settings)]


async def _kafka(settings: Settings) -> list[Check]:
    where = f"{settings.kafka} ({settings.kafka_security})"
    found: list[Check] = []
    try:
        async with (
            asyncio.timeout(LIMIT_S),
            kafka.administration(settings, application="claimpath-doctor") as client,
        ):
            found.append(Check("kafka", "ok", where))
            found += _transport(settings)
            found += await _topics(settings, client)
            found.append(await _group(settings, client))
    except (KafkaError, OSError) as error:
        found.append(Check("kafka", "unreachable", f"{where}: {type(error).__name__}"))
    return found


def _transport(settings: Settings) -> list[Check]:
    hosts = [host_and_port(address)[0] for address in kafka.bootstrap_servers(settings)]
    if settings.kafka_security.endswith("SSL") or all(map(is_loopback, hosts)):
        return []
    return [Check("kafka", "warning", "patient data crosses the network unencrypted: set CLAIMPATH_KAFKA_SECURITY")]


async def _topics(settings: Settings, client: AIOKafkaAdminClient) -> list[Check]:
    found = await kafka.topics(settings, client)
    failed = [Check("topics", "failed", told) for told in kafka.faults(settings, found)]
    warned = [Check("topics", "warning", told) for told in kafka.short_lived(found)]
    if failed or warned:
        return failed + warned
    words = ", ".join(each.name for each in found)
    return [Check("topics", "ok", f"{words}: {found[0].partitions} partitions, replication {found[0].replication}")]


async def _group(settings: Settings, client: AIOKafkaAdminClient) -> Check:
    try:
        answers: list[Any] = await client.describe_consumer_groups([settings.group])
    except GroupCoordinatorNotAvailableError:  # a cluster that never had a group
        return Check("group", "warning", f"{settings.group}: no tracker runs")
    _, _, state, _, _, members, *_ = answers[0].groups[0]
    if not members:
        return Check("group", "warning", f"{settings.group}: no tracker runs")
    return Check("group", "ok", f"{settings.group}: {state}, {len(members)} members")


async def _postgres(settings: Settings) -> list[Check]:
    where = f"{database_place(settings)} (TLS: {settings.tls_of_database()})"
    pool = database.engine(settings, application="claimpath-doctor")
    try:
        async with asyncio.timeout(LIMIT_S):
            return [await _version(pool, where), await _schema(pool)]
    except (SQLAlchemyError, OSError) as error:
        return [Check("postgres", "unreachable", f"{where}: {database.describe_error(error)}")]
    finally:
        await pool.dispose()


async def _version(pool: AsyncEngine, where: str) -> Check:
    async with pool.connect() as connection:
        number = (await connection.execute(text("SHOW server_version_num"))).scalar_one()
    major = int(number) // 10_000
    if major < SUPPORTED_POSTGRES:
        return Check("postgres", "failed", f"{where}: version {major}, at least {SUPPORTED_POSTGRES} is needed")
    return Check("postgres", "ok", f"{where}: version {major}")


async def _schema(pool: AsyncEngine) -> Check:
    found, wanted = await database.schema_revision(pool), database.head_revision()
    if found == wanted:
        return Check("schema", "ok", f"revision {found}")
    have = f"revision {found}, this release wants {wanted}" if found else "no schema yet"
    return Check("schema", "failed", f"{have}: run `claimpath migrate`")
