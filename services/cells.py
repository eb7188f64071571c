"""What each cell of the lifecycle's table does to a claim.

Every cell takes the claim it owns and the event, changes the claim in place, and says what became of the event. No
clock, no I/O, no SQL. A cell that does not apply the event leaves the claim as it was.
"""

from hashlib import blake2b
from typing import Final, Literal, NamedTuple

import msgspec

from events.contracts import ClaimSubmitted, Event, PayerResponse, SessionRecorded
from services.claim import (
    Appealing,
    AsideReason,
    Attempt,
    Before,
    Claim,
    Finding,
    Ledger,
    Moment,
    Session,
    WaitReason,
    key,
)

Outcome = Literal["applied", "waiting", "set_aside"]


class Verdict(NamedTuple):
    """What became of an event in its claim, and why where it did not apply."""

    outcome: Outcome
    reason: WaitReason | AsideReason | None = None


APPLIED: Final = Verdict("applied")
# A denial with this remark says the claim could not be processed: it gives no appeal right (Medicare's RARC MA130).
UNPROCESSABLE_REMARK: Final = "MA130"
# Claim adjustment reasons: an exact duplicate, and paid before.
DUPLICATE_REASONS: Final = frozenset({"18", "B13"})
# The effect of an earlier payer's payment: informational on a secondary remittance.
PRIOR_PAYER_REASON: Final = "23"
# Deductible, coinsurance, co-pay, contract write-off, earlier payer: never why a claim is denied.
NEVER_A_DENIAL: Final = frozenset({"PR-1", "PR-2", "PR-3", "CO-45", "OA-23"})


def amend(claim: Claim, event: Event) -> Verdict:
    """A session, or a later word on one: it makes the claim a draft, or amends it."""
    data = event.data
    assert isinstance(data, SessionRecorded)
    # enc_hook: money is the only type here that msgspec does not know.
    digest = blake2b(msgspec.json.encode(data, enc_hook=int), digest_size=8).hexdigest()
    known = claim.sessions.get(data.session_id)
    if claim.attempts and (known is None or known.digest != digest):
        find(claim, "late_charge")
    session = Session(data.date_of_service, digest, data.cancelled)
    claim.sessions[data.session_id] = session
    claim.session_payer = data.payer_id
    if claim.row == "none":
        claim.row = "draft_new"
    return APPLIED


def submit(claim: Claim, event: Event) -> Verdict:
    """An original or replacement opens a new attempt and asks its payer anew."""
    data = _submission(event)
    undoable = claim.row in ("approved", "denied", "appealed")
    attempt = Attempt(
        submission_id=data.submission_id,
        payer=data.payer_id,
        rank=data.payer_rank,
        charge=data.total_charge or 0,
        at_us=event.time_us,
        line_date=min((line.date_of_service for line in data.lines if line.date_of_service), default=None),
        before=_before(claim) if undoable else None,
    )
    claim.attempts.append(attempt)
    claim.current = len(claim.attempts)
    claim.submissions[data.submission_id] = claim.current
    claim.row = "submitted"
    claim.acknowledgement = "none"
    claim.needs_information = False
    claim.appeal_level = 0
    if claim.appeal is not None and claim.appeal.decided_on is None:
        # The new attempt ends the appeal without an answer: there is nothing left to measure.
        claim.appeal = None
    return APPLIED


def submit_to_higher_rank(claim: Claim, event: Event) -> Verdict:
    """After an approval, an original is the next payer's turn, or nothing at all."""
    if _submission(event).payer_rank > _attempt(claim).rank:
        return submit(claim, event)
    return Verdict("set_aside", "already_approved")


def resubmit_under_appeal(claim: Claim, event: Event) -> Verdict:
    """An original under appeal opens no attempt: the appeal is still the question."""
    claim.submissions[_submission(event).submission_id] = 0
    find(claim, "resubmitted_under_appeal")
    return APPLIED


def void(claim: Claim, event: Event) -> Verdict:
    """The claim is withdrawn."""
    claim.void = _before(claim)
    claim.submissions[_submission(event).submission_id] = 0
    claim.row = "draft_voided"
    return APPLIED


def appeal(claim: Claim, event: Event) -> Verdict:
    """The decision is disputed, or disputed again at the next level."""
    data = _submission(event)
    given = data.appeal.level if data.appeal is not None else None
    last = claim.appeal if claim.row == "appealed" else None
    claim.appeal = Appealing(
        at_us=event.time_us,
        payer=_attempt(claim).payer,
        from_approval=last.from_approval if last else claim.row == "approved",
        denied_on=last.denied_on if last else claim.denied_on if claim.row == "denied" else None,
    )
    claim.appeal_level = given if given is not None else claim.appeal_level + 1
    claim.submissions[data.submission_id] = 0
    claim.row = "appealed"
    return APPLIED


def appeal_denial(claim: Claim, event: Event) -> Verdict:
    """A denial is disputed, unless it says that it gives no appeal right."""
    return Verdict("set_aside", "not_appealable") if claim.unprocessable else appeal(claim, event)


