"""Cut, scrambled and hostile files of X12: nothing in them crashes the readers, holds them up, fills memory or lies.

`python -m tests.x12_mutations --seed 8 --count 200000` tries more of the same.
"""

import json
import subprocess
import sys
from typing import Any

import pytest

from services.intake.facts import Refused, Remark
from services.intake.files import Item, Publishable
from tests import x12_hostile
from tests.x12_judged import CANARIES, violations
from tests.x12_mutations import SHARED, first_wrong, read
from tests.x12_written import small

SEED = 7
COUNTS = {"written": 1_200, "others": 800}
STEP = 5
"""Bytes between two cuts of a file."""
HOSTILE_LIMIT_S = 20.0
"""Processor time for any of the hostile files on a busy machine; most take tenths of a second."""
MEMORY_LIMIT_KIB = 64 * 1024
"""Above what a process has that read a hundred claims; the largest claim there can be takes most of it."""
CHILD_LIMIT_S = 110


@pytest.mark.parametrize("which", COUNTS)
def test_damaged_files_are_read_without_harm(which: str) -> None:
    """Whatever damage befalls a file, reading ends, in a time that its size limits; what is read are events of the
    contract with the file's own amounts; and what is refused is told by a segment of the file, without its values.
    """
    if which == "others" and not SHARED.is_dir():
        pytest.skip("the files of others are not on this machine")
    assert first_wrong(which, SEED, range(COUNTS[which])) is None


@pytest.mark.parametrize("name", small())
def test_a_cut_file_says_nothing_that_the_whole_does_not_say(name: str) -> None:
    """Wherever a file is cut, what is published of it would be published of the whole file as well."""
    data = small()[name]
    whole = _events(read(data, len(data)))
    assert whole
    for end in range(0, len(data), STEP):
        found = read(data[:end], len(data))
        assert _events(found) <= whole, f"cut at byte {end}"
        assert next(violations(data[:end], found), None) is None, f"cut at byte {end}"


@pytest.mark.parametrize(
    ("name", "written", "other"),
    [
        ("837", b"SV1*HC:97140:GP*48*", b"SV1*HC:97140:GP*47*"),
        ("837", b"CLM*C-00000001*96*", b"CLM*C-00000001*102*"),
        ("835", b"CLP*C-00000001*1*96*", b"CLP*C-00000001*1*1030*"),
        ("835", b"*PR*3*20~", b"*PR*3*2~"),
        ("835", b"CAS*CO*45*8~", b"CAS*PR*45*8~"),
        ("835", b"AMT*B6*40~", b"AMT*B6*41~"),
        ("835", b"*WO:C-00000001*1~", b"*WO:C-00000001*2~"),
        ("835 hard", b"CLP*C-1*22*-110*-81*-10*", b"CLP*C-1*22*-110*81*-10*"),
    ],
)
def test_an_amount_that_is_not_the_files_does_not_pass(name: str, written: bytes, other: bytes) -> None:
    """The second reading that judges the first sees a single amount that differs."""
    data = small()[name]
    found = read(data, len(data))
    assert list(violations(data, found)) == []
    assert written in data
    assert list(violations(data.replace(written, other), found)) != []


@pytest.mark.parametrize(
    "item",
    [
        Refused(number=0, rule="required"),
        Refused(number=1_000, rule="required"),
        Refused(number=9, rule=f"CLP01: {CANARIES[0]}"),
        Remark(number=9, finding="unknown_reason", detail=CANARIES[1]),
    ],
)
def test_a_place_outside_the_file_and_a_value_of_it_do_not_pass(item: Item) -> None:
    """The judge sees a segment that the file has not, and a text of the file in what is told of it."""
    assert len(list(violations(small()["835"], [item]))) == 1


@pytest.fixture(scope="module")
def measured() -> dict[str, dict[str, Any]]:
    """What reading each hostile file took, all in one process of their own."""
    child = subprocess.run(
        (sys.executable, "-m", "tests.x12_hostile"), capture_output=True, text=True, check=True, timeout=CHILD_LIMIT_S
    )
    lines = [json.loads(line) for line in child.stdout.splitlines()]
    return {line["name"]: line for line in lines}


@pytest.mark.parametrize("name", x12_hostile.files(1, 1))
def test_a_hostile_file_takes_neither_long_nor_much(name: str, measured: dict[str, dict[str, Any]]) -> None:
    """However many loops a file has, however large they are, and whatever never ends in it: reading it takes seconds,
    and no more memory than the largest claim there can be.
    """
    took = measured[name]
    assert took["seconds"] < HOSTILE_LIMIT_S
    assert took["rise_kib"] < MEMORY_LIMIT_KIB


def _events(found: list[Item]) -> set[str]:
    """Return the events without what tells how they were read."""
    events = [json.loads(item.record.value or b"") for item in found if isinstance(item, Publishable)]
    return {json.dumps([event["id"], event["time"], event["data"]]) for event in events}
