"""How a payer's decision adds up: on every line and claim, charge = paid + adjustments (835 balancing)."""

from collections.abc import Mapping, Sequence
from datetime import date
from functools import lru_cache
from typing import Any, NamedTuple

from events.codec import money
from events.simulation.payers import Denial, Payer

# Few amounts are many: most come from a table of charges.
as_money = lru_cache(maxsize=65_536)(money)


class Line(NamedTuple):
    """A service line as submitted; the charge in cents."""

    line: str
    code: str
    modifiers: tuple[str, ...]
    units: int
    charge: int
    date_of_service: date


class Adjustment(NamedTuple):
    """Why an amount (cents) was not paid."""

    group: str
    reason: str
    amount: int


class Adjudged(NamedTuple):
    """A line as decided; amounts in cents."""

    line: Line
    allowed: int
    paid: int
    adjustments: tuple[Adjustment, ...]
    remarks: tuple[str, ...] = ()

    @property
    def patient(self) -> int:
        """What the patient owes."""
        return sum(part.amount for part in self.adjustments if part.group == "PR")


def refused(line: Line, denial: Denial) -> Adjudged:
    """Return the line with nothing paid, for one reason."""
    return Adjudged(line, 0, 0, (Adjustment(denial.group, denial.reason, line.charge),), denial.remarks)


def as_primary(
    lines: Sequence[Line], payer: Payer, ratio: float, refusals: Mapping[str, Denial], *, met_deductible: bool
) -> list[Adjudged]:
    """Return what the payer pays of a claim it approves; ``refusals`` are the lines (by number) that it does not."""
    decided = []
    copay = payer.copay
    for line in lines:
        if line.line in refusals:
            decided.append(refused(line, refusals[line.line]))
            continue
        allowed = round(line.charge * ratio)
        shares = [Adjustment("CO", "45", line.charge - allowed)]
        if not met_deductible:
            shares.append(Adjustment("PR", "1", allowed))
        else:
            fixed = min(copay, allowed)
            copay -= fixed
            shares += [
                Adjustment("PR", "3", fixed),
                Adjustment("PR", "2", round((allowed - fixed) * payer.coinsurance)),
            ]
        paid = line.charge - sum(share.amount for share in shares)
        shares.append(Adjustment("CO", "253", round(paid * payer.sequestration)))
        decided.append(
            Adjudged(line, allowed, paid - shares[-1].amount, tuple(share for share in shares if share.amount))
        )
    return decided


def as_secondary(primary: Sequence[Adjudged], deductible: int) -> list[Adjudged]:
    """Return what a second payer pays: what the first left to the patient, but for its own deductible (cents)."""
    decided = []
    for first in primary:
        kept = min(deductible, first.patient)
        deductible -= kept
        shares = (Adjustment("OA", "23", first.line.charge - first.patient), Adjustment("PR", "1", kept))
        decided.append(
            Adjudged(first.line, first.patient, first.patient - kept, tuple(share for share in shares if share.amount))
        )
    return decided


def amounts(decided: Sequence[Adjudged]) -> dict[str, Any]:
    """Return the money of a decision as a ``payer.response`` carries it."""
    return {
        "allowed": as_money(sum(part.allowed for part in decided)),
        "paid": as_money(sum(part.paid for part in decided)),
        "patient_responsibility": as_money(sum(part.patient for part in decided)),
        "adjustments": [
            {"group": share.group, "reason": share.reason, "amount": as_money(share.amount), "line": part.line.line}
            for part in decided
            for share in part.adjustments
        ],
        "remarks": sorted({remark for part in decided for remark in part.remarks}),
        "lines": [
            {
                "line": part.line.line,
                "code": part.line.code,
                "charge": as_money(part.line.charge),
                "allowed": as_money(part.allowed),
                "paid": as_money(part.paid),
                "units": part.line.units,
            }
            for part in decided
        ],
    }


def negated(decided: Sequence[Adjudged]) -> list[Adjudged]:
    """Return the decision as a reversal takes it back: every amount with the other sign."""
    return [
        Adjudged(
            part.line._replace(charge=-part.line.charge),
            -part.allowed,
            -part.paid,
            tuple(share._replace(amount=-share.amount) for share in part.adjustments),
        )
        for part in decided
    ]
