"""837 to facts: claims, replacements and voids as they were sent to a payer, professional and institutional alike.

Sources: X12 005010X222A1 (837P), 005010X223A2 (837I) and, in old files, 004010X098A1 and 004010X096A1.
"""

from collections.abc import Iterator
from datetime import date
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

from msgspec import Struct, field

from events.contracts import MAX_LIST_ITEMS
from services.intake.elements import Misread, claim_number, clock, components, dated, instant, required_cents, units
from services.intake.envelope import Body, Transaction
from services.intake.facts import (
    NO_PROCEDURE,
    Fact,
    Finding,
    Outcome,
    Refused,
    amount,
    fact_key,
    given,
    line_ids,
    short_code,
)
from services.intake.loops import CUT, LOST, Loop, loops
from services.intake.segments import Segment

SOURCE: Final = "/x12/837"
MAX_BATCH_CHARACTERS: Final = 50
"""BHT03 has at most these; with what is put behind it, a submission id has at most 64."""

_DENTAL: Final = ("X097", "X224")
_RANKS: Final = {"P": 1, "S": 2, "T": 3}
_PATIENT: Final = "23"
_SUBSCRIBER_BEGINS: Final = ("HL", "SBR", "NM1")
_UNKNOWN_RANK: Final = ("", "U")
# CLM05-3 (NUBC type-of-bill frequency). The others bill a stay in parts, which no state of a claim can say.
_KINDS: Final = {"1": "original", "7": "replacement", "8": "void"}
_SUFFIX_DIGITS: Final = 12


class _Batch(Struct):
    """What stands above the claims: the batch, and the subscriber whose claims come next."""

    bht: Segment | None = None
    submitter: str = ""
    receiver: str = ""
    rank: str = ""
    payer_id: str = ""
    member: str = ""
    """The subscriber's number with the payer."""
    dependant: str = ""
    """The patient's, where it is another's and has one."""
    lost: Literal["", "subscriber", "batch"] = ""
    """What may have stood in bytes that could not be read."""

    def opens(self) -> None:
        """Forget the last subscriber."""
        self.rank = self.payer_id = self.member = self.dependant = ""
        self.lost = "batch" if self.lost == "batch" else ""

    def loses(self) -> None:
        """Note that bytes could not be read, in which the next subscriber may have stood, or all of the batch."""
        self.lost = "batch" if self.bht is None else self.lost or "subscriber"


class _Line(Struct):
    """A service line as it was sent."""

    place: int
    number: str = ""
    control: str = ""
    code: str = ""
    modifiers: list[str] = field(default_factory=list)
    charge: int = 0
    units: int | None = None
    day: str = ""

    def told(self, line_id: str, findings: set[Finding]) -> dict[str, Any]:
        """Return the line as the contract writes it."""
        served = dated(self.day, findings)
        return given(
            line=line_id,
            code=self.code,
            modifiers=self.modifiers,
            units=self.units,
            charge=amount(self.charge),
            date_of_service=None if served is None else served.isoformat(),
        )


class _Claim(Struct):
    """What a claim's own loops say (2300 and 2400)."""

    payer_claim_number: str = ""
    lines: list[_Line] = field(default_factory=list)

    def told(self, findings: set[Finding]) -> list[dict[str, Any]]:
        """Return the lines as the contract writes them: with their control numbers, else LX01, else their places."""
        controls = [line.control for line in self.lines]
        ids = line_ids(controls if all(controls) else [line.number for line in self.lines])
        return [line.told(line_id, findings) for line_id, line in zip(ids, self.lines, strict=True)]

    def content(self) -> list[object]:
        """Return the lines in a normal form, equal for equal claims however they are written."""
        return [[line.code, line.modifiers, line.charge, line.units, line.day] for line in self.lines]


