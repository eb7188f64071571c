"""The money of one claim of an 835 (loops 2100, 2110): amounts, adjustments, what is allowed, whether it balances.

Balancing is X12 005010X221A1, 1.10.2.1: a line's charge less its adjustments is what is paid for it, a claim's charge
less all adjustments what is paid for it. Amounts are cents.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final, get_args

from msgspec import Struct, field

from events.contracts import MAX_LIST_ITEMS, AdjustmentGroup
from services.intake.elements import Misread, cents, components, required, required_cents, units
from services.intake.facts import NO_PROCEDURE, Finding, amount, code_of_list, given, line_ids, short_code
from services.intake.segments import Segment

_GROUPS: Final = frozenset(get_args(get_args(AdjustmentGroup)[0]))
_CAS_TRIPLES: Final = range(2, 20, 3)
# Deductible, coinsurance, copay: what the contract allows and leaves to the patient.
_SHARES: Final = frozenset({("PR", "1"), ("PR", "2"), ("PR", "3")})
_REMARKS_AT: Final = {"LQ": (2,), "MOA": (3, 4, 5, 6, 7), "MIA": (5, 20, 21, 22, 23)}
_REMARK_LIST: Final = "HE"

Cas = tuple[str, str, int]


class Line(Struct):
    """A service line as decided."""

    place: int
    code: str
    charge: int | None
    paid: int | None
    units: int | None
    control: str = ""
    served_on: str = ""
    allowed_told: int | None = None
    cas: list[Cas] = field(default_factory=list)

    @property
    def allowed(self) -> int:
        """AMT*B6, else what is paid and what is the patient's share."""
        return self.allowed_told if self.allowed_told is not None else (self.paid or 0) + _shares(self.cas)

    @property
    def balances(self) -> bool:
        """Whether charge less adjustments is what is paid."""
        if self.charge is None or self.paid is None:
            return False
        return self.charge - sum(value for _, _, value in self.cas) == self.paid


class Adjudicated(Struct, kw_only=True):
    """A claim as decided."""

    charge: int
    paid: int
    patient: int | None
    negated: bool
    member: str = ""
    received_on: str = ""
    served_on: str = ""
    remarks: dict[str, None] = field(default_factory=dict)
    """Remark codes (RARC) in their order, each once."""
    findings: set[Finding] = field(default_factory=set)
    allowed_told: int | None = None
    cas: list[Cas] = field(default_factory=list)
    """Of the claim; its lines have their own."""
    cas_count: int = 0
    """Of the claim and of its lines."""
    service_lines: list[Line] = field(default_factory=list)

    def all_cas(self) -> Iterator[tuple[Line | None, Cas]]:
        """Yield every adjustment with its line."""
        yield from ((None, each) for each in self.cas)
        yield from ((line, each) for line in self.service_lines for each in line.cas)

    def codes(self) -> list[str]:
        """Return the reasons that occur, each once."""
        return list(dict.fromkeys(code for _, (_, code, _) in self.all_cas()))

    @property
    def allowed(self) -> int:
        """AMT*B6 where it is given, else what is paid and the patient's share (PR-1, -2, -3); on a reversal negated."""
        if any(line.allowed_told is not None for line in self.service_lines):
            total = sum(-abs(line.allowed) if self.negated else line.allowed for line in self.service_lines)
        elif self.allowed_told is not None:
            total = self.allowed_told
        else:
            total = self.paid + _shares([each for _, each in self.all_cas()])
        return -abs(total) if self.negated else total

    def carries(self, holds: Callable[[str], bool]) -> bool:
        """Whether a reason of that kind carries money: above zero, what was taken back of it taken off."""
        net: Counter[str] = Counter()
        for _, (_, code, value) in self.all_cas():
            net[code] += value
        return any(value > 0 and holds(code) for code, value in net.items())

    def tells_shares(self) -> bool:
        """Whether the file says what is allowed, or what of it the patient bears."""
        told = self.allowed_told is not None or any(line.allowed_told is not None for line in self.service_lines)
        return told or any((group, code) in _SHARES for _, (group, code, _) in self.all_cas())

    def balances(self) -> bool:
        """Whether the claim's charge less all adjustments is what is paid."""
        return self.charge - sum(value for _, (_, _, value) in self.all_cas()) == self.paid

    def content(self) -> list[object]:
        """Return the money in a normal form, equal for equal decisions however they are written."""
        lines = [[line.code, line.charge, line.paid, line.served_on] for line in self.service_lines]
        cas = sorted([0 if line is None else line.place, *each] for line, each in self.all_cas())
        return [self.charge, self.paid, self.patient, self.served_on, lines, cas]

    def line_ids(self) -> list[str]:
        """Return the numbers of its lines, in their order."""
        return line_ids([line.control for line in self.service_lines])

    def adjustments(self) -> list[dict[str, Any]]:
        """Return the adjustments as the contract writes them."""
        ids = self.line_ids()
        return [
            given(group=group, reason=code, amount=amount(value), line=None if line is None else ids[line.place - 1])
            for line, (group, code, value) in self.all_cas()
        ]

    def lines(self) -> list[dict[str, Any]]:
        """Return the lines as the contract writes them."""
        return [
            given(
                line=told,
                code=line.code,
                charge=self._signed(-abs(line.charge) if self.negated and line.charge is not None else line.charge),
                allowed=self._signed(-abs(line.allowed) if self.negated else line.allowed),
                paid=self._signed(line.paid),
                units=line.units,
            )
            for told, line in zip(self.line_ids(), self.service_lines, strict=True)
        ]

    def _signed(self, value: int | None) -> str | None:
        """Return a line's amount; one below zero has no place but on a reversal."""
        return None if value is not None and value < 0 and not self.negated else amount(value)


