"""What was measured, as one object and as a page: speeds with their spread, ratios, phases, machine and versions."""

import os
import platform
import subprocess
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from statistics import median
from typing import Any, Final

import psutil  # type: ignore[import-untyped]
from rich.console import Console
from rich.table import Table

from infra.embedded_kafka import VERSION as KAFKA_VERSION
from tests.bench.rounds import Measured

LIBRARIES: Final = ("claimpath", "faststream", "aiokafka", "asyncpg", "sqlalchemy", "msgspec", "uvloop")
GIT_LIMIT_S: Final = 10.0
WIDTH: Final = 110

_ROOT: Final = Path(__file__).parents[2]
_TITLES: Final = {
    "whole_path": "whole path, one tracker",
    "copy": "COPY alone, same rows, encoded before",
    "copy_by_driver": "COPY alone, rows encoded by the driver",
    "orm": "FastStream, one ORM session per event",
    "whole_path_to_copy": "whole path to COPY",
    "whole_path_to_copy_by_driver": "whole path to COPY by the driver",
    "whole_path_to_orm": "whole path to ORM",
}

Spread = dict[str, float]


def machine() -> dict[str, Any]:
    """Return what this runs on; to be asked before the load of the benchmark itself."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_before": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in LIBRARIES} | {"kafka": KAFKA_VERSION},
        "commit": _commit(),
    }


def summary(measured: Measured, on: dict[str, Any]) -> dict[str, Any]:
    """Return all as one object; speeds in events/s, ratios of each round's speeds, CPU and phases in µs an event."""
    events, rounds = measured.backlog.events, measured.rounds
    speeds = {
        "whole_path": [events / each.whole.seconds for each in rounds],
        "copy": [events / each.copy_s for each in rounds],
        "copy_by_driver": [events / each.copy_by_driver_s for each in rounds],
        "orm": [measured.sample.events / each.orm.seconds for each in rounds],
    }
    ratios = {
        f"whole_path_to_{name}": [
            ours / theirs for ours, theirs in zip(speeds["whole_path"], speeds[name], strict=True)
        ]
        for name in ("copy", "copy_by_driver", "orm")
    }
    return {
        "claims": measured.backlog.claims,
        "events": events,
        "events_by_topic": [*measured.backlog.records.values()],
        "orm_events": measured.sample.events,
        "rounds": len(rounds),
        "batch_records": measured.batch_records,
        "events_per_s": {name: spread(values) for name, values in speeds.items()},
        "ratios": {name: spread(values) for name, values in ratios.items()},
        "cpu_us_per_event": {
            "tracker": spread([each.whole.cpu_s / events * 1e6 for each in rounds]),
            "postgres": spread([each.whole.postgres_cpu_s / events * 1e6 for each in rounds]),
            "kafka": spread([each.whole.kafka_cpu_s / events * 1e6 for each in rounds]),
        },
        "phases_us_per_event": {
            phase: spread([each.whole.told[phase] / events * 1e6 for each in rounds]) for phase in rounds[0].whole.told
        },
        "postgres": measured.servers,
        **on,
    }


def text(result: dict[str, Any]) -> str:
    """Return the object as a page for people."""
    topics = ", ".join(f"{count:,}" for count in result["events_by_topic"])
    database = ", ".join(f"{name} {value}" for name, value in result["postgres"].items())
    return page(
        table("Events per second", result["events_per_s"], ",.0f"),
        table("Ratios, round by round", result["ratios"], ",.2f"),
        table("Whole path: CPU, µs an event", result["cpu_us_per_event"], ",.1f"),
        table("Whole path: phases of the lanes together, µs an event", result["phases_us_per_event"], ",.1f"),
        f"{result['events']:,} events of {result['claims']:,} claims, read topic by topic ({topics}), in batches of"
        f" {result['batch_records']:,}; the ORM a sample of {result['orm_events']:,}."
        f" {result['rounds']} rounds, each on fresh tables.",
        f"{surroundings(result)} PostgreSQL: {database}.",
    )


def page(*parts: Table | str) -> str:
    """Return tables and sentences one below the other."""
    output = StringIO()
    console = Console(file=output, width=WIDTH)
    for part in parts:
        console.print(part)
    return output.getvalue()


def surroundings(result: dict[str, Any]) -> str:
    """Return what `machine` found, in words."""
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    return (
        f"{result['processor']}, {result['cores']} cores, {result['memory_gib']} GiB,"
        f" load before {result['load_before']}. {result['system']}, Python {result['python']}, {versions}."
        f" Commit {result['commit']}."
    )


def table(title: str, rows: dict[str, Spread], form: str) -> Table:
    """Return a table of the spread of several measurements."""
    shown = Table("", title=title, title_justify="left")
    for column in ("min", "median", "max"):
        shown.add_column(column, justify="right")
    for name, values in rows.items():
        shown.add_row(_TITLES.get(name, name), *(format(values[column], form) for column in ("min", "median", "max")))
    return shown


def spread(values: list[float]) -> Spread:
    """Return the least, the middle and the greatest of several measurements."""
    return {"min": round(min(values), 3), "median": round(median(values), 3), "max": round(max(values), 3)}


def _processor() -> str:
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _commit() -> str:
    """Return the commit, and whether files differ from it."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=_ROOT, capture_output=True, text=True, timeout=GIT_LIMIT_S, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return found.stdout.strip()
