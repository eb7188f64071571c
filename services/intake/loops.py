"""Segments of a transaction set to loops: each claim whole and alone, so that a broken one takes no other with it."""

from collections.abc import Callable, Iterator
from typing import Final

from msgspec import Struct

from services.intake.envelope import Body
from services.intake.facts import Refused
from services.intake.segments import Segment, Unreadable

MAX_LOOP_SEGMENTS: Final = 25_000
"""An institutional claim of 999 lines, the most there can be, has some 20,000."""
MAX_LOOP_CHARACTERS: Final = 1_048_576
"""Four times what an event may have."""
CUT: Final = "the file ends inside this claim, or just behind it: nothing tells which"
"""Why the last claim of a set without trailer is refused: a part of it may add up as well as the whole."""
LOST: Final = "what stands above it is in bytes that could not be read"
"""Why a claim is refused that is whole itself: payer, patient and day are told above, and are not guessed."""


class Loop(Struct, frozen=True):
    """The segments from one that begins a loop up to the next such one."""

    segments: list[Segment]
    fault: Refused | None
    """Why it must not be used: bytes in it are no segment, or it is longer than any real one."""
    cut: bool
    """Whether the set ends here without a trailer, so that more may have followed."""

    @property
    def tag(self) -> str:
        """The tag of the segment that begins it; empty where nothing stands before the first that does."""
        return self.segments[0].tag if self.segments else ""


def loops(body: Body, begins: Callable[[Segment], bool]) -> Iterator[Loop]:
    """Yield the loops of a body; first what stands before any of them, which may be nothing.

    `begins` is asked once for each segment, in order. A loop's segments are gone when the next loop is asked for.
    """
    held: list[Segment] = []
    fault: Refused | None = None
    characters = 0
    for item in body:
        if isinstance(item, Unreadable):
            fault = fault or Refused(number=item.number, rule=item.rule)
            continue
        if begins(item):
            yield Loop(held, fault, cut=False)
            held.clear()  # else the largest loop there can be would be held twice
            held, fault, characters = [], None, 0
        # An empty element takes room, too.
        characters += len(item.elements) + sum(map(len, item.elements))
        if len(held) == MAX_LOOP_SEGMENTS or characters > MAX_LOOP_CHARACTERS:
            rule = f"a claim has at most {MAX_LOOP_SEGMENTS} segments and {MAX_LOOP_CHARACTERS} characters"
            fault = fault or Refused(number=item.number, rule=rule)
        else:
            held.append(item)
    yield Loop(held, fault, cut=not body.whole)
