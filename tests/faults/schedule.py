"""A schedule: what is published when, and what goes wrong when, drawn from a seed before anything runs."""

from collections.abc import Iterator
from functools import cache
from random import Random
from typing import Final, Literal, NamedTuple, get_args

from aiokafka import TopicPartition

from events import samples
from events.codec import Record, RefusalReason
from events.samples import Message
from events.simulation.troubles import POISONS, contradicted, said_again
from events.topics import TOPICS
from tests.faults.simulated_connection import COMMIT, STATEMENTS, FaultKind, StatementFault
from tests.faults.simulated_kafka import Stored

REFUSED: Final = "-REFUSED"
"""Claims whose id ends so are refused by the database, as one that no rule of ours foresaw."""
POOL: Final = 240
POOL_SEED: Final = 20_260
REFUSED_SHARE: Final = 0.06
FEWEST_RECORDS: Final = 6
MOST_RECORDS: Final = 25
DUPLICATES: Final = 0.1
CONFLICTS: Final = 0.04
POISONED: Final = 0.06
MOST_CLAIMS: Final = 4
MOST_TRACKERS: Final = 3
MOST_BURSTS: Final = 5
SHUFFLED: Final = 0.3
TRICKLE: Final = 0.7
"""The shares of schedules whose records come in no order, and not all at once."""
GROWN: Final = 0.08
"""The share of schedules in which topics get another partition."""
MORE: Final = 0.3
"""The share of further places that have a tracker."""
PUBLISHED_FOR_S: Final = 4.0
LAST_ACTION_S: Final = 6.0
FALL_BACK_LIMIT_S: Final = 3.0
"""The most that a replica lags."""
FIRST_TIMESTAMP_MS: Final = 1_780_000_000_000

What = Literal[
    "publish",
    "start",
    "stop",
    "kill",
    "cut the power",
    "pause",
    "repeat",
    "skip",
    "fail a fetch",
    "rejoin",
    "truncate",
    "make anew",
    "add partitions",
    "postgres away",
    "postgres falls back",
    "kafka away",
]
# How often each is drawn, of what goes wrong by the clock.
WEIGHTS: Final[dict[What, int]] = {
    "start": 3,
    "stop": 2,
    "kill": 4,
    "cut the power": 2,
    "pause": 4,
    "repeat": 4,
    "skip": 3,
    "fail a fetch": 3,
    "rejoin": 3,
    "truncate": 3,
    "make anew": 1,
    "postgres away": 2,
    "postgres falls back": 2,
    "kafka away": 2,
}
# A quarter of a megabyte each.
SPOILT: Final = [poison for name, poison in POISONS.items() if name != "oversized"]


class Published(Message, frozen=True):
    """A record, and why it must be refused if it must."""

    reason: RefusalReason | None = None


class Action(NamedTuple):
    """What happens at a moment; ``which`` is a tracker's place or a partition, as the action needs."""

    at_s: float
    what: What
    which: int = 0
    seconds: float = 0.0
    entries: tuple[Stored | None, ...] = ()

    def __str__(self) -> str:
        """One line for people."""
        told = f"{self.at_s:7.3f} {self.what} {self.which}"
        if self.what == "publish":
            return told + " " + " ".join(_name(entry) for entry in self.entries)
        return told + (f" {self.seconds:.3f} s" if self.seconds else "")


class Schedule(NamedTuple):
    """Everything that is decided beforehand."""

    seed: int
    partitions: tuple[TopicPartition, ...]
    at_first: int
    """So many partitions a topic has; later all."""
    lanes: int
    batch_records: int
    actions: tuple[Action, ...]
    faults: tuple[StatementFault, ...]

    def messages(self) -> Iterator[Published]:
        """Yield what is published."""
        for action in self.actions:
            for entry in action.entries:
                if entry and isinstance(entry.record, Published):
                    yield entry.record

    def __str__(self) -> str:
        """A page for people."""
        head = (
            f"seed {self.seed}: {len(self.partitions)} partitions, {self.lanes} lanes of {self.batch_records} records"
        )
        faults = [f"after {f.after} statements, at {f.name or 'any'}: {f.kind} {f.seconds:.3f}" for f in self.faults]
        return "\n".join([head, *map(str, self.actions), *faults])


def draw(seed: int) -> Schedule:
    """Return the schedule of a seed."""
    chance = Random(f"schedule {seed}")
    at_first = chance.choice((1, 1, 1, 2, 2, 3))
    grown_s = chance.uniform(0, PUBLISHED_FOR_S) if chance.random() < GROWN else None
    count = at_first if grown_s is None else at_first + 1
    partitions = tuple(TopicPartition(topic, number) for topic in sorted(TOPICS) for number in range(count))
    actions = [Action(0.0, "start"), *_published(chance, partitions, at_first, grown_s)]
    actions += [] if grown_s is None else [Action(grown_s, "add partitions")]
    actions += [
        Action(chance.uniform(0, 3), "start", place) for place in range(1, MOST_TRACKERS) if chance.random() < MORE
    ]
    actions += [_action(chance, len(partitions)) for _ in range(chance.choice((0, 1, 1, 2, 2, 3, 4)))]
    if any(action.what == "postgres falls back" for action in actions):
        # A tracker sees that PostgreSQL fell back at the next offset of each partition.
        after_s = max(action.at_s for action in actions if action.what == "postgres falls back") + FALL_BACK_LIMIT_S
        actions += [Action(after_s + 0.1, "publish", number, 0.0, (None,)) for number in range(len(partitions))]
    return Schedule(
        seed,
        partitions,
        at_first,
        lanes=chance.choice((1, 2)),
        batch_records=chance.randint(1, 8),
        actions=tuple(sorted(actions, key=lambda action: action.at_s)),
        faults=tuple(_fault(chance) for _ in range(chance.choice((0, 1, 1, 2, 3)))),
    )


