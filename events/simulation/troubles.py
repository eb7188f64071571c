"""What goes wrong on real topics: records that no reader can use, facts told twice, and facts told in two ways."""

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from random import Random
from typing import Any, Final, NamedTuple

import msgspec

from events.codec import MAX_DEPTH, MAX_VALUE_BYTES, Record, RefusalReason
from events.topics import TOPICS

_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode

Event = dict[str, Any]
"""A CloudEvent as JSON has it."""


class Poison(NamedTuple):
    """A way to make an event unusable, and the reason for which it must be refused."""

    reason: RefusalReason
    spoil: Callable[[Record], Record]


_ANOTHER_FACT: Final = {
    "session-recorded": {"patient_ref": "p_other"},
    "claim-submitted": {"clearinghouse": "CH-09"},
    "payer-response": {"trace": "EFT-0"},
}


def said_again(record: Record, chance: Random) -> Record:
    """Return the same fact once more: the same bytes, or as another honest client would write it."""
    way = chance.choice((_same, _same, _respelt, _in_binary_mode, _with_odd_headers))
    return way(record)


def contradicted(record: Record) -> Record:
    """Return another fact under the same identity."""
    event = _decode(record.value or b"")
    event["data"] |= _ANOTHER_FACT[record.topic]
    return _valued(record, _encode(event))


def _same(record: Record) -> Record:
    return record


def _respelt(record: Record) -> Record:
    """Write keys in another order, the instant with another offset, and the attributes of a tracer."""
    event = _decode(record.value or b"")
    time = datetime.fromisoformat(event["time"]).astimezone(timezone(timedelta(hours=5, minutes=30)))
    again = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"} | event
    again |= {"time": time.isoformat(), "data": dict(reversed(event["data"].items()))}
    return _valued(record, _encode(again))


def _in_binary_mode(record: Record) -> Record:
    event = _decode(record.value or b"")
    data = event.pop("data")
    headers = [("content-type", event.pop("datacontenttype").encode())]
    headers += [(f"ce_{name}", word.encode()) for name, word in event.items()]
    return Record(record.topic, record.key, _encode(data), headers)


def _with_odd_headers(record: Record) -> Record:
    """Add what Kafka allows and careless readers fall over; none of it is about the event."""
    return Record(record.topic, record.key, record.value, [("trace", None), ("origin", b"\xff\xfe"), ("origin", b"")])


def _valued(record: Record, value: bytes | None) -> Record:
    return Record(record.topic, record.key, value, record.headers)


# Ways to spoil: of a record, of its bytes, of its event.


def _bytes(spoil: Callable[[bytes], bytes | None]) -> Callable[[Record], Record]:
    return lambda record: _valued(record, spoil(record.value or b""))


def _event(spoil: Callable[[Event], object]) -> Callable[[Record], Record]:
    def spoiled(record: Record) -> Record:
        event = _decode(record.value or b"")
        spoil(event)
        return _valued(record, _encode(event))

    return spoiled


def _without(name: str) -> Callable[[Record], Record]:
    return _event(lambda event: event.pop(name))


def _with(**attributes: object) -> Callable[[Record], Record]:
    return _event(lambda event: event.update(attributes))


def _with_data(**fields: object) -> Callable[[Record], Record]:
    return _event(lambda event: event["data"].update(fields))


def _with_raw(field: bytes) -> Callable[[Record], Record]:
    """Add a field to the data that an encoder would not write."""
    return _bytes(lambda value: value[:-2] + b"," + field + b"}}")


def _with_money(amount: object) -> Callable[[Record], Record]:
    """Put an amount where each of the three types has one."""
    return _with_data(total_charge=amount, paid=amount, procedures=[{"code": "97124", "charge": amount}])


def _wrongly_signed(event: Event) -> None:
    amount = "1.00" if event["data"].get("response") == "reversed" else "-1.00"
    event["data"] |= {"total_charge": amount, "paid": amount, "procedures": [{"code": "97124", "charge": amount}]}


def _in_words_of_its_own(event: Event) -> None:
    event["data"] |= {"kind": "resubmission", "response": "settled", "documentation": ["mood"]}


def _on_no_day(event: Event) -> None:
    no_day = {"date_of_service": "2026-02-30"}
    lines = [{"line": "1", "code": "97124", "charge": "45.00"} | no_day]
    event["data"] |= no_day | {"decided_on": "2026-02-30"} | ({"lines": lines} if "kind" in event["data"] else {})


