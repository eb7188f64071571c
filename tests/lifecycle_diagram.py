"""The lifecycle's table as the README shows it: `python -m tests.lifecycle_diagram` draws it there again."""

from collections import defaultdict
from pathlib import Path
from typing import Final, get_args

from events.contracts import EventKind
from services.claim import STATE_OF_ROW, State
from services.lifecycle import COLUMN_OF, TABLE

README: Final = Path(__file__).resolve().parent.parent / "README.md"
BEGIN: Final = "<!-- lifecycle:begin -->"
END: Final = "<!-- lifecycle:end -->"
NOTHING: Final = "[*]"


def diagram() -> str:
    """The changes of state in Mermaid's words: what stays is no arrow, and a draft is one whatever made it one."""
    arrows: dict[tuple[str, str], set[EventKind]] = defaultdict(set)
    for row, line in TABLE.items():
        for kind, cell in line.items():
            for to in cell.leads_to:
                arrows[STATE_OF_ROW[row][0] or NOTHING, STATE_OF_ROW[to][0] or NOTHING].add(kind)
    places = [NOTHING, *get_args(State)]
    drawn = [
        f"    {start} --> {end}: {', '.join(kind for kind in COLUMN_OF if kind in kinds)}"
        for (start, end), kinds in sorted(arrows.items(), key=lambda arrow: [places.index(place) for place in arrow[0]])
        if start != end
    ]
    return "\n".join(["stateDiagram-v2", *drawn])


def drawn_into(text: str) -> str:
    """The text with the diagram of today between its marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin, f"there is no {BEGIN}"
    assert end, f"there is no {END}"
    return f"{before}{BEGIN}\n```mermaid\n{diagram()}\n```\n{END}{after}"


if __name__ == "__main__":
    README.write_text(drawn_into(README.read_text(encoding="utf-8")), encoding="utf-8")
