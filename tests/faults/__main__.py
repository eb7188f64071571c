"""The long campaign: real faults, simulated schedules, orders, damaged records, a soak; and the page of its results."""

import json
import os
import platform
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tests.faults.results import PAGE, RESULTS, page, summary

ROOT = Path(__file__).parents[2]
PROCESSES: Final = 2

Command = list[str]


def _faults(given: Namespace) -> list[Command]:
    return [
        _module("campaign", count=(given.faults + number) // PROCESSES, seed=given.seed + 10_000 * number)
        for number in range(PROCESSES)
    ]


def _schedules(given: Namespace) -> list[Command]:
    return [_module("simulation", count=given.schedules, processes=PROCESSES, seed=given.seed)]


def _orders(given: Namespace) -> list[Command]:
    return [[*_module("order", permutations=given.permutations, processes=PROCESSES, seed=given.seed), "--every"]]


def _damage(given: Namespace) -> list[Command]:
    return [_module("codec_fuzz", count=given.mutations, seed=given.seed)]


def _soak(given: Namespace) -> list[Command]:
    return [_module("soak", seconds=given.soak, seed=given.seed)]


PARTS: Final[dict[str, Callable[[Namespace], list[Command]]]] = {
    "faults": _faults,
    "schedules": _schedules,
    "orders": _orders,
    "damage": _damage,
    "soak": _soak,
}


def main() -> int:
    """Run the parts asked for, one after another, and write what they came to; 1 where something was found."""
    parser = ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"some of {', '.join(PARTS)}; all of them where none is named")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", type=int, default=1_000)
    parser.add_argument("--schedules", type=int, default=100_000)
    parser.add_argument("--permutations", type=int, default=10_000_000)
    parser.add_argument("--mutations", type=int, default=1_000_000)
    parser.add_argument("--soak", type=float, default=3_600, help="seconds")
    parser.add_argument("--page", action="store_true", help="only write the page again")
    given = parser.parse_args()
    if unknown := sorted({*given.parts} - {*PARTS}):
        parser.error(f"no such part: {', '.join(unknown)}")
    ended_well = True
    for part in [] if given.page else given.parts or PARTS:
        ended_well &= _run(part, PARTS[part](given), given.seed)
    PAGE.write_text(page(json.loads(RESULTS.read_text())))
    print(f"{PAGE.relative_to(ROOT)} has the results.", file=sys.stderr)
    return 0 if ended_well else 1


def _run(part: str, commands: Sequence[Command], seed: int) -> bool:
    """Run the processes of a part side by side, and keep what they told in place of what was told before."""
    started, commit = time.monotonic(), _commit()
    print(f"{part} ...", file=sys.stderr)
    running = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for command in commands]
    # All at once: one that nobody listens to would stop in the middle of a word.
    with ThreadPoolExecutor(len(running)) as readers:
        output = [*readers.map(lambda each: each.communicate()[0], running)]
    told = [json.loads(line) for each in output for line in each.splitlines() if line.startswith("{")]
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    run = {
        # Trackers are started all the while, each from the tree as it is then.
        "commit": commit if commit == _commit() else f"{commit} to {_commit()}",
        "day": datetime.now(UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}",
        "seed": seed,
        "seconds": round(time.monotonic() - started),
        **summary(part, told, [each.returncode for each in running]),
    }
    # The newest first; of those before it the page keeps a line.
    known[part] = [run, *known.get(part, [])]
    RESULTS.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    return all(each.returncode == 0 for each in running)


def _module(name: str, **options: float) -> Command:
    words = [word for option, value in options.items() for word in (f"--{option}", str(value))]
    return [sys.executable, "-m", f"tests.faults.{name}", *words]


def _commit() -> str:
    """Return the commit that is checked out, with a + where the tree holds more."""
    commit = _git("rev-parse", "--short", "HEAD") or "unknown"
    return commit + ("+" if _git("status", "--porcelain", "--", "events", "services", "infra") else "")


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
