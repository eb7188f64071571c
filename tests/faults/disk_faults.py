"""Faults of PostgreSQL's disk: it is full, for the tables or for the write-ahead log, and after a while it is not."""

import asyncio
from contextlib import suppress
from functools import partial

from asyncpg.exceptions import PostgresError

from infra.server_process import ServerError
from tests.faults.fault import Fault
from tests.faults.field import LOOK_S, Field
from tests.faults.small_disk import SmallDisk
from tests.running import until

FULL_LIMIT_S = 20
FULL_S = 3.0
BACK_LIMIT_S = 60
AWAY_S = 1.0
DISK_FULL = "53100"

# Megabytes that go to the log alone, until there is no segment left that was made before the disk was full.
_FILL_LOG = "SELECT count(pg_logical_emit_message(false, 'fault', repeat('x', 1_000_000))) FROM generate_series(1, 20)"


async def fill(field: Field) -> int:
    """Leave no room for tables to grow; say how often a tracker met that. They wait, and none of them ends."""
    disk, before = _disk(field), _refused(field)
    processes = [each.process for each in field.trackers.values()]
    # A new segment of the log, so that the log is not what needs room first.
    await field.sql("SELECT pg_switch_wal()")
    await field.sql("SELECT pg_logical_emit_message(true, 'fault', 'makes the segment')")
    async with field.publishing():
        disk.fill()
        await until(lambda: _refused(field) > before, FULL_LIMIT_S, "a tracker to meet the full disk")
        await asyncio.sleep(FULL_S)
        assert disk.is_running, "it was the log that needed room"
        disk.free()
        field.over()
    assert [each.process for each in field.trackers.values()] == processes, f"a tracker ended (seed {field.seed})"
    return _refused(field) - before


async def fill_log(field: Field) -> int:
    """Leave no room for the write-ahead log until PostgreSQL panics, and some later; say how often it did.

    Either it ends then, or it finds room for recovery and lets nobody in.
    """
    disk, before = _disk(field), _panics(field)

    def is_back() -> bool:
        with suppress(ServerError):  # it may have been about to end
            disk.start()
            return True
        return False

    async with field.publishing():
        async with asyncio.timeout(FULL_LIMIT_S):
            while _panics(field) == before:
                disk.fill()
                with suppress(PostgresError, OSError):
                    await field.sql(_FILL_LOG)
                await asyncio.sleep(LOOK_S)
        await asyncio.sleep(AWAY_S)
        panics = _panics(field) - before
        disk.free()
        await until(lambda: asyncio.to_thread(is_back), BACK_LIMIT_S, "PostgreSQL to be back")
        field.over()
    return panics


def _panics(field: Field) -> int:
    return _disk(field).log.read_text(errors="replace").count("PANIC:")


def _refused(field: Field) -> int:
    return sum(each.log.read_text(errors="replace").count(DISK_FULL) for each in field.trackers.values())


def _disk(field: Field) -> SmallDisk:
    disk = field.servers.disk
    assert disk, "this fault needs a small disk"
    return disk


_fault = partial(Fault, kind="disk", ground="small disk")

DISK_FAULTS = (
    _fault("PostgreSQL's disk is full for a while", strike=fill, counts_hold=True),
    _fault("PostgreSQL's log has no room and it panics", strike=fill_log),
)