def _on_another_topic(record: Record) -> Record:
    return Record(TOPICS[TOPICS.index(record.topic) - 1], record.key, record.value, record.headers)


def _with_key(key: bytes | None) -> Callable[[Record], Record]:
    return lambda record: Record(record.topic, key, record.value, record.headers)


def _with_header(name: str, header: bytes | None) -> Callable[[Record], Record]:
    """Write in binary mode and add a header, in place of the first of that name where it is null."""

    def spoiled(record: Record) -> Record:
        binary = _in_binary_mode(record)
        kept = [pair for pair in binary.headers if header is not None or pair[0] != name]
        return Record(binary.topic, binary.key, binary.value, [*kept, (name, header)])

    return spoiled


_DEEP: Final = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH

POISONS: Final = {
    "null value": Poison("no_value", _bytes(lambda _: None)),
    "empty value": Poison("no_value", _bytes(lambda _: b"")),
    "oversized": Poison("too_large", _bytes(lambda value: value + b" " * MAX_VALUE_BYTES)),
    "attribute header not UTF-8": Poison("bad_header", _with_header("ce_tenant", b"\xff\xfe")),
    "attribute header twice": Poison("bad_header", _with_header("ce_id", b"other")),
    "attribute header null": Poison("not_cloudevent", _with_header("ce_id", None)),
    "pickle": Poison("bad_text", _bytes(lambda _: b"\x80\x05\x95\x10\x00\x00\x00\x00\x00\x00\x00}\x94.")),
    "latin-1": Poison("bad_text", _with_raw(b'"note":"caf\xe9"')),
    "NUL": Poison("bad_text", _with_raw(b'"note":"a\\u0000b"')),
    "lone surrogate": Poison("bad_text", _with_raw(b'"note":"\\ud83d"')),
    "too deep": Poison("too_deep", _with_raw(b'"note":' + _DEEP)),
    "cut off": Poison("not_json", _bytes(lambda value: value[: len(value) // 2])),
    "schema registry frame": Poison("not_json", _bytes(lambda value: b"\x00\x00\x00\x00\x07" + value)),
    "byte order mark": Poison("not_json", _bytes(lambda value: b"\xef\xbb\xbf" + value)),
    "two events in one": Poison("not_json", _bytes(lambda value: value + b"\n" + value)),
    "plain text": Poison("not_json", _bytes(lambda _: b"claim paid, thanks")),
    "NaN": Poison("not_json", _with_raw(b'"note":NaN')),
    "number without end": Poison("not_json", _with_raw(b'"note":1e999')),
    "duplicate key": Poison("duplicate_key", _with_raw(b'"note":1,"note":2')),
    "array": Poison("not_cloudevent", _bytes(lambda value: b"[" + value + b"]")),
    "empty object": Poison("not_cloudevent", _bytes(lambda _: b"{}")),
    "no id": Poison("not_cloudevent", _without("id")),
    "id a number": Poison("not_cloudevent", _with(id=17)),
    "other CloudEvents version": Poison("not_cloudevent", _with(specversion="0.3")),
    "control character in the subject": Poison("not_cloudevent", _with(subject="CLM\n1")),
    "naive time": Poison("not_cloudevent", _with(time="2026-03-02T15:30:00")),
    "time of another century": Poison("not_cloudevent", _with(time="1926-03-02T15:30:00Z")),
    "unknown version": Poison("unknown_version", _event(lambda event: event.update(type=event["type"][:-1] + "9"))),
    "unknown type": Poison("unknown_type", _with(type="claim.settled.v1")),
    "wrong topic": Poison("wrong_topic", _on_another_topic),
    "wrong key": Poison("key_mismatch", _with_key(b"CLM-0")),
    "null key": Poison("key_mismatch", _with_key(None)),
    "missing field": Poison("invalid", _event(lambda event: event["data"].pop("payer_id"))),
    "wrong type": Poison("invalid", _with_data(payer_id=60110)),
    "unknown word": Poison("invalid", _event(_in_words_of_its_own)),
    "impossible date": Poison("invalid", _event(_on_no_day)),
    "money as a number": Poison("invalid", _with_money(90.1)),
    "money over-precise": Poison("invalid", _with_money("90.005")),
    "money wrongly signed": Poison("invalid", _event(_wrongly_signed)),
}
