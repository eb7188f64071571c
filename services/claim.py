"""What claimpath knows of one claim: the state that the lifecycle moves, and the money derived from it."""

from datetime import date
from typing import Literal, NamedTuple

from msgspec import Struct

from events.contracts import Event, EventKind

State = Literal["draft", "submitted", "approved", "denied", "appealed"]
Draft = Literal["new", "rejected", "voided"]
Row = Literal["none", "draft_new", "draft_rejected", "draft_voided", "submitted", "approved", "denied", "appealed"]
Acknowledgement = Literal["none", "received", "accepted", "rejected"]
Payment = Literal["unpaid", "partial", "paid", "reversed"]
WaitReason = Literal["no_submission", "no_decision", "no_reversal"]
AsideReason = Literal[
    "nothing_to_void",
    "never_adjudicated",
    "voided",
    "attempt_over",
    "already_approved",
    "already_decided",
    "overtaken",
    "not_appealable",
    "duplicate_denial",
    "same_submission",
]
Finding = Literal[
    "late_charge",
    "no_open_submission",
    "decided_after_void",
    "duplicate_denial",
    "partial_denial",
    "appeal_lost",
    "resubmitted_under_appeal",
    "unknown_submission",
    "clock",
    "credit_balance",
]

STATE_OF_ROW: dict[Row, tuple[State | None, Draft | None]] = {
    "none": (None, None),
    "draft_new": ("draft", "new"),
    "draft_rejected": ("draft", "rejected"),
    "draft_voided": ("draft", "voided"),
    "submitted": ("submitted", None),
    "approved": ("approved", None),
    "denied": ("denied", None),
    "appealed": ("appealed", None),
}

Moment = int | date
"""An instant in microseconds since 1970-01-01T00:00:00Z, or only a date."""

# The fold's second sort key. Of one instant, what comes first in a claim's life comes first: a correction is a reversal
# and then the new decision, and of two decisions the better stands.
KIND_RANK: dict[EventKind, int] = {
    "session": 0,
    "original": 1,
    "replacement": 1,
    "void": 1,
    "appeal": 2,
    "acknowledged": 3,
    "accepted": 3,
    "pended": 3,
    "information_requested": 3,
    "rejected": 4,
    "reversed": 5,
    "denied": 6,
    "approved": 7,
    "forwarded": 8,
}


Key = tuple[int, int, str, str]
"""An event's place in the fold: time, kind rank, source, id; strings compare by code point."""


def key(event: Event) -> Key:
    """Return the event's place in the fold."""
    return (event.time_us, KIND_RANK[event.kind], event.source, event.id)


class Session(Struct, frozen=True, omit_defaults=True):
    """The last word on one session."""

    date_of_service: date
    digest: str
    """Of the session's data, to see whether a later event changes it."""
    cancelled: bool = False


class Appealing(Struct, frozen=True, omit_defaults=True):
    """The latest appeal."""

    at_us: int
    payer: str
    from_approval: bool = False
    denied_on: Moment | None = None
    """When the denial that it disputes was decided."""
    decided_on: Moment | None = None


class Before(Struct, frozen=True, omit_defaults=True):
    """Where the claim stood before a submission, to go back to when that submission is rejected."""

    row: Row
    current: int
    needs_information: bool
    appeal_level: int
    appeal: Appealing | None = None


class Attempt(Struct, omit_defaults=True):
    """An original or replacement that opened the question anew."""

    submission_id: str
    payer: str
    rank: int
    charge: int
    at_us: int
    line_date: date | None = None
    """The earliest service date of its lines."""
    accepted_at_us: int | None = None
    """When the payer first accepted it into adjudication."""
    decided_on: Moment | None = None
    """Its first decision."""
    before: Before | None = None
    """Set where it was made from approved, denied or appealed."""


class Ledger(Struct, omit_defaults=True):
    """One payer rank's approvals and reversals, added up in cents."""

    paid: int = 0
    allowed: int = 0
    patient: int = 0
    adjusted: int = 0
    prior_payer: int = 0
    """The part of the adjustments with reason 23: what earlier payers paid or adjusted."""
    claim_numbers: list[str] = []
    """The payer claim numbers of the approvals."""
    approved_by: Key | None = None
    """The latest approval, by its place in the fold."""

    @property
    def stands(self) -> bool:
        """Whether an approval of this rank is in force."""
        return self.paid > 0 or self.allowed > 0


