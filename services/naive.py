"""The rules of the lifecycle a second time, as plainly as they can be said, to check the first."""

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from events.codec import money
from events.contracts import ClaimSubmitted, Event, PayerResponse, SessionRecorded
from events.topics import CLAIM_SUBMITTED, PAYER_RESPONSE, SESSION_RECORDED
from services.naive_money import amounts, paid_in
from services.naive_story import Attempt, Step, Story, When, answer, attempts, decided_when, denies, ledger_of, tell

Row = tuple[str, str, str, date, int]
"""A rollup's name, payer, label, day and bucket."""
Measures = dict[str, tuple[When | None, When | None, str]]
"""Start, end and payer of each measure."""

EDGES_IN_DAYS: Final = (1, 3, 7, 10, 14, 15, 21, 30, 31, 45, 60, 90, 120, 180, 365)
NO_DENIAL: Final = ("PR-1", "PR-2", "PR-3", "CO-45", "OA-23")
"""What the patient owes by the plan, the contract and what others paid are no reasons of a denial."""
NO_DAY: Final = date(1970, 1, 1)
NO_BUCKET: Final = -1
DAY_US: Final = 86_400_000_000
SECOND_US: Final = 1_000_000
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def claim(events: Iterable[Event]) -> dict[str, Any]:
    """Return the claim of these events (at least one, all of one claim, in any order) as ``claim show --json`` does."""
    story = tell(events)
    now = story.now
    return {
        "claim_id": story.events[0].claim_id,
        "state": now.state,
        "facets": {
            "draft": now.draft,
            "acknowledgement": now.acknowledgement,
            "needs_information": now.needs_information,
            "attempt": now.attempt.ordinal if now.attempt else 0,
            "appeal_level": now.appeal_level,
            "payer_rank": now.attempt.data.payer_rank if now.attempt else None,
            "payment": _payment(story),
        },
        "money": {name: money(amount) for name, amount in _money(story).items()},
        "denial_reasons": _denial_reasons(story),
        "rejection_reasons": _rejection_reasons(story),
        "findings": _findings(story),
        "durations_s": {name: _seconds(start, end) for name, (start, end, _) in _measures(story).items()},
        "events": [_printed_event(story, event) for event in story.events],
        "history": [_printed_change(step) for step in story.steps if step.after.state != step.before.state],
    }


def rollups(events: Iterable[Event]) -> dict[Row, tuple[int, int]]:
    """Return what the claim adds to each row of the rollups: how many, and cents or seconds in all."""
    story = tell(events)
    now, payer = story.now, _payer(story)
    rows: dict[Row, tuple[int, int]] = {}
    rows["claims", payer, now.state or "none", NO_DAY, NO_BUCKET] = (1, _money(story)["open"])
    for name, (start, end, its_payer) in _measures(story).items():
        seconds = _seconds(start, end)
        if seconds is not None and end is not None:
            bucket = sum(seconds > edge * 86_400 for edge in EDGES_IN_DAYS)
            rows["duration", its_payer, name, _day(end), bucket] = (1, seconds)
    for name, (start, its_payer) in _open_measures(story).items():
        rows["open", its_payer, name, _day(start), NO_BUCKET] = (1, 0)
    for (outcome, reason), number in Counter(story.outcomes.values()).items():
        if outcome != "applied":
            rows[outcome, "", str(reason), NO_DAY, NO_BUCKET] = (number, 0)
    for finding in _findings(story):
        rows["finding", payer, finding, NO_DAY, NO_BUCKET] = (1, 0)
    for reason in _denial_reasons(story) if now.state in ("denied", "appealed") else []:
        rows["denial", payer, reason, NO_DAY, NO_BUCKET] = (1, 0)
    return rows


def _payer(story: Story) -> str:
    """Return the payer of the current attempt, else of the latest session, else no name."""
    if story.now.attempt:
        return story.now.attempt.data.payer_id
    return next((data.payer_id for step in reversed(story.steps) if (data := _session(step))), "")


def _session(step: Step) -> SessionRecorded | None:
    return step.event.data if isinstance(step.event.data, SessionRecorded) else None


def _money(story: Story) -> dict[str, int]:
    attempt = story.now.attempt
    billed = attempt.data.total_charge if attempt and story.now.draft != "voided" else 0
    return amounts(ledger_of(story), billed or 0)


