"""`claimpath intake`: files of X12 and HTTP requests become events."""

import os
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer
from typer.core import TyperGroup

from events.codec import Record, money
from services import terminal
from services.commands.running import GROUP, Json, run, settings
from services.commands.running import serve as run_server
from services.intake.facts import MEANINGS, ProviderAdjustment, Refused, Remittance
from services.intake.files import Item, Publishable, Reading, Tally, chunks, items, reading_of
from services.intake.reports import Report
from services.settings import Settings, load_unconnected

MAX_SHOWN: Final = 50
"""Refusals and remittances shown one by one; a report has all of them."""
ROWS_AT_ONCE: Final = 500
"""Of the table of a dry run: columns are as wide as these rows need."""


class _FilesUnlessNamed(TyperGroup):
    """Reads files where the first word is no command: `claimpath intake FILE` is what people will type."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Name the command that was left out."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["files", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(help="Files of X12 and HTTP requests become events.", cls=_FilesUnlessNamed, **GROUP)

Files = Annotated[
    list[str], typer.Argument(metavar="FILE|-...", help="837, 835, 277CA, 277 or 999; - is standard input.")
]


@app.command("files")
def read_files(
    files: Files,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be published; no server is needed.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write all that is no event to this file, as JSON Lines.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON; of a dry run the CloudEvents, one a line.")] = False,
) -> None:
    """Publish what X12 files say of claims (also without the word `files`); exit code 1 when some could not be read."""
    given = None if dry_run else settings()
    tally, shown = Tally(), _Shown()
    with ExitStack() as ending:
        reading = ending.enter_context(reading_of(given or load_unconnected(), keep=not dry_run))
        kept = ending.enter_context(Report(report)) if report is not None else None
        read = _read(files, reading, tally, shown, kept)
        if given is not None:
            run(_publish(given, read))
        elif json:
            for event in read:
                sys.stdout.buffer.write((event.record.value or b"") + b"\n")
        else:
            _show_events(read)
    shown.end()
    if json and given is not None:
        terminal.show_json({"files": len(files), "published": sum(tally.events.values()), "tally": tally})
    elif not json:
        _show_tally(tally, "would be published" if dry_run else "published")
        shown.show_remittances()
    raise typer.Exit(terminal.NO if tally.refused else terminal.DONE)


@app.command()
def reasons(
    codes: Annotated[list[str] | None, typer.Argument(metavar="[CODE]...", help="Only these.")] = None,
    json: Json = False,
) -> None:
    """Print the adjustment reasons of remittances (CARC): our words, class, family of denial, and when in force."""
    from services.intake.reasons import ALL, family, reason

    chosen = list(ALL) if not codes else [known for code in codes if (known := reason(code)) is not None]
    rows = [{**known._asdict(), "family": family(known.category)} for known in chosen]
    if json:
        terminal.show_json(rows)
    else:
        columns = ("code", "meaning", "category", "family", "correctable", "appealable", "effective_to")
        terminal.show_table(columns, [["" if row[name] is None else row[name] for name in columns] for row in rows])
    if codes and len(chosen) < len(codes):
        raise terminal.Wrong("Not all of these are codes of X12's list 139.")


@app.command()
def watch(folder: Annotated[Path, typer.Argument(metavar="DIR", exists=True, file_okay=False, writable=True)]) -> None:
    """Publish each file that is put into a folder and move it to done/ or failed/, its report beside it."""
    from services.intake.watch import run as look_after

    given = settings()
    run_server(look_after(given, folder), given)


@app.command()
def serve() -> None:
    """Take CloudEvents over HTTP and publish them, until told to stop."""
    from services.intake.http import run as answer

    given = settings()
    run_server(answer(given), given)


class _Shown:
    """What is told one by one while files are read: refusals at once, remittances at the end; neither without limit."""

    def __init__(self) -> None:
        self._refusals = 0
        self._remittances: list[Remittance] = []

    def refused(self, sentence: str) -> None:
        self._refusals += 1
        if self._refusals <= MAX_SHOWN:
            terminal.say(sentence)

    def remittance(self, remittance: Remittance) -> None:
        if len(self._remittances) < MAX_SHOWN:
            self._remittances.append(remittance)

    def end(self) -> None:
        if self._refusals > MAX_SHOWN:
            terminal.say(f"… and {self._refusals - MAX_SHOWN} more: --report FILE has all of them.")

    def show_remittances(self) -> None:
        columns = ("trace", "payer", "method", "paid on", "total", "claims", "claims paid", "provider adjustments", "")
        rows = [
            (
                *(each.trace, each.payer_id, each.method, each.paid_on or "", money(each.total), each.claims),
                *(money(each.claims_paid), _adjusted(each.provider_adjustments)),
                "" if each.balanced else "does not balance",
            )
            for each in self._remittances
        ]
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
    from services.publish import publish

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
