"""What the demo shows: outcomes of records, claims by state, reimbursement by payer, and where to look further."""

import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Final, Self

from msgspec import Struct
from rich.columns import Columns
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text
from sqlalchemy.ext.asyncio import AsyncEngine

from services import queries
from services.queries import Ages
from services.timing import DAY_S, EDGES_DAYS

MAX_PAYERS: Final = 12
PLAIN_LOOK_S: Final = 5.0
"""Between two lines where nobody sees a screen."""
MEDIAN: Final = 0.5
NINE_OF_TEN: Final = 0.9


class Timing(Struct, frozen=True):
    """One measure of one payer; a share took at most so many days, None beyond the last edge or of nothing."""

    ended: int
    mean_days: float | None
    half_within_days: int | None
    nine_of_ten_within_days: int | None
    open: int


class Progress(Struct, frozen=True):
    """What became of the records so far."""

    published: int
    outcomes: Counter[str]
    states: dict[str, int]
    waiting: int
    set_aside: int
    timing: dict[str, dict[str, Timing]]


async def progress_of(engine: AsyncEngine, published: int) -> Progress:
    """Read how far the tracker is, all of one moment."""
    async with queries.reading(engine) as connection:
        outcomes = await queries.outcomes(connection)
        business = await queries.business(connection, MAX_PAYERS, MAX_PAYERS)
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for each in business.counts:
        counts[each.name][each.label or "other"] += each.n
    return Progress(
        published=published,
        outcomes=outcomes,
        states={state: n for state, n in counts["claims"].items() if n},
        waiting=counts["waiting"].total(),
        set_aside=counts["set_aside"].total(),
        timing=_timing(business.durations, business.open_ages),
    )


def _timing(durations: Iterable[Ages], open_ages: Iterable[Ages]) -> dict[str, dict[str, Timing]]:
    """Return each payer's measures."""
    ended: defaultdict[tuple[str, str], Counter[int]] = defaultdict(Counter)
    seconds = Counter[tuple[str, str]]()
    for each in durations:
        if each.window == "all":
            ended[each.payer or "other", each.measure][each.bucket] += each.n
            seconds[each.payer or "other", each.measure] += each.seconds
    still = Counter[tuple[str, str]]()
    for each in open_ages:
        still[each.payer or "other", each.measure] += each.n
    told: defaultdict[str, dict[str, Timing]] = defaultdict(dict)
    for payer, measure in sorted({*ended, *still}):
        buckets = ended[payer, measure]
        n = buckets.total()
        if n or still[payer, measure]:
            told[payer][measure] = Timing(
                ended=n,
                mean_days=round(seconds[payer, measure] / n / DAY_S, 1) if n else None,
                half_within_days=_within(buckets, MEDIAN),
                nine_of_ten_within_days=_within(buckets, NINE_OF_TEN),
                open=still[payer, measure],
            )
    return dict(told)


def _within(buckets: Counter[int], share: float) -> int | None:
    seen = 0
    for bucket, edge in enumerate(EDGES_DAYS):
        seen += buckets[bucket]
        if seen and seen >= share * buckets.total():
            return edge
    return None


class Screen:
    """Owns the terminal while the demo lives; where there is none, tells a line now and then."""

    def __init__(self, addresses: Mapping[str, str]) -> None:
        self._addresses = addresses
        self._live = Live(console=Console(), auto_refresh=False) if sys.stdout.isatty() else None
        self._told_at = 0.0

    def __enter__(self) -> Self:
        """Take the terminal."""
        if self._live is not None:
            self._live.start()
        else:
            for name, address in self._addresses.items():
                sys.stdout.write(f"{name}: {address}\n")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Give the terminal back."""
        if self._live is not None:
            self._live.stop()

    def show(self, progress: Progress) -> None:
        """Show how far it is."""
        if self._live is not None:
            self._live.update(self._tables(progress), refresh=True)
        elif time.monotonic() - self._told_at > PLAIN_LOOK_S:
            self._told_at = time.monotonic()
            states = ", ".join(f"{n} {state}" for state, n in progress.states.items())
            sys.stdout.write(f"{progress.outcomes.total()} of {progress.published} records taken; claims: {states}\n")
            sys.stdout.flush()

    def _tables(self, progress: Progress) -> Group:
        where = Text("Ctrl-C stops everything.", style="dim")
        for name, address in self._addresses.items():
            where.append(f"\n{name}: {address}")
        return Group(where, Columns([_records(progress), _claims(progress)]), _payers(progress))


def _records(progress: Progress) -> Table:
    table = Table("records", "", title="Kafka")
    table.columns[1].justify = "right"
    rows = {
        "published": progress.published,
        "lag": max(progress.published - progress.outcomes.total(), 0),
        "accepted": progress.outcomes["accepted"],
        "duplicates": progress.outcomes["duplicate"],
        "dead letters": progress.outcomes["dead_letter"],
    }
    for name, n in rows.items():
        table.add_row(name, f"{n:,}")
    return table


def _claims(progress: Progress) -> Table:
    table = Table("claims", "", title="State")
    table.columns[1].justify = "right"
    for state, n in sorted(progress.states.items()):
        table.add_row(state, f"{n:,}")
    table.add_row("events waiting", f"{progress.waiting:,}", style="dim")
    table.add_row("events set aside", f"{progress.set_aside:,}", style="dim")
    return table


def _payers(progress: Progress) -> Table:
    table = Table("payer", "paid", "mean days", "half within", "9 of 10 within", "open", title="Reimbursement by payer")
    for column in table.columns[1:]:
        column.justify = "right"
    for payer, measures in progress.timing.items():
        told = measures.get("reimbursement")
        if told is not None:
            days = (told.half_within_days, told.nine_of_ten_within_days)
            within = ("–" if edge is None else f"{edge} d" for edge in days)
            mean = "–" if told.mean_days is None else f"{told.mean_days:.1f}"
            table.add_row(payer, f"{told.ended:,}", mean, *within, f"{told.open:,}")
    return table
