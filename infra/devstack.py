"""One Kafka and one PostgreSQL of our own, for the demo, the tests, the benchmark and `claimpath stack`."""

import json
import os
import random
import secrets
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from infra import embedded_kafka, embedded_postgres
from infra.server_process import ServerError, ServerProcess, only_one

START_LIMIT_S = 90.0
"""How long a server may take to be ready; a small machine that is busy with other things needs some of it."""

_LOCK_LIMIT_S = 2 * START_LIMIT_S
# Below the ports that Linux and macOS give to outgoing connections: a client that retries while its server is down
# could otherwise be given the server's own port, connect to itself and keep the server from coming back.
_PORTS = range(20_000, 30_000)


@dataclass(frozen=True)
class Addresses:
    """What a stack keeps for its whole life, so that a kept one has the same addresses after a restart."""

    kafka_port: int
    controller_port: int
    postgres_port: int
    postgres_password: str


@dataclass(frozen=True)
class ServerStatus:
    """One server of a stack; `address` is None before the first start, `pid` while it does not run."""

    name: str
    address: str | None
    pid: int | None
    log: Path


def _silent(_line: str) -> None:
    """Nobody wants to know."""


def prepare(report: Callable[[str], None] = _silent) -> list[Path]:
    """Download what the servers need, once per user, and check it; `report` gets a line for each slow step."""
    return embedded_kafka.fetch_jars(report)


