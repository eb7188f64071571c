"""Elements of X12 to money, dates, counts and ids; an error names segment, element and rule, never the value."""

import re
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from events.codec import FIRST_YEAR, LAST_YEAR
from services.intake.facts import Finding
from services.intake.segments import Segment

# X12.6, data type R: a point only where it is needed. Exponents are allowed there and used by nobody for money.
_NUMBER: Final = re.compile(r"(-?)([0-9]*)(?:\.([0-9]*))?")
_CENTS_DIGITS: Final = 2
_WHOLE_DIGITS: Final = 10
# An element that always has components, with a separator that ISA16 does not name: HC>97124, 11>B>1.
_OTHER_SEPARATOR: Final = re.compile(r"[0-9A-Z]{1,2}([^0-9A-Za-z\s.+-])")
_DAY: Final = re.compile(r"([0-9]{8})(?:-[0-9]{8})?")
_CLOCK: Final = re.compile(r"([01][0-9]|2[0-3])([0-5][0-9])([0-5][0-9])?[0-9]{0,2}")


class Misread(Exception):
    """An element breaks a rule: of which segment by its number, and which rule; holds no value of the file."""

    def __init__(self, segment: Segment, element: int, rule: str) -> None:
        super().__init__(rule)
        self.number = segment.number
        self.rule = f"{segment.tag}{element:02}: {rule}"


def required(segment: Segment, element: int) -> str:
    """Return an element's text; raises Misread where it is empty."""
    text = segment.at(element)
    if not text:
        raise Misread(segment, element, "required")
    return text


def claim_number(segment: Segment, element: int) -> str:
    """Return a claim's id; raises Misread where there is none, or zeros, which stand for none and for any claim."""
    claim_id = required(segment, element)
    if not claim_id.strip("0"):
        raise Misread(segment, element, "0 names no claim: who wrote it had no number of ours")
    return claim_id


def clock(text: str, findings: set[Finding]) -> str:
    """Return a time of day; what is given and is none is a finding, and the day alone is known."""
    if text and not _CLOCK.fullmatch(text):
        findings.add("bad_date")
    return text


def components(segment: Segment, element: int, findings: set[Finding]) -> list[str]:
    """Return the components of an element that always has some; a separator other than ISA16 is a finding."""
    parts = segment.parts(element)
    if len(parts) == 1 and (other := _OTHER_SEPARATOR.match(parts[0])) is not None:
        findings.add("component_separator")
        return [part.strip() for part in parts[0].split(other[1])]
    return parts


def cents(segment: Segment, element: int) -> int | None:
    """Return an amount in cents, None where it is absent; raises Misread where it is no exact amount of money."""
    text = segment.at(element)
    if not text:
        return None
    found = _NUMBER.fullmatch(text)
    if found is None or not (found[2] or found[3]):
        raise Misread(segment, element, "money is digits, with a minus before and a point within where needed")
    sign, whole, fraction = found.groups(default="")
    whole, fraction = whole.lstrip("0"), fraction.rstrip("0")
    if len(whole) > _WHOLE_DIGITS or len(fraction) > _CENTS_DIGITS:
        raise Misread(segment, element, "money has at most ten digits before and two after the point")
    amount = int(whole or 0) * 100 + int(fraction.ljust(_CENTS_DIGITS, "0"))
    return -amount if sign else amount


def required_cents(segment: Segment, element: int) -> int:
    """Return an amount in cents; raises Misread where it is absent or no exact amount."""
    required(segment, element)
    amount = cents(segment, element)
    assert amount is not None
    return amount


def units(segment: Segment, element: int) -> int | None:
    """Return a whole number of units; None where there is none, or a part of a unit as anaesthesia has them."""
    found = _NUMBER.fullmatch(segment.at(element))
    if found is None or found[1] or not found[2] or (found[3] or "").strip("0"):
        return None
    # Five digits are what the contract has room for.
    digits = found[2].lstrip("0")
    return int(digits or 0) if len(digits) <= len("99999") else None


def dated(text: str, findings: set[Finding]) -> date | None:
    """Return a date; what is given and is none is a finding."""
    found = day(text)
    if found is None and text:
        findings.add("bad_date")
    return found


@lru_cache(maxsize=1_024)  # a file has few days
def day(text: str) -> date | None:
    """Return a date (CCYYMMDD, of a range the first), None where it is none or of another century."""
    found = _DAY.fullmatch(text)
    if found is None:
        return None
    try:
        told = datetime.strptime(found[1], "%Y%m%d").date()  # noqa: DTZ007  (a day has no zone)
    except ValueError:
        return None
    return told if FIRST_YEAR <= told.year <= LAST_YEAR else None


def instant(told: date, clock: str, zone: ZoneInfo) -> str:
    """Return a day and a time of day (HHMM, HHMMSS, with decimals) in a zone as RFC 3339, to the second.

    Where there is no time of day it is the day's midnight in UTC, as the contract has it for a source that knows only
    dates. A time that the clocks pass twice in autumn is the first.
    """
    found = _CLOCK.fullmatch(clock)
    if found is None:
        return f"{told.isoformat()}T00:00:00Z"
    since_midnight = timedelta(hours=int(found[1]), minutes=int(found[2]), seconds=int(found[3] or 0))
    local = datetime(told.year, told.month, told.day, tzinfo=zone) + since_midnight
    return local.isoformat().replace("+00:00", "Z")
