"""The soak: a tracker under a steady trickle for an hour; its memory, its descriptors and its lag must stay flat."""

import asyncio
import json
import statistics
import tempfile
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from infra.devstack import Stack
from tests.faults.evidence import ends
from tests.faults.field import Field, field_on
from tests.faults.servers import Servers

SECONDS = 3_600
RECORDS_A_SECOND = 100
SAMPLE_S = 10.0
WARM_UP_S = 1_500
"""Before that memory may grow: of 150,000 records the caches fill, and Python's heap finds its size."""
MIB = 1 << 20
SLOPE_LIMIT_MIB_AN_HOUR = 1.0
LAG_LIMIT_RECORDS = 5 * RECORDS_A_SECOND
DESCRIPTORS_LIMIT = 10
"""By so many they may differ: connections come and go."""


async def soak(seconds: float, warm_up_s: float, seed: int) -> dict[str, Any]:
    """Let records trickle in, and for so long after the warm-up look; return what was measured of each tracker."""
    samples: dict[str, list[tuple[float, float, int]]] = {}
    lags = []
    with tempfile.TemporaryDirectory() as folder, Stack() as stack:
        async with field_on(Servers(stack), Path(folder), seed) as field:
            pids = {name: each.process.pid for name, each in field.trackers.items()}
            started = time.monotonic()
            async with field.publishing(pause_s=0.5, number=RECORDS_A_SECOND // 2):
                while time.monotonic() - started < warm_up_s + seconds:
                    await asyncio.sleep(SAMPLE_S)
                    for name, pid in pids.items():
                        process = psutil.Process(pid)
                        now = (time.monotonic() - started, process.memory_info().rss / MIB, process.num_fds())
                        samples.setdefault(name, []).append(now)
                    lags.append(await lag(field))
            await field.caught_up()
            alive = {name: each.process.pid for name, each in field.trackers.items()} == pids
            violations = await field.audited()
            records = sum(len(part.records) for part in field.log.values())
    measured = {name: measured_of(taken, warm_up_s) for name, taken in samples.items()}
    missed = [said for name, found in measured.items() for said in not_flat(name, found)]
    violations += [] if alive else ["a tracker ended"]
    if max(lags) > LAG_LIMIT_RECORDS:
        violations.append(f"{max(lags)} records were not in PostgreSQL, more than {LAG_LIMIT_RECORDS}")
    return {
        "seed": seed,
        "seconds": round(seconds),
        "warm_up_s": round(warm_up_s),
        "records": records,
        "trackers": measured,
        "most_lag": max(lags),
        "same_processes": alive,
        "missed": missed,
        "violations": violations,
    }


async def lag(field: Field) -> int:
    """Return how many records Kafka holds that PostgreSQL has not."""
    done = await field.positions()
    wanted = await asyncio.to_thread(ends, field.direct.kafka, field.topics)
    return sum(end - done.get(part, 0) for part, end in wanted.items())


def measured_of(samples: list[tuple[float, float, int]], warm_up_s: float) -> dict[str, Any]:
    """Sum up a tracker's samples, each of seconds, MiB and descriptors, once it is warm."""
    warm = [sample for sample in samples if sample[0] >= warm_up_s]
    slope, _ = statistics.linear_regression([at for at, _, _ in warm], [memory for _, memory, _ in warm])
    return {
        "memory_mib": [round(warm[0][1], 1), round(warm[-1][1], 1)],
        "slope_mib_an_hour": round(slope * 3600, 2),
        "descriptors": [min(fds for _, _, fds in warm), max(fds for _, _, fds in warm)],
        "samples": len(warm),
    }


def not_flat(name: str, measured: dict[str, Any]) -> list[str]:
    """Return what grows of a tracker that should not."""
    said = []
    if measured["slope_mib_an_hour"] >= SLOPE_LIMIT_MIB_AN_HOUR:
        said.append(f"the {name} tracker's memory grows by {measured['slope_mib_an_hour']} MiB an hour")
    low, high = measured["descriptors"]
    if high - low > DESCRIPTORS_LIMIT:
        said.append(f"the {name} tracker has {low} to {high} descriptors")
    return said


def main() -> None:
    """Soak for as long as asked, and print one line of JSON."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--warm-up", type=float, default=WARM_UP_S)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    told = asyncio.run(soak(given.seconds, given.warm_up, given.seed))
    print(json.dumps(told))
    raise SystemExit(bool(told["violations"]))


if __name__ == "__main__":
    main()
