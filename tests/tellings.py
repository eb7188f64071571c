"""A claim as the rules tell it: the table and the naive telling must say the same before a test reads what they say."""

from collections.abc import Iterable
from typing import Any

from events.contracts import Event
from services import naive, rollups
from services.lifecycle import explain, fold
from services.view import view


def claim(events: Iterable[Event]) -> dict[str, Any]:
    """The claim of these events as `claim show --json` prints it, by either telling."""
    known = list(events)
    told = naive.claim(known)
    assert view(told["claim_id"], *explain(known)) == told
    return told


def rollup(events: Iterable[Event]) -> dict[naive.Row, tuple[int, int]]:
    """What the claim of these events adds to the rollups, by either telling."""
    known = list(events)
    told = naive.rollups(known)
    assert rollups.rollup(fold(known)) == told
    return told
