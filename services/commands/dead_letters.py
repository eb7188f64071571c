"""`claimpath dead-letters`: what was refused, looked at and published again."""

import base64
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services import terminal
from services.commands.running import GROUP, Json, run, settings

if TYPE_CHECKING:
    from services.dead_letters import Shown

app = typer.Typer(help="Records that were refused, kept whole.", **GROUP)

Id = Annotated[int, typer.Argument(metavar="ID", min=1, max=2**63 - 1)]
Reason = Annotated[str | None, typer.Option(metavar="WORD", help="Only those refused for this reason.")]


@app.command("list")
def list_all(
    reason: Reason = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many at most, the latest first.")] = 50,
    replayed: Annotated[bool, typer.Option("--replayed", help="Also those published again since.")] = False,
    json: Json = False,
) -> None:
    """List dead letters with the reason of each, and nothing of what they hold."""
    from services.dead_letters import list_letters

    listing = run(list_letters(settings(), reason, limit, replayed=replayed))
    if json:
        terminal.show_json(listing)
        return
    columns = ("id", "recorded_at", "topic", "partition", "offset", "reason", "path", "rule", "replayed_at")
    rows = [[getattr(each, column) for column in columns] for each in listing.letters]
    terminal.show_table(columns, [["" if cell is None else cell for cell in row] for row in rows])
    if listing.total > len(listing.letters):
        terminal.say(f"These are the latest {len(listing.letters)} of {listing.total}.")


@app.command()
def show(
    letter_id: Id,
    value: Annotated[bool, typer.Option("--value", help="Only the value, byte by byte: to edit it.")] = False,
    json: Json = False,
) -> None:
    """Show a dead letter as it was received; it may hold a patient's data."""
    from services.dead_letters import show as open_letter

    letter = run(open_letter(settings(), letter_id))
    if letter is None:
        terminal.say("claimpath: There is no dead letter of this id.")
        raise typer.Exit(terminal.NO)
    if json:
        terminal.show_json(letter)
    elif value:
        sys.stdout.buffer.write(_bytes(letter.value))
    else:
        facts = ("topic", "partition", "offset", "published_at", "recorded_at", "replayed_at", "reason", "path", "rule")
        told = ((name, getattr(letter, name)) for name in facts)
        rows = [(name, "" if fact is None else str(fact)) for name, fact in told]
        headers = [(f"header {name}", _words(header)) for name, header in letter.headers]
        held = [("key", _words(letter.key)), *headers, ("value", _words(letter.value))]
        terminal.show_table(("", ""), [*rows, *held])


@app.command()
def replay(
    ids: Annotated[list[int] | None, typer.Argument(metavar="[ID]...", min=1, max=2**63 - 1)] = None,
    every: Annotated[bool, typer.Option("--all", help="All that were not replayed yet.")] = False,
    reason: Reason = None,
    file: Annotated[Path | None, typer.Option(help="Publish this event in the place of the one letter.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Also what was replayed before.")] = False,
    json: Json = False,
) -> None:
    """Publish dead letters again, as they were or from an edited file; exit code 1 when one could not be."""
    from services.dead_letters import Replayed, replay_edited
    from services.dead_letters import replay as publish_again

    if bool(ids) == (every or reason is not None):
        raise terminal.Wrong("Name the ids of letters, or say --all or --reason WORD.")
    if file is not None and (ids is None or len(ids) != 1):
        raise terminal.Wrong("An edited file takes the place of one letter: name its id.")
    given = settings()
    if file is not None and ids:
        run(replay_edited(given, ids[0], file.read_bytes(), force=force))
        done = Replayed(published=1, left=0)
    else:
        with terminal.progress("publishing letters") as bar:
            done = run(publish_again(given, ids or None, reason, force=force, progress=bar))
    if json:
        terminal.show_json(done)
    else:
        terminal.show(f"{done.published} published again, {done.left} left that cannot be.")
    raise typer.Exit(terminal.NO if done.left else terminal.DONE)


def _bytes(shown: "Shown") -> bytes:
    if shown is None:
        return b""
    return shown["text"].encode() if "text" in shown else base64.b64decode(shown["base64"])


def _words(shown: "Shown") -> str:
    if shown is None:
        return "(null)"
    return shown["text"] if "text" in shown else f"(base64) {shown['base64']}"
