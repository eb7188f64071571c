"""That the seeded faults are fit to be tried: each applies, has its tests, and is caught by what found something."""

import ast
import re
import shutil
from pathlib import Path

import pytest

from tests.mutants.catalogue import MUTANTS
from tests.mutants.trial import PATCHES, ROOT, Outcome, apply, check_imports, judge, run_tests

FEWEST = 14
TOUCHED = re.compile(r"^(?:---|\+\+\+) [ab]/(\S+)$", re.MULTILINE)
SAYING = """
import asyncio
import pytest
def test_passes(): pass
def test_asserts(): assert 1 == 2, "one is not two"
def test_raises(): raise KeyError("claim")
def test_names_what_is_not_there(): nothing_of_that_name()
@pytest.mark.timeout(0.2)
async def test_hangs(): await asyncio.sleep(60)
@pytest.mark.parametrize("number", [1, 2])
def test_of_two(number): assert number == 1
"""
JUDGED: dict[str, Outcome] = {
    "passes": "survived",
    "asserts": "caught",
    "raises": "caught",
    "names_what_is_not_there": "broken",
    "hangs": "broken",
    "of_two": "caught",
    "of_two[1]": "survived",
    "of_two[2]": "caught",
    "is_not_there": "broken",
}


def test_every_fault_is_told_and_made_once() -> None:
    """Each sentence has its patch and each patch its sentence, no two alike; a patch changes the product alone."""
    patches = {path.stem: path.read_text("utf-8") for path in PATCHES.glob("*.patch")}
    assert patches.keys() == MUTANTS.keys()
    assert len(patches) >= FEWEST
    assert len({mutant.sentence for mutant in MUTANTS.values()}) == len(set(patches.values())) == len(MUTANTS)
    touched = {name for patch in patches.values() for name in TOUCHED.findall(patch)}
    assert [name for name in touched if not name.startswith(("events/", "services/", "infra/"))] == []


def test_every_patch_applies() -> None:
    """The faults are those of the code as it is now."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("whether patches apply is asked of git, and this tree is no clone")
    assert {name: said for name in MUTANTS if (said := apply(ROOT, name, "--check"))} == {}


def test_every_named_test_is_there() -> None:
    """A test that was renamed takes its faults along."""
    nodes = sorted({node for mutant in MUTANTS.values() for node in mutant.caught_by})
    assert all(mutant.caught_by for mutant in MUTANTS.values())
    assert [node for node in nodes if re.sub(r"\[.*", "", node) not in _tests_of(node.partition("::")[0])] == []


def _tests_of(path: str) -> set[str]:
    module = ast.parse((ROOT / path).read_text("utf-8"))
    functions = [node for node in module.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {f"{path}::{function.name}" for function in functions}


def test_only_what_found_something_counts(tmp_path: Path) -> None:
    """A fault is caught by a test that fails for what it saw; not by one that is missing, hangs or cannot run."""
    tree = tmp_path / "tree"
    (tree / "tests").mkdir(parents=True)
    (tree / "tests" / "test_saying.py").write_text(SAYING)
    shutil.copy(ROOT / "pyproject.toml", tree)
    ran = run_tests(tree, "saying", ["tests/test_saying.py"])
    assert {name: judge(ran, [f"tests/test_saying.py::test_{name}"])[0] for name in JUDGED} == JUDGED
    both = [f"tests/test_saying.py::test_{name}" for name in ("asserts", "passes")]
    assert judge(ran, both)[0] == "survived"
    (tree / "tests" / "test_saying.py").write_text(f"{SAYING}\nimport nothing_of_that_name")
    assert judge(run_tests(tree, "unreadable", ["tests/test_saying.py"]), both)[0] == "broken"


def test_a_tree_that_would_not_be_imported_is_refused(tmp_path: Path) -> None:
    """Where processes would import the installed project, no fault would ever be looked at, and that is said."""
    with pytest.raises(RuntimeError, match="tests would import"):
        check_imports(tmp_path / "tree")
