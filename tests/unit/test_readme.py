"""What the pages show of the code is what the code says."""

import re

from services.intake.facts import MEANINGS
from tests.lifecycle_diagram import README, drawn_into


def test_the_lifecycle_in_the_readme_is_the_table() -> None:
    """The diagram that people read is drawn from the table that decides."""
    text = README.read_text(encoding="utf-8")
    assert drawn_into(text) == text, "draw it again: .venv/bin/python -m tests.lifecycle_diagram"


def test_the_page_on_files_tells_every_finding() -> None:
    """What a finding means stands where people look it up, in the words that the command prints."""
    page = README.parent.joinpath("services", "intake", "README.md").read_text("utf-8")
    told = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", page, re.MULTILINE))
    assert {name: told[name] for name in MEANINGS} == MEANINGS
    assert told.keys() == MEANINGS.keys()
