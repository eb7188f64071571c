"""PostgreSQL: connections with TLS and limits, the schema's migrations, and errors told without their values."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from asyncpg.exceptions import PostgresError
from sqlalchemy import Connection, make_url, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from services.settings import Settings

Role = Literal["claimpath_tracker", "claimpath_reader", "claimpath_operator"]

CONNECT_LIMIT_S: Final = 10
POOL_LIMIT_S: Final = 30
"""How long to wait for a free connection of the pool."""
LOCK_LIMIT_MS: Final = 15_000
"""How long a statement waits for a row or table that another holds; after a deadlock's victim was chosen (1 s)."""
OTHER_MIGRATION_LIMIT_MS: Final = 300_000

_MIGRATING: Final = 0x636C6D70617468  # "clmpath": the key of the advisory lock
_CONFIG: Final = Config()
_CONFIG.set_main_option("script_location", "infra:migrations")


@dataclass(frozen=True)
class Limits:
    """How long the server lets us go on: one statement, and a transaction in which nothing happens."""

    statement_ms: int
    idle_in_transaction_ms: int


QUICK: Final = Limits(statement_ms=45_000, idle_in_transaction_ms=60_000)
"""For processes that serve: whatever takes longer is stuck and is better tried again."""
LONG: Final = Limits(statement_ms=3_600_000, idle_in_transaction_ms=3_600_000)
"""For work that reads or writes everything: verify, rebuild, exports into a slow pipe, migrations."""


def engine(
    settings: Settings,
    *,
    application: str,
    role: Role | None = None,
    limits: Limits = QUICK,
    server_settings: Mapping[str, str] | None = None,
) -> AsyncEngine:
    """Make a pool of connections that show as `application` in pg_stat_activity and act as `role`, if one is given."""
    return create_async_engine(
        make_url(settings.database_url.get_secret_value()).set(drivername="postgresql+asyncpg"),
        connect_args={
            "ssl": _tls(settings),
            "timeout": CONNECT_LIMIT_S,
            # The server gives up first; this is for the server that no longer answers at all.
            "command_timeout": limits.statement_ms / 1000 + CONNECT_LIMIT_S,
            "server_settings": {
                "application_name": application,
                "statement_timeout": str(limits.statement_ms),
                "lock_timeout": str(LOCK_LIMIT_MS),
                "idle_in_transaction_session_timeout": str(limits.idle_in_transaction_ms),
                "TimeZone": "UTC",
                "jit": "off",  # compiling costs more than our short statements, asyncpg's own on types above all
                **({"role": role} if role else {}),
                **(server_settings or {}),
            },
        },
        pool_pre_ping=True,  # a server that was restarted costs no failed statement
        pool_timeout=POOL_LIMIT_S,
        hide_parameters=True,
    )


async def driver(connection: AsyncConnection) -> asyncpg.Connection:
    """Return asyncpg's own connection below SQLAlchemy's: for COPY, and where each microsecond of a batch counts."""
    found = (await connection.get_raw_connection()).driver_connection
    assert isinstance(found, asyncpg.Connection)
    return found


async def migrate(settings: Settings) -> tuple[str | None, str]:
    """Bring the schema to this release in one transaction; return the revisions before and after.

    Safe in several processes at once: each waits for the one before and then finds its work done.
    """
    database = engine(settings, application="claimpath-migrate", limits=LONG)
    try:
        async with database.begin() as connection:
            await connection.execute(text(f"SET LOCAL lock_timeout = {OTHER_MIGRATION_LIMIT_MS}"))
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATING})
            await connection.execute(text(f"SET LOCAL lock_timeout = {LOCK_LIMIT_MS}"))
            before = await connection.run_sync(_revision)
            await connection.run_sync(_upgrade)
            return before, head_revision()
    finally:
        await database.dispose()


async def schema_revision(database: AsyncEngine) -> str | None:
    """Return the revision of the database's schema, None where it was never migrated."""
    async with database.connect() as connection:
        return await connection.run_sync(_revision)


class SchemaMissing(Exception):
    """The database has not the schema of this release: run `claimpath migrate`."""


async def require_schema(database: AsyncEngine) -> None:
    """Raise SchemaMissing unless the database has this release's schema."""
    if await schema_revision(database) != head_revision():
        raise SchemaMissing


def head_revision() -> str:
    """Return the revision of the schema that this release works with."""
    head = ScriptDirectory.from_config(_CONFIG).get_current_head()
    assert head
    return head


def describe_error(error: BaseException) -> str:
    """Name an error by class, SQLSTATE and constraint: its message and its detail may quote a row."""
    told = innermost(error)
    facts = (sqlstate(error), getattr(told, "constraint_name", None))
    return " ".join([type(told).__name__, *(str(fact) for fact in facts if fact)])


def sqlstate(error: BaseException) -> str | None:
    """Return PostgreSQL's code for what went wrong; None where it is no error of the server's."""
    return getattr(innermost(error), "sqlstate", None)


def innermost(error: BaseException) -> BaseException:
    """Return the driver's own error, which SQLAlchemy wraps twice."""
    # Not what the driver met in its turn, as a connection that was reset: that has no code, and says less.
    while not isinstance(error, PostgresError):
        inner = getattr(error, "orig", None) or error.__cause__
        if inner is None:
            break
        error = inner
    return error


def _tls(settings: Settings) -> ssl.SSLContext | Literal[False]:
    wanted = settings.tls_of_database()
    if wanted == "disable":
        return False
    context = ssl.create_default_context(cafile=settings.database_ca_file)
    if wanted == "require":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _upgrade(connection: Connection) -> None:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "infra:migrations")
    command.upgrade(config, "head")
