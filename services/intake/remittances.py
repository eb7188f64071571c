"""835 to facts: what a payer decided of each claim, judged by money and reasons, and the payment they came with.

Sources: X12 005010X221A1 and, in old files, 004010X091A1. CLP02 says *processed*, never *paid*: X12 RFI 1423.
"""

import re
from collections.abc import Iterator
from datetime import date
from hashlib import blake2b
from typing import Any, Final

from msgspec import Struct

from services.intake.adjudication import Adjudicated, adjudicated
from services.intake.elements import Misread, cents, claim_number, components, dated, day, required
from services.intake.envelope import Body, Transaction
from services.intake.facts import (
    Fact,
    Finding,
    Outcome,
    ProviderAdjustment,
    Refused,
    Remark,
    Remittance,
    Unpublished,
    amount,
    code_of_list,
    given,
)
from services.intake.loops import CUT, LOST, Loop, loops
from services.intake.payments import Payments
from services.intake.reasons import in_force, reason, refuses
from services.intake.segments import Segment

SOURCE: Final = "/x12/835"

_BELOW: Final = frozenset({"LX", "CLP", "PLB"})
_BEGINNINGS: Final = _BELOW | {"N1"}
_RANKS: Final = {"1": 1, "2": 2, "3": 3, "19": 1, "20": 2, "21": 3}
_PROCESSED: Final = frozenset(_RANKS)
_PASSED_ON: Final = frozenset({"19", "20", "21"})
_REVERSED: Final = "22"
_PRICED_ONLY: Final = "25"
# What is said where nothing was paid. Pended are claims of 4010 alone: 5010 has none on a remittance.
_UNDECIDED: Final = {"4": "denied", "23": "forwarded", **dict.fromkeys(("5", "10", "13", "15", "16", "17"), "pended")}
_UNPROCESSABLE: Final = "MA130"
"""The remark that a claim cannot be processed: a new one must be sent, and nothing can be appealed."""
_PENDING_CATEGORY: Final = "pending"
_NO_PAYMENT: Final = "NON"
_METHODS: Final = frozenset({"ACH", "BOP", "CHK", "FWT", _NO_PAYMENT})
_DIGEST_BYTES: Final = 16
_DEBIT: Final = "D"
_PLB_PAIRS: Final = range(3, 15, 2)
_PLB_REASON: Final = re.compile(r"[A-Z0-9]{2}")
MAX_PROVIDER_ADJUSTMENTS: Final = 10_000
"""Of one payment, which keeps them to its end; a real one has some dozens, or hundreds when a payer corrects itself."""
MAX_REFERENCE_CHARACTERS: Final = 50
"""PLB03-2 has at most these."""


class _Payment(Struct):
    """What is known of the payment so far, and its sums."""

    handling: Segment | None = None
    trace: str = ""
    originator: str = ""
    produced: str = ""
    payer_named: str = ""
    payer_number: str = ""
    which_claims: str = ""
    """A digest, made claim by claim."""
    claims: int = 0
    paid: int = 0
    lost: bool = False
    """Whether payer, trace or day may have stood in bytes that could not be read."""

    def holds(self, clp: Segment) -> None:
        """Note which claim is one of its."""
        digest = blake2b(f"{self.which_claims}\0{clp.at(1)}\0{clp.at(7)}".encode(), digest_size=_DIGEST_BYTES)
        self.which_claims = digest.hexdigest()

    def decided_by_day(self) -> str:
        """Return the day where only that tells payments apart: notices without payment share a trace of zeros."""
        unpaid = self.handling is not None and self.handling.at(4) == _NO_PAYMENT
        return f"{day(self.produced) or day(self.paid_on())}" if unpaid or not self.trace.strip("0") else ""

    def missing(self) -> str:
        """Return what the claims' decisions cannot do without, and is not there."""
        if self.lost:
            return ""
        if self.handling is None:
            return "BPR: required"
        if not self.trace:
            return "TRN02: required"
        decided = day(self.produced) or day(self.paid_on())
        return "" if decided else "DTM*405 or BPR16: one of them is the day of the decision, CCYYMMDD"

    def payer_id(self, transaction: Transaction) -> str:
        """Return the payer's own number: as a plan, as payers number themselves, as a bank knows it, or as sender."""
        return self.payer_named or self.payer_number or self.originator or transaction.sender

    def payer(self, transaction: Transaction) -> str:
        """Return the number that names the payer with the trace: TRN03, which no clearinghouse changes."""
        return self.originator or self.payer_id(transaction)

    def paid_on(self) -> str:
        """Return BPR16 as it stands."""
        return "" if self.handling is None else self.handling.at(16)


