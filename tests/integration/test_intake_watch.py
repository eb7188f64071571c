"""`claimpath intake watch`: a folder into which others put files, with a real Kafka behind it."""

import asyncio
import json
import os
import socket
import time
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer

from services import kafka
from services.intake.watch import DONE, FAILED, REPORT, SETTLE_S
from services.settings import Settings
from tests.running import Process, ends, free_port, until, watch
from tests.x12_files import batch, decided, file, interchange, remittance, sent, served

CANARY = "CANARYWREN"
GOOD = file(*interchange(batch(sent("W-1*90***11:B:1*Y*A*Y*Y", *served(1, "97124", "90"), member=CANARY))))
BAD = file(*interchange(remittance(decided("W-1*1*90*9O*0*12*ICN-1*11*1", f"NM1*QC*1*{CANARY}*JANE****MI*{CANARY}"))))


@pytest.fixture
async def ours(settings: Settings, tmp_path: Path) -> Settings:
    """Settings of a clinic whose topics are there."""
    await kafka.create_topics(settings)
    return settings.model_copy(update={"data_dir": tmp_path / "data"})


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """The folder that is watched."""
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


def put(folder: Path, name: str, text: bytes) -> None:
    """Put a file there that was written to a while ago."""
    path = folder / f".{name}"
    path.write_bytes(text)
    long_ago = time.time() - SETTLE_S - 1
    os.utime(path, (long_ago, long_ago))
    path.rename(folder / name)


async def arrived(folder: Path, name: str, log: Path) -> Path:
    """Wait until a file is in a folder, with its report; return it."""
    path = folder / name
    await until(path.exists, 30, f"{name} in {folder.name}/", log)
    assert path.with_name(name + REPORT).exists()
    return path


async def shows(running: Process, series: str) -> bool:
    """Whether the metrics hold a series."""
    return series in await running.metrics()


async def published(settings: Settings) -> int:
    """How many records there are."""
    return sum((await ends(settings)).values())


async def test_files_are_published_and_moved_aside_with_their_report(
    ours: Settings, inbox: Path, tmp_path: Path
) -> None:
    """A good file ends in done/, one with an error in failed/, the error beside it and what is good in it published;
    the metrics count both, and no word of a patient's stands in log or metrics.
    """
    log = tmp_path / "watch.log"
    put(inbox, f"{CANARY}.837", GOOD)
    put(inbox, "b.835", BAD + GOOD)
    async with watch(ours, inbox, log) as running:
        moved = await arrived(inbox / DONE, f"{CANARY}.837", log)
        assert moved.read_bytes() == GOOD
        await arrived(inbox / FAILED, "b.835", log)
        put(inbox, f"{CANARY}.837", GOOD)
        await arrived(inbox / DONE, f"2-{CANARY}.837", log)
        report = [json.loads(line) for line in (inbox / FAILED / f"b.835{REPORT}").read_text().splitlines()]
        assert [(line["what"], line.get("rule", "")) for line in report if line["what"] == "refused"] == [
            ("refused", "CLP04: money is digits, with a minus before and a point within where needed")
        ]
        assert report[-1]["what"] == "tally"
        metrics = await running.metrics()
        assert 'claimpath_intake_files_total{result="done"} 2.0' in metrics
        assert 'claimpath_intake_files_total{result="failed"} 1.0' in metrics
        assert 'claimpath_intake_file_events_total{event="original"} 3.0' in metrics
        assert 'claimpath_intake_findings_total{finding="remittance_balance"} 1.0' in metrics
        await until(lambda: shows(running, "claimpath_intake_waiting_files 0.0"), 10, "no file to wait", log)
        await running.stop()
    assert await published(ours) == 3
    assert {path.name for path in inbox.iterdir() if not path.name.startswith(".")} == {DONE, FAILED}
    assert CANARY not in metrics + running.said()


