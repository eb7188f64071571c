"""The write SQL: one transaction takes runs of records into event log, claims, rollups, dead letters and positions."""

import struct
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Final, Literal, NamedTuple

import asyncpg
from msgspec import Struct, field
from msgspec.structs import force_setattr

from events import codec
from events.contracts import Event
from services import lifecycle, pgcopy, positions
from services.claim import KIND_RANK, Change, Claim, State, key
from services.claim_rows import add_rollup, claim_row, copy_claims, unpack, write_rollup
from services.positions import Counts, GapKind, Item, Place, Reason, Refused, Run
from services.rollups import Rollup, rollup

Phase = Literal["lock", "lookup", "fold", "write", "commit"]

# For every connection that writes. The planner knows nothing of a temporary table's size: its guesses cost seconds.
CONNECTION_SETTINGS: Final = {"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off"}


_KIND: Final = {kind: pgcopy.text(kind) for kind in KIND_RANK}
# time, recorded_at, partition, offset, each after its length in bytes; and the length of the body.
_NUMBERS: Final = struct.Struct(">iqiqiiiqi").pack


class Written(Struct):
    """What one transaction did, for the metrics."""

    counts: dict[Place, Counts] = {}
    refusals: Counter[tuple[str, Reason]] = field(default_factory=Counter)
    transitions: Counter[tuple[State | None, State]] = field(default_factory=Counter)
    gaps: Counter[GapKind] = field(default_factory=Counter)
    corrections: int = 0
    """Claims whose past was rewritten by a late event."""


Letter = tuple[Place, Item, Refused]
CONFLICT: Final = Refused("conflict", "$", "an event of this claim, source and id was accepted with other content")


class _Entry(Struct, frozen=True, gc=False):
    """An event on its way into its claim."""

    place: Place
    item: Item
    event: Event
    body: bytes
    identity: bytes


class _Held(NamedTuple):
    """A claim as it was locked."""

    version: int
    claim: Claim


class _Move(Struct):
    """A claim and the new events that move it on."""

    claim_id: str
    version: int
    """Of its row; 0 where it has none yet."""
    events: list[Event]
    """In fold order."""
    before: Rollup
    """What the claim added to the rollups."""
    past: list[Change]
    """Its history before."""
    claim: Claim
    folds: bool = False
    """Whether all of the claim's events must be folded, since the new ones cannot just be added."""


class ClaimMovedError(Exception):
    """A locked claim has another version than when it was read; it cannot be, and is worth starting over."""


async def prepare(connection: asyncpg.Connection) -> None:
    """Ready a connection: the temporary table that changed claims pass through, and a planner that does not guess."""
    for name, value in CONNECTION_SETTINGS.items():
        await connection.execute(f"SET {name} = {value}")
    await connection.execute(
        """
        CREATE TEMPORARY TABLE IF NOT EXISTS changed (
            claim_id text COLLATE "C", version integer, state text, payer text, open boolean,
            since timestamptz, waiting_since timestamptz, packed text
        ) ON COMMIT DELETE ROWS
        """
    )


async def write(
    connection: asyncpg.Connection,
    cluster_id: str,
    runs: Sequence[Run],
    phase: Callable[[Phase], AbstractContextManager[object]],
    *,
    look_up_all: bool = True,
) -> Written:
    """Take the runs in one transaction; what lies below a partition's position was done before and is left out.

    An event that comes after all of its claim is hardly one that the claim holds. Without ``look_up_all`` its identity
    is not looked up; where it is known all the same, as of a conflict with a later time, a unique violation says so.

    Raises BehindError where a run begins beyond the position, and whatever PostgreSQL says; then nothing is written.
    """
    written = Written()
    transaction = connection.transaction()
    await transaction.start()
    try:
        with phase("lock"):
            runs = await positions.lock(connection, cluster_id, runs)
            letters, entries = _sort_out(runs)
            held = await _lock_claims(connection, sorted({entry.event.claim_id for entry in entries}))
        with phase("lookup"):
            known = await _known(connection, [entry for entry in entries if _may_be_known(entry, held, look_up_all)])
            accepted, recorded_at_us = _accept(entries, known, letters, await _now_us(connection))
        with phase("fold"):
            moves = _step(accepted, held)
            logged = await _logged(connection, [move.claim_id for move in moves if move.folds and move.version])
            difference = _settle(moves, logged, written)
        with phase("write"):
            await _write_events(connection, accepted, recorded_at_us)
            await _write_claims(connection, moves)
            await positions.write_dead_letters(connection, cluster_id, letters)
            await positions.write_gaps(connection, cluster_id, runs)
            # Rollup rows are shared by all trackers: taken last and in order, they are held briefly, never crosswise.
            await write_rollup(connection, difference)
            await _advance(connection, cluster_id, runs, accepted, letters, written)
    except BaseException:
        if not connection.is_closed():
            await transaction.rollback()
        raise
    with phase("commit"):
        await transaction.commit()
    return written


