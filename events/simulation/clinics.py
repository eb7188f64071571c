"""What therapists do and bill in the samples: clinics, therapists, procedures, timed units, modifiers, charges."""

from collections.abc import Iterable
from datetime import timedelta, timezone
from random import Random
from typing import Final, Literal, NamedTuple

from events.simulation.payers import Payer

MINUTES_A_UNIT: Final = 15


class Therapist(NamedTuple):
    """Who renders the service."""

    npi: str
    credential: Literal["PT", "OT", "LMT", "DC"]


class Clinic(NamedTuple):
    """Where, and the offset of its clocks."""

    name: str
    zone: timezone
    therapists: tuple[Therapist, ...]


class Procedure(NamedTuple):
    """One procedure of a session; untimed ones have no minutes, and ``units`` may be 0: done, and too short to bill."""

    code: str
    modifiers: tuple[str, ...]
    minutes: int | None
    units: int
    charge: int
    """Cents."""
    diagnoses: tuple[str, ...]


def with_check_digit(nine: str) -> str:
    """Return the NPI that begins with these nine digits: its last makes a Luhn number of it behind the prefix 80840."""
    doubled = sum(sum(divmod(int(digit) * 2, 10)) for digit in nine[::-2])
    plain = sum(int(digit) for digit in nine[-2::-2])
    return f"{nine}{-(24 + doubled + plain) % 10}"  # 24 is the prefix's own part of the sum


def _therapists(first: int, *credentials: Literal["PT", "OT", "LMT", "DC"]) -> tuple[Therapist, ...]:
    return tuple(Therapist(with_check_digit(str(first + 7919 * n)), word) for n, word in enumerate(credentials))


CLINICS: Final = (
    Clinic("eastside", timezone(timedelta(hours=-5)), _therapists(123456789, "PT", "PT", "OT", "LMT")),
    Clinic("harbor", timezone(timedelta(hours=-8)), _therapists(148202711, "PT", "LMT", "DC")),
    Clinic("lakeview", timezone(timedelta(hours=-6)), _therapists(165033907, "PT", "OT")),
)
REFERRERS: Final = tuple(with_check_digit(str(188101800 + 104_729 * n)) for n in range(5))

# Cents a unit. Timed codes count minutes; the others are one unit a day.
TIMED: Final = {
    "97032": 3200,
    "97035": 2800,
    "97110": 5200,
    "97112": 5600,
    "97116": 4600,
    "97124": 4500,
    "97140": 4800,
    "97530": 6000,
    "97535": 5800,
}
UNTIMED: Final = {
    "97010": 1500,
    "97150": 3500,
    "97161": 14500,
    "97162": 17500,
    "97164": 9500,
    "97165": 15000,
    "98941": 7500,
}
HOT_PACKS: Final = "97010"
_MIXES: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    "PT": (
        ("97110", "97140"),
        ("97110", "97112"),
        ("97110", "97112", "97140"),
        ("97110", "97140", "97530"),
        ("97116", "97110"),
        ("97161", "97110"),
        ("97162", "97140"),
        ("97164", "97530"),
        ("97010", "97110", "97140"),
        ("97035", "97140", "97110"),
        ("97032", "97110"),
        ("97150", "97110"),
    ),
    "OT": (("97530", "97535"), ("97165", "97535"), ("97530", "97110"), ("97535", "97112")),
    "LMT": (("97124",), ("97140",), ("97124", "97140")),
    "DC": (("98941",), ("98941", "97140"), ("98941", "97124")),
}
# Payers bundle the second code of a pair into the first unless a 59 on it says that it was a distinct service.
_PAIRS: Final = (
    ("97140", "97530"),
    ("97140", "97124"),
    ("97161", "97140"),
    ("97162", "97140"),
    ("97164", "97530"),
    ("97110", "97150"),
    ("97530", "97116"),
    ("98941", "97140"),
    ("98941", "97124"),
)
_DISCIPLINE: Final = {"PT": "GP", "OT": "GO", "LMT": "GP", "DC": "GP"}
_MINUTES: Final = (8, 10, 15, 15, 15, 20, 23, 25, 30, 30, 38, 45)
_DIAGNOSES: Final = {
    "medicare": ("M17.11", "R26.89", "M62.81", "Z96.651", "M54.50", "M48.061", "R29.6"),
    "workers_comp": ("S39.012D", "S46.011D", "S63.501D", "M54.16", "M54.50"),
    "auto": ("S13.4XXD", "S33.5XXD", "S16.1XXD", "M54.2", "G44.319"),
    "commercial": ("M54.50", "M54.2", "M62.830", "M25.511", "M25.561", "M79.18", "M75.101", "G44.209", "M54.16"),
}


def timed_units(minutes: dict[str, int], rule: Literal["cms", "ama"]) -> dict[str, int]:
    """Return the units of timed codes.

    ``cms`` pools the minutes of the day (Medicare Claims Processing Manual, ch. 5 §20.2.C: 8 minutes make the first
    unit); ``ama`` counts each code alone, a unit once its midpoint is passed.
    """
    if rule == "ama":
        return {code: (spent + 7) // MINUTES_A_UNIT for code, spent in minutes.items()}
    units = {code: spent // MINUTES_A_UNIT for code, spent in minutes.items()}
    left = (sum(minutes.values()) + 7) // MINUTES_A_UNIT - sum(units.values())
    # The provider may choose between equal remainders: more minutes first, then the code.
    for code in sorted(minutes, key=lambda code: (-(minutes[code] % MINUTES_A_UNIT), -minutes[code], code))[:left]:
        units[code] += 1
    return units


def procedures(chance: Random, payer: Payer, therapist: Therapist, *, over_threshold: bool) -> list[Procedure]:
    """Return what was done in a session, at least one of them billable."""
    codes = chance.choice(_MIXES[therapist.credential])
    minutes = {code: _MINUTES[int(chance.random() * len(_MINUTES))] for code in codes if code in TIMED}
    units = timed_units(minutes, payer.unit_rule)
    diagnoses = tuple(chance.sample(_DIAGNOSES.get(payer.kind, _DIAGNOSES["commercial"]), chance.choice((1, 2))))
    done = []
    for code in codes:
        count = units.get(code, 1)
        charge = count * (TIMED.get(code) or UNTIMED[code])
        marks = tuple(_modifiers(code, codes, therapist, over_threshold=over_threshold))
        done.append(Procedure(code, marks, minutes.get(code), count, charge, diagnoses))
    return done


def _modifiers(code: str, codes: tuple[str, ...], therapist: Therapist, *, over_threshold: bool) -> Iterable[str]:
    yield "AT" if code == "98941" else _DISCIPLINE[therapist.credential]
    if over_threshold:
        yield "KX"
    if any(code == second and first in codes for first, second in _PAIRS):
        yield "59"
