"""The long campaign of real faults: drawn from a seed, each audited, a few to a field."""

import asyncio
import json
import logging
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from itertools import cycle, groupby, islice
from pathlib import Path
from random import Random
from typing import Any

from infra.devstack import Stack
from tests.faults.catalogue import EXTREME, FAULTS
from tests.faults.fault import Fault
from tests.faults.field import Field, field_on
from tests.faults.servers import Servers, servers_for
from tests.faults.small_disk import MayNotMount
from tests.faults.version_faults import NoHistory

FAULTS_A_FIELD = 25
"""After so many, everything begins anew: the audit reads all of a field's log each time."""
SLOW = [fault for fault in FAULTS if fault.runs == "seldom" or fault in EXTREME]
SLOW_EVERY = 250
"""Of so many faults, each that takes a minute, or servers of its own, is one."""


def drawn(count: int, seed: int) -> list[Fault]:
    """Return so many faults: the quick ones in turn, each time in another order, and the slow ones now and then."""
    chance = Random(seed)
    places = {
        start + place: fault
        for start in range(0, count, SLOW_EVERY)
        for fault, place in zip(SLOW, chance.sample(range(SLOW_EVERY), len(SLOW)), strict=True)
    }
    quick = _in_turn([fault for fault in FAULTS if fault not in SLOW], chance)
    return [places.get(number) or next(quick) for number in range(count)]


def _in_turn(faults: list[Fault], chance: Random) -> Iterator[Fault]:
    while True:
        chance.shuffle(faults)
        yield from faults


async def campaign(faults: Sequence[Fault], seed: int) -> list[dict[str, Any]]:
    """Let the faults strike, those that need the same servers together; return what each came to."""
    struck: list[dict[str, Any]] = []
    by_ground = sorted(faults, key=lambda fault: fault.ground, reverse=True)
    with Stack(quick_jit=True) as stack:
        for ground, group in groupby(by_ground, key=lambda fault: fault.ground):
            left = iter([*group])
            while part := list(islice(left, FAULTS_A_FIELD)):
                try:
                    with servers_for(ground, stack) as servers:
                        struck += await _on_a_field(servers, part, seed + len(struck))
                except MayNotMount as reason:
                    struck += [_said({"fault": fault.sentence, "skipped": str(reason)}) for fault in part]
    return struck


async def _on_a_field(servers: Servers, faults: Sequence[Fault], seed: int) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        async with field_on(servers, Path(folder), seed) as field:
            return [_said(await _strike(field, fault)) for fault in faults]


def _said(told: dict[str, Any]) -> dict[str, Any]:
    print(json.dumps(told), flush=True)
    return told


async def _strike(field: Field, fault: Fault) -> dict[str, Any]:
    told = {"fault": fault.sentence, "kind": fault.kind, "field": field.seed, "limit_s": fault.limit_s}
    started = time.monotonic()
    try:
        endured = await field.endure(fault)
    except NoHistory as reason:
        return {"fault": fault.sentence, "skipped": str(reason)}
    except AssertionError as error:
        return told | {"violations": [f"it did not come back: {error}"[:2_000]]}
    if not endured.fired:
        endured.violations.append("it never fired")
    return told | {
        "fired": endured.fired,
        "recovery_s": round(endured.recovery_s, 2),
        "took_s": round(time.monotonic() - started, 1),
        "records": endured.records,
        "outcomes": endured.outcomes,
        "violations": endured.violations,
    }


def main() -> None:
    """Run a campaign; print a line of JSON for each fault."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=len(FAULTS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="a part of the sentence of the faults to draw from")
    given = parser.parse_args()
    # Our own publishers say what we do to them.
    logging.disable()
    faults = drawn(given.count, given.seed)
    if given.only:
        faults = list(islice(cycle([fault for fault in FAULTS if given.only in fault.sentence]), given.count))
    struck = asyncio.run(campaign(faults, given.seed))
    raise SystemExit(any(each.get("violations") for each in struck))


if __name__ == "__main__":
    main()
