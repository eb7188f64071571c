"""The auditor: holds Kafka's log against PostgreSQL's tables and says, a sentence each, what is not as promised.

It shares no line with the product: it has its own reading of a record, its own notion of equal content and its own
telling of a claim. Every check can fail: ``test_auditor.py`` plants a violation for each.
"""

import json
import math
import re
from base64 import b64decode
from bisect import bisect_left, bisect_right, insort
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import merge
from itertools import pairwise
from typing import Any, NamedTuple

from tests.faults import retold
from tests.faults.evidence import Kept, Log, PartitionLog, Place, Tables
from tests.faults.said import Said, content, identity, is_beyond_doubt, kind, name_of, said, time_us

# A test may make its database refuse the claims whose id ends so.
UNSTORABLE = b"-REFUSED"
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


def audit(log: Log, tables: Tables, *, whole: bool = True) -> list[str]:
    """Return what is not as promised; nothing where all is.

    ``whole`` says that all of the log must have been taken, as after the lag fell to zero.
    """
    told = _told(tables)
    return [
        *_outcomes(log, tables),
        *_events(tables),
        *_positions(log, tables, whole=whole),
        *_claims(tables, told),
        *_rollups(tables, told),
    ]


# --- each record has one outcome ---


class _Accounts(NamedTuple):
    """All that a record may be accounted for by; what accounts for one is taken out."""

    stored: dict[tuple[str, bytes], dict[str, Any]]
    unclaimed: set[tuple[str, bytes]]
    letters: dict[tuple[str, int, int, int], dict[str, Any]]
    lost: defaultdict[Place, list[tuple[int, int]]]


def _outcomes(log: Log, tables: Tables) -> Iterator[str]:
    """Hold every record taken against the one row or count that accounts for it."""
    stored = {(row["claim_id"], row["identity"]): row for row in tables.event}
    letters = {(*_place(row), row["offset"]): row for row in tables.dead_letter}
    accounts = _Accounts(stored, set(stored), letters, defaultdict(list))
    for gap in tables.gap:
        if gap["kind"] == "lost":
            insort(accounts.lost[_place(gap)], (gap["first_offset"], gap["last_offset"]))
    if len(stored) != len(tables.event):
        yield f"{len(tables.event) - len(stored)} events are stored twice"
    for row in tables.position:
        if _place(row) in log:
            yield from _counts(_place(row), row, log[_place(row)].records, accounts)
        else:
            yield f"{_name(_place(row))} is taken and not in the log"
    for name in letters:
        yield f"a dead letter stands for {_name(name[:3])} at {name[3]}, where the log has no record that was taken"
    for claim_id, _ in accounts.unclaimed:
        yield f"an event of {claim_id} is stored that no record taken carries"


def _counts(place: Place, row: Mapping[str, Any], records: Iterable[Kept], accounts: _Accounts) -> Iterator[str]:
    """Hold a partition's records, in their order, against what is told of them."""
    outcomes: Counter[str] = Counter()
    for kept in records:
        if not row["start_offset"] <= kept.offset < row["next_offset"] or _is_lost(kept.offset, accounts.lost[place]):
            continue
        told = said(place[0], kept)
        letter = accounts.letters.pop((*place, kept.offset), None)
        outcome = _outcome(place, kept.offset, told, accounts)
        if letter is not None:
            outcomes["dead_letter"] += 1
            yield from _letter(place, kept, told, letter, outcome)
        elif outcome in ("accepted", "duplicate"):
            outcomes[outcome] += 1
        else:
            yield f"{_name(place)} at {kept.offset} has no outcome: it is {outcome}"
    for outcome in ("accepted", "duplicate", "dead_letter"):
        if outcomes[outcome] != row[outcome]:
            yield f"{_name(place)} counts {row[outcome]} {outcome} where there are {outcomes[outcome]}"


