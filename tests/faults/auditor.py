"""The auditor: holds Kafka's log against PostgreSQL's tables and says, a sentence each, what is not as promised.

It shares no line with the product: it has its own reading of a record, its own notion of equal content and its own
telling of a claim. Every check can fail: ``test_auditor.py`` plants a violation for each.
"""

import json
import re
from base64 import b64decode
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from hashlib import blake2b
from typing import Any, NamedTuple

from tests.faults import retold
from tests.faults.evidence import Kept, Log, PartitionLog, Place, Tables

SESSIONS = {"session"}
SUBMISSIONS = {"original", "replacement", "void", "appeal"}
MONEY = {"charge", "total_charge", "allowed", "paid", "patient_responsibility", "amount"}
AMOUNT = re.compile(r"-?[0-9]+(?:\.[0-9]{1,2})?")
# The changes of state that the lifecycle knows; None stands before the first.
LEGAL = {
    None: {"draft", "submitted"},
    "draft": {"submitted", "approved", "denied", "appealed"},
    "submitted": {"draft", "approved", "denied", "appealed"},
    "approved": {"draft", "submitted", "appealed"},
    "denied": {"draft", "submitted", "approved", "appealed"},
    "appealed": {"draft", "submitted", "approved", "denied"},
}
SAMPLE = re.compile(r"^claimpath_(records|refusals|conflicts)_total(?:\{(.*)\})? (\S+)$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="([^"]*)"')


class _Said(NamedTuple):
    """What a record says, if it is an event at all."""

    claim_id: str
    identity: bytes
    content: str


def audit(log: Log, tables: Tables, *, whole: bool = True) -> list[str]:
    """Return what is not as promised; nothing where all is.

    ``whole`` says that all of the log must have been taken, as after the lag fell to zero.
    """
    told = _told(tables)
    return [
        *_outcomes(log, tables),
        *_positions(log, tables, whole=whole),
        *_claims(tables, told),
        *_rollups(tables, told),
    ]


# --- each record has one outcome ---


def _outcomes(log: Log, tables: Tables) -> Iterator[str]:
    """Hold every record taken against the one row or count that accounts for it."""
    letters = {(row["topic"], row["partition"], row["generation"], row["offset"]): row for row in tables.dead_letter}
    events = {(row["claim_id"], row["identity"]): row for row in tables.event}
    contents = {name: _content(json.loads(row["body"], parse_float=str)) for name, row in events.items()}
    unclaimed = set(events)
    if len(events) != len(tables.event):
        yield f"{len(tables.event) - len(events)} events are stored twice"
    for row in tables.position:
        place: Place = (row["topic"], row["partition"], row["generation"])
        part = log.get(place)
        if part is None:
            yield f"{_name(place)} is taken and not in the log"
            continue
        lost = [gap for gap in tables.gap if _place(gap) == place]
        outcomes: Counter[str] = Counter()
        for kept in part.records:
            if not row["start_offset"] <= kept.offset < row["next_offset"] or _is_lost(kept, lost):
                continue
            letter = letters.pop((*place, kept.offset), None)
            outcome = _outcome(place, kept, events, contents, unclaimed)
            if letter is not None:
                outcomes["dead_letter"] += 1
                yield from _letter(place, kept, letter, outcome)
            elif outcome in ("accepted", "duplicate"):
                outcomes[outcome] += 1
            else:
                yield f"{_name(place)} at {kept.offset} has no outcome: it is {outcome}"
        for outcome in ("accepted", "duplicate", "dead_letter"):
            if outcomes[outcome] != row[outcome]:
                yield f"{_name(place)} counts {row[outcome]} {outcome} where there are {outcomes[outcome]}"
    for name in letters:
        yield f"a dead letter stands for {_name(name[:3])} at {name[3]}, where the log has no record that was taken"
    for claim_id, _ in unclaimed:
        yield f"an event of {claim_id} is stored that no record taken carries"


def _outcome(
    place: Place,
    kept: Kept,
    events: Mapping[tuple[str, bytes], dict[str, Any]],
    contents: Mapping[tuple[str, bytes], str],
    unclaimed: set[tuple[str, bytes]],
) -> str:
    said = _said(kept)
    if said is None:
        return "no event"
    name = (said.claim_id, said.identity)
    row = events.get(name)
    if row is None:
        return "not stored"
    if contents[name] != said.content:
        return "in conflict"
    stands_here = (row["partition"], row["offset"]) == (place[1], kept.offset) and _is_of(row["kind"], place[0])
    # Where a topic was made anew and filled again, the same place may carry the same event twice.
    if stands_here and name in unclaimed:
        unclaimed.remove(name)
        return "accepted"
    return "duplicate"


def _letter(place: Place, kept: Kept, letter: Mapping[str, Any], outcome: str) -> Iterator[str]:
    headers = [(name, None if value is None else b64decode(value)) for name, value in json.loads(letter["headers"])]
    if (letter["key"], letter["value"], headers) != (kept.key, kept.value, [*kept.headers]):
        yield f"the dead letter of {_name(place)} at {kept.offset} is not the record's bytes"
    if outcome == "accepted":
        yield f"{_name(place)} at {kept.offset} is accepted and a dead letter"
    if letter["reason"] == "conflict" and outcome != "in conflict":
        yield f"{_name(place)} at {kept.offset} is {outcome}, and refused as a conflict"


def _is_lost(kept: Kept, gaps: Iterable[Mapping[str, Any]]) -> bool:
    return any(gap["kind"] == "lost" and gap["first_offset"] <= kept.offset <= gap["last_offset"] for gap in gaps)


def _is_of(kind: str, topic: str) -> bool:
    if topic.endswith("session-recorded"):
        return kind in SESSIONS
    if topic.endswith("claim-submitted"):
        return kind in SUBMISSIONS
    return kind not in SESSIONS | SUBMISSIONS


def _said(kept: Kept) -> _Said | None:
    """Read a record as CloudEvents 1.0 says, structured or binary; what cannot be read says nothing."""
    headers = dict(kept.headers)
    try:
        event = json.loads((kept.value or b"").decode(), parse_float=str)
        kind = headers.get("content-type") or b""
        if "ce_specversion" in headers and not kind.lower().startswith(b"application/cloudevents"):
            attributes = {name[3:]: (value or b"").decode() for name, value in kept.headers if name.startswith("ce_")}
            event = {**attributes, "data": event}
        identity = blake2b(f"{event['source']}\0{event['id']}".encode(), digest_size=16).digest()
        return _Said(event["subject"], identity, _content(event))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _content(event: Mapping[str, Any]) -> str:
    """Return what must be equal for two events to say the same: type, instant, and data whatever its spelling."""
    instant = datetime.fromisoformat(event["time"]).timestamp()
    return json.dumps([event["type"], instant, _plain(event["data"])], sort_keys=True)


def _plain(node: Any, field: str = "") -> Any:  # noqa: ANN401  (any JSON)
    if isinstance(node, dict):
        return {name: _plain(part, name) for name, part in node.items() if part is not None and part != []}
    if isinstance(node, list):
        return [_plain(part) for part in node]
    return str(Decimal(node).quantize(Decimal("0.01"))) if field in MONEY and AMOUNT.fullmatch(str(node)) else node


# --- outcomes and gaps cover the partition ---


def _positions(log: Log, tables: Tables, *, whole: bool) -> Iterator[str]:
    """Every offset between start and position holds a record or lies in one declared gap, and nothing was passed."""
    gaps: defaultdict[Place, list[dict[str, Any]]] = defaultdict(list)
    for gap in tables.gap:
        gaps[_place(gap)].append(gap)
    rows = {_place(row): row for row in tables.position}
    latest = {(topic, partition): generation for topic, partition, generation in sorted(rows)}
    for place, row in rows.items():
        part = log.get(place, PartitionLog(0, 0, ()))
        yield from _cover(place, row, part, gaps.pop(place, []))
        if row["next_offset"] > part.end:
            yield f"{_name(place)} is taken up to {row['next_offset']}, beyond its end at {part.end}"
        if whole and latest[place[:2]] == place[2] and row["next_offset"] < part.end:
            yield f"{_name(place)} is taken up to {row['next_offset']} of {part.end}"
    for place in gaps:
        yield f"a gap is told of {_name(place)}, which has no position"
    if whole:
        for place in log.keys() - rows.keys():
            yield f"{_name(place)} was never taken"


def _cover(
    place: Place, row: Mapping[str, Any], part: PartitionLog, gaps: Iterable[Mapping[str, Any]]
) -> Iterator[str]:
    told: Counter[int] = Counter()
    records = {kept.offset for kept in part.records}
    for gap in gaps:
        span = range(gap["first_offset"], gap["last_offset"] + 1)
        told.update(span)
        if not row["start_offset"] <= span[0] <= span[-1] < row["next_offset"]:
            yield f"{_name(place)} has a gap at {span[0]} outside of what is taken"
        if gap["kind"] == "no_record" and not records.isdisjoint(span):
            yield f"{_name(place)} has a gap at {span[0]} where there is a record"
        if gap["kind"] == "lost" and span[-1] >= part.start:
            yield f"{_name(place)} has lost {span[-1]}, which Kafka still has"
    for offset, times in told.items():
        if times > 1:
            yield f"{_name(place)} has more than one gap at {offset}"
    for offset in range(row["start_offset"], row["next_offset"]):
        if offset not in records and not told[offset]:
            yield f"{_name(place)} has neither a record nor a gap at {offset}"
    if told.total() != row["gap"]:
        yield f"{_name(place)} counts {row['gap']} offsets in gaps where there are {told.total()}"
    if row["accepted"] + row["duplicate"] + row["dead_letter"] + row["gap"] != row["next_offset"] - row["start_offset"]:
        yield f"{_name(place)} counts other than its offsets"


def audit_committed(committed: Mapping[tuple[str, int], int], tables: Tables) -> list[str]:
    """Return where Kafka's committed offset, asked for before the tables, is ahead of PostgreSQL's position."""
    done = {(row["topic"], row["partition"]): row["next_offset"] for row in tables.position}
    return [
        f"Kafka's offset of {part[0]} {part[1]} is {offset}, ahead of {done.get(part, 'no position')}"
        for part, offset in committed.items()
        if offset > done.get(part, 0)
    ]


# --- each claim is what its events make it ---


def _told(tables: Tables) -> dict[str, retold.Told]:
    """Tell every claim from its stored events."""
    events: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
    for row in tables.event:
        events[row["claim_id"]].append((row["body"], row["recorded_at_us"]))
    return {claim_id: retold.tell(stored) for claim_id, stored in events.items()}


def _claims(tables: Tables, told: Mapping[str, retold.Told]) -> Iterator[str]:
    """Hold each claim against the naive telling of its events, and its history against the legal changes."""
    identities: defaultdict[str, set[bytes]] = defaultdict(set)
    for row in tables.event:
        identities[row["claim_id"]].add(row["identity"])
    histories: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in tables.history:
        histories[row["claim_id"]].append(row)
    claims = {row["claim_id"]: row for row in tables.claim}
    for claim_id in told.keys() - claims.keys():
        yield f"{claim_id} has events and no claim"
    for claim_id, row in claims.items():
        if claim_id not in told:
            yield f"{claim_id} is a claim without an event"
            continue
        yield from _history(row, histories[claim_id], identities[claim_id])
        for field in ("state", "payer", "open", "since_us", "waiting_since_us"):
            if row[field] != getattr(told[claim_id], field):
                yield f"{claim_id} has another {field} than its events make"
        for difference in retold.packed_differences(told[claim_id], json.loads(row["packed"])):
            yield f"{claim_id} is not what its events make: {difference}"


def _history(claim: Mapping[str, Any], history: Iterable[Mapping[str, Any]], identities: set[bytes]) -> Iterator[str]:
    claim_id = claim["claim_id"]
    state, at_us = None, None
    for change in history:
        if change["state_before"] != state:
            yield f"the history of {claim_id} has a hole before {change['state']}"
        if change["state"] not in LEGAL[change["state_before"]]:
            yield f"the history of {claim_id} goes from {change['state_before']} to {change['state']}"
        if at_us is not None and change["at_us"] < at_us:
            yield f"the history of {claim_id} is out of order"
        if blake2b(f"{change['source']}\0{change['id']}".encode(), digest_size=16).digest() not in identities:
            yield f"the history of {claim_id} names an event that it has not"
        state, at_us = change["state"], change["at_us"]
    if state != claim["state"]:
        yield f"the history of {claim_id} ends in {state}, and the claim is {claim['state']}"


def _rollups(tables: Tables, told: Mapping[str, retold.Told]) -> Iterator[str]:
    """Hold the rollups against the sum over all claims of what each adds."""
    wanted: dict[tuple[Any, ...], tuple[int, int]] = {}
    for claim in told.values():
        for name, (n, total) in retold.rollup(claim).items():
            have = wanted.get(name, (0, 0))
            wanted[name] = (have[0] + n, have[1] + total)
    wanted = {name: sums for name, sums in wanted.items() if sums != (0, 0)}
    stored = {
        (row["name"], row["payer"], row["label"], row["day"], row["bucket"]): (row["n"], row["total"])
        for row in tables.rollup
    }
    for name in wanted.keys() | stored.keys():
        if wanted.get(name) != stored.get(name):
            yield f"the rollup {name[0]} {name[2]} is {stored.get(name)} and not {wanted.get(name)}"


# --- what is told elsewhere ---


def audit_metrics(shown_before: Iterable[str], shown_after: Iterable[str], before: Tables, after: Tables) -> list[str]:
    """Return where what the trackers counted in between is not what the tables got.

    Holds for trackers that were not killed, and whose every COMMIT was answered.
    """
    counted, stored = _counted(shown_after), _countable(after)
    counted.subtract(_counted(shown_before))
    stored.subtract(_countable(before))
    return [
        f"the metric {' '.join(name)} counted {counted[name]} where the tables got {stored[name]}"
        for name in counted.keys() | stored.keys()
        if counted[name] != stored[name]
    ]


def _counted(expositions: Iterable[str]) -> Counter[tuple[str, str, str]]:
    counts: Counter[tuple[str, str, str]] = Counter()
    for exposition in expositions:
        for name, labels, count in SAMPLE.findall(exposition):
            given = dict(LABEL.findall(labels))
            word = given.get("outcome") or given.get("reason") or ""
            counts[name, given.get("topic", ""), word] += int(float(count))
    return counts


def _countable(tables: Tables) -> Counter[tuple[str, str, str]]:
    counts: Counter[tuple[str, str, str]] = Counter()
    for row in tables.position:
        for outcome in ("accepted", "duplicate", "dead_letter", "gap"):
            counts["records", _ours(row["topic"]), outcome] += row[outcome]
    for row in tables.dead_letter:
        counts["refusals", _ours(row["topic"]), row["reason"]] += 1
        counts["conflicts", "", ""] += row["reason"] == "conflict"
    return counts


def _ours(topic: str) -> str:
    return next(name for name in ("session-recorded", "claim-submitted", "payer-response") if topic.endswith(name))


def audit_words(canaries: Iterable[str], said: Mapping[str, str]) -> list[str]:
    """Return where a word that stands for a patient's is said: in a log, a metric, an error, PostgreSQL's own log."""
    return [f"{place} holds a canary" for place, text in said.items() if any(canary in text for canary in canaries)]


def _place(row: Mapping[str, Any]) -> Place:
    return row["topic"], row["partition"], row["generation"]


def _name(place: Place) -> str:
    topic, partition, generation = place
    return f"{topic} {partition}" + (f" (generation {generation})" if generation > 1 else "")
