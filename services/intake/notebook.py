"""What one transaction set has said so far, on disk where it is much: so that memory does not grow with the set."""

import sqlite3
from typing import Final

_TABLES: Final = """
CREATE TABLE fact (key BLOB PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE claim (reference TEXT PRIMARY KEY, claim_id TEXT NOT NULL) WITHOUT ROWID;
"""


class Notebook:
    """A private temporary database, which SQLite keeps in a small cache and else in an unnamed file."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.executescript("PRAGMA journal_mode = off; PRAGMA synchronous = off;" + _TABLES)

    def clear(self) -> None:
        """Forget everything: another transaction set begins."""
        self._database.execute("DELETE FROM fact")
        self._database.execute("DELETE FROM claim")

    def ordinal(self, key: bytes) -> int:
        """Return how many times this fact was stated, this time included."""
        [(n,)] = self._database.execute(
            "INSERT INTO fact VALUES (?, 1) ON CONFLICT DO UPDATE SET n = n + 1 RETURNING n", (key,)
        )
        return int(n)

    def names(self, claim_id: str, *references: str) -> None:
        """Note by which numbers the set calls a claim; a number of two claims stays the first one's."""
        rows = [(reference, claim_id) for reference in references if reference]
        self._database.executemany("INSERT OR IGNORE INTO claim VALUES (?, ?)", rows)

    def claim_named(self, reference: str) -> str | None:
        """Return the claim that the set calls so."""
        found = self._database.execute("SELECT claim_id FROM claim WHERE reference = ?", (reference,)).fetchone()
        return None if found is None else str(found[0])

    def close(self) -> None:
        """Give the file back."""
        self._database.close()
