"""One schedule as it runs: trackers in their places, what goes wrong with them, and how it stands in the end."""

import asyncio
import contextvars
from collections import Counter, defaultdict
from collections.abc import Coroutine, Mapping
from typing import Any, Final, cast

from aiokafka import TopicPartition

from services.settings import Settings
from services.tracker import DONE, STALLED, Tracker
from tests.faults.evidence import Kept, Log, PartitionLog
from tests.faults.schedule import FALL_BACK_LIMIT_S, Action, Schedule
from tests.faults.simulated_client import Client
from tests.faults.simulated_clock import PROCESS, Process, SimulatedLoop
from tests.faults.simulated_connection import Network, StatementFault
from tests.faults.simulated_kafka import Broker, Stored
from tests.faults.simulated_postgres import Server
from tests.faults.simulated_tables import remember, restore

OF_TRACKERS: Final = frozenset({"stop", "kill", "cut the power", "pause", "repeat", "skip", "fail a fetch", "rejoin"})
CLUSTER: Final = "simulated"
RESTART_PAUSE_S: Final = 0.5
STOP_LIMIT_S: Final = 15.0
"""What a tracker that is asked to end may need, as a supervisor grants it."""
CAUGHT_UP_LIMIT_S: Final = 240.0
"""From the end of all faults until the lag is zero; a transaction of one that is gone may be open for a minute."""
LOOK_S: Final = 0.5
UNSEEN_S: Final = 20.0
"""How long the server does not see that a machine lost its power."""


class Place:
    """A place for one tracker, in which a new one is started whenever it ended, as a supervisor does."""

    def __init__(self, world: "World", number: int) -> None:
        self._world = world
        self.number = number
        self.process: Process | None = None
        self.tracker: Tracker | None = None
        self.client: Client | None = None
        self._wanted = True
        self.starts = 0
        self._task = asyncio.create_task(self._supervise())

    async def _supervise(self) -> None:
        while self._wanted:
            self.starts += 1
            self.process = process = Process(f"t{self.number}.{self.starts}")
            life = self._world.loop.create_task(self._live(process.name), context=within(process))
            await asyncio.wait([life])
            self._note_end(process, life)
            await self._bury(process)
            if self._wanted:
                await asyncio.sleep(RESTART_PAUSE_S)

    async def _live(self, name: str) -> int:
        world = self._world
        self.tracker = Tracker(world.settings, world.server.engine, CLUSTER)
        self.client = Client(world.broker, self.tracker, name, world.settings.batch_records * world.settings.lanes)
        self.tracker.subscriber = self.client
        return await self.tracker.run(self.client)  # type: ignore[arg-type]

    def _note_end(self, process: Process, life: asyncio.Task[int]) -> None:
        if not process.alive:
            return
        error = None if life.cancelled() else life.exception()
        code = "cancelled" if life.cancelled() else repr(error) if error else life.result()
        self._world.note(process, f"ended with {code}")
        if code not in (DONE, STALLED):
            self._world.violations.append(f"{process.name} ended with {code}")
        if code == STALLED:
            self._world.fired["ended itself"] += 1

    async def _bury(self, process: Process) -> None:
        process.kill(self._world.loop)
        while process.tasks:
            await asyncio.wait(list(process.tasks))
        self._world.network.cut(process)
        assert self.tracker is not None
        for lane in self.tracker._lanes:  # noqa: SLF001  (SQLAlchemy complains of what nobody closes)
            await lane.close()
        self.tracker = self.client = self.process = None

    def kill(self, unseen_s: float = 0) -> None:
        """End the process in the middle of whatever it does."""
        if self.process:
            self._world.network.cut(self.process, unseen_s)
            self.process.kill(self._world.loop)

    async def stop(self) -> None:
        """Ask the process to end, for good; it must within its limit."""
        self._wanted = False
        while self.process and self.process.paused:  # noqa: ASYNC110  (nobody tells when it goes on)
            await asyncio.sleep(LOOK_S)
        if self.process and self.tracker and self.process.alive:
            process = self.process
            within(process).run(self.tracker.end, DONE, "asked to")
            done, _ = await asyncio.wait([self._task], timeout=STOP_LIMIT_S + 1)
            while not done and process.paused:
                done, _ = await asyncio.wait([self._task], timeout=STOP_LIMIT_S + 1)
            if not done and process.alive:
                self._world.violations.append(f"{process.name} did not end within {STOP_LIMIT_S:.0f} s")
                self.kill()
        await asyncio.wait([self._task])