def facts(transaction: Transaction, body: Body, payments: Payments) -> Iterator[Outcome]:
    """Yield what an 835 says: of each claim, of what is wrong, and at its end of the payment."""
    payment = _Payment()
    adjustments: list[ProviderAdjustment] = []
    faults = 0
    for loop in loops(body, lambda segment: segment.tag in _BEGINNINGS):
        if loop.fault is not None:
            faults += 1
            payment.lost |= loop.tag not in _BELOW
            yield loop.fault
            continue
        faults += loop.cut
        if loop.tag == "CLP" and (missing := payment.missing()):
            # Once: nothing of the set is published, so that the mended file names the same facts.
            yield Refused(number=loop.segments[0].number, rule=f"{missing}: no claim of this 835 is published")
            return
        try:
            if loop.tag == "CLP":
                payment.holds(loop.segments[0])
                yield from _claim(transaction, payment, loop, payments)
            elif loop.tag == "PLB":
                room = MAX_PROVIDER_ADJUSTMENTS - len(adjustments)
                adjustments += _provider_adjustments(loop.segments[0], payment.payer(transaction), payments, room)
            else:
                _note(payment, loop.segments)
        except Misread as misread:
            faults += 1
            yield Refused(number=misread.number, rule=misread.rule)
    yield from _payment(transaction, payment, adjustments, faults)


def _note(payment: _Payment, segments: list[Segment]) -> None:
    """Keep what the payment's own loops (1000A, 1000B) say."""
    of_payer = bool(segments) and segments[0].tag == "N1" and segments[0].at(1) == "PR"
    for segment in segments:
        match segment.tag, segment.at(1):
            case "BPR", _:
                payment.handling = segment
            case "TRN", _:
                payment.trace, payment.originator = segment.at(2), segment.at(3)
            case "DTM", "405":
                payment.produced = segment.at(2)
            case "N1", "PR":
                payment.payer_named = segment.at(4)
            case "REF", "2U" if of_payer:
                payment.payer_number = segment.at(2)


def _claim(transaction: Transaction, payment: _Payment, loop: Loop, payments: Payments) -> Iterator[Outcome]:
    clp = loop.segments[0]
    claim_id, status = claim_number(clp, 1), required(clp, 2)
    if loop.cut or payment.lost:
        raise Misread(clp, 1, CUT if loop.cut else LOST)
    told = adjudicated(loop.segments, negated=status == _REVERSED)
    payment.claims += 1
    payment.paid += told.paid if status != _PRICED_ONLY else 0
    payments.names(payment.payer(transaction), claim_id, clp.at(7))
    for code in told.codes():
        if reason(code) is None:
            yield Remark(number=clp.number, finding="unknown_reason", detail=code_of_list(code))
    if status == _PRICED_ONLY:
        yield Unpublished(number=clp.number, claim_id=claim_id, said=f"CLP02 {status}", why="a price, no decision")
        return
    for response in _responses(clp, status, told):
        yield _fact(transaction, payment, loop, told, response)


def _responses(clp: Segment, status: str, told: Adjudicated) -> list[str]:
    """Decide from money and reasons what the payer did."""
    if status == _REVERSED:
        return ["reversed"]
    if told.paid > 0 and status in _UNDECIDED:
        return ["approved"]
    if status in _UNDECIDED:
        return [_UNDECIDED[status]]
    if status not in _PROCESSED:
        raise Misread(clp, 2, "the claim status is one of 1 to 5, 10, 13, 15 to 17, 19 to 23 and 25")
    return [_decision(told), "forwarded"] if status in _PASSED_ON else [_decision(told)]


def _decision(told: Adjudicated) -> str:
    """Decide what is only said to be processed."""
    if told.paid > 0:
        return "approved"
    if told.carries(lambda code: (known := reason(code)) is not None and known.category == _PENDING_CATEGORY):
        return "pended"
    if told.carries(lambda code: refuses(code) is not False) or _UNPROCESSABLE in told.remarks:
        return "denied"
    # Nothing paid is approved where the contract, the patient or an earlier payer explains all of the charge.
    return "approved" if told.balances() else "pended"


