"""Claims nobody would make up: events drawn at random from all that the contract allows and the rules look at."""

from collections.abc import Callable
from datetime import date
from random import Random
from typing import Final, get_args

import msgspec

from events.contracts import Event, EventKind, ResponseKind, SubmissionKind
from tests.stories import RECORDED_AT_US, appeal, on, original, replacement, response, session, void

MOST_EVENTS: Final = 12
BEGUN: Final = 0.8
ARGUED: Final = 0.8
# The claims begin in 1970, because the first of all instants is zero, which is true as well; as a day of ``stories``.
BEGINNING: Final = (date(1970, 1, 1) - on(1)).days + 1
# Half a day, so that the times of one date differ.
TICK_US: Final = 43_200_000_000
# Few of each, so that ids, payers, days and numbers meet again.
SUBMISSION_IDS: Final = ("SUB-1", "SUB-2", "SUB-3", "SUB-4")
PAYERS: Final = ("P1", "P2")
SOURCES: Final = ("/a", "/b")
AMOUNTS: Final = ("0.00", "0.00", "0.01", "50.00", "-50.00", "80.00", "-80.00", "130.00")
ADJUSTMENTS: Final = ("CO-45 20.00", "CO-45 -20.00", "PR-2 22.00", "PR-2 -22.00", "OA-23 50.00", "OA-23 -50.00")
DENIALS: Final = ("CO-50 130.00", "CO-18 130.00", "OA-B13 10.00", "PR-96 5.00", "PI-97 1.00", "CO-50 2.00")
STATUSES: Final = ("A3:562:82", "A7:500", "A3:21")
KINDS: Final[tuple[ResponseKind, ...]] = get_args(ResponseKind)
SUBMIT: Final[dict[SubmissionKind, Callable[..., Event]]] = {
    "original": original,
    "replacement": replacement,
    "void": void,
    "appeal": appeal,
}
# What moves a claim comes more often than what only colours it.
WEIGHTS: Final = {
    "original": 3,
    "replacement": 2,
    "appeal": 2,
    "rejected": 2,
    "reversed": 3,
    "denied": 3,
    "approved": 3,
}

VOCABULARY: Final = (
    session(),
    session(served=30, cancelled=True),
    original(submission_id="SUB-1", served=3),
    original(rank=2),
    replacement(),
    void(),
    appeal(),
    response("acknowledged"),
    response("accepted"),
    response("information_requested"),
    response("forwarded"),
    response("rejected"),
    response("rejected", submission_id="SUB-1"),
    response("reversed", paid="-88.00", allowed="-110.00"),
    response("reversed", paid="0.00", allowed="0.00"),
    response("reversed", paid="-10.00", allowed="-10.00", rank=2),
    response("denied"),
    response("denied", submission_id="SUB-1", decided=9),
    response("denied", adjustments=["CO-18 130.00"]),
    response("denied", pcn="PCN-2", remarks=["MA130"]),
    response("denied", rank=2),
    response("approved", pcn="PCN-1"),
    response("approved", paid_on=30),
    response("approved", rank=2),
    response("approved", submission_id="SUB-X", paid="0.00", allowed="0.00"),
)
"""Words that together reach most of the table, for claims in which every few of them meet."""


def words(chance: Random, each: int = 40) -> dict[EventKind, list[Event]]:
    """Return events of every kind to draw from, ``each`` of a kind."""
    return {
        "session": [_session(chance) for _ in range(each)],
        **{kind: [_submission(kind, chance) for _ in range(each)] for kind in SUBMIT},
        **{kind: [_response(kind, chance) for _ in range(each)] for kind in KINDS},
    }


def draw(chance: Random, of: dict[EventKind, list[Event]]) -> list[Event]:
    """Return the events of one claim; many share an instant, and mostly one of them is there to begin with."""
    kinds = chance.choices(list(of), [WEIGHTS.get(kind, 1) for kind in of], k=chance.randint(1, MOST_EVENTS))
    if chance.random() < BEGUN:
        kinds[0] = "original"
    span = chance.choice((1, 3, 12, 40))
    return [
        placed(chance.choice(of[kind]), number, chance.randrange(span) if number else 0, chance.choice(SOURCES))
        for number, kind in enumerate(kinds)
    ]


def placed(word: Event, number: int, tick: int, source: str = SOURCES[0]) -> Event:
    """Return the event with an identity and a time of its own."""
    return msgspec.structs.replace(
        word,
        source=source,
        id=str(number),
        time_us=tick * TICK_US,
        recorded_at_us=RECORDED_AT_US + number * 1000,
    )


def _session(chance: Random) -> Event:
    return session(
        session_id=chance.choice(("S-1", "S-2")),
        served=BEGINNING + chance.randint(-4, 3),
        payer_id=chance.choice(PAYERS),
        cancelled=chance.random() < 0.2,
    )


def _submission(kind: SubmissionKind, chance: Random) -> Event:
    given = {
        "rank": chance.choice((1, 1, 1, 2, 3)),
        "payer_id": chance.choice(PAYERS),
        "submission_id": chance.choice((None, *SUBMISSION_IDS)),
    }
    if kind == "appeal":
        given["level"] = chance.choice((None, None, 1, 2))
    elif kind != "void":
        given |= {
            "charge": chance.choice(("130.00", "90.00")),
            "served": chance.choice((None, BEGINNING - 2, BEGINNING + 1)),
        }
    word = SUBMIT[kind](**given)
    if chance.random() < ARGUED:
        return word
    # What an appeal argues may be left out.
    return msgspec.structs.replace(word, data=msgspec.structs.replace(word.data, appeal=None))


def _response(kind: ResponseKind, chance: Random) -> Event:
    moves_money = kind in ("approved", "reversed")
    reasons = (*ADJUSTMENTS, *DENIALS) if kind == "denied" else ADJUSTMENTS
    return response(
        kind,
        sender=chance.choice(("payer", "payer", "clearinghouse")),
        rank=chance.choice((None, None, None, 1, 2, 3)),
        submission_id=chance.choice((None, None, *SUBMISSION_IDS, "SUB-X")),
        pcn=chance.choice((None, "PCN-1", "PCN-2")),
        statuses=chance.sample(STATUSES, k=chance.randint(0, 2)),
        decided=chance.choice((None, None, BEGINNING, BEGINNING + 5)),
        paid_on=chance.choice((None, None, BEGINNING + 2, BEGINNING + 5)),
        allowed=chance.choice(AMOUNTS) if moves_money else None,
        paid=chance.choice(AMOUNTS) if moves_money else None,
        patient=chance.choice((None, "10.00")),
        adjustments=chance.sample(reasons, k=chance.randint(0, 3)),
        remarks=chance.choice(([], [], ["MA130"])),
    )
