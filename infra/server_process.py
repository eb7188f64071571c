"""A server as an operating-system process: started behind a guard, found by its pid file, ended without leftovers.

Run as a script this file *is* the guard: a small process between us and the server that stops the server as soon as we
are gone, however we went. It needs no thread or signal of ours, so it works after kill -9 and on every Unix.
"""

import contextlib
import ctypes
import fcntl
import functools
import os
import pwd
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import psutil  # type: ignore[import-untyped]

STOP_LIMIT_S = 15.0
"""How long a server may take to end after its stop signal, before it is killed."""

KILL_LIMIT_S = 5.0
"""How long the operating system may take to end a killed process."""

_POLL_S = 0.02
_SAME_START_TOLERANCE_S = 2.0  # the start time is derived from the wall clock, which may be stepped
_LOG_TAIL_LINES = 15
_PR_SET_PDEATHSIG = 1
_DISMISSED = b"."
# All of our environment that a server gets: no stray PGDATA or JAVA_TOOL_OPTIONS may change it, no secret reach it.
_ENVIRONMENT = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


class ServerError(Exception):
    """An embedded server could not be prepared, started or stopped; the message says which, why and where to look."""


class ServerProcess:
    """A server with its files `NAME.pid` and `NAME.log` in a directory, where any process may find and end it."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.log = directory / f"{name}.log"
        self._pid_file = directory / f"{name}.pid"
        self._log_start = 0
        self._guard: subprocess.Popen[bytes] | None = None

    def launch(
        self,
        command: Sequence[str],
        *,
        stop_signal: signal.Signals,
        user: str | None = None,
        outlive_us: bool = False,
        remove_after_us: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start `command` (as `user`) and return at once; unless it may outlive us, it ends when this process does.

        Args:
            command: the program and its arguments.
            stop_signal: what the guard sends to the server when this process is gone.
            user: the system user to run as; None is ourselves.
            outlive_us: leave the server to itself.
            remove_after_us: a directory to delete when this process is gone without having stopped the server.
            environment: variables to give it beside the few of ours that every program needs.
        """
        self._pid_file.unlink(missing_ok=True)
        guard = [sys.executable, "-I", str(Path(__file__).resolve()), str(self._pid_file), str(int(stop_signal))]
        guard += [user or "", "outlive" if outlive_us else "follow", str(remove_after_us or ""), *command]
        variables = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ} | dict(environment or {})
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self._guard = subprocess.Popen(  # noqa: S603 - our own file with arguments of our own, and no shell
                guard,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=variables,
                cwd=self.log.parent,
                start_new_session=True,  # a Ctrl-C at the terminal is for us: we stop the servers in our own order
            )

    def wait_until(self, ready: Callable[[], bool], limit_s: float) -> None:
        """Return when `ready()`; ServerError with the end of its log when it ended or was not ready in `limit_s`."""
        deadline = time.monotonic() + limit_s
        while not ready():
            if self._guard is not None and self._guard.poll() is not None and self.find() is None:
                raise ServerError(f"{self.name} ended while starting. {self.log_tail()}")
            if time.monotonic() > deadline:
                raise ServerError(f"{self.name} was not ready after {limit_s:.0f} s. {self.log_tail()}")
            time.sleep(_POLL_S)

    def find(self) -> psutil.Process | None:
        """The running server, or None; a stranger that was given its pid later is told apart by its start time."""
        try:
            pid, started = self._pid_file.read_text().split()
            process = psutil.Process(int(pid))
            same = abs(process.create_time() - float(started)) < _SAME_START_TOLERANCE_S
        except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
            return None
        return process if same and _is_alive(process) else None

    def begin_stop(self, stop_signal: signal.Signals) -> list[psutil.Process]:
        """Send the signal and return the processes that must now end (none when it does not run)."""
        server = self.find()
        if server is None:
            return []
        with contextlib.suppress(psutil.NoSuchProcess):
            family = [server, *server.children(recursive=True)]
            server.send_signal(stop_signal)
            return family
        return []

    def finish_stop(self, family: list[psutil.Process]) -> None:
        """Wait until all of `family` ended, kill what did not within STOP_LIMIT_S, and let the guard go."""
        if not _all_ended(family, STOP_LIMIT_S):
            for process in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            if not _all_ended(family, KILL_LIMIT_S):
                raise ServerError(f"{self.name} could not be ended. {self.log_tail()}")
        if self._guard is not None:
            self._dismiss(self._guard)
        self._pid_file.unlink(missing_ok=True)

    def stop(self, stop_signal: signal.Signals) -> None:
        """Send the signal, wait until server and children have ended, kill them after STOP_LIMIT_S."""
        self.finish_stop(self.begin_stop(stop_signal))

    def log_since_launch(self) -> str:
        """What the server wrote since `launch`."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def log_tail(self) -> str:
        """The path of the log and its last lines, for an error message."""
        last = self.log_since_launch().splitlines()[-_LOG_TAIL_LINES:]
        return f"The end of {self.log}:\n" + "\n".join(f"    {line}" for line in last or ["(empty)"])

    def _dismiss(self, guard: subprocess.Popen[bytes]) -> None:
        if guard.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # most often it has gone with its server
                guard.stdin.write(_DISMISSED)
                guard.stdin.close()
        try:
            guard.wait(STOP_LIMIT_S + KILL_LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(guard.pid, signal.SIGKILL)
            guard.wait(KILL_LIMIT_S)
        self._guard = None


@contextlib.contextmanager
def only_one(lock_file: Path, limit_s: float, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold `lock_file` alone on this machine; `on_wait()` when another process does, ServerError after `limit_s`."""
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + limit_s
    with lock_file.open("ab") as lock:
        waited = False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ServerError(f"another process held {lock_file} for over {limit_s:.0f} s") from None
                if not waited:
                    on_wait()
                waited = True
                time.sleep(_POLL_S)
        yield


