"""How long each part of reimbursement took, each measure defined once; pure."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from datetime import date
from typing import Literal

from msgspec import Struct

from services.claim import Attempt, Claim, Moment, Money

Measure = Literal["charge_lag", "acknowledgement", "decision", "denial_to_appeal", "appeal", "payment", "reimbursement"]
MEASURES: tuple[Measure, ...] = (
    "charge_lag",
    "acknowledgement",
    "decision",
    "denial_to_appeal",
    "appeal",
    "payment",
    "reimbursement",
)
# The days that matter to contracts and prompt-pay laws, such as Medicare's payment floor (14) and ceiling (30).
EDGES_DAYS = (1, 3, 7, 10, 14, 15, 21, 30, 31, 45, 60, 90, 120, 180, 365)
DAY_S = 86_400
_EDGES_S = [edge * DAY_S for edge in EDGES_DAYS]
_SECOND_US = 1_000_000
_DAY_US = DAY_S * _SECOND_US
_EPOCH_DAY = date(1970, 1, 1).toordinal()


class Span(Struct, frozen=True, gc=False):
    """One measure of one claim: from ``start``, open while ``end`` is None."""

    measure: Measure
    payer: str
    start: Moment
    end: Moment | None


def spans(claim: Claim) -> Iterator[Span]:
    """Yield the claim's measures whose start is known.

    An attempt that waits for its decision is open even where an earlier one of its rank has its own, so ``decision``
    may come twice: the age of an open claim is never left out.
    """
    attempt = claim.attempt
    if attempt is None:
        return
    first = claim.attempts[0]
    service = service_date(claim)
    if service is not None:
        yield Span("charge_lag", first.payer, service, day(first.at_us))
    yield Span("acknowledgement", attempt.payer, attempt.at_us, attempt.accepted_at_us)
    if attempt.decided_on is None:
        yield Span("decision", attempt.payer, attempt.at_us, None)
    decided = _latest_decided(claim, attempt)
    if decided is not None:
        yield Span("decision", decided.payer, decided.at_us, decided.decided_on)
    appeal = claim.appeal
    if appeal is not None:
        if appeal.denied_on is not None:
            yield Span("denial_to_appeal", appeal.payer, appeal.denied_on, appeal.at_us)
        yield Span("appeal", appeal.payer, appeal.at_us, appeal.decided_on)
    paid = claim.paid_on is not None and sum(ledger.paid for ledger in claim.ledgers.values()) > 0
    payer, end = (claim.paid_by, claim.paid_on) if paid else (attempt.payer, None)
    yield Span("payment", payer, first.at_us, end)
    if service is not None:
        yield Span("reimbursement", payer, service, end)


def duration_s(span: Span) -> int | None:
    """Return whole seconds from start to end, negative where the end comes first; None while open.

    Exact between two instants; where either end is only a date, whole days between two UTC dates, as contracts count.
    """
    start, end = span.start, span.end
    if end is None:
        return None
    if isinstance(start, int) and isinstance(end, int):
        return (end - start) // _SECOND_US
    return (_ordinal(end) - _ordinal(start)) * DAY_S


def durations_s(claim: Claim) -> dict[Measure, int | None]:
    """Return every measure in seconds; None where it has not ended, or ended before it began (finding *clock*)."""
    found: dict[Measure, int | None] = dict.fromkeys(MEASURES)
    for span in spans(claim):
        seconds = duration_s(span)
        if seconds is not None and seconds >= 0:
            found[span.measure] = seconds
    return found


def is_open(claim: Claim) -> bool:
    """Say whether somebody owes an answer: only then do measures without an end count as open."""
    return claim.row in ("submitted", "appealed")


def bucket(seconds: int) -> int:
    """Return the index of the first edge that is not below the duration; ``len(EDGES_DAYS)`` beyond the last."""
    return bisect_left(_EDGES_S, seconds)


def day(moment: Moment) -> date:
    """Return the UTC date of a moment."""
    return date.fromordinal(_ordinal(moment)) if isinstance(moment, int) else moment


def service_date(claim: Claim) -> date | None:
    """Return the first date of service: of the uncancelled sessions, else of the lines submitted last."""
    dates = [session.date_of_service for session in claim.sessions.values() if not session.cancelled]
    if dates:
        return min(dates)
    for attempt in reversed(claim.attempts[: claim.current]):
        if attempt.line_date is not None:
            return attempt.line_date
    return None


def findings(claim: Claim, amounts: Money, durations: Iterable[int | None]) -> list[str]:
    """Return the claim's findings, sorted: those its events left, and those its money and its durations show now."""
    found: list[str] = list(claim.findings)
    if amounts.open < 0:
        found.append("credit_balance")
    for seconds in durations:
        if seconds is not None and seconds < 0:
            found.append("clock")
            break
    return sorted(found)


def _latest_decided(claim: Claim, current: Attempt) -> Attempt | None:
    for attempt in reversed(claim.attempts):
        if attempt.decided_on is not None and attempt.rank == current.rank:
            return attempt
    return None


def _ordinal(moment: Moment) -> int:
    return _EPOCH_DAY + moment // _DAY_US if isinstance(moment, int) else moment.toordinal()
