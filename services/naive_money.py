"""Amounts, for the second, naive telling of the rules: sums over approvals and reversals, in cents."""

from collections.abc import Callable, Iterable

from events.contracts import PayerResponse

Ledger = list[tuple[int, PayerResponse]]
"""Approvals and reversals, each with the payer rank whose money it moves."""
RANKS = (1, 2, 3)


def amounts(ledger: Ledger, billed: int) -> dict[str, int]:
    """Return billed, allowed, paid, adjusted, patient and open."""
    paid = _net(ledger, RANKS, paid_in)
    allowed = [_net(ledger, [rank], _allowed_in) for rank in RANKS]
    standing = [rank for rank in RANKS if stands(ledger, rank)]
    highest = standing[-1:]
    patient, adjusted = _net(ledger, highest, _patient_in), _net(ledger, highest, _adjusted_in)
    if _net(ledger, highest, _reason_23_in) != 0:
        # What lower ranks paid is counted as paid already.
        adjusted -= _net(ledger, range(1, highest[0]), paid_in)
    return {
        "billed": billed,
        "allowed": next((amount for amount in allowed if amount != 0), 0),
        "paid": paid,
        "adjusted": adjusted,
        "patient": patient,
        "open": billed - paid - adjusted - patient,
    }


def stands(ledger: Ledger, rank: int) -> bool:
    """Tell whether what a payer rank paid or allowed is, net, above zero."""
    return _net(ledger, [rank], paid_in) > 0 or _net(ledger, [rank], _allowed_in) > 0


def takes_back_a_denial(data: PayerResponse) -> bool:
    """Tell whether this is a reversal that moves no money."""
    return data.response == "reversed" and not data.paid and not data.allowed


def paid_in(data: PayerResponse) -> int:
    """Return what one response paid."""
    return data.paid or 0


def _net(ledger: Ledger, ranks: Iterable[int], amount_in: Callable[[PayerResponse], int]) -> int:
    wanted = set(ranks)
    return sum(amount_in(data) for rank, data in ledger if rank in wanted and not takes_back_a_denial(data))


def _allowed_in(data: PayerResponse) -> int:
    return data.allowed or 0


def _patient_in(data: PayerResponse) -> int:
    if any(adjustment.group == "PR" for adjustment in data.adjustments):
        return sum(adjustment.amount for adjustment in data.adjustments if adjustment.group == "PR")
    return data.patient_responsibility or 0


def _adjusted_in(data: PayerResponse) -> int:
    return sum(adjustment.amount for adjustment in data.adjustments if adjustment.group in ("CO", "OA", "PI", "CR"))


def _reason_23_in(data: PayerResponse) -> int:
    return sum(adjustment.amount for adjustment in data.adjustments if adjustment.reason == "23")
