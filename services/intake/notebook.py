"""What a file and its transaction set have said so far, on disk where it is much: so that memory does not grow."""

import sqlite3
from typing import Final

MAX_ANSWERS: Final = 10
"""To one set or batch in one file. Control numbers come round again, but not so often; and each answer tells all its
claims, so that without a limit a short file would tell some claims millions of times."""

_TABLES: Final = """
CREATE TABLE fact (key BLOB PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE answer (about TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;
"""


class Notebook:
    """A private temporary database, which SQLite keeps in a small cache and else in an unnamed file."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.executescript("PRAGMA journal_mode = off; PRAGMA synchronous = off;" + _TABLES)

    def begin_file(self) -> None:
        """Forget everything: another file begins."""
        self.begin_set()
        self._database.execute("DELETE FROM answer")

    def begin_set(self) -> None:
        """Forget the facts: another transaction set begins."""
        self._database.execute("DELETE FROM fact")

    def ordinal(self, key: bytes) -> int:
        """Return how many times this fact was stated, this time included."""
        [(n,)] = self._database.execute(
            "INSERT INTO fact VALUES (?, 1) ON CONFLICT DO UPDATE SET n = n + 1 RETURNING n", (key,)
        )
        return int(n)

    def note(self, *about: str) -> int:
        """Note an answer; return how many the file has given to the same, this one included."""
        [(n,)] = self._database.execute(
            "INSERT INTO answer VALUES (?, 1) ON CONFLICT DO UPDATE SET n = n + 1 RETURNING n", ("\0".join(about),)
        )
        return int(n)

    def may_answer(self, *about: str) -> bool:
        """Note an answer; say whether the file may give it: MAX_ANSWERS to the same."""
        return self.note(*about) <= MAX_ANSWERS

    def answered(self, *about: str) -> bool:
        """Return whether the file has answered this."""
        return (
            self._database.execute("SELECT 1 FROM answer WHERE about = ?", ("\0".join(about),)).fetchone() is not None
        )

    def close(self) -> None:
        """Give the file back."""
        self._database.close()
