"""Faults of a Kafka of three brokers: one is lost and comes back, and more than one."""

import asyncio
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

from tests.faults.cluster import NUMBERS, Cluster
from tests.faults.fault import AFTER_A_SERVER_S, Fault
from tests.faults.field import Field
from tests.running import until

ELECTED_LIMIT_S = 30
WHOLE_LIMIT_S = 60
ALONE_S = 2.0

_OFFSETS = ("__consumer_offsets", 0)
"""Who leads it coordinates every group."""


def coordinator(field: Field) -> int:
    """Return the broker that coordinates the group."""
    return _cluster(field).leaders()[_OFFSETS]


def leader(field: Field) -> int:
    """Return a broker that leads a partition of ours and, if there is one, does not coordinate the group."""
    leaders = _cluster(field).leaders()
    ours = {broker for (topic, _), broker in leaders.items() if topic in field.topics}
    return field.chance.choice(sorted(ours - {leaders[_OFFSETS]} or ours))


async def lose(which: Callable[[Field], int], field: Field) -> int:
    """Kill a broker, go on with the other two until all is taken, and let it come back."""
    lost = await asyncio.to_thread(which, field)
    async with field.publishing():
        await asyncio.sleep(field.chance.uniform(0.1, 0.6))
        await _lose(field, lost)
        # The lost one is not needed: two have all that is acknowledged, and one of them lets trackers join the group.
        async with field.passing() if which is coordinator else nullcontext():
            await field.all_take()
    await field.caught_up(AFTER_A_SERVER_S)
    async with field.publishing():
        await _come_back(field, lost)
    return 1


async def lose_each(field: Field) -> int:
    """Kill one broker after another, each when the one before has come back."""
    async with field.publishing():
        for number in NUMBERS:
            await _lose(field, number)
            await _come_back(field, number)
    return len(NUMBERS)


async def lose_most(field: Field) -> int:
    """Kill two of three: nobody leads and nothing is acknowledged until one of them is back."""
    cluster = _cluster(field)
    lost = field.chance.sample(NUMBERS, 2)
    async with field.publishing():
        await asyncio.sleep(field.chance.uniform(0.1, 0.6))
        for number in lost:
            await asyncio.to_thread(cluster.kill, number)
        await asyncio.sleep(ALONE_S)
        for number in lost:
            await _come_back(field, number, whole=number == lost[-1])
    return len(lost)


async def _lose(field: Field, number: int) -> None:
    cluster = _cluster(field)

    def others_lead() -> bool:
        return {number, -1}.isdisjoint(cluster.leaders().values())

    await asyncio.to_thread(cluster.kill, number)
    await until(lambda: asyncio.to_thread(others_lead), ELECTED_LIMIT_S, "other brokers to lead")


async def _come_back(field: Field, number: int, *, whole: bool = True) -> None:
    cluster = _cluster(field)
    await asyncio.to_thread(cluster.start, number)
    field.over()
    if whole:
        await until(lambda: asyncio.to_thread(cluster.is_whole), WHOLE_LIMIT_S, "every copy to be whole")


def _cluster(field: Field) -> Cluster:
    cluster = field.servers.cluster
    assert cluster, "this fault needs a cluster"
    return cluster


_fault = partial(Fault, kind="cluster", ground="cluster")

CLUSTER_FAULTS = (
    _fault("the broker that leads a partition is killed and comes back", strike=partial(lose, leader)),
    _fault(
        "the broker that coordinates the group is killed and comes back",
        strike=partial(lose, coordinator),
        runs="seldom",
    ),
    _fault("each broker is killed and comes back", strike=lose_each, runs="seldom"),
    _fault("two of three brokers are killed and come back", strike=lose_most, runs="seldom"),
)
