"""The HTTP API as its callers meet it."""

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from services.api import create_app, run
from services.settings import BadSetting, Settings
from services.show import claim_show
from tests.stored import store_events
from tests.stories import CLAIM, appeal, original, response, session

TOKEN = "a-token-of-the-tests"
BEARER = {"authorization": f"Bearer {TOKEN}"}
START_LIMIT_S = 30
STOP_LIMIT_S = 15
ROOT = Path(__file__).resolve().parents[2]


@asynccontextmanager
async def calling(
    settings: Settings, *, token: str | None = TOKEN, host: str = "127.0.0.1"
) -> AsyncIterator[httpx.AsyncClient]:
    """Lend a caller of an API with that token."""
    secret = None if token is None else SecretStr(token)
    app = create_app(settings.model_copy(update={"api_token": secret}))
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}:8080") as caller:
            yield caller


@pytest.fixture
async def caller(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A caller who shows the token."""
    async with calling(settings) as found:
        found.headers.update(BEARER)
        yield found


async def test_a_claim_is_told_as_the_command_tells_it(settings: Settings, caller: httpx.AsyncClient) -> None:
    """One claim, now, as of a time and as known at a time, is what `claim show --json` prints."""
    await store_events(settings, [session(), original(), response("denied", day=20), appeal(day=32)])
    told = await caller.get(f"/claims/{CLAIM}")
    assert (told.status_code, told.headers["content-type"]) == (200, "application/json")
    assert list(told.json().items()) == list((await claim_show(settings, CLAIM) or {}).items())
    for limits in ({"as_of": "2026-03-05"}, {"known_at": told.json()["events"][0]["recorded_at"]}):
        assert (await caller.get(f"/claims/{CLAIM}", params=limits)).json() == await claim_show(
            settings, CLAIM, **limits
        )
    assert (await caller.get(f"/claims/{CLAIM}", params={"as_of": "2026-03-05"})).json()["state"] == "submitted"
    assert (await caller.get(f"/claims/{CLAIM}", params={"known_at": "2026-03-05"})).status_code == 404


@pytest.mark.parametrize("claim_id", ["A/B", "ü é", "a?b=c&d#e", "%2F", "/x/", "..b"])
async def test_a_claim_id_in_a_path_may_be_escaped(
    settings: Settings, caller: httpx.AsyncClient, claim_id: str
) -> None:
    """Slashes and whatever else a provider puts into an id arrive when they are percent-encoded."""
    await store_events(settings, [session(claim_id=claim_id)])
    path = "".join(f"%{byte:02X}" for byte in claim_id.encode())
    told = await caller.get(f"/claims/{path}")
    assert told.status_code == 200
    assert told.json()["claim_id"] == claim_id


async def test_what_is_wrong_is_a_problem_that_repeats_nothing(
    caller: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Errors have the form of RFC 9457, and neither they nor the log hold an id or a value of the request."""
    caplog.set_level(logging.INFO, "services")
    secret = "SECRET-4711"
    for method, path, status in (
        ("GET", f"/claims/{secret}", 404),
        ("GET", f"/claims/{secret}%00", 404),
        ("GET", f"/claims/{secret}?as_of={secret}", 400),
        ("GET", f"/claims/{secret}?known_at=2026-03-01T10:00:00", 400),
        ("GET", "/claims/", 404),
        ("GET", f"/{secret}", 404),
        ("GET", f"/metrics/{secret}", 404),
        ("GET", "/docs", 404),
        ("POST", f"/claims/{secret}", 405),
        (secret, f"/claims/{secret}", 405),
    ):
        answer = await caller.request(method, path)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
        assert answer.json()["status"] == status
        assert set(answer.json()) == {"type", "title", "status", "detail"}
        assert secret not in answer.text + str(answer.headers)
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("services")]
    assert secret not in "".join(ours)
    assert [line.rpartition(" in ")[0] for line in ours[:2]] == ["GET /claims/{claim_id}: 404"] * 2


