"""Events in few words, for tests that tell a claim's story: ``original(day=4)``, ``response("approved", day=20)``.

Days count on from 1 March 2026 (day 32 is 1 April); every event gets an id of its own, in the order of the calls.
"""

from datetime import UTC, date, datetime, timedelta
from itertools import count

import msgspec

from events.codec import cents, money
from events.contracts import (
    Adjustment,
    Appeal,
    AppealReason,
    Cents,
    Charge,
    ClaimLine,
    ClaimSubmitted,
    CloudEvent,
    Event,
    EventData,
    EventKind,
    PayerResponse,
    Procedure,
    Provider,
    ResponseKind,
    Sender,
    SessionRecorded,
    Status,
    SubmissionKind,
)
from events.topics import CLAIM_SUBMITTED, PAYER_RESPONSE, SESSION_RECORDED

CLAIM = "CLM-000123"
PAYER = "60054"
PCN = "26064A0001"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_DAY = date(2026, 3, 1)
RECORDED_AT_US = 1_780_000_000_000_000
_numbers = count(1)


def on(day: int) -> date:
    """Return the date of a day of the story: ``on(20)`` is 20 March 2026."""
    return _FIRST_DAY + timedelta(days=day - 1)


def session(
    *,
    day: int = 2,
    at: str = "15:30",
    session_id: str = "S-0017",
    served: int | None = None,
    payer_id: str = PAYER,
    charge: str = "130.00",
    cancelled: bool = False,
    claim_id: str = CLAIM,
    event_id: str | None = None,
) -> Event:
    """A session of ``served`` (else of ``day``), documented on ``day``."""
    data = SessionRecorded(
        session_id=session_id,
        date_of_service=on(day if served is None else served),
        provider=Provider(npi="1234567893", credential="LMT"),
        payer_id=payer_id,
        patient_ref="p_5b1f0c9e",
        place_of_service="11",
        procedures=[Procedure(code="97124", modifiers=["GP"], units=2, charge=_charge(charge))],
        cancelled=cancelled,
    )
    return _event("/ehr/eastside", "session", day, at, data, claim_id, event_id)


def original(
    *,
    day: int = 4,
    at: str = "14:00",
    rank: int = 1,
    charge: str = "130.00",
    payer_id: str = PAYER,
    served: int | None = None,
    submission_id: str | None = None,
    claim_id: str = CLAIM,
    event_id: str | None = None,
) -> Event:
    """A first claim to a payer; with ``served``, its line carries that date of service."""
    data = _submitted("original", rank, payer_id, submission_id, charge, served)
    return _event("/billing/eastside", "original", day, at, data, claim_id, event_id)


def replacement(
    *,
    day: int = 22,
    at: str = "10:00",
    rank: int = 1,
    charge: str = "130.00",
    payer_id: str = PAYER,
    served: int | None = None,
    submission_id: str | None = None,
    claim_id: str = CLAIM,
    event_id: str | None = None,
) -> Event:
    """A corrected claim in place of the one the payer has (frequency 7)."""
    data = _submitted("replacement", rank, payer_id, submission_id, charge, served)
    return _event("/billing/eastside", "replacement", day, at, data, claim_id, event_id)


def void(
    *,
    day: int = 23,
    at: str = "10:00",
    rank: int = 1,
    payer_id: str = PAYER,
    submission_id: str | None = None,
    claim_id: str = CLAIM,
    event_id: str | None = None,
) -> Event:
    """The claim taken back (frequency 8)."""
    data = _submitted("void", rank, payer_id, submission_id, "130.00")
    return _event("/billing/eastside", "void", day, at, data, claim_id, event_id)


def appeal(
    *,
    day: int = 32,
    at: str = "10:00",
    rank: int = 1,
    level: int | None = None,
    reason: AppealReason = "medical_necessity",
    payer_id: str = PAYER,
    submission_id: str | None = None,
    claim_id: str = CLAIM,
    event_id: str | None = None,
) -> Event:
    """An appeal against what the payer decided."""
    data = _submitted("appeal", rank, payer_id, submission_id)
    data = msgspec.structs.replace(data, appeal=Appeal(level=level, reason=reason))
    return _event("/billing/eastside", "appeal", day, at, data, claim_id, event_id)


_STATUSES: dict[str, list[str]] = {
    "acknowledged": ["A1:20"],
    "accepted": ["A2:20"],
    "rejected": ["A3:562:82"],
    "pended": ["P3:286"],
    "information_requested": ["R4:294"],
}
_AMOUNTS: dict[str, tuple[str | None, str | None]] = {
    "approved": ("110.00", "88.00"),
    "denied": ("0.00", "0.00"),
    "reversed": ("-110.00", "-88.00"),
}
_ADJUSTMENTS: dict[str, list[str]] = {
    "approved": ["CO-45 20.00", "PR-2 22.00"],
    "denied": ["CO-50 130.00"],
    "reversed": ["CO-45 -20.00", "PR-2 -22.00"],
}


