"""Which claims went out in which transaction set: a 999 rejects a set by its number and names no claim of it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from msgspec import Struct

from services.intake.envelope import Transaction
from services.intake.facts import Fact

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS submission (
    sender TEXT NOT NULL, receiver TEXT NOT NULL, group_control TEXT NOT NULL, control TEXT NOT NULL,
    sent TEXT NOT NULL, claim_id TEXT NOT NULL, submission_id TEXT NOT NULL,
    batch TEXT NOT NULL, payer_id TEXT NOT NULL, payer_rank INTEGER NOT NULL,
    PRIMARY KEY (sender, receiver, group_control, control, sent, claim_id, submission_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS submission_batch ON submission (sender, receiver, batch, sent);
"""
# Control numbers come round again: the set, batch or group meant is the last one sent by then.
_OF_SET: Final = """
SELECT claim_id, submission_id, payer_id, payer_rank FROM submission
WHERE sender = :sender AND receiver = :receiver AND group_control = :group_control AND control = :control
  AND sent = (SELECT max(sent) FROM submission WHERE sender = :sender AND receiver = :receiver
              AND group_control = :group_control AND control = :control AND sent <= :until)
"""
_OF_BATCH: Final = """
SELECT claim_id, submission_id, payer_id, payer_rank FROM submission
WHERE sender = :sender AND receiver = :receiver AND batch = :batch
  AND sent = (SELECT max(sent) FROM submission WHERE sender = :sender AND receiver = :receiver
              AND batch = :batch AND sent <= :until)
"""
_SETS: Final = """
SELECT DISTINCT control FROM submission
WHERE sender = :sender AND receiver = :receiver AND group_control = :group_control
  AND sent = (SELECT max(sent) FROM submission WHERE sender = :sender AND receiver = :receiver
              AND group_control = :group_control AND sent <= :until)
"""
_BUSY_LIMIT_S: Final = 30
_AT_ONCE: Final = 1_000
_END_OF_DAY: Final = "z"
"""Sorts behind every time of day."""


class Submission(Struct, frozen=True):
    """A claim as it was sent."""

    claim_id: str
    submission_id: str
    payer_id: str
    payer_rank: int


class Sent:
    """A small SQLite file beside the other data; without one, what this run has read and nothing else."""

    def __init__(self, file: Path | None) -> None:
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch(mode=0o600)  # whose claims they are is nobody else's business
        self._database = sqlite3.connect("" if file is None else file, timeout=_BUSY_LIMIT_S)
        self._database.executescript(_SCHEMA)
        self._noted = 0

    @classmethod
    def copy_of(cls, file: Path) -> "Sent":
        """Return what the file holds, which stays as it is."""
        copy = cls(None)
        if file.is_file():
            with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as kept:
                kept.backup(copy._database)
        return copy

    def remember(self, transaction: Transaction, fact: Fact) -> None:
        """Note that a claim went out, with its batch (BHT03); one noted before stays as it is."""
        submission_id = fact.data["submission_id"]
        batch = submission_id.rpartition("-")[0]  # as the reader of 837s makes it
        row = (
            *(transaction.sender, transaction.receiver, transaction.group, transaction.control),
            *(transaction.date + transaction.time, fact.claim_id, submission_id),
            *(batch, fact.data["payer_id"], fact.data["payer_rank"]),
        )
        self._noted += 1
        if self._noted % _AT_ONCE == 0:
            self.commit()  # others wait for us meanwhile
        self._database.execute(f"INSERT OR IGNORE INTO submission VALUES ({', '.join('?' * len(row))})", row)  # noqa: S608

    def commit(self) -> None:
        """Make what was noted last."""
        self._database.commit()

    def sets(self, answer: Transaction, group: str) -> Iterator[str]:
        """Yield the control numbers of the sets of a group that an answer speaks of."""
        for (control,) in self._database.execute(_SETS, _place(answer, group_control=group)):
            yield str(control)

    def of_set(self, answer: Transaction, group: str, control: str) -> Iterator[Submission]:
        """Yield the claims of the set that an answer speaks of; none where it was sent from elsewhere."""
        for row in self._database.execute(_OF_SET, _place(answer, group_control=group, control=control)):
            yield Submission(*row)

    def of_batch(self, answer: Transaction, batch: str) -> Iterator[Submission]:
        """Yield the claims of a batch (BHT03) that an answer speaks of; none where it was sent from elsewhere."""
        for row in self._database.execute(_OF_BATCH, _place(answer, batch=batch)):
            yield Submission(*row)

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def _place(answer: Transaction, **named: str) -> dict[str, str]:
    """Return where to look: an answer comes from whom the set was sent to, on its day or later by their clock."""
    return {**named, "sender": answer.receiver, "receiver": answer.sender, "until": answer.date + _END_OF_DAY}
