"""What must hold of everything that is read out of any bytes, judged with a second, plain reading of the same bytes.

The second reading shares no code with the product: it looks for the claim's own segment wherever it stands, guesses the
separators from what stands around it, and takes the amounts from their places.
"""

import json
import re
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NamedTuple

from events import codec
from events.contracts import ClaimSubmitted, EventData, PayerResponse
from services.intake.facts import Refused, Remark, Remittance, Unpublished
from services.intake.files import Item, Publishable

CANARIES: Final = ("CNRY7QX", "cnry é7", "90210734551")
"""Put where texts stand; no code and no word of ours looks like one."""

_PADDING: Final = " \t\0\x1a"
_REMITTANCE_ENDS: Final = frozenset({"CLP", "LX", "N1", "PLB", "SE", "GE", "IEA", "ISA", "GS", "ST", "TA1"})
_CLAIM_ENDS: Final = frozenset({"CLM", "HL", "SE", "GE", "IEA", "ISA", "GS", "ST", "TA1"})
_SHARES: Final = frozenset({"1", "2", "3"})


class Money(NamedTuple):
    """The amounts of one claim, in cents; None where there is none."""

    charge: int | None
    paid: int | None = None
    patient: int | None = None
    allowed: int | None = None
    adjustments: tuple[tuple[str, int | None], ...] = ()
    lines: tuple[tuple[int | None, int | None, int | None], ...] = ()
    """Of each line charge, paid and allowed."""


def violations(data: bytes, found: list[Item]) -> Iterator[str]:
    """Yield what does not hold of what was read out of the bytes."""
    last = _segments_at_most(data)
    for item in found:
        if not 1 <= item.number <= last:
            yield f"segment {item.number} of a file of at most {last}: {type(item).__name__}"
        if isinstance(item, Publishable):
            yield from (f"{item.claim_id}: {wrong}" for wrong in _wrong_event(data, item))
        elif any(canary in said for said in _said(item) for canary in CANARIES):
            yield f"a value of the file is repeated: {item!r}"
        elif isinstance(item, Remittance):
            yield from _wrong_payment(data, item)


def _said(item: Item) -> Iterator[str]:
    """Yield all that must come from our words or from a public list, and never from a text of the file."""
    match item:
        case Refused():
            yield from (item.rule, str(item))
        case Remark():
            yield from (item.finding, item.detail)
        case Unpublished():
            yield from (item.said, item.why)
        case Remittance():
            yield from (item.method, item.paid_on or "", *(each.reason for each in item.provider_adjustments))


def _wrong_event(data: bytes, item: Publishable) -> Iterator[str]:
    decoded = codec.decode(item.record)
    if isinstance(decoded, codec.Refusal):
        yield f"is no event: {decoded}"
        return
    event = decoded.event.data
    told = json.loads(item.record.value or b"")
    if not told["x12place"].endswith(f" segment={item.number}"):
        yield "stands at another segment than it says"
    tag, money = _money(event)
    if isinstance(event, PayerResponse) and (told["source"] != "/x12/835" or event.response == "forwarded"):
        if money != Money(None):
            yield f"decides nothing, and says {money}"
    elif money not in (readings := list(_readings(data.decode("latin-1"), tag, item.claim_id))):
        yield f"says {money}, and the file {readings}"


def _money(event: EventData) -> tuple[str, Money]:
    """Return the amounts of an event, and the tag of the segment where they begin in a file."""
    if isinstance(event, ClaimSubmitted):
        return "CLM", Money(event.total_charge, lines=tuple((line.charge, None, None) for line in event.lines))
    assert isinstance(event, PayerResponse)
    return "CLP", Money(
        event.charge,
        event.paid,
        event.patient_responsibility,
        event.allowed,
        tuple((each.group, each.amount) for each in event.adjustments),
        tuple((line.charge, line.paid, line.allowed) for line in event.lines),
    )


def _wrong_payment(data: bytes, item: Remittance) -> Iterator[str]:
    """Yield what does not hold of a payment: its sum stands in a BPR, each adjustment in a PLB, and all add up."""
    text = data.decode("latin-1")
    totals = {_at(bpr, 2) for bpr, *_ in _loops(text, "BPR", frozenset())}
    if item.total not in totals and -item.total not in totals and item.total:
        yield f"a payment of {item.total}, and the file {totals}"
    adjusted = {_at(plb, place) for plb, *_ in _loops(text, "PLB", frozenset()) for place in range(4, 15, 2)}
    if not {each.amount for each in item.provider_adjustments} <= adjusted:
        yield f"provider adjustments that are in no PLB: {item}"
    lowered = sum(each.amount for each in item.provider_adjustments)
    if item.balanced and item.claims_paid - lowered != item.total:
        yield f"a payment that balances and does not add up: {item}"


def _readings(text: str, tag: str, claim_id: str) -> Iterator[Money]:
    """Yield the money of each claim of this id that stands in the text."""
    names = {claim_id, claim_id.encode().decode("latin-1")}
    for segments in _loops(text, tag, _REMITTANCE_ENDS if tag == "CLP" else _CLAIM_ENDS):
        if len(segments[0]) > 1 and segments[0][1].strip() in names:
            yield from [_decided(segments)] if tag == "CLP" else map(_sent, _ended(segments))


