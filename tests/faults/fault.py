"""What a fault is: a sentence, what strikes, and how soon all must be well again."""

from collections.abc import Awaitable, Callable
from typing import Literal, NamedTuple

from tests.faults.field import Field
from tests.faults.servers import Ground

AFTER_A_PROCESS_S = 15.0
"""How soon all must be taken after a tracker died."""
AFTER_A_SERVER_S = 60.0
"""How soon all must be taken after Kafka, PostgreSQL or the network was back."""

Runs = Literal["always", "in the campaign", "seldom"]
"""In every run of the tests; only in the campaign, as often as others; or there now and then, since it takes long."""


class Fault(NamedTuple):
    """A way in which the world goes wrong."""

    sentence: str
    kind: str
    """By which faults are counted and their recovery is summed up."""
    strike: Callable[[Field], Awaitable[int]]
    """Lets it happen, returns once it has ended, and says how often it really did."""
    limit_s: float = AFTER_A_SERVER_S
    counts_hold: bool = False
    """Whether the trackers' counters must agree with the tables: no tracker ended and every COMMIT was answered."""
    runs: Runs = "always"
    ground: Ground = "stack"
    """The servers that it needs."""