def response(
    kind: ResponseKind,
    *,
    day: int = 20,
    at: str = "00:00",
    sender: Sender = "payer",
    rank: int | None = None,
    submission_id: str | None = None,
    pcn: str | None = None,
    statuses: list[str] | None = None,
    decided: int | None = None,
    paid_on: int | None = None,
    allowed: str | None = None,
    paid: str | None = None,
    patient: str | None = None,
    adjustments: list[str] | None = None,
    remarks: list[str] | None = None,
    payer_id: str = PAYER,
    claim_id: str = CLAIM,
    event_id: str | None = None,
) -> Event:
    """A payer's answer: by default the amounts of an ordinary one, which a reversal takes back whole.

    ``statuses`` read ``"A3:562:82"``, ``adjustments`` ``"CO-45 20.00"``; ``decided`` and ``paid_on`` are days.
    Where ``allowed`` or ``paid`` is given, there are no adjustments but those given.
    """
    usual_allowed, usual_paid = _AMOUNTS.get(kind, (None, None))
    if adjustments is None:
        adjustments = _ADJUSTMENTS.get(kind, []) if allowed is None and paid is None else []
    data = PayerResponse(
        response=kind,
        sender=sender,
        payer_id=payer_id,
        payer_rank=rank,
        submission_id=submission_id,
        payer_claim_number=pcn,
        statuses=[_status(text) for text in (_STATUSES.get(kind, []) if statuses is None else statuses)],
        decided_on=None if decided is None else on(decided),
        paid_on=None if paid_on is None else on(paid_on),
        allowed=_cents(allowed or usual_allowed),
        paid=_cents(paid or usual_paid),
        patient_responsibility=_cents(patient),
        adjustments=[_adjustment(text) for text in adjustments],
        remarks=remarks or [],
    )
    return _event("/clearinghouse/ch-01", kind, day, at, data, claim_id, event_id)


def body(event: Event) -> str:
    """Return the event as a publisher would write it: the JSON of a CloudEvent."""
    kind = {SessionRecorded: SESSION_RECORDED, ClaimSubmitted: CLAIM_SUBMITTED, PayerResponse: PAYER_RESPONSE}
    envelope = CloudEvent(
        specversion="1.0",
        id=event.id,
        source=event.source,
        type=kind[type(event.data)],
        subject=event.claim_id,
        time=_EPOCH + timedelta(microseconds=event.time_us),
    )
    parts = msgspec.to_builtins(envelope) | {"data": msgspec.to_builtins(event.data, enc_hook=money)}
    return msgspec.json.encode(parts).decode()


def _submitted(
    kind: SubmissionKind,
    rank: int,
    payer_id: str,
    submission_id: str | None,
    charge: str | None = None,
    served: int | None = None,
) -> ClaimSubmitted:
    total = None if charge is None else _charge(charge)
    lines = []
    if served is not None and total is not None:
        lines = [ClaimLine(line="1", code="97124", modifiers=["GP"], charge=total, date_of_service=on(served))]
    return ClaimSubmitted(
        submission_id=submission_id or _new_id("sub").upper(),
        kind=kind,
        payer_id=payer_id,
        payer_rank=rank,
        total_charge=total,
        lines=lines,
        payer_claim_number=None if kind == "original" else PCN,
    )


def _event(
    source: str, kind: EventKind, day: int, at: str, data: EventData, claim_id: str, event_id: str | None
) -> Event:
    instant = datetime.fromisoformat(f"{on(day)}T{at}+00:00")
    time_us = (instant - _EPOCH) // timedelta(microseconds=1)
    return Event(claim_id, source, event_id or _new_id(kind), kind, time_us, data, RECORDED_AT_US)


def _new_id(kind: str) -> str:
    return f"{kind}-{next(_numbers):06}"


def _cents(text: str | None) -> Cents | None:
    return None if text is None else Cents(cents(text))


def _charge(text: str) -> Charge:
    return Charge(cents(text))


def _status(text: str) -> Status:
    category, code, *entity = text.split(":")
    return Status(category=category, code=code, entity=entity[0] if entity else None)


def _adjustment(text: str) -> Adjustment:
    what, amount = text.split()
    group, reason = what.split("-")
    parts = {"group": group, "reason": reason, "amount": amount}
    return msgspec.convert(parts, Adjustment, dec_hook=lambda _, written: Cents(cents(written)))