def _payment(story: Story) -> str:
    cents = _money(story)
    if cents["paid"] > 0:
        return "paid" if cents["open"] <= 0 else "partial"
    return "reversed" if _rises(story) else "unpaid"


def _rises(story: Story) -> list[Step]:
    """Return the steps by which all that was paid rose above zero."""
    rises, total = [], 0
    for step in story.steps:
        if step.event.kind in ("approved", "reversed"):
            before, total = total, total + paid_in(answer(step.event))
            if before <= 0 < total:
                rises.append(step)
    return rises


def _denial_reasons(story: Story) -> list[str]:
    reasons: list[str] = []
    for step in story.steps:
        if denies(step):
            each = [f"{adjustment.group}-{adjustment.reason}" for adjustment in answer(step.event).adjustments]
            reasons = [reason for reason in dict.fromkeys(each) if reason not in NO_DENIAL]
        if step.after.state == "approved":
            reasons = []
    return reasons


def _rejection_reasons(story: Story) -> list[str]:
    reasons: list[str] = []
    for step in story.steps:
        kind = step.event.kind
        if kind == "rejected" and step.through:
            each = [(status.category, status.code, status.entity) for status in answer(step.event).statuses]
            old = reasons if step.before.draft == "rejected" else []
            reasons = list(dict.fromkeys([*old, *(":".join(part for part in parts if part) for parts in each)]))
        elif kind in ("accepted", "approved") and (step.through or step.before.state != step.after.state):
            reasons = []
    return reasons


def _findings(story: Story) -> list[str]:
    findings = set(story.findings)
    if _late_charge(story):
        findings.add("late_charge")
    if _unknown_submission(story):
        findings.add("unknown_submission")
    if _money(story)["open"] < 0:
        findings.add("credit_balance")
    if any(
        (elapsed := _elapsed_us(start, end)) is not None and elapsed < 0 for start, end, _ in _measures(story).values()
    ):
        findings.add("clock")
    return sorted(findings)


def _late_charge(story: Story) -> bool:
    """Tell whether a session came new or changed after the first attempt."""
    sessions: dict[str, SessionRecorded] = {}
    for step in story.steps:
        if data := _session(step):
            if step.before.attempt and sessions.get(data.session_id) != data:
                return True
            sessions[data.session_id] = data
    return False


def _unknown_submission(story: Story) -> bool:
    """Tell whether a response named a submission that had not been applied by then."""
    known: set[str] = set()
    for step in story.steps:
        data = step.event.data
        if isinstance(data, ClaimSubmitted):
            known.add(data.submission_id)
        if isinstance(data, PayerResponse) and data.submission_id and data.submission_id not in known:
            return True
    return False


def _measures(story: Story) -> Measures:
    """Return start, end and payer of each measure; what is not known is None."""
    now, served = story.now, _service_date(story)
    first = next(iter(attempts(story)), None)
    first_at = first.time_us if first else None
    attempt_at = now.attempt.time_us if now.attempt else None
    payer, first_payer = _payer(story), first.data.payer_id if first else ""
    appeal = now.appeal
    appealed, denied, appeal_decided = (appeal.time_us, appeal.denied, appeal.decided) if appeal else (None, None, None)
    appeal_payer = appeal.payer if appeal else ""
    rise = _last_rise(story)
    paid_when = _paid_when(rise) if rise else None
    paying = rise.before.attempt.data.payer_id if rise and rise.before.attempt else payer
    decided_attempt = _latest_decided_attempt(story)
    return {
        "charge_lag": (served, _date_of(first_at), first_payer),
        "acknowledgement": (attempt_at, _accepted_at(story), payer),
        "decision": decided_attempt or (attempt_at, None, payer),
        "denial_to_appeal": (denied, appealed, appeal_payer),
        "appeal": (appealed, appeal_decided, appeal_payer),
        "payment": (first_at, paid_when, paying),
        "reimbursement": (served, paid_when, paying),
    }


def _open_measures(story: Story) -> dict[str, tuple[When, str]]:
    """Return start and payer of each measure that still runs."""
    now = story.now
    if now.state not in ("submitted", "appealed"):
        return {}
    measures = _measures(story)
    if now.attempt and _decision_of(story, now.attempt) is None:
        measures["decision"] = (now.attempt.time_us, None, now.attempt.data.payer_id)
    wanted = ("acknowledgement", "decision", "appeal", "payment", "reimbursement")
    each = {name: measures[name] for name in wanted}
    return {name: (start, payer) for name, (start, end, payer) in each.items() if start is not None and end is None}