def facts(transaction: Transaction, body: Body, zone: ZoneInfo) -> Iterator[Outcome]:
    """Yield what an 837 says of each claim; its time of day is taken to be one of this zone."""
    if any(version in transaction.version for version in _DENTAL):
        yield Refused(number=transaction.number, rule="ST03: dental claims (837D) are not read")
        return
    batch = _Batch()
    begins = _Beginnings()
    for loop in loops(body, begins):
        if loop.fault is not None:
            yield loop.fault
            batch.loses()
            continue
        try:
            if loop.tag == "CLM":
                yield _fact(transaction, batch, loop, zone)
            else:
                _note(batch, loop.segments)
        except Misread as misread:
            yield Refused(number=misread.number, rule=misread.rule)
    if batch.bht is None:
        yield Refused(number=transaction.number, rule="BHT: required in an 837")


class _Beginnings:
    """Says where a loop begins; where HL is left out, the next subscriber is all that ends a claim."""

    def __init__(self) -> None:
        self._at: Literal["above", "claim", "other payers", "lines"] = "above"

    def __call__(self, segment: Segment) -> bool:
        """Say whether the segment begins a claim, or what stands above the next one."""
        match segment.tag, self._at:
            case "CLM", _:
                self._at = "claim"
                return True
            case ("HL", _) | ("SBR", "lines"):
                self._at = "above"
                return True
            case "NM1", "claim" | "lines" if segment.at(1) in ("85", "IL"):
                self._at = "above"
                return True
            case "SBR", "claim":
                # The claim's other payers (2320), whose NM1 have the same names.
                self._at = "other payers"
            case "LX" | "SV1" | "SV2", _:
                self._at = "lines"
        return False


def _note(batch: _Batch, segments: list[Segment]) -> None:
    first = segments[0] if segments else None
    # A patient's HL (23) stands below the subscriber's, whose payer and member number stay.
    if first is not None and first.tag in _SUBSCRIBER_BEGINS and (first.tag != "HL" or first.at(3) != _PATIENT):
        batch.opens()
    elif first is not None and first.tag == "HL":
        batch.dependant = ""
    for segment in segments:
        match segment.tag, segment.at(1):
            case "BHT", _:
                batch.bht = segment
            case "SBR", rank:
                batch.rank = rank
            case "NM1", "41":
                batch.submitter = segment.at(9)
            case "NM1", "40":
                batch.receiver = segment.at(9)
            case "NM1", "PR":
                batch.payer_id = segment.at(9)
            case "NM1", "IL":
                batch.member = segment.at(9)
            case "NM1", "QC":
                batch.dependant = segment.at(9)


def _fact(transaction: Transaction, batch: _Batch, loop: Loop, zone: ZoneInfo) -> Fact:
    clm = loop.segments[0]
    if loop.cut or batch.lost:
        raise Misread(clm, 1, CUT if loop.cut else LOST)
    claim_id, total = claim_number(clm, 1), required_cents(clm, 2)
    findings: set[Finding] = set()
    kind, rank = _kind(clm, findings), _rank(clm, batch, findings)
    claim = _claim(loop.segments, findings)
    if sum(line.charge for line in claim.lines) != total:
        findings.add("line_total")
    receiver = batch.receiver or transaction.receiver
    payer_id = batch.payer_id or receiver
    if not payer_id:
        raise Misread(clm, 1, "no payer: neither NM1*PR nor NM1*40 nor GS03 names one")
    if not batch.payer_id:
        findings.add("no_payer_id")
    sent_on, at = _sent(transaction, batch, findings)
    if sent_on is None:
        raise Misread(clm, 1, "neither BHT04 nor GS04 is a date, so nobody knows when this was sent")
    stamp = () if batch.bht is None else tuple(batch.bht.at(element) for element in (3, 4, 5))
    identity = (batch.submitter or transaction.sender, *stamp, kind, rank, payer_id)
    identity += (total, claim.payer_claim_number, claim.content())
    # A batch's number alone may be a program's constant; what is put behind it tells its submissions apart.
    named = (stamp[0] if stamp else transaction.control)[:MAX_BATCH_CHARACTERS]
    key = fact_key(SOURCE, claim_id, identity).hex()
    return Fact(
        number=clm.number,
        source=SOURCE,
        claim_id=claim_id,
        identity=identity,
        time=instant(sent_on, at, zone),
        data=given(
            submission_id=f"{named}-{key[:_SUFFIX_DIGITS]}",
            kind=kind,
            payer_id=payer_id,
            payer_rank=rank,
            clearinghouse=receiver if receiver != payer_id and receiver else None,
            total_charge=amount(total),
            lines=claim.told(findings),
            payer_claim_number=claim.payer_claim_number or None,
        ),
        findings=tuple(sorted(findings)),
        member=batch.dependant or batch.member,
    )


