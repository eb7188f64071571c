"""Faults of the trackers' processes: killed at named points, frozen, crowded, replaced."""

import asyncio
import signal
import time
from contextlib import nullcontext
from functools import partial

import psutil  # type: ignore[import-untyped]

from tests.faults.fault import AFTER_A_PROCESS_S, Fault
from tests.faults.field import BURST, Field, Tracked
from tests.faults.killing import POINTS, REBALANCE, SHUTDOWN, arm
from tests.running import until

MOST_TIMES = 3
"""At most so often a point is passed unharmed, less one, before the tracker dies there."""
DEATH_LIMIT_S = 60
NUDGE_S = 0.3
AGAIN_S = 10
FROZEN_S = 13.0
"""Longer than Kafka waits for a silent member of the group (10 s)."""
FROZEN_LONG_S = 60.0
STORM = 4
AFTER_A_STORM_S = 30.0
"""One that died in the middle of a rebalance is waited for as long as that may take, and then still its session."""


async def die_at(point: str, field: Field) -> int:
    """Let a tracker kill itself at the point."""
    return await _struck(point, field, signal.SIGKILL)


async def _struck(point: str, field: Field, number: signal.Signals) -> int:
    victim = field.any_tracker()
    deaths = len(victim.codes)
    process = victim.process
    seldom = point in REBALANCE | SHUTDOWN
    arm(field.folder, process.pid, point, 1 if seldom else field.chance.randint(1, MOST_TIMES), number)
    started = time.monotonic()
    while len(victim.codes) == deaths:
        # Again where a rebalance was under way when the point was armed.
        async with field.passing() if point in REBALANCE else nullcontext():
            again_at = time.monotonic() + AGAIN_S
            while len(victim.codes) == deaths and time.monotonic() < again_at:
                assert time.monotonic() - started < DEATH_LIMIT_S, f"no tracker died {point} (seed {field.seed})"
                await field.publish(BURST // 3)
                if point in SHUTDOWN:
                    process.send(signal.SIGTERM)
                await asyncio.sleep(NUDGE_S)
    field.over(victim.died_at)
    assert victim.codes[deaths] == -signal.SIGKILL, f"ended with {victim.codes[deaths]} {point} (seed {field.seed})"
    return 1


async def die_at_random(field: Field) -> int:
    """Kill a tracker at any moment, several times."""
    kills = 2
    async with field.publishing():
        for _ in range(kills):
            await asyncio.sleep(field.chance.uniform(0.1, 1.0))
            victim = field.any_tracker()
            await _kill(victim)
            field.over(victim.died_at)
    return kills


async def all_die(field: Field) -> int:
    """Kill all trackers at once."""
    async with field.publishing():
        await asyncio.sleep(field.chance.uniform(0.1, 0.6))
        victims = [*field.trackers.values()]
        await asyncio.gather(*(_kill(victim) for victim in victims))
        field.over(max(victim.died_at for victim in victims))
    return len(victims)


async def _kill(victim: Tracked) -> None:
    deaths = len(victim.codes)
    victim.process.send(signal.SIGKILL)
    await until(lambda: len(victim.codes) > deaths, DEATH_LIMIT_S, "a tracker to die", victim.log)


async def freeze(seconds: float, field: Field) -> int:
    """Freeze a tracker until Kafka has given its partitions away, and let it go on as if nothing had been."""
    victim = field.any_tracker().process
    async with field.publishing(pause_s=0.5):
        await asyncio.sleep(0.5)
        victim.send(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        victim.send(signal.SIGCONT)
        field.over()
        await asyncio.sleep(1)
    return 1


async def freeze_inside(field: Field) -> int:
    """Freeze a tracker inside its transaction, with all its locks, for as long as PostgreSQL lets it."""
    victim = field.any_tracker().process
    arm(field.folder, victim.pid, "after the claims are written", 1, signal.SIGSTOP)
    async with field.publishing(pause_s=0.5):
        stopped = psutil.Process(victim.pid)
        await until(lambda: stopped.status() == psutil.STATUS_STOPPED, DEATH_LIMIT_S, "a tracker to stop", victim.log)
        await asyncio.sleep(FROZEN_LONG_S + 5)
        victim.send(signal.SIGCONT)
        field.over()
    return 1


async def storm(field: Field) -> int:
    """Let trackers come and go faster than the group can settle."""
    async with field.publishing():
        for _ in range(STORM):
            async with field.passing(dies=field.chance.random() < 0.5):
                await asyncio.sleep(field.chance.uniform(1.0, 2.0))
    return STORM


async def replace(field: Field) -> int:
    """Stop a tracker in order, as an upgrade does, and start it again."""
    victim = field.any_tracker()
    async with field.publishing():
        await asyncio.sleep(field.chance.uniform(0.1, 0.6))
        await field.stop(victim.name)
        field.start(victim.name)
        field.over()
    return 1


def _dies(point: str) -> Fault:
    return Fault(f"a tracker is killed {point}", "kill -9", partial(die_at, point), AFTER_A_PROCESS_S)


PROCESS_FAULTS = (
    *map(_dies, POINTS),
    Fault("trackers are killed at any moment", "kill -9", die_at_random, AFTER_A_PROCESS_S),
    Fault("all trackers are killed at once", "kill -9", all_die, AFTER_A_PROCESS_S),
    Fault("a tracker is replaced in order", "SIGTERM", replace, AFTER_A_PROCESS_S),
    Fault("trackers come and go in a storm of rebalances", "rebalance", storm, AFTER_A_STORM_S, runs="in the campaign"),
    Fault("a tracker is frozen and wakes as a zombie", "SIGSTOP", partial(freeze, FROZEN_S)),
    Fault("a tracker is frozen for a minute", "SIGSTOP", partial(freeze, FROZEN_LONG_S), runs="seldom"),
    Fault("a tracker is frozen inside its transaction", "SIGSTOP", freeze_inside, runs="seldom"),
)
