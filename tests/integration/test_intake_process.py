"""The HTTP intake as a process of its own, and the events' page as its publishers read it."""

import asyncio
import json
import os
import re
import shutil
import signal
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from events import reference
from services import publish
from services.intake import http
from services.settings import Settings
from tests.http_events import BATCH, BEARER, EVENTS, FREE, REFUSED, SINGLE, TOKEN, batch, changed, in_headers
from tests.running import STOP_LIMIT_S, environment, free_port, until

PAGE = reference.PAGE.read_text("utf-8")
SHELL = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
START_LIMIT_S = 30


@asynccontextmanager
async def serving(settings: Settings, log: Path) -> AsyncIterator[str]:
    """Run the command as a process that logs to a file, lend its address, and end it as a supervisor does."""
    listen = f"127.0.0.1:{free_port()}"
    changes = {"intake_listen": listen, "intake_token": SecretStr(TOKEN), "log_format": "json"}
    given = environment(settings.model_copy(update=changes))
    command = (sys.executable, "-c", "from services.cli import main; main()", "intake", "serve")
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(*command, env=given, stderr=output)

    async def ready() -> bool:
        assert process.returncode is None, log.read_text()
        try:
            async with httpx.AsyncClient() as caller:
                return (await caller.get(f"http://{listen}/readyz")).status_code == 204
        except httpx.TransportError:
            return False

    try:
        await until(ready, START_LIMIT_S, "the intake to be ready", log)
        yield listen
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), STOP_LIMIT_S) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_the_process_tells_nothing_of_the_events_and_stops_in_time(
    settings: Settings, topics: None, tmp_path: Path
) -> None:
    """Neither log nor answers nor metrics hold a word of an event, published or refused, nor the token; SIGTERM ends
    the process with 0.
    """
    canary, log = f"cnry{uuid.uuid4().hex[:6]}", tmp_path / "intake.log"
    good = [FREE.sub(canary.encode(), event) for event in EVENTS]
    good = [changed(event, '"data":{', f'"data":{{"{canary}":{{"{canary}":"{canary}"}},') for event in good]
    bad = [FREE.sub(canary.encode(), event) for _, event in REFUSED]
    bad += [
        changed(good[4], '"88.00"', f'"{canary}"'),
        changed(good[4], '"approved"', f'"{canary}"'),
        changed(good[4], "payer.response.v1", canary),
        changed(good[4], "2026-03-20T", canary),
        changed(good[1], '"lines":[', f'"lines":[{{"{canary}":"{canary}"}},'),
        f'{{"{canary}":{canary}}}'.encode(),
    ]
    headers, data = in_headers(good[0])
    async with serving(settings, log) as listen, httpx.AsyncClient(base_url=f"http://{listen}", timeout=30) as caller:
        assert (await caller.get("/metrics")).status_code == 401
        caller.headers.update(BEARER)
        answers = [
            await caller.post("/events", content=batch(*good, *bad), headers=BATCH),
            await caller.post(f"/events?{canary}={canary}", content=bad[-1], headers=SINGLE),
            await caller.post("/events", content=data[1:], headers=headers),
            await caller.post("/events", content=canary, headers={"content-type": canary}),
            await caller.post(f"/{canary}", content=canary),
            await caller.get("/metrics"),
        ]
        assert [answer.status_code for answer in answers] == [207, 422, 422, 415, 404, 200]
    assert (answers[0].json()["published"], answers[0].json()["refused"]) == (len(good), len(bad))
    shown = answers[-1].text
    assert f'claimpath_intake_events_total{{outcome="published"}} {len(good)}.0' in shown
    assert f'claimpath_intake_events_total{{outcome="refused"}} {len(bad) + 2}.0' in shown
    assert 'claimpath_intake_refusals_total{reason="too_deep"} 1.0' in shown
    assert "the intake listens on" in log.read_text()
    assert "POST /events: 207" in log.read_text()
    for text in (log.read_text(), *(answer.text + str(answer.headers) for answer in answers)):
        assert canary not in text
        assert TOKEN not in text


@pytest.mark.skipif(not shutil.which("curl"), reason="the examples are run with curl")
async def test_what_the_page_shows_can_be_copied(settings: Settings, topics: None, tmp_path: Path) -> None:
    """Each example for a shell on the events' page publishes what it says: one event, a file of them, one again."""
    async with serving(settings, tmp_path / "intake.log") as listen:
        told = []
        for lines in SHELL:
            script = lines.replace("localhost:8081", listen)
            shell = await asyncio.create_subprocess_exec(
                *("sh", "-c", script),
                cwd=reference.HERE,
                env={**os.environ, "TOKEN": TOKEN},
                stdout=asyncio.subprocess.PIPE,
            )
            answer, _ = await asyncio.wait_for(shell.communicate(), START_LIMIT_S)
            assert shell.returncode == 0, answer
            told.append(json.loads(answer)["published"])
    examples = (reference.HERE / "examples" / "claim.submitted.v1.jsonl").read_text().splitlines()
    assert told == [1, len(examples), 1]


def test_the_page_tells_the_limits_and_every_status() -> None:
    """What publishers read is what the code holds."""
    section = PAGE.partition("## Over HTTP")[2].partition("\n## ")[0]
    for limit in (http.MAX_BODY_BYTES, http.MAX_EVENTS, http.MAX_BODIES, http.BODY_LIMIT_S, publish.ANSWER_LIMIT_S):
        assert re.search(rf"\| {limit:,}\b", section), limit
    statuses = set(re.findall(r"^\| `(\d+)` \|", section, re.MULTILINE))
    assert statuses == {"200", "207", "400", "401", "408", "413", "415", "421", "422", "500", "503"}