def _kind(clm: Segment, findings: set[Finding]) -> str:
    place = components(clm, 5, findings)
    frequency = place[2] if len(place) > 2 else ""  # noqa: PLR2004  (CLM05-3)
    if not frequency:
        findings.add("no_frequency")
        return "original"
    if frequency not in _KINDS:
        raise Misread(clm, 5, "the claim frequency (component 3) is 1 original, 7 replacement or 8 void")
    return _KINDS[frequency]


def _rank(clm: Segment, batch: _Batch, findings: set[Finding]) -> int:
    if batch.rank in _UNKNOWN_RANK:
        findings.add("no_payer_rank")
        return 1
    if batch.rank not in _RANKS:
        raise Misread(clm, 1, "SBR01 above this claim: the payer is P primary, S secondary or T tertiary")
    return _RANKS[batch.rank]


def _sent(transaction: Transaction, batch: _Batch, findings: set[Finding]) -> tuple[date | None, str]:
    bht = batch.bht
    if bht is not None and (found := dated(bht.at(4), findings)) is not None:
        return found, clock(bht.at(5), findings)
    return dated(transaction.date, findings), clock(transaction.time, findings)


def _claim(segments: list[Segment], findings: set[Finding]) -> _Claim:
    """Read 2300 up to the first of its own loops, and 2400 with the line's own segments."""
    claim = _Claim()
    in_claim, line = True, None
    for segment in segments[1:]:
        match segment.tag, segment.at(1):
            case "LX", number:
                line = _Line(len(claim.lines) + 1, number)
                claim.lines.append(line)
            case "SV1" | "SV2", _:
                if line is None or line.code:  # some files leave out LX
                    line = _Line(len(claim.lines) + 1)
                    claim.lines.append(line)
                _serve(line, segment, findings)
            case "SBR" | "NM1", _:
                in_claim = False
            case "REF", "F8" if in_claim and line is None:
                claim.payer_claim_number = segment.at(2)
            case "REF", "6R" if line is not None:
                line.control = segment.at(2)
            case "DTP", "472" if line is not None:
                line.day = segment.at(3)
        if len(claim.lines) > MAX_LIST_ITEMS:
            raise Misread(segment, 1, f"a claim has at most {MAX_LIST_ITEMS} lines")
    for each in claim.lines:
        if not each.code:
            raise Misread(segments[0], 1, f"line {each.place} has neither SV1 nor SV2")
    return claim


def _serve(line: _Line, segment: Segment, findings: set[Finding]) -> None:
    """Take what SV1 (professional) or SV2 (institutional, where a revenue code may stand alone) says of the service."""
    professional = segment.tag == "SV1"
    procedure, charge, quantity = (1, 2, 4) if professional else (2, 3, 5)
    _, *told = components(segment, procedure, findings)
    codes = map(short_code, (*told[:1], "" if professional else segment.at(1)))
    line.code = next((each for each in codes if each), "")
    if not line.code:
        findings.add("no_procedure")
        line.code = NO_PROCEDURE
    line.modifiers = [each for each in map(short_code, told[1:5]) if each]
    line.charge = required_cents(segment, charge)
    if line.charge < 0:
        raise Misread(segment, charge, "a charge is never below zero")  # it takes nothing back: X12 RFI 2499
    line.units = units(segment, quantity)
