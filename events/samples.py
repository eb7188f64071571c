"""Seeded claim histories as Kafka records, well told or with the troubles of real topics; equal arguments, equal bytes.

``histories`` gives claim by claim, ``stream`` all claims in business order with the troubles that ``Switches`` ask for.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from heapq import heappop, heappush, heapreplace
from itertools import count
from random import Random
from typing import Final, Literal

import msgspec

from events.codec import Record
from events.simulation.journeys import journey
from events.simulation.paperwork import Told
from events.simulation.troubles import POISONS, contradicted, said_again
from events.topics import TOPIC_OF_TYPE

# Claims begin on the working days of this span, so that their events overlap as those of a practice do ...
SPAN_WORKDAYS: Final = 85
# ... but no more of them a day, so that a million claims need no more memory than thirty thousand.
MAX_CLAIMS_A_DAY: Final = 400
WORKDAYS: Final = 5

# How many records pass before a record that is moved, or said again, comes.
SOON: Final = 200
LATE: Final = 20_000

DEFAULT_START: Final = date(2026, 1, 5)

Intended = Literal["event", "duplicate", "conflict", "poison"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Switches:
    """How much trouble there is, each as a share of the events, from 0 to 1.

    Poison, duplicates and conflicts are added to the events; disorder and lateness move events. An event gets at most
    one of a duplicate and a conflict, so that the outcomes can be counted beforehand, whichever comes first.
    """

    duplicates: float = 0.0
    disorder: float = 0.0
    lateness: float = 0.0
    conflicts: float = 0.0
    poison: float = 0.0


WELL_BEHAVED: Final = Switches()


class Message(Record, frozen=True):
    """A record to publish, and what is to become of it.

    Of an event and its duplicate or conflict, the first to arrive is accepted: the counts hold, the roles may swap.
    """

    # A list, because aiokafka takes no other sequence.
    headers: list[tuple[str, bytes | None]] = msgspec.field(default_factory=list)
    intended: Intended = "event"


def histories(
    claims: int, seed: int, start: date = DEFAULT_START, until: date | None = None
) -> Iterator[list[Message]]:
    """Yield each claim's events in business order; what would happen on ``until`` or later has not happened yet."""
    for _, claim_id, told in _claims(claims, seed, start, until):
        yield [_message(claim_id, event) for event in told]


def stream(
    claims: int,
    seed: int,
    switches: Switches = WELL_BEHAVED,
    start: date = DEFAULT_START,
    until: date | None = None,
) -> Iterator[Message]:
    """Yield the events of all claims in business order, and the troubles asked for; open claims alone take memory."""
    return _troubled(_interleaved(claims, seed, start, until), switches, Random(f"{seed}:troubles"))


def _claims(claims: int, seed: int, start: date, until: date | None) -> Iterator[tuple[date, str, list[Told]]]:
    """Yield each claim's first day, id and events, by day; a claim depends on its day and its own seed alone."""
    span = max(SPAN_WORKDAYS, -(-claims // MAX_CLAIMS_A_DAY))
    end = until and datetime.combine(until, time(), UTC)
    for number in range(claims):
        day = _workday(start, number * span // claims)
        claim_id = f"CLM-{seed}-{number + 1:06}"
        told = journey(claim_id, Random(claim_id), day)
        if end:
            told = [event for event in told if event.at < end]
        if told:
            yield day, claim_id, told


def _workday(start: date, number: int) -> date:
    """Return the working day of this number, counted from 0 at the first on or after ``start``."""
    weeks, weekday = divmod(min(start.weekday(), WORKDAYS) + number, WORKDAYS)
    return start + timedelta(days=7 * weeks + weekday - start.weekday())


def _interleaved(claims: int, seed: int, start: date, until: date | None) -> Iterator[Message]:
    """Merge the claims by time: a claim waits in the heap from its first day on."""
    heap: list[tuple[datetime, int, str, Iterator[Told], Told]] = []

    def earlier_than(end: datetime | None) -> Iterator[Message]:
        while heap and (end is None or heap[0][0] < end):
            _, number, claim_id, rest, event = heap[0]
            yield _message(claim_id, event)
            following = next(rest, None)
            if following:
                heapreplace(heap, (following.at, number, claim_id, rest, following))
            else:
                heappop(heap)

    for number, (day, claim_id, told) in enumerate(_claims(claims, seed, start, until)):
        yield from earlier_than(datetime.combine(day, time(), UTC))
        heappush(heap, (told[0].at, number, claim_id, iter(told[1:]), told[0]))
    yield from earlier_than(None)


def _troubled(events: Iterable[Message], switches: Switches, chance: Random) -> Iterator[Message]:
    poisons = tuple(POISONS.values())
    held: list[tuple[int, int, Message]] = []
    order = count()

    def hold(message: Message, now: int, most: int) -> None:
        heappush(held, (now + chance.randint(1, most), next(order), message))

    for now, event in enumerate(events):
        while held and held[0][0] <= now:
            yield heappop(held)[2]
        if chance.random() < switches.poison:
            yield _intended(chance.choice(poisons).spoil(event), "poison")
        draw = chance.random()
        if draw < switches.duplicates:
            hold(_intended(said_again(event, chance), "duplicate"), now, chance.choice((SOON, SOON, LATE)))
        elif draw < switches.duplicates + switches.conflicts:
            hold(_intended(contradicted(event), "conflict"), now, SOON)
        draw = chance.random()
        if draw < switches.lateness:
            hold(event, now + SOON, LATE)
        elif draw < switches.lateness + switches.disorder:
            hold(event, now, SOON)
        else:
            yield event
    while held:
        yield heappop(held)[2]


def _message(claim_id: str, event: Told) -> Message:
    return Message(TOPIC_OF_TYPE[event.type], claim_id.encode(), event.value)


def _intended(record: Record, intended: Intended) -> Message:
    return Message(record.topic, record.key, record.value, [*record.headers], intended)
