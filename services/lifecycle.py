"""The lifecycle of a claim: everything that decides what may follow what lives here.

This file reads no clock, opens no socket and knows no SQL. The rules are one table with a cell for every (row, column),
the empty ones too; ``cells`` says what each does. ``fold`` runs a claim's events through the table in the order of
``claim.key``; ``step`` adds one event that comes after all of them. Both give the same claim for the same events,
whatever the order in which they arrived.
"""

from collections.abc import Callable, Iterable
from typing import Final, Literal, NamedTuple, get_args

from events.contracts import ClaimSubmitted, Event, EventKind, SessionRecorded
from services import cells
from services.cells import APPLIED, Verdict
from services.claim import AsideReason, Change, Claim, Row, Waiting, WaitReason, key

Column = Literal[
    "session", "original", "replacement", "void", "appeal", "facet", "rejected", "reversed", "denied", "approved"
]


class Cell(NamedTuple):
    """What an event of the column does to a claim in the row, and the rows it leads to; none where the claim stays."""

    act: Callable[[Claim, Event], Verdict]
    leads_to: tuple[Row, ...] = ()


def _wait(reason: WaitReason) -> Cell:
    verdict = Verdict("waiting", reason)
    return Cell(lambda _claim, _event: verdict)


def _aside(reason: AsideReason) -> Cell:
    verdict = Verdict("set_aside", reason)
    return Cell(lambda _claim, _event: verdict)


# The words of the table. Cells that only one place uses are written there.
AMEND: Final = Cell(cells.amend)
SUBMIT: Final = Cell(cells.submit, ("submitted",))
VOID: Final = Cell(cells.void, ("draft_voided",))
APPEAL: Final = Cell(cells.appeal, ("appealed",))
FACET: Final = Cell(cells.facet)
MONEY: Final = Cell(cells.money)
DENY: Final = Cell(cells.deny, ("denied",))
APPROVE: Final = Cell(cells.approve, ("approved",))
EARLY: Final = _wait("no_submission")
PENDING: Final = _wait("no_decision")
MOOT: Final = _aside("nothing_to_void")
OVER: Final = _aside("attempt_over")
DECIDED: Final = _aside("already_decided")

_OPEN = Cell(cells.amend, ("draft_new",))
_AFTER = Cell(cells.record_after_void)
_NO_LATE = Cell(cells.deny_without_submission, ("denied",))
_YES_LATE = Cell(cells.approve_without_submission, ("approved",))
_NEVER = _aside("never_adjudicated")
_VOIDED = _aside("voided")
_UNDO = Cell(cells.reject_attempt, ("draft_rejected", "approved", "denied", "appealed"))
_UNVOID = Cell(cells.reject_void, ("submitted", "approved", "denied", "appealed"))
_MORE = Cell(cells.reject_again)
_REFUSE = Cell(cells.deny_submission, ("denied", "approved"))
_HIGHER = Cell(cells.submit_to_higher_rank, ("submitted",))
_UNDERPAID = Cell(cells.appeal_underpayment, ("appealed",))
_RECLAIM = Cell(cells.reverse_approval, ("submitted",))
_PARTLY = Cell(cells.deny_approved)
_DISPUTE = Cell(cells.appeal_denial, ("appealed",))
_REOPEN = Cell(cells.reverse_denial, ("submitted",))
_AGAIN = Cell(cells.resubmit_under_appeal)
_LOSE = Cell(cells.deny_appeal, ("denied", "approved"))

# fmt: off
_ROWS: Final[dict[Row, tuple[Cell, ...]]] = {
    #                  session  original  replace  void   appeal      facet  rejected  reversed  denied      approved
    "none":           (_OPEN,   SUBMIT,   SUBMIT,  EARLY, EARLY,      EARLY, EARLY,    EARLY,    EARLY,      EARLY),
    "draft_new":      (AMEND,   SUBMIT,   SUBMIT,  MOOT,  EARLY,      EARLY, EARLY,    EARLY,    EARLY,      EARLY),
    "draft_rejected": (AMEND,   SUBMIT,   SUBMIT,  MOOT,  _NEVER,     OVER,  _MORE,    MONEY,    _NO_LATE,  _YES_LATE),
    "draft_voided":   (AMEND,   SUBMIT,   SUBMIT,  MOOT,  _VOIDED,    OVER,  _UNVOID,  MONEY,    _AFTER,    _AFTER),
    "submitted":      (AMEND,   SUBMIT,   SUBMIT,  VOID,  PENDING,    FACET, _UNDO,    MONEY,    _REFUSE,    APPROVE),
    "approved":       (AMEND,   _HIGHER,  SUBMIT,  VOID,  _UNDERPAID, FACET, DECIDED,  _RECLAIM, _PARTLY,    APPROVE),
    "denied":         (AMEND,   SUBMIT,   SUBMIT,  VOID,  _DISPUTE,   FACET, DECIDED,  _REOPEN,  DENY,       APPROVE),
    "appealed":       (AMEND,   _AGAIN,   SUBMIT,  VOID,  APPEAL,     FACET, DECIDED,  MONEY,    _LOSE,      APPROVE),
}
# fmt: on
COLUMN_OF: Final[dict[EventKind, Column]] = {
    "session": "session",
    "original": "original",
    "replacement": "replacement",
    "void": "void",
    "appeal": "appeal",
    "acknowledged": "facet",
    "accepted": "facet",
    "pended": "facet",
    "information_requested": "facet",
    "forwarded": "facet",
    "rejected": "rejected",
    "reversed": "reversed",
    "denied": "denied",
    "approved": "approved",
}
COLUMNS: Final[tuple[Column, ...]] = get_args(Column)
TABLE: Final[dict[Row, dict[EventKind, Cell]]] = {
    row: {kind: line[COLUMNS.index(column)] for kind, column in COLUMN_OF.items()} for row, line in _ROWS.items()
}


