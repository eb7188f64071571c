"""When Python looks for garbage in cycles: seldom while batches come, and now and then while only a few records do."""

import asyncio
import gc
from typing import Final

OBJECTS: Final = 200_000
"""So many are made and not yet freed before it looks."""
PAUSE_S: Final = 30.0
"""It looks at least so often: a trickle makes so many objects in an hour, and they are a hundred megabytes."""


def collect_seldom() -> None:
    """Leave batches alone, which are thousands of small objects that die together.

    Looking for cycles among them at the usual pace costs a third of the time of an event.
    """
    gc.freeze()
    gc.set_threshold(OBJECTS)


async def collect_now_and_then() -> None:
    """Look for cycles every so often, for as long as the process runs."""
    while True:
        await asyncio.sleep(PAUSE_S)
        gc.collect()
