"""What holds of every claim: over all short ones, tens of thousands at random, and those of the samples."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import chain, pairwise, product
from random import Random
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events import codec, samples
from events.contracts import Event, EventKind
from services.claim import STATE_OF_ROW, AsideReason, Claim, Finding, Row, State, WaitReason, key
from services.claim_rows import pack, unpack
from services.lifecycle import TABLE, CannotStepError, can_step, explain, fold, step
from services.view import view
from tests.claims_at_random import MOST_EVENTS, SOURCES, VOCABULARY, draw, placed, words
from tests.stories import CLAIM, appeal, original, replacement, response, void
from tests.tellings import claim, rollup

BEGINNINGS = {
    "submitted": [original(submission_id="SUB-1")],
    "replaced": [original(submission_id="SUB-1"), replacement()],
    "draft, rejected": [original(submission_id="SUB-1"), response("rejected")],
    "approved": [original(submission_id="SUB-1"), response("approved", pcn="PCN-1")],
    "approved, replaced": [original(submission_id="SUB-1"), response("approved"), replacement()],
    "denied": [original(submission_id="SUB-1"), response("denied")],
    "denied, voided": [original(submission_id="SUB-1"), response("denied"), void()],
    "approved, appealed": [original(submission_id="SUB-1"), response("approved"), appeal()],
    "denied, appealed": [original(submission_id="SUB-1"), response("denied"), appeal()],
}
# Ticks of three events: each later than the one before, two of one instant, all of one instant.
ORDERS = {"one by one": (0, 1, 2), "two, then one": (0, 0, 1), "one, then two": (0, 1, 1), "at once": (0, 0, 0)}
SEEDS = range(10)
CLAIMS_A_SEED = 2_000

ANY_WORD = st.sampled_from([word for kind in words(Random(0)).values() for word in kind])
ANY_EVENT = st.tuples(ANY_WORD, st.integers(0, MOST_EVENTS), st.sampled_from(SOURCES))
ANY_CLAIM = st.lists(ANY_EVENT, min_size=1, max_size=MOST_EVENTS).map(
    lambda drawn: [placed(word, number, tick, source) for number, (word, tick, source) in enumerate(drawn)]
)
property_of_claims = settings(deadline=None, max_examples=300)


def claims_of(seed: int) -> Iterator[list[Event]]:
    """The claims of a seed."""
    chance = Random(seed)
    vocabulary = words(chance)
    for _ in range(CLAIMS_A_SEED):
        yield draw(chance, vocabulary)


@pytest.mark.parametrize("order", ORDERS)
def test_both_tellings_agree_on_every_short_claim(order: str) -> None:
    """Three events in every order, at different times and at one, make the claim that the naive telling makes."""
    for three in product(VOCABULARY, repeat=3):
        events = [
            placed(word, number, tick) for number, (word, tick) in enumerate(zip(three, ORDERS[order], strict=True))
        ]
        claim(events)
        rollup(events)


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_both_tellings_agree_on_what_follows_every_beginning(beginning: str) -> None:
    """Two events of every kind after a beginning make the claim that the naive telling makes."""
    for more in product(VOCABULARY, repeat=2):
        events = [placed(word, number, number) for number, word in enumerate([*BEGINNINGS[beginning], *more])]
        claim(events)
        rollup(events)


@pytest.mark.parametrize("seed", SEEDS)
def test_both_tellings_agree_on_claims_at_random(seed: int) -> None:
    """Whatever up to twelve events come to one claim, the naive telling makes the same of them."""
    for number, events in enumerate(claims_of(seed)):
        try:
            claim(events)
            rollup(events)
        except AssertionError as difference:
            difference.add_note(f"claim {number} of seed {seed}: {[(event.kind, event.id) for event in events]}")
            raise


def test_both_tellings_agree_on_the_samples_with_all_their_troubles() -> None:
    """The claims of the demo, with duplicates, conflicts, disorder and poison, are the same in both tellings."""
    switches = samples.Switches(duplicates=0.1, disorder=0.2, lateness=0.1, conflicts=0.05, poison=0.05)
    claims: dict[str, dict[tuple[str, str], Event]] = defaultdict(dict)
    for record in samples.stream(300, seed=7, switches=switches):
        decoded = codec.decode(record)
        if isinstance(decoded, codec.Decoded):
            event = decoded.event
            claims[event.claim_id].setdefault((event.source, event.id), event)
    assert len(claims) == 300
    for events in claims.values():
        claim(events.values())
        rollup(events.values())


def test_claims_at_random_reach_every_cell_move_reason_and_finding() -> None:
    """No rule goes untried: the random claims come to every cell of the table and to everything it can say."""
    moves: set[tuple[Row, EventKind, Row]] = set()
    said: set[str | None] = set()
    for events in chain.from_iterable(map(claims_of, SEEDS)):
        shown = view(CLAIM, *explain(events))
        said |= {event["reason"] for event in shown["events"]} | set(shown["findings"])
        moves |= set(steps(events))
    assert {(row, kind) for row in TABLE for kind in TABLE[row]} - {(row, kind) for row, kind, _ in moves} == set()
    told = {(row, kind, to) for row, line in TABLE.items() for kind, cell in line.items() for to in cell.leads_to}
    assert {(row, kind, to) for row, kind, to in moves if row != to} == {move for move in told if move[0] != move[2]}
    assert said == {None, *get_args(WaitReason), *get_args(AsideReason), *get_args(Finding)}


def steps(events: list[Event]) -> Iterator[tuple[Row, EventKind, Row]]:
    """The moves that the events make one by one, in their order, as long as none waits."""
    moving = Claim()
    for event in sorted(events, key=key):
        if not can_step(moving, event):
            return
        before = moving.row
        step(moving, event)
        yield before, event.kind, moving.row


@given(ANY_CLAIM, st.randoms())
@property_of_claims
def test_order_and_repetition_of_events_change_nothing(events: list[Event], chance: Random) -> None:
    """A claim is a function of the set of its events, to the byte."""
    shuffled = [*events, *chance.choices(events, k=len(events))]
    chance.shuffle(shuffled)
    assert pack(fold(shuffled)) == pack(fold(events))


@given(ANY_CLAIM)
@property_of_claims
def test_stepping_where_it_may_is_folding(events: list[Event]) -> None:
    """As the tracker does it, event by event, packed between steps: every claim on the way is the fold, to the byte."""
    moving = Claim()
    for count, event in enumerate(events, 1):
        whole = fold(events[:count])
        if can_step(moving, event):
            step(moving, event)
        else:
            moving = fold(events[:count])
        assert moving == whole
        assert pack(moving) == pack(whole)
        moving = unpack(pack(moving))
        assert moving == whole


@given(ANY_CLAIM)
@property_of_claims
def test_a_step_that_may_not_be_made_changes_nothing(events: list[Event]) -> None:
    """An event that comes before another, or while some wait, is refused by `step`."""
    whole = fold(events)
    for event in events:
        assert not can_step(whole, event)
        with pytest.raises(CannotStepError):
            step(whole, event)
    assert whole == fold(events)


@given(ANY_CLAIM)
@property_of_claims
def test_nothing_vanishes(events: list[Event]) -> None:
    """Every accepted event is applied, waiting or set aside, and counted once as what it is."""
    whole, explained = explain(events)
    assert [event for event, _ in explained] == sorted(events, key=key)
    outcomes = Counter(verdict.outcome for _, verdict in explained)
    assert outcomes["applied"] == whole.applied
    assert [(event.source, event.id) for event, verdict in explained if verdict.outcome == "waiting"] == [
        (wait.source, wait.id) for wait in whole.waiting
    ]
    assert Counter(verdict.reason for _, verdict in explained if verdict.outcome == "set_aside") == whole.set_aside


@given(ANY_CLAIM)
@property_of_claims
def test_history_is_a_legal_chain(events: list[Event]) -> None:
    """History begins at nothing, ends in the state, has no gap, goes on in time, and makes only the table's moves."""
    whole = fold(events)
    kinds = {(event.source, event.id): event.kind for event in events}
    states = [None, *(change.state for change in whole.history)]
    assert [change.state_before for change in whole.history] == states[:-1]
    assert states[-1] == whole.state
    assert all(earlier.at_us <= later.at_us for earlier, later in pairwise(whole.history))
    for change in whole.history:
        assert (change.state_before, change.state) in MOVES[kinds[change.source, change.id]]


def _moves() -> dict[EventKind, set[tuple[State | None, State | None]]]:
    moves: dict[EventKind, set[tuple[State | None, State | None]]] = defaultdict(set)
    for row, line in TABLE.items():
        for kind, cell in line.items():
            moves[kind] |= {(STATE_OF_ROW[row][0], STATE_OF_ROW[to][0]) for to in cell.leads_to}
    return moves


MOVES = _moves()