def _fact(transaction: Transaction, payment: _Payment, loop: Loop, told: Adjudicated, response: str) -> Fact:
    clp = loop.segments[0]
    # A claim that is passed on was not decided by that, so what its decision's money lacks is told once.
    findings = set() if response == "forwarded" else set(told.findings)
    decided = dated(payment.produced, findings) or dated(payment.paid_on(), findings)
    assert decided is not None  # what is missing was told before the first claim
    retired = any((known := reason(code)) is not None and not in_force(known, decided) for code in told.codes())
    if retired and response != "forwarded":
        findings.add("retired_reason")
    status = clp.at(2)
    if status in _UNDECIDED and response == "approved":
        findings.add("paid_against_status")
    payer_id = payment.payer_id(transaction)
    data = _data(payment, clp, told, response, decided, findings)
    return Fact(
        number=clp.number,
        source=SOURCE,
        claim_id=clp.at(1),
        identity=(
            *(payment.payer(transaction), payment.trace, payment.decided_by_day(), clp.at(7), status, response),
            *told.content(),
        ),
        time=f"{decided.isoformat()}T00:00:00Z",
        data=given(response=response, sender="payer", payer_id=payer_id, payer_rank=_RANKS.get(status), **data),
        findings=tuple(sorted(findings)),
        member=told.member,
    )


def _data(
    payment: _Payment, clp: Segment, told: Adjudicated, response: str, decided: date, findings: set[Finding]
) -> dict[str, Any]:
    """Return what a response says beside payer and rank; a claim that is only passed on was not decided."""
    named = {"payer_claim_number": clp.at(7) or None, "trace": payment.trace or None, "remarks": list(told.remarks)}
    if response == "forwarded":
        return named
    # Money that moved has a day on which it did; a notice without payment has none.
    moved = payment.handling is not None and payment.handling.at(4) != _NO_PAYMENT
    paid_on = dated(payment.paid_on(), findings) if moved and response in ("approved", "reversed") else None
    received_on = dated(told.received_on, findings)
    return {
        **named,
        "received_on": None if received_on is None else received_on.isoformat(),
        "decided_on": decided.isoformat() if response != "pended" else None,
        "paid_on": None if paid_on is None else paid_on.isoformat(),
        "charge": amount(told.charge),
        "allowed": amount(told.allowed),
        "paid": amount(told.paid),
        "patient_responsibility": amount(told.patient),
        "adjustments": told.adjustments(),
        "lines": told.lines(),
    }


def _provider_adjustments(plb: Segment, payer: str, payments: Payments, room: int) -> list[ProviderAdjustment]:
    found: list[ProviderAdjustment] = []
    for position in _PLB_PAIRS:
        value = cents(plb, position + 1)
        if value is None:
            continue
        code, *rest = components(plb, position, set())
        # Behind the first blank some payers put the patient's number.
        reference = (rest[0] if rest else "").partition(" ")[0]
        if len(reference) > MAX_REFERENCE_CHARACTERS:
            raise Misread(
                plb, position, f"the reference (component 2) has at most {MAX_REFERENCE_CHARACTERS} characters"
            )
        if len(found) == room:
            raise Misread(plb, position, f"a payment has at most {MAX_PROVIDER_ADJUSTMENTS} provider adjustments")
        reason = code if _PLB_REASON.fullmatch(code) else ""
        claim_id = payments.claim_named(payer, reference) if reference else None
        found.append(ProviderAdjustment(reason=reason, reference=reference, amount=value, claim_id=claim_id))
    return found


def _payment(
    transaction: Transaction, payment: _Payment, adjustments: list[ProviderAdjustment], faults: int
) -> Iterator[Outcome]:
    handling = payment.handling
    if handling is None:
        yield Refused(number=transaction.number, rule="BPR: required in an 835")
        return
    try:
        total = cents(handling, 2) or 0
    except Misread as misread:
        yield Refused(number=misread.number, rule=misread.rule)
        return
    total = -total if handling.at(3) == _DEBIT else total
    balanced = payment.paid - sum(each.amount for each in adjustments) == total and not faults
    if not balanced:
        yield Remark(number=handling.number, finding="remittance_balance")
    paid_on = day(handling.at(16))
    yield Remittance(
        number=transaction.number,
        payer_id=payment.payer_id(transaction),
        trace=payment.trace,
        method=method if (method := handling.at(4)) in _METHODS else "",
        paid_on=None if paid_on is None else paid_on.isoformat(),
        total=total,
        claims=payment.claims,
        claims_paid=payment.paid,
        provider_adjustments=adjustments,
        balanced=balanced,
        which_claims=payment.which_claims,
    )
