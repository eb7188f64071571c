"""The papers of one claim in the samples: each function here tells one event of it, or moves its clock."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from math import exp
from random import Random
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from events.contracts import ResponseKind, SubmissionKind
from events.simulation.clinics import Clinic, Therapist
from events.simulation.payers import PENDS, REJECTIONS, REQUESTS, Delay, Denial, Payer
from events.simulation.remittances import Adjudged, Line, amounts, as_money, negated, refused
from events.topics import CLAIM_SUBMITTED, PAYER_RESPONSE, SESSION_RECORDED

DESK: Final = Delay(4, 0.6)
"""How long a biller takes to get to something."""
RECEIPT: Final = Delay(0.02, 0.7)
"""How long a clearinghouse takes to look at a claim."""
REVIEW: Final = Delay(4, 0.5)
"""How long a payer takes from one step of a review to the next."""
WANTS_PAPERS: Final = 0.5
ACCEPTED_EARLY: Final = 0.2
"""Receipts in which the clearinghouse says accepted (A2) rather than received (A1)."""
SATURDAY: Final = 5
WEEK: Final = 7

_encode: Final = msgspec.json.Encoder().encode


T = TypeVar("T")


class Told(NamedTuple):
    """An event of the claim: when it happened, its type, and its CloudEvent."""

    at: datetime
    type: str
    value: bytes


@dataclass(slots=True, kw_only=True)
class Claim:
    """A claim on its way; ``now`` is the UTC instant of what happened last."""

    id: str
    chance: Random
    payer: Payer
    clinic: Clinic
    therapist: Therapist
    now: datetime
    sent: datetime
    """When the claim was last sent to a payer."""
    plan: str
    patient: str
    ratio: float
    """Allowed part of the charge: the contract's, the same whenever the claim is decided."""
    met_deductible: bool
    over_threshold: bool
    told: list[Told] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    rank: int = 1
    sessions: int = 0
    submissions: int = 0
    submission: str = ""
    number: str = ""
    """The payer's claim number."""
    denial: Denial | None = None
    """The last one."""
    standing: list[Adjudged] = field(default_factory=list)
    """What this payer approved, for a correction to take back."""
    standing_number: str = ""
    first: list[Adjudged] = field(default_factory=list)
    """What the first payer approved, for the second to read."""

    def happens(self, share: float) -> bool:
        """Decide by chance."""
        return self.chance.random() < share

    def lasts(self, delay: Delay) -> timedelta:
        """Draw a duration, in whole seconds."""
        days = delay.median_days * exp(delay.spread * self.chance.gauss())
        return timedelta(seconds=int(days * 86_400))

    def below(self, limit: int) -> int:
        """Draw a number from 0 to less than the limit, in a fraction of the time of ``randrange``."""
        return int(self.chance.random() * limit)

    def one_of(self, choices: Sequence[T]) -> T:
        """Draw one of these."""
        return choices[int(self.chance.random() * len(choices))]


def record(claim: Claim, at: datetime, session: dict[str, Any]) -> None:
    """Tell a session as its record stands at this time."""
    _tell(claim, SESSION_RECORDED, "s", f"/ehr/{claim.clinic.name}", at, session)


def submit(claim: Claim, kind: SubmissionKind, **more: object) -> None:
    """Tell that the claim, or an appeal of it, was sent."""
    claim.submissions += 1
    submission = f"{claim.id}-{claim.submissions}"
    data = {"submission_id": submission, "kind": kind, "payer_id": claim.payer.id, "payer_rank": claim.rank} | more
    if kind != "original":
        data["payer_claim_number"] = claim.number
    if kind != "appeal":
        claim.submission, claim.sent = submission, claim.now
        data["clearinghouse"] = claim.payer.clearinghouse
        data["total_charge"] = as_money(sum(line.charge for line in claim.lines))
        data["lines"] = [line._asdict() | {"charge": as_money(line.charge)} for line in claim.lines]
    _tell(claim, CLAIM_SUBMITTED, "sub", f"/billing/{claim.clinic.name}", claim.now, data)


def acknowledge(claim: Claim) -> None:
    """Tell the clearinghouse's receipt and the payer's acceptance, where that payer sends them."""
    claim.number = payer_claim_number(claim)
    if not claim.happens(claim.payer.acknowledges):
        return
    _receive(claim)
    claim.now = max(claim.now + timedelta(minutes=1), claim.sent + claim.lasts(claim.payer.acknowledgement))
    _status(claim, "accepted", "A2", "20", payer_claim_number=claim.number, received_on=claim.now.date())


def _receive(claim: Claim) -> None:
    claim.now += claim.lasts(RECEIPT)
    accepted = claim.happens(ACCEPTED_EARLY)
    response: ResponseKind = "accepted" if accepted else "acknowledged"
    _status(claim, response, "A2" if accepted else "A1", "20", sender="clearinghouse")


