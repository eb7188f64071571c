"""Segments to transaction sets: what the envelope around each says, and what is wrong with its trailers."""

from collections.abc import Iterator
from typing import Final, Literal

from msgspec import Struct

from services.intake.segments import BareTransactions, Read, Segment, Unreadable

EnvelopeFinding = Literal["no_interchange", "no_trailer", "test_interchange", "wrong_count", "wrong_control_number"]

_FUNCTIONAL_GROUP: Final = "GS"
_INTERCHANGE: Final = "ISA"
_TRANSACTION: Final = "ST"
_TRANSACTION_END: Final = "SE"
_TRAILERS: Final = frozenset({_TRANSACTION_END, "GE", "IEA"})
_STRUCTURE: Final = _TRAILERS | {_INTERCHANGE, _FUNCTIONAL_GROUP, _TRANSACTION, "TA1"}
_REJECTED: Final = "R"
_TEST: Final = "T"


class Found(Struct, frozen=True):
    """A finding about the envelope, and the segment where it shows."""

    number: int
    finding: EnvelopeFinding


class Transaction(Struct, frozen=True, kw_only=True):
    """A transaction set's own place: what ISA, GS and ST say around it."""

    number: int
    kind: str
    """ST01: 835, 837, 277, 999 …"""
    version: str
    """ST03, in older files GS08, as 005010X221A1; empty where neither tells."""
    control: str
    """ST02."""
    interchange: str = ""
    """ISA13."""
    group: str = ""
    """GS06."""
    sender: str = ""
    """GS02."""
    receiver: str = ""
    """GS03."""
    date: str = ""
    """GS04."""
    time: str = ""
    """GS05."""

    def place(self, number: int) -> str:
        """Return where a segment stands, for people who have the file: control numbers and the segment's number."""
        told = [each if each.isdigit() else "?" for each in (self.interchange, self.group, self.control)]
        return f"ISA13={told[0]} GS06={told[1]} ST02={told[2]} segment={number}"


class Body:
    """The segments of one transaction set, to be read once; afterwards it knows whether the set came to its end."""

    def __init__(self, read: "_Ahead", transaction: Transaction) -> None:
        self._read = read
        self._transaction = transaction
        self._segments = self._between()
        self.whole = False
        """Whether a trailer follows: if not, the file may have been cut inside the last claim or just behind it.

        Another header proves nothing: it may be of a file that somebody appended.
        """

    def __iter__(self) -> Iterator[Segment | Unreadable]:
        """Return what stands between ST and SE; bytes that are no segment are told where they stand."""
        return self._segments

    def _between(self) -> Iterator[Segment | Unreadable]:
        count = 1
        while (item := self._read.take()) is not None:
            if isinstance(item, BareTransactions):
                break
            if isinstance(item, Segment) and item.tag in _STRUCTURE:
                self._end(item, count + 1)
                return
            count += 1
            yield item
        self._read.findings.append(Found(self._transaction.number, "no_trailer"))

    def _end(self, item: Segment, count: int) -> None:
        self.whole = item.tag in _TRAILERS
        if item.tag != _TRANSACTION_END:
            self._read.findings.append(Found(item.number, "no_trailer"))
            self._read.put_back(item)
            return
        if item.at(1).lstrip("0") != str(count):
            self._read.findings.append(Found(item.number, "wrong_count"))
        if item.at(2) != self._transaction.control:
            self._read.findings.append(Found(item.number, "wrong_control_number"))


def transactions(read: Iterator[Read]) -> Iterator[tuple[Transaction, Body] | Unreadable | Found]:
    """Yield each transaction set with its segments, which the caller reads before it asks for the next.

    What cannot be read between the sets, or says that an interchange was refused, is yielded as Unreadable.
    """
    ahead = _Ahead(read)
    interchange = group = _NOTHING
    opened: list[_Opened] = []
    while (item := ahead.take()) is not None:
        match item:
            case Unreadable():
                yield item
            case BareTransactions(number):
                yield Found(number, "no_interchange")
            case Segment() if item.tag == _TRANSACTION:
                transaction = _transaction(item, interchange, group)
                body = Body(ahead, transaction)
                if opened:
                    opened[-1].holds += 1
                yield transaction, body
                for _ in body:  # what the reader of this kind left unread
                    pass
                yield from ahead.tell()
            case Segment():
                if item.tag == _INTERCHANGE:
                    interchange, group = item, _NOTHING
                elif item.tag == _FUNCTIONAL_GROUP:
                    group = item
                yield from _judged(item, opened)
    if opened:
        yield Found(ahead.number, "no_trailer")


# What an ISA or GS says that is not there.
_NOTHING: Final = Segment(0, [""], ":")
_CONTROL_AT: Final = {_FUNCTIONAL_GROUP: 6, _INTERCHANGE: 13}


class _Ahead:
    """The segments, of which one may be put back; and the findings of a body, told after it."""

    def __init__(self, read: Iterator[Read]) -> None:
        self._read = read
        self._returned: Segment | None = None
        self.findings: list[Found] = []
        self.number = 0

    def take(self) -> Read | None:
        item, self._returned = self._returned or next(self._read, None), None
        if item is not None:
            self.number = item.number
        return item

    def put_back(self, item: Segment) -> None:
        self._returned = item

    def tell(self) -> Iterator[Found]:
        yield from self.findings
        self.findings.clear()


class _Opened(Struct):
    """An ISA, or within it a GS, that is not closed yet."""

    control: str
    holds: int = 0
    """How many groups, or sets, stand in it so far."""


def _judged(item: Segment, opened: list[_Opened]) -> Iterator[Unreadable | Found]:
    """Hold trailers against headers; `opened` keeps what is open: an interchange (0), in it a group (1)."""
    match item.tag:
        case "ISA" | "GS":
            level = 0 if item.tag == _INTERCHANGE else 1
            if len(opened) > level:
                yield Found(item.number, "no_trailer")
            del opened[level:]
            if opened:
                opened[-1].holds += 1
            if item.tag == _INTERCHANGE and item.at(15) == _TEST:
                yield Found(item.number, "test_interchange")
            opened.append(_Opened(item.at(_CONTROL_AT[item.tag])))
        case "IEA" | "GE":
            level = 0 if item.tag == "IEA" else 1
            if len(opened) > level + 1:
                yield Found(item.number, "no_trailer")
            if len(opened) <= level or opened[level].control != item.at(2):
                yield Found(item.number, "wrong_control_number")
            elif item.at(1).lstrip("0") != str(opened[level].holds).lstrip("0"):
                yield Found(item.number, "wrong_count")
            opened[level:] = []
        case "TA1":
            # TA104; what it refuses was sent by us, and only ISA13 says which.
            if item.at(4) == _REJECTED:
                yield Unreadable(item.number, "TA104: the receiver refused a whole interchange; send its claims again")
        case _:
            yield Unreadable(item.number, "between transaction sets only ISA, TA1, GS, ST, GE and IEA may stand")


def _transaction(st: Segment, interchange: Segment, group: Segment) -> Transaction:
    return Transaction(
        number=st.number,
        kind=st.at(1),
        version=st.at(3) or group.at(8),
        control=st.at(2),
        interchange=interchange.at(13),
        group=group.at(6),
        sender=group.at(2),
        receiver=group.at(3),
        date=group.at(4),
        time=group.at(5),
    )
