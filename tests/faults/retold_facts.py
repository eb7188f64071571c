"""A stored event as the retelling reads it: the CloudEvent's JSON, with nothing of the product's reading of it."""

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Moment = int | date
"""An instant in microseconds since 1970-01-01T00:00:00Z, or only a date."""

# Of one instant: what comes first in a claim's life comes first.
ORDER = (
    ("session",),
    ("original", "replacement", "void"),
    ("appeal",),
    ("acknowledged", "accepted", "pended", "information_requested"),
    ("rejected",),
    ("reversed",),
    ("denied",),
    ("approved",),
    ("forwarded",),
)
# Deductible, coinsurance, co-pay, contract write-off, earlier payer: never why a claim is denied.
NEVER_A_DENIAL = {"PR-1", "PR-2", "PR-3", "CO-45", "OA-23"}
PLACE = {kind: place for place, kinds in enumerate(ORDER) for kind in kinds}

SESSION = ("session_id", "date_of_service", "payer_id", "plan", "patient_ref", "place_of_service", "documentation")
PARTS_OF_A_SESSION = {
    "provider": ("npi", "credential"),
    "authorization": ("number", "valid_from", "valid_to", "units"),
    "order": ("npi", "date"),
}
PROCEDURE = ("code", "modifiers", "minutes", "units", "diagnoses")


class Fact(NamedTuple):
    """An event: its place in the story comes first, so that facts sort by it."""

    time_us: int
    place: int
    source: str
    id: str
    kind: str
    data: dict[str, Any]
    recorded_at_us: int


def fact(body: str, recorded_at_us: int) -> Fact:
    """Return the event of a stored body."""
    event = json.loads(body)
    data = event["data"]
    kind = {
        "session.recorded.v1": "session",
        "claim.submitted.v1": data.get("kind"),
        "payer.response.v1": data.get("response"),
    }[event["type"]]
    time_us = (datetime.fromisoformat(event["time"]) - EPOCH) // timedelta(microseconds=1)
    return Fact(time_us, PLACE[kind], event["source"], event["id"], kind, data, recorded_at_us)


def cents(text: str | None) -> int:
    """Return an amount of the wire in cents; an absent one is none."""
    return 0 if text is None else int(Decimal(text) * 100)


def day_or_none(text: str | None) -> date | None:
    """Return a date of the wire."""
    return None if text is None else date.fromisoformat(text)


def decided(response: Fact) -> Moment:
    """Return when a decision was made: its day where that is given, else its instant."""
    return day_or_none(response.data.get("decided_on")) or response.time_us


def paid(response: Fact) -> Moment:
    """Return when a payment was made: its day where that is given, else that of the decision."""
    return day_or_none(response.data.get("paid_on")) or decided(response)


def line_date(submission: Fact) -> date | None:
    """Return the earliest day of treatment among the lines."""
    days = [day_or_none(line.get("date_of_service")) for line in submission.data.get("lines", [])]
    return min((day for day in days if day is not None), default=None)


def session_content(data: dict[str, Any]) -> dict[str, Any]:
    """Return what a session says of what the contract knows, to see whether a later word on it changes anything."""
    told = _known(data, SESSION)
    told["cancelled"] = bool(data.get("cancelled"))
    for name, fields in PARTS_OF_A_SESSION.items():
        if data.get(name) is not None:
            told[name] = _known(data[name], fields)
    told["procedures"] = [_procedure(one) for one in data.get("procedures", [])]
    return told


def _procedure(data: dict[str, Any]) -> dict[str, Any]:
    return _known(data, PROCEDURE) | {"charge": cents(data["charge"])}


def _known(data: dict[str, Any], fields: tuple[str, ...]) -> dict[str, Any]:
    """Return the fields that are there; an empty list is as good as none."""
    return {name: data[name] for name in fields if data.get(name) not in (None, [])}


def adjustments(response: Fact) -> list[tuple[str, str, int]]:
    """Return group, reason and cents of each adjustment."""
    return [(one["group"], one["reason"], cents(one["amount"])) for one in response.data.get("adjustments", [])]


def denial_reasons(response: Fact) -> list[str]:
    """Return why a claim was denied, as CO-50, each once."""
    told = dict.fromkeys(f"{group}-{reason}" for group, reason, _ in adjustments(response))
    return [reason for reason in told if reason not in NEVER_A_DENIAL]


def rejection_reasons(response: Fact) -> list[str]:
    """Return why a submission was rejected, as A3:562:82, each once."""
    statuses = response.data.get("statuses", [])
    told = (":".join(filter(None, (one["category"], one["code"], one.get("entity")))) for one in statuses)
    return list(dict.fromkeys(told))


def is_duplicate_denial(response: Fact) -> bool:
    """Say whether the payer denies because it knows the claim already."""
    return any(reason in {"18", "B13"} for _, reason, _ in adjustments(response))


def takes_back_a_denial(reversal: Fact) -> bool:
    """Say whether a reversal moves no money."""
    return cents(reversal.data["paid"]) == 0 and cents(reversal.data["allowed"]) == 0