class Change(Struct, frozen=True, array_like=True):
    """A change of state, at the business time of the event that let ``source, id`` apply."""

    state_before: State | None
    state: State
    at_us: int
    recorded_at_us: int
    source: str
    id: str


class Waiting(Struct, array_like=True):
    """An accepted event that cannot apply yet, by its identity: the event log has the rest."""

    source: str
    id: str
    reason: WaitReason
    recorded_at_us: int


class Claim(Struct, omit_defaults=True):
    """A claim as its events so far make it, and all that the next event needs unless some wait."""

    row: Row = "none"
    acknowledgement: Acknowledgement = "none"
    needs_information: bool = False
    appeal_level: int = 0
    current: int = 0
    """The ordinal of the current attempt; 0 before any."""
    attempts: list[Attempt] = []
    void: Before | None = None
    submissions: dict[str, int] = {}
    """Applied submission ids, and the ordinal of the attempt each opened; 0 for voids, appeals and what opened none."""
    sessions: dict[str, Session] = {}
    session_payer: str = ""
    ledgers: dict[int, Ledger] = {}
    decision_seen: bool = False
    denied_on: Moment | None = None
    unprocessable: bool = False
    """Whether the denial in force carries remark MA130: no appeal right."""
    appeal: Appealing | None = None
    paid_on: Moment | None = None
    """When net paid last rose above zero."""
    paid_by: str = ""
    denial_reasons: list[str] = []
    rejection_reasons: list[str] = []
    findings: list[Finding] = []
    waiting: list[Waiting] = []
    set_aside: dict[AsideReason, int] = {}
    applied: int = 0
    history: list[Change] = []
    last: Key | None = None
    """The highest place in the fold of any accepted event, waiting and set aside ones too."""

    @property
    def state(self) -> State | None:
        """The claim's state; None while only waiting events are known."""
        return STATE_OF_ROW[self.row][0]

    @property
    def attempt(self) -> Attempt | None:
        """The current attempt."""
        return self.attempts[self.current - 1] if self.current else None

    @property
    def payer(self) -> str:
        """The payer asked now, else the one the session names, else nothing."""
        return self.attempts[self.current - 1].payer if self.current else self.session_payer

    def stands(self, rank: int) -> bool:
        """Whether an approval of that payer rank is in force."""
        return rank in self.ledgers and self.ledgers[rank].stands


class Money(NamedTuple):
    """A claim's dollars, in cents."""

    billed: int
    allowed: int
    paid: int
    adjusted: int
    patient: int
    open: int


def money(claim: Claim) -> Money:
    """Add up the ledgers: paid of all ranks, allowed of the lowest that has one, the rest of the highest standing."""
    attempt = claim.attempt
    billed = 0 if attempt is None or claim.row == "draft_voided" else attempt.charge
    if not claim.ledgers:
        return Money(billed, 0, 0, 0, 0, billed)
    ranks = sorted(claim.ledgers.items())
    paid = sum(ledger.paid for _, ledger in ranks)
    allowed = next((ledger.allowed for _, ledger in ranks if ledger.allowed), 0)
    adjusted = patient = 0
    standing = [(rank, ledger) for rank, ledger in ranks if ledger.stands]
    if standing:
        highest, ledger = standing[-1]
        adjusted, patient = ledger.adjusted, ledger.patient
        if ledger.prior_payer:
            # What earlier payers paid is in that adjustment, and is counted as paid already.
            adjusted -= sum(lower.paid for rank, lower in ranks if rank < highest)
    return Money(billed, allowed, paid, adjusted, patient, billed - paid - adjusted - patient)


def payment(claim: Claim, amounts: Money) -> Payment:
    """Say in one word how far the claim is paid."""
    if amounts.paid > 0:
        return "paid" if amounts.open <= 0 else "partial"
    return "unpaid" if claim.paid_on is None else "reversed"