def _sort_out(runs: Iterable[Run]) -> tuple[list[Letter], list[_Entry]]:
    letters: list[Letter] = []
    entries: list[_Entry] = []
    for run in runs:
        for item in run.items:
            outcome = item.outcome
            if isinstance(outcome, Refused):
                letters.append((run.place, item, outcome))
            else:
                event = outcome.event
                identity = codec.identity(event.source, event.id)
                entries.append(_Entry(run.place, item, event, outcome.body, identity))
    return letters, entries


async def _lock_claims(connection: asyncpg.Connection, claim_ids: list[str]) -> dict[str, _Held]:
    """Lock the claims that exist, in order; a missing one is made at the end, and of two makers one starts over."""
    found = await connection.fetch(
        "SELECT claim_id, version, packed FROM claim WHERE claim_id = ANY($1::text[]) ORDER BY claim_id FOR UPDATE",
        claim_ids,
    )
    return {claim_id: _Held(version, unpack(packed)) for claim_id, version, packed in found}


def _may_be_known(entry: _Entry, held: dict[str, _Held], look_up_all: bool) -> bool:  # noqa: FBT001  (as write's)
    """Say whether the claim may hold the event; a claim without a row holds none."""
    known = held.get(entry.event.claim_id)
    return known is not None and (look_up_all or known.claim.last is None or key(entry.event) <= known.claim.last)


async def _known(connection: asyncpg.Connection, asked: Sequence[_Entry]) -> dict[tuple[str, bytes], bytes]:
    """Return the bodies of those asked for that the event log holds."""
    if not asked:
        return {}
    found = await connection.fetch(
        """
        SELECT claim_id, identity, body FROM unnest($1::text[], $2::bytea[]) AS asked (claim_id, identity)
        JOIN event USING (claim_id, identity)
        """,
        [entry.event.claim_id for entry in asked],
        [entry.identity for entry in asked],
    )
    return {(claim_id, identity): body.encode() for claim_id, identity, body in found}


async def _now_us(connection: asyncpg.Connection) -> int:
    """Return when these events count as recorded: whole milliseconds, in microseconds.

    Asked after the claims were locked, so that a claim's events are recorded in the order in which they were taken.
    """
    now_us: int = await connection.fetchval("SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint * 1000")
    return now_us


def _accept(
    entries: Iterable[_Entry], known: dict[tuple[str, bytes], bytes], letters: list[Letter], now_us: int
) -> tuple[list[_Entry], int]:
    """Keep the events whose identity is new; a known one is a duplicate, or a conflict where its content differs."""
    accepted = []
    for entry in entries:
        name = (entry.event.claim_id, entry.identity)
        body = known.get(name)
        if body is None:
            known[name] = entry.body
            force_setattr(entry.event, "recorded_at_us", now_us)
            accepted.append(entry)
        elif body != entry.body and codec.content(body) != codec.content(entry.body):
            letters.append((entry.place, entry.item, CONFLICT))
    return accepted, now_us


def _step(accepted: Iterable[_Entry], held: dict[str, _Held]) -> list[_Move]:
    """Gather each claim's new events, in claim order, and step through them where that is enough."""
    events: defaultdict[str, list[Event]] = defaultdict(list)
    for entry in accepted:
        events[entry.event.claim_id].append(entry.event)
    moves = []
    for claim_id in sorted(events):
        version, claim = held.get(claim_id) or (0, Claim())
        move = _Move(
            claim_id=claim_id,
            version=version,
            events=sorted(events[claim_id], key=key),
            before=rollup(claim),
            past=list(claim.history),
            claim=claim,
        )
        move.folds = not _step_all(claim, move.events)
        moves.append(move)
    return moves


