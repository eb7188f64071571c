"""A good record of each topic with every field filled, and the ways to change one."""

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any, Final

import msgspec

from events.codec import Record

CANARY: Final = "cnry-5f0a7"
"""In everything that a record holds: what may never be in a log, a metric or the reason of a refusal."""
ABSENT: Final = ...
BINARY: Final = ("content-type", b"application/json")
STRUCTURED: Final = ("content-type", b"application/cloudevents+json")

Headers = list[tuple[str, bytes | None]]
Way = Callable[[Record], Record]
"""From a good record to another."""

# The charge, the codes and the days are the same throughout: nothing here is about what claims mean.
DATA: Final[dict[str, dict[str, Any]]] = {
    "session-recorded": {
        "session_id": f"{CANARY}-S1",
        "date_of_service": "2026-03-02",
        "provider": {"npi": "1234567893", "credential": "LMT"},
        "payer_id": CANARY,
        "plan": CANARY,
        "patient_ref": CANARY,
        "place_of_service": "11",
        "procedures": [
            {
                "code": "97124",
                "modifiers": ["GP"],
                "minutes": 30,
                "units": 2,
                "charge": "130.00",
                "diagnoses": [CANARY],
            }
        ],
        "authorization": {"number": CANARY, "valid_from": "2026-01-01", "valid_to": "2026-12-31", "units": 10},
        "order": {"npi": "1234567893", "date": "2026-02-01"},
        "documentation": ["history"],
        "cancelled": True,
    },
    "claim-submitted": {
        "submission_id": f"{CANARY}-SUB-1",
        "kind": "original",
        "payer_id": CANARY,
        "payer_rank": 1,
        "clearinghouse": CANARY,
        "total_charge": "130.00",
        "lines": [
            {
                "line": "1",
                "code": "97124",
                "modifiers": ["GP"],
                "units": 2,
                "charge": "130.00",
                "date_of_service": "2026-03-02",
            }
        ],
        "payer_claim_number": CANARY,
        "appeal": {"level": 1, "reason": "coding"},
    },
    "payer-response": {
        "response": "approved",
        "sender": "payer",
        "payer_id": CANARY,
        "payer_rank": 1,
        "submission_id": f"{CANARY}-SUB-1",
        "payer_claim_number": CANARY,
        "statuses": [{"category": "A2", "code": "20", "entity": "82"}],
        "received_on": "2026-03-04",
        "decided_on": "2026-03-20",
        "paid_on": "2026-03-21",
        "trace": CANARY,
        "charge": "130.00",
        "allowed": "110.00",
        "paid": "88.00",
        "patient_responsibility": "22.00",
        "adjustments": [{"group": "CO", "reason": "45", "amount": "20.00", "line": "1"}],
        "remarks": ["N1"],
        "lines": [
            {"line": "1", "code": "97124", "charge": "130.00", "allowed": "110.00", "paid": "88.00", "units": 2},
        ],
    },
}
TYPES: Final = {
    "session-recorded": "session.recorded.v1",
    "claim-submitted": "claim.submitted.v1",
    "payer-response": "payer.response.v1",
}


def good(topic: str, claim_id: str) -> Record:
    """Return a record that is accepted, of a claim of its own."""
    event = {
        "specversion": "1.0",
        "id": f"{CANARY}-1",
        "source": f"/{CANARY}",
        "type": TYPES[topic],
        "subject": claim_id,
        "time": "2026-03-02T15:30:00Z",
        "data": DATA[topic],
    }
    return Record(topic, claim_id.encode(), msgspec.json.encode(event), [STRUCTURED, (CANARY, CANARY.encode())])


def as_it_is(record: Record) -> Record:
    """Change nothing."""
    return record


def both(*ways: Way) -> Way:
    """Change in several ways, one after another."""

    def changed(record: Record) -> Record:
        for way in ways:
            record = way(record)
        return record

    return changed


# --- of the record ---


def value(change: Callable[[bytes], bytes | None]) -> Way:
    """Change the bytes of the value."""
    return lambda record: Record(record.topic, record.key, change(record.value or b""), record.headers)


def instead(given: bytes | None) -> Way:
    """Put other bytes in the place of the value."""
    return value(lambda _: given)


def key(change: Callable[[bytes], bytes | None]) -> Way:
    """Change the key."""
    return lambda record: Record(record.topic, change(record.key or b""), record.value, record.headers)


def topic(name: str) -> Way:
    """Send it to another topic."""
    return lambda record: Record(name, record.key, record.value, record.headers)


def headers(*given: tuple[str, bytes | None]) -> Way:
    """Put other headers in the place of its own."""
    return lambda record: Record(record.topic, record.key, record.value, [*given])


def also(*given: tuple[str, bytes | None]) -> Way:
    """Add headers."""
    return lambda record: Record(record.topic, record.key, record.value, [*record.headers, *given])


def binary(*given: tuple[str, bytes | None], without: str = "") -> Way:
    """Write it in binary mode; add headers, or leave one out."""

    def changed(record: Record) -> Record:
        event = json.loads(record.value or b"")
        data = event.pop("data")
        own: Headers = [BINARY, *((f"ce_{name}", str(word).encode()) for name, word in event.items())]
        kept = [pair for pair in own if pair[0] != without]
        return Record(record.topic, record.key, msgspec.json.encode(data), [*kept, *given])

    return changed


# --- of the event ---


def put(path: str, what: object) -> Way:
    """Set what a dotted path names, or with ABSENT take it away."""

    def changed(record: Record) -> Record:
        event = json.loads(record.value or b"")
        *way, last = path.split(".")
        node = event
        for name in way:
            node = node[int(name)] if isinstance(node, list) else node[name]
        if what is ABSENT:
            del node[last]
        else:
            node[int(last) if isinstance(node, list) else last] = deepcopy(what)
        return Record(record.topic, record.key, msgspec.json.encode(event), record.headers)

    return changed


def subject(claim_id: str) -> Way:
    """Give it another claim, in the key too."""
    return both(put("subject", claim_id), key(lambda _: claim_id.encode()))


def member(raw: bytes) -> Way:
    """Add a member to the data that an encoder would not write."""
    return value(lambda old: old[:-2] + b"," + raw + b"}}")


def member_of_data(raw: bytes) -> Way:
    """Add the same where the value is the data alone, as in binary mode."""
    return value(lambda old: old[:-1] + b"," + raw + b"}")


def attribute(raw: bytes) -> Way:
    """Add a member to the envelope that an encoder would not write."""
    return value(lambda old: old[:-1] + b"," + raw + b"}")


def places(node: object, path: str = "data") -> Iterator[tuple[str, object]]:
    """Yield every place in an event's data, and what is there."""
    parts = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, part in parts:
        yield f"{path}.{name}", part
        yield from places(part, f"{path}.{name}")
