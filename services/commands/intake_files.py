"""Files of X12 as the terminal tells them: read one after the other, published or shown, and summed up."""

import os
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

from events.codec import Record, money
from services import terminal
from services.commands.running import run
from services.intake.facts import MEANINGS, ProviderAdjustment, Refused, Remittance
from services.intake.files import KEPT_FILE, Item, Publishable, Reading, Tally, chunks, items, reading_of
from services.intake.payments import Payments
from services.intake.reports import Report
from services.publish import publish
from services.settings import Settings, Unconnected, load_unconnected

MAX_SHOWN: Final = 50
"""Refusals and remittances shown one by one; a report has all of them."""
ROWS_AT_ONCE: Final = 500
"""Of the table of a dry run: columns are as wide as these rows need."""


def publish_files(given: Settings, files: Sequence[str], report: Path | None, json: bool) -> Tally:
    """Publish what the files say, then print the sums; return them."""
    with _reading(given, files, report, keep=True) as (tally, read, shown):
        run(_publish(given, read))
    shown.end()
    if json:
        terminal.show_json({"files": len(files), "published": tally.events.total(), "tally": tally})
    else:
        _show_tally(tally, "published")
        shown.show_remittances()
    return tally


def show_files(files: Sequence[str], report: Path | None, json: bool) -> Tally:
    """Print what would be published: a table and the sums, or the CloudEvents one a line; return the sums."""
    with _reading(load_unconnected(), files, report, keep=False) as (tally, read, shown):
        if json:
            for event in read:
                sys.stdout.buffer.write((event.record.value or b"") + b"\n")
        else:
            _show_events(read)
    shown.end()
    if not json:
        _show_tally(tally, "would be published")
        shown.show_remittances()
    return tally


def kept_remittances(trace: str | None) -> list[Remittance]:
    """Return the payments that were read before, or those with this trace."""
    with closing(Payments.copy_of(load_unconnected().data_dir / KEPT_FILE)) as payments:
        return list(payments.all(trace))


def show_remittances(remittances: Sequence[Remittance]) -> None:
    """Print payments; provider adjustments with the claim where one is named, else with the payer's reference."""
    _show_payments(list(map(_payment_row, remittances)))


class _Shown:
    """What is told one by one while files are read: refusals at once, remittances at the end; neither without limit."""

    def __init__(self) -> None:
        self._refusals = 0
        self._remittances: list[tuple[object, ...]] = []

    def refused(self, sentence: str) -> None:
        self._refusals += 1
        if self._refusals <= MAX_SHOWN:
            terminal.say(sentence)

    def remittance(self, remittance: Remittance) -> None:
        if len(self._remittances) < MAX_SHOWN:
            self._remittances.append(_payment_row(remittance))

    def end(self) -> None:
        if self._refusals > MAX_SHOWN:
            terminal.say(f"… and {self._refusals - MAX_SHOWN} more: --report FILE has all of them.")

    def show_remittances(self) -> None:
        _show_payments(self._remittances)


@contextmanager
def _reading(
    given: Unconnected, files: Sequence[str], report: Path | None, *, keep: bool
) -> Iterator[tuple[Tally, Iterator[Publishable], _Shown]]:
    """Lend the events of the files, and what counts and shows the rest while they are read."""
    tally, shown = Tally(), _Shown()
    if report is not None and any(file != "-" and report.exists() and report.samefile(file) for file in files):
        raise terminal.Wrong("The report would take the place of a file that is to be read: give it another name.")
    with ExitStack() as ending:
        reading = ending.enter_context(reading_of(given, keep=keep))
        kept = None if report is None else ending.enter_context(Report(report))
        yield tally, _read(files, reading, tally, shown, kept), shown


def _payment_row(remittance: Remittance) -> tuple[object, ...]:
    return (
        *(remittance.trace, remittance.payer_id, remittance.method, remittance.paid_on or ""),
        *(money(remittance.total), remittance.claims, money(remittance.claims_paid)),
        *(_adjusted(remittance.provider_adjustments), "" if remittance.balanced else "does not balance"),
    )


def _show_payments(rows: Sequence[tuple[object, ...]]) -> None:
    columns = ("trace", "payer", "method", "paid on", "total", "claims", "claims paid", "provider adjustments", "")
    if rows:
        terminal.show_table(columns, rows)


def _adjusted(adjustments: Sequence[ProviderAdjustment]) -> str:
    told = [f"{each.reason} {money(each.amount)} {each.claim_id or each.reference}".rstrip() for each in adjustments]
    return ", ".join(told[:MAX_SHOWN])


def _read(
    files: Sequence[str], reading: Reading, tally: Tally, shown: _Shown, report: Report | None
) -> Iterator[Publishable]:
    """Yield the events of all files; what else they hold is counted, shown and reported on the way."""
    for file in files:
        if report is not None:
            report.begins(file)
        with _chunks(file) as read:
            for item in items(read, reading):
                tally.count(item)
                if isinstance(item, Publishable):
                    yield item
                    continue
                if report is not None:
                    report.write(item)
                _tell(file, item, shown)


def _tell(file: str, item: Item, shown: _Shown) -> None:
    match item:
        case Remittance():
            shown.remittance(item)
        case Refused():
            shown.refused(f"{file}: {item}")


@contextmanager
def _chunks(file: str) -> Iterator[Iterator[bytes]]:
    """Lend the bytes of a file, of standard input for `-`; a bar shows how far they are read."""
    with ExitStack() as ending:
        stream = sys.stdin.buffer if file == "-" else ending.enter_context(Path(file).open("rb"))
        size = None if file == "-" else os.fstat(stream.fileno()).st_size
        bar = ending.enter_context(terminal.progress("reading", of_bytes=True))
        yield chunks(stream, lambda done: bar(done, size))


async def _publish(given: Settings, read: Iterator[Publishable]) -> int:
    async def records() -> AsyncIterator[Record]:
        for event in read:
            yield event.record

    return await publish(given, records())


def _show_events(read: Iterator[Publishable]) -> None:
    """Print the events as a table, in parts: a file of any length needs no more memory than its first page."""
    columns = ("segment", "claim", "event", "time", "payer", "rank", "charge", "paid", "allowed", "patient", "findings")
    rows: list[tuple[object, ...]] = []
    for event in read:
        data = event.data
        money = [data.get(name, "") for name in ("paid", "allowed", "patient_responsibility")]
        charge = data.get("total_charge") or data.get("charge", "")
        place = (event.number, event.claim_id, event.says, event.time, data["payer_id"], data.get("payer_rank", ""))
        rows.append((*place, charge, *money, " ".join(event.findings)))
        if len(rows) == ROWS_AT_ONCE:
            terminal.show_table(columns, rows)
            rows.clear()
    if rows:
        terminal.show_table(columns, rows)


def _show_tally(tally: Tally, done: str) -> None:
    events = ", ".join(f"{count} {kind}" for kind, count in sorted(tally.events.items()))
    terminal.show(f"{sum(tally.events.values())} events {done}{f': {events}' if events else ''}.")
    if tally.unpublished:
        terminal.show(f"{tally.unpublished} statements that make no event.")
    if tally.refused:
        terminal.show(f"{tally.refused} that could not be read.")
    if tally.findings:
        terminal.show_table(
            ("finding", "count", "meaning"), [(name, n, MEANINGS[name]) for name, n in sorted(tally.findings.items())]
        )
    if tally.unknown_reasons:
        named = ", ".join(f"{code or '(no code)'} ({n})" for code, n in sorted(tally.unknown_reasons.items()))
        terminal.show(f"Adjustment reasons that X12's list does not have: {named}.")
