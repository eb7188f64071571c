"""The payments that remittances told of, and by which numbers payers call claims: kept between files.

An adjustment of a payment (PLB) belongs to no claim, so no event carries it; most name a claim of an earlier payment.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from services.intake.facts import Remittance
from services.intake.kept import copied, opened

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS payment (
    payer_id TEXT NOT NULL, trace TEXT NOT NULL, paid_on TEXT NOT NULL, claims TEXT NOT NULL, told TEXT NOT NULL,
    PRIMARY KEY (payer_id, trace, paid_on, claims)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS claim_number (
    payer TEXT NOT NULL, number TEXT NOT NULL, claim_id TEXT NOT NULL, PRIMARY KEY (payer, number)
) WITHOUT ROWID;
"""


class Payments:
    """A SQLite file, shared with what was sent; without one, what this run has read and nothing else."""

    def __init__(self, file: Path | None) -> None:
        self._database = opened(file, _SCHEMA)

    @classmethod
    def copy_of(cls, file: Path) -> "Payments":
        """Return what the file holds, which stays as it is."""
        copy = cls(None)
        copied(file, copy._database, _SCHEMA)
        return copy

    def keep(self, remittance: Remittance) -> None:
        """Keep a payment; one that is told again, as of a file that was mended, takes its own place."""
        told = msgspec.json.encode(remittance).decode()
        # Notices without payment share a trace (zeros): which claims they hold tells them apart.
        row = (remittance.payer_id, remittance.trace, remittance.paid_on or "", remittance.which_claims, told)
        self._database.execute("INSERT OR REPLACE INTO payment VALUES (?, ?, ?, ?, ?)", row)

    def names(self, payer: str, claim_id: str, payer_claim_number: str) -> None:
        """Note by which numbers a payer calls a claim; a number of two claims stays the first one's."""
        number = payer_claim_number if payer_claim_number.strip("0") else claim_id
        row = (payer, claim_id, claim_id, payer, number, claim_id)
        self._database.execute("INSERT OR IGNORE INTO claim_number VALUES (?, ?, ?), (?, ?, ?)", row)

    def claim_named(self, payer: str, number: str) -> str | None:
        """Return the claim that the payer calls so, in this remittance or in one before."""
        where = "SELECT claim_id FROM claim_number WHERE payer = ? AND number = ?"
        found = self._database.execute(where, (payer, number)).fetchone()
        return None if found is None else str(found[0])

    def all(self, trace: str | None = None) -> Iterator[Remittance]:
        """Yield the payments, the latest first, or those with this trace."""
        where = "SELECT told FROM payment WHERE ?1 IS NULL OR trace = ?1 ORDER BY paid_on DESC, payer_id, trace"
        for (told,) in self._database.execute(where, (trace,)):
            yield msgspec.json.decode(told, type=Remittance)

    def close(self) -> None:
        """Close the file."""
        self._database.close()
