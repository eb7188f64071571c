"""An event loop whose time is simulated, and processes on it that can be paused, as SIGSTOP does, and killed."""

import asyncio
import contextvars
import selectors
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

STALL_S: Final = 0.002
"""How long the server may be silent, in real time, before it is asked whether it waits for a lock."""

PROCESS: Final = contextvars.ContextVar["Process | None"]("PROCESS", default=None)
"""On whose behalf code runs; None for the world around the processes."""


class Process:
    """What a simulated process owns of the loop: its tasks, and what became due while it was paused."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.paused = False
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self._held: list[tuple[asyncio.Handle, Callable[[], object]]] = []

    def hold(self, handle: asyncio.Handle, callback: Callable[[], object]) -> None:
        """Keep for later what a paused process would do now."""
        self._held.append((handle, callback))

    def pause(self) -> None:
        """Let none of its code run."""
        self.paused = True

    def resume(self, loop: "SimulatedLoop") -> None:
        """Let it do first what it would have done meanwhile, as it does not know that time has passed."""
        self.paused = False
        held, self._held = self._held, []
        for handle, callback in held:
            loop.call_soon(_unless_cancelled, handle, callback)

    def kill(self, loop: "SimulatedLoop") -> None:
        """Let it do nothing any more: whatever it talks to asks whether it is ``alive``."""
        self.alive = False
        self.resume(loop)
        for task in list(self.tasks):
            task.cancel()


class SimulatedLoop(asyncio.SelectorEventLoop):
    """Jumps to the next timer when nothing is ready; while a real server is asked, no time passes."""

    def __init__(self) -> None:
        super().__init__(_Selector(self))
        self._scheduled: list[asyncio.TimerHandle]
        self.now_s = 0.0
        self.at_server = 0
        """Of requests that a real server answers at this moment."""
        self.on_stall: Callable[[], object] = lambda: None
        self.set_task_factory(_new_task)  # type: ignore[arg-type]  # it takes the options of this Python

    def time(self) -> float:
        """Return the simulated seconds."""
        return self.now_s

    def begin_again(self) -> None:
        """Forget what was to come and begin at zero, so that what comes does not depend on what was before."""
        for timer in self._scheduled:
            timer.cancel()
        self._scheduled.clear()
        self.now_s = 0.0

    @contextmanager
    def really(self) -> Iterator[None]:
        """Let no simulated time pass."""
        self.at_server += 1
        try:
            yield
        finally:
            self.at_server -= 1

    def run_in_executor(
        self,
        _executor: object,
        func: Callable[[*Ts], T],
        *args: *Ts,
    ) -> asyncio.Future[T]:
        """Run at once: what asyncpg reads in a thread is in memory here."""
        done: asyncio.Future[T] = self.create_future()
        done.set_result(func(*args))
        return done

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """Run soon, unless on behalf of a paused process."""
        process = PROCESS.get() if context is None else context.get(PROCESS)
        if process is None or not process.paused:
            return super().call_soon(callback, *args, context=context)
        handle = asyncio.Handle(callback, args, self, context)
        process.hold(handle, handle._run)  # noqa: SLF001  (as the loop itself does)
        return handle

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """Run at a simulated time, or when a process that is paused then goes on."""
        process = PROCESS.get() if context is None else context.get(PROCESS)
        if process is None:
            return super().call_at(when, callback, *args, context=context)

        def due() -> None:
            if process.paused:
                within = context or contextvars.copy_context()
                process.hold(timer, lambda: within.run(callback, *args))
            else:
                callback(*args)

        timer = super().call_at(when, due, context=context)
        return timer


def _unless_cancelled(handle: asyncio.Handle, callback: Callable[[], object]) -> None:
    if not handle.cancelled():
        callback()


def _new_task(
    loop: asyncio.AbstractEventLoop,
    coroutine: Coroutine[Any, Any, Any],
    context: contextvars.Context | None = None,
) -> asyncio.Task[Any]:
    process = PROCESS.get() if context is None else context.get(PROCESS)
    task = asyncio.Task(coroutine, loop=loop, context=context)
    if process is not None:
        process.tasks[task] = None
        task.add_done_callback(process.tasks.pop)
    return task


class _Selector(selectors.BaseSelector):
    """Waits for sockets only while a server is asked, else moves the clock on."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop
        self._real = selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout == 0:
            return []  # sockets can wait until nothing is ready: no time passes for those who wait for them
        if self._loop.at_server:
            found = self._real.select(STALL_S)
            if not found:
                self._loop.on_stall()
            return found
        if timeout is None:
            raise RuntimeError("nothing will ever happen again")
        self._loop.now_s = self._loop._scheduled[0].when()  # noqa: SLF001  (added up, the waits would lose digits)
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:  # noqa: ANN401
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:  # noqa: ANN401
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:  # noqa: ANN401
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()
