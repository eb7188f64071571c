"""The pins of what is installed: all of it, by hash, and from nowhere in particular."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ADDRESS = re.compile(r"[a-z+]+://|^\s*-(?!-hash=)|[ =]file:", re.MULTILINE)
PIN = re.compile(r"^([\w.-]+)(?:\[.*\])?==(\S+)", re.MULTILINE)


def test_requirements_hold_hashes_and_no_address() -> None:
    """A pin says what to install and how to recognise it, never where to get it."""
    for name in ("requirements.txt", "requirements-dev.txt"):
        pins = _text(ROOT / "infra" / name)
        assert ADDRESS.findall(pins) == [], name
        blocks = re.split(r"\n(?=\w)", pins.strip())
        assert [block for block in blocks if not PIN.match(block) or "--hash=sha256:" not in block] == [], name


def test_both_requirement_files_agree_with_the_project() -> None:
    """Everything the project asks for is pinned, and developers run the very versions that production runs."""
    runtime, everything = (
        dict(PIN.findall(_text(ROOT / "infra" / f"{name}.txt"))) for name in ("requirements", "requirements-dev")
    )
    assert runtime.items() <= everything.items()
    project = tomllib.loads(_text(ROOT / "pyproject.toml"))["project"]
    extras = [wish for wishes in project["optional-dependencies"].values() for wish in wishes]
    assert names(project["dependencies"]) <= runtime.keys()
    assert names(extras) <= everything.keys()


def names(wishes: list[str]) -> set[str]:
    """The distributions asked for, as the pins spell them."""
    return {re.split(r"[\[<>=~; ]", wish, maxsplit=1)[0].lower().replace("_", "-") for wish in wishes}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")
