"""Proof that claims, rollups and positions say what the event log says, by a second telling of the rules."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import aclosing
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from events import codec
from events.contracts import Event
from services import database, event_log, naive, queries
from services.claim_rows import ClaimRow, unpack
from services.event_log import Account, Kept, Logged
from services.rollups import rollup
from services.settings import Settings
from services.view import instant, view

MOST_TOLD: Final = 100
"""Differences beyond are counted and not told: when a rule is wrong there may be one in every claim."""

Progress = Callable[[int, int], None]
"""Gets how many events are done, and of how many."""
Facts = dict[str, Any]
Sums = dict[naive.Row, tuple[int, int]]

_ABSENT: Final = "absent"
_THERE: Final = "there"
_OPEN: Final = ("submitted", "appealed")


class Difference(Struct, frozen=True):
    """Where the database does not say what the event log says; holds what was derived, never an event's body."""

    what: Literal["claim", "event", "rollup", "position"]
    where: str
    path: str
    stored: object
    expected: object


class Report(Struct, frozen=True):
    """What was compared and what differs; ``differences`` tells the first of ``difference_count``."""

    claims: int
    events: int
    rollups: int
    positions: int
    difference_count: int
    differences: list[Difference]
    seconds: float


class _Audit:
    """Owns what was seen so far: memory grows with the rows of the rollups, not with claims or events."""

    def __init__(self) -> None:
        self.claims = self.events = self.rollups = self.positions = 0
        self.count = 0
        self.told: list[Difference] = []
        self.sums: Sums = {}

    def add(self, differences: Iterable[Difference]) -> None:
        for difference in differences:
            self.count += 1
            if self.count <= MOST_TOLD:
                self.told.append(difference)

    def take_claim(self, kept: Kept) -> None:
        self.claims += 1
        self.events += len(kept.events)
        outcomes = [event_log.read(logged) for logged in kept.events]
        events = [outcome for outcome in outcomes if isinstance(outcome, Event)]
        self.add(_of_log(kept.events, outcomes))
        if len(events) < len(outcomes):
            return  # what the claim should be, nobody can tell
        adds = naive.rollups(events) if events else {}
        for row, (n, total) in adds.items():
            have = self.sums.get(row, (0, 0))
            self.sums[row] = (have[0] + n, have[1] + total)
        if events and kept.row:
            self.add(_of_claim(kept.claim_id, _stored(kept.claim_id, kept.row), _expected(events, adds)))
        else:
            there = (_THERE if kept.row else _ABSENT, _THERE if events else _ABSENT)
            self.add([Difference("claim", kept.claim_id, "$", *there)])

    def take_rollups(self, stored: Sums) -> None:
        self.rollups = len(stored)
        self.add(_of_rollups(stored, self.sums))

    def take_accounts(self, accounts: list[Account]) -> None:
        self.positions = len(accounts)
        self.add(_of_positions(accounts, self.events))


def _silent(_done: int, _total: int) -> None:
    """Nobody wants to know."""


async def verify(settings: Settings, progress: Progress = _silent) -> Report:
    """Compare all that is stored with what ``naive`` makes of the event log, as both stood at one moment.

    Trackers may go on meanwhile. Raises SchemaMissing, and what ``queries.reading`` raises.
    """
    started = time.monotonic()
    audit = _Audit()
    engine = database.engine(settings, application="claimpath-verify", role="claimpath_reader", limits=database.LONG)
    try:
        await database.require_schema(engine)
        async with queries.reading(engine) as connection:
            total = await event_log.count_events(connection)
            async with aclosing(event_log.claims(connection)) as claims:
                async for kept in claims:
                    audit.take_claim(kept)
                    progress(audit.events, total)
            audit.take_rollups({row: numbers async for row, numbers in event_log.rollups(connection)})
            audit.take_accounts(await event_log.accounts(connection))
    finally:
        await engine.dispose()
    seen = (audit.claims, audit.events, audit.rollups, audit.positions)
    return Report(*seen, audit.count, audit.told, round(time.monotonic() - started, 3))


def _of_log(log: Iterable[Logged], outcomes: Iterable[Event | codec.Refusal]) -> Iterator[Difference]:
    """Yield where a row of the event log is not what its body makes of it."""
    for logged, outcome in zip(log, outcomes, strict=True):
        if isinstance(outcome, codec.Refusal):
            yield Difference("event", logged.claim_id, outcome.path, outcome.reason, outcome.rule)
            continue
        columns = {
            "identity": (logged.identity, codec.identity(outcome.source, outcome.id)),
            "kind": (logged.kind, outcome.kind),
            "time": (logged.time_us, outcome.time_us),
        }
        for column, (stored, expected) in columns.items():
            if stored != expected:
                yield Difference("event", logged.claim_id, column, "another", "that of the body")