def draw_many(first_seed: int, count: int) -> Iterator[Schedule]:
    """Yield the schedules of seeds that follow one another."""
    return map(draw, range(first_seed, first_seed + count))


def _action(chance: Random, partitions: int) -> Action:
    what = chance.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
    which = chance.randrange(partitions if what in ("truncate", "make anew") else MOST_TRACKERS)
    # Of a pause, some are short, some last until others have the partitions, some until a transaction is given up.
    seconds = chance.choice((chance.uniform(0.01, 1), chance.uniform(1, 5), chance.uniform(5, 30)))
    return Action(chance.uniform(0.01, LAST_ACTION_S), what, which, seconds)


def _fault(chance: Random) -> StatementFault:
    name = chance.choice(("", "", COMMIT, COMMIT, chance.choice([*STATEMENTS.values()])))
    kind = chance.choice(get_args(FaultKind))
    return StatementFault(
        chance.randint(0, 30), name, kind, chance.choice((chance.uniform(0.1, 2), chance.uniform(2, 30)))
    )


# --- what is published ---


@cache
def _pool() -> list[list[Message]]:
    """Return the claims that schedules take theirs from; a few the database will refuse."""
    chance = Random(POOL_SEED)
    pool = [*samples.histories(POOL, POOL_SEED)]
    return [_refused(told) if chance.random() < REFUSED_SHARE else told for told in pool]


def _refused(told: list[Message]) -> list[Message]:
    def named(text: bytes, name: bytes) -> bytes:
        return text.replace(name, name + REFUSED.encode())

    return [
        Message(each.topic, named(each.key, each.key), named(each.value, each.key))
        for each in told
        if each.key and each.value
    ]


def _published(
    chance: Random, partitions: tuple[TopicPartition, ...], at_first: int, grown_s: float | None
) -> Iterator[Action]:
    """Yield the records of a few claims with the troubles of real topics, as a backlog or a trickle."""
    messages = _troubled(chance, _told(chance))
    numbers = {partition: number for number, partition in enumerate(partitions)}
    trickles = chance.random() < TRICKLE
    stray = chance.choice((0.0, 0.0, 0.3))
    holes = chance.choice((0.0, 0.0, 0.25))
    bursts = [chance.uniform(0, PUBLISHED_FOR_S) if trickles else 0.0 for _ in range(MOST_BURSTS)]
    times = sorted(chance.choice(bursts[: chance.randint(1, MOST_BURSTS)]) for _ in messages)
    for number, (at_s, message) in enumerate(zip(times, messages, strict=True)):
        count = at_first if grown_s is None or at_s <= grown_s else at_first + 1
        # Not all clients agree on the partition of a key.
        share = chance.randrange(count) if chance.random() < stray else sum(message.key or b"") % count
        entries: list[Stored | None] = [Stored(message, FIRST_TIMESTAMP_MS + number)]
        if chance.random() < holes:
            entries.insert(chance.randint(0, 1), None)
        yield Action(at_s, "publish", numbers[TopicPartition(message.topic, share)], 0.0, tuple(entries))


def _told(chance: Random) -> list[Message]:
    """Interleave a few claims, mostly in the order in which things happened."""
    told = chance.sample(_pool(), chance.randint(1, MOST_CLAIMS))
    most = chance.randint(FEWEST_RECORDS, MOST_RECORDS)
    order = [number for number, claim in enumerate(told) for _ in claim]
    chance.shuffle(order)
    rest = [iter(claim) for claim in told]
    messages = [next(rest[number]) for number in order][:most]
    if chance.random() < SHUFFLED:
        chance.shuffle(messages)
    return messages


def _troubled(chance: Random, messages: list[Message]) -> list[Published]:
    troubled: list[Published] = []
    before: list[Message] = []
    for message in messages:
        before.append(message)
        troubled.append(_as(message, "event"))
        draw = chance.random()
        if draw < DUPLICATES:
            troubled.append(_as(said_again(chance.choice(before[-4:]), chance), "duplicate"))
        elif draw < DUPLICATES + CONFLICTS:
            troubled.append(_as(contradicted(message), "conflict"))
        elif draw < DUPLICATES + CONFLICTS + POISONED:
            poison = chance.choice(SPOILT)
            troubled.append(_as(poison.spoil(message), "poison", poison.reason))
    return troubled


def _as(record: Record, intended: samples.Intended, reason: RefusalReason | None = None) -> Published:
    return Published(record.topic, record.key, record.value, [*record.headers], intended, reason)


def _name(entry: Stored | None) -> str:
    if entry is None:
        return "-"
    record = entry.record
    assert isinstance(record, Published)
    return f"{record.reason or record.intended} of {(record.key or b'').decode(errors='replace')}"
