"""Kafka record to event, or a typed refusal that names path and rule and never a value.

The checks run in the order of ``RefusalReason``; the first that fails names the refusal.
"""

import json
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final, Literal, NoReturn

import msgspec
from msgspec import Struct

from events.contracts import (
    Charge,
    ClaimSubmitted,
    CloudEvent,
    Event,
    EventData,
    EventKind,
    PayerResponse,
    SessionRecorded,
)
from events.topics import CLAIM_SUBMITTED, PAYER_RESPONSE, SESSION_RECORDED, TYPE_OF_TOPIC

# The largest real event (an 837 claim of 50 lines) is near 12 KiB; Kafka's own default limit is 1 MiB.
MAX_VALUE_BYTES: Final = 262_144
# The contract nests 4 deep; unknown fields may nest deeper.
MAX_DEPTH: Final = 32
FIRST_YEAR: Final = 2000
LAST_YEAR: Final = 2099

RefusalReason = Literal[
    "no_value",
    "too_large",
    "bad_header",
    "bad_text",
    "too_deep",
    "not_json",
    "duplicate_key",
    "not_cloudevent",
    "unknown_version",
    "unknown_type",
    "wrong_topic",
    "key_mismatch",
    "invalid",
]

type_of_data: Final[dict[str, type[SessionRecorded | ClaimSubmitted | PayerResponse]]] = {
    SESSION_RECORDED: SessionRecorded,
    CLAIM_SUBMITTED: ClaimSubmitted,
    PAYER_RESPONSE: PayerResponse,
}
_VERSIONLESS: Final = {name.rpartition(".")[0] for name in type_of_data}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MONEY: Final = re.compile(r"(-?)(0|[1-9][0-9]{0,9})(?:\.([0-9]{1,2}))?")
_NOT_TEXT: Final = "money is a decimal string"
# Strings and brackets. Possessive and with an optional end, so that a string without one is passed in a single scan.
_TOKEN: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")


class Refusal(Struct, frozen=True):
    """Why a record is not an event; safe to print: it holds no byte of the record."""

    reason: RefusalReason
    path: str
    rule: str

    def __str__(self) -> str:
        """One sentence for people: ``invalid at $.data.paid: money has at most two decimals``."""
        return f"{self.reason} at {self.path}: {self.rule}"


class Record(Struct, frozen=True):
    """What the codec needs of a Kafka record."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()


class Decoded(Struct, frozen=True):
    """An event, and its CloudEvent as JSON for the event log."""

    event: Event
    body: bytes


class _RefusedError(Exception):
    """Carries a refusal out of the decoder; never leaves this module."""

    def __init__(self, reason: RefusalReason, path: str, rule: str) -> None:
        super().__init__(reason)
        self.refusal = Refusal(reason, path, rule)


def decode(record: Record) -> Decoded | Refusal:
    """Return the event that the record carries, or why it carries none; raises nothing."""
    try:
        value = _structured(record)
        _check_text(value)
        event = _event(value)
        _check_place(record, event)
    except _RefusedError as refused:
        return refused.refusal
    return Decoded(event, value)


def read(body: str | bytes, recorded_at_us: int) -> Event:
    """Return the event of a stored body (one that ``decode`` once passed)."""
    return _event(body, recorded_at_us)


def identity(source: str, event_id: str) -> bytes:
    """Return the 16 bytes that stand for (source, id) within a claim; NUL cannot be in either."""
    return blake2b(f"{source}\0{event_id}".encode(), digest_size=16).digest()


def content(body: str | bytes) -> bytes:
    """Return what must be equal for two events of one identity to be the same event.

    Type, time as an instant, and data with keys sorted, absent = null = empty list, money normalised.
    """
    envelope = msgspec.json.decode(body, type=_Content)
    return msgspec.json.encode(
        [envelope.type, _micros(envelope.time), _canonical(envelope.data)],
        order="sorted",
    )


def cents(text: str) -> int:
    """Return the cents of a decimal string; raises ValueError naming the rule."""
    found = _MONEY.fullmatch(text)
    if found is None:
        raise ValueError('money is a decimal string like "-88.00": at most ten digits before and two after the point')
    sign, whole, fraction = found.groups(default="")
    amount = int(whole) * 100 + int(fraction.ljust(2, "0") or 0)
    return -amount if sign else amount


def money(amount: int) -> str:
    """Return cents as the contract's decimal string, always with two decimals."""
    whole, rest = divmod(abs(amount), 100)
    return f"{'-' if amount < 0 else ''}{whole}.{rest:02}"


class _Content(Struct):
    type: str
    time: datetime
    data: dict[str, Any]


class _Envelope(CloudEvent, frozen=True, kw_only=True):
    data: msgspec.Raw


@lru_cache(maxsize=8_192)
def _from_wire(target: type, value: object) -> object:
    """Decode money: the only wire type that msgspec does not know. Prices repeat, hence the cache."""
    if not isinstance(value, str):
        raise ValueError(_NOT_TEXT)  # noqa: TRY004  (msgspec reports ValueError with its path)
    amount = cents(value)
    if target is Charge and amount < 0:
        raise ValueError("a charge is never below zero")
    return target(amount)