def _service_date(story: Story) -> date | None:
    """Return the earliest date of the uncancelled sessions, else of the lines of the latest attempt that has dates."""
    sessions = {data.session_id: data for step in story.steps if (data := _session(step))}
    dates = [data.date_of_service for data in sessions.values() if not data.cancelled]
    current = story.now.attempt.ordinal if story.now.attempt else 0
    for attempt in reversed(attempts(story)):
        if not dates and attempt.ordinal <= current:
            dates = [line.date_of_service for line in attempt.data.lines if line.date_of_service]
    return min(dates, default=None)


def _accepted_at(story: Story) -> int | None:
    """Return when the payer first accepted the current attempt."""
    for step in story.steps:
        mine = step.before.attempt and story.now.attempt and step.before.attempt.ordinal == story.now.attempt.ordinal
        if mine and step.event.kind == "accepted" and step.through and answer(step.event).sender == "payer":
            return step.event.time_us
    return None


def _decision_of(story: Story, attempt: Attempt) -> When | None:
    """Return when the attempt was first decided, while it was open or rejected."""
    for step in story.steps:
        was_open = step.before.state == "submitted" or step.before.draft == "rejected"
        mine = step.before.attempt and step.before.attempt.ordinal == attempt.ordinal
        if mine and was_open and step.through and step.event.kind in ("approved", "denied"):
            return decided_when(step.event)
    return None


def _latest_decided_attempt(story: Story) -> tuple[When, When, str] | None:
    """Return start, decision and payer of the latest decided attempt of the awaited rank."""
    for attempt in reversed(attempts(story)):
        decision = _decision_of(story, attempt)
        if story.now.attempt and attempt.data.payer_rank == story.now.attempt.data.payer_rank and decision is not None:
            return attempt.time_us, decision, attempt.data.payer_id
    return None


def _last_rise(story: Story) -> Step | None:
    """Return the step by which all that was paid last rose above zero, where it is still above."""
    rises = _rises(story)
    return rises[-1] if rises and _money(story)["paid"] > 0 else None


def _paid_when(step: Step) -> When:
    return answer(step.event).paid_on or decided_when(step.event)


def _date_of(instant_us: int | None) -> date | None:
    return None if instant_us is None else _day(instant_us)


def _day(when: When) -> date:
    return _instant(when).date() if isinstance(when, int) else when


def _elapsed_us(start: When | None, end: When | None) -> int | None:
    """Return the microseconds between, whole UTC days where an end is only a date; None where an end is not known."""
    if start is None or end is None:
        return None
    if isinstance(start, int) and isinstance(end, int):
        return end - start
    return (_day(end) - _day(start)).days * DAY_US


def _seconds(start: When | None, end: When | None) -> int | None:
    elapsed_us = _elapsed_us(start, end)
    return None if elapsed_us is None or elapsed_us < 0 else elapsed_us // SECOND_US


def _instant(time_us: int) -> datetime:
    return EPOCH + timedelta(microseconds=time_us)


def _printed_time(time_us: int) -> str:
    return _instant(time_us).isoformat().replace("+00:00", "Z")


def _printed_recording(time_us: int) -> str:
    return _instant(time_us).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _printed_event(story: Story, event: Event) -> dict[str, Any]:
    types = {SessionRecorded: SESSION_RECORDED, ClaimSubmitted: CLAIM_SUBMITTED, PayerResponse: PAYER_RESPONSE}
    outcome, reason = story.outcomes[event.source, event.id]
    return {
        "source": event.source,
        "id": event.id,
        "type": types[type(event.data)],
        "time": _printed_time(event.time_us),
        "outcome": outcome,
        "reason": reason,
        "recorded_at": _printed_recording(event.recorded_at_us),
    }


def _printed_change(step: Step) -> dict[str, Any]:
    return {
        "state_before": step.before.state,
        "state": step.after.state,
        "at": _printed_time(step.at_us),
        "recorded_at": _printed_recording(step.event.recorded_at_us),
        "event": {"source": step.event.source, "id": step.event.id},
    }