async def test_without_the_token_nothing_is_told(settings: Settings) -> None:
    """Known and unknown routes answer alike, before anything is looked up; live and ready stay open."""
    await store_events(settings, [session()])
    wrong = (None, TOKEN, "Bearer", f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer \xe9\xfc")
    asked = (
        ("GET", f"/claims/{CLAIM}"),
        ("GET", "/metrics"),
        ("GET", "/openapi.json"),
        ("GET", "/nowhere"),
        ("POST", "/livez/"),
    )
    async with calling(settings, host="claimpath.example") as caller:
        headers = [{} if shown is None else {b"authorization": shown.encode("latin-1")} for shown in wrong]
        answers = [await caller.request(*request, headers=shown) for shown in headers for request in asked]
        assert {answer.status_code for answer in answers} == {401}
        assert {answer.headers["www-authenticate"] for answer in answers} == {"Bearer"}
        assert len({answer.text for answer in answers}) == 1
        assert (await caller.get("/livez")).status_code == 204
        assert (await caller.get("/readyz")).status_code == 204
        assert (await caller.get(f"/claims/{CLAIM}", headers=BEARER)).status_code == 200


async def test_without_a_token_only_this_machine_is_answered(settings: Settings) -> None:
    """Where no token is set, a web page that points a name of its own at this machine gets nothing."""
    for host, status in (
        ("127.0.0.1", 200),
        ("localhost", 200),
        ("[::1]", 200),
        ("claimpath.example", 421),
        ("10.0.0.7", 421),
    ):
        async with calling(settings, token=None, host=host) as caller:
            assert (await caller.get("/metrics")).status_code == status
    for listen in ("0.0.0.0:8080", "[::]:8080", "claims.example:8080"):
        with pytest.raises(BadSetting, match=r"CLAIMPATH_API_LISTEN: others reach .*, so set CLAIMPATH_API_TOKEN"):
            await run(settings.model_copy(update={"api_listen": listen}))


async def test_answers_are_kept_by_nobody_and_described(caller: httpx.AsyncClient) -> None:
    """No cache keeps an answer; the OpenAPI document tells the routes and asks for the token."""
    answer = await caller.get("/openapi.json")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    paths = answer.json()["paths"]
    assert set(paths) == {"/livez", "/readyz", "/metrics", "/claims/{claim_id}"}
    assert {method for path in paths.values() for method in path} == {"get"}
    assert [path for path in paths if "security" in paths[path]["get"]] == ["/metrics", "/claims/{claim_id}"]


async def test_ready_means_a_database_with_this_schema(settings: Settings) -> None:
    """Without a database, or with another schema, the process lives and is not ready."""
    nowhere = settings.model_copy(update={"database_url": SecretStr("postgresql://u:p@127.0.0.1:1/d")})
    async with calling(nowhere) as caller:
        assert (await caller.get("/livez")).status_code == 204
        for path in ("/readyz", "/metrics", f"/claims/{CLAIM}"):
            answer = await caller.get(path, headers=BEARER)
            assert (answer.status_code, answer.json()["detail"]) == (503, "The database does not answer.")
    async with calling(settings) as caller:
        assert (await caller.get("/readyz")).status_code == 204


async def test_the_process_serves_until_it_is_told_to_stop(settings: Settings) -> None:
    """On a real socket: it answers, its log names neither claim nor token, and SIGTERM ends it with 0."""
    await store_events(settings, [session()])
    with socket.create_server(("127.0.0.1", 0)) as free:
        listen = f"127.0.0.1:{free.getsockname()[1]}"
    program = (
        "import asyncio, sys; from services import api, logs, settings; logs.configure('json');"
        "sys.exit(asyncio.run(api.run(settings.load(lambda _: None))))"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program),
        env=os.environ
        | {
            "CLAIMPATH_KAFKA": settings.kafka,
            "CLAIMPATH_DATABASE_URL": settings.database_url.get_secret_value(),
            "CLAIMPATH_API_LISTEN": listen,
            "CLAIMPATH_API_TOKEN": TOKEN,
        },
        cwd=ROOT,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://{listen}") as caller:
            await until_ready(caller)
            assert (await caller.get(f"/claims/{CLAIM}", headers=BEARER)).json()["claim_id"] == CLAIM
            assert (await caller.get(f"/claims/{CLAIM}")).status_code == 401
            with pytest.raises(BadSetting, match=rf"CLAIMPATH_API_LISTEN: cannot listen on {listen} \(Address"):
                await run(settings.model_copy(update={"api_listen": listen}))
        process.send_signal(signal.SIGTERM)
        _, log = await asyncio.wait_for(process.communicate(), STOP_LIMIT_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0
    assert f"the API listens on {listen}".encode() in log
    assert b"GET /claims/{claim_id}: 200" in log
    assert CLAIM.encode() not in log
    assert TOKEN.encode() not in log


async def until_ready(caller: httpx.AsyncClient) -> None:
    """Wait until the process answers that it is ready."""
    async with asyncio.timeout(START_LIMIT_S):
        while True:
            try:
                if (await caller.get("/readyz")).status_code == 204:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.1)