_ENVELOPE: Final = msgspec.json.Decoder(_Envelope)
_DATA: Final = {name: msgspec.json.Decoder(struct, dec_hook=_from_wire) for name, struct in type_of_data.items()}
_decode_any: Final = msgspec.json.Decoder().decode
_encode_any: Final = msgspec.json.Encoder().encode


def _refuse(reason: RefusalReason, path: str, rule: str) -> NoReturn:
    raise _RefusedError(reason, path, rule)


def _structured(record: Record) -> bytes:
    """Return the CloudEvent as JSON, composed from ``ce_`` headers where it came in binary mode."""
    value = record.value
    if not value:
        _refuse("no_value", "$", "a record carries one event; null and empty values do not")
    _check_size(value)
    if not record.headers:
        return value
    kind = next((v for name, v in record.headers if name.lower() == "content-type"), None)
    if kind is not None and kind.lower().startswith(b"application/cloudevents"):
        return value
    if not any(name == "ce_specversion" and header is not None for name, header in record.headers):
        return value
    attributes: dict[str, Any] = {}
    for name, header in record.headers:
        if not name.startswith("ce_"):
            continue
        if name[3:] in attributes or name == "ce_data":
            _refuse("bad_header", f"header {len(attributes)}", "each ce_ attribute once, and data is the value")
        try:
            attributes[name[3:]] = (header or b"").decode()
        except UnicodeDecodeError:
            _refuse("bad_header", f"header {len(attributes)}", "ce_ headers are UTF-8")
    # By itself, so that nothing of it passes for a part of the envelope.
    _text(value)
    _parse(value)
    composed = _encode_any({**attributes, "data": msgspec.Raw(value)})
    # The event log keeps this form, and what reads it there holds it to the same limit.
    _check_size(composed)
    return composed


def _check_size(value: bytes) -> None:
    if len(value) > MAX_VALUE_BYTES:
        _refuse("too_large", "$", f"at most {MAX_VALUE_BYTES} bytes")


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        _refuse("bad_text", "$", "UTF-8")


def _check_text(value: bytes) -> None:
    """Refuse what the JSON grammar allows and a ledger cannot: NUL, lone surrogates, depth, duplicate keys."""
    text = _text(value)
    parsed = _parse(value)
    # A backslash is rare, and a search for one byte far quicker than one for six.
    if b"\\" in value and b"\\u0000" in value and _holds_nul(parsed):
        _refuse("bad_text", "$", "no NUL character")
    # Equal bytes prove that no key came twice; only where spelling differs (escapes, numbers) does the slow proof run.
    spelled = _encode_any(parsed)
    if value != spelled and msgspec.json.format(value, indent=-1) != spelled:
        json.loads(text, object_pairs_hook=_unique)


def _parse(value: bytes) -> Any:  # noqa: ANN401  (any JSON)
    # Fewer brackets than the limit cannot nest past it: the count spares the walk.
    if value.count(b"{") + value.count(b"[") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        _refuse("too_deep", "$", f"at most {MAX_DEPTH} levels")
    try:
        return _decode_any(value)
    except msgspec.ValidationError:
        _refuse("not_json", "$", "numbers are finite and within range")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if _SURROGATE.search(value):
            _refuse("bad_text", "$", "no lone surrogate")
        _refuse("not_json", "$", _position(error))


def _position(error: Exception) -> str:
    """Keep only the byte offset of a parse error: its message is the parser's, but its details need not be safe."""
    found = re.search(r"\(byte (\d+)\)", str(error))
    return f"valid JSON (malformed near byte {found[1]})" if found else "valid JSON"


def _depth(value: bytes) -> int:
    depth = deepest = 0
    for token in _TOKEN.finditer(value):
        match token[0][:1]:
            case b"{" | b"[":
                depth += 1
                deepest = max(deepest, depth)
            case b"}" | b"]":
                depth -= 1
    return deepest


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen = dict(pairs)
    if len(seen) != len(pairs):
        _refuse("duplicate_key", "$", "each key once in an object")
    return seen


def _holds_nul(node: object) -> bool:
    if isinstance(node, str):
        return "\0" in node
    if isinstance(node, dict):
        return any(_holds_nul(part) for pair in node.items() for part in pair)
    return isinstance(node, list) and any(_holds_nul(part) for part in node)


