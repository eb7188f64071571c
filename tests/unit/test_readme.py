"""What the README shows of the code is what the code says."""

from tests.lifecycle_diagram import README, drawn_into


def test_the_lifecycle_in_the_readme_is_the_table() -> None:
    """The diagram that people read is drawn from the table that decides."""
    text = README.read_text(encoding="utf-8")
    assert drawn_into(text) == text, "draw it again: .venv/bin/python -m tests.lifecycle_diagram"