def _is_alive(process: psutil.Process) -> bool:
    """A zombie is not alive: in a container nobody may ever collect it."""
    try:
        return bool(process.is_running()) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _all_ended(family: list[psutil.Process], limit_s: float) -> bool:
    deadline = time.monotonic() + limit_s
    while any(_is_alive(process) for process in family):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


def _guard_main(pid_file: str, stop_signal: str, user: str, life: str, remove_after: str, *command: str) -> None:
    follow = life == "follow"
    end = signal.Signals(int(stop_signal))
    end_with_guard = functools.partial(_end_with_guard, end) if follow and sys.platform == "linux" else None
    server = subprocess.Popen(  # noqa: S603 - what `launch` was given
        command,
        stdin=subprocess.DEVNULL,
        preexec_fn=end_with_guard,  # noqa: PLW1509 - the guard has no other thread yet
        user=user or None,
        group=pwd.getpwnam(user).pw_gid if user else None,
        extra_groups=[] if user else None,
    )
    written = Path(pid_file + ".new")
    written.write_text(f"{server.pid} {psutil.Process(server.pid).create_time()}")
    written.replace(pid_file)
    if follow:
        orphaned = threading.Event()
        threading.Thread(target=_end_with_parent, args=(server, end, orphaned), daemon=True).start()
        server.wait()
        if orphaned.is_set() and remove_after:
            shutil.rmtree(remove_after, ignore_errors=True)


def _end_with_guard(end: signal.Signals) -> None:
    # For the case that the guard itself is killed; only Linux has it.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(end))


def _end_with_parent(server: subprocess.Popen[bytes], end: signal.Signals, orphaned: threading.Event) -> None:
    # Our parent alone has the other end of the pipe: when it is gone, and only then, there is nothing to read.
    if os.read(sys.stdin.fileno(), 1) != _DISMISSED:
        orphaned.set()
    server.send_signal(end)  # when dismissed too: we may have been told to stop before we had said what was started
    try:
        server.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        server.kill()


if __name__ == "__main__":
    _guard_main(*sys.argv[1:])
