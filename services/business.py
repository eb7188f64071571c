"""The business metrics of one moment: names, labels and numbers from the sums in PostgreSQL; pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import product
from typing import Final, NamedTuple

from services.catalogue import words
from services.claim import AsideReason, State, WaitReason
from services.positions import GapKind, Reason
from services.queries import Ages, Business
from services.timing import EDGES_DAYS

# A label's every value is a series for each value of the others: a database of thousands of payers must not drown
# Prometheus. At these limits a scrape has some 25,000 series.
MAX_PAYERS: Final = 50
MAX_REASONS: Final = 50
# Payers and reasons are words of events: what is longer than any real one is cut.
MAX_LABEL_CHARS: Final = 64
OTHER: Final = "other"
UNKNOWN: Final = "unknown"
STATES: Final = (*words(State), "none")

Labels = tuple[str, ...]


class Spread(NamedTuple):
    """How many spans fall into each bucket of ``timing.EDGES_DAYS`` and beyond, and their seconds together."""

    buckets: list[int]
    seconds: int


class Shown(NamedTuple):
    """Every business metric by name, and in it every series by the values of its labels."""

    gauges: dict[str, dict[Labels, float]]
    spreads: dict[str, dict[Labels, Spread]]


def shown(business: Business) -> Shown:
    """Return the metrics; closed sets with all their members, so that a zero is a zero and not an absence."""
    sums: defaultdict[str, Counter[Labels]] = defaultdict(Counter)
    cents: Counter[Labels] = Counter()
    for name, payer, label, n, total in business.counts:
        sums[name][_word(payer), _word(label)] += n
        if name == "claims":
            cents[_word(label), _word(payer)] += total
    by_state = list(product(STATES, sorted({payer for payer, _ in sums["claims"]})))
    waiting, set_aside = (_by_label(sums[name]) for name in ("waiting", "set_aside"))
    letters, gaps = dict(business.dead_letters), dict(business.gap_records)
    gauges: dict[str, dict[Labels, float]] = {
        "claimpath_claims": {(state, payer): sums["claims"][payer, state] for state, payer in by_state},
        "claimpath_open_dollars": {key: cents[key] / 100 for key in by_state},
        "claimpath_waiting_events": {(reason,): waiting[reason] for reason in words(WaitReason)},
        "claimpath_waiting_oldest_seconds": {(): business.waiting_oldest_s},
        "claimpath_set_aside_events": {(reason,): set_aside[reason] for reason in words(AsideReason)},
        "claimpath_dead_letters": {(reason,): letters.get(reason, 0) for reason in words(Reason)},
        "claimpath_dead_letters_oldest_seconds": {(): business.dead_letters_oldest_s},
        "claimpath_findings": {(finding, payer): n for (payer, finding), n in sums["finding"].items() if n},
        "claimpath_denials": {labels: n for labels, n in sums["denial"].items() if n},
        "claimpath_gap_records": {(kind,): gaps.get(kind, 0) for kind in words(GapKind)},
    }
    return Shown(
        gauges,
        {
            "claimpath_duration_seconds": _spreads(business.durations, with_window=True),
            "claimpath_open_age_seconds": _spreads(business.open_ages, with_window=False),
        },
    )


def _spreads(ages: Iterable[Ages], *, with_window: bool) -> dict[Labels, Spread]:
    found: dict[Labels, Spread] = {}
    for payer, measure, window, bucket, n, seconds in ages:
        labels = (measure, _word(payer), window) if with_window else (measure, _word(payer))
        buckets, before = found.get(labels, ([0] * (len(EDGES_DAYS) + 1), 0))
        buckets[bucket] += n
        found[labels] = Spread(buckets, before + seconds)
    return found


def _by_label(counts: Counter[Labels]) -> Counter[str]:
    summed: Counter[str] = Counter()
    for (_, label), n in counts.items():
        summed[label] += n
    return summed


def _word(text: str | None) -> str:
    """Return a word of events as the value of a label; words that become the same are added up."""
    if text is None:
        return OTHER
    return "".join(letter if letter.isprintable() else "?" for letter in text[:MAX_LABEL_CHARS]) or UNKNOWN
