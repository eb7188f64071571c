"""What becomes of one claim in the samples, from the session to the money, or to none."""

from datetime import UTC, date, datetime, time, timedelta
from random import Random
from typing import Any, Final

from events.contracts import AppealReason, SubmissionKind
from events.simulation.clinics import CLINICS, HOT_PACKS, REFERRERS, Procedure, procedures
from events.simulation.paperwork import (
    DESK,
    REVIEW,
    Claim,
    Told,
    acknowledge,
    answer_on,
    approve,
    at_desk,
    deny,
    forward,
    payer_claim_number,
    record,
    reject,
    reverse,
    review,
    submit,
    take_back,
)
from events.simulation.payers import (
    DENIALS,
    LINE_DENIALS,
    PAYER_WEIGHTS,
    PAYERS,
    RECOUPMENTS,
    SUPPLEMENT,
    UPHELD,
    Delay,
    Denial,
)
from events.simulation.remittances import Adjudged, Line, as_money, as_primary, as_secondary, refused

# A claim is corrected until it was sent this often; what is sent then is in order.
MAX_SUBMISSIONS: Final = 4
UNDERPAID_RATIO: Final = 0.8

CHARGE_LAG: Final = Delay(2, 0.7)
FORGOTTEN_LAG: Final = Delay(150, 0.2)
TAKEN_BACK: Final = Delay(60, 0.4)
"""Approval to its recoupment."""

# Shares of claims, beside those of the payer.
CANCELLED: Final = 0.01
NEVER_BILLED: Final = 0.01
FORGOTTEN: Final = 0.015
"""Found months later: too late for some payers."""
AMENDED: Final = 0.06
OVER_THRESHOLD: Final = 0.25
"""Of Medicare's: above the yearly therapy threshold."""
IMPATIENT: Final = 0.012
"""Sent again before the payer answered: the second is denied as a duplicate."""
VOIDED: Final = 0.012
LATE_CHARGE: Final = 0.015
# Shares of what may follow.
RESENT: Final = 0.92
CORRECTED: Final = 0.6
APPEALED: Final = 0.55
APPEAL_UNANSWERED: Final = 0.05
OVERTURNED: Final = 0.5
DENIAL_REVERSED: Final = 0.4
"""Overturned denials that are taken back by a reversal of their own."""
SECOND_LEVEL: Final = 0.4
RECOUPED_SLOWLY: Final = 0.3
"""Reversals whose new decision comes days later."""
RECOUPED_WHOLLY: Final = 0.5
BILLED_AGAIN: Final = 0.5
"""Of the voided."""

_BY_PLAN: Final = ("PT", "OT")
_SESSIONS: Final = (1, 1, 1, 1, 1, 1, 1, 2, 2, 3)
_ON_FILE: Final = ("history", "goals", "techniques", "response", "necessity")


def journey(claim_id: str, chance: Random, day: date) -> list[Told]:
    """Return the events of a claim whose first session is on this day, in the order in which they happened."""
    payer = chance.choices(PAYERS, cum_weights=PAYER_WEIGHTS)[0]
    clinic = chance.choice(CLINICS)
    claim = Claim(
        id=claim_id,
        chance=chance,
        payer=payer,
        clinic=clinic,
        # Medicare pays no massage therapist, and a chiropractor for spinal manipulation only.
        therapist=chance.choice([t for t in clinic.therapists if payer.kind != "medicare" or t.credential in _BY_PLAN]),
        now=datetime.combine(day, time(), UTC),
        sent=datetime.combine(day, time(), UTC),
        plan=chance.choice(payer.plans),
        patient=f"{chance.getrandbits(32):08x}",
        ratio=chance.uniform(*payer.allowed),
        met_deductible=chance.random() >= payer.deductible,
        over_threshold=payer.kind == "medicare" and chance.random() < OVER_THRESHOLD,
    )
    if _treat(claim, day):
        _attempt(claim, "original")
    return claim.told


def _treat(claim: Claim, day: date) -> bool:
    """Record the sessions; return whether there is something to bill."""
    cancelled = claim.happens(CANCELLED)
    for number in range(1 if cancelled else claim.one_of(_SESSIONS)):
        date_of_service = day + timedelta(days=2 * number)
        ended = datetime.combine(date_of_service, time(8), claim.clinic.zone)
        ended += timedelta(minutes=claim.below(600))
        session = _session(claim, date_of_service)
        if claim.happens(AMENDED):
            record(claim, ended, session | {"documentation": _ON_FILE[:2]})
            ended += timedelta(minutes=10 + claim.below(290))
        record(claim, ended, session)
        if cancelled:
            record(claim, ended + timedelta(hours=1), session | {"procedures": [], "cancelled": True})
    if cancelled or claim.happens(NEVER_BILLED):
        return False
    at_desk(claim, FORGOTTEN_LAG if claim.happens(FORGOTTEN) else CHARGE_LAG)
    return True


