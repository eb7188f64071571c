"""277CA and 277 to facts: what was received, accepted, rejected, pended or asked for, claim by claim.

Sources: X12 005010X214 (277CA), 005010X212 (277) and their kin; category codes are X12's list 507. A 277 finalizes
nothing: its F categories announce what the 835 decides.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

from msgspec import Struct, field

from events.contracts import MAX_LIST_ITEMS
from services.intake.elements import Misread, claim_number, clock, day, instant
from services.intake.envelope import Body, Transaction
from services.intake.facts import Fact, Finding, Outcome, Refused, Unpublished, code_of_list, given, short_code
from services.intake.loops import CUT, LOST, Loop, loops
from services.intake.notebook import MAX_ANSWERS, Notebook
from services.intake.segments import Segment
from services.intake.sent import AMBIGUOUS, Ambiguous, Sent

SOURCE: Final = "/x12/277"

_CLAIM_ACKNOWLEDGEMENT: Final = "X214"
_PAYER: Final = "PR"
_SOURCE_LEVEL: Final = "20"
_RECEIVER_LEVEL: Final = "21"
_DEPENDANT: Final = "23"
_CLAIM_LEVELS: Final = frozenset({"22", _DEPENDANT, "PT"})
_COMPOSITES: Final = (1, 10, 11)
_REJECTED: Final = frozenset({"A3", "A6", "A7", "A8"})
# The first of these that any status of a claim says is what was answered: a claim with one bad line is rejected.
_RESPONSES: Final = (
    ("rejected", _REJECTED),
    ("information_requested", frozenset({"RQ", *(f"R{number}" for number in range(18))})),
    ("pended", frozenset({"P0", "P1", "P2", "P3", "P4", "P5"})),
    ("accepted", frozenset({"A2"})),
    ("acknowledged", frozenset({"A0", "A1"})),
)
# Known, and no step of a claim: not found, split, finalized, search failed, system error.
_ADVICE: Final = frozenset({"A4", "A5", "D0", "F3F", "F3N", *(f"F{n}" for n in range(5)), *(f"E{n}" for n in range(5))})
_KNOWN: Final = _ADVICE.union(*(categories for _, categories in _RESPONSES))


class _Above(Struct):
    """What stands above the claims."""

    bht: Segment | None = None
    level: str = ""
    """HL03 of the loop that is open."""
    source: str = ""
    """NM101 of who answers."""
    payer_id: str = ""
    batch: str = ""
    """The 837's own number (BHT03), as who received it gives it back (TRN02 of 2200B)."""
    received_on: str = ""
    member: str = ""
    lost: Literal["", "level", "source", "set"] = ""
    """What may have stood in bytes that could not be read."""

    def opens(self, level: str) -> None:
        """Begin a level; one above the claims that follows lost bytes may be another source's."""
        self.level = level
        if level in (_SOURCE_LEVEL, _RECEIVER_LEVEL):
            self.batch = ""
        if level == _SOURCE_LEVEL:
            self.source = self.payer_id = self.received_on = ""
        if self.lost == "set":
            return
        if level == _SOURCE_LEVEL or (level in _CLAIM_LEVELS and self.lost == "level"):
            self.lost = ""
        elif self.lost:
            self.lost = "source"

    def loses(self, loop: Loop) -> None:
        """Note that bytes of a loop could not be read."""
        level = loop.segments[0].at(3) if loop.tag == "HL" else self.level
        if not level or self.lost == "set":
            self.lost = "set"
        else:
            self.lost = "level" if level in _CLAIM_LEVELS and self.lost != "source" else "source"


class _Answer(Struct):
    """What the segments of one claim say (2200D or 2200E, and the service lines below)."""

    first: Segment
    """Its first STC."""
    trace: Segment | None = None
    """TRN."""
    account: Segment | None = None
    """REF*EJ."""
    payer_claim_number: str = ""
    statuses: list[dict[str, str]] = field(default_factory=list)
    stated: set[tuple[str, str, str]] = field(default_factory=set)
    """The same, to know at once what was stated before."""
    categories: set[str] = field(default_factory=set)
    """Of the claim; where only its lines have statuses, theirs."""
    on: str = ""

    @property
    def response(self) -> str | None:
        """What was answered; None where it is only advice."""
        return next((response for response, among in _RESPONSES if among & self.categories), None)

    @property
    def said(self) -> str:
        """The first status as people write it."""
        return f"277 {self.statuses[0]['category']}:{code_of_list(self.statuses[0]['code'])}"


