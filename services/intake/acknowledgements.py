"""999 and 997 to facts: the syntax of a whole transaction set, accepted or refused, for each claim that was in it.

Sources: X12 005010X231A1 (999) and, in old files, 997. A set that is refused was never adjudicated: its claims go back
to draft, and the clock of timely filing runs on.
"""

from collections.abc import Iterator
from typing import Final
from zoneinfo import ZoneInfo

from msgspec import Struct

from services.intake.elements import Misread, day, instant, required
from services.intake.envelope import Body, Transaction
from services.intake.facts import Fact, Outcome, Refused, given, short_code
from services.intake.loops import CUT, LOST, loops
from services.intake.notebook import MAX_ANSWERS, Notebook
from services.intake.segments import Segment
from services.intake.sent import AMBIGUOUS, Ambiguous, Sent, Submission

SOURCE: Final = "/x12/999"

_OF_CLAIMS: Final = "837"
_CLAIMS_GROUP: Final = "HC"
_ACCEPTED: Final = frozenset({"A", "E"})
_PARTLY: Final = "P"
_REFUSED: Final = frozenset({"R", "M", "W", "X"})
_SET_ENDS: Final = frozenset({"IK5", "AK5"})
_BEGINNINGS: Final = frozenset({"AK1", "AK2", "AK9"})
_READ_FIRST: Final = "read its 837 first, then this file again"
_TOO_OFTEN: Final = f"a file answers a set at most {MAX_ANSWERS} times"
_CATEGORY: Final = "999"
"""What stands for the category where no 277 gave one, so that a reason of rejection says where it comes from."""


class _Answer(Struct):
    """The answer to one group (AK1), and where its sets' claims are known."""

    transaction: Transaction
    group: Segment
    zone: ZoneInfo
    sent: Sent
    notebook: Notebook
    names_sets: bool = False
    """Whether it does: an accepted one need not be named."""

    def of_set(self, segments: list[Segment]) -> Iterator[Outcome]:
        """Yield what AK2 and what follows says; where it says no more, the group's verdict is the set's."""
        ends = [segment for segment in segments if segment.tag in _SET_ENDS]
        if segments[0].at(1) == _OF_CLAIMS and ends:
            control = required(segments[0], 2)
            self.names_sets = True
            verdict = required(ends[-1], 1)
            self.notebook.note(*self._named(control, accepted=verdict in _ACCEPTED))
            yield from self._claims(ends[-1], control, verdict, short_code(ends[-1].at(2)))

    def of_group(self, end: Segment) -> Iterator[Outcome]:
        """Yield what AK9 says of the sets that the answer does not name."""
        status, number = required(end, 1), required(self.group, 2)
        if not self.notebook.may_answer("group", self.transaction.sender, self.transaction.receiver, number):
            raise Misread(end, 1, _TOO_OFTEN)
        known = self.names_sets
        for control in self.sent.sets(self.transaction, number):
            known = True
            # A group that is refused takes its accepted sets with it.
            undone = status in _REFUSED and self.notebook.answered(*self._named(control, accepted=True))
            named = any(self.notebook.answered(*self._named(control, accepted=each)) for each in (True, False))
            if undone or not named:
                yield from self._claims(end, control, "A" if status == _PARTLY else status, short_code(end.at(5)))
        if not known:
            raise Misread(self.group, 2, f"no group of this number was read: {_READ_FIRST}")

    def _named(self, control: str, *, accepted: bool) -> tuple[str, ...]:
        """Return what stands in the notebook for a set that this answer names."""
        return ("accepted" if accepted else "refused", str(self.group.number), control)

    def _claims(self, end: Segment, control: str, status: str, code: str) -> Iterator[Outcome]:
        if status not in _ACCEPTED | _REFUSED:
            raise Misread(end, 1, "A or E accepted, P accepted in part, R, M, W or X refused")
        answered_on = day(self.transaction.date)
        if answered_on is None:
            raise Misread(end, 1, "GS04 is no date, so nobody knows when this was answered")
        time = instant(answered_on, self.transaction.time, self.zone)
        number = required(self.group, 2)
        if not self.notebook.may_answer("set", self.transaction.sender, self.transaction.receiver, number, control):
            yield Refused(number=end.number, rule=f"{end.tag}01: {_TOO_OFTEN}")
            return
        known = False
        for claim in self.sent.of_set(self.transaction, number, control):
            known = True
            yield self._fact(end, (number, control, status, code), claim, time)
        if not known:
            raise Misread(self.group, 2, f"no set of this number was read: {_READ_FIRST}")

    def _fact(self, end: Segment, verdict: tuple[str, str, str, str], claim: Submission, time: str) -> Fact:
        _, _, status, code = verdict
        return Fact(
            number=end.number,
            source=SOURCE,
            claim_id=claim.claim_id,
            identity=(self.transaction.sender, self.transaction.receiver, claim.submission_id, time, *verdict),
            time=time,
            data=given(
                response="acknowledged" if status in _ACCEPTED else "rejected",
                sender="clearinghouse",
                payer_id=claim.payer_id,
                payer_rank=claim.payer_rank,
                submission_id=claim.submission_id,
                statuses=[{"category": _CATEGORY, "code": code or status}],
            ),
        )


def facts(transaction: Transaction, body: Body, zone: ZoneInfo, sent: Sent, notebook: Notebook) -> Iterator[Outcome]:
    """Yield an acknowledgement or a rejection for each claim of the sets that the answer speaks of."""
    answer: _Answer | None = None
    lost = False
    for loop in loops(body, lambda segment: segment.tag in _BEGINNINGS):
        if loop.fault is not None:
            yield loop.fault
            lost = True
        elif loop.cut:
            yield Refused(number=transaction.number, rule=f"{loop.tag or transaction.kind}: {CUT}")
            return
        elif loop.tag == "AK1":
            answer, lost = _Answer(transaction, loop.segments[0], zone, sent, notebook), False
        elif lost and loop.segments:
            yield Refused(number=loop.segments[0].number, rule=f"{loop.tag}: {LOST}")
        elif answer is not None and answer.group.at(1) == _CLAIMS_GROUP:
            try:
                yield from answer.of_set(loop.segments) if loop.tag == "AK2" else answer.of_group(loop.segments[0])
            except Misread as misread:
                yield Refused(number=misread.number, rule=misread.rule)
            except Ambiguous:
                yield Refused(number=loop.segments[0].number, rule=f"AK102: {AMBIGUOUS}")
    if answer is None and not lost:
        yield Refused(number=transaction.number, rule=f"AK1: required in a {transaction.kind}")
