"""`python -m tests.faults.codec_fuzz`: spoils records in every way and looks at what the codec makes of each.

A mutation is told by a seed and a number: the same two make the same record on every machine.
"""

import argparse
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from random import Random
from typing import Any, Final, get_args

import msgspec

from events import codec, samples
from events.codec import MAX_VALUE_BYTES, Decoded, Record, Refusal, RefusalReason, decode
from events.topics import TOPICS
from tests.faults.bad_input import ROWS
from tests.faults.records import CANARY, binary, good

START_LIMIT_S: Final = 0.5
"""Processor time of any record, however small, on a busy machine."""
BYTE_LIMIT_S: Final = 5e-6
"""Processor time that a byte may add; one costs a hundredth of that."""
SAMPLE_CLAIMS: Final = 12
LARGEST_SEED: Final = 8_192
"""Bytes of a record of the catalogue that is worth changing further."""
MOST_CHANGES: Final = 3
RECORDED_AT_US: Final = 1_780_000_000_000_000

_PATH: Final = re.compile(r"\$(\.\w+|\[(\d+|\.\.\.)\])*|header \d+")
# As they stand in JSON; an encoder would not write most of them.
_TOKENS: Final = (
    *(b"NaN", b"-Infinity", b"1e999", b"-1e-999", b"0e999999", b"-0", b"-0.0", b"01", b"1.", b".5", b"0x1", b"1E+2"),
    *(b"9" * 19, b"9" * 20, b"9" * 400, b"9" * 4_301, b"18446744073709551616", b"-9223372036854775809", b"1e308"),
    *(
        b"null",
        b"true",
        b"false",
        b"[]",
        b"{}",
        b'""',
        b"[null]",
        b'{"":null}',
        b"0.1000000000000000055511151231257827",
    ),
    *(rb'"\u0000"', rb'"\ud800"', rb'"\udc00\ud800"', rb'"\ud83d\ude00"', rb'"\uDbFf\uDfFf"', rb'"\\u0000"', rb'"\/"'),
    *(b'"\0"', b'"\x1f"', b'"\x7f"', b'"\xff"', b'"\xc0\x80"', b'"\xed\xa0\x80"', b'"\xf4\x90\x80\x80"', b'"\xf0\x9f"'),
    *('"\u202e"'.encode(), '"\ufeff"'.encode(), '"e\u0301"'.encode(), '"\u00a0"'.encode(), '"\uffff"'.encode()),
    *(
        b"[" * 31 + b"]" * 31,
        b"[" * 60 + b"]" * 60,
        b'{"a":' * 40 + b"1" + b"}" * 40,
        b"[" * 5_000,
        b'["' + b'\\"' * 999,
    ),
    *(b'"0.00"', b'"-0.00"', b'"-0.01"', b'"9999999999.99"', b'"10000000000"', b'"1e2"', b'"NaN"', b'"1.005"', b'"01"'),
    *(b'"2026-02-30"', b'"2000-01-01"', b'"2099-12-31"', b'"2100-01-01"', b'"0000-00-00"', b'"2026-03-02T00:00:00Z"'),
    *(b'"2026-03-02T23:59:60Z"', b'"2099-12-31T23:59:59.9999999Z"', b'"0001-01-01T00:00:00+23:59"', b'"x" "y"'),
    *(b'"2026-03-02T15:30:00.' + b"1" * 50 + b'Z"', b'"1999-12-31T23:59:59-00:01"', b'"9999-12-31T23:59:59-23:59"'),
)
_BYTES: Final = (
    *(b"", b" ", b"\0", b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80"),
    *(
        b"\\u0000",
        b"\\ud800",
        b"\\u006",
        b"\\",
        b"//",
        b"/**/",
        b'"id":"1",',
        b'"\\u0069d":"1",',
        b"\n",
        b"\r\n",
        b"\x0c",
    ),
)
_HEADERS: Final[tuple[bytes | None, ...]] = (None, b"", b"1.0", b"\xff", b"a\0b", b"x" * 300, b"2026-03-02T15:30:00Z")
_NAMES: Final = (
    *("ce_id", "ce_source", "ce_type", "ce_subject", "ce_time", "ce_specversion", "ce_data", "ce_", "ce_x", "CE_ID"),
    *("content-type", "Content-Type", "", "trace", "ce_\0", "ce_\u202e", "ce_datacontenttype"),
)
_KINDS: Final = (b"application/json", b"application/cloudevents+json", b"APPLICATION/CLOUDEVENTS", b"\xff", None)
_HOLE: Final = "\ue000"
"""Where a token goes; no seed holds this character."""


@cache
def seeds() -> tuple[Record, ...]:
    """Return the records that are spoiled: good ones in both modes, sampled ones, and those of the catalogue."""
    facts = [good(topic, CANARY) for topic in TOPICS]
    catalogue = [row.way(good(row.topic, CANARY)) for row in ROWS]
    sampled = [Record(each.topic, each.key, each.value, each.headers) for each in samples.stream(SAMPLE_CLAIMS, 5)]
    return (
        *facts * 20,
        *[binary()(fact) for fact in facts] * 10,
        *(each for each in catalogue if len(each.value or b"") < LARGEST_SEED),
        *sampled,
    )


def mutation(seed: int, number: int) -> Record:
    """Return the record of this seed and number."""
    chance = Random(f"{seed} {number}")
    record = chance.choice(seeds())
    for _ in range(chance.randint(1, MOST_CHANGES)):
        record = chance.choices(_WAYS, _WEIGHTS)[0](record, chance)
    return record


def wrong(record: Record, outcome: Decoded | Refusal, took_s: float) -> Iterator[str]:
    """Yield what is wrong with the codec's answer."""
    held = len(record.value or b"") + sum(len(name) + len(value or b"") for name, value in record.headers)
    if took_s > START_LIMIT_S + held * BYTE_LIMIT_S:
        yield f"took {took_s:.3f} s for {held} bytes"
    if isinstance(outcome, Refusal):
        if outcome.reason not in get_args(RefusalReason) or not outcome.rule or not _PATH.fullmatch(outcome.path):
            yield f"a refusal that says nothing: {outcome!r}"
        if CANARY in str(outcome) or not str(outcome).isprintable():
            yield "a refusal that tells of the record"
        return
    body = outcome.body
    if len(body) > MAX_VALUE_BYTES:
        yield f"a body of {len(body)} bytes"
    if any("\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text) for text in _texts(json.loads(body))):
        yield "a text that PostgreSQL refuses"
    if codec.read(body, RECORDED_AT_US) != msgspec.structs.replace(outcome.event, recorded_at_us=RECORDED_AT_US):
        yield "the body reads back as another event"
    if decode(Record(record.topic, record.key, body)) != outcome:
        yield "the body, published again, is another event or none"
    if codec.content(body) != codec.content(json.dumps(_backwards(json.loads(body)))):
        yield "the same content in another spelling is other content"


def judge(record: Record) -> tuple[Decoded | Refusal, str | None]:
    """Return what the codec says of a record, and what is wrong with that."""
    began = time.process_time()
    outcome = decode(record)
    return outcome, next(wrong(record, outcome, time.process_time() - began), None)


def first_wrong(seed: int, numbers: Iterable[int], outcomes: Counter[str] | None = None) -> str | None:
    """Return what is wrong with the first answer that is, and how to see it again; count the outcomes."""
    for number in numbers:
        record = mutation(seed, number)
        try:
            outcome, fault = judge(record)
        except BaseException as error:
            error.add_note(f"seed {seed}, number {number}: {_literal(record)}")
            raise
        if fault:
            return f"{fault}; seed {seed}, number {number}: {_literal(record)}"
        if outcomes is not None:
            outcomes[outcome.reason if isinstance(outcome, Refusal) else "accepted"] += 1
    return None


def main() -> int:
    """Spoil as many records as asked for; print one line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.codec_fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=300_000)
    given = parser.parse_args()
    outcomes: Counter[str] = Counter()
    began = time.monotonic()
    fault = first_wrong(given.seed, range(given.count), outcomes)
    took_s = round(time.monotonic() - began, 1)
    print(json.dumps({"seed": given.seed, "count": outcomes.total(), "seconds": took_s, "outcomes": outcomes}))
    if fault:
        print(fault, file=sys.stderr)
    return 1 if fault else 0


# --- ways to spoil: of bytes ---


def _flipped(record: Record, chance: Random) -> Record:
    value = bytearray(record.value or b"\0")
    for _ in range(chance.randint(1, 4)):
        value[chance.randrange(len(value))] ^= 1 << chance.randrange(8)
    return _valued(record, bytes(value))


def _cut(record: Record, chance: Random) -> Record:
    value = record.value or b""
    first, last = sorted(chance.randint(0, len(value)) for _ in range(2))
    return _valued(record, chance.choice((value[:first], value[:first] + value[last:], value[:last] + value[first:])))


def _spliced(record: Record, chance: Random) -> Record:
    value, other = record.value or b"", chance.choice(seeds()).value or b""
    return _valued(record, value[: chance.randint(0, len(value))] + other[chance.randint(0, len(other)) :])


def _inserted(record: Record, chance: Random) -> Record:
    value = record.value or b""
    place = chance.randint(0, len(value))
    return _valued(record, value[:place] + chance.choice((*_BYTES, *_TOKENS)) + value[place:])


def _swollen(record: Record, chance: Random) -> Record:
    """Bring it near the greatest size."""
    value = record.value or b""
    return _valued(record, value + b" " * (MAX_VALUE_BYTES - len(value) + chance.choice((-300, -1, 0, 1))))


# --- of JSON ---


def _replaced(record: Record, chance: Random) -> Record:
    """Put a token, or another place's value, where a value is."""
    return _edited(record, chance, chance.choice(_TOKENS), _set)


def _added(record: Record, chance: Random) -> Record:
    """Add a member with any key, an escaped or a known one too."""
    key = chance.choice(("note", "", "id", "ID", "paid", "a\\u0062", "\\u0069d", "\\u0000", "\\ud800", "type", CANARY))
    raw = b'"' + key.encode() + b'":' + chance.choice(_TOKENS)

    def add(node: Any, name: Any) -> None:  # noqa: ANN401  (any JSON)
        inner = node[name]
        (inner if isinstance(inner, dict) else node if isinstance(node, dict) else {})[_HOLE] = _HOLE

    return _edited(record, chance, raw, add)


def _removed(record: Record, chance: Random) -> Record:
    def remove(node: Any, name: Any) -> None:  # noqa: ANN401  (any JSON)
        del node[name]

    return _edited(record, chance, b"", remove)


def _wrapped(record: Record, chance: Random) -> Record:
    def wrap(node: Any, name: Any) -> None:  # noqa: ANN401  (any JSON)
        for _ in range(chance.choice((1, 5, 30, 40))):
            node[name] = [node[name]] if chance.random() < 0.5 else {"x": node[name]}

    return _edited(record, chance, b"", wrap)


def _respelt(record: Record, chance: Random) -> Record:
    parsed = _parsed(record)
    if parsed is None:
        return record
    indent = chance.choice((None, 0, 3))
    return _valued(record, json.dumps(_backwards(parsed), indent=indent, ensure_ascii=chance.random() < 0.5).encode())


def _set(node: Any, name: Any) -> None:  # noqa: ANN401  (any JSON)
    node[name] = _HOLE


def _edited(record: Record, chance: Random, token: bytes, edit: Callable[[Any, Any], None]) -> Record:
    """Edit a place of the JSON, if it is any; where the edit leaves a hole, the token goes."""
    parsed = _parsed(record)
    places = [*_places(parsed)]
    if not places:
        return record
    edit(*chance.choice(places))
    value = msgspec.json.encode(parsed)
    hole = f'"{_HOLE}"'.encode()
    return _valued(record, value.replace(hole + b":" + hole, token, 1).replace(hole, token, 1))


# --- of what is around ---


def _headed(record: Record, chance: Random) -> Record:
    headers = [*record.headers]
    chance.shuffle(headers)
    name = chance.choice(_NAMES)
    value = chance.choice(_KINDS) if name.lower() == "content-type" else chance.choice(_HEADERS)
    return Record(
        record.topic, record.key, record.value, [*headers[: chance.randint(0, len(headers) + 3)], (name, value)]
    )


def _moved(record: Record, chance: Random) -> Record:
    key = chance.choice((record.key, None, b"", b"\xff", (record.key or b"") + b" "))
    return Record(chance.choice(TOPICS), key, record.value, record.headers)


_WAYS: Final = (
    *(_flipped, _cut, _spliced, _inserted, _replaced, _added),
    *(_removed, _wrapped, _respelt, _headed, _moved, _swollen),
)
_WEIGHTS: Final = (2, 1, 1, 2, 6, 5, 1, 1, 2, 3, 1, 0.3)


def _valued(record: Record, value: bytes) -> Record:
    return Record(record.topic, record.key, value, record.headers)


def _parsed(record: Record) -> Any:  # noqa: ANN401  (any JSON)
    """Return the value's JSON; None where it is none that an encoder writes again."""
    try:
        return msgspec.json.decode(record.value or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _places(node: Any) -> Iterator[tuple[Any, Any]]:  # noqa: ANN401  (any JSON)
    """Yield every place that can be set: the object or list, and the key in it."""
    for name, part in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield node, name
        yield from _places(part)


def _texts(node: object) -> Iterator[str]:
    """Yield every string of a JSON value, the keys too."""
    if isinstance(node, str):
        yield node
    for part in (*node, *node.values()) if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _texts(part)


def _backwards(node: Any) -> Any:  # noqa: ANN401  (any JSON)
    """Return the same JSON with the keys of every object in the opposite order."""
    if isinstance(node, dict):
        return {key: _backwards(part) for key, part in reversed(node.items())}
    return [_backwards(part) for part in node] if isinstance(node, list) else node


def _literal(record: Record) -> str:
    return f"Record({record.topic!r}, {record.key!r}, {record.value!r}, {[*record.headers]!r})"


if __name__ == "__main__":
    sys.exit(main())
