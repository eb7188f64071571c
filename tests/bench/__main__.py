"""`python -m tests.bench`: measures the whole path beside COPY alone and one ORM session per event, in one run."""

import argparse
import asyncio
import json
import sys

from infra.devstack import Stack
from tests.bench import report, rounds

CLAIMS = 30_000
SAMPLE = 500
ROUNDS = 5


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--claims", type=int, default=CLAIMS, help="claims whose events are the backlog (%(default)s)")
    parser.add_argument("--sample", type=int, default=SAMPLE, help="claims whose events the ORM takes (%(default)s)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="how often each is measured (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--profile", action="store_true", help="only profile the tracker, once; tells on standard error"
    )
    given = parser.parse_args()
    machine = report.machine()
    with Stack(report=_say) as stack:
        if given.profile:
            _say(f"{asyncio.run(rounds.profile(stack, given.claims, _say)):,.0f} events/s under the profiler")
            return
        measured = asyncio.run(rounds.measure(stack, given.claims, given.sample, given.rounds, _say))
    result = report.summary(measured, machine)
    sys.stdout.write(json.dumps(result, indent=2) + "\n" if given.json else report.text(result))


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