class CannotStepError(ValueError):
    """``step`` was given an event that may change what came before it: fold instead."""


def explain(events: Iterable[Event]) -> tuple[Claim, list[tuple[Event, Verdict]]]:
    """Return the claim that the events of one claim make, and the events in fold order with what became of each.

    Repetitions of an event count once.
    """
    claim = Claim()
    known = {(event.source, event.id): event for event in events}
    ordered = sorted(known.values(), key=key)
    verdicts: dict[tuple[str, str], Verdict] = {}
    for event in ordered:
        claim.last = key(event)
        verdict = verdicts[event.source, event.id] = _try(claim, event, event.time_us)
        if verdict is APPLIED and claim.waiting:
            verdicts.update(_retry(claim, known, event.time_us))
    for wait in claim.waiting:
        verdicts[wait.source, wait.id] = Verdict("waiting", wait.reason)
    return claim, [(event, verdicts[event.source, event.id]) for event in ordered]


def fold(events: Iterable[Event]) -> Claim:
    """Return the claim that a set of one claim's events makes."""
    return explain(events)[0]


def can_step(claim: Claim, event: Event) -> bool:
    """Say whether the event comes after every event that the claim holds, none of which waits for it."""
    return not claim.waiting and (claim.last is None or key(event) > claim.last)


def step(claim: Claim, event: Event) -> None:
    """Move the claim on by one event, in place.

    Raises CannotStepError, and leaves the claim as it was, where only ``fold`` gives the right claim.
    """
    if not can_step(claim, event):
        raise CannotStepError
    claim.last = key(event)
    _try(claim, event, event.time_us)


def _retry(claim: Claim, known: dict[tuple[str, str], Event], at_us: int) -> dict[tuple[str, str], Verdict]:
    """Try the waiting events again from the oldest; after each that applies, again from the oldest."""
    verdicts = {}
    waiting, claim.waiting = claim.waiting, []
    index = 0
    while index < len(waiting):
        event = known[waiting[index].source, waiting[index].id]
        verdict = _try(claim, event, at_us)
        if verdict.outcome == "waiting":
            waiting[index] = claim.waiting.pop()
            index += 1
            continue
        verdicts[event.source, event.id] = verdict
        del waiting[index]
        if verdict is APPLIED:
            index = 0
    claim.waiting = waiting
    return verdicts


def _try(claim: Claim, event: Event, at_us: int) -> Verdict:
    """Let the event act on the claim; count what became of it and write down a change of state."""
    state = claim.state
    verdict = _decide(claim, event)
    if verdict is APPLIED:
        claim.applied += 1
        if event.kind in ("approved", "denied"):
            claim.decision_seen = True
    elif verdict.outcome == "waiting":
        claim.waiting.append(Waiting(event.source, event.id, verdict.reason, event.recorded_at_us))  # type: ignore[arg-type]  # a wait has a WaitReason
    else:
        claim.set_aside[verdict.reason] = claim.set_aside.get(verdict.reason, 0) + 1  # type: ignore[index,arg-type]  # has an AsideReason
    if claim.state != state and claim.state is not None:
        claim.history.append(Change(state, claim.state, at_us, event.recorded_at_us, event.source, event.id))
    return verdict


def _decide(claim: Claim, event: Event) -> Verdict:
    data = event.data
    cell = TABLE[claim.row][event.kind]
    if isinstance(data, ClaimSubmitted):
        if data.submission_id in claim.submissions:
            return Verdict("set_aside", "same_submission")
        return cell.act(claim, event)
    if isinstance(data, SessionRecorded) or claim.row in ("none", "draft_new"):
        return cell.act(claim, event)
    if event.kind == "reversed" and not claim.decision_seen:
        return Verdict("waiting", "no_decision")
    verdict = cell.act(claim, event) if cells.speaks_of_the_open_question(claim, data) else cells.record(claim, event)
    if verdict is APPLIED and data.submission_id is not None and data.submission_id not in claim.submissions:
        cells.find(claim, "unknown_submission")
    return verdict