class World:
    """Owns what one schedule runs in."""

    def __init__(self, schedule: Schedule, server: Server, settings: Settings) -> None:
        self.loop = cast("SimulatedLoop", asyncio.get_running_loop())
        self.schedule = schedule
        self.server = server
        self.settings = settings.model_copy(update={"lanes": schedule.lanes, "batch_records": schedule.batch_records})
        self.broker = Broker(
            [each for each in schedule.partitions if each.partition < schedule.at_first], schedule.seed
        )
        self.broker.on_commit = self._check_committed
        self.network = Network(server, schedule.faults, self._strike, self.note)
        server.lend = self.network.lend
        server.begin(schedule.seed)
        self.places: dict[int, Place] = {}
        self._ever: list[Place] = []
        """With those that are asked to end."""
        self.anew = False
        self.fell_back = False
        self._held: defaultdict[TopicPartition, list[Stored | None]] = defaultdict(list)
        self.violations: list[str] = []
        self.fired: Counter[str] = Counter()
        self.lines: list[str] = []
        self._background: set[asyncio.Task[None]] = set()

    def note(self, process: Process | None, *words: object) -> None:
        """Write a line of the trace."""
        name = process.name if process else "world"
        self.lines.append(f"{self.loop.time():.6f} {name} {' '.join(map(str, words))}")

    # --- what goes wrong ---

    def _strike(self, process: Process, fault: StatementFault) -> None:
        place = next(place for place in self._ever if place.process is process)
        if fault.kind.startswith("killed"):
            place.kill()
        else:
            self._pause(process, fault.seconds)

    def _pause(self, process: Process, seconds: float) -> None:
        process.pause()
        self.loop.call_later(seconds, self._resume, process, context=contextvars.Context())

    def _resume(self, process: Process) -> None:
        if process.alive and process.paused:
            process.resume(self.loop)

    async def act(self, action: Action) -> None:
        """Do what the schedule says, where it can be done."""
        self.note(None, action.what, action.which)
        place = self.places.get(action.which)
        if action.what == "start":
            fired = place is None
            if fired:
                self._open(action.which)
        elif action.what in OF_TRACKERS:
            fired = place is not None and self._act_on_tracker(place, action)
        else:
            fired = await self._act_on_servers(action)
        self.fired[action.what] += fired

    def _open(self, number: int) -> None:
        self.places[number] = Place(self, number)
        self._ever.append(self.places[number])

    def _act_on_tracker(self, place: Place, action: Action) -> bool:
        if action.what == "stop":
            del self.places[place.number]
            self._later(place.stop())
            return True
        if place.process is None or place.client is None:
            return False
        match action.what:
            case "kill":
                place.kill()
            case "cut the power":
                place.kill(UNSEEN_S)
            case "pause":
                self._pause(place.process, action.seconds)
            case "repeat":
                place.client.go_back(1 + int(action.seconds))
            case "skip":
                place.client.skipping = True
            case "fail a fetch":
                place.client.failing_s = action.seconds
            case "rejoin":
                place.client.lose_place()
        return True

    async def _act_on_servers(self, action: Action) -> bool:
        partition = self.schedule.partitions[action.which % len(self.schedule.partitions)]
        if action.what == "add partitions":
            return self.broker.add([each for each in self.schedule.partitions if each not in self.broker.logs])
        if partition not in self.broker.logs:
            return False
        match action.what:
            case "publish":
                self._held[partition] += action.entries
                await self._publish()
            case "make anew":
                return await self._make_anew(partition.topic)
            case "truncate":
                self.broker.truncate(partition, self.broker.logs[partition].end - int(action.seconds))
            case "postgres falls back":
                if self.anew:
                    return False
                self._later(self._fall_back(action.seconds))
            case "postgres away":
                self.network.away = True
                self.loop.call_later(action.seconds, setattr, self.network, "away", False)
            case "kafka away":
                self.broker.away = True
                self.loop.call_later(action.seconds, setattr, self.broker, "away", False)
        return True

    async def _check_committed(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Hold what Kafka is told against PostgreSQL at that moment."""
        rows = await self.server.tell(
            lambda owner: owner.fetch("SELECT topic, partition, max(next_offset) FROM position GROUP BY 1, 2")
        )
        done = {TopicPartition(topic, partition): offset for topic, partition, offset in rows}
        for partition, offset in offsets.items():
            self.fired["commit to Kafka"] += 1
            self.note(None, "committed", partition.topic, partition.partition, offset)
            if offset > done.get(partition, 0) and not self.fell_back:
                self.violations.append(f"Kafka was told {offset} of {partition}, PostgreSQL has {done.get(partition)}")

    async def _fall_back(self, seconds: float) -> None:
        """Remember what PostgreSQL has now, and be back there in a while, as a replica that lagged and is promoted."""
        self.fell_back = True
        await self.server.tell(remember)
        await asyncio.sleep(min(seconds, FALL_BACK_LIMIT_S))
        self.network.cut_all()
        self.server.end_what_is_late()
        await self.server.tell(restore)
        self.note(None, "fell back")

    async def _make_anew(self, topic: str) -> bool:
        """Make a topic anew, where all of it was read: whoever does it earlier loses what was not."""
        behind = await self.behind()
        if self.fell_back or any(partition.topic == topic for partition in behind):
            return False
        self.broker.make_anew(topic)
        self.anew = True
        return True

    async def _publish(self) -> None:
        """Publish what waits; to a topic made anew only once PostgreSQL knows of it.

        Nothing tells a consumer of a new topic but that it ends below the consumer's position: filled up again before
        anyone looks, it passes for the old one.
        """
        waiting = {partition: entries for partition, entries in self._held.items() if entries}
        unknown = await self._unknown() if self.anew and waiting else set()
        for partition, entries in waiting.items():
            if partition not in unknown:
                self.broker.append(partition, entries)
                del self._held[partition]

    async def _unknown(self) -> set[TopicPartition]:
        done = await self._positions()
        return {
            partition
            for partition, log in self.broker.logs.items()
            if log.generation > 1 and (*partition, log.generation) not in done
        }

    async def _positions(self) -> dict[tuple[str, int, int], int]:
        rows = await self.server.tell(
            lambda owner: owner.fetch("SELECT topic, partition, generation, next_offset FROM position")
        )
        return {(topic, partition, generation): offset for topic, partition, generation, offset in rows}

    # --- how it stands ---

    async def behind(self) -> list[TopicPartition]:
        """Return the partitions of which PostgreSQL has not all."""
        done = await self._positions()
        return [
            partition
            for partition, log in self.broker.logs.items()
            if self._held[partition] or done.get((*partition, log.generation), -1) < log.end
        ]

    async def heal(self) -> None:
        """End all faults and wait until nothing is behind; what stands at the end must come back by itself."""
        while self._background:
            await asyncio.wait(list(self._background))
        self.note(None, "heals")
        self.network.stop_failing()
        self.broker.away = False
        self.broker.unreadable.clear()
        for place in self.places.values():
            if place.process:
                self._resume(place.process)
        if not self.places:
            self._open(-1)
        limit_s = self.loop.time() + CAUGHT_UP_LIMIT_S
        while behind := await self.behind():
            await self._publish()
            if self.loop.time() > limit_s:
                self.violations.append(f"{len(behind)} partitions are still behind {CAUGHT_UP_LIMIT_S:.0f} s later")
                break
            await asyncio.sleep(LOOK_S)
        self.note(None, "caught up")

    async def end(self) -> None:
        """Stop what runs."""
        for place in list(self.places.values()):
            self._later(place.stop())
        while self._background:
            await asyncio.wait(list(self._background))
        self.broker.close()
        self.server.end_what_is_late()

    def all_fired(self) -> Counter[str]:
        """Return how often each thing happened."""
        self.fired["rebalance"] += self.broker.rebalances
        self.fired["record skipped"] += self.broker.skipped
        self.fired["fetch failed"] += self.broker.failed_fetches
        self.fired["lock wait"] += self.server.lock_waits
        return self.fired + self.network.fired

    def log(self) -> Log:
        """Return Kafka's log as the auditor wants it."""
        logs = [*self.broker.old_logs, *self.broker.logs.items()]
        return {
            (partition.topic, partition.partition, log.generation): PartitionLog(
                log.start,
                log.end,
                [
                    Kept(offset, stored.record.key, stored.record.value, stored.record.headers)
                    for offset, stored in enumerate(log.entries)
                    if stored
                ],
            )
            for partition, log in logs
        }

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def within(process: Process) -> contextvars.Context:
    """Return a context in which code runs on behalf of a process."""
    context = contextvars.copy_context()
    context.run(PROCESS.set, process)
    return context
