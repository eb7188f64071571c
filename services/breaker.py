"""The breaker: when nearly every record is refused, the fault is likely ours, and going on would only bury it."""

from collections import deque
from typing import Final

BREAKER_WINDOW: Final = 2_000
"""Of so many records in a row …"""
BREAKER_SHARE: Final = 0.9
"""… a tracker that refuses this share stops: when nearly everything is invalid, the fault is likely ours."""


class Breaker:
    """Says when nearly all of the last records would be refused."""

    def __init__(self, *, on: bool) -> None:
        self._on = on
        self._recent: deque[bool] = deque(maxlen=BREAKER_WINDOW)

    def note(self, *, taken: int, refused: int) -> None:
        """Count what is in PostgreSQL."""
        self._recent.extend([False] * taken)
        self._recent.extend([True] * refused)

    def opens(self, *, taken: int, refused: int) -> bool:
        """Say whether to stop rather than write a batch like this."""
        if not self._on or not refused:
            return False
        window = [*self._recent, *[False] * taken, *[True] * refused][-BREAKER_WINDOW:]
        return len(window) == BREAKER_WINDOW and sum(window) >= BREAKER_SHARE * BREAKER_WINDOW
