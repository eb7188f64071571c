"""A TCP proxy between a real client and a real server that does to their connections what bad networks do.

It runs in a thread with a loop of its own, so that it goes on while a test blocks; every method may be called from any
thread and has taken effect when it returns. Faults are for new connections and for those that there are.
"""

import asyncio
import socket
import struct
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from infra.devstack import free_ports
from tests.faults.wire import (
    AFTER_COMMIT,
    AT_COMMIT,
    ConnectionLost,
    Conversation,
    Kafka,
    Losses,
    Speaks,
)

CONTROL_LIMIT_S = 10.0
"""How long the proxy may take to do what it is told."""
CONNECT_LIMIT_S = 5.0
CLOSE_LIMIT_S = 5.0
"""How long a side may take to read what was left for it when the other ended."""

LATENCY, SLOW, CUT, RESET, REFUSE, BLACK_HOLE = "latency", "slow", "cut", "reset", "refuse", "black hole"

_HOST = "127.0.0.1"
_CHUNK = 1 << 16
_CHUNKS_UNDER_WAY = 64
_TICK_S = 0.02
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER, on, for no time


class Proxy:
    """A listener, the connections that came by it, and the faults that they suffer."""

    def __init__(self, target: str, speaks: Speaks) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._speaks = speaks
        (self.port,) = free_ports(1)
        self.address = f"{_HOST}:{self.port}"
        self.latency_s = 0.0
        """How long each chunk takes in each direction; it costs no throughput."""
        self.bytes_per_s: int | None = None
        """How much goes through each connection in each direction; None is as much as comes."""
        self.is_black_hole = False
        self._losses = Losses()
        self._connections: set[_Connection] = set()
        self._listener: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy of {target}", daemon=True)

    @property
    def fired(self) -> Counter[str]:
        """How often each fault happened: to connections (cut, reset), chunks of data (latency, slow, black hole),
        messages (commits, answers) or to the listener (refuse).
        """
        return self._losses.fired

    def cut(self) -> None:
        """Close all connections in order (FIN), as a server does that is stopped."""
        self._do(self._end_all(CUT))

    def reset(self) -> None:
        """Reset all connections (RST), as a server does that was killed with data unread."""
        self._do(self._end_all(RESET))

    def refuse(self) -> None:
        """Stop listening: who connects is refused; the connections that there are stay."""
        self._do(self._refuse())

    def listen(self) -> None:
        """Listen again."""
        self._do(self._listen())

    def black_hole(self) -> None:
        """Accept connections and swallow all that is said, the ends of connections too, in both directions."""
        self.is_black_hole = True

    def cut_at_commit(self, nth: int = 1) -> None:
        """Reset the connection of the nth COMMIT from now on instead of passing it on: it does not happen."""
        self._do(self._arm(AT_COMMIT, nth))

    def cut_after_commit(self, nth: int = 1) -> None:
        """Reset the connection of the nth COMMIT from now on when it has succeeded, and deliver no answer."""
        self._do(self._arm(AFTER_COMMIT, nth))

    def drop_answers(self, kind: int) -> None:
        """Lose the answers to this kind of Kafka's requests, and what comes after them on the same connection."""
        self._losses.answers.add(kind)

    def heal(self) -> None:
        """End all faults; connections of which something was swallowed cannot go on and are reset."""
        self._do(self._heal())

    async def start(self) -> None:
        """Listen."""
        self._thread.start()
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._listen(), self._loop))

    async def stop(self) -> None:
        """End the listener, the connections and the thread."""
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._stop(), self._loop))
        self._loop.call_soon_threadsafe(self._loop.stop)
        await asyncio.to_thread(self._thread.join, CONTROL_LIMIT_S)
        self._loop.close()

    def _do(self, what: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(CONTROL_LIMIT_S)

    async def _arm(self, fault: str, nth: int) -> None:
        self._losses.commits[fault] = nth

    async def _listen(self) -> None:
        if self._listener is None:
            self._listener = await asyncio.start_server(self._serve, _HOST, self.port, limit=_CHUNK)

    async def _refuse(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            self.fired[REFUSE] += 1

    async def _end(self, ending: list["_Connection"], *, by_reset: bool) -> None:
        for connection in ending:
            connection.end(by_reset=by_reset)
        if ending:
            await asyncio.wait([connection.task for connection in ending])

    async def _end_all(self, fault: str) -> None:
        ending = [*self._connections]
        self.fired[fault] += len(ending)
        await self._end(ending, by_reset=fault == RESET)

    async def _heal(self) -> None:
        self.latency_s, self.bytes_per_s, self.is_black_hole = 0.0, None, False
        self._losses.commits.clear()
        self._losses.answers.clear()
        await self._end([each for each in self._connections if each.is_lost], by_reset=True)
        await self._listen()

    async def _stop(self) -> None:
        if self._listener is not None:
            self._listener.close()
        await self._end([*self._connections], by_reset=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(self, reader, writer)
        self._connections.add(connection)
        try:
            await connection.run(self._target, self._speaks(self._losses))
        except asyncio.CancelledError:
            pass  # by `end`; asyncio 3.11 logs an error for a handler that ends as cancelled
        finally:
            self._connections.discard(connection)


class _Connection:
    """A client's connection, and ours to the server on its behalf."""

    def __init__(self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self.task = task
        self.is_lost = False
        """Something of it was swallowed, and what came after would make no sense: all is swallowed until it ends."""
        self._proxy = proxy
        self._client = reader
        self._writers = [writer]

    def end(self, *, by_reset: bool) -> None:
        """End both sides now; what is under way is not delivered."""
        self._close(by_reset=by_reset)
        self.task.cancel()

    async def run(self, target: tuple[str, int], said: Conversation) -> None:
        """Carry what is said until a side ends the connection or a fault does, and end it for both in the same way."""
        by_reset = False
        try:
            if self._swallows():
                while await self._client.read(_CHUNK):
                    self._swallows()
                return
            server, to_server = await asyncio.wait_for(asyncio.open_connection(*target, limit=_CHUNK), CONNECT_LIMIT_S)
            self._writers.append(to_server)
            async with asyncio.TaskGroup() as group:
                for source, sink, passing in (
                    (self._client, to_server, said.from_client),
                    (server, self._writers[0], said.from_server),
                ):
                    under_way: _UnderWay = asyncio.Queue(_CHUNKS_UNDER_WAY)
                    group.create_task(self._take(source, passing, under_way))
                    group.create_task(self._deliver(under_way, sink))
        except* EOFError:
            pass
        except* (OSError, ConnectionLost):
            by_reset = True
        finally:
            self._close(by_reset=by_reset)

    async def _take(
        self, source: asyncio.StreamReader, passing: Callable[[bytes], bytes], under_way: "_UnderWay"
    ) -> None:
        while True:
            data = await source.read(_CHUNK)
            if self._swallows():
                if not data:
                    await asyncio.Event().wait()  # the other side does not hear of the end either
                continue
            passed = passing(data)
            if passed and self._proxy.latency_s:
                self._proxy.fired[LATENCY] += 1
            if passed or not data:
                await under_way.put((asyncio.get_running_loop().time() + self._proxy.latency_s, passed))
            if not data:
                return

    async def _deliver(self, under_way: "_UnderWay", sink: asyncio.StreamWriter) -> None:
        while True:
            due, data = await under_way.get()
            await asyncio.sleep(due - asyncio.get_running_loop().time())
            if not data:
                sink.close()
                await asyncio.wait_for(sink.wait_closed(), CLOSE_LIMIT_S)
                raise EOFError
            left = memoryview(data)
            while left:
                pace = self._proxy.bytes_per_s
                now = left if pace is None else left[: max(1, int(pace * _TICK_S))]
                sink.write(now)
                await sink.drain()
                if pace is not None:
                    self._proxy.fired[SLOW] += 1
                    await asyncio.sleep(len(now) / pace)
                left = left[len(now) :]

    def _swallows(self) -> bool:
        """Whether what just came is swallowed."""
        self.is_lost = self.is_lost or self._proxy.is_black_hole
        if self.is_lost:
            self._proxy.fired[BLACK_HOLE] += 1
        return self.is_lost

    def _close(self, *, by_reset: bool) -> None:
        for writer in self._writers:
            if by_reset and not writer.is_closing():
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            writer.transport.abort()  # without the option this is a FIN, and our own buffer is thrown away


# When each chunk is to be delivered; the empty one is the end.
_UnderWay = asyncio.Queue[tuple[float, bytes]]


@asynccontextmanager
async def proxied(target: str, speaks: Speaks) -> AsyncIterator[Proxy]:
    """Lend a proxy before a server at host:port that speaks this protocol, such as PostgreSQL."""
    proxy = Proxy(target, speaks)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()


@asynccontextmanager
async def proxied_kafka(bootstrap: str) -> AsyncIterator[list[Proxy]]:
    """Lend a proxy before each broker; whoever comes through one is sent on through the others, and never around."""
    ports: dict[int, int] = {}
    async with AsyncExitStack() as stack:
        proxies = []
        for broker in bootstrap.split(","):
            proxy = await stack.enter_async_context(proxied(broker, lambda losses: Kafka(losses, ports)))
            ports[int(broker.rpartition(":")[2])] = proxy.port
            proxies.append(proxy)
        yield proxies
