"""A claim told anew from its stored events alone: what an auditor who knows nothing of the product expects of it."""

from collections import Counter
from collections.abc import Iterable
from datetime import date
from typing import Any, NamedTuple

from tests.faults import retold_money, retold_timing
from tests.faults.retold_claim import STATE, Appeal, Stand, Story
from tests.faults.retold_facts import Fact, Moment, fact
from tests.faults.retold_money import Ledger
from tests.faults.retold_story import told

# What a row of the claim says that nobody else can know.
NOT_RETOLD = {"digest"}


class Told(NamedTuple):
    """What is to be known of a claim; times in microseconds since 1970-01-01T00:00:00Z, money in cents."""

    state: str | None
    payer: str
    open: bool
    since_us: int | None
    waiting_since_us: int | None
    history: list[tuple[str | None, str | None, int, int, str, str]]
    """State before, state, at, recorded at, and the source and id of the event."""
    money: dict[str, int]
    acknowledgement: str
    needs_information: bool
    appeal_level: int
    waiting: dict[tuple[str, str], str]
    set_aside: Counter[str]
    findings: set[str]
    denial_reasons: list[str]
    rejection_reasons: list[str]
    applied: int
    fates: dict[tuple[str, str], tuple[str, str]]
    """What became of each event, by source and id: applied, waiting or set_aside, and why."""
    story: Story


def tell(events: Iterable[tuple[str, int]]) -> Told:
    """Return the claim that the stored bodies make, each with the time at which it was recorded; in any order."""
    story = told([fact(body, recorded_at_us) for body, recorded_at_us in events])
    billed = story.attempt.charge if story.attempts and story.row != "draft_voided" else 0
    money = retold_money.money(billed, story.ledgers)
    return Told(
        state=STATE[story.row],
        payer=story.attempt.payer if story.attempts else story.session_payer,
        open=retold_timing.is_open(story),
        since_us=story.history[-1][2] if story.history else None,
        waiting_since_us=min((wait.recorded_at_us for wait, _ in story.waiting), default=None),
        history=story.history,
        money=money,
        acknowledgement=story.acknowledgement,
        needs_information=story.needs_information,
        appeal_level=story.appeal_level,
        waiting={(wait.source, wait.id): reason for wait, reason in story.waiting},
        set_aside=story.set_aside,
        findings=retold_timing.findings(story, money["open"]),
        denial_reasons=story.denial_reasons,
        rejection_reasons=story.rejection_reasons,
        applied=story.applied,
        fates=story.fates,
        story=story,
    )


def rollup(claim: Told) -> dict[tuple[str, str, str, date, int], tuple[int, int]]:
    """Return the rows that the claim adds to the rollups, each with how many and their total."""
    return retold_timing.rollup(claim.story, claim.payer, claim.money["open"])


def packed_differences(claim: Told, packed: dict[str, Any]) -> list[str]:
    """Return where the packed column of the claim's row says otherwise, field by field."""
    told_waits = {"waiting": sorted(packed.get("waiting", [])), "findings": sorted(packed.get("findings", []))}
    ours, theirs = _bare(_packed(claim)), _bare({**packed, **told_waits})
    return [
        f"{name}: told {ours.get(name)!r}, packed {theirs.get(name)!r}"
        for name in sorted({*ours, *theirs})
        if ours.get(name) != theirs.get(name)
    ]


def _packed(claim: Told) -> dict[str, Any]:
    """Return the claim in the shape of the packed column."""
    story = claim.story
    return {
        "row": story.row,
        "acknowledgement": story.acknowledgement,
        "needs_information": story.needs_information,
        "appeal_level": story.appeal_level,
        "current": story.current,
        "attempts": [
            {**vars(attempt), "line_date": _said(attempt.line_date), "decided_on": _said(attempt.decided_on)}
            | {"before": _stand(attempt.before)}
            for attempt in story.attempts
        ],
        "void": _stand(story.before_void),
        "submissions": story.submissions,
        "sessions": {
            name: {"date_of_service": said["date_of_service"], "cancelled": said["cancelled"]}
            for name, said in story.sessions.items()
        },
        "session_payer": story.session_payer,
        "ledgers": {str(rank): _ledger(ledger) for rank, ledger in story.ledgers.items()},
        "decision_seen": story.decision_seen,
        "denied_on": _said(story.denied_on),
        "unprocessable": story.unprocessable,
        "appeal": _appeal(story.appeal),
        "paid_on": _said(story.paid_on),
        "paid_by": story.paid_by,
        "denial_reasons": story.denial_reasons,
        "rejection_reasons": story.rejection_reasons,
        "findings": sorted(story.findings),
        "waiting": sorted([wait.source, wait.id, reason, wait.recorded_at_us] for wait, reason in story.waiting),
        "set_aside": dict(story.set_aside),
        "applied": story.applied,
        "history": [list(change) for change in story.history],
        "last": _key(story.last),
    }


def _said(moment: Moment | None) -> int | str | None:
    return moment.isoformat() if isinstance(moment, date) else moment


def _key(fact: Fact | None) -> list[int | str] | None:
    return None if fact is None else [fact.time_us, fact.place, fact.source, fact.id]


def _appeal(appeal: Appeal | None) -> dict[str, Any] | None:
    if appeal is None:
        return None
    return {**appeal._asdict(), "denied_on": _said(appeal.denied_on), "decided_on": _said(appeal.decided_on)}


def _stand(before: Stand | None) -> dict[str, Any] | None:
    return None if before is None else {**before._asdict(), "appeal": _appeal(before.appeal)}


def _ledger(ledger: Ledger) -> dict[str, Any]:
    told = {name: value for name, value in vars(ledger).items() if name != "reason_23"}
    return told | {"prior_payer": ledger.reason_23, "approved_by": _key(ledger.approved_by)}


def _bare(value: Any) -> Any:  # noqa: ANN401  (any JSON)
    """Return JSON without what is as it is for every new claim; an instant of zero says something."""
    if isinstance(value, list):
        return [_bare(item) for item in value]
    if not isinstance(value, dict):
        return value
    told = {name: item if name == "submissions" else _bare(item) for name, item in value.items()}
    return {
        name: item
        for name, item in told.items()
        if name not in NOT_RETOLD
        and item not in (None, "", "none", [], {})
        and (item or (name.endswith(("_us", "_on")) and item is not False))
    }