def appeal_underpayment(claim: Claim, event: Event) -> Verdict:
    """An approval is disputed, unless it came after the appeal."""
    ledger = claim.ledgers.get(_attempt(claim).rank)
    if ledger is not None and ledger.approved_by is not None and key(event) < ledger.approved_by:
        return Verdict("set_aside", "overtaken")
    return appeal(claim, event)


def facet(claim: Claim, event: Event) -> Verdict:
    """An answer short of a decision: acknowledgement, acceptance, pend, request for information, forwarding."""
    data = _response(event)
    attempt = _attempt(claim)
    if data.response == "information_requested":
        claim.needs_information = True
    elif data.response == "accepted":
        claim.rejection_reasons = []
    if data.response == "accepted" and data.sender == "payer":
        claim.acknowledgement = "accepted"
        attempt.accepted_at_us = event.time_us if attempt.accepted_at_us is None else attempt.accepted_at_us
    elif data.response in ("acknowledged", "accepted") and claim.acknowledgement != "accepted":
        claim.acknowledgement = "received"
    return APPLIED


def reject_attempt(claim: Claim, event: Event) -> Verdict:
    """The front end returns the open attempt: the claim is where it stood before, or a draft again."""
    data = _response(event)
    if claim.submissions.get(data.submission_id or "", claim.current) != claim.current:
        # It rejects a void, an appeal or an attempt that is no longer open.
        return APPLIED
    before = _attempt(claim).before
    if before is None:
        claim.row = "draft_rejected"
    else:
        _go_back(claim, before)
    _reject(claim, data, [])
    return APPLIED


def reject_void(claim: Claim, event: Event) -> Verdict:
    """The void did not go through: the claim is where it stood before."""
    assert claim.void is not None
    _go_back(claim, claim.void)
    _reject(claim, _response(event), [])
    return APPLIED


def reject_again(claim: Claim, event: Event) -> Verdict:
    """The same attempt is returned once more: the reasons add up."""
    _reject(claim, _response(event), claim.rejection_reasons)
    return APPLIED


def money(claim: Claim, event: Event) -> Verdict:
    """The amounts count and the state stays."""
    _count(claim, event)
    return APPLIED


def reverse_approval(claim: Claim, event: Event) -> Verdict:
    """An approval is taken back; with nothing left of it, the question is open again."""
    _count(claim, event)
    if not claim.stands(_attempt(claim).rank):
        claim.row = "submitted"
    return APPLIED


def reverse_denial(claim: Claim, event: Event) -> Verdict:
    """A denial is taken back, or money that was paid before it."""
    data = _response(event)
    if data.paid == 0 and data.allowed == 0:
        claim.row = "submitted"
    else:
        _count(claim, event)
    return APPLIED


def deny(claim: Claim, event: Event) -> Verdict:
    """The payer says no."""
    data = _response(event)
    _close_question(claim, event)
    claim.row = "denied"
    claim.denied_on = _decided(event)
    claim.unprocessable = UNPROCESSABLE_REMARK in data.remarks
    reasons = [f"{adjustment.group}-{adjustment.reason}" for adjustment in data.adjustments]
    claim.denial_reasons = [reason for reason in dict.fromkeys(reasons) if reason not in NEVER_A_DENIAL]
    return APPLIED


def deny_without_submission(claim: Claim, event: Event) -> Verdict:
    """The payer says no to what its front end had returned."""
    find(claim, "no_open_submission")
    return deny(claim, event)


def deny_submission(claim: Claim, event: Event) -> Verdict:
    """The payer says no; to a duplicate of what it approved, that changes nothing."""
    if _is_duplicate(event) and claim.stands(_attempt(claim).rank):
        return _stay_approved(claim, event, "duplicate_denial")
    return deny(claim, event)


def deny_approved(claim: Claim, event: Event) -> Verdict:
    """A denial beside an approval: a duplicate, a part under another number, or one whose reversal is still to come."""
    if _is_duplicate(event):
        return Verdict("set_aside", "duplicate_denial")
    number = _response(event).payer_claim_number
    ledger = claim.ledgers.get(_attempt(claim).rank, Ledger())
    if number is not None and ledger.claim_numbers and number not in ledger.claim_numbers:
        find(claim, "partial_denial")
        return APPLIED
    return Verdict("waiting", "no_reversal")


def deny_appeal(claim: Claim, event: Event) -> Verdict:
    """The payer says no again; an appeal against an underpayment leaves the approval."""
    assert claim.appeal is not None
    if claim.appeal.from_approval and claim.stands(_attempt(claim).rank):
        return _stay_approved(claim, event, "appeal_lost")
    return deny(claim, event)


def record_after_void(claim: Claim, event: Event) -> Verdict:
    """A decision on a withdrawn claim is recorded, its money counted."""
    if event.kind == "approved":
        _count(claim, event)
        claim.needs_information = False
        claim.rejection_reasons = []
    find(claim, "decided_after_void")
    return APPLIED


