"""A record as the auditor reads it: what it says, when two say the same, and what is an event beyond doubt."""

import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from hashlib import blake2b
from typing import Any, NamedTuple

from tests.faults.evidence import Kept

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# What claims to be of another century is a mistake.
FIRST_US, END_US = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000 for year in (2000, 2100))
MONEY = {"charge", "total_charge", "allowed", "paid", "patient_responsibility", "amount"}
AMOUNT = re.compile(r"-?[0-9]+(?:\.[0-9]{1,2})?")
TOPIC = {
    "session.recorded.v1": "session-recorded",
    "claim.submitted.v1": "claim-submitted",
    "payer.response.v1": "payer-response",
}


class Said(NamedTuple):
    """What a record says, if it is an event at all."""

    claim_id: str
    identity: bytes
    event: dict[str, Any]
    is_placed: bool
    """Whether it came in its type's topic and under its claim's key."""
    body: str | None
    """The words that the event log must hold; None where it came in binary mode, and others may stand for the same."""


def said(topic: str, kept: Kept) -> Said | None:
    """Read a record as CloudEvents 1.0 says, structured or binary; what cannot be read says nothing."""
    try:
        text = (kept.value or b"").decode()
        event = json.loads(text, parse_float=_finite, parse_constant=_finite, object_pairs_hook=_each_once)
        is_binary = _is_binary(kept)
        if is_binary:
            event = {name[3:]: (value or b"").decode() for name, value in _attributes(kept)} | {"data": event}
        is_placed = topic.endswith(TOPIC.get(event["type"], "?")) and event["subject"].encode() == kept.key
        if (
            event["specversion"] != "1.0"
            or not isinstance(event["data"], dict)
            or not FIRST_US <= time_us(event) < END_US
        ):
            return None
        return Said(*name_of(event), event, is_placed, None if is_binary else text)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def name_of(event: Mapping[str, Any]) -> tuple[str, bytes]:
    """Return the claim, and what names the event in it."""
    return event["subject"], identity(event["source"], event["id"])


def identity(source: str, event_id: str) -> bytes:
    """Return what stands for source and id in the event log."""
    return blake2b(f"{source}\0{event_id}".encode(), digest_size=16).digest()


def content(event: Mapping[str, Any]) -> str:
    """Return what must be equal for two events to say the same: type, instant, and data whatever its spelling."""
    return json.dumps([event["type"], time_us(event), _plain(event["data"])], sort_keys=True)


def time_us(event: Mapping[str, Any]) -> int:
    """Return when it happened, in microseconds since 1970-01-01T00:00:00Z."""
    return (datetime.fromisoformat(event["time"]) - EPOCH) // timedelta(microseconds=1)


def kind(event: Mapping[str, Any]) -> str:
    """Return the kind of an event, as the event log names it."""
    data = event["data"]
    return str(
        {"session.recorded.v1": "session", "claim.submitted.v1": data.get("kind")}.get(
            event["type"], data.get("response")
        )
    )


def _is_binary(kept: Kept) -> bool:
    kinds = [value or b"" for name, value in kept.headers if name.lower() == "content-type"]
    if kinds and kinds[0].lower().startswith(b"application/cloudevents"):
        return False
    return any(name == "ce_specversion" and value is not None for name, value in kept.headers)


def _attributes(kept: Kept) -> list[tuple[str, bytes | None]]:
    found = [(name, value) for name, value in kept.headers if name.startswith("ce_")]
    if len({name for name, _ in found} | {"ce_data"}) != len(found) + 1:
        raise ValueError("an attribute comes twice")
    return found


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key comes twice")
    return dict(pairs)


def _finite(word: str) -> str:
    """Keep a number as it is spelt; NaN is none, nor is what no float holds."""
    if not math.isfinite(float(word)):
        raise ValueError(f"{word} is no number")
    return word


def _plain(node: Any, field: str = "") -> Any:  # noqa: ANN401  (any JSON)
    if isinstance(node, dict):
        return {name: _plain(part, name) for name, part in node.items() if part is not None and part != []}
    if isinstance(node, list):
        return [_plain(part) for part in node]
    is_money = field in MONEY and isinstance(node, str) and AMOUNT.fullmatch(node)
    return str(Decimal(node).quantize(Decimal("0.01"))) if is_money else node


# --- beyond doubt ---
#
# Far less than the contract allows, and all that well-behaved publishers write: whoever refuses such an event is wrong.

Form = Callable[[Any], bool]


def _text(pattern: str) -> Form:
    allowed = re.compile(pattern)
    return lambda node: isinstance(node, str) and allowed.fullmatch(node) is not None


def _number(least: int, most: int) -> Form:
    return lambda node: type(node) is int and least <= node <= most


def _list(form: Form) -> Form:
    return lambda node: isinstance(node, list) and len(node) <= MOST_ITEMS and all(map(form, node))


def _object(needed: Mapping[str, Form], others: Mapping[str, Form] | None = None) -> Form:
    forms = {**needed, **(others or {})}
    return lambda node: (
        isinstance(node, dict)
        and needed.keys() <= node.keys() <= forms.keys()
        and all(forms[name](part) for name, part in node.items())
    )


