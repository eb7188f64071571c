"""What the command says and how it ends: tables and JSON on standard output, one sentence of an error, exit codes."""

import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Final, NoReturn

import msgspec

from services.settings import BadSetting, NoServers

DONE: Final = 0
NO: Final = 1
"""The answer is no: differences, refused, not found."""
USAGE: Final = 2
UNREACHABLE: Final = 3
BREAKER: Final = 4
BUG: Final = 70
INTERRUPTED: Final = 130
PIPE_CLOSED: Final = 141
"""Who reads our output had enough: 128 and SIGPIPE, as a shell reports it."""


class Wrong(Exception):
    """What was asked cannot be done as it was asked; the message says what to do."""


def show_json(answer: object) -> None:
    """Print an answer as one JSON value, indented on a terminal."""
    words = msgspec.json.encode(answer)
    sys.stdout.write((msgspec.json.format(words, indent=2) if sys.stdout.isatty() else words).decode() + "\n")


def show(answer: str) -> None:
    """Print an answer in words."""
    sys.stdout.write(f"{answer}\n")


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows: ruled and coloured on a terminal, else aligned words."""
    cells = [[_printable(str(cell)) for cell in row] for row in rows]
    if sys.stdout.isatty():
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Column, Table
        from rich.text import Text

        # Folded, because an id cut short is no id.
        folded = (Column(name, overflow="fold") for name in columns)
        table = Table(*folded, box=SIMPLE_HEAD, show_header=any(columns))
        for row in cells:
            table.add_row(*map(Text, row))  # as text: a cell is data and never markup
        Console().print(table)
        return
    lines = [list(columns), *cells] if any(columns) else cells
    widths = [max((len(line[column]) for line in lines), default=0) for column in range(len(columns))]
    for line in lines:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        sys.stdout.write("  ".join(padded).rstrip() + "\n")


def _printable(cell: str) -> str:
    """Return a cell without what would steer the terminal: it may come from a file or a record of anybody's."""
    if cell.isprintable():
        return cell
    return "".join(each if each.isprintable() or each in "\n\t" else "\N{REPLACEMENT CHARACTER}" for each in cell)


def say(sentence: str) -> None:
    """Tell people something beside the answer."""
    sys.stderr.write(f"{sentence}\n")


@contextmanager
def progress(doing: str, *, of_bytes: bool = False) -> Iterator[Callable[[int, int | None], None]]:
    """Lend a function that is told how much is done, and of how much where that is known; only people see the bar."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    count = DownloadColumn() if of_bytes else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), count, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(doing, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> NoReturn:
    """End the process for an error nobody caught (a `sys.excepthook`): one sentence, its exit code, no traceback."""
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered goes nowhere
        raise SystemExit(PIPE_CLOSED)
    if isinstance(error, KeyboardInterrupt):
        raise SystemExit(INTERRUPTED)
    code, sentence = _ending(error) or (BUG, _bug(kind, trace))
    say(f"claimpath: {sentence}")
    raise SystemExit(code)


def _ending(error: BaseException) -> tuple[int, str] | None:
    """Return the exit code and the sentence of an error that can be foreseen; modules not loaded raised nothing."""
    if isinstance(error, BadSetting | Wrong):
        return USAGE, str(error)
    if isinstance(error, NoServers):
        return UNREACHABLE, str(error)
    if isinstance(error, IsADirectoryError):
        return USAGE, "A folder holds no lines: name a file, or - for standard input."
    if isinstance(error, OSError) and error.filename:
        return USAGE, f"{error.strerror}: {error.filename}"
    if _is(error, "aiokafka.errors", "KafkaError"):
        return UNREACHABLE, f"Kafka does not answer as it should ({type(error).__name__}): see `claimpath doctor`."
    if _is(error, "sqlalchemy.exc", "SQLAlchemyError") or isinstance(error, OSError):
        return _ending_of_database(error)
    for module, name, code in _FORESEEN:
        if _is(error, module, name):
            return code, str(error) or str(error.__doc__)
    return None


# Errors whose message is written for people and names no value.
_FORESEEN: Final = (
    ("infra.server_process", "ServerError", UNREACHABLE),
    ("services.demo", "DemoFailed", NO),
    ("services.publish", "TopicsUnfit", NO),
    ("services.database", "SchemaMissing", UNREACHABLE),
    ("services.show", "BadTime", USAGE),
    ("sqlite3", "OperationalError", UNREACHABLE),
    ("services.dead_letters", "CannotReplay", NO),
    ("services.rebuild", "TrackersRun", NO),
    ("services.rebuild", "Unreadable", NO),
)


def _ending_of_database(error: BaseException) -> tuple[int, str]:
    from services.database import describe_error, sqlstate

    told = describe_error(error)
    match sqlstate(error):
        # 22023: the role that a migration makes is not there to be taken on.
        case "42P01" | "22023":
            return UNREACHABLE, "The database has no schema of ours: run `claimpath migrate`."
        case "3D000":
            return UNREACHABLE, "The database does not exist: create it, or correct CLAIMPATH_DATABASE_URL."
        case "28000" | "28P01" | "42501":
            return UNREACHABLE, f"PostgreSQL refuses us ({told}): check user, password and roles."
        case None:
            return UNREACHABLE, f"A server cannot be reached ({told}): see `claimpath doctor`."
        case _:
            return UNREACHABLE, f"PostgreSQL does not answer as it should ({told}): see `claimpath doctor`."


def _is(error: BaseException, module: str, name: str) -> bool:
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(error, getattr(loaded, name))


def _bug(kind: type[BaseException], trace: TracebackType | None) -> str:
    """Name class and place; an error's message may hold values."""
    frames = traceback.extract_tb(trace)
    place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return f"This is a bug of ours: {kind.__name__}{place}. Please report this line."
