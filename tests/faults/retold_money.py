"""A claim's dollars, told anew from its approvals and reversals, in cents."""

from dataclasses import dataclass, field

from tests.faults.retold_facts import Fact, adjustments, cents, takes_back_a_denial


@dataclass
class Ledger:
    """What one payer rank's approvals and reversals come to."""

    paid: int = 0
    allowed: int = 0
    patient: int = 0
    adjusted: int = 0
    reason_23: int = 0
    """What the adjustments with reason 23 come to."""
    claim_numbers: list[str] = field(default_factory=list)
    approved_by: Fact | None = None
    """The latest approval."""

    @property
    def stands(self) -> bool:
        """Whether an approval of this rank is in force."""
        return self.paid > 0 or self.allowed > 0


def count(ledgers: dict[int, Ledger], rank: int, decision: Fact) -> None:
    """Add an approval or a reversal to its rank's amounts."""
    if decision.kind == "reversed" and takes_back_a_denial(decision):
        return
    ledger = ledgers.setdefault(rank, Ledger())
    if decision.kind == "approved":
        number = decision.data.get("payer_claim_number")
        if number is not None and number not in ledger.claim_numbers:
            ledger.claim_numbers.append(number)
        if ledger.approved_by is None or decision > ledger.approved_by:
            ledger.approved_by = decision
    ledger.paid += cents(decision.data["paid"])
    ledger.allowed += cents(decision.data["allowed"])
    owed_by_patient = [amount for group, _, amount in adjustments(decision) if group == "PR"]
    if owed_by_patient:
        ledger.patient += sum(owed_by_patient)
    else:
        ledger.patient += cents(decision.data.get("patient_responsibility"))
    for group, reason, amount in adjustments(decision):
        if group != "PR":
            ledger.adjusted += amount
        if reason == "23":
            ledger.reason_23 += amount


def net_paid(ledgers: dict[int, Ledger]) -> int:
    """Return what all ranks paid."""
    return sum(ledger.paid for ledger in ledgers.values())


def money(billed: int, ledgers: dict[int, Ledger]) -> dict[str, int]:
    """Return the claim's amounts by name."""
    paid = net_paid(ledgers)
    allowed = 0
    for rank in sorted(ledgers, reverse=True):
        if ledgers[rank].allowed:
            allowed = ledgers[rank].allowed
    patient = adjusted = 0
    for rank in sorted(ledgers):
        if ledgers[rank].stands:
            patient, adjusted = ledgers[rank].patient, ledgers[rank].adjusted
            if ledgers[rank].reason_23:
                adjusted -= sum(ledgers[lower].paid for lower in ledgers if lower < rank)
    return {
        "billed": billed,
        "allowed": allowed,
        "paid": paid,
        "adjusted": adjusted,
        "patient": patient,
        "open": billed - paid - adjusted - patient,
    }
