"""The servers that a field stands on: a stack, for whose Kafka or PostgreSQL one of another kind may stand in."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

from infra.devstack import Stack
from tests.faults.cluster import NUMBERS, Cluster
from tests.faults.small_disk import SmallDisk

Ground = Literal["stack", "cluster", "small disk"]


class Servers(NamedTuple):
    """A stack, and what stands in for a half of it."""

    stack: Stack
    cluster: Cluster | None = None
    disk: SmallDisk | None = None

    @property
    def kafka(self) -> str:
        """The bootstrap address."""
        return (self.cluster or self.stack).kafka

    @property
    def database_url(self) -> str:
        """The address of the database, with its password."""
        return (self.disk or self.stack).database_url

    @property
    def replication(self) -> int:
        """How many copies of a partition there can be."""
        return len(NUMBERS) if self.cluster else 1

    @property
    def logs(self) -> list[Path]:
        """What the servers say."""
        return [
            *(server.log for server in self.stack.status()),
            *(self.cluster.logs if self.cluster else ()),
            *([self.disk.log] if self.disk else ()),
        ]


@contextmanager
def servers_for(ground: Ground, stack: Stack) -> Iterator[Servers]:
    """Lend a stack and what is to stand in for a half of it; raises MayNotMount where there can be no small disk."""
    with ExitStack() as started:
        yield Servers(
            stack,
            started.enter_context(Cluster()) if ground == "cluster" else None,
            # One for both: where the log is on it, either the tables or the log can be the first that needs room.
            started.enter_context(SmallDisk(log_elsewhere=False)) if ground == "small disk" else None,
        )