def _of_claim(claim_id: str, stored: Facts, expected: Facts) -> Iterator[Difference]:
    if "unreadable" in stored:
        yield Difference("claim", claim_id, "packed", stored["unreadable"], _THERE)
        return
    for path, one, other in _unequal(stored, expected, "$"):
        yield Difference("claim", claim_id, path, one, other)


def _stored(claim_id: str, row: ClaimRow) -> Facts:
    """Return what the claim's row says."""
    try:
        claim = unpack(row.packed)
        shown, adds = view(claim_id, claim), rollup(claim)
    except (msgspec.DecodeError, LookupError, ArithmeticError, ValueError) as error:
        return {"unreadable": type(error).__name__}
    last = claim.last
    return {
        **shown,
        "columns": {
            "state": row.state,
            "payer": row.payer,
            "open": row.open,
            "since": None if row.since_us is None else instant(row.since_us),
            "waiting_since_us": row.waiting_since_us,
        },
        "applied": claim.applied,
        "waiting": sorted([wait.source, wait.id, wait.reason] for wait in claim.waiting),
        "set_aside": dict(claim.set_aside),
        "last": None if last is None else [instant(last[0]), *last[2:]],
        "rollup": {_name(each): list(numbers) for each, numbers in adds.items()},
    }


def _expected(events: list[Event], adds: Sums) -> Facts:
    """Return what the claim's row must say."""
    told = naive.claim(events)
    outcomes = told.pop("events")  # in the order of the fold
    waiting = sorted([each["source"], each["id"], each["reason"]] for each in outcomes if each["outcome"] == "waiting")
    waits = {(source, event_id) for source, event_id, _ in waiting}
    recorded = [event.recorded_at_us for event in events if (event.source, event.id) in waits]
    return {
        **told,
        "columns": {
            "state": told["state"],
            "payer": next(payer for name, payer, *_ in adds if name == "claims"),
            "open": told["state"] in _OPEN,
            "since": told["history"][-1]["at"] if told["history"] else None,
            "waiting_since_us": min(recorded, default=None),
        },
        "applied": sum(each["outcome"] == "applied" for each in outcomes),
        "waiting": waiting,
        "set_aside": dict(Counter(each["reason"] for each in outcomes if each["outcome"] == "set_aside")),
        "last": [outcomes[-1][name] for name in ("time", "source", "id")],
        "rollup": {_name(each): list(numbers) for each, numbers in adds.items()},
    }


def _unequal(stored: object, expected: object, path: str) -> Iterator[tuple[str, object, object]]:
    """Yield the innermost places where two facts differ, with what is there."""
    if isinstance(stored, dict) and isinstance(expected, dict):
        for name in sorted({*stored, *expected}):
            yield from _unequal(stored.get(name, _ABSENT), expected.get(name, _ABSENT), f"{path}.{name}")
    elif isinstance(stored, list) and isinstance(expected, list) and len(stored) == len(expected):
        for index, (one, other) in enumerate(zip(stored, expected, strict=True)):
            yield from _unequal(one, other, f"{path}[{index}]")
    elif stored != expected:
        yield path, stored, expected


def _of_rollups(stored: Sums, expected: Sums) -> Iterator[Difference]:
    for row in sorted({*stored, *expected}):
        have, wanted = stored.get(row, (0, 0)), expected.get(row, (0, 0))
        for path, one, other in zip(("n", "total"), have, wanted, strict=True):
            if one != other:
                yield Difference("rollup", _name(row), path, one, other)


def _of_positions(accounts: list[Account], events: int) -> Iterator[Difference]:
    """Yield where a position's offsets, its counts, and the rows that it counts do not add up."""
    for each in accounts:
        where = f"{each.topic} {each.partition}, generation {each.generation}"
        outcomes = each.accepted + each.duplicate + each.dead_letter + each.gap
        sums = {
            "accepted + duplicate + dead_letter + gap": (outcomes, each.offsets),
            "dead_letter": (each.dead_letter, each.dead_letter_rows),
            "gap": (each.gap, each.gap_offsets),
        }
        for path, (stored, expected) in sums.items():
            if stored != expected:
                yield Difference("position", where, path, stored, expected)
    accepted = sum(each.accepted for each in accounts)
    if accepted != events:
        yield Difference("position", "all", "accepted", accepted, events)


def _name(row: naive.Row) -> str:
    """Return a row of the rollups in words."""
    return " ".join(str(part) for part in row)
