"""A claim is a function of the set of its events: every order of small claims, and many orders of longer ones.

`python -m tests.faults.order --every --permutations 10000000 --processes 2 --seed 1` tries more of both.
"""

from math import comb
from typing import Any

import msgspec
import pytest

from services import lifecycle, store
from services.claim import KIND_RANK, key
from services.claim_rows import pack
from tests.faults import order
from tests.faults.order import (
    EVERY_WORD,
    MOST,
    ORDERS_A_CLAIM,
    TICKS,
    WORDS,
    Fault,
    hold_in_every_order,
    hold_in_orders,
    small_claims,
)

SEED = 7
CLAIMS = 5_000
SOME = "some of one instant"


@pytest.mark.parametrize("first", range(len(WORDS)), ids=lambda first: f"{first}-{WORDS[first].kind}")
def test_the_order_of_up_to_five_events_changes_nothing(first: int) -> None:
    """Whichever event of a small claim arrives last, and however those before it came, the claim is the fold of them
    all, to the byte, with the same history, money and rollups; and it is what the naive telling makes of them.
    """
    steps = sum(map(hold_in_every_order, small_claims(WORDS, SOME, first)))
    # As many as there are ways to choose the others, with repetition, from this word and those after it.
    assert steps == sum(comb(len(WORDS) - first + size - 1, size) * (size + 1) for size in range(MOST))


def test_small_claims_have_every_kind_of_event_and_share_instants() -> None:
    """Nothing is left out of the small claims: no kind, and neither earlier, later nor equal times."""
    assert {word.kind for word in WORDS} == {word.kind for word in EVERY_WORD} == KIND_RANK.keys()
    ticks = [TICKS[SOME](number) for number in range(len(WORDS))]
    assert 1 < len({*ticks}) < len(ticks)
    assert ticks != sorted(ticks)


@pytest.mark.timeout(240)
def test_orders_at_random_change_nothing() -> None:
    """Whatever the order of up to eight events, in whatever batches and however often each is delivered, the claim
    that is kept is the fold of them all, and the rollups have grown by what it adds.
    """
    assert _play_claims() == CLAIMS * ORDERS_A_CLAIM


BROKEN: dict[str, tuple[Any, str, Any]] = {
    "a step that ignores order": (lifecycle, "can_step", lambda claim, _: not claim.waiting),
    "a step that sees the time alone": (
        lifecycle,
        "can_step",
        lambda claim, event: not claim.waiting and (claim.last is None or event.time_us >= claim.last[0]),
    ),
    "a step that ignores what waits": (
        lifecycle,
        "can_step",
        lambda claim, event: claim.last is None or key(event) > claim.last,
    ),
    "a fold that does not sort": (lifecycle, "sorted", lambda events, **_: [*events]),
    "a claim kept without its last place": (order, "pack", lambda claim: pack(_changed(claim, last=None))),
    "a claim kept without its submissions": (order, "pack", lambda claim: pack(_changed(claim, submissions={}))),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_what_hangs_on_order_is_found_out(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """A broken lifecycle does not pass, neither in small claims nor in longer ones."""
    monkeypatch.setattr(*BROKEN[fault], raising=False)
    with pytest.raises(Fault):
        _play_small_claims()
    with pytest.raises(Fault):
        _play_claims()


@pytest.mark.parametrize(
    ("name", "broken"),
    [("rollup", lambda _: {}), ("add_rollup", lambda sums, rows, _: sums.update(rows))],
)
def test_a_rollup_that_hangs_on_order_is_found_out(monkeypatch: pytest.MonkeyPatch, name: str, broken: Any) -> None:  # noqa: ANN401
    """A store that adds what a claim adds now, and does not take off what it added before, does not pass."""
    monkeypatch.setattr(store, name, broken)
    with pytest.raises(Fault):
        _play_claims()


def _play_small_claims() -> None:
    for first in range(len(WORDS)):
        for events in small_claims(WORDS, SOME, first):
            hold_in_every_order(events)


def _play_claims() -> int:
    return sum(hold_in_orders(SEED, number) for number in range(CLAIMS))


def _changed(claim: Any, **fields: object) -> Any:  # noqa: ANN401
    return msgspec.structs.replace(claim, **fields)
