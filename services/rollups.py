"""What one claim adds to the rollups: they are a sum over claims, and a claim that changes adds a difference; pure."""

from datetime import date
from typing import NamedTuple

from services.claim import Claim, money
from services.timing import bucket, day, duration_s, findings, is_open, spans

# The rollup's key has a day and a bucket in every row; these stand where a name has none.
NO_DAY = date(1970, 1, 1)
NO_BUCKET = -1


class RollupKey(NamedTuple):
    """A row of the rollup; ``name`` says what the others mean."""

    name: str
    payer: str
    label: str
    day: date
    bucket: int


Rollup = dict[RollupKey, tuple[int, int]]
"""Each row's count and total."""


def rollup(claim: Claim) -> Rollup:
    """Return the rows that the claim adds.

    ``claims``: label is the state, the total its open cents. ``duration``: label is the measure, day the one on which it
    ended, bucket as in ``timing.EDGES_DAYS``, the total its seconds. ``open``: label is the measure, day the one on which
    it started. ``waiting`` and ``set_aside``: label is the reason, one for each event. ``finding`` and ``denial``: label
    is the finding, or the reason of a denial in force.
    """
    if claim.last is None:
        return {}
    payer = claim.payer
    rows: Rollup = {RollupKey("claims", payer, claim.state or "none", NO_DAY, NO_BUCKET): (1, money(claim).open)}
    opened = is_open(claim)
    for span in spans(claim):
        seconds = duration_s(span)
        if seconds is None:
            if opened:
                rows[RollupKey("open", span.payer, span.measure, day(span.start), NO_BUCKET)] = (1, 0)
        elif seconds >= 0:
            ended = day(span.end) if span.end is not None else NO_DAY
            rows[RollupKey("duration", span.payer, span.measure, ended, bucket(seconds))] = (1, seconds)
    for wait in claim.waiting:
        row = RollupKey("waiting", "", wait.reason, NO_DAY, NO_BUCKET)
        rows[row] = (rows.get(row, (0, 0))[0] + 1, 0)
    for aside, count in claim.set_aside.items():
        rows[RollupKey("set_aside", "", aside, NO_DAY, NO_BUCKET)] = (count, 0)
    for finding in findings(claim):
        rows[RollupKey("finding", payer, finding, NO_DAY, NO_BUCKET)] = (1, 0)
    if claim.row in ("denied", "appealed"):
        for denial in claim.denial_reasons:
            rows[RollupKey("denial", payer, denial, NO_DAY, NO_BUCKET)] = (1, 0)
    return rows
