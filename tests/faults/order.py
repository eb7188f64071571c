"""`python -m tests.faults.order`: events arrive in every order, and in orders at random, and the claim is the same.

*Every order of a small claim*, by induction, so that not each of them must be played. Say that whichever way the events
of every set of n - 1 arrive, the claim that is kept is their fold (of none, it is the empty claim). Of n events, one
arrives last. If for each of them, adding it to the fold of the others makes the fold of all, then the claim is the fold
of all whichever was the last and however those before it arrived: there are n such steps to look at, not n! orders.
A batch adds nothing: its events either step one by one, in their order, or all are folded at once. And what arrives
again is known, and left out before it comes to the claim.

*Orders at random* of longer claims are played whole: in batches, with repetitions, packed in between.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from itertools import combinations_with_replacement
from random import Random
from typing import Final, NamedTuple

from events.codec import Record
from events.contracts import Event, EventKind
from services import lifecycle, store
from services.claim import Claim, key, money
from services.claim_rows import add_rollup, pack, unpack
from services.positions import Item, Place, Refused
from services.rollups import Rollup, rollup
from tests import tellings
from tests.claims_at_random import VOCABULARY, draw, placed, words
from tests.stories import CLAIM, appeal, original, replacement, response, session, void

MOST: Final = 5
"""Events of a small claim."""
WORDS: Final = (
    session(),
    original(submission_id="SUB-1", served=3),
    original(rank=2),
    replacement(),
    void(),
    appeal(),
    response("acknowledged"),
    response("accepted"),
    response("pended"),
    response("information_requested"),
    response("forwarded"),
    response("rejected"),
    response("reversed", paid="-88.00", allowed="-110.00"),
    response("denied", pcn="PCN-2"),
    response("approved", pcn="PCN-1"),
    response("approved", rank=2),
)
"""Each kind of event, and two that ask another payer."""
EVERY_WORD: Final = (*VOCABULARY, response("pended"))
# When each word happens: which comes first, and which are of one instant.
TICKS: Final[dict[str, Callable[[int], int]]] = {
    "some of one instant": lambda number: number * 7 % 5,
    "all of one instant": lambda _: 0,
    "one by one": lambda number: number,
    "backwards": lambda number: len(EVERY_WORD) - number,
    "in another order": lambda number: number * 7 % 16,
}
SHORTEST: Final = 3
LONGEST: Final = 8
ORDERS_A_CLAIM: Final = 20
CLAIMS_A_TASK: Final = 250
_NOWHERE: Final = Place("", 0, 0)
_NO_ITEM: Final = Item(0, 0, Record("", None, None), Refused("no_value", "$", ""))


class Fault(AssertionError):
    """A claim that hangs on the order in which its events arrived."""


def arriving(packed: bytes, log: Iterable[Event], batch: Iterable[Event]) -> bytes:
    """Add new events of one batch to a claim as it is kept, as the store does; ``log`` are those it has."""
    claim, new = unpack(packed), sorted(batch, key=key)
    try:
        for event in new:
            lifecycle.step(claim, event)
    except lifecycle.CannotStepError:
        claim = lifecycle.fold([*log, *new])
    return pack(claim)


def stored(packed: bytes, log: Iterable[Event], batch: Iterable[Event]) -> tuple[bytes, Rollup]:
    """Do the same with the store's own functions; return the claim and by how much the rollups change."""
    entries = [
        store._Entry(_NOWHERE, _NO_ITEM, event, b"", b"")  # noqa: SLF001  (what a batch goes through, without a database)
        for event in batch
    ]
    moves = store._step(entries, {CLAIM: store._Held(1, unpack(packed))})  # noqa: SLF001  (the same)
    difference = store._settle(moves, {CLAIM: [*log]}, store.Written())  # noqa: SLF001  (the same)
    return pack(moves[0].claim), difference


# --- every order of a small claim ---


def small_claims(of: Sequence[Event], ticks: str, first: int) -> Iterator[list[Event]]:
    """Yield every set of events in these words of which this is the first; a word may come more than once."""
    for size in range(MOST):
        for others in combinations_with_replacement(range(first, len(of)), size):
            yield [placed(of[word], place, TICKS[ticks](word)) for place, word in enumerate((first, *others))]


def hold_in_every_order(events: list[Event]) -> int:
    """Look at every last step towards the claim of these events; return how many there are. Raises Fault."""
    told = lifecycle.fold(events)
    whole = pack(told)
    for place, last in enumerate(events):
        # The log is read in no order of its own.
        others = [*events[place + 1 :], *events[:place]]
        before = lifecycle.fold(others)
        after = arriving(pack(before), others, [last])
        if after != whole:
            raise Fault(f"{_names([last])} after {_names(others)}: {after.decode()} is not {whole.decode()}")
        known = unpack(after)
        same = (known.history, money(known), rollup(known)) == (told.history, money(told), rollup(told))
        if not same:
            raise Fault(f"{_names([last])} after {_names(others)}: another history, money or rollup")
    tellings.claim(events)
    tellings.rollup(events)
    return len(events)