def _session(claim: Claim, day: date) -> dict[str, Any]:
    """Return a session, and put its services on the claim."""
    claim.sessions += 1
    done = procedures(claim.chance, claim.payer, claim.therapist, over_threshold=claim.over_threshold)
    for part in done:
        if part.units:
            number = str(len(claim.lines) + 1)
            claim.lines.append(Line(number, part.code, part.modifiers, part.units, part.charge, day))
    session = {
        "session_id": f"S-{claim.id}-{claim.sessions}",
        "date_of_service": day,
        "provider": claim.therapist._asdict(),
        "payer_id": claim.payer.id,
        "plan": claim.plan,
        "patient_ref": f"p_{claim.patient}",
        "place_of_service": claim.one_of(("11", "11", "11", "11", "12", "10")),
        "procedures": [_performed(part) for part in done],
        "documentation": _ON_FILE,
    }
    if claim.payer.kind in ("commercial", "medicaid", "workers_comp"):
        session["authorization"] = {
            "number": f"A-{claim.patient}",
            "valid_from": day - timedelta(days=14),
            "valid_to": day + timedelta(days=76),
            "units": 48,
        }
    if claim.therapist.credential != "DC":
        session["order"] = {"npi": claim.one_of(REFERRERS), "date": day - timedelta(days=10)}
    return session


def _performed(part: Procedure) -> dict[str, Any]:
    timed = {} if part.minutes is None else {"minutes": part.minutes}
    return {
        "code": part.code,
        "modifiers": part.modifiers,
        **timed,
        "units": part.units,
        "charge": as_money(part.charge),
        "diagnoses": part.diagnoses,
    }


def _attempt(claim: Claim, kind: SubmissionKind) -> None:
    """Send the claim to the payer that it awaits, and follow it."""
    submit(claim, kind)
    if _may_fail(claim) and claim.happens(claim.payer.rejected):
        reject(claim)
        if claim.happens(RESENT):
            at_desk(claim, DESK)
            _attempt(claim, kind)
        return
    acknowledge(claim)
    if claim.happens(claim.payer.silent):
        return
    if _may_fail(claim) and kind == "original" and claim.happens(IMPATIENT):
        _send_twice(claim)
    elif claim.happens(claim.payer.pended):
        review(claim)
        _decide(claim, claim.now)
    else:
        _decide(claim, claim.sent)


def _send_twice(claim: Claim) -> None:
    first = claim.number
    at_desk(claim, DESK)
    submit(claim, "original")
    acknowledge(claim)
    second, claim.number = claim.number, first
    answer_on(claim, claim.sent, claim.payer.decision)
    approve(claim, _adjudge(claim))
    claim.number = second
    answer_on(claim, claim.now, REVIEW)
    deny(claim, DENIALS["18"], claim.lines)


def _decide(claim: Claim, since: datetime) -> None:
    """Let the payer decide, and the biller answer that."""
    answer_on(claim, since, claim.payer.decision)
    take_back(claim)
    filed_after = claim.sent.date() - claim.lines[0].date_of_service
    if claim.rank == 1 and filed_after.days > claim.payer.filing_days:
        _contest(claim, DENIALS["29"])
    elif _may_fail(claim) and claim.happens(claim.payer.denied):
        _contest(claim, _reason(claim))
    elif _may_fail(claim) and claim.happens(claim.payer.underpaid):
        approve(claim, _adjudge(claim, claim.ratio * UNDERPAID_RATIO))
        _appeal(claim, "underpayment", 1)
    elif len(claim.lines) > 1 and claim.happens(claim.payer.instalments):
        whole = _adjudge(claim)
        approve(claim, whole[:1])
        answer_on(claim, claim.now, REVIEW)
        approve(claim, whole[1:])
    else:
        approve(claim, _adjudge(claim))
        if claim.rank == 1 and _may_fail(claim):
            _after_approval(claim)


