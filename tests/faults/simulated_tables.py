"""The tables that simulated schedules write to: emptied between two, and put back to where they were in one."""

from typing import Final

import asyncpg

from tests.faults.schedule import REFUSED

TABLES: Final = ("event", "claim", "rollup", "position", "gap", "dead_letter")

# A claim that the database refuses, as one that no rule of ours foresaw; and a place for what is remembered.
_PREPARED: Final = f"""
CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.claim_id LIKE '%{REFUSED}' THEN RAISE EXCEPTION USING ERRCODE = '22023'; END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER refusing BEFORE INSERT ON event FOR EACH ROW EXECUTE FUNCTION refuse();
""" + "".join(f"CREATE TEMPORARY TABLE remembered_{table} (LIKE {table});" for table in TABLES)
_EMPTY: Final = ";".join(f"DELETE FROM {table}" for table in TABLES)
_REMEMBER: Final = ";".join(
    f"DELETE FROM remembered_{table}; INSERT INTO remembered_{table} SELECT * FROM {table}" for table in TABLES
)
_RESTORE: Final = f"{_EMPTY};" + ";".join(
    f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM remembered_{table}" for table in TABLES
)


async def prepare(owner: asyncpg.Connection) -> None:
    """Ready the database, on the connection that does all else."""
    await owner.execute(_PREPARED)


async def empty(owner: asyncpg.Connection) -> None:
    """Delete all rows."""
    await owner.execute(_EMPTY)


async def remember(owner: asyncpg.Connection) -> None:
    """Keep a copy of what is committed."""
    await owner.execute(_REMEMBER)


async def restore(owner: asyncpg.Connection) -> None:
    """Be back where the copy was taken."""
    await owner.execute(_RESTORE)


async def vacuum(owner: asyncpg.Connection) -> None:
    """Clean the tables of the rows that were deleted."""
    for table in TABLES:
        await owner.execute(f"VACUUM {table}")
