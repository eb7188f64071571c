"""Three brokers that make one real Kafka cluster, each of which can be killed and come back on its data."""

import shutil
import signal
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from confluent_kafka.admin import AdminClient

from infra import devstack, embedded_kafka
from infra.server_process import ServerProcess

NUMBERS = (1, 2, 3)
METADATA_LIMIT_S = 10.0

_HEAP = "256m"


class Cluster:
    """Three nodes, brokers and controllers in one, with three copies of everything, two of which acknowledge.

    They end with this process, and nothing of them is left.
    """

    def __init__(self) -> None:
        ports = devstack.free_ports(2 * len(NUMBERS))
        self._ports = dict(zip(NUMBERS, ports[: len(NUMBERS)], strict=True))
        self._controllers = dict(zip(NUMBERS, ports[len(NUMBERS) :], strict=True))
        self._id = embedded_kafka.new_cluster_id()
        self._jars: list[Path] = []
        # Not under one directory: the guard of each node removes that node's, and no other's under its hands.
        self._directories = {number: Path(tempfile.mkdtemp(prefix=f"claimpath-kafka-{number}-")) for number in NUMBERS}
        self._servers = {number: ServerProcess(f"kafka-{number}", self._directories[number]) for number in NUMBERS}

    def __enter__(self) -> Self:
        with ExitStack() as on_failure:
            on_failure.callback(self._stop)
            self._jars = devstack.prepare()
            # Together: none is ready before two of them have found each other.
            for number in NUMBERS:
                self._launch(number)
            for number in NUMBERS:
                self._wait(number)
            on_failure.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    @property
    def kafka(self) -> str:
        """The bootstrap address: all three."""
        return ",".join(f"127.0.0.1:{port}" for port in self._ports.values())

    def kill(self, number: int) -> None:
        """Kill a node (kill -9)."""
        self._servers[number].stop(signal.SIGKILL)

    def start(self, number: int) -> None:
        """Start a killed node on the data and the ports that it had; return when it answers."""
        self._launch(number)
        self._wait(number)

    @property
    def logs(self) -> list[Path]:
        """What the nodes say."""
        return [server.log for server in self._servers.values()]

    def leaders(self) -> dict[tuple[str, int], int]:
        """Ask Kafka which node leads each partition, those of its own topics too: -1 is none."""
        return {part: leader for part, (leader, _) in self._ask().items()}

    def is_whole(self) -> bool:
        """Ask Kafka whether every node has all of every partition; each has a copy on each."""
        return all(in_sync == {*NUMBERS} for _, in_sync in self._ask().values())

    def leader(self, topic: str, partition: int) -> int:
        """Ask Kafka which node leads a partition: -1 is none."""
        return self._ask()[topic, partition][0]

    def in_sync(self, topic: str, partition: int) -> set[int]:
        """Ask Kafka which nodes have all that is acknowledged of a partition."""
        return self._ask()[topic, partition][1]

    def _ask(self) -> dict[tuple[str, int], tuple[int, set[int]]]:
        # It would say on standard error what was killed on purpose.
        admin = AdminClient({"bootstrap.servers": self.kafka, "log_level": "0"})
        return {
            (name, number): (known.leader, set(known.isrs))
            for name, topic in admin.list_topics(timeout=METADATA_LIMIT_S).topics.items()
            for number, known in topic.partitions.items()
        }

    def _launch(self, number: int) -> None:
        node = embedded_kafka.Node(
            self._ports[number], self._controllers[number], number, self._id, controllers=self._controllers
        )
        directory = self._directories[number]
        command = embedded_kafka.command(self._jars, directory, node, heap=_HEAP, quick_jit=True)
        self._servers[number].launch(command, stop_signal=signal.SIGTERM, remove_after_us=directory)

    def _wait(self, number: int) -> None:
        server = self._servers[number]
        server.wait_until(lambda: embedded_kafka.READY in server.log_since_launch(), devstack.START_LIMIT_S)

    def _stop(self) -> None:
        # Killed, since nothing is to be kept: in order, the last would wait for a quorum to take its leave of.
        ending = [(server, server.begin_stop(signal.SIGKILL)) for server in self._servers.values()]
        for server, family in ending:
            server.finish_stop(family)
        for directory in self._directories.values():
            shutil.rmtree(directory)
