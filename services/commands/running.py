"""How a command runs: with which settings and servers, on which event loop, and how its log looks."""

import asyncio
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from services import terminal
from services.settings import ADDRESSES, Settings, data_dir, load

if TYPE_CHECKING:
    from infra.devstack import Stack

T = TypeVar("T")
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
GROUP: Final[dict[str, Any]] = {"no_args_is_help": True, "add_completion": False}


def settings() -> Settings:
    """Return what the environment says, or the servers of `claimpath stack up`; raises BadSetting and NoServers."""
    return load(_addresses_of_running_stack)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command that ends by itself: it tells what is to be told, and logs nothing."""
    from services import logs

    logs.silence()
    return asyncio.run(work)


def serve(work: Coroutine[Any, Any, int], given: Settings) -> None:
    """Run a process that serves until it is told to stop, with a log, and end with its exit code."""
    import uvloop  # not on every system, and of use only here

    from services import logs

    logs.configure(given.log_format)
    raise typer.Exit(uvloop.run(work))


def local_stack() -> "Stack":
    """Return the embedded servers of this user's data directory, running or not; raises Wrong without the extra."""
    try:
        from infra.devstack import Stack
    except ModuleNotFoundError as error:
        missing = f"The embedded servers are not installed ({error.name}): install claimpath[devstack]."
        raise terminal.Wrong(missing) from None
    return Stack(data_dir() / "stack", report=terminal.say, outlive_us=True)


def _addresses_of_running_stack(data: Path) -> Mapping[str, str] | None:
    if not (data / "stack").exists():
        return None
    servers = local_stack().status()
    if not all(server.pid for server in servers):
        return None
    return {name: str(server.address) for name, server in zip(ADDRESSES, servers, strict=True)}