def _event(value: str | bytes, recorded_at_us: int = 0) -> Event:
    try:
        envelope = _ENVELOPE.decode(value)
    except msgspec.ValidationError as error:
        _refuse("not_cloudevent", *_path_and_rule(error, "$"))
    decoder = _DATA.get(envelope.type)
    if decoder is None:
        if envelope.type.rpartition(".")[0] in _VERSIONLESS:
            _refuse("unknown_version", "$.type", f"one of {', '.join(_DATA)}")
        _refuse("unknown_type", "$.type", f"one of {', '.join(_DATA)}")
    for name, word in (("subject", envelope.subject), ("source", envelope.source), ("id", envelope.id)):
        if not word.isprintable():
            _refuse("not_cloudevent", f"$.{name}", "printable characters only")
    time_us = _micros(envelope.time)
    if not _FIRST_US <= time_us < _END_US:
        _refuse("not_cloudevent", "$.time", f"between the years {FIRST_YEAR} and {LAST_YEAR}")
    try:
        data = decoder.decode(envelope.data)
    except msgspec.ValidationError as error:
        _refuse("invalid", *_path_and_rule(error, "$.data"))
    kind = _checked_kind(data)
    return Event(envelope.subject, envelope.source, envelope.id, kind, time_us, data, recorded_at_us)


def _path_and_rule(error: msgspec.ValidationError, root: str) -> tuple[str, str]:
    """Split msgspec's message; the rule of an enum is told without the value that msgspec quotes."""
    message, _, path = str(error).partition(" - at `")
    if message.startswith("Invalid enum value"):
        message = "one of the values of the contract"
    elif message.startswith("unhashable type"):
        # A list or an object where money belongs never reaches the decoder: its cache asks for a hash first.
        message = _NOT_TEXT
    elif message.startswith("Invalid value"):
        message = "a valid value"
    return root + path.rstrip("`").removeprefix("$"), message


def _check_place(record: Record, event: Event) -> None:
    if not isinstance(event.data, type_of_data[TYPE_OF_TOPIC[record.topic]]):
        _refuse("wrong_topic", "$.type", f"the topic {record.topic} carries {TYPE_OF_TOPIC[record.topic]}")
    if record.key != event.claim_id.encode():
        _refuse("key_mismatch", "$.subject", "the record's key is the subject in UTF-8")


def _checked_kind(data: EventData) -> EventKind:
    """Hold the rules that need two fields; return the event's kind."""
    match data:
        case SessionRecorded():
            _check_date("$.data.date_of_service", data.date_of_service)
            return "session"
        case ClaimSubmitted():
            for number, line in enumerate(data.lines):
                _check_date("$.data.lines[{}].date_of_service", line.date_of_service, number)
            if data.total_charge is None and data.kind != "appeal":
                _refuse("invalid", "$.data.total_charge", f"required on kind {data.kind}")
            if data.payer_claim_number is None and data.kind in ("replacement", "void"):
                _refuse("invalid", "$.data.payer_claim_number", f"required on kind {data.kind}")
            return data.kind
        case PayerResponse():
            _check_date("$.data.received_on", data.received_on)
            _check_date("$.data.decided_on", data.decided_on)
            _check_date("$.data.paid_on", data.paid_on)
            _check_money(data)
            return data.response


def _check_date(path: str, day: date | None, number: int = 0) -> None:
    if day is not None and not FIRST_YEAR <= day.year <= LAST_YEAR:
        _refuse("invalid", path.format(number), f"between the years {FIRST_YEAR} and {LAST_YEAR}")


def _check_money(data: PayerResponse) -> None:
    if data.response in ("approved", "reversed"):
        for name, required in (("paid", data.paid), ("allowed", data.allowed)):
            if required is None:
                _refuse("invalid", f"$.data.{name}", f"required on response {data.response}")
    sign = -1 if data.response == "reversed" else 1
    _check_sign("$.data.charge", data.charge, sign)
    _check_sign("$.data.paid", data.paid, sign)
    _check_sign("$.data.allowed", data.allowed, sign)
    _check_sign("$.data.patient_responsibility", data.patient_responsibility, sign)
    for number, line in enumerate(data.lines):
        _check_sign("$.data.lines[{}].paid", line.paid, sign, number)
        _check_sign("$.data.lines[{}].allowed", line.allowed, sign, number)
        _check_sign("$.data.lines[{}].charge", line.charge, sign, number)


def _check_sign(path: str, amount: int | None, sign: int, number: int = 0) -> None:
    if amount is None or amount * sign >= 0:
        return
    if sign < 0:
        _refuse("invalid", path.format(number), "a reversal carries the negated amounts: none above zero")
    _refuse("invalid", path.format(number), "negative money only on response reversed and in adjustments")


def _micros(time: datetime) -> int:
    delta = time - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


_FIRST_US: Final = _micros(datetime(FIRST_YEAR, 1, 1, tzinfo=UTC))
_END_US: Final = _micros(datetime(LAST_YEAR + 1, 1, 1, tzinfo=UTC))
_MONEY_FIELDS: Final = {"charge", "total_charge", "allowed", "paid", "patient_responsibility", "amount"}


def _canonical(node: Any, field: str = "") -> Any:  # noqa: ANN401  (any JSON)
    if isinstance(node, dict):
        return {key: _canonical(part, key) for key, part in node.items() if part is not None and part != []}
    if isinstance(node, list):
        return [_canonical(part) for part in node]
    if field in _MONEY_FIELDS and isinstance(node, str) and _MONEY.fullmatch(node):
        return cents(node)
    return node