class Stack:
    """Kafka and PostgreSQL with their data in one directory: the caller's, which is kept, or a temporary one.

    The servers end with this process, even when it is killed, unless `outlive_us`: then they run until some process
    calls `stop` on a Stack of the same directory.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        report: Callable[[str], None] = _silent,
        kafka_heap: str = "512m",
        quick_jit: bool = False,
        shared_buffers: str = "256MB",
        outlive_us: bool = False,
    ) -> None:
        self._temporary = directory is None
        self.directory = Path(tempfile.mkdtemp(prefix="claimpath-")) if directory is None else directory.absolute()
        self._report = report
        self._kafka_heap = kafka_heap
        self._quick_jit = quick_jit
        self._shared_buffers = shared_buffers
        self._outlive_us = outlive_us
        self._jars: list[Path] = []
        self._kafka = ServerProcess("kafka", self.directory)
        self._postgres = ServerProcess("postgres", self.directory)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def kafka(self) -> str:
        """The bootstrap address, host:port."""
        return f"127.0.0.1:{self._addresses().kafka_port}"

    @property
    def database_url(self) -> str:
        """The address of the database, with its password."""
        known = self._addresses()
        user, database = embedded_postgres.USER, embedded_postgres.DATABASE
        return f"postgresql://{user}:{known.postgres_password}@127.0.0.1:{known.postgres_port}/{database}"

    def start(self) -> None:
        """Start what does not run and return when both answer; when one does not, end both and raise ServerError."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with self._alone():
            if not self._outlive_us and (self._kafka.find() or self._postgres.find()):
                raise ServerError(f"the servers of {self.directory} are already running: stop them first")
            with ExitStack() as on_failure:
                on_failure.callback(self._stop)
                self._start()
                on_failure.pop_all()

    def stop(self) -> None:
        """End both servers, by force if need be, whoever started them; a temporary directory is removed."""
        if self.directory.exists():
            with self._alone():
                self._stop()

    def status(self) -> tuple[ServerStatus, ServerStatus]:
        """Kafka's and PostgreSQL's."""
        known = self._file.exists()
        return (
            ServerStatus("kafka", self.kafka if known else None, _pid(self._kafka), self._kafka.log),
            ServerStatus("postgres", self.database_url if known else None, _pid(self._postgres), self._postgres.log),
        )

    def start_kafka(self) -> None:
        """Start Kafka alone, on the data and the port it had."""
        self._launch_kafka()
        self._await_kafka()

    def stop_kafka(self) -> None:
        """Stop Kafka alone, in order."""
        self._kafka.stop(signal.SIGTERM)

    def kill_kafka(self) -> None:
        """Kill Kafka alone (kill -9)."""
        self._kafka.stop(signal.SIGKILL)

    def start_postgres(self) -> None:
        """Start PostgreSQL alone, on the data and the port it had."""
        self._launch_postgres()
        self._await_postgres()

    def stop_postgres(self, mode: signal.Signals = signal.SIGINT) -> None:
        """Stop PostgreSQL alone: SIGINT is its fast shutdown, SIGQUIT the immediate one (a crash with recovery)."""
        self._postgres.stop(mode)

    def kill_postgres(self) -> None:
        """Kill PostgreSQL alone (kill -9)."""
        self._postgres.stop(signal.SIGKILL)

    def _start(self) -> None:
        self._jars = prepare(self._report)
        if not self._file.exists():
            _write_private(self._file, json.dumps(asdict(_choose_addresses())))
        self._report("starting Apache Kafka and PostgreSQL")
        if self._kafka.find() is None:
            self._launch_kafka()
        if self._postgres.find() is None:
            embedded_postgres.create(self.directory, self._addresses().postgres_password, self._report)
            self._launch_postgres()
        self._await_postgres()
        self._await_kafka()

    def _stop(self) -> None:
        kafka, postgres = self._kafka.begin_stop(signal.SIGTERM), self._postgres.begin_stop(signal.SIGINT)
        try:
            self._kafka.finish_stop(kafka)
        finally:
            self._postgres.finish_stop(postgres)
        if self._temporary:
            shutil.rmtree(self.directory)

    def _launch_kafka(self) -> None:
        known = self._addresses()
        jars = self._jars or prepare(self._report)
        command = embedded_kafka.command(
            jars,
            self.directory,
            embedded_kafka.Node(known.kafka_port, known.controller_port),
            heap=self._kafka_heap,
            quick_jit=self._quick_jit,
        )
        self._kafka.launch(
            command, stop_signal=signal.SIGTERM, outlive_us=self._outlive_us, remove_after_us=self._remove_after_us
        )

    def _launch_postgres(self) -> None:
        command = embedded_postgres.command(self.directory, self._addresses().postgres_port, self._shared_buffers)
        self._postgres.launch(
            command,
            stop_signal=signal.SIGINT,
            user=embedded_postgres.system_user(),
            outlive_us=self._outlive_us,
            remove_after_us=self._remove_after_us,
        )

    def _await_kafka(self) -> None:
        self._kafka.wait_until(lambda: embedded_kafka.READY in self._kafka.log_since_launch(), START_LIMIT_S)

    def _await_postgres(self) -> None:
        def is_ready() -> bool:
            pid = _pid(self._postgres)
            return pid is not None and embedded_postgres.is_ready(self.directory, pid)

        self._postgres.wait_until(is_ready, START_LIMIT_S)

    @property
    def _remove_after_us(self) -> Path | None:
        return self.directory if self._temporary else None

    @property
    def _file(self) -> Path:
        return self.directory / "stack.json"

    def _addresses(self) -> Addresses:
        if not self._file.exists():
            raise ServerError(f"the servers of {self.directory} were never started")
        return Addresses(**json.loads(self._file.read_text()))

    def _alone(self) -> AbstractContextManager[None]:
        return only_one(self.directory / ".lock", _LOCK_LIMIT_S, lambda: self._report(f"waiting for {self.directory}"))


def _pid(server: ServerProcess) -> int | None:
    process = server.find()
    return process.pid if process else None


def _choose_addresses() -> Addresses:
    kafka_port, controller_port, postgres_port = free_ports(3)
    return Addresses(kafka_port, controller_port, postgres_port, secrets.token_hex(16))


def free_ports(count: int) -> list[int]:
    """Ports for servers that nobody listens on now; drawn at random so that two that start together rarely meet."""
    found: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise ServerError(f"no {count} free ports between {_PORTS.start} and {_PORTS.stop}")


def _write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
