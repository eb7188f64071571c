"""`claimpath events` and `claimpath publish`: the contract, and events on their way into Kafka."""

import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from typing import Annotated

import typer

from events.codec import Record
from services import terminal
from services.commands.running import GROUP, Json, run, settings
from services.event_lines import RefusedLine, records

app = typer.Typer(help="The contract: events as publishers write them.", **GROUP)
Lines = Annotated[str, typer.Argument(metavar="FILE|-", help="JSON Lines, one CloudEvent each; - is standard input.")]


def publish(file: Lines, json: Json = False) -> None:
    """Publish events, each checked first; exit code 1 when some were refused, which are told with line and rule."""
    from services.publish import publish as publish_all

    given, refused = settings(), _Refused()
    with _lines(file, "publishing", refused) as lines:
        published = run(publish_all(given, lines))
    refused.end({"published": published}, json)


@app.command()
def validate(file: Lines, json: Json = False) -> None:
    """Check events without publishing them; exit code 1 when some would be refused."""
    refused = _Refused()
    with _lines(file, "checking", refused) as lines:
        valid = run(_count(lines))
    refused.end({"valid": valid}, json)


@app.command()
def schema(kind: Annotated[str, typer.Argument(metavar="[TYPE]")] = "", json: Json = False) -> None:
    """Print the JSON Schema of an event type; without one, the types and their topics."""
    from events import json_schema
    from events.topics import TOPIC_OF_TYPE

    if kind in TOPIC_OF_TYPE:
        terminal.show_json(json_schema.schema(kind))
    elif kind:
        raise terminal.Wrong(f"There is no such type of event: choose {', '.join(TOPIC_OF_TYPE)}.")
    elif json:
        terminal.show_json(TOPIC_OF_TYPE)
    else:
        terminal.show_table(("type", "topic"), TOPIC_OF_TYPE.items())


class _Refused:
    """The refused lines of one file, told as they come."""

    def __init__(self) -> None:
        self._lines: list[RefusedLine] = []

    def note(self, line: RefusedLine) -> None:
        self._lines.append(line)
        terminal.say(str(line))

    def end(self, done: dict[str, int], json: bool) -> None:
        """Print the outcome and end the command."""
        if json:
            terminal.show_json({**done, "refused": self._lines})
        else:
            counts = {**done, "refused": len(self._lines)}
            terminal.show(", ".join(f"{count} {word}" for word, count in counts.items()))
        raise typer.Exit(terminal.NO if self._lines else terminal.DONE)


async def _count(found: AsyncIterator[Record]) -> int:
    count = 0
    async for _ in found:
        count += 1
    return count


@contextmanager
def _lines(file: str, doing: str, refused: _Refused) -> Iterator[AsyncIterator[Record]]:
    """Lend the good lines of a file, of standard input for `-`; a bar shows how far they are read."""
    with ExitStack() as ending:
        descriptor, size = sys.stdin.fileno(), None
        if file != "-":
            descriptor = os.open(file, os.O_RDONLY)
            ending.callback(os.close, descriptor)
            size = os.fstat(descriptor).st_size
        bar = ending.enter_context(terminal.progress(doing, of_bytes=True))
        yield records(descriptor, refused.note, lambda done: bar(done, size))
