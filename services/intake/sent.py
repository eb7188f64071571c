"""Which claims went out in which transaction set: a 999 rejects a set by its number and names no claim of it."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final

from msgspec import Struct

from services.intake.elements import day
from services.intake.envelope import Transaction
from services.intake.facts import Fact
from services.intake.kept import copied, opened

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS submission (
    sender TEXT NOT NULL, receiver TEXT NOT NULL, group_control TEXT NOT NULL, control TEXT NOT NULL,
    sent TEXT NOT NULL, claim_id TEXT NOT NULL, submission_id TEXT NOT NULL,
    batch TEXT NOT NULL, payer_id TEXT NOT NULL, payer_rank INTEGER NOT NULL,
    PRIMARY KEY (sender, receiver, group_control, control, sent, claim_id, submission_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS submission_of_batch ON submission (sender, receiver, batch, sent, claim_id);
"""
_WHICH: Final = "sender = :sender AND receiver = :receiver AND "
_SET: Final = _WHICH + "group_control = :group_control AND control = :control"
_GROUP: Final = _WHICH + "group_control = :group_control"
_BATCH: Final = _WHICH + "batch = :batch"
# The index leads to the last at once; every claim of a batch asks, so that none may pass over all the others.
_LAST: Final = "SELECT max(sent) FROM submission WHERE {} AND sent <= :until"
_LAST_BEFORE: Final = "SELECT max(sent) FROM submission WHERE {} AND sent < :sent"
_CLAIMS: Final = "SELECT claim_id, submission_id, payer_id, payer_rank FROM submission {} WHERE {} AND sent = :sent"
# Left to itself SQLite takes the primary key, of which only the partners' numbers are known.
_BY_BATCH: Final = "INDEXED BY submission_of_batch"
_CONTROLS: Final = "SELECT DISTINCT control FROM submission WHERE {} AND sent = :sent"
_APART: Final = timedelta(days=7)
"""How far apart two uses of a number must lie for an answer to mean the later one: answers come within days."""
_ANSWERED_WITHIN: Final = timedelta(days=30)
"""What was sent before is not meant by an answer that comes later: its own 837 was not read."""
_NEVER: Final = "-"
"""When nothing was sent."""
_END_OF_DAY: Final = "z"
"""Sorts behind every time of day."""


AMBIGUOUS: Final = f"what carries this number was sent twice within {_APART.days} days: nothing tells which is meant"


class Ambiguous(Exception):
    """A number was used twice within days, so that nobody knows which use is meant."""


class Submission(Struct, frozen=True):
    """A claim as it was sent."""

    claim_id: str
    submission_id: str
    payer_id: str
    payer_rank: int


class Sent:
    """A small SQLite file beside the other data; without one, what this run has read and nothing else."""

    def __init__(self, file: Path | None) -> None:
        self._database = opened(file, _SCHEMA)

    @classmethod
    def copy_of(cls, file: Path) -> "Sent":
        """Return what the file holds, which stays as it is."""
        copy = cls(None)
        copied(file, copy._database, _SCHEMA)
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
        self._database.execute(f"INSERT OR IGNORE INTO submission VALUES ({', '.join('?' * len(row))})", row)  # noqa: S608

    def sets(self, answer: Transaction, group: str) -> Iterator[str]:
        """Yield the control numbers of the sets of a group that an answer speaks of; raises Ambiguous."""
        which = self._meant(_GROUP, answer, group_control=group)
        for (control,) in self._database.execute(_CONTROLS.format(_GROUP), which):
            yield str(control)

    def of_set(self, answer: Transaction, group: str, control: str) -> Iterator[Submission]:
        """Yield the claims of the set that an answer speaks of, none where it was sent from elsewhere.

        Raises Ambiguous.
        """
        which = self._meant(_SET, answer, group_control=group, control=control)
        for row in self._database.execute(_CLAIMS.format("", _SET), which):
            yield Submission(*row)

    def of_batch(self, answer: Transaction, batch: str, claim_id: str | None = None) -> Iterator[Submission]:
        """Yield the claims of a batch (BHT03) that an answer speaks of, or that one of them; raises Ambiguous."""
        which = self._meant(_BATCH, answer, batch=batch)
        one = "" if claim_id is None else " AND claim_id = :claim_id"
        for row in self._database.execute(_CLAIMS.format(_BY_BATCH, _BATCH) + one, {**which, "claim_id": claim_id}):
            yield Submission(*row)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _meant(self, which: str, answer: Transaction, **named: str) -> dict[str, str]:
        """Return where to look: an answer comes from whom it was sent to, and means what was last sent by its day."""
        place = {**named, "sender": answer.receiver, "receiver": answer.sender, "sent": _NEVER}
        answered_on = day(answer.date)
        if answered_on is None:
            return place
        until = {"until": f"{answered_on:%Y%m%d}{_END_OF_DAY}"}
        [last] = self._database.execute(_LAST.format(which), place | until).fetchone()
        if last is None or last < f"{answered_on - _ANSWERED_WITHIN:%Y%m%d}":
            return place
        place["sent"] = last
        [before] = self._database.execute(_LAST_BEFORE.format(which), place).fetchone()
        if before is not None and before >= f"{answered_on - _APART:%Y%m%d}":
            raise Ambiguous
        return place
