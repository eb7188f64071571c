"""How long a claim took, told anew, and what it adds to the rollups."""

from datetime import date, timedelta
from typing import NamedTuple

from tests.faults.retold_claim import STATE, Story
from tests.faults.retold_facts import EPOCH, Moment, day_or_none
from tests.faults.retold_money import net_paid

EDGES_DAYS = (1, 3, 7, 10, 14, 15, 21, 30, 31, 45, 60, 90, 120, 180, 365)
DAY_S = 86_400
NO_DAY = date(1970, 1, 1)
NO_BUCKET = -1
NO_PAYER = ""


class Span(NamedTuple):
    """One measure of a claim, from a start to an end, or open."""

    measure: str
    payer: str
    start: Moment
    end: Moment | None


def is_open(story: Story) -> bool:
    """Say whether a payer is to decide."""
    return story.row in {"submitted", "appealed"}


def spans(story: Story) -> list[Span]:
    """Return what has ended, and what has not while a payer is to decide."""
    if not story.attempts:
        return []
    first, now = story.attempts[0], story.attempt
    found = [Span("acknowledgement", now.payer, now.at_us, now.accepted_at_us)]
    if now.decided_on is None:
        found.append(Span("decision", now.payer, now.at_us, None))
    decided = [attempt for attempt in story.attempts if attempt.rank == now.rank and attempt.decided_on is not None]
    if decided:
        found.append(Span("decision", decided[-1].payer, decided[-1].at_us, decided[-1].decided_on))
    if story.appeal is not None:
        found.append(Span("appeal", story.appeal.payer, story.appeal.at_us, story.appeal.decided_on))
        if story.appeal.denied_on is not None:
            found.append(Span("denial_to_appeal", story.appeal.payer, story.appeal.denied_on, story.appeal.at_us))
    payer, paid_on = (story.paid_by, story.paid_on) if net_paid(story.ledgers) > 0 else (now.payer, None)
    found.append(Span("payment", payer, first.at_us, paid_on))
    served = service_date(story)
    if served is not None:
        found.append(Span("reimbursement", payer, served, paid_on))
        found.append(Span("charge_lag", first.payer, served, first.at_us))
    return [span for span in found if span.end is not None or is_open(story)]


def service_date(story: Story) -> date | None:
    """Return the earliest day of treatment: of the sessions that took place, else of the lines."""
    days = [day_or_none(one["date_of_service"]) for one in story.sessions.values() if not one["cancelled"]]
    if days:
        return min(day for day in days if day is not None)
    submitted = [attempt.line_date for attempt in story.attempts[: story.current] if attempt.line_date is not None]
    return submitted[-1] if submitted else None


def day(moment: Moment) -> date:
    """Return the UTC date."""
    return moment if isinstance(moment, date) else (EPOCH + timedelta(microseconds=moment)).date()


def seconds(start: Moment, end: Moment) -> int:
    """Return how long it took: exactly between instants, in whole days where either is a date."""
    if isinstance(start, int) and isinstance(end, int):
        return (end - start) // 1_000_000
    return (day(end) - day(start)).days * DAY_S


def bucket(lasted_s: int) -> int:
    """Return which edge the duration is at most, from 0; one more than the last where it is longer than all."""
    return sum(lasted_s > edge * DAY_S for edge in EDGES_DAYS)


def findings(story: Story, open_cents: int) -> set[str]:
    """Return all that is out of the ordinary, that of times and money too."""
    found = set(story.findings)
    if any(span.end is not None and seconds(span.start, span.end) < 0 for span in spans(story)):
        found.add("clock")
    if open_cents < 0:
        found.add("credit_balance")
    return found


def rollup(story: Story, payer: str, open_cents: int) -> dict[tuple[str, str, str, date, int], tuple[int, int]]:
    """Return the rows that the claim adds: how many, and what they come to."""
    rows: dict[tuple[str, str, str, date, int], tuple[int, int]] = {}

    def add(name: str, payer: str, label: str, day: date = NO_DAY, bucket: int = NO_BUCKET, total: int = 0) -> None:
        n, so_far = rows.get((name, payer, label, day, bucket), (0, 0))
        rows[(name, payer, label, day, bucket)] = (n + 1, so_far + total)

    add("claims", payer, STATE[story.row] or "none", total=open_cents)
    for measure, asked, start, end in spans(story):
        if end is None:
            add("open", asked, measure, day(start))
        elif seconds(start, end) >= 0:
            lasted_s = seconds(start, end)
            add("duration", asked, measure, day(end), bucket(lasted_s), lasted_s)
    for _, reason in story.waiting:
        add("waiting", NO_PAYER, reason)
    for reason, times in story.set_aside.items():
        for _ in range(times):
            add("set_aside", NO_PAYER, reason)
    for finding in findings(story, open_cents):
        add("finding", payer, finding)
    if story.row in {"denied", "appealed"}:
        for reason in story.denial_reasons:
            add("denial", payer, reason)
    return rows