async def test_a_file_that_is_still_written_is_left_alone(ours: Settings, inbox: Path, tmp_path: Path) -> None:
    """What was written to a moment ago waits, and so does what an uploader has not given its name yet."""
    log = tmp_path / "watch.log"
    put(inbox, "upload.837.part", GOOD)
    (inbox / "fresh.837").write_bytes(GOOD)
    async with watch(ours, inbox, log) as running:
        put(inbox, "ready.837", GOOD)
        await arrived(inbox / DONE, "ready.837", log)
        assert (inbox / "fresh.837").exists()
        assert "claimpath_intake_waiting_files 3.0" in await running.metrics()
        await arrived(inbox / DONE, "fresh.837", log)
        assert (inbox / "upload.837.part").exists()


async def test_files_wait_while_kafka_is_away(ours: Settings, inbox: Path, tmp_path: Path) -> None:
    """Without Kafka a file stays where it is, SIGTERM is heard at once, and a process that finds Kafka publishes it."""
    log = tmp_path / "watch.log"
    put(inbox, "a.837", GOOD)
    away = ours.model_copy(update={"kafka": f"127.0.0.1:{free_port()}"})
    async with watch(away, inbox, log) as running:
        await running.says("a file waits")
        assert await running.stop() < 10
    assert (inbox / "a.837").exists()
    async with watch(ours, inbox, log):
        await arrived(inbox / DONE, "a.837", log)


async def test_a_silent_kafka_keeps_nobody_from_ending(ours: Settings, inbox: Path, tmp_path: Path) -> None:
    """Told to end while Kafka takes the connection and says nothing, the process ends in time and the file stays."""
    log = tmp_path / "watch.log"
    put(inbox, "a.837", GOOD)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        deaf = ours.model_copy(update={"kafka": f"127.0.0.1:{silent.getsockname()[1]}"})
        async with watch(deaf, inbox, log) as running:
            await running.says("watching a folder")
            await asyncio.sleep(1)
            assert await running.stop() < 10
    assert (inbox / "a.837").exists()


async def test_a_folder_is_watched_by_one_process(ours: Settings, inbox: Path, tmp_path: Path) -> None:
    """A second process for the same folder ends with exit code 2 and says why."""
    first, second = tmp_path / "first.log", tmp_path / "second.log"
    async with watch(ours, inbox, first) as running:
        await running.says("watching a folder")
        async with watch(ours, inbox, second) as other:
            assert await other.ended(30) == 2
            assert other.said() == "claimpath: Another process watches this folder: one is enough.\n"
        await running.stop()


async def test_a_kill_on_the_way_publishes_nothing_twice_in_effect(ours: Settings, inbox: Path, tmp_path: Path) -> None:
    """Killed while it reads, the process finds the file again, and the same events carry the same identities."""
    log = tmp_path / "watch.log"
    claims = [sent(f"K-{n}*90***11:B:1*Y*A*Y*Y", *served(1, "97124", "90")) for n in range(3_000)]
    put(inbox, "many.837", file(*interchange(batch(*claims))))
    async with watch(ours, inbox, log) as running:
        await until(lambda: published_some(ours), 30, "some records", log)
        await running.kill()
    assert (inbox / "many.837").exists()
    async with watch(ours, inbox, log):
        await arrived(inbox / DONE, "many.837", log)
    count = await published(ours)
    assert 3_000 < count <= 6_000
    assert len(await identities(ours, count)) == 3_000


async def published_some(settings: Settings) -> bool:
    """Whether anything is published."""
    return await published(settings) > 0


async def identities(settings: Settings, count: int) -> set[tuple[str, str]]:
    """The claim and id of every record."""
    found: set[tuple[str, str]] = set()
    options = kafka.client_options(settings, application="test")
    async with AIOKafkaConsumer(kafka.topic(settings, "claim-submitted"), **options, auto_offset_reset="earliest") as c:
        for _ in range(count):
            record = await asyncio.wait_for(c.getone(), 30)
            event = json.loads(record.value or b"")
            found.add((event["subject"], event["id"]))
    return found
