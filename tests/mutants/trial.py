"""A mutant on trial: a copy of the work tree, the patch in it, and what the named tests say."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, NamedTuple
from xml.etree import ElementTree as ET

from tests.mutants.catalogue import Mutant

ROOT = Path(__file__).resolve().parents[2]
PATCHES = Path(__file__).resolve().parent
RUN_LIMIT_S = 600
"""For one run of pytest, whose tests have limits of their own."""
END_LIMIT_S = 30
"""For one that was interrupted to put away what it started."""

Outcome = Literal["caught", "survived", "broken", "does not apply"]
"""``broken``: something failed, but not what the fault should bring about, so it says nothing."""

# A patch that cannot be imported or names what is not there would fail every test and prove nothing of any; nor does a
# test that hangs.
SAYS_NOTHING = re.compile(r"\b(?:Syntax|Indentation|Import|ModuleNotFound|Name|UnboundLocal)Error\b|Failed: Timeout")
PACKAGES = (
    "import events, infra, services, tests; print(*(each.__path__[0] for each in (events, infra, services, tests)))"
)


class Verdict(NamedTuple):
    """What became of a mutant."""

    name: str
    outcome: Outcome
    seconds: float
    why: str = ""
    """What pytest or git said, where the fault was not caught."""


class Ran(NamedTuple):
    """A run of pytest: its exit code, the cases it ran by node id with why each failed, and what it printed."""

    code: int
    failures: dict[str, str]
    """Empty where a case passed."""
    output: str


@contextmanager
def copy_of_the_tree() -> Iterator[Path]:
    """Lend a copy of what git tracks, or would, as it is in the work tree now; nothing else is ever written to."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    names = [name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]
    with TemporaryDirectory(prefix="claimpath-mutants-") as folder:
        tree = Path(folder).resolve() / "tree"
        for name in names:
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)
        yield tree


def environment(tree: Path) -> dict[str, str]:
    """Return what a run in the tree is told: its modules come before those that are installed, which are the work
    tree's, and none is kept compiled: two patches of one second and size could not be told apart.
    """
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("GIT_", "PYTEST_"))}
    own = {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    return {**kept, **own, "GIT_CEILING_DIRECTORIES": str(tree.parent)}  # git must find no repository around it


def check_imports(tree: Path) -> None:
    """Raise unless a process that starts elsewhere imports the copy: else no mutant would ever be looked at."""
    found = subprocess.run(
        [sys.executable, "-c", PACKAGES],
        cwd=tree.parent,
        env=environment(tree),
        capture_output=True,
        check=True,
    )
    wanted = [str(tree / package) for package in ("events", "infra", "services", "tests")]
    if found.stdout.decode().split() != wanted:
        raise RuntimeError(f"tests would import {found.stdout.decode().strip()}, not the copy in {tree}")


def run_tests(tree: Path, name: str, nodes: Iterable[str]) -> Ran:
    """Run the tests of these node ids in the tree."""
    report = tree.parent / f"{name}.xml"
    options = ["-q", "-p", "no:cacheprovider", "--tb=short", f"--junitxml={report}"]
    log = tree.parent / f"{name}.log"
    code = _ended([sys.executable, "-m", "pytest", *options, *nodes], tree, log)
    failures = {}
    for case in ET.parse(report).iter("testcase") if report.exists() else ():  # noqa: S314  (our own)
        node = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}"
        failed = case.find("failure")
        failures[node] = "" if failed is None else f"{failed.get('message')}\n{failed.text}"
    return Ran(code, failures, log.read_text(errors="replace"))


def _ended(command: list[str], tree: Path, log: Path) -> int:
    """Run a command in the tree and return its exit code."""
    with (
        log.open("wb") as output,
        subprocess.Popen(command, cwd=tree, env=environment(tree), stdout=output, stderr=output) as running,
    ):
        try:
            return running.wait(RUN_LIMIT_S)
        except BaseException:
            # Ctrl-C reaches it too: it stops its servers and processes by itself, if it is let.
            with suppress(subprocess.TimeoutExpired):
                running.wait(END_LIMIT_S)
            running.kill()
            raise


def judge(tests: Ran, nodes: Iterable[str]) -> tuple[Outcome, str]:
    """Say whether every named test failed by what it found, and if not, why not."""
    for node in nodes:
        whys = [why for case, why in tests.failures.items() if case == node or case.startswith(f"{node}[")]
        if tests.code not in (0, 1) or not whys:
            return "broken", f"pytest ended with {tests.code}\n{tests.output[-2000:]}"
        if not any(whys):
            return "survived", f"{node} passes"
        if not any(why and not SAYS_NOTHING.search(why) for why in whys):
            return "broken", "\n".join(whys)[-2000:]
    return "caught", ""


def apply(tree: Path, name: str, *options: str) -> str:
    """Apply a mutant's patch to the tree; return what git has against it."""
    command = ["git", "apply", "--whitespace=nowarn", *options, str(PATCHES / f"{name}.patch")]
    ended = subprocess.run(command, cwd=tree, env=environment(tree), capture_output=True, check=False)
    return ended.stderr.decode() if ended.returncode else ""


def try_mutant(tree: Path, name: str, mutant: Mutant) -> Verdict:
    """Put the fault into the tree, see what its tests say, and take it out again."""
    started = time.monotonic()
    if said := apply(tree, name):
        return Verdict(name, "does not apply", 0.0, said)
    tests = run_tests(tree, name, mutant.caught_by)
    if said := apply(tree, name, "--reverse"):
        raise RuntimeError(f"{name} cannot be taken out of the copy: {said}")
    return Verdict(name, *_with_time(judge(tests, mutant.caught_by), time.monotonic() - started))


def _with_time(judged: tuple[Outcome, str], seconds: float) -> tuple[Outcome, float, str]:
    outcome, why = judged
    return outcome, round(seconds, 1), why