def _step_all(claim: Claim, events: Iterable[Event]) -> bool:
    try:
        for event in events:
            lifecycle.step(claim, event)
    except lifecycle.CannotStepError:
        return False
    return True


async def _logged(connection: asyncpg.Connection, claim_ids: list[str]) -> dict[str, list[Event]]:
    """Read the events of the claims that must be folded."""
    logged: defaultdict[str, list[Event]] = defaultdict(list)
    if claim_ids:
        rows = await connection.fetch(
            """
            SELECT claim_id, body, (extract(epoch FROM recorded_at) * 1000000)::bigint
            FROM event WHERE claim_id = ANY($1::text[])
            """,
            claim_ids,
        )
        for claim_id, body, recorded_at_us in rows:
            logged[claim_id].append(codec.read(body, recorded_at_us))
    return logged


def _settle(moves: Iterable[_Move], logged: dict[str, list[Event]], written: Written) -> Rollup:
    """Fold what could not step; return by how much the rollups change."""
    difference: Rollup = {}
    for move in moves:
        if move.folds:
            move.claim = lifecycle.fold([*logged.get(move.claim_id, ()), *move.events])
            # A history that does not begin with the one before tells another past.
            if move.claim.history[: len(move.past)] != move.past:
                written.corrections += 1
        for change in move.claim.history[len(move.past) :]:
            written.transitions[change.state_before, change.state] += 1
        add_rollup(difference, move.before, -1)
        add_rollup(difference, rollup(move.claim), 1)
    return {row: change for row, change in difference.items() if change != (0, 0)}


async def _write_events(connection: asyncpg.Connection, accepted: Sequence[_Entry], recorded_at_us: int) -> None:
    if accepted:
        await pgcopy.copy(connection, "event", event_rows(accepted, recorded_at_us))


def event_rows(accepted: Iterable[_Entry], recorded_at_us: int) -> Iterator[bytes]:
    """Yield the events as rows; one call packs all of a row's numbers, for they are most of its fields."""
    head = pgcopy.columns(8)
    recorded_at = pgcopy.postgres_us(recorded_at_us)
    for entry in accepted:
        event = entry.event
        yield b"".join(
            (
                head,
                pgcopy.text(event.claim_id),
                pgcopy.raw(entry.identity),
                _KIND[event.kind],
                _NUMBERS(
                    *(8, pgcopy.postgres_us(event.time_us), 8, recorded_at),
                    *(4, entry.place.partition, 8, entry.item.offset, len(entry.body)),
                ),
                entry.body,
            )
        )


async def _write_claims(connection: asyncpg.Connection, moves: Sequence[_Move]) -> None:
    """Insert the new claims and update the others; the version sees to it that nobody else moved them meanwhile."""
    rows = [claim_row(move.claim_id, move.version + 1, move.claim) for move in moves]
    new = [row for row in rows if row.version == 1]
    if new:
        await copy_claims(connection, "claim", new)
    changed = [row for row in rows if row.version > 1]
    if changed:
        await copy_claims(connection, "changed", changed)
        status = await connection.execute(
            """
            UPDATE claim SET version = changed.version, state = changed.state, payer = changed.payer,
                   open = changed.open, since = changed.since, waiting_since = changed.waiting_since,
                   packed = changed.packed
            FROM changed WHERE claim.claim_id = changed.claim_id AND claim.version = changed.version - 1
            """
        )
        if status != f"UPDATE {len(changed)}":
            raise ClaimMovedError


async def _advance(
    connection: asyncpg.Connection,
    cluster_id: str,
    runs: Iterable[Run],
    accepted: Iterable[_Entry],
    letters: Iterable[Letter],
    written: Written,
) -> None:
    stored = Counter(entry.place for entry in accepted)
    dead = Counter(place for place, _, _ in letters)
    outcomes = [(run, positions.counts(run, stored, dead)) for run in runs]
    if outcomes:
        await positions.advance(connection, cluster_id, outcomes)
    for run, count in outcomes:
        written.counts[run.place] = count
        for gap in run.gaps:
            written.gaps[gap.kind] += gap.offsets
    for place, _, refused in letters:
        written.refusals[place.topic, refused.reason] += 1
