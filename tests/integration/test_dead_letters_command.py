"""Dead letters as an operator handles them at the terminal."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from events.codec import Record
from services import kafka
from services.settings import Settings
from tests.running import environment
from tests.stored import record, store_records
from tests.stories import body, session

COMMAND = Path(sys.executable).with_name("claimpath")
LIMIT_S = 60
GARBAGE = Record("session-recorded", b"A", b"\x00\xfe no event", [("trace", b"t-1")])
WRONG_KEY = Record("session-recorded", b"wrong", body(session(claim_id="B")).encode())


def claimpath(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command of the group."""
    command = [str(COMMAND), "dead-letters", *arguments]
    ended = subprocess.run(command, env=environment(settings), capture_output=True, timeout=LIMIT_S, check=False)
    assert b"Traceback" not in ended.stderr
    return ended


async def test_an_operator_lists_shows_edits_and_replays(settings: Settings, tmp_path: Path) -> None:
    """From the list to the edited event in Kafka, by commands alone."""
    await kafka.create_topics(settings)
    await store_records(settings, [GARBAGE, WRONG_KEY, record(session())])
    listing = json.loads(claimpath(settings, "list", "--json").stdout)
    assert [(each["reason"], each["offset"]) for each in listing["letters"]] == [("key_mismatch", 1), ("bad_text", 0)]
    wrong, garbage = (str(each["id"]) for each in listing["letters"])

    shown = json.loads(claimpath(settings, "show", garbage, "--json").stdout)
    assert shown["headers"] == [["trace", {"text": "t-1"}]]
    assert b"(base64) AP4gbm8gZXZlbnQ=" in claimpath(settings, "show", garbage).stdout

    edited = tmp_path / "edited.json"
    edited.write_bytes(claimpath(settings, "show", wrong, "--value").stdout)
    assert edited.read_bytes() == WRONG_KEY.value, "byte by byte"
    replayed = claimpath(settings, "replay", wrong, "--file", str(edited), "--json")
    assert (replayed.returncode, json.loads(replayed.stdout)) == (0, {"published": 1, "left": 0})
    again = claimpath(settings, "replay", wrong)
    assert (again.returncode, again.stdout) == (1, b"")
    assert (
        again.stderr == f"claimpath: Nothing was replayed: {wrong} went out before: --force sends it again.\n".encode()
    )
    rest = claimpath(settings, "replay", "--all")
    assert (rest.returncode, rest.stdout) == (0, b"1 published again, 0 left that cannot be.\n")
    table = claimpath(settings, "list", "--replayed", "--limit", "1")
    assert b"key_mismatch" in table.stdout
    assert b"bad_text" not in table.stdout
    assert table.stderr == b"These are the latest 1 of 2.\n"


async def test_an_edit_that_would_be_refused_is_told_without_its_values(settings: Settings, tmp_path: Path) -> None:
    """The codec's path and rule are told, and the letter stays open."""
    await kafka.create_topics(settings)
    await store_records(settings, [GARBAGE])
    (letter,) = json.loads(claimpath(settings, "list", "--json").stdout)["letters"]
    edited = tmp_path / "edited.json"
    edited.write_bytes(body(session(claim_id="A")).encode().replace(b"130.00", b"canary"))
    ended = claimpath(settings, "replay", str(letter["id"]), "--file", str(edited))
    assert ended.returncode == 1
    assert ended.stderr.startswith(b"claimpath: The edited event would be refused: invalid at $.data.procedures")
    assert b"canary" not in ended.stderr
    assert json.loads(claimpath(settings, "list", "--json").stdout)["total"] == 1


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["show", "4711"], 1),
        (["replay", "4711"], 1),
        (["replay"], 2),
        (["replay", "1", "2", "--file", "x"], 2),
    ],
)
async def test_what_is_not_there_is_no_and_what_makes_no_sense_is_usage(
    settings: Settings, arguments: list[str], code: int
) -> None:
    """Exit codes tell an answer of no from a wrong question."""
    ended = claimpath(settings, *arguments)
    assert (ended.returncode, ended.stdout) == (code, b"")
    assert ended.stderr
