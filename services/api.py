"""The read-only HTTP API: one claim, the business metrics, live and ready; only these two without the token."""

import asyncio
import hmac
import logging
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from http import HTTPStatus
from typing import Annotated, Final
from urllib.parse import urlsplit

import msgspec
import uvicorn
from fastapi import FastAPI, Path, Query, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services import database, metrics, queries
from services.business import MAX_PAYERS, MAX_REASONS, shown
from services.settings import BadSetting, Settings, host_and_port, is_loopback, variable
from services.show import BadTime, read_time, show

READY_LIMIT_S: Final = 5
"""How long the database may take to say that it is there."""
SHUTDOWN_LIMIT_S: Final = 10
"""For answers under way; a supervisor that grants 15 s never has to kill."""
OPEN_PATHS: Final = frozenset({"/livez", "/readyz"})

# What is shown is some patient's: no cache keeps it and no page embeds it.
_HEADERS: Final = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})
_PROBES: Final = frozenset({"/livez", "/readyz", "/metrics"})
_log = logging.getLogger(__name__)


async def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT, then return 0; raises BadSetting where it must not or cannot listen."""
    listening = _listen(settings)
    config = uvicorn.Config(
        create_app(settings),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,  # it would name claims
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=SHUTDOWN_LIMIT_S,
    )
    # After its own shutdown uvicorn raises the signal again, for whoever was there before: that is us, and we are done.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: None)
    with listening:
        _log.info("the API listens on %s", settings.api_listen)
        await uvicorn.Server(config).serve(sockets=[listening])
    return 0


def create_app(settings: Settings) -> FastAPI:
    """Return the application; it reads as the role `claimpath_reader`, and from the database alone."""
    pool = database.engine(settings, application="claimpath-api", role="claimpath_reader")

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await pool.dispose()

    app = FastAPI(
        title="claimpath",
        summary="Therapy claims from the recorded session to the payer's money.",
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    token = None if settings.api_token is None else settings.api_token.get_secret_value()
    app.add_middleware(_Guard, token=token)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _misunderstood)
    app.add_exception_handler(BadTime, _bad_time)
    app.add_exception_handler(Exception, _failed)
    for failure in queries.FAILURES:
        app.add_exception_handler(failure, _database_failed)
    _add_probes(app, pool)
    _add_claims(app, pool)
    return app


def _add_probes(app: FastAPI, pool: queries.Database) -> None:
    scraping = asyncio.Lock()

    @app.get("/livez", summary="Whether the process answers", status_code=HTTPStatus.NO_CONTENT)
    async def livez() -> None: ...

    @app.get(
        "/readyz",
        summary="Whether the database answers and has this release's schema",
        status_code=HTTPStatus.NO_CONTENT,
        responses=_problems(HTTPStatus.SERVICE_UNAVAILABLE),
    )
    async def readyz() -> None:
        try:
            async with asyncio.timeout(READY_LIMIT_S):
                await database.require_schema(pool)
        except database.SchemaMissing as missing:
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, missing.__doc__) from None

    @app.get(
        "/metrics",
        summary="The business metrics, for Prometheus",
        dependencies=[Security(_BEARER)],
        response_class=Response,
        responses=_problems(HTTPStatus.UNAUTHORIZED, HTTPStatus.SERVICE_UNAVAILABLE),
    )
    async def metrics_(request: Request) -> Response:
        # One scrape at a time, however many Prometheus servers there are and however slow the database is.
        async with scraping:
            async with queries.reading(pool) as connection:
                business = await queries.business(connection, MAX_PAYERS, MAX_REASONS)
            accept = request.headers.get("accept", "")
            text, media_type = await asyncio.to_thread(metrics.expose_business, shown(business), accept)
        return Response(text, headers={"content-type": media_type})


def _add_claims(app: FastAPI, pool: queries.Database) -> None:
    # A path, as a claim id may hold slashes.
    @app.get(
        "/claims/{claim_id:path}",
        summary="One claim with its timeline, as `claimpath claim show --json` prints it",
        dependencies=[Security(_BEARER)],
        response_class=Response,
        responses={HTTPStatus.OK: {"content": {"application/json": {}}}}
        | _problems(
            HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE
        ),
    )
    async def claim(
        claim_id: Annotated[str, Path(description="The patient control number.")],
        as_of: Annotated[str | None, Query(description="With what had happened by this time or day (UTC).")] = None,
        known_at: Annotated[str | None, Query(description="With what had been recorded by this time or day.")] = None,
    ) -> Response:
        limits = [None if limit is None else read_time(limit) for limit in (as_of, known_at)]
        found = await show(pool, claim_id, *limits)
        if found is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, "No event of this claim is known, or was then.")
        return Response(msgspec.json.encode(found), media_type="application/json")


# For the OpenAPI document: `_Guard` is what asks for the token.
_BEARER: Final = HTTPBearer(auto_error=False)


class _Guard:
    """Stands before every route: the token or loopback, headers, and a log line with the route, never the path."""

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self._app = app
        self._digest = None if token is None else sha256(token.encode()).digest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s = time.monotonic()
        status = HTTPStatus.INTERNAL_SERVER_ERROR.value

        async def send_guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        refusal = self._refusal(scope)
        try:
            await (refusal or self._app)(scope, receive, send_guarded)
        finally:
            _log_request(scope, status, time.monotonic() - started_s)

    def _refusal(self, scope: Scope) -> Response | None:
        """Return what to answer instead; nothing is told apart, known routes from unknown ones neither."""
        headers = Headers(scope=scope)
        if self._digest is None:
            # A page elsewhere may point its own name at this machine; the browser then sends that name.
            if is_loopback(_host(headers.get("host", ""))):
                return None
            return _problem(HTTPStatus.MISDIRECTED_REQUEST, "Without a token, only requests to localhost are answered.")
        if scope["path"] in OPEN_PATHS:
            return None
        scheme, _, given = headers.get("authorization", "").partition(" ")
        # Digests are of one length, so the time to compare tells nothing of the token.
        digest = sha256(given.strip().encode("latin-1")).digest()
        if scheme.lower() == "bearer" and hmac.compare_digest(digest, self._digest):
            return None
        refusal = _problem(HTTPStatus.UNAUTHORIZED, "Show the token: `Authorization: Bearer …`.")
        refusal.headers["www-authenticate"] = "Bearer"
        return refusal


def _host(header: str) -> str:
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def _log_request(scope: Scope, status: int, seconds: float) -> None:
    template = getattr(scope.get("route"), "path_format", "(no route)")
    method = scope["method"] if scope["method"] in _METHODS else "(other)"
    level = logging.DEBUG if template in _PROBES and status < HTTPStatus.BAD_REQUEST else logging.INFO
    _log.log(level, "%s %s: %d in %d ms", method, template, status, round(seconds * 1000))


def _listen(settings: Settings) -> socket.socket:
    name, token = variable("api_listen"), variable("api_token")
    host, port = host_and_port(settings.api_listen)
    if settings.api_token is None and not is_loopback(host):
        raise BadSetting(f"{name}: others reach {host}, so set {token}, or listen on 127.0.0.1.")
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise BadSetting(f"{name}: cannot listen on {settings.api_listen} ({error.strerror}).") from None


# --- errors, as RFC 9457 writes them; no word of the request is repeated ---


def _problem(status: HTTPStatus, detail: str) -> Response:
    body = {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail}
    return Response(msgspec.json.encode(body), status.value, media_type="application/problem+json")


def _problems(*statuses: HTTPStatus) -> dict[int | str, dict[str, object]]:
    return {
        status.value: {"description": status.phrase, "content": {"application/problem+json": {}}} for status in statuses
    }


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    refusal = _problem(HTTPStatus(error.status_code), error.detail)
    refusal.headers.update(error.headers or {})
    return refusal


async def _misunderstood(_request: Request, _error: Exception) -> Response:
    return _problem(HTTPStatus.UNPROCESSABLE_ENTITY, "The request is not as /openapi.json describes it.")


async def _bad_time(_request: Request, _error: Exception) -> Response:
    return _problem(HTTPStatus.BAD_REQUEST, f"as_of and known_at: {BadTime.__doc__} In an address, + is written %2B.")


async def _database_failed(_request: Request, error: Exception) -> Response:
    _log.warning("the database does not answer: %s", database.describe_error(error))
    return _problem(HTTPStatus.SERVICE_UNAVAILABLE, "The database does not answer.")


async def _failed(_request: Request, _error: Exception) -> Response:
    return _problem(HTTPStatus.INTERNAL_SERVER_ERROR, "This is a bug of ours; the log names it.")