def _loops(text: str, tag: str, ends: frozenset[str]) -> Iterator[list[list[str]]]:
    """Yield the segments from each with this tag up to one that ends it; of no ends, it alone.

    Wrapped lines are read joined, too, and every separator that it may have is tried.
    """
    for page in dict.fromkeys((text, text.translate({10: None, 13: None}))):
        for begin in re.finditer(tag + r"[\r\n]*([^0-9A-Za-z])", page):
            before = page[: begin.start()]
            inner = len(before.rstrip(_PADDING + "\r\n"))
            for terminator in {*before[inner - 1 :]} if inner else set():
                if not (terminator.isalnum() and terminator.isascii()):
                    yield _segments(page[begin.start() :], begin[1], terminator, ends)


def _segments(text: str, separator: str, terminator: str, ends: frozenset[str]) -> list[list[str]]:
    """Return segments up to one that ends them; of no ends, the first."""
    segments: list[list[str]] = []
    at = 0
    while at < len(text):
        end = text.find(terminator, at)
        end = len(text) if end < 0 else end
        breaks = {ord(each): None for each in "\r\n" if each != terminator}
        elements = text[at:end].translate(breaks).strip(_PADDING).split(separator)
        at = end + 1
        if elements == [""]:
            continue
        elements[0] = elements[0].rstrip()
        if segments and (not ends or elements[0] in ends or elements[0].startswith("ISA")):
            break
        segments.append(elements)
    return segments


def _ended(segments: list[list[str]]) -> Iterator[list[list[str]]]:
    """Yield the claim as it ends at each subscriber or provider who may be the next one's: files may lack HL."""
    for place, elements in enumerate(segments):
        if elements[0] == "SBR" or (elements[0] == "NM1" and elements[1:2] and elements[1].strip() in ("85", "IL")):
            yield segments[:place]
    yield segments


def _sent(segments: list[list[str]]) -> Money:
    lines = [_at(each, 2 if each[0] == "SV1" else 3) for each in segments if each[0] in ("SV1", "SV2")]
    return Money(_at(segments[0], 2), lines=tuple((charge, None, None) for charge in lines))


def _decided(segments: list[list[str]]) -> Money:
    clp = segments[0]
    reversal = [each.strip() for each in clp[2:3]] == ["22"]
    sign = -1 if reversal else 1
    told: dict[int, int | None] = {}
    shares: dict[int, int] = {0: 0}
    money: dict[int, list[tuple[str, int | None]]] = {0: []}
    lines: list[tuple[int | None, int | None]] = []
    for segment in segments[1:]:
        place = len(lines)
        match segment:
            case ["SVC", *_]:
                lines.append((_at(segment, 2), _at(segment, 3)))
                money[place + 1], shares[place + 1] = [], 0
            case ["CAS", group, *triples]:
                for code, value in zip(triples[0:18:3], [*triples, ""][1:18:3], strict=False):
                    if code.strip() or value.strip():
                        cents = _cents(value)
                        money[place].append((group.strip(), cents))
                        shares[place] += (
                            (cents or 0) if group.strip() == "PR" and code.strip().lstrip("0") in _SHARES else 0
                        )
            case ["AMT", code, value, *_] if code.strip() == "B6":
                told[place] = _cents(value)
            case ["AMT", code] if code.strip() == "B6":
                told[place] = None
    allowed = [_or(told.get(place), (paid or 0) + shares[place]) for place, (_, paid) in enumerate(lines, 1)]
    patient = _at(clp, 5)
    whole = sum(allowed) if any(told.get(place) is not None for place in range(1, len(lines) + 1)) else None
    of_claim = _or(_or(whole, told.get(0)), (_at(clp, 4) or 0) + sum(shares.values()))
    charge = _at(clp, 3)
    return Money(
        -abs(charge) if reversal and charge is not None else charge,
        _at(clp, 4),
        None if reversal and (patient or 0) > 0 else patient,
        sign * abs(of_claim) if reversal else of_claim,
        tuple(each for place in range(len(lines) + 1) for each in money[place]),
        tuple(
            (None if asked is None else -abs(asked), paid, -abs(value))
            if reversal
            else (_kept(asked), _kept(paid), _kept(value))
            for (asked, paid), value in zip(lines, allowed, strict=True)
        ),
    )


def _kept(value: int | None) -> int | None:
    """Return what is told of a line of a claim that is no reversal: nothing below zero."""
    return None if value is not None and value < 0 else value


def _or(told: int | None, otherwise: int | None) -> Any:  # noqa: ANN401  (as the second is)
    return otherwise if told is None else told


def _at(elements: list[str], position: int) -> int | None:
    return _cents(elements[position]) if position < len(elements) else None


def _cents(text: str) -> int | None:
    """Return cents as the school teaches it; None for what is no number or no whole cents, which is never published."""
    try:
        value = Decimal(text.strip()) * 100
    except InvalidOperation:
        return None
    return int(value) if value.is_finite() and value == value.to_integral_value() else None


def _segments_at_most(data: bytes) -> int:
    """Return a number of segments that no reading of the bytes can exceed: every possible terminator counts."""
    joined = data.translate(None, b"\r\n")
    ends = {ord("~"), ord("\n")}
    for page in (data, joined):
        ends |= {page[found.start() + 105] for found in re.finditer(b"ISA", page) if found.start() + 105 < len(page)}
    # A file without an envelope is ended by what stands behind its ST.
    ends |= {
        each for each in data.lstrip(b"\xef\xbb\xbf" + _PADDING.encode() + b"\r\n")[6:60] if not chr(each).isalnum()
    }
    return 2 + data.count(b"ISA") + sum(map(data.count, (bytes([end]) for end in ends)))