# --- orders at random ---


def claim_of(seed: int, number: int) -> list[Event]:
    """Return the events of a claim of some length."""
    chance = Random(f"{seed} {number}")
    while True:
        events = draw(chance, _words(seed))
        if len(events) >= SHORTEST:
            return events[:LONGEST]


def deliveries(chance: Random, events: Sequence[Event]) -> Iterator[list[Event]]:
    """Yield batches that hold each event at least once, some of them again, in any order."""
    sent = [*events, *chance.choices(events, k=chance.randint(0, len(events)))]
    chance.shuffle(sent)
    while sent:
        size = chance.choice((1, 1, 2, 3, len(sent)))
        yield sent[:size]
        del sent[:size]


def hold_in_orders(seed: int, number: int) -> int:
    """Play a claim's events in many orders; return in how many. Raises Fault."""
    events = claim_of(seed, number)
    told = lifecycle.fold(events)
    whole, sums = pack(told), {row: counted for row, counted in rollup(told).items() if counted != (0, 0)}
    for order in range(ORDERS_A_CLAIM):
        chance = Random(f"{seed} {number} {order}")
        # The store's own functions make the rollups twice for each batch, so that few orders can have them.
        packed, added = _played(chance, events, through_the_store=order == 0)
        same = packed == whole and (added is None or added == sums)
        if not same:
            raise Fault(f"seed {seed}, claim {number}, order {order}: {_names(events)}: {packed.decode()}")
    if unpack(whole) != told:
        raise Fault(f"seed {seed}, claim {number}: what is kept of it is another claim")
    return ORDERS_A_CLAIM


def _played(chance: Random, events: Sequence[Event], *, through_the_store: bool) -> tuple[bytes, Rollup | None]:
    log: dict[tuple[str, str], Event] = {}
    packed = pack(Claim())
    sums: Rollup = {}
    for batch in deliveries(chance, events):
        new = {(event.source, event.id): event for event in batch if (event.source, event.id) not in log}
        if not new:
            continue
        if through_the_store:
            packed, difference = stored(packed, log.values(), new.values())
            add_rollup(sums, difference, 1)
        else:
            packed = arriving(packed, log.values(), new.values())
        log |= new
    return packed, {row: counted for row, counted in sums.items() if counted != (0, 0)} if through_the_store else None


# --- campaigns ---


class _Task(NamedTuple):
    """A share of a campaign."""

    seed: int
    numbers: range


def _many_orders(task: _Task) -> int:
    return sum(hold_in_orders(task.seed, number) for number in task.numbers)


def _every_order(ticks: str, first: int) -> int:
    return sum(map(hold_in_every_order, small_claims(EVERY_WORD, ticks, first)))


def main() -> int:
    """Play as many orders as asked for; print one line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.order", description="Events arrive in every order.")
    parser.add_argument("--permutations", type=int, default=10_000_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--every", action="store_true", help="every small claim of the whole vocabulary first")
    given = parser.parse_args()
    claims = -(-given.permutations // ORDERS_A_CLAIM)
    tasks = [
        _Task(given.seed, range(start, min(start + CLAIMS_A_TASK, claims))) for start in range(0, claims, CLAIMS_A_TASK)
    ]
    began = time.monotonic()
    steps = permutations = 0
    with ProcessPoolExecutor(given.processes) as processes:
        small = [(ticks, first) for ticks in TICKS for first in range(len(EVERY_WORD))] if given.every else []
        try:
            for done in as_completed([processes.submit(_every_order, *each) for each in small]):
                steps += done.result()
            for done in as_completed([processes.submit(_many_orders, task) for task in tasks]):
                permutations += done.result()
        except AssertionError as fault:
            processes.shutdown(cancel_futures=True)
            print(fault, file=sys.stderr)
            return 1
        finally:
            told = {"seed": given.seed, "permutations": permutations, "last_steps": steps}
            print(json.dumps(told | {"seconds": round(time.monotonic() - began, 1)}))
    return 0


@cache
def _words(seed: int) -> dict[EventKind, list[Event]]:
    return words(Random(seed))


def _names(events: Iterable[Event]) -> str:
    return ", ".join(f"{event.kind} {event.id} at {event.time_us}" for event in events)


if __name__ == "__main__":
    sys.exit(main())
