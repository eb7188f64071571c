"""A PostgreSQL on a disk of its own that a test can fill and free again."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from errno import ENOSPC
from pathlib import Path
from typing import Final, Self

from infra import devstack, embedded_postgres
from infra.server_process import ServerProcess

SIZE_MB: Final = 200
MOUNT_LIMIT_S: Final = 10.0

_BLOCK: Final = 4096
_MANY_BLOCKS: Final = 256 * _BLOCK
# The write-ahead log must leave room for the rest, and be filled again soon.
_SETTINGS: Final = ("-c", "max_wal_size=64MB", "-c", "min_wal_size=32MB")


class MayNotMount(Exception):
    """Nobody may mount a disk in memory here, or this user may not."""


class SmallDisk:
    """A PostgreSQL whose tables lie on a disk of SIZE_MB in memory, and its write-ahead log too or elsewhere.

    On a full disk a table that must grow is refused (53100), and the server goes on. A log that must grow ends every
    connection, and as a rule the server, which cannot recover without it: `start` brings it back once there is room.
    Entering it raises MayNotMount where that is so.
    """

    def __init__(self, *, log_elsewhere: bool) -> None:
        self._log_elsewhere = log_elsewhere
        self._directory = Path(tempfile.mkdtemp(prefix="claimpath-disk-"))
        self._disk = self._directory / "disk"
        self._ballast = self._disk / "ballast"
        self._server = ServerProcess("postgres", self._directory)
        self._password = secrets.token_hex(16)
        (self._port,) = devstack.free_ports(1)

    def __enter__(self) -> Self:
        with ExitStack() as on_failure:
            on_failure.callback(self._remove)
            _mount(self._disk)
            embedded_postgres.create(self._disk, self._password, lambda _: None)
            if self._log_elsewhere:
                log = self._disk / "postgres" / "pg_wal"
                elsewhere = self._directory / log.name
                subprocess.run(["mv", log, elsewhere], check=True)  # unlike Python's, it keeps the owner
                log.symlink_to(elsewhere)
            self.start()
            on_failure.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    @property
    def database_url(self) -> str:
        """The address of the database, with its password."""
        user, database = embedded_postgres.USER, embedded_postgres.DATABASE
        return f"postgresql://{user}:{self._password}@127.0.0.1:{self._port}/{database}"

    @property
    def log(self) -> Path:
        """What the server says."""
        return self._server.log

    @property
    def is_running(self) -> bool:
        """Whether there is a server; one that recovers refuses connections for a while."""
        return self._server.find() is not None

    def fill(self) -> None:
        """Leave no block free."""
        with self._ballast.open("ab", buffering=0) as ballast:
            for size in (_MANY_BLOCKS, _BLOCK):
                _write_until_full(ballast.fileno(), bytes(size))

    def free(self) -> None:
        """Give back what `fill` took."""
        self._ballast.unlink(missing_ok=True)

    def start(self) -> None:
        """Start the server if it has ended; return when it answers."""
        if not self.is_running:
            self._server.stop(signal.SIGQUIT)  # what is left of one that ended by itself
            command = embedded_postgres.command(self._disk, self._port, "32MB")
            self._server.launch(
                [*command, *_SETTINGS],
                stop_signal=signal.SIGINT,
                user=embedded_postgres.system_user(),
                remove_after_us=self._directory,
            )
        self._server.wait_until(self._is_ready, devstack.START_LIMIT_S)

    def _is_ready(self) -> bool:
        process = self._server.find()
        return process is not None and embedded_postgres.is_ready(self._disk, process.pid)

    def _remove(self) -> None:
        self._server.stop(signal.SIGQUIT)
        if self._disk.is_mount():
            subprocess.run(["umount", self._disk], check=True, timeout=MOUNT_LIMIT_S)
        shutil.rmtree(self._directory)


def _mount(disk: Path) -> None:
    disk.mkdir()
    if sys.platform != "linux" or os.geteuid() != 0:
        raise MayNotMount("only root may, on Linux")
    options = f"size={SIZE_MB}m,mode=755"
    try:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "claimpath", disk],
            check=True,
            timeout=MOUNT_LIMIT_S,
            capture_output=True,
            text=True,
        )
    except subprocess.CalledProcessError as refused:
        raise MayNotMount(refused.stderr.strip()) from refused


def _write_until_full(descriptor: int, data: bytes) -> None:
    try:
        while True:
            os.write(descriptor, data)
    except OSError as error:
        if error.errno != ENOSPC:
            raise
