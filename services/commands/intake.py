"""`claimpath intake`: files of X12 and HTTP requests become events."""

from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

from services import terminal
from services.commands.running import GROUP, Json, settings
from services.commands.running import serve as run_server


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
    from services.commands.intake_files import publish_files, show_files

    tally = show_files(files, report, json) if dry_run else publish_files(settings(), files, report, json)
    raise typer.Exit(terminal.NO if tally.refused else terminal.DONE)


@app.command()
def remittances(
    trace: Annotated[str | None, typer.Argument(metavar="[TRACE]", help="Only those with this trace (TRN02).")] = None,
    json: Json = False,
) -> None:
    """Print the payments that files told of, with what was taken off or added for no claim (PLB), the latest first."""
    from services.commands.intake_files import kept_remittances, show_remittances

    found = kept_remittances(trace)
    if json:
        terminal.show_json(found)
    else:
        show_remittances(found)


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