def _is_day(node: Any) -> bool:  # noqa: ANN401  (any JSON)
    try:
        return re.fullmatch(r"20\d\d-\d\d-\d\d", node) is not None and date.fromisoformat(node) is not None
    except (ValueError, TypeError):
        return False


MOST_ITEMS = 64
MOST_BYTES = 65_536
NAME, CODE, NPI = _text(r"[A-Za-z0-9_/.-]{1,64}"), _text(r"[A-Z0-9.]{1,16}"), _text(r"[0-9]{10}")
CHARGE, SIGNED = _text(r"[0-9]{1,9}\.[0-9]{2}"), _text(r"-?[0-9]{1,9}\.[0-9]{2}")
CODES, UNITS, RANK = _list(CODE), _number(0, 999), _number(1, 3)
PROVIDER = _object({"npi": NPI, "credential": CODE})
PROCEDURE = _object(
    {"code": CODE, "charge": CHARGE}, {"modifiers": CODES, "minutes": UNITS, "units": UNITS, "diagnoses": CODES}
)
AUTHORIZATION = _object({"number": NAME}, {"valid_from": _is_day, "valid_to": _is_day, "units": UNITS})
ORDER = _object({"npi": NPI, "date": _is_day})
LINE = _object(
    {"line": CODE, "code": CODE, "charge": CHARGE}, {"modifiers": CODES, "units": UNITS, "date_of_service": _is_day}
)
APPEAL = _object(
    {
        "level": _number(1, 9),
        "reason": _text(
            "medical_necessity|coding|authorization|timely_filing|documentation|underpayment|eligibility|other"
        ),
    }
)
SESSION = _object(
    {"session_id": NAME, "date_of_service": _is_day, "provider": PROVIDER, "payer_id": NAME, "patient_ref": NAME}
    | {"place_of_service": CODE, "procedures": _list(PROCEDURE)},
    {"plan": NAME, "authorization": AUTHORIZATION, "order": ORDER, "cancelled": lambda node: node is True}
    | {"documentation": _list(_text("history|goals|techniques|response|necessity"))},
)
SUBMISSION = {"submission_id": NAME, "payer_id": NAME, "payer_rank": RANK}
OF_SUBMISSION = {"clearinghouse": NAME, "lines": _list(LINE), "payer_claim_number": NAME}
SUBMISSIONS = {
    "original": _object({**SUBMISSION, "kind": NAME, "total_charge": CHARGE}, OF_SUBMISSION),
    "replacement": _object(
        {**SUBMISSION, "kind": NAME, "total_charge": CHARGE, "payer_claim_number": NAME}, OF_SUBMISSION
    ),
    "appeal": _object({**SUBMISSION, "kind": NAME, "appeal": APPEAL}, {**OF_SUBMISSION, "total_charge": CHARGE}),
}
SUBMISSIONS["void"] = SUBMISSIONS["replacement"]


def _response(amount: Form, *, decides: bool) -> Form:
    """Return the form of a response whose amounts have one sign."""
    line = _object({"line": CODE, "code": CODE}, {"charge": amount, "allowed": amount, "paid": amount, "units": UNITS})
    status = _object({"category": CODE, "code": CODE}, {"entity": CODE})
    adjustment = _object({"group": _text("CO|PR|OA|PI|CR"), "reason": CODE, "amount": SIGNED}, {"line": CODE})
    money = {"allowed": amount, "paid": amount}
    return _object(
        {"response": NAME, "sender": _text("payer|clearinghouse"), "payer_id": NAME, **(money if decides else {})},
        {"payer_rank": RANK, "submission_id": NAME, "payer_claim_number": NAME, "statuses": _list(status), **money}
        | {"received_on": _is_day, "decided_on": _is_day, "paid_on": _is_day, "trace": NAME, "charge": amount}
        | {"patient_responsibility": amount, "adjustments": _list(adjustment), "remarks": CODES, "lines": _list(line)},
    )


RESPONSES = {
    **dict.fromkeys(
        ("acknowledged", "accepted", "rejected", "pended", "information_requested", "denied", "forwarded"),
        _response(CHARGE, decides=False),
    ),
    "approved": _response(CHARGE, decides=True),
    "reversed": _response(_text(r"-[0-9]{1,9}\.[0-9]{2}|0\.00"), decides=True),
}
ENVELOPE = _object(
    {"specversion": _text(r"1\.0"), "id": NAME, "source": NAME, "type": NAME, "subject": NAME, "data": bool}
    | {"time": _text(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)")},
    {"datacontenttype": _text("application/json"), "traceparent": NAME},
)


def is_beyond_doubt(kept: Kept, told: Said | None) -> bool:
    """Say whether a record is an event so plain that nobody may refuse it."""
    if told is None or not told.is_placed or len(kept.value or b"") > MOST_BYTES or not ENVELOPE(told.event):
        return False
    forms = {"session": SESSION, **SUBMISSIONS, **RESPONSES}
    return forms.get(kind(told.event), lambda _: False)(told.event["data"])
