"""Faults planted into the product on purpose: each breaks one promise, and the simulation must find it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, Final, NamedTuple

import asyncpg

from services import positions, store
from services.assignment import Assignment
from services.claim_rows import unpack
from services.positions import Counts, Run
from services.tracker import Tracker


@contextmanager
def _instead(owner: object, name: str, planted: object) -> Iterator[Any]:
    """Put something in the place of what the product has, and yield that."""
    before = getattr(owner, name)
    setattr(owner, name, planted)
    try:
        yield before
    finally:
        setattr(owner, name, before)


def _no_contiguity() -> AbstractContextManager[Any]:
    """Take runs as they come, whether or not they continue the position."""

    async def lock(_connection: asyncpg.Connection, _cluster_id: str, runs: Iterable[Run]) -> list[Run]:
        return list(runs)

    return _instead(positions, "lock", lock)


@contextmanager
def _unlocked_claims() -> Iterator[None]:
    """Read claims without locking them, and believe that nobody else moved them."""

    async def lock_claims(connection: asyncpg.Connection, claim_ids: list[str]) -> dict[str, store._Held]:
        found = await connection.fetch(
            "SELECT claim_id, version, packed FROM claim WHERE claim_id = ANY($1::text[])", claim_ids
        )
        return {claim_id: store._Held(version, unpack(packed)) for claim_id, version, packed in found}  # noqa: SLF001

    async def write_claims(connection: asyncpg.Connection, moves: Any) -> None:  # noqa: ANN401
        with suppress(store.ClaimMovedError):
            await real(connection, moves)

    with (
        _instead(store, "_lock_claims", lock_claims),
        _instead(store, "_write_claims", write_claims) as real,
    ):
        yield


@contextmanager
def _position_outside() -> Iterator[None]:
    """Move the positions after the transaction, in one of their own."""
    later: list[tuple[asyncpg.Connection, str, list[tuple[Run, Counts]]]] = []

    async def advance(connection: asyncpg.Connection, cluster_id: str, outcomes: list[tuple[Run, Counts]]) -> None:
        later.append((connection, cluster_id, outcomes))

    async def write(connection: asyncpg.Connection, *args: Any, **options: Any) -> store.Written:  # noqa: ANN401
        written: store.Written = await real_write(connection, *args, **options)
        while later:
            await real_advance(*later.pop())
        return written

    with (
        _instead(positions, "advance", advance) as real_advance,
        _instead(store, "write", write) as real_write,
    ):
        yield


def _no_look_up() -> AbstractContextManager[Any]:
    """Take every event for a new one."""

    async def known(_connection: asyncpg.Connection, _asked: object) -> dict[tuple[str, bytes], bytes]:
        return {}

    return _instead(store, "_known", known)


@contextmanager
def _early_commit() -> Iterator[None]:
    """Count as done what is only handed over: Kafka is told before PostgreSQL has it."""

    async def hand_over(tracker: Tracker, runs: Sequence[Run]) -> None:
        tracker._assignment.finished(runs)  # noqa: SLF001  (the fault)
        await real(tracker, runs)

    with _instead(Tracker, "_hand_over", hand_over) as real:
        yield


def _every_hole_is_real() -> AbstractContextManager[Any]:
    """Believe a hole at once, though the client may have skipped a record."""

    def is_real(_assignment: Assignment, _partition: object, _holes: object) -> bool:
        return True

    return _instead(Assignment, "_is_real", is_real)


class Planted(NamedTuple):
    """How to break the product, and a statement that takes away what else would hold."""

    broken: Callable[[], AbstractContextManager[Any]]
    statement: str = ""


# The table counts along, and ends a tracker that takes a record twice, before anything is stored.
_UNCOUNTED: Final = "ALTER TABLE position DROP CONSTRAINT every_record_has_one_outcome"

PLANTED: Final = {
    "positions need not continue": Planted(_no_contiguity, _UNCOUNTED),
    "claims are not locked": Planted(_unlocked_claims),
    "positions move outside of the transaction": Planted(_position_outside),
    "identities are not looked up": Planted(_no_look_up),
    "Kafka is told before PostgreSQL has it": Planted(_early_commit),
    "every hole is believed at once": Planted(_every_hole_is_real),
}
