"""What one claim adds to the rollups: they are a sum over claims, and a claim that changes adds a difference; pure."""

from collections import Counter
from datetime import date

from services.claim import Claim, money
from services.timing import bucket, day, duration_s, findings, is_open, spans

# The rollup's key has a day and a bucket in every row; these stand where a name has none.
NO_DAY = date(1970, 1, 1)
NO_BUCKET = -1


RollupKey = tuple[str, str, str, date, int]
"""A row: its name says what payer, label, day and bucket mean. A plain tuple: every event makes a dozen."""
Rollup = dict[RollupKey, tuple[int, int]]
"""Each row's count and total."""


def rollup(claim: Claim) -> Rollup:
    """Return the rows that the claim adds.

    ``claims``: label is the state, the total its open cents. ``duration``: label is the measure, day the one on which
    it ended, bucket as in ``timing.EDGES_DAYS``, the total its seconds. ``open``: label is the measure, day the one on
    which it started. ``waiting`` and ``set_aside``: label is the reason, one for each event. ``finding`` and
    ``denial``: label is the finding, or the reason of a denial in force.
    """
    if claim.last is None:
        return {}
    payer = claim.payer
    amounts = money(claim)
    rows: Rollup = {("claims", payer, claim.state or "none", NO_DAY, NO_BUCKET): (1, amounts.open)}
    durations = []
    opened = is_open(claim)
    for span in spans(claim):
        seconds = duration_s(span)
        durations.append(seconds)
        if span.end is None or seconds is None:
            if opened:
                rows["open", span.payer, span.measure, day(span.start), NO_BUCKET] = (1, 0)
        elif seconds >= 0:
            rows["duration", span.payer, span.measure, day(span.end), bucket(seconds)] = (1, seconds)
    if claim.waiting:
        for reason, waiting in Counter(wait.reason for wait in claim.waiting).items():
            rows["waiting", "", reason, NO_DAY, NO_BUCKET] = (waiting, 0)
    for aside, count in claim.set_aside.items():
        rows["set_aside", "", aside, NO_DAY, NO_BUCKET] = (count, 0)
    for finding in findings(claim, amounts, durations):
        rows["finding", payer, finding, NO_DAY, NO_BUCKET] = (1, 0)
    if claim.row in ("denied", "appealed"):
        for denial in claim.denial_reasons:
            rows["denial", payer, denial, NO_DAY, NO_BUCKET] = (1, 0)
    return rows
