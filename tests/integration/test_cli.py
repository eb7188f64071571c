"""The command as people and scripts use it: what it prints, where, and with which exit code it ends."""

import asyncio
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from events.topics import TOPICS
from services import database, kafka, terminal
from services.settings import Settings
from tests.contract_example import PUBLISHED, SHOWN

ROOT = Path(__file__).parents[2]
COMMAND = Path(sys.executable).with_name("claimpath")
LIMIT_S = 60.0
EXAMPLES = sorted((ROOT / "events" / "examples").glob("*.jsonl"))
# What refuses a connection at once: port 1 is reserved and nobody listens there.
NOBODY = {"CLAIMPATH_KAFKA": "127.0.0.1:1", "CLAIMPATH_DATABASE_URL": "postgresql://a:canary@127.0.0.1:1/b"}
CANARY = "canary"

Claimpath = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def claimpath(tmp_path: Path) -> Claimpath:
    """Run the command with these variables, in an empty folder, without a terminal."""

    def run(*arguments: str, env: Mapping[str, str] | None = None, stdin: str = "") -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "XDG_DATA_HOME": str(tmp_path / "data"), "COLUMNS": "120", **(env or {})}
        ended = subprocess.run(
            [str(COMMAND), *arguments],
            cwd=tmp_path,
            env=environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        assert "Traceback" not in ended.stderr
        return ended

    return run


@pytest.fixture
def env(settings: Settings) -> dict[str, str]:
    """The variables that lead the command to the servers of this test."""
    return {
        "CLAIMPATH_KAFKA": settings.kafka,
        "CLAIMPATH_DATABASE_URL": settings.database_url.get_secret_value(),
        "CLAIMPATH_TOPIC_PREFIX": settings.topic_prefix,
        "CLAIMPATH_PARTITIONS": "3",
    }


def one_sentence(ended: subprocess.CompletedProcess[str]) -> str:
    """The error: one line, nothing on standard output."""
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith("claimpath: ")
    return ended.stderr


async def consumed(settings: Settings, count: int) -> list[tuple[str, str, dict[str, Any]]]:
    """The first records of the three topics: topic, key, value."""
    consumer = AIOKafkaConsumer(
        *(kafka.topic(settings, name) for name in TOPICS),
        **kafka.client_options(settings, application="test"),
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        records = [await asyncio.wait_for(consumer.getone(), LIMIT_S) for _ in range(count)]
        assert not await consumer.getmany(timeout_ms=200)
    finally:
        await consumer.stop()
    topics = [record.topic.removeprefix(settings.topic_prefix) for record in records]
    keys, values = [(record.key or b"").decode() for record in records], [record.value or b"" for record in records]
    return list(zip(topics, keys, map(json.loads, values), strict=True))


def until(ask: Callable[[], subprocess.CompletedProcess[str]], word: str) -> str:
    """The answer, once the word is in it."""
    deadline = time.monotonic() + LIMIT_S
    while word not in (answer := ask().stdout):
        assert time.monotonic() < deadline, answer
    return answer


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_without_servers_the_command_says_how_to_get_some(claimpath: Claimpath) -> None:
    """Exit code 3, and what to type."""
    for command in (["migrate"], ["topics"], ["doctor"], ["publish", "-"], ["claim", "show", "CLM-1"]):
        ended = claimpath(*command)
        assert ended.returncode == 3, command
        assert "claimpath stack up" in one_sentence(ended)


def test_one_address_alone_is_a_usage_error(claimpath: Claimpath) -> None:
    """Exit code 2, and the variable that is missing."""
    ended = claimpath("topics", env={"CLAIMPATH_KAFKA": "127.0.0.1:1"})
    assert ended.returncode == 2
    assert "CLAIMPATH_DATABASE_URL is not set" in one_sentence(ended)


def test_servers_that_do_not_answer_are_told_in_one_sentence(claimpath: Claimpath) -> None:
    """Exit code 3, no traceback, no library's log, no password."""
    for command in (["migrate"], ["topics"], ["publish", "-"], ["claim", "show", "CLM-1"], ["claims", "export"]):
        ended = claimpath(*command, env=NOBODY)
        assert ended.returncode == 3, command
        assert CANARY not in one_sentence(ended)


def test_an_unencrypted_server_is_refused_where_tls_is_wanted(claimpath: Claimpath, env: dict[str, str]) -> None:
    """There is no silent step down to plain words."""
    ended = claimpath("migrate", env={**env, "CLAIMPATH_DATABASE_TLS": "require"})
    assert ended.returncode == 3
    one_sentence(ended)


def test_a_wrong_word_is_a_usage_error(claimpath: Claimpath) -> None:
    """Exit code 2 for an unknown command, option, type and file."""
    for command in (["frob"], ["migrate", "--frob"], ["events", "schema", "frob"], ["events", "validate", "frob"]):
        ended = claimpath(*command)
        assert (ended.returncode, ended.stdout) == (2, ""), command


def test_migrate_says_what_it_did(claimpath: Claimpath, env: dict[str, str]) -> None:
    """The second time there is nothing to do, and that is no error."""
    head = database.head_revision()
    ended = claimpath("migrate", "--json", env=env)
    assert (ended.returncode, json.loads(ended.stdout)) == (0, {"before": head, "after": head})
    assert head in claimpath("migrate", env=env).stdout


def test_topics_makes_them_once_and_judges_them(claimpath: Claimpath, env: dict[str, str]) -> None:
    """The same command again makes none, and finds no fault."""
    first, second = (json.loads(claimpath("topics", "--json", env=env).stdout) for _ in range(2))
    assert first["created"] == [f"{env['CLAIMPATH_TOPIC_PREFIX']}{name}" for name in TOPICS]
    assert second["created"] == []
    assert [topic["partitions"] for topic in second["topics"]] == [3, 3, 3]
    assert second["faults"] == []


async def test_topics_with_differing_partition_counts_are_refused(
    claimpath: Claimpath, env: dict[str, str], kafka_admin: AIOKafkaAdminClient
) -> None:
    """Exit code 1: a claim's events must meet on equal partitions."""
    await kafka_admin.create_topics([NewTopic(f"{env['CLAIMPATH_TOPIC_PREFIX']}{TOPICS[0]}", 2, 1)])
    for command in (["topics"], ["publish", "-"]):
        ended = claimpath(*command, env=env)
        assert ended.returncode == 1
        assert "differ in their number of partitions" in ended.stderr


async def test_publish_sends_what_is_valid_and_names_the_rest(
    claimpath: Claimpath, env: dict[str, str], settings: Settings, tmp_path: Path
) -> None:
    """Each good line arrives by its claim on its topic; each bad one is told with line and rule and no value."""
    good = [line for file in EXAMPLES for line in file.read_text(encoding="utf-8").splitlines()]
    bad = [f'{{"{CANARY}": 1', good[0].replace(".v1", ".v9"), f'"{CANARY}"']
    (tmp_path / "events.jsonl").write_text("\n".join([bad[0], "", *good, bad[1], bad[2]]), encoding="utf-8")
    assert claimpath("topics", env=env).returncode == 0
    ended = claimpath("publish", "events.jsonl", "--json", env=env)
    assert ended.returncode == 1
    answer = json.loads(ended.stdout)
    assert answer["published"] == len(good)
    last = len(good) + 3
    assert [(line["line"], line["reason"]) for line in answer["refused"]] == [
        (1, "not_json"),
        (last, "unknown_version"),
        (last + 1, "not_cloudevent"),
    ]
    assert [line.split(":")[0] for line in ended.stderr.splitlines()] == ["line 1", f"line {last}", f"line {last + 1}"]
    assert CANARY not in ended.stdout + ended.stderr
    arrived = await consumed(settings, len(good))
    assert sorted(json.dumps(value) for _, _, value in arrived) == sorted(json.dumps(json.loads(line)) for line in good)
    assert all(key == value["subject"] for _, key, value in arrived)
    assert {(topic, value["type"]) for topic, _, value in arrived} == {
        (topic, f"{topic.replace('-', '.')}.v1") for topic in TOPICS
    }


def test_publish_reads_standard_input(claimpath: Claimpath, env: dict[str, str]) -> None:
    """All good: exit code 0."""
    claimpath("topics", env=env)
    ended = claimpath("publish", "-", env=env, stdin=EXAMPLES[0].read_text(encoding="utf-8"))
    assert ended.returncode == 0
    assert ended.stdout.endswith(" published, 0 refused\n")


async def test_publish_makes_no_topic(
    claimpath: Claimpath, env: dict[str, str], kafka_admin: AIOKafkaAdminClient
) -> None:
    """Missing topics are told with the command that makes them right, exit code 1."""
    ended = claimpath("publish", "-", env=env, stdin=EXAMPLES[0].read_text(encoding="utf-8"))
    assert ended.returncode == 1
    assert "run `claimpath topics`" in one_sentence(ended)
    assert not [name for name in await kafka_admin.list_topics() if name.startswith(env["CLAIMPATH_TOPIC_PREFIX"])]


def test_an_interrupted_command_ends_quietly(env: dict[str, str], claimpath: Claimpath, tmp_path: Path) -> None:
    """Ctrl-C while it waits for input: exit code 130, no word."""
    claimpath("topics", env=env)
    with subprocess.Popen(
        [str(COMMAND), "publish", "-"],
        cwd=tmp_path,
        env={**os.environ, **env},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdin
        assert running.stderr
        running.stdin.write("no event\n")
        running.stdin.flush()
        assert running.stderr.readline().startswith("line 1: ")  # it reads
        running.send_signal(signal.SIGINT)
        assert running.wait(LIMIT_S) == 130
        assert running.stderr.read() == ""


def test_validate_needs_no_server(claimpath: Claimpath) -> None:
    """A publisher checks events anywhere; exit code 1 when some would be refused."""
    for file in EXAMPLES:
        assert claimpath("events", "validate", str(file)).returncode == 0
    ended = claimpath("events", "validate", "-", "--json", stdin=f'{{"{CANARY}": 1}}')
    assert ended.returncode == 1
    assert [line["line"] for line in json.loads(ended.stdout)["refused"]] == [1]
    assert CANARY not in ended.stdout + ended.stderr


def test_validate_survives_a_line_without_end(claimpath: Claimpath) -> None:
    """What is too large is refused as such and the lines after it are read."""
    good = EXAMPLES[0].read_text(encoding="utf-8").splitlines()[0]
    ended = claimpath("events", "validate", "-", "--json", stdin=f"{'x' * 3_000_000}\n{good}\n{good}")
    answer = json.loads(ended.stdout)
    assert answer["valid"] == 2
    assert [(line["line"], line["reason"]) for line in answer["refused"]] == [(1, "too_large")]


def test_schema_prints_what_is_checked_in(claimpath: Claimpath) -> None:
    """The schemas of the installed release are those of the repository."""
    types = json.loads(claimpath("events", "schema", "--json").stdout)
    assert sorted(types.values()) == sorted(TOPICS)
    for each in types:
        written = (ROOT / "events" / "schemas" / f"{each}.json").read_text(encoding="utf-8")
        assert json.loads(claimpath("events", "schema", each).stdout) == json.loads(written)


def test_doctor_finds_nothing_wrong_with_what_is_ready(claimpath: Claimpath, env: dict[str, str]) -> None:
    """Exit code 0 once schema and topics are there; no secret in what it prints."""
    claimpath("topics", env=env)
    variables = {**env, "CLAIMPATH_API_TOKEN": CANARY * 4}
    plain, as_json = claimpath("doctor", env=variables), claimpath("doctor", "--json", env=variables)
    password = env["CLAIMPATH_DATABASE_URL"].split(":")[2].split("@")[0]
    for ended in (plain, as_json):
        assert ended.returncode == 0, ended.stdout
        assert CANARY not in ended.stdout
        assert password not in ended.stdout
    checks = {check["name"]: check["status"] for check in json.loads(as_json.stdout)["checks"]}
    assert checks == {"kafka": "ok", "topics": "ok", "group": "warning", "postgres": "ok", "schema": "ok"}


def test_doctor_says_what_to_do_about_what_is_missing(claimpath: Claimpath, env: dict[str, str]) -> None:
    """Exit code 1 without topics, 3 without servers."""
    ended = claimpath("doctor", env=env)
    assert ended.returncode == 1
    assert "run `claimpath topics`" in ended.stdout
    away = claimpath("doctor", "--json", env={**env, **NOBODY})
    assert away.returncode == 3
    checks = {check["name"]: check["status"] for check in json.loads(away.stdout)["checks"]}
    assert checks == {"kafka": "unreachable", "postgres": "unreachable"}


def test_a_claim_nobody_knows_is_not_found(claimpath: Claimpath, env: dict[str, str]) -> None:
    """Exit code 1; a time that is none is a usage error."""
    assert claimpath("claim", "show", "CLM-1", env=env).returncode == 1
    assert claimpath("claim", "show", "CLM-1", "--as-of", "yesterday", env=env).returncode == 2


def test_a_published_claim_can_be_shown_exported_and_verified(
    claimpath: Claimpath, env: dict[str, str], tmp_path: Path
) -> None:
    """From lines to the claim of the contract, by commands alone; SIGTERM ends the tracker with exit code 0."""
    env |= {"CLAIMPATH_TRACKER_LISTEN": f"127.0.0.1:{free_port()}"}
    assert claimpath("topics", env=env).returncode == 0
    assert claimpath("publish", "-", env=env, stdin=PUBLISHED).returncode == 0
    with subprocess.Popen(
        [str(COMMAND), "tracker"], cwd=tmp_path, env={**os.environ, **env}, stderr=subprocess.PIPE, text=True
    ) as tracker:
        shown = until(lambda: claimpath("claim", "show", "CLM-000123", "--json", env=env), '"state":"approved"')
        tracker.terminate()
        _, log = tracker.communicate(timeout=LIMIT_S)
    assert tracker.returncode == 0, log
    assert "p_5b1f0c9e" not in log
    found, wanted = json.loads(shown), json.loads(SHOWN)
    recorded = {line["recorded_at"] for line in found["events"] + found["history"]}
    for line in found["events"] + found["history"] + wanted["events"] + wanted["history"]:
        line["recorded_at"] = "then"
    assert {key: value for key, value in found.items() if key in wanted and key != "facets"} == {
        key: value for key, value in wanted.items() if key != "facets"
    }
    assert wanted["facets"].items() <= found["facets"].items()
    assert all(time.endswith("Z") for time in recorded)
    plain = claimpath("claim", "show", "CLM-000123", env=env).stdout
    assert all(word in plain for word in ("approved", "88.00", "835-1", "applied", "reimbursement"))
    exported = json.loads(claimpath("claims", "export", env=env).stdout)
    assert (exported["claim_id"], exported["state"], "events" in exported) == ("CLM-000123", "approved", False)
    rows = claimpath("claims", "export", "--format", "csv", env=env).stdout.splitlines()
    assert [row.split(",")[0] for row in rows] == ["claim_id", "CLM-000123"]
    verified = claimpath("verify", "--json", env=env)
    assert (verified.returncode, json.loads(verified.stdout)["difference_count"]) == (0, 0)
    rebuilt = claimpath("rebuild", "--json", env=env)
    assert (rebuilt.returncode, json.loads(rebuilt.stdout)["changed"]) == (0, 0)


def test_every_foreseen_error_exists() -> None:
    """Each error that has an exit code of its own is an exception of the module that is named."""
    for module, name, _ in terminal._FORESEEN:  # noqa: SLF001
        assert issubclass(getattr(importlib.import_module(module), name), Exception)


def test_a_bug_is_told_without_the_values_in_it(tmp_path: Path) -> None:
    """Class and place only, since an error's message may quote an event; exit code 70."""
    program = f"import sys; from services import terminal; sys.excepthook = terminal.end; raise ValueError('{CANARY}')"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 70
    assert "ValueError" in one_sentence(ended)
    assert CANARY not in ended.stderr


def test_a_reader_who_has_had_enough_is_no_error() -> None:
    """`claimpath … | head` says nothing about the closed pipe."""
    command = f"{COMMAND} events schema session.recorded.v1 | head -c 1"
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (ended.stdout, ended.stderr) == ("{", "")


@pytest.mark.timeout(180)
def test_the_stack_is_found_by_every_command(claimpath: Claimpath) -> None:
    """After `stack up` nothing needs to be set; `stack down` stops the servers and keeps their data."""
    assert claimpath("stack", "status").returncode == 1
    try:
        up = claimpath("stack", "up", "--json")
        assert up.returncode == 0, up.stderr
        addresses = json.loads(up.stdout)
        assert addresses.keys() == {"kafka", "database_url"}
        exports = claimpath("stack", "up").stdout.splitlines()
        assert exports == [
            f"export CLAIMPATH_KAFKA={addresses['kafka']}",
            f"export CLAIMPATH_DATABASE_URL={addresses['database_url']}",
        ]
        assert claimpath("migrate").returncode == 0
        assert claimpath("topics").returncode == 0
        assert claimpath("doctor").returncode == 0
        status = claimpath("stack", "status", "--json")
        assert (status.returncode, json.loads(status.stdout)["kafka"]) == (0, addresses["kafka"])
    finally:
        assert claimpath("stack", "down").returncode == 0
    assert claimpath("stack", "status").returncode == 1
    assert claimpath("doctor").returncode == 3