def facts(transaction: Transaction, body: Body, zone: ZoneInfo, sent: Sent, notebook: Notebook) -> Iterator[Outcome]:
    """Yield what a 277 says of each claim, and of each claim of a batch that is rejected whole."""
    above = _Above()
    for loop in loops(body, lambda segment: segment.tag in ("HL", "TRN")):
        if loop.fault is not None:
            yield loop.fault
            above.loses(loop)
            continue
        try:
            _note(above, loop.segments)
            if any(segment.tag == "STC" for segment in loop.segments):
                yield from _answered(transaction, above, loop, zone, sent, notebook)
        except Misread as misread:
            yield Refused(number=misread.number, rule=misread.rule)
        except Ambiguous:
            yield Refused(number=loop.segments[0].number, rule=f"TRN02: {AMBIGUOUS}")
    if above.bht is None:
        yield Refused(number=transaction.number, rule="BHT: required in a 277")


def _note(above: _Above, segments: list[Segment]) -> None:
    for segment in segments:
        match segment.tag, segment.at(1):
            case "BHT", _:
                above.bht = segment
            case "HL", _:
                above.opens(segment.at(3))
                if above.level != _DEPENDANT:  # whose subscriber's number stays
                    above.member = ""
            case "NM1", kind if above.level == _SOURCE_LEVEL:
                above.source, above.payer_id = kind, segment.at(9)
            case "NM1", "IL":
                above.member = segment.at(9)
            case "NM1", "QC" if not above.member:
                above.member = segment.at(9)
            case "TRN", _ if above.level == _RECEIVER_LEVEL:
                above.batch = segment.at(2)
            case "DTP", "050" if above.level in (_SOURCE_LEVEL, _RECEIVER_LEVEL):
                above.received_on = segment.at(3)


def _answered(
    transaction: Transaction, above: _Above, loop: Loop, zone: ZoneInfo, sent: Sent, notebook: Notebook
) -> Iterator[Outcome]:
    answer = _answer(loop.segments)
    if loop.cut or above.lost:
        raise Misread(answer.first, 1, CUT if loop.cut else LOST)
    findings: set[Finding] = set()
    if above.level not in _CLAIM_LEVELS:
        if answer.response != "rejected":
            yield Unpublished(number=answer.first.number, claim_id="", said=answer.said, why="speaks of no claim")
            return
        if above.level != _RECEIVER_LEVEL:
            raise Misread(answer.first, 1, "a provider's claims are rejected, and nothing names them")
        if not notebook.may_answer("batch", transaction.sender, transaction.receiver, above.batch):
            raise Misread(answer.first, 1, f"a file answers a batch at most {MAX_ANSWERS} times")
        known = False
        for claim in sent.of_batch(transaction, above.batch):
            known = True
            named = {name: getattr(claim, name) for name in ("payer_id", "payer_rank", "submission_id")}
            yield _fact(transaction, above, answer, claim.claim_id, zone, findings, named)
        if not known:
            raise Misread(answer.first, 1, "a batch is rejected that was not read: read its 837 first, then this again")
        return
    claim_id = _claim_id(transaction, answer, findings)
    if answer.response is None:
        why = "advice: the 835 decides" if answer.said.startswith("277 F") else "no step of a claim"
        yield Unpublished(number=answer.first.number, claim_id=claim_id, said=answer.said, why=why)
        return
    named = {"payer_id": above.payer_id or transaction.sender, **_submission(transaction, above, claim_id, sent)}
    yield _fact(transaction, above, answer, claim_id, zone, findings, named)


def _submission(transaction: Transaction, above: _Above, claim_id: str, sent: Sent) -> dict[str, str]:
    """Return which submission is answered, where a 277CA gives back a batch that was read and holds the claim once."""
    if not above.batch or _CLAIM_ACKNOWLEDGEMENT not in transaction.version:
        return {}
    try:
        found = list(islice(sent.of_batch(transaction, above.batch, claim_id), 2))
    except Ambiguous:
        return {}
    return {"submission_id": found[0].submission_id} if len(found) == 1 else {}