def _after_approval(claim: Claim) -> None:
    """Most approvals are the end; some are taken back, voided, added to, or followed by a second payer."""
    if claim.happens(claim.payer.recouped):
        _recoup(claim)
    elif claim.happens(VOIDED):
        _void(claim)
    elif claim.happens(LATE_CHARGE):
        at_desk(claim, DESK)
        record(claim, claim.now.astimezone(claim.clinic.zone), _session(claim, claim.lines[-1].date_of_service))
        at_desk(claim, DESK)
        _attempt(claim, "replacement")
    elif sum(part.patient for part in claim.standing) and claim.happens(claim.payer.secondary):
        _second_payer(claim)


def _recoup(claim: Claim) -> None:
    answer_on(claim, claim.now, TAKEN_BACK)
    take_back(claim)
    if claim.happens(RECOUPED_SLOWLY):
        answer_on(claim, claim.now, REVIEW)
    if claim.happens(RECOUPED_WHOLLY):
        _contest(claim, DENIALS[claim.one_of(RECOUPMENTS)])
    else:
        approve(claim, _adjudge(claim, claim.ratio * UNDERPAID_RATIO))


def _void(claim: Claim) -> None:
    at_desk(claim, DESK)
    submit(claim, "void")
    answer_on(claim, claim.now, claim.payer.decision)
    take_back(claim)
    if claim.happens(BILLED_AGAIN):
        at_desk(claim, DESK)
        _attempt(claim, "original")


def _second_payer(claim: Claim) -> None:
    crosses = claim.happens(claim.payer.crosses_over)
    if crosses:
        forward(claim)
    claim.first, claim.standing, claim.rank, claim.payer = claim.standing, [], 2, SUPPLEMENT
    if not crosses:
        at_desk(claim, DESK)
        _attempt(claim, "original")
        return
    claim.number = payer_claim_number(claim)
    answer_on(claim, claim.now, claim.payer.decision)
    # Nobody here sent it, so nobody here contests it.
    if claim.happens(claim.payer.denied):
        deny(claim, _reason(claim), claim.lines)
    else:
        approve(claim, _adjudge(claim))


def _contest(claim: Claim, denial: Denial) -> None:
    """Deny; then the claim is corrected, appealed or given up."""
    deny(claim, denial, claim.lines)
    if denial.fix and _may_fail(claim) and claim.happens(CORRECTED):
        at_desk(claim, DESK)
        _attempt(claim, denial.fix)
    elif denial.appeal and claim.happens(APPEALED):
        _appeal(claim, denial.appeal, 1)


def _appeal(claim: Claim, reason: AppealReason, level: int) -> None:
    at_desk(claim, DESK)
    submit(claim, "appeal", appeal={"level": level, "reason": reason})
    if claim.happens(APPEAL_UNANSWERED):
        return
    answer_on(claim, claim.now, claim.payer.appeal)
    if claim.happens(OVERTURNED):
        if claim.denial and not claim.standing and claim.happens(DENIAL_REVERSED):
            reverse(claim, [refused(line, claim.denial) for line in claim.lines], claim.number)
        take_back(claim)
        approve(claim, _adjudge(claim))
        return
    # Where an approval stands, its money stays: the refusal moves none.
    deny(claim, UPHELD, [] if claim.standing else claim.lines)
    if level == 1 and claim.happens(SECOND_LEVEL):
        _appeal(claim, reason, level + 1)


def _adjudge(claim: Claim, ratio: float | None = None) -> list[Adjudged]:
    """Return an approval of the claim by the payer that it awaits."""
    if claim.rank > 1:
        return as_secondary(claim.first, claim.one_of((0, 0, 0, 2500)))
    refusals = {}
    if claim.payer.kind == "medicare":
        refusals = {line.line: DENIALS["234"] for line in claim.lines if line.code == HOT_PACKS}
    if len(claim.lines) > len(refusals) + 1 and claim.happens(claim.payer.line_denied):
        refusals[claim.lines[-1].line] = DENIALS[claim.one_of(LINE_DENIALS)]
    return as_primary(claim.lines, claim.payer, ratio or claim.ratio, refusals, met_deductible=claim.met_deductible)


def _reason(claim: Claim) -> Denial:
    reasons = claim.payer.reasons
    reason = claim.chance.choices(tuple(reasons), tuple(reasons.values()))[0]
    # Only a massage therapist is of a type that payers do not know.
    return DENIALS["50" if reason in ("8", "170") and claim.therapist.credential != "LMT" else reason]


def _may_fail(claim: Claim) -> bool:
    return claim.submissions < MAX_SUBMISSIONS
