"""What the retelling remembers of a claim between two events."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NamedTuple

from tests.faults.retold_facts import Fact, Moment
from tests.faults.retold_money import Ledger

STATE = {
    "none": None,
    "draft_new": "draft",
    "draft_rejected": "draft",
    "draft_voided": "draft",
    "submitted": "submitted",
    "approved": "approved",
    "denied": "denied",
    "appealed": "appealed",
}


class Appeal(NamedTuple):
    """The latest appeal; its end is its answer."""

    at_us: int
    payer: str
    from_approval: bool
    denied_on: Moment | None
    decided_on: Moment | None = None


class Stand(NamedTuple):
    """Where the claim stood before a submission."""

    row: str
    current: int
    needs_information: bool
    appeal_level: int
    appeal: Appeal | None


@dataclass
class Attempt:
    """An original or replacement that asked anew."""

    submission_id: str
    payer: str
    rank: int
    charge: int
    at_us: int
    line_date: date | None
    before: Stand | None
    accepted_at_us: int | None = None
    decided_on: Moment | None = None


@dataclass
class Story:
    """The claim as told so far."""

    row: str = "none"
    attempts: list[Attempt] = field(default_factory=list)
    current: int = 0
    """Which attempt stands, from 1; 0 before any."""
    acknowledgement: str = "none"
    needs_information: bool = False
    appeal_level: int = 0
    appeal: Appeal | None = None
    before_void: Stand | None = None
    submissions: dict[str, int] = field(default_factory=dict)
    """The submission ids of applied events, and which attempt each opened; 0 where it opened none."""
    sessions: dict[str, dict[str, Any]] = field(default_factory=dict)
    session_payer: str = ""
    ledgers: dict[int, Ledger] = field(default_factory=dict)
    decision_seen: bool = False
    denied_on: Moment | None = None
    unprocessable: bool = False
    denial_reasons: list[str] = field(default_factory=list)
    rejection_reasons: list[str] = field(default_factory=list)
    paid_on: Moment | None = None
    paid_by: str = ""
    findings: set[str] = field(default_factory=set)
    waiting: list[tuple[Fact, str]] = field(default_factory=list)
    set_aside: Counter[str] = field(default_factory=Counter)
    applied: int = 0
    history: list[tuple[str | None, str | None, int, int, str, str]] = field(default_factory=list)
    fates: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    """What became of each event, by source and id: applied, waiting or set_aside, and why."""
    last: Fact | None = None
    """The latest event of all."""

    @property
    def attempt(self) -> Attempt:
        """The current attempt; there is one in every state but the first two."""
        return self.attempts[self.current - 1]
