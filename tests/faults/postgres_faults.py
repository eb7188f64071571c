"""Faults of PostgreSQL and of the network before it."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import psutil  # type: ignore[import-untyped]

from infra.devstack import Stack
from tests.faults.fault import Fault, Runs
from tests.faults.field import Field
from tests.faults.proxy import Proxy
from tests.running import until

AWAY_S = 2.0
LATENCY_S = 0.05
SLOW_BYTES_PER_S = 200_000
HELD_S = 3.0
BLACK_S = 20.0
COMMIT_LIMIT_S = 20
TIMES = 3

_WAITING = "SELECT count(*) FROM pg_locks WHERE relation = 'claim'::regclass AND NOT granted"


async def restart(stop: signal.Signals, field: Field) -> int:
    """Stop PostgreSQL under the trackers and start it again after a while."""
    async with field.publishing():
        await asyncio.sleep(field.chance.uniform(0.1, 0.6))
        await asyncio.to_thread(field.stack.stop_postgres, stop)
        await asyncio.sleep(field.chance.uniform(0, AWAY_S))
        await asyncio.to_thread(field.stack.start_postgres)
        field.over()
    return 1


async def terminate(field: Field) -> int:
    """Terminate the trackers' connections at random moments."""
    ended = 0
    async with field.publishing():
        for _ in range(TIMES):
            await asyncio.sleep(field.chance.uniform(0.05, 0.5))
            found = await field.sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'claimpath-tracker'"
            )
            ended += len(found)
        field.over()
    return ended


async def hold_locks(field: Field) -> int:
    """Hold a lock against everybody who writes, as a careless migration does; say how many waited for it."""
    async with field.publishing():
        await asyncio.sleep(0.2)
        async with field.connection() as owner, owner.transaction():
            await owner.execute("LOCK TABLE claim IN ACCESS EXCLUSIVE MODE")
            await asyncio.sleep(HELD_S)
            waiting: int = await owner.fetchval(_WAITING)
        field.over()
    return waiting


async def freeze(field: Field) -> int:
    """Let PostgreSQL keep its connections and say nothing, as a host does that swaps."""
    async with field.publishing(pause_s=0.5):
        await asyncio.sleep(0.3)
        with frozen(field.stack):
            await asyncio.sleep(HELD_S)
        field.over()
    return 1


@contextmanager
def frozen(stack: Stack) -> Iterator[None]:
    """Stop PostgreSQL's processes where they are."""
    _, server = stack.status()
    first = psutil.Process(server.pid)
    family = [first, *first.children(recursive=True)]
    for process in family:
        process.suspend()
    try:
        yield
    finally:
        for process in family:
            process.resume()


async def disturb(which: str, act: Callable[[Proxy], None], seconds: float, field: Field) -> int:
    """Let the network do something for a while; say how often it really did."""
    proxy: Proxy = getattr(field, which)
    before = proxy.fired.total()
    async with field.publishing():
        await asyncio.sleep(field.chance.uniform(0.1, 0.4))
        act(proxy)
        await asyncio.sleep(seconds)
        fired = proxy.fired.total() - before
        proxy.heal()
        field.over()
    return fired


async def lose_commit(act: Callable[[Proxy, int], None], field: Field) -> int:
    """Lose a COMMIT, or the answer to one."""
    before = field.postgres.fired.total()
    act(field.postgres, field.chance.randint(1, TIMES))
    async with field.publishing():
        await until(lambda: field.postgres.fired.total() > before, COMMIT_LIMIT_S, "a COMMIT to be lost")
        field.over()
    field.postgres.heal()
    return field.postgres.fired.total() - before


def be_late(proxy: Proxy) -> None:
    """Delay everything."""
    proxy.latency_s = LATENCY_S


def be_slow(proxy: Proxy) -> None:
    """Let little through."""
    proxy.bytes_per_s = SLOW_BYTES_PER_S


def refuse_and_cut(proxy: Proxy) -> None:
    """Be away, as a server that was stopped."""
    proxy.refuse()
    proxy.cut()


def network(which: str, name: str) -> tuple[Fault, ...]:
    """Return what a network does to those who speak to a server."""
    kind = f"network to {name}"

    def fault(
        what: str, act: Callable[[Proxy], None], seconds: float, *, runs: Runs = "always", harmless: bool = False
    ) -> Fault:
        return Fault(
            f"the network to {name} {what}",
            kind,
            partial(disturb, which, act, seconds),
            runs=runs,
            counts_hold=harmless,
        )

    return (
        fault("is late", be_late, AWAY_S, runs="in the campaign", harmless=True),
        fault("is slow", be_slow, AWAY_S, runs="in the campaign", harmless=True),
        fault("closes every connection", Proxy.cut, 0.2),
        fault("resets every connection", Proxy.reset, 0.2),
        fault("refuses for a while", refuse_and_cut, AWAY_S),
        fault(
            "swallows everything for a while",
            Proxy.black_hole,
            AWAY_S,
            runs="in the campaign" if which == "postgres" else "always",
        ),
        fault("swallows everything for long", Proxy.black_hole, BLACK_S, runs="seldom"),
    )


POSTGRES_FAULTS = (
    Fault("PostgreSQL is stopped at once and started", "PostgreSQL", partial(restart, signal.SIGQUIT)),
    Fault("PostgreSQL is killed and started", "PostgreSQL", partial(restart, signal.SIGKILL)),
    Fault(
        "PostgreSQL is stopped in order and started",
        "PostgreSQL",
        partial(restart, signal.SIGINT),
        runs="in the campaign",
    ),
    Fault("PostgreSQL is frozen for seconds", "PostgreSQL", freeze, counts_hold=True),
    Fault("connections to PostgreSQL are terminated at random", "PostgreSQL", terminate),
    Fault("a lock is held against all who write", "PostgreSQL", hold_locks, counts_hold=True),
    Fault("a COMMIT is lost on its way", "network to PostgreSQL", partial(lose_commit, Proxy.cut_at_commit)),
    Fault(
        "a COMMIT is done and its answer lost", "network to PostgreSQL", partial(lose_commit, Proxy.cut_after_commit)
    ),
    *network("postgres", "PostgreSQL"),
)
