"""A folder that is watched: each file put there is published and moved aside, with a report beside it."""

import asyncio
import fcntl
import logging
import os
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final

from aiokafka.errors import KafkaError

from events.codec import Record
from services import metrics
from services.intake.files import Publishable, Reading, Tally, chunks, items, reading_of
from services.intake.reports import Report
from services.publish import TopicsUnfit, publish
from services.settings import BadSetting, Settings, host_and_port

LOOK_S: Final = 1.0
"""Between two looks at the folder."""
SETTLE_S: Final = 5.0
"""For how long nobody must have written to a file: an upload that pauses is not taken for its end."""
PAUSES_S: Final = (1, 2, 5, 10, 30)
"""Before a file is tried again while Kafka is away; then the last."""
DONE: Final = "done"
FAILED: Final = "failed"
REPORT: Final = ".report.jsonl"
MAX_NAME_BYTES: Final = 230
"""Of a name in done/ and failed/: file systems allow 255, and a number and the report's ending must fit."""
STOP_LIMIT_S: Final = 3
"""How long a file under way may take to be let go of when we are to end, whatever Kafka does."""

_LOCK: Final = ".watched"

# Names under which uploaders write a file that is not whole yet.
_UNFINISHED: Final = (".part", ".tmp", ".filepart", ".crdownload")
_log = logging.getLogger(__name__)


class _Stopped(Exception):
    """We are to end; the file under way stays where it is and is read again, which changes nothing."""


async def run(settings: Settings, folder: Path) -> int:
    """Watch until SIGTERM or SIGINT, then return 0; raises BadSetting where that cannot be."""
    lock = _make_ready(folder)
    metrics.serve_watch(*host_and_port(settings.watch_listen))
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    _log.info("watching a folder; metrics on %s", settings.watch_listen)
    with lock, reading_of(settings, keep=True) as reading:
        failures = 0
        stuck: set[Path] = set()
        while not stop.is_set():
            pause_s = LOOK_S
            try:
                if await _take_all(settings, folder, reading, stop, stuck):
                    failures = 0
            except _Stopped:
                break
            except (KafkaError, TopicsUnfit, sqlite3.OperationalError) as error:
                told = str(error) if isinstance(error, TopicsUnfit) else type(error).__name__
                _log.warning("files wait: %s", told)
                pause_s = PAUSES_S[min(failures, len(PAUSES_S) - 1)]
                failures += 1
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause_s)
    return 0


def _make_ready(folder: Path) -> IO[bytes]:
    """Return an open file whose lock is this process's: two that watch one folder would report into one another."""
    try:
        for name in (DONE, FAILED):
            (folder / name).mkdir(exist_ok=True)
        lock = (folder / _LOCK).open("wb")
    except OSError as error:
        raise BadSetting(f"The folder to watch cannot be written to ({error.strerror}).") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise BadSetting("Another process watches this folder: one is enough.") from None
    return lock


async def _take_all(settings: Settings, folder: Path, reading: Reading, stop: asyncio.Event, stuck: set[Path]) -> bool:
    """Take every file that is ready; say whether one was. One that cannot be read or moved holds up no other.

    `stuck` are those, of which the log tells once.
    """
    taken = False
    try:
        ready = _settled(folder)
    except OSError as error:
        _log.warning("the folder cannot be read: %s", type(error).__name__)
        return False
    stuck &= set(ready)
    for file in ready:
        try:
            taken = await _take(settings, folder, file, reading, stop) or taken
        except OSError as error:
            if file not in stuck:
                _log.warning("a file cannot be read or moved, and is tried again: %s", type(error).__name__)
            stuck.add(file)
    return taken


def _settled(folder: Path) -> list[Path]:
    """Return the files that nobody writes to any more, the oldest first."""
    now = time.time()
    waiting = [
        (_written_at(entry.stat(), now), Path(entry.path))
        for entry in os.scandir(folder)
        if entry.is_file(follow_symlinks=False) and not entry.name.startswith(".")
    ]
    waiting.sort()
    metrics.waits([now - written_at for written_at, _ in waiting])
    return [
        file
        for written_at, file in waiting
        if now - written_at >= SETTLE_S and not file.name.lower().endswith(_UNFINISHED)
    ]


def _written_at(status: os.stat_result, now: float) -> float:
    """Return when a file was written to; where its own clock is ahead, when it came to be here."""
    return status.st_mtime if status.st_mtime <= now else status.st_ctime


async def _take(settings: Settings, folder: Path, file: Path, reading: Reading, stop: asyncio.Event) -> bool:
    """Publish a file and move it aside; whoever dies on the way leaves it to be read again.

    Returns False, and leaves the file, where another one took its place meanwhile.
    """
    before = _which(file)
    begun = folder / REPORT
    tally = Tally()
    with Report(begun) as report:
        report.begins(file.name)
        await _unless_stopped(publish(settings, _records(file, reading, tally, report)), stop)
        report.ends(tally)
    if _which(file) != before:
        return False
    aside = _move_aside(folder, file, begun, tally)
    metrics.took_file(tally)
    # No name: people put names of patients into those of files.
    _log.info(
        "a file is %s: %d events, %d refusals, %d findings",
        aside.parent.name,
        tally.events.total(),
        tally.refused,
        tally.findings.total(),
    )
    return True


def _which(file: Path) -> tuple[int, int, int, int]:
    """Return what tells a file from one that is put in its place, or written to."""
    status = file.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


async def _unless_stopped(publishing: Coroutine[Any, Any, int], stop: asyncio.Event) -> None:
    """Publish to the end, or raise _Stopped soon after we are told to: Kafka may be silent for as long as it likes."""
    work, stopping = asyncio.create_task(publishing), asyncio.create_task(stop.wait())
    await asyncio.wait((work, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not work.done():
        work.cancel()
        await asyncio.wait((work,), timeout=STOP_LIMIT_S)
        raise _Stopped
    await work


async def _records(file: Path, reading: Reading, tally: Tally, report: Report) -> AsyncIterator[Record]:
    with file.open("rb") as stream:
        for item in items(chunks(stream, lambda _done: None), reading):
            tally.count(item)
            if isinstance(item, Publishable):
                yield item.record
                await asyncio.sleep(0)  # a signal is heard between two claims
            else:
                report.write(item)


def _move_aside(folder: Path, file: Path, report: Path, tally: Tally) -> Path:
    """Put a file where it belongs, its report first: a file without one was not read to its end."""
    aside = _free(folder / (FAILED if tally.refused else DONE), file.name)
    report.replace(aside.with_name(aside.name + REPORT))
    file.replace(aside)
    return aside


def _free(folder: Path, name: str) -> Path:
    """Return a path in a folder that no file has: the name, or with a number where it comes again."""
    name = os.fsdecode(os.fsencode(name)[:MAX_NAME_BYTES])
    path, number = folder / name, 1
    while path.exists():
        number += 1
        path = folder / f"{number}-{name}"
    return path
