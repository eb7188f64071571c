"""Bytes of X12 to segments: separators from each ISA, no more than one segment in memory, no byte passed in silence.

Source: X12.5 (interchange control) and X12.6 (application control). ISA alone stands at fixed places, 106 bytes in all,
because it is what tells the separators.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import Struct

MAX_SEGMENT_BYTES: Final = 65_536
"""Far above any segment of an 837, 835, 277 or 999 (a few hundred bytes); what is longer is no segment of ours."""

_ISA_BYTES: Final = 106
_ISA_SEPARATORS: Final = (3, 6, 17, 20, 31, 34, 50, 53, 69, 76, 81, 83, 89, 99, 101, 103)
_COMPONENT_AT: Final = 104
_TERMINATOR_AT: Final = 105
_BOM: Final = b"\xef\xbb\xbf"
_LINE_BREAKS: Final = b"\r\n"
# What may stand between interchanges: white space, NUL padding of blocks, and the end-of-file mark of CP/M and DOS.
_PADDING: Final = re.compile(rb"[ \t\r\n\0\x1a]*+")
# A transaction set without envelope, as some payers' portals hand it out. Only ISA can name a component separator.
_BARE: Final = re.compile(rb"ST([^\w\s])[0-9]{3}\1[0-9A-Za-z]{1,9} *(?:\1[0-9A-Za-z]{0,35}){0,2}(?!\1)([^\w\s]|\r?\n)")
_BARE_COMPONENT: Final = b":"
_ISA: Final = b"ISA"
_TAG: Final = re.compile(r"[A-Z][A-Z0-9]{1,2}")
_INTERCHANGE_END: Final = "IEA"
# The only ones whose own end may be missing with the file's: no money is in them.
_TRAILERS: Final = ("SE", "GE", _INTERCHANGE_END)


class Segment(Struct, frozen=True, gc=False):
    """A segment: its number in the file, from 1, and its elements, the tag first."""

    number: int
    elements: list[str]
    component: str

    @property
    def tag(self) -> str:
        """What kind of segment it is, as CLP."""
        return self.elements[0]

    def at(self, position: int) -> str:
        """Return an element by its X12 number (CLP02 is ``at(2)``) without padding; empty where there is none."""
        return self.elements[position].strip() if position < len(self.elements) else ""

    def parts(self, position: int) -> list[str]:
        """Return the components of an element, at least one."""
        return [part.strip() for part in self.at(position).split(self.component)]


class Unreadable(Struct, frozen=True):
    """Where bytes are no segment, and the rule they break; safe to print: it holds none of them."""

    number: int
    rule: str


class BareTransactions(Struct, frozen=True):
    """Transaction sets follow without an envelope: the component separator is taken to be a colon."""

    number: int


Read = Segment | Unreadable | BareTransactions


def segments(chunks: Iterable[bytes]) -> Iterator[Read]:
    """Yield the segments of a file, in order; what is no segment is told once, and reading goes on behind it."""
    reader = _Reader(chunks)
    while reader.more():
        yield from reader.interchange()


class _Reader:
    """Owns the bytes that are read and not yet told."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._bytes = b""
        self._at = 0
        self._number = 0
        self._lost = False
        self._cut = False
        self._ended = False
        self._fill(len(_BOM))
        if self._bytes.startswith(_BOM):
            self._at = len(_BOM)

    def more(self) -> bool:
        """Pass over padding; say whether anything follows."""
        while True:
            self._at = _padded(self._bytes, self._at)
            if self._at < len(self._bytes) or self._ended:
                return self._at < len(self._bytes)
            self._fill(1)

    def interchange(self) -> Iterator[Read]:
        """Yield what stands here up to the end of the interchange."""
        self._fill(2 * _ISA_BYTES)
        if self._bytes.startswith(_ISA, self._at):
            yield from self._from_isa()
        elif self._number == 0 and (found := _BARE.match(self._bytes, self._at)):
            yield BareTransactions(1)
            yield from self._split(found[1], _BARE_COMPONENT, found[2][-1:])
        else:
            yield from self._unreadable("an interchange begins with ISA")
            self._skip_to_isa(0)

    def _from_isa(self) -> Iterator[Read]:
        head = self._bytes[self._at : self._at + _ISA_BYTES]
        if _separators(head) is None:  # wrapped perhaps, by an editor or a mainframe, at some column
            head = self._bytes[self._at : self._at + 2 * _ISA_BYTES].translate(None, _LINE_BREAKS)[:_ISA_BYTES]
        found = _separators(head)
        if found is None:
            yield from self._unreadable(
                "ISA has 16 elements at fixed places, 106 bytes in all, and separators that differ"
            )
            self._skip_to_isa(len(_ISA))
        else:
            yield from self._split(*found)

    def _split(self, element: bytes, component: bytes, terminator: bytes) -> Iterator[Read]:
        """Yield segments up to IEA, or to an ISA that comes without one."""
        self._lost = False
        between, inside = element.decode("latin-1"), component.decode("latin-1")
        breaks = _LINE_BREAKS.replace(terminator, b"")
        first = True
        # Where IEA is missing the next ISA ends this interchange: its own separators may be others.
        while first or not self._isa_follows():
            if (raw := self._segment(terminator)) is None:
                return
            if len(raw) > MAX_SEGMENT_BYTES:
                self._number += 1
                yield Unreadable(self._number, f"a segment has at most {MAX_SEGMENT_BYTES} bytes")
                continue
            text = _text(raw.translate(None, breaks)).strip(" \t\0\x1a")
            if not text:
                continue
            self._number += 1
            first = False
            elements = text.split(between)
            elements[0] = elements[0].rstrip()
            if self._cut and elements[0] not in _TRAILERS:
                yield Unreadable(self._number, "the file ends inside this segment")
                return
            if not _TAG.fullmatch(elements[0]):
                yield Unreadable(self._number, "a segment begins with a tag of two or three letters and digits")
                continue
            yield Segment(self._number, elements, inside)
            if elements[0] == _INTERCHANGE_END:
                return

    def _isa_follows(self) -> bool:
        """Pass over padding; say whether an interchange begins behind it."""
        self.more()
        self._fill(len(_ISA))
        return self._bytes.startswith(_ISA, self._at)

    def _segment(self, terminator: bytes) -> bytes | None:
        """Return the bytes up to the next terminator, at most one more than a segment may have; None at the end."""
        start = self._at
        while (end := self._bytes.find(terminator, start)) < 0:
            if self._ended:
                return self._rest()
            held = len(self._bytes) - self._at
            if held > MAX_SEGMENT_BYTES:
                return self._overlong(terminator)
            self._fill(held + 1)
            start = self._at + held
        raw = self._bytes[self._at : end]
        self._at = end + len(terminator)
        return raw

    def _rest(self) -> bytes | None:
        """Return a last segment that nothing terminates, if there is one."""
        if _padded(self._bytes, self._at) == len(self._bytes):
            return None
        rest, self._bytes, self._at, self._cut = self._bytes[self._at :], b"", 0, True
        return rest

    def _overlong(self, terminator: bytes) -> bytes:
        """Pass over the rest of a segment that is too long, without holding it."""
        while (end := self._bytes.find(terminator, self._at)) < 0 and not self._ended:
            self._bytes, self._at = b"", 0
            self._fill(1)
        self._at = len(self._bytes) if end < 0 else end + len(terminator)
        return bytes(MAX_SEGMENT_BYTES + 1)

    def _unreadable(self, rule: str) -> Iterator[Unreadable]:
        """Tell it, but only once for all that follows up to the next segment that can be read."""
        self._number += 1
        if not self._lost:
            self._lost = True
            yield Unreadable(self._number, rule)

    def _skip_to_isa(self, step: int) -> None:
        self._at += step
        while (found := self._bytes.find(_ISA, self._at)) < 0 and not self._ended:
            # The last two bytes may begin an ISA.
            self._at = max(self._at, len(self._bytes) - len(_ISA) + 1)
            self._fill(len(_ISA))
        self._at = len(self._bytes) if found < 0 else found

    def _fill(self, wanted: int) -> None:
        """Read until that many bytes are held, or until the file ends."""
        while len(self._bytes) - self._at < wanted and not self._ended:
            chunk = next(self._chunks, b"")
            self._ended = not chunk
            self._bytes = self._bytes[self._at :] + chunk
            self._at = 0


def _separators(head: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Return the separators of elements and components and the terminator, or None where this is no ISA."""
    if len(head) < _ISA_BYTES:
        return None
    element, component, terminator = head[3:4], head[_COMPONENT_AT : _COMPONENT_AT + 1], head[_TERMINATOR_AT:]
    if head.count(element) != len(_ISA_SEPARATORS) or any(head[at] != element[0] for at in _ISA_SEPARATORS):
        return None
    told_apart = len({element, component, terminator}) == len((element, component, terminator))
    if (
        not told_apart
        or element.isalnum()
        or component.isalnum()
        or component == b" "
        or terminator.isalnum()
        or b" " in terminator
    ):
        return None
    return element, component, terminator


def _padded(held: bytes, start: int) -> int:
    """Return where the padding ends that begins here."""
    found = _PADDING.match(held, start)
    return found.end() if found else start


def _text(raw: bytes) -> str:
    """Return the characters: UTF-8, or where that cannot be, Latin-1, of which any byte is a character."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")
