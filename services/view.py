"""A claim as the contract shows it: the object that `claim show`, `claims export` and the API print; pure."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from events.codec import money as dollars
from events.codec import type_of_data
from events.contracts import Event
from services.cells import Verdict
from services.claim import STATE_OF_ROW, Change, Claim, money, payment
from services.timing import duration_s, durations_s, findings, spans

View = dict[str, Any]
Explained = Sequence[tuple[Event, Verdict]]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TYPE_OF_DATA: Final = {struct: name for name, struct in type_of_data.items()}


def view(claim_id: str, claim: Claim, events: Explained | None = None) -> View:
    """Return the claim as JSON shows it, its keys in the contract's order; without ``events`` a line of the export."""
    amounts = money(claim)
    state, draft = STATE_OF_ROW[claim.row]
    attempt = claim.attempt
    shown: View = {
        "claim_id": claim_id,
        "state": state,
        "facets": {
            "acknowledgement": claim.acknowledgement,
            "needs_information": claim.needs_information,
            "attempt": claim.current,
            "appeal_level": claim.appeal_level,
            "payer_rank": None if attempt is None else attempt.rank,
            "payment": payment(claim, amounts),
            "draft": draft,
        },
        "money": {name: dollars(cents) for name, cents in amounts._asdict().items()},
        "denial_reasons": list(claim.denial_reasons),
        "findings": findings(claim, amounts, map(duration_s, spans(claim))),
        "durations_s": durations_s(claim),
    }
    if events is not None:
        shown["events"] = [_event(event, verdict) for event, verdict in events]
    shown["history"] = [_change(change) for change in claim.history]
    shown["rejection_reasons"] = list(claim.rejection_reasons)
    return shown


# One line of the export as CSV: no column holds a list of objects, and a list of words is one text with spaces between.
CSV_COLUMNS: Final = (
    *("claim_id", "state", "draft", "payer", "acknowledgement", "needs_information", "attempt", "appeal_level"),
    *("payer_rank", "payment", "billed", "allowed", "paid", "adjusted", "patient", "open", "denial_reasons"),
    *("rejection_reasons", "findings", "charge_lag_s", "acknowledgement_s", "decision_s", "denial_to_appeal_s"),
    *("appeal_s", "payment_s", "reimbursement_s", "applied", "waiting", "set_aside", "since"),
)


def flat(claim_id: str, claim: Claim) -> list[str]:
    """Return the claim as the texts of ``CSV_COLUMNS``; empty where there is nothing to say, ``true`` and ``false``."""
    shown = view(claim_id, claim)
    cells: View = {
        **{name: shown[name] for name in ("claim_id", "state", "denial_reasons", "rejection_reasons", "findings")},
        **shown["facets"],
        **shown["money"],
        **{f"{measure}_s": seconds for measure, seconds in shown["durations_s"].items()},
        "payer": claim.payer,
        "applied": claim.applied,
        "waiting": len(claim.waiting),
        "set_aside": sum(claim.set_aside.values()),
        "since": instant(claim.history[-1].at_us) if claim.history else None,
    }
    return [_text(cells[column]) for column in CSV_COLUMNS]


def instant(time_us: int) -> str:
    """Return an instant as RFC 3339 in UTC, with microseconds only where there are any."""
    moment = (_EPOCH + timedelta(microseconds=time_us)).replace(tzinfo=None)
    return moment.isoformat() + "Z"


def recorded(time_us: int) -> str:
    """Return the instant of recording, always with its milliseconds: claimpath's clock is that fine and no finer."""
    moment = (_EPOCH + timedelta(microseconds=time_us)).replace(tzinfo=None)
    return moment.isoformat(timespec="milliseconds") + "Z"


def _event(event: Event, verdict: Verdict) -> View:
    return {
        "source": event.source,
        "id": event.id,
        "type": _TYPE_OF_DATA[type(event.data)],
        "time": instant(event.time_us),
        "outcome": verdict.outcome,
        "reason": verdict.reason,
        "recorded_at": recorded(event.recorded_at_us),
    }


def _change(change: Change) -> View:
    return {
        "state_before": change.state_before,
        "state": change.state,
        "at": instant(change.at_us),
        "recorded_at": recorded(change.recorded_at_us),
        "event": {"source": change.source, "id": change.id},
    }


def _text(cell: object) -> str:
    match cell:
        case None:
            return ""
        case bool():
            return "true" if cell else "false"
        case list():
            return " ".join(cell)
        case _:
            return str(cell)
