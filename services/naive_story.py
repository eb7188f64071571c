"""What becomes of each event, for the second, naive telling of the rules: steps, waiting and set-aside events.

Whatever can be told from the list of applied events is told from it again each time: to be read, not to be quick.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Final

from events.contracts import ClaimSubmitted, Event, PayerResponse, SessionRecorded
from services.naive_money import Ledger, stands, takes_back_a_denial

When = date | int
"""A date, or an instant in microseconds since 1970-01-01T00:00:00Z."""

KIND_RANK: Final = {
    "session": 0,
    **dict.fromkeys(("original", "replacement", "void"), 1),
    "appeal": 2,
    **dict.fromkeys(("acknowledged", "accepted", "pended", "information_requested"), 3),
    "rejected": 4,
    "reversed": 5,
    "denied": 6,
    "approved": 7,
    "forwarded": 8,
}


@dataclass(frozen=True)
class Attempt:
    """An original or replacement that opened the question again, and where the claim stood before it."""

    ordinal: int
    time_us: int
    data: ClaimSubmitted
    before: "Now"


@dataclass(frozen=True)
class Appeal:
    """The latest appeal: when it was made, to whom, against which denial, and when it was decided."""

    time_us: int
    payer: str
    denied: When | None
    from_approval: bool
    decided: When | None = None


@dataclass(frozen=True)
class Now:
    """Where a claim stands: all that an undone submission gives back."""

    state: str | None = None
    draft: str | None = None
    attempt: Attempt | None = None
    acknowledgement: str = "none"
    needs_information: bool = False
    appeal_level: int = 0
    appeal: Appeal | None = None
    before_void: "Now | None" = None


@dataclass(frozen=True)
class Verdict:
    """What becomes of an event; ``through`` a cell of the table, or else recorded and no more."""

    outcome: str
    reason: str | None = None
    now: Now = Now()
    through: bool = True
    finding: str | None = None


@dataclass(frozen=True)
class Step:
    """An applied event; ``rank`` is the payer rank that a response speaks of."""

    event: Event
    before: Now
    after: Now
    through: bool
    rank: int
    at_us: int


@dataclass
class Story:
    """The events of a claim in their order, what became of each, and the steps of those that applied."""

    events: list[Event]
    steps: list[Step] = field(default_factory=list)
    outcomes: dict[tuple[str, str], tuple[str, str | None]] = field(default_factory=dict)
    findings: set[str] = field(default_factory=set)

    @property
    def now(self) -> Now:
        """Where the claim stands after the steps so far."""
        return self.steps[-1].after if self.steps else Now()


def tell(events: Iterable[Event]) -> Story:
    """Step through the set of events in their order; after each that applied, try the waiting ones from the oldest."""
    each = {(event.source, event.id): event for event in events}
    story = Story(sorted(each.values(), key=_order))
    for event in story.events:
        applied = _applies(story, event, event)
        while applied:
            waiting = [old for old in story.events if _outcome(story, old)[0] == "waiting"]
            applied = any(_applies(story, old, event) for old in waiting)
    return story


def _order(event: Event) -> tuple[int, int, str, str]:
    return event.time_us, KIND_RANK[event.kind], event.source, event.id


def _outcome(story: Story, event: Event) -> tuple[str, str | None]:
    return story.outcomes.get((event.source, event.id), ("not yet", None))


def _applies(story: Story, event: Event, cause: Event) -> bool:
    verdict, before = _judge(story, event), story.now
    story.outcomes[event.source, event.id] = verdict.outcome, verdict.reason
    if verdict.outcome != "applied":
        return False
    if verdict.finding:
        story.findings.add(verdict.finding)
    rank = _rank(before, event.data) if isinstance(event.data, PayerResponse) else 0
    story.steps.append(Step(event, before, verdict.now, verdict.through, rank, cause.time_us))
    return True


def _waits(reason: str) -> Verdict:
    return Verdict("waiting", reason)


def _aside(reason: str) -> Verdict:
    return Verdict("set_aside", reason)


def _goes(now: Now, finding: str | None = None) -> Verdict:
    return Verdict("applied", now=now, finding=finding)


def _recorded(now: Now, finding: str | None = None) -> Verdict:
    return Verdict("applied", now=now, through=False, finding=finding)


def _judge(story: Story, event: Event) -> Verdict:
    now, data = story.now, event.data
    if isinstance(data, SessionRecorded):
        return _goes(now if now.state else replace(now, state="draft", draft="new"))
    if isinstance(data, ClaimSubmitted):
        if data.submission_id in known_submissions(story):
            return _aside("same_submission")
        if data.kind == "appeal":
            return _judge_appeal(story, event, data)
        if data.kind == "void":
            return _judge_void(now)
        return _judge_claim(story, event, data)
    return _judge_response(story, event, data)


def _judge_claim(story: Story, event: Event, data: ClaimSubmitted) -> Verdict:
    """Judge an original or a replacement: most open an attempt."""
    now = story.now
    if data.kind == "original" and now.state == "approved" and data.payer_rank <= _awaited(now):
        return _aside("already_approved")
    if data.kind == "original" and now.state == "appealed":
        return _goes(now, "resubmitted_under_appeal")
    attempt = Attempt(len(attempts(story)) + 1, event.time_us, data, before=now)
    old_appeal = now.appeal if now.appeal and now.appeal.decided is not None else None
    return _goes(Now(state="submitted", attempt=attempt, appeal=old_appeal))


def _judge_void(now: Now) -> Verdict:
    if now.state is None:
        return _waits("no_submission")
    if now.state == "draft":
        return _aside("nothing_to_void")
    return _goes(replace(now, state="draft", draft="voided", before_void=now))


def _judge_appeal(story: Story, event: Event, data: ClaimSubmitted) -> Verdict:
    now = story.now
    if now.state is None or now.draft == "new":
        return _waits("no_submission")
    if now.state == "draft":
        return _aside("never_adjudicated" if now.draft == "rejected" else "voided")
    if now.state == "submitted":
        return _waits("no_decision")
    approval = _last_approval(story) if now.state == "approved" else None
    if approval and _order(event) < _order(approval):
        return _aside("overtaken")
    denial = last_denial(story) if now.state == "denied" else None
    if denial and "MA130" in answer(denial).remarks:
        return _aside("not_appealable")
    assert now.attempt
    denied, from_approval = (decided_when(denial) if denial else None), now.state == "approved"
    if now.state == "appealed" and now.appeal:
        denied, from_approval = now.appeal.denied, now.appeal.from_approval
    level = data.appeal.level if data.appeal and data.appeal.level else now.appeal_level + 1
    appeal = Appeal(event.time_us, now.attempt.data.payer_id, denied, from_approval)
    return _goes(replace(now, state="appealed", appeal_level=level, appeal=appeal))


def _judge_response(story: Story, event: Event, data: PayerResponse) -> Verdict:
    now, kind = story.now, data.response
    if now.state is None or now.draft == "new":
        return _waits("no_submission")
    if kind == "reversed" and not any(step.event.kind in ("approved", "denied") for step in story.steps):
        return _waits("no_decision")
    if _rank(now, data) != _awaited(now):
        if kind == "approved" and now.state == "denied" and _rank(now, data) > _awaited(now):
            return _recorded(replace(now, state="approved", needs_information=False))
        return _recorded(now)
    if kind not in ("approved", "reversed") and data.submission_id in _earlier_submissions(story):
        return _recorded(now)
    if kind == "rejected":
        return _judge_rejection(story, data)
    if kind == "reversed":
        return _judge_reversal(story, data)
    if kind == "denied":
        return _judge_denial(story, event, data)
    if kind == "approved":
        return _judge_approval(now, event)
    return _judge_news(now, data)


def _judge_news(now: Now, data: PayerResponse) -> Verdict:
    """Judge what is neither rejection, reversal nor decision."""
    if now.state == "draft":
        return _aside("attempt_over")
    if data.response == "information_requested":
        return _goes(replace(now, needs_information=True))
    if data.response == "accepted" and data.sender == "payer":
        return _goes(replace(now, acknowledgement="accepted"))
    if data.response in ("acknowledged", "accepted") and now.acknowledgement != "accepted":
        return _goes(replace(now, acknowledgement="received"))
    return _goes(now)


def _judge_rejection(story: Story, data: PayerResponse) -> Verdict:
    now = story.now
    if now.state in ("approved", "denied", "appealed"):
        return _aside("already_decided")
    if now.before_void:
        return _goes(replace(now.before_void, acknowledgement="rejected"))
    assert now.attempt
    of_another = data.submission_id in known_submissions(story) - {now.attempt.data.submission_id}
    if now.state == "submitted" and of_another:
        return _recorded(now)
    if now.state == "submitted" and now.attempt.before.state in ("approved", "denied", "appealed"):
        return _goes(replace(now.attempt.before, acknowledgement="rejected"))
    return _goes(replace(now, state="draft", draft="rejected", acknowledgement="rejected"))


def _judge_reversal(story: Story, data: PayerResponse) -> Verdict:
    now, rank = story.now, _rank(story.now, data)
    if now.state == "approved" and not stands([*ledger_of(story), (rank, data)], rank):
        return _goes(replace(now, state="submitted"))
    if now.state == "denied" and takes_back_a_denial(data):
        return _goes(replace(now, state="submitted"))
    return _goes(now)


def _judge_denial(story: Story, event: Event, data: PayerResponse) -> Verdict:
    now = story.now
    duplicate = any(adjustment.reason in ("18", "B13") for adjustment in data.adjustments)
    approval_stands = stands(ledger_of(story), _awaited(now))
    approved = replace(_after_decision(now, event), state="approved", draft=None)
    denied = replace(approved, state="denied")
    if now.draft == "voided":
        return _recorded(now, "decided_after_void")
    if now.draft == "rejected":
        return _goes(denied, "no_open_submission")
    if now.state == "submitted" and duplicate and approval_stands:
        return _goes(approved, "duplicate_denial")
    if now.state == "approved":
        if duplicate:
            return _aside("duplicate_denial")
        numbers = {other.payer_claim_number for other in _approvals(story, _awaited(now))} - {None}
        if data.payer_claim_number and numbers and data.payer_claim_number not in numbers:
            return _recorded(now, "partial_denial")
        return _waits("no_reversal")
    if now.state == "appealed" and now.appeal and now.appeal.from_approval and approval_stands:
        return _goes(approved, "appeal_lost")
    return _goes(denied)


def _judge_approval(now: Now, event: Event) -> Verdict:
    after = _after_decision(now, event)
    if now.draft == "voided":
        return _goes(after, "decided_after_void")
    finding = "no_open_submission" if now.draft == "rejected" else None
    return _goes(replace(after, state="approved", draft=None), finding)


def _after_decision(now: Now, event: Event) -> Now:
    """End what a decision ends: the need for information, and an appeal under way."""
    appeal = now.appeal
    if now.state == "appealed" and appeal:
        appeal = replace(appeal, decided=decided_when(event))
    return replace(now, needs_information=False, appeal=appeal)


def _rank(now: Now, data: PayerResponse) -> int:
    return data.payer_rank or _awaited(now)


def _awaited(now: Now) -> int:
    assert now.attempt
    return now.attempt.data.payer_rank


def answer(event: Event) -> PayerResponse:
    """Return the data of a response."""
    assert isinstance(event.data, PayerResponse)
    return event.data


def decided_when(event: Event) -> When:
    """Return the date of a decision, or where the payer gave none, the instant."""
    return answer(event).decided_on or event.time_us


def attempts(story: Story) -> list[Attempt]:
    """Return the attempts in the order opened, those undone too."""
    changes = [step.after.attempt for step in story.steps if step.event.kind in ("original", "replacement")]
    return sorted({attempt.ordinal: attempt for attempt in changes if attempt}.values(), key=lambda each: each.ordinal)


def known_submissions(story: Story) -> set[str | None]:
    """Return the ids of the applied submissions of any kind."""
    return {step.event.data.submission_id for step in story.steps if isinstance(step.event.data, ClaimSubmitted)}


def _earlier_submissions(story: Story) -> set[str | None]:
    assert story.now.attempt
    current = story.now.attempt.ordinal
    return {attempt.data.submission_id for attempt in attempts(story) if attempt.ordinal < current}


def _last_approval(story: Story) -> Event | None:
    """Return the latest approval for the awaited rank, or that made the claim approved."""
    rank = _awaited(story.now)
    approvals = [step for step in story.steps if step.event.kind == "approved"]
    counted = [step for step in approvals if step.rank == rank or step.before.state != step.after.state == "approved"]
    # A claim can be approved without any: a duplicate's denial beside a "reversal" that left an amount standing.
    return counted[-1].event if counted else None


def last_denial(story: Story) -> Event | None:
    """Return the latest denial that made or kept the claim denied."""
    return next((step.event for step in reversed(story.steps) if denies(step)), None)


def denies(step: Step) -> bool:
    """Tell whether a step made or kept the claim denied."""
    return step.event.kind == "denied" and step.through and step.after.state == "denied"


def ledger_of(story: Story) -> Ledger:
    """Return the applied approvals and reversals, each with the payer rank whose money it moves."""
    return [(step.rank, answer(step.event)) for step in story.steps if step.event.kind in ("approved", "reversed")]


def _approvals(story: Story, rank: int) -> list[PayerResponse]:
    return [data for its_rank, data in ledger_of(story) if its_rank == rank and data.response == "approved"]
