"""The breaker: when nearly every record is refused, the fault is likely ours, and going on would only bury it."""

from collections import deque
from typing import Final

BREAKER_WINDOW: Final = 2_000
"""Of so many records in a row, counted by whole batches …"""
BREAKER_SHARE: Final = 0.9
"""… a tracker that refuses this share stops: when nearly everything is invalid, the fault is likely ours."""


class Breaker:
    """Says when nearly all of the last records would be refused."""

    def __init__(self, *, on: bool) -> None:
        self._on = on
        # Of each of the last batches, how many were taken and how many refused. Whole batches: in which order a batch's
        # records came says nothing, since it holds several partitions one after another.
        self._batches: deque[tuple[int, int]] = deque()
        self._taken = 0
        self._refused = 0

    def note(self, *, taken: int, refused: int) -> None:
        """Count what is in PostgreSQL."""
        self._batches.append((taken, refused))
        self._taken += taken
        self._refused += refused
        while self._taken + self._refused - sum(self._batches[0]) >= BREAKER_WINDOW:
            old_taken, old_refused = self._batches.popleft()
            self._taken -= old_taken
            self._refused -= old_refused

    def opens(self, *, taken: int, refused: int) -> bool:
        """Say whether to stop rather than write a batch like this."""
        if not self._on or not refused:
            return False
        if taken + refused < BREAKER_WINDOW:
            taken += self._taken
            refused += self._refused
        return taken + refused >= BREAKER_WINDOW and refused >= BREAKER_SHARE * (taken + refused)
