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
PLACE = {kind: place for place, kinds in enumerate(ORDER) for kind in kinds}


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


def content(data: Any) -> Any:  # noqa: ANN401  (any JSON)
    """Return data in the form in which two versions are compared: no order of keys, no absent fields, cents."""
    if isinstance(data, dict):
        kept = {name: content(value) for name, value in data.items() if value not in (None, [])}
        return {name: cents(value) if name == "charge" else value for name, value in kept.items()}
    return [content(item) for item in data] if isinstance(data, list) else data


def adjustments(response: Fact) -> list[tuple[str, str, int]]:
    """Return group, reason and cents of each adjustment."""
    return [(one["group"], one["reason"], cents(one["amount"])) for one in response.data.get("adjustments", [])]


def denial_reasons(response: Fact) -> list[str]:
    """Return why a claim was denied, as CO-50, each once."""
    return list(dict.fromkeys(f"{group}-{reason}" for group, reason, _ in adjustments(response)))


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