def reject(claim: Claim) -> None:
    """Tell a rejection at the front end, by the clearinghouse or the payer."""
    found = claim.one_of(REJECTIONS)
    if found.sender == "payer":
        _receive(claim)
        claim.now = max(claim.now, claim.sent + claim.lasts(claim.payer.acknowledgement))
    claim.now += claim.lasts(RECEIPT)
    _status(claim, "rejected", found.category, found.code, found.entity, sender=found.sender)


def review(claim: Claim) -> None:
    """Tell that the payer holds the claim, and perhaps that it wants papers."""
    claim.now += claim.lasts(REVIEW)
    _status(claim, "pended", *claim.one_of(PENDS), payer_claim_number=claim.number)
    if claim.happens(WANTS_PAPERS):
        claim.now += claim.lasts(REVIEW)
        _status(claim, "information_requested", *claim.one_of(REQUESTS), payer_claim_number=claim.number)
        claim.now += claim.lasts(DESK)


def approve(claim: Claim, decided: Sequence[Adjudged]) -> None:
    """Tell an approval; where it pays, the money follows, never before the payer's floor."""
    paid_on = {}
    if any(part.paid for part in decided):
        days = round(claim.lasts(claim.payer.payment) / timedelta(days=1))
        floor = claim.sent.date() + timedelta(days=claim.payer.payment_floor_days)
        paid_on = {"paid_on": max(claim.now.date() + timedelta(days=days), floor)}
    claim.standing, claim.standing_number = [*claim.standing, *decided], claim.number
    _remit(claim, "approved", claim.number, amounts(decided) | paid_on)


def deny(claim: Claim, denial: Denial, lines: Sequence[Line]) -> None:
    """Tell a denial of these lines; without any it says its reason and moves no money."""
    claim.denial = denial
    if lines:
        _remit(claim, "denied", claim.number, amounts([refused(line, denial) for line in lines]))
    else:
        reason = {"group": denial.group, "reason": denial.reason, "amount": as_money(0)}
        _remit(claim, "denied", claim.number, {"adjustments": [reason], "remarks": denial.remarks})


def take_back(claim: Claim) -> None:
    """Tell the reversal of what stands, as a payer does before it decides again."""
    if claim.standing:
        reverse(claim, claim.standing, claim.standing_number)
        claim.standing = []


def reverse(claim: Claim, decided: Sequence[Adjudged], number: str) -> None:
    """Tell the reversal of a decision."""
    _remit(claim, "reversed", number, amounts(negated(decided)))


def forward(claim: Claim) -> None:
    """Tell that the payer sent the claim on to the next one."""
    _respond(claim, "forwarded", "835", payer_claim_number=claim.number, remarks=["MA18"])


def _remit(claim: Claim, response: ResponseKind, number: str, more: dict[str, Any]) -> None:
    trace = f"EFT-{claim.now:%y%j}-{100 + claim.below(900)}"
    data = {"payer_claim_number": number, "decided_on": claim.now.date(), "trace": trace} | more
    _respond(claim, response, "835", **data)


def _status(
    claim: Claim, response: ResponseKind, category: str, code: str, entity: str | None = None, **more: object
) -> None:
    status = {"category": category, "code": code} | ({"entity": entity} if entity else {})
    prefix = "277ca" if category.startswith("A") else "277"
    _respond(claim, response, prefix, submission_id=claim.submission, statuses=[status], **more)


def _respond(claim: Claim, response: ResponseKind, prefix: str, **more: object) -> None:
    data = {"response": response, "sender": "payer", "payer_id": claim.payer.id, "payer_rank": claim.rank} | more
    _tell(claim, PAYER_RESPONSE, prefix, f"/clearinghouse/{claim.payer.clearinghouse.lower()}", claim.now, data)


def _tell(claim: Claim, event_type: str, prefix: str, source: str, at: datetime, data: dict[str, Any]) -> None:
    event = {
        "specversion": "1.0",
        "id": f"{claim.id}-{prefix}-{len(claim.told) + 1}",
        "source": source,
        "type": event_type,
        "subject": claim.id,
        "time": at,
        "datacontenttype": "application/json",
        "data": data,
    }
    claim.told.append(Told(at, event_type, _encode(event)))
    claim.now = at.astimezone(UTC)


def at_desk(claim: Claim, delay: Delay) -> None:
    """Move to the working hour at which a biller gets to it."""
    day = (claim.now + claim.lasts(delay)).date()
    if day.weekday() >= SATURDAY:
        day += timedelta(days=WEEK - day.weekday())
    at = datetime.combine(day, time(14), UTC) + timedelta(seconds=claim.below(8 * 3600))
    claim.now = at if at > claim.now else at + timedelta(days=1)


def answer_on(claim: Claim, since: datetime, delay: Delay) -> None:
    """Move to the day of a payer's decision, of which only the date is known: its first instant in UTC."""
    day = max((since + claim.lasts(delay)).date(), claim.now.date() + timedelta(days=1))
    claim.now = datetime.combine(day, time(), UTC)


def payer_claim_number(claim: Claim) -> str:
    """Return a number as payers give them: year, day of the year, and a serial."""
    return f"{claim.now:%y%j}{claim.payer.id[0]}{claim.below(1_000_000):06}"
