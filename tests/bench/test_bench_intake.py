"""What the benchmark of the intake measures, in small: memory stays, a bar moves; its speeds are not judged."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from infra.devstack import Stack
from tests.bench import intake, report

CLAIMS, FEW = 20_000, 500
MEMORY_LIMIT_MIB = 16
"""By which forty times the claims may raise the most memory; a claim that was kept would take kibibytes."""
BAR_LIMIT_S = 60
BAR_STEPS = 4
"""Different places of the bar that must be seen: it moves, and does not jump to its end."""


@pytest.mark.parametrize("kind", intake.KINDS)
def test_memory_does_not_grow_with_the_file(kind: str, tmp_path: Path) -> None:
    """A file of twenty thousand claims is read in the memory that one of five hundred takes."""
    few, many = (intake.read(intake.write(tmp_path, kind, count)) for count in (FEW, CLAIMS))
    assert many.peak_mib - few.peak_mib < MEMORY_LIMIT_MIB


@pytest.mark.parametrize("kind", intake.KINDS)
def test_every_claim_of_the_files_is_an_event(kind: str, tmp_path: Path) -> None:
    """What is measured reads without a finding: each claim is one event, and the payment adds up."""
    file = intake.write(tmp_path, kind, FEW)
    ended = intake.run(
        ["intake", "--dry-run", "--json", str(file)], {**os.environ, "CLAIMPATH_DATA_DIR": str(tmp_path)}
    )
    lines = ended.answer.splitlines()
    assert len(lines) == FEW
    assert not any("x12findings" in line for line in lines)


def test_a_bar_shows_how_far_a_file_is_read(tmp_path: Path) -> None:
    """On a terminal, and while events go elsewhere, people see how much of a large file is read."""
    file = intake.write(tmp_path, "837", CLAIMS)
    ours, theirs = pty.openpty()
    command = (
        sys.executable,
        "-c",
        "from services.cli import main; main()",
        "intake",
        "--dry-run",
        "--json",
        str(file),
    )
    given = {**os.environ, "CLAIMPATH_DATA_DIR": str(tmp_path), "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(command, env=given, stdout=subprocess.DEVNULL, stderr=theirs) as process:
        os.close(theirs)
        shown = b"".join(iter(lambda: _shown(ours), b""))
        assert process.wait(BAR_LIMIT_S) == 0
    os.close(ours)
    places = [float(place) for place in re.findall(rf"([0-9.]+)/{file.stat().st_size / 1e6:.1f} MB", shown.decode())]
    assert places == sorted(places)
    assert len(set(places)) >= BAR_STEPS


def test_the_benchmark_publishes_and_tells_what_it_measured(stack: Stack, tmp_path: Path) -> None:
    """The benchmark reads and publishes both files, whole, and prints speeds and memory with the machine."""
    said: list[str] = []
    result = intake.measure(stack, tmp_path, FEW, 1, said.append) | report.machine()
    assert len(said) == 1
    assert {name for name, speed in result["claims_per_s"].items() if speed["median"] > 0} == set(intake.TITLES)
    page = intake.text(result)
    assert "an 835, read and published" in page
    assert result["processor"] in page


def _shown(descriptor: int) -> bytes:
    """Return what stands on a terminal; nothing once nobody writes there any more."""
    try:
        return os.read(descriptor, 65_536)
    except OSError:  # as Linux says it
        return b""
