"""`claimpath claim` and `claimpath claims`: one claim told, all claims written out."""

import sys
from typing import Annotated, Any, Final, Literal

import typer

from services import terminal
from services.commands.running import GROUP, Json, run, settings

claim = typer.Typer(help="One claim.", **GROUP)
claims = typer.Typer(help="All claims.", **GROUP)

_DAY_S: Final = 86_400


@claim.callback()
def _one_claim() -> None:
    """Keep `show` a command of its own: alone in its group it would become the group."""


@claims.callback()
def _all_claims() -> None:
    """As above."""


@claim.command()
def show(
    claim_id: Annotated[str, typer.Argument(metavar="ID")],
    as_of: Annotated[str, typer.Option(metavar="TIME", help="With what had happened by then.")] = "",
    known_at: Annotated[str, typer.Option(metavar="TIME", help="With what had been recorded by then.")] = "",
    json: Json = False,
) -> None:
    """Show a claim: its state, money and times, and every event with what became of it."""
    from services.show import claim_show

    found = run(claim_show(settings(), claim_id, as_of or None, known_at or None))
    if found is None:
        terminal.say("claimpath: No event of this claim is known, or was then.")
        raise typer.Exit(terminal.NO)
    if json:
        terminal.show_json(found)
    else:
        _tell(found)


@claims.command()
def export(
    form: Annotated[Literal["jsonl", "csv"], typer.Option("--format")] = "jsonl",
    *,
    json: Annotated[bool, typer.Option("--json", help="The same as --format jsonl.")] = False,
) -> None:
    """Write every claim on a line, in the order of their ids: JSON, or columns separated by commas."""
    from services.show import claims_export

    given = settings()

    async def write() -> None:
        async for line in claims_export(given, "jsonl" if json else form):
            sys.stdout.write(line)

    run(write())


def _tell(found: dict[str, Any]) -> None:
    """Print a claim for people."""
    facts = {"claim": found["claim_id"], "state": found["state"] or "none: it waits", **found["facets"]}
    facts |= {name: ", ".join(found[name]) for name in ("denial_reasons", "rejection_reasons", "findings")}
    terminal.show_table(("", ""), [(name.replace("_", " "), _word(value)) for name, value in facts.items()])
    terminal.show_table(list(found["money"]), [list(found["money"].values())])
    days = {name: seconds / _DAY_S for name, seconds in found["durations_s"].items() if seconds is not None}
    terminal.show_table(("measure", "days"), [(name.replace("_", " "), f"{each:.1f}") for name, each in days.items()])
    columns = ("time", "type", "source", "id", "outcome", "reason")
    terminal.show_table(columns, [[_word(event[column]) for column in columns] for event in found["events"]])


def _word(value: object) -> str:
    return "" if value is None else "yes" if value is True else "no" if value is False else str(value)