def approve(claim: Claim, event: Event) -> Verdict:
    """The payer says yes, or yes to more."""
    _count(claim, event)
    _become_approved(claim, event)
    return APPLIED


def approve_without_submission(claim: Claim, event: Event) -> Verdict:
    """The payer says yes to what its front end had returned."""
    find(claim, "no_open_submission")
    return approve(claim, event)


def speaks_of_the_open_question(claim: Claim, data: PayerResponse) -> bool:
    """Say whether an answer is of the rank awaited and not about an earlier attempt; money always is."""
    if data.payer_rank is not None and data.payer_rank != _attempt(claim).rank:
        return False
    if data.response in ("approved", "reversed") or data.submission_id is None:
        return True
    opened = claim.submissions.get(data.submission_id, 0)
    return not 0 < opened < claim.current


def record(claim: Claim, event: Event) -> Verdict:
    """Take an answer to another question than the open one: only money counts, and a higher rank's approval."""
    data = _response(event)
    if data.response in ("approved", "reversed"):
        _count(claim, event)
    if data.response == "approved" and claim.row == "denied" and (data.payer_rank or 0) > _attempt(claim).rank:
        _become_approved(claim, event)
    return APPLIED


def _submission(event: Event) -> ClaimSubmitted:
    assert isinstance(event.data, ClaimSubmitted)
    return event.data


def _response(event: Event) -> PayerResponse:
    assert isinstance(event.data, PayerResponse)
    return event.data


def _attempt(claim: Claim) -> Attempt:
    """Return the current attempt; the rows that call this have one."""
    return claim.attempts[claim.current - 1]


def find(claim: Claim, finding: Finding) -> None:
    """Note a finding once."""
    if finding not in claim.findings:
        claim.findings.append(finding)


def _before(claim: Claim) -> Before:
    return Before(claim.row, claim.current, claim.needs_information, claim.appeal_level, claim.appeal)


def _go_back(claim: Claim, before: Before) -> None:
    claim.row = before.row
    claim.current = before.current
    claim.needs_information = before.needs_information
    claim.appeal_level = before.appeal_level
    claim.appeal = before.appeal
    if claim.row == "approved":
        claim.denial_reasons = []


def _reject(claim: Claim, data: PayerResponse, earlier: list[str]) -> None:
    claim.acknowledgement = "rejected"
    reasons = [":".join(filter(None, (status.category, status.code, status.entity))) for status in data.statuses]
    claim.rejection_reasons = list(dict.fromkeys([*earlier, *reasons]))


def _decided(event: Event) -> Moment:
    return _response(event).decided_on or event.time_us


def _is_duplicate(event: Event) -> bool:
    return any(adjustment.reason in DUPLICATE_REASONS for adjustment in _response(event).adjustments)


def _count(claim: Claim, event: Event) -> None:
    """Add an approval's or reversal's amounts to its rank's ledger."""
    data = _response(event)
    if data.response == "reversed" and data.paid == 0 and data.allowed == 0:
        # It takes back a denial, which moved no money.
        return
    rank = data.payer_rank or _attempt(claim).rank
    ledger = claim.ledgers.setdefault(rank, Ledger())
    paid_before = sum(entry.paid for entry in claim.ledgers.values())
    ledger.paid += data.paid or 0
    ledger.allowed += data.allowed or 0
    patient = [adjustment.amount for adjustment in data.adjustments if adjustment.group == "PR"]
    ledger.patient += sum(patient) if patient else data.patient_responsibility or 0
    for adjustment in data.adjustments:
        if adjustment.group != "PR":
            ledger.adjusted += adjustment.amount
        if adjustment.reason == PRIOR_PAYER_REASON:
            ledger.prior_payer += adjustment.amount
    number = data.payer_claim_number
    if data.response == "approved":
        ledger.approved_by = key(event)
        if number is not None and number not in ledger.claim_numbers:
            ledger.claim_numbers.append(number)
    if paid_before <= 0 < paid_before + (data.paid or 0):
        claim.paid_on = data.paid_on or data.decided_on or event.time_us
        claim.paid_by = _attempt(claim).payer


def _close_question(claim: Claim, event: Event) -> None:
    """Mark when the open question, an attempt or an appeal, was decided."""
    claim.needs_information = False
    attempt = _attempt(claim)
    if claim.row in ("submitted", "draft_rejected") and attempt.decided_on is None:
        attempt.decided_on = _decided(event)
    if claim.row == "appealed" and claim.appeal is not None:
        claim.appeal = msgspec.structs.replace(claim.appeal, decided_on=_decided(event))


def _become_approved(claim: Claim, event: Event) -> None:
    _close_question(claim, event)
    claim.row = "approved"
    claim.denial_reasons = []
    claim.rejection_reasons = []


def _stay_approved(claim: Claim, event: Event, finding: Finding) -> Verdict:
    """Take a denial that leaves the approval in force."""
    _close_question(claim, event)
    claim.row = "approved"
    claim.denial_reasons = []
    find(claim, finding)
    return APPLIED