def _answer(segments: list[Segment]) -> _Answer:
    """Read a claim's own statuses and those of its lines."""
    answer = _Answer(next(segment for segment in segments if segment.tag == "STC"))
    of_lines: set[str] = set()
    in_line = False
    for segment in segments:
        match segment.tag, segment.at(1):
            case "TRN", _ if segment.at(2):
                answer.trace = segment
            case "SVC", _:
                in_line = True
            case "REF", "1K" if not in_line:
                answer.payer_claim_number = segment.at(2)
            case "REF", "EJ" if not in_line and segment.at(2):
                answer.account = segment
            case "STC", _:
                _state(answer, segment, of_lines if in_line else answer.categories)
                if not in_line:
                    answer.on = max(answer.on, segment.at(2))
    if not answer.categories or of_lines & _REJECTED:
        answer.categories |= of_lines
    answer.on = answer.on or answer.first.at(2)
    return answer


def _state(answer: _Answer, stc: Segment, categories: set[str]) -> None:
    for element in _COMPOSITES:
        if not stc.at(element):
            continue
        category, *rest = stc.parts(element)
        if category not in _KNOWN:
            raise Misread(stc, element, "the category (component 1) is one of X12's list 507: A, P, F, R, E or D")
        code, entity = (*rest, "", "")[:2]
        if not code:
            raise Misread(stc, element, "the status (component 2) is required")
        if not short_code(code):
            raise Misread(stc, element, "the status (component 2) is one of X12's list 508, as 20")
        entity = short_code(entity)
        categories.add(category)
        if (category, code, entity) not in answer.stated:
            answer.stated.add((category, code, entity))
            answer.statuses.append(given(category=category, code=code, entity=entity or None))
    if not answer.statuses:
        raise Misread(stc, 1, "required")
    if len(answer.statuses) > MAX_LIST_ITEMS:
        raise Misread(stc, 1, f"a claim has at most {MAX_LIST_ITEMS} statuses")


def _claim_id(transaction: Transaction, answer: _Answer, findings: set[Finding]) -> str:
    """Return the claim: 277CA gives CLM01 back as the trace; elsewhere the trace is the inquiry's own, REF*EJ is it."""
    if answer.trace is not None and (_CLAIM_ACKNOWLEDGEMENT in transaction.version or answer.account is None):
        if _CLAIM_ACKNOWLEDGEMENT not in transaction.version:
            findings.add("trace_as_claim_id")
        return claim_number(answer.trace, 2)
    if answer.account is None:
        raise Misread(answer.first, 1, "no claim: neither REF*EJ nor TRN02 names one")
    return claim_number(answer.account, 2)


def _fact(
    transaction: Transaction,
    above: _Above,
    answer: _Answer,
    claim_id: str,
    zone: ZoneInfo,
    findings: set[Finding],
    named: dict[str, Any],
) -> Fact:
    time = _time(transaction, above, answer, zone, findings)
    received_on = day(above.received_on) if answer.response == "accepted" else None
    statuses = sorted([each["category"], each["code"], each.get("entity", "")] for each in answer.statuses)
    return Fact(
        number=answer.first.number,
        source=SOURCE,
        claim_id=claim_id,
        identity=(
            *(named["payer_id"], above.batch),
            *(answer.payer_claim_number, answer.response, time, statuses),
        ),
        time=time,
        data=given(
            response=answer.response,
            sender="payer" if above.source == _PAYER else "clearinghouse",
            **named,
            payer_claim_number=answer.payer_claim_number or None,
            statuses=answer.statuses,
            received_on=None if received_on is None else received_on.isoformat(),
        ),
        findings=tuple(sorted(findings)),
        member=above.member,
    )


def _time(transaction: Transaction, above: _Above, answer: _Answer, zone: ZoneInfo, findings: set[Finding]) -> str:
    """Return the day of the status; of a 277CA the time at which it was written, which is never before the submission.

    A status's own day may be: at its midnight it would speak of the submission before.
    """
    written = day(above.bht.at(4)) if above.bht is not None else None
    stated = day(answer.on)
    if answer.on and stated is None:
        findings.add("bad_date")
    if _CLAIM_ACKNOWLEDGEMENT in transaction.version and written is not None and above.bht is not None:
        return instant(written, clock(above.bht.at(5), findings), zone)
    on = stated or written or day(transaction.date)
    if on is None:
        raise Misread(answer.first, 2, "neither STC02 nor BHT04 nor GS04 is a date")
    return instant(on, "", zone)