def adjudicated(segments: list[Segment], *, negated: bool) -> Adjudicated:
    """Return the money of a claim's segments, CLP first; raises Misread where an amount is none."""
    clp = segments[0]
    charge = required_cents(clp, 3)
    # What is taken back has a minus; some payers leave it out before the charge, which moves no money.
    charge = -abs(charge) if negated else charge
    told = Adjudicated(charge=charge, paid=required_cents(clp, 4), patient=cents(clp, 5), negated=negated)
    if told.paid < 0 and not negated:
        raise Misread(clp, 4, "below zero only on a reversal (CLP02 22)")
    line: Line | None = None
    for segment in segments[1:]:
        if segment.tag == "SVC":
            line = _line(segment, len(told.service_lines) + 1, told.findings)
            told.service_lines.append(line)
        else:
            _note(told, line, segment)
        if max(told.cas_count, len(told.remarks), len(told.service_lines)) > MAX_LIST_ITEMS:
            rule = f"a claim has at most {MAX_LIST_ITEMS} lines, as many adjustments, and as many remarks"
            raise Misread(segment, 1, rule)
    _judge(told)
    return told


def _line(svc: Segment, place: int, findings: set[Finding]) -> Line:
    _, *procedure = components(svc, 1, findings)  # the first says which list the code is of
    code = short_code(procedure[0]) if procedure else ""
    if not code:
        findings.add("no_procedure")
        code = NO_PROCEDURE
    return Line(place=place, code=code, charge=cents(svc, 2), paid=cents(svc, 3), units=units(svc, 5))


def _note(told: Adjudicated, line: Line | None, segment: Segment) -> None:
    match segment.tag, segment.at(1):
        case "CAS", _:
            found = list(_cas(segment))
            (told.cas if line is None else line.cas).extend(found)
            told.cas_count += len(found)
        case "AMT", "B6" if line is not None:
            line.allowed_told = cents(segment, 2)
        case "AMT", "B6":
            told.allowed_told = cents(segment, 2)
        case "REF", "6R" if line is not None:
            line.control = segment.at(2)
        case ("LQ", _) | ("MOA", _) | ("MIA", _):
            _remark(told, segment)
        case "DTM", "472" | "150" if line is not None and not line.served_on:
            line.served_on = segment.at(2)
        case "DTM", "232" if line is None:
            told.served_on = segment.at(2)
        case "DTM", "050" if line is None:
            told.received_on = segment.at(2)
        case "NM1", "QC" if line is None:
            told.member = segment.at(9)
        case "NM1", "IL" if line is None and not told.member:
            told.member = segment.at(9)


def _cas(segment: Segment) -> Iterator[Cas]:
    group = segment.at(1)
    if group not in _GROUPS:
        raise Misread(segment, 1, f"the group is one of {', '.join(sorted(_GROUPS))}")
    for position in _CAS_TRIPLES:
        if segment.at(position) or segment.at(position + 1):
            code = code_of_list(required(segment, position)).lstrip("0")
            if not code:
                raise Misread(segment, position, "the reason is a code of X12's list 139, as 45 or A1")
            yield group, code, required_cents(segment, position + 1)


def _remark(told: Adjudicated, segment: Segment) -> None:
    """Keep remark codes."""
    if segment.tag == "LQ" and segment.at(1) != _REMARK_LIST:
        return
    for position in _REMARKS_AT[segment.tag]:
        if code := code_of_list(segment.at(position)):
            told.remarks[code] = None
        elif segment.at(position):
            told.findings.add("bad_remark")


def _judge(told: Adjudicated) -> None:
    """Add the findings about money; nothing is changed to make it balance."""
    if not all(line.balances for line in told.service_lines):
        told.findings.add("line_balance")
    if not told.balances():
        told.findings.add("claim_balance")
    left = sum(value for _, (group, _, value) in told.all_cas() if group == "PR")
    if told.patient is not None and told.patient != left:
        told.findings.add("patient_balance")
    if not told.negated and any(min(line.charge or 0, line.paid or 0, line.allowed) < 0 for line in told.service_lines):
        told.findings.add("line_below_zero")
    if told.negated and told.paid and told.patient != 0 and not told.tells_shares():
        told.findings.add("reversal_without_shares")
    if told.negated and told.patient is not None and told.patient > 0:
        # Written without its sign, as some payers do; what is taken back from the patient the adjustments tell.
        told.patient = None


def _shares(cas: list[Cas]) -> int:
    return sum(value for group, code, value in cas if (group, code) in _SHARES)
