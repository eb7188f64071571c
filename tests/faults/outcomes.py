"""What can become of a record that somebody published."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from events.codec import MAX_DEPTH, MAX_VALUE_BYTES
from services.positions import Reason
from tests.faults.records import Way


class Letter(NamedTuple):
    """A dead letter: its reason, the path it names, and where it matters the rule."""

    reason: Reason
    path: str = "$"
    rule: str | None = None


class Taken(NamedTuple):
    """An event, stored or known already."""

    outcome: str


class Row(NamedTuple):
    """A kind of input: in words, how it comes from a good record, and what becomes of it."""

    sentence: str
    way: Way
    outcome: Taken | Letter
    topic: str = "session-recorded"
    sending: Mapping[str, Any] = {}
    """How it is sent: ``timestamp_ms``, ``compression_type``, ``client``."""

    @property
    def needs_the_fact(self) -> bool:
        """Whether the good record was published long before."""
        return self.outcome in (DUPLICATE, CONFLICT)


ACCEPTED: Final = Taken("accepted")
DUPLICATE: Final = Taken("duplicate")
CONFLICT: Final = Letter("conflict", "$", "an event of this claim, source and id was accepted with other content")
KEY: Final = Letter("key_mismatch", "$.subject", "the record's key is the subject in UTF-8")
TEXT: Final = Letter("bad_text", "$", "UTF-8")
NUL: Final = Letter("bad_text", "$", "no NUL character")
LONE: Final = Letter("bad_text", "$", "no lone surrogate")
NOT_JSON: Final = Letter("not_json")
FINITE: Final = Letter("not_json", "$", "numbers are finite and within range")
TWICE: Final = Letter("duplicate_key", "$", "each key once in an object")
DEEP: Final = Letter("too_deep", "$", f"at most {MAX_DEPTH} levels")
LARGE: Final = Letter("too_large", "$", f"at most {MAX_VALUE_BYTES} bytes")
NO_VALUE: Final = Letter("no_value", "$", "a record carries one event; null and empty values do not")
HEADER_TWICE: Final = Letter("bad_header", "header 6", "each ce_ attribute once, and data is the value")
NO_EVENT: Final = Letter("not_cloudevent")
MONEY: Final = 'money is a decimal string like "-88.00": at most ten digits before and two after the point'
YEARS: Final = "between the years 2000 and 2099"


def envelope(path: str, rule: str | None = None) -> Letter:
    """An attribute of the envelope breaks a rule."""
    return Letter("not_cloudevent", f"$.{path}", rule)


def data(path: str, rule: str | None = None) -> Letter:
    """A field of the data breaks a rule."""
    return Letter("invalid", f"$.data.{path}", rule)


def charge(rule: str) -> Taken | Letter:
    """A session's charge breaks a rule."""
    return data("procedures[0].charge", rule)


def time(rule: str) -> Taken | Letter:
    """The time breaks a rule."""
    return envelope("time", rule)


NOT_A_TIME: Final = time("Invalid RFC3339 encoded datetime")
