"""The small SQLite file in which intake remembers what one file tells of others; or as much of one in memory."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from services.settings import BadSetting, variable

_BUSY_LIMIT_S: Final = 30
# Each statement for itself, so that no other intake waits while a slow Kafka is waited for. What a crash of the machine
# may take of the last moment, reading the file again brings back.
_PRAGMAS: Final = "PRAGMA journal_mode = wal; PRAGMA synchronous = normal;"


def opened(file: Path | None, schema: str) -> sqlite3.Connection:
    """Return a connection with these tables; without a file, of a database that ends with it."""
    if file is None:
        connection = sqlite3.connect("", isolation_level=None)
    else:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)  # whose claims they are is nobody else's business
        connection = sqlite3.connect(file, timeout=_BUSY_LIMIT_S, isolation_level=None)
    return _with_tables(connection, _PRAGMAS + schema)


def copied(file: Path, copy: sqlite3.Connection, schema: str) -> None:
    """Fill a database with what the file holds, if there is one; the file stays as it is."""
    if file.is_file():
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True, timeout=_BUSY_LIMIT_S)) as kept:
            try:
                kept.backup(copy)
            except sqlite3.DatabaseError as error:
                raise _no_database(error) from None
    _with_tables(copy, schema)


def _with_tables(connection: sqlite3.Connection, schema: str) -> sqlite3.Connection:
    try:
        connection.executescript(schema)
    except sqlite3.DatabaseError as error:
        connection.close()
        raise _no_database(error) from None
    return connection


def _no_database(error: sqlite3.DatabaseError) -> Exception:
    """Return what to tell of a file that is none of ours; of one that is busy, the error itself."""
    if isinstance(error, sqlite3.OperationalError):
        return error
    return BadSetting(f"{variable('data_dir')}: intake.sqlite3 there is no database: move it away.")