def _outcome(place: Place, offset: int, told: Said | None, accounts: _Accounts) -> str:
    if told is None:
        return "no event"
    if not told.is_placed:
        return "under another key or in another topic than its own"
    name = (told.claim_id, told.identity)
    if name not in accounts.stored:
        return "not stored"
    row = accounts.stored[name]
    is_whole = row["body"] == told.body
    if not is_whole:
        event = json.loads(row["body"], parse_float=str)
        if content(event) != content(told.event):
            return "in conflict"
        is_whole = told.body is None and event == told.event
    # Where a topic was made anew and filled again, the same place may carry the same event twice.
    if row["partition"] != place[1] or name not in accounts.unclaimed:
        return "duplicate"
    # A partition is taken in its order: what comes first is the event.
    if row["offset"] != offset:
        return "a duplicate of what comes later" if row["offset"] > offset else "duplicate"
    accounts.unclaimed.remove(name)
    return "accepted" if is_whole else "stored in other words"


def _letter(place: Place, kept: Kept, told: Said | None, letter: Mapping[str, Any], outcome: str) -> Iterator[str]:
    headers = [(name, None if value is None else b64decode(value)) for name, value in json.loads(letter["headers"])]
    if (letter["key"], letter["value"], headers) != (kept.key, kept.value, [*kept.headers]):
        yield f"the dead letter of {_name(place)} at {kept.offset} is not the record's bytes"
    if outcome == "accepted":
        yield f"{_name(place)} at {kept.offset} is accepted and a dead letter"
    if letter["reason"] == "conflict" and outcome != "in conflict":
        yield f"{_name(place)} at {kept.offset} is {outcome}, and refused as a conflict"
    is_unstorable = letter["reason"] == "unprocessable" and (kept.key or b"").endswith(UNSTORABLE)
    if letter["reason"] != "conflict" and is_beyond_doubt(kept, told) and not is_unstorable:
        yield f"{_name(place)} at {kept.offset} is an event beyond doubt, and refused as {letter['reason']}"


def _is_lost(offset: int, spans: Sequence[tuple[int, int]]) -> bool:
    before = bisect_right(spans, (offset, math.inf))
    return before > 0 and offset <= spans[before - 1][1]


def _events(tables: Tables) -> Iterator[str]:
    """Hold what the event log says of each event against the event."""
    for row in tables.event:
        event = json.loads(row["body"])
        if name_of(event) != (row["claim_id"], row["identity"]):
            yield f"an event of {row['claim_id']} is stored under another name than its own"
        if row["kind"] != kind(event):
            yield f"an event of {row['claim_id']} is stored as {row['kind']}, and it is {kind(event)}"
        if row["time_us"] != time_us(event):
            yield f"an event of {row['claim_id']} is stored with another time than its own"


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
        if row["start_offset"] > part.start:
            yield f"{_name(place)} is taken from {row['start_offset']} on, and Kafka has it from {part.start}"
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
    spans = sorted((gap["first_offset"], gap["last_offset"], gap["kind"]) for gap in gaps)
    offsets = [kept.offset for kept in part.records]
    for first, last, why in spans:
        if not row["start_offset"] <= first <= last < row["next_offset"]:
            yield f"{_name(place)} has a gap at {first} outside of what is taken"
        if why == "no_record" and bisect_left(offsets, first) < bisect_right(offsets, last):
            yield f"{_name(place)} has a gap at {first} where there is a record"
        if why == "lost" and last >= part.start:
            yield f"{_name(place)} has lost {last}, which Kafka still has"
    for before, after in pairwise(spans):
        if after[0] <= before[1]:
            yield f"{_name(place)} has more than one gap at {after[0]}"
    reached = row["start_offset"]
    end = row["next_offset"]
    taken = merge(((offset, offset) for offset in offsets), ((first, last) for first, last, _ in spans))
    for first, last in [*taken, (end, end)]:
        if min(first, end) > reached:
            yield f"{_name(place)} has neither a record nor a gap from {reached} to {min(first, end) - 1}"
        reached = max(reached, last + 1)
    in_gaps = sum(last + 1 - first for first, last, _ in spans)
    if in_gaps != row["gap"]:
        yield f"{_name(place)} counts {row['gap']} offsets in gaps where there are {in_gaps}"
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
        if not 1 <= row["version"] <= len(identities[claim_id]):
            yield f"{claim_id} was changed {row['version']} times by {len(identities[claim_id])} events"
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
        if change["state"] not in LEGAL.get(change["state_before"], ()):
            yield f"the history of {claim_id} goes from {change['state_before']} to {change['state']}"
        if at_us is not None and change["at_us"] < at_us:
            yield f"the history of {claim_id} is out of order"
        if identity(change["source"], change["id"]) not in identities:
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
