"""Named points of a tracker at which it can be made to die, or to stop: armed in the running process by a signal.

A process that runs ``listen()`` before anything else reads its folder at SIGUSR1: a file of its pid names the point, at
which time that it is reached it strikes, and the signal that the process then sends to itself.
"""

import asyncio
import functools
import json
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, Final, Literal

from aiokafka import AIOKafkaConsumer
from asyncpg.transaction import Transaction
from faststream.kafka import KafkaBroker

from services import lanes, positions, store, tracker
from services.assignment import Assignment

Owner = type[Any] | ModuleType
Moment = Literal["before", "after", "on its way"]

POINTS: Final[dict[str, tuple[Owner, str, Moment]]] = {
    "after the poll": (tracker.Tracker, "take", "before"),
    "after decoding": (tracker.Tracker, "_hand_over", "before"),
    "before the transaction": (store, "write", "before"),
    "after the positions are locked": (positions, "lock", "after"),
    "after the claims are locked": (store, "_lock_claims", "after"),
    "after the identities are looked up": (store, "_known", "after"),
    "after the events are written": (store, "_write_events", "after"),
    "after the claims are written": (store, "_write_claims", "after"),
    "after the dead letters are written": (positions, "write_dead_letters", "after"),
    "after the gaps are written": (positions, "write_gaps", "after"),
    "after the rollups are written": (store, "write_rollup", "after"),
    "after the positions are advanced": (store, "_advance", "after"),
    "when COMMIT was sent": (Transaction, "commit", "on its way"),
    "after COMMIT": (Transaction, "commit", "after"),
    "after the transaction, before it is noted": (tracker.Tracker, "_written", "before"),
    "before Kafka is told": (AIOKafkaConsumer, "commit", "before"),
    "after Kafka was told": (AIOKafkaConsumer, "commit", "after"),
    "while partitions are taken away": (tracker.Tracker, "on_partitions_revoked", "before"),
    "after partitions were taken away": (tracker.Tracker, "on_partitions_revoked", "after"),
    "while partitions are assigned": (positions, "open_positions", "before"),
    "after the positions were read": (Assignment, "open", "before"),
    "after partitions were assigned": (tracker.Tracker, "on_partitions_assigned", "after"),
    "while it shuts down": (lanes.Lane, "stop", "before"),
    "while it leaves the group": (KafkaBroker, "stop", "before"),
}
REBALANCE: Final = {name for name in POINTS if "partitions" in name or name == "after the positions were read"}
SHUTDOWN: Final = {"while it shuts down", "while it leaves the group"}

_armed: dict[str, Any] = {"point": None, "times": 0, "signal": signal.SIGKILL}


def listen(folder: str) -> None:
    """Make every point strike once it is armed."""
    for name, (owner, attribute, moment) in POINTS.items():
        setattr(owner, attribute, _striking(name, getattr(owner, attribute), moment))

    def arm(_number: int, _frame: FrameType | None) -> None:
        _armed.update(json.loads(_file(Path(folder), os.getpid()).read_text()))

    signal.signal(signal.SIGUSR1, arm)


def arm(folder: Path, pid: int, point: str, times: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Let the process strike itself when the point is reached for this many times from now on."""
    assert point in POINTS, point
    _file(folder, pid).write_text(json.dumps({"point": point, "times": times, "signal": int(number)}))
    os.kill(pid, signal.SIGUSR1)


def _file(folder: Path, pid: int) -> Path:
    return folder / f"{pid}.armed"


def _striking(name: str, original: Callable[..., Any], moment: Moment) -> Callable[..., Any]:
    if not asyncio.iscoroutinefunction(original):

        @functools.wraps(original)
        def at_once(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  (whatever it takes)
            _reached(name)
            return original(*args, **kwargs)

        return at_once

    @functools.wraps(original)
    async def striking(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  (whatever it takes)
        if moment == "on its way" and _armed["point"] == name:
            return await _on_its_way(name, original(*args, **kwargs))
        if moment == "before":
            _reached(name)
        answer = await original(*args, **kwargs)
        if moment == "after":
            _reached(name)
        return answer

    return striking


async def _on_its_way(name: str, call: Awaitable[Any]) -> Any:  # noqa: ANN401  (whatever it answers)
    """Strike when the request has left, and before its answer is read."""
    task = asyncio.ensure_future(call)
    # One turn of the loop writes the request, the next would read the answer.
    await asyncio.sleep(0)
    _reached(name)
    return await task


def _reached(name: str) -> None:
    if _armed["point"] == name:
        _armed["times"] -= 1
        if _armed["times"] <= 0:
            _armed["point"] = None
            os.kill(os.getpid(), _armed["signal"])
