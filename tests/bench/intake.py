"""`python -m tests.bench.intake`: measures the command `claimpath intake` on an 837 and an 835 of very many claims.

Each measurement is a process of its own, from its start to its end, as somebody runs the command: once as a dry run
that prints every event to nowhere, and once to Kafka, where every event is acknowledged.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient
from pydantic import SecretStr

from infra.devstack import Stack
from services import kafka
from services.settings import PREFIX, Settings
from tests.bench import report
from tests.bench.backlog import WrongWork
from tests.running import environment
from tests.x12_written import claims, remittance

CLAIMS: Final = 100_000
FEW: Final = 1_000
ROUNDS: Final = 3
RUN_LIMIT_S: Final = 600.0
KINDS: Final[dict[str, Callable[[int], Iterator[bytes]]]] = {"837": claims, "835": remittance}

TITLES: Final = {
    "837_read": "an 837, read alone",
    "835_read": "an 835, read alone",
    "837_published": "an 837, read and published",
    "835_published": "an 835, read and published",
}


class Run(NamedTuple):
    """What one run of the command took."""

    seconds: float
    peak_mib: float
    answer: str


def write(folder: Path, kind: str, count: int) -> Path:
    """Write a file of so many claims and return where it is."""
    file = folder / f"{count}.{kind}"
    with file.open("wb") as output:
        output.writelines(KINDS[kind](count))
    return file


def run(arguments: list[str], given: dict[str, str], output: int = subprocess.PIPE) -> Run:
    """Run the command once; raises WrongWork where it says that something was not as it should be."""
    with tempfile.NamedTemporaryFile() as peak:
        began = time.perf_counter()
        ended = subprocess.run(
            (sys.executable, "-m", "tests.peak", peak.name, *arguments),
            env=given, stdin=subprocess.DEVNULL, stdout=output, timeout=RUN_LIMIT_S, check=False,
        )  # fmt: skip
        seconds = time.perf_counter() - began
        if ended.returncode != 0:
            raise WrongWork(f"claimpath {' '.join(arguments)} ended with {ended.returncode}")
        return Run(seconds, int(Path(peak.name).read_text()) / 1024, (ended.stdout or b"").decode())


def read(file: Path) -> Run:
    """Read a file alone, with nothing remembered from other runs."""
    with tempfile.TemporaryDirectory() as folder:
        return run(["intake", "--dry-run", "--json", str(file)], _surroundings(folder), subprocess.DEVNULL)


def publish(stack: Stack, file: Path, count: int) -> Run:
    """Publish a file to topics of its own."""
    with tempfile.TemporaryDirectory() as folder:
        given = Settings(
            kafka=stack.kafka,
            database_url=SecretStr(stack.database_url),
            topic_prefix=f"bench-{uuid.uuid4().hex[:12]}-",
            data_dir=Path(folder),
        )
        asyncio.run(kafka.create_topics(given))
        told = run(["intake", "--json", str(file)], _surroundings(folder) | environment(given))
        asyncio.run(_delete_topics(given))
    if json.loads(told.answer)["published"] != count:
        raise WrongWork(f"{told.answer} of {count} claims")
    return told


def measure(stack: Stack, folder: Path, count: int, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure so many rounds and return all as one object: claims/s, and the most memory in MiB."""
    files = {kind: (write(folder, kind, FEW), write(folder, kind, count)) for kind in KINDS}
    speeds: dict[str, list[float]] = {name: [] for name in TITLES}
    peaks: dict[str, list[float]] = {}
    for number in range(1, rounds + 1):
        for kind, (few, many) in files.items():
            for name, took_few, took in (
                (f"{kind}_read", read(few), read(many)),
                (f"{kind}_published", publish(stack, few, FEW), publish(stack, many, count)),
            ):
                speeds[name].append(count / took.seconds)
                peaks.setdefault(f"{name}_few", []).append(took_few.peak_mib)
                peaks.setdefault(f"{name}_many", []).append(took.peak_mib)
        say(f"round {number} of {rounds}, claims/s: " + ", ".join(f"{n} {v[-1]:,.0f}" for n, v in speeds.items()))
    return {
        "claims": count,
        "few": FEW,
        "rounds": rounds,
        "bytes": {kind: many.stat().st_size for kind, (_, many) in files.items()},
        "claims_per_s": {name: report.spread(values) for name, values in speeds.items()},
        "peak_mib": {name: report.spread(values) for name, values in peaks.items()},
    }


def text(result: dict[str, Any]) -> str:
    """Return the object as a page for people."""
    few, count = f"{result['few']:,}", f"{result['claims']:,}"
    peaks = {f"{title}, {few} claims": result["peak_mib"][f"{name}_few"] for name, title in TITLES.items()}
    peaks |= {f"{title}, {count} claims": result["peak_mib"][f"{name}_many"] for name, title in TITLES.items()}
    speeds = {title: result["claims_per_s"][name] for name, title in TITLES.items()}
    sizes = ", ".join(f"{size / 1e6:.0f} MB the {kind}" for kind, size in result["bytes"].items())
    return report.page(
        report.table("Claims per second", speeds, ",.0f"),
        report.table("The most memory, MiB", dict(sorted(peaks.items())), ",.1f"),
        f"Files of {count} claims of two lines ({sizes}); whole processes, {result['rounds']} rounds.",
        report.surroundings(result),
    )


def _surroundings(data_dir: str) -> dict[str, str]:
    """Return the environment without anybody's settings, with a data directory that nothing was read into."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)}
    cache = {name: value for name, value in os.environ.items() if name == f"{PREFIX}CACHE"}
    return {**kept, **cache, f"{PREFIX}DATA_DIR": data_dir}


async def _delete_topics(given: Settings) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=given.kafka)
    await admin.start()
    await admin.delete_topics([name for name in await admin.list_topics() if name.startswith(given.topic_prefix)])
    await admin.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.intake", description=__doc__)
    parser.add_argument("--claims", type=int, default=CLAIMS, help="claims of a file (%(default)s)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="how often each is measured (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    machine = report.machine()
    with Stack(report=_say) as stack, tempfile.TemporaryDirectory() as folder:
        result = measure(stack, Path(folder), given.claims, given.rounds, _say) | machine
    sys.stdout.write(json.dumps(result, indent=2) + "\n" if given.json else text(result))


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
