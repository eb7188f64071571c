"""A process of its own for what is measured, that tells when its clock starts and stops and ends with its parent."""

import asyncio
import os
import threading
from collections.abc import Callable
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from typing import Any, Final, NamedTuple

import psutil  # type: ignore[import-untyped]

START_LIMIT_S: Final = 60.0
WORK_LIMIT_S: Final = 600.0
END_LIMIT_S: Final = 30.0

_METHOD: Final = get_context("spawn")  # a fork would share the parent's event loop


class Spent(NamedTuple):
    """What a measurement cost; CPU seconds of the measured process, of PostgreSQL and of Kafka."""

    seconds: float
    cpu_s: float
    postgres_cpu_s: float
    kafka_cpu_s: float
    told: dict[str, float]
    """What the process told besides."""


class Clock:
    """The child's end: to be started once and stopped once."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def start(self) -> None:
        """Let the parent read the servers' CPU time now."""
        self._pipe.send(None)

    def stop(self, seconds: float, cpu_s: float, told: dict[str, float]) -> None:
        """Tell what was measured."""
        self._pipe.send((seconds, cpu_s, told))


async def measure(
    servers: dict[str, int],
    target: Callable[..., None],
    *arguments: Any,  # noqa: ANN401  (the target's own)
) -> Spent:
    """Run ``target(clock, *arguments)`` in a process of its own; ``servers`` are the pids of postgres and kafka."""
    ours, theirs = _METHOD.Pipe()
    process = _METHOD.Process(target=_run, args=(theirs, target, arguments), daemon=True)
    process.start()
    theirs.close()
    try:
        await _receive(ours, START_LIMIT_S)
        before = {name: cpu_s(pid) for name, pid in servers.items()}
        seconds, own_cpu_s, told = await _receive(ours, WORK_LIMIT_S)
        spent = {name: cpu_s(pid) - before[name] for name, pid in servers.items()}
        await asyncio.to_thread(process.join, END_LIMIT_S)
        if process.exitcode != 0:
            raise RuntimeError(f"{target.__module__} ended with {process.exitcode}")
    finally:
        process.kill()
    return Spent(seconds, own_cpu_s, spent["postgres"], spent["kafka"], told)


def cpu_s(pid: int) -> float:
    """Return the CPU seconds of a server: of its process, its children, and those of them that ended."""
    server = psutil.Process(pid)
    times = server.cpu_times()
    # Of children that ended the parent's own count tells, where the system keeps one.
    total: float = times.user + times.system + getattr(times, "children_user", 0) + getattr(times, "children_system", 0)
    for child in server.children():
        try:
            child_times = child.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += child_times.user + child_times.system
    return total


async def _receive(pipe: Connection, limit_s: float) -> Any:  # noqa: ANN401  (what was sent)
    if not await asyncio.to_thread(pipe.poll, limit_s):
        raise TimeoutError(f"no word from the measured process for {limit_s:.0f} s")
    return pipe.recv()


def _run(pipe: Connection, target: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    target(Clock(pipe), *arguments)


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent
    parent.join()
    os._exit(1)
