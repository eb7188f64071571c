"""What our HTTP servers have in common: how they listen, the guard before every route, and errors as problems."""

import hmac
import logging
import signal
import socket
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from hashlib import sha256
from http import HTTPStatus
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import msgspec
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.settings import BadSetting, Settings, host_and_port, is_loopback, variable

SHUTDOWN_LIMIT_S: Final = 10
"""For answers under way; a supervisor that grants 15 s never has to kill."""
READY_LIMIT_S: Final = 5
"""How long a server that we stand on may take to say that it is there."""
OPEN_PATHS: Final = frozenset({"/livez", "/readyz"})

# For the OpenAPI document: `_Guard` is what asks for the token.
BEARER: Final = HTTPBearer(auto_error=False)

Server = Literal["api", "intake"]
_NAMES: Final[dict[Server, str]] = {"api": "the API", "intake": "the intake"}

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


async def run(server: Server, settings: Settings, app: FastAPI) -> int:
    """Serve until SIGTERM or SIGINT, then return 0; raises BadSetting where it must not or cannot listen."""
    listening = _listen(server, settings)
    config = uvicorn.Config(
        app,
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
        _log.info("%s listens on %s", _NAMES[server], _address(server, settings))
        await uvicorn.Server(config).serve(sockets=[listening])
    return 0


def new_app(
    server: Server, settings: Settings, summary: str, lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]]
) -> FastAPI:
    """Return an application with the guard, its errors and /livez; the routes are the caller's."""
    app = FastAPI(
        title="claimpath",
        summary=summary,
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.add_middleware(_Guard, token=_token(server, settings))
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _misunderstood)
    app.add_exception_handler(Exception, _failed)

    @app.get("/livez", summary="Whether the process answers", status_code=HTTPStatus.NO_CONTENT)
    async def livez() -> None: ...

    return app


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
            return problem(HTTPStatus.MISDIRECTED_REQUEST, "Without a token, only requests to localhost are answered.")
        if scope["path"] in OPEN_PATHS:
            return None
        scheme, _, given = headers.get("authorization", "").partition(" ")
        # Digests are of one length, so the time to compare tells nothing of the token.
        digest = sha256(given.strip().encode("latin-1")).digest()
        if scheme.lower() == "bearer" and hmac.compare_digest(digest, self._digest):
            return None
        refusal = problem(HTTPStatus.UNAUTHORIZED, "Show the token: `Authorization: Bearer …`.")
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


def _listen(server: Server, settings: Settings) -> socket.socket:
    name, token = variable(f"{server}_listen"), variable(f"{server}_token")
    host, port = host_and_port(_address(server, settings))
    if _token(server, settings) is None and not is_loopback(host):
        raise BadSetting(f"{name}: others reach {host}, so set {token}, or listen on 127.0.0.1.")
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise BadSetting(f"{name}: cannot listen on {_address(server, settings)} ({error.strerror}).") from None


def _address(server: Server, settings: Settings) -> str:
    return settings.api_listen if server == "api" else settings.intake_listen


def _token(server: Server, settings: Settings) -> str | None:
    secret = settings.api_token if server == "api" else settings.intake_token
    return None if secret is None else secret.get_secret_value()


# --- errors, as RFC 9457 writes them; no word of the request is repeated ---


def problem(status: HTTPStatus, detail: str) -> Response:
    """Return an error as an answer."""
    body = {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail}
    return Response(msgspec.json.encode(body), status.value, media_type="application/problem+json")


def problems(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """Return what the OpenAPI document says of such errors."""
    return {
        status.value: {"description": status.phrase, "content": {"application/problem+json": {}}} for status in statuses
    }


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    refusal = problem(HTTPStatus(error.status_code), error.detail)
    refusal.headers.update(error.headers or {})
    return refusal


async def _misunderstood(_request: Request, _error: Exception) -> Response:
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, "The request is not as /openapi.json describes it.")


async def _failed(_request: Request, _error: Exception) -> Response:
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "This is a bug of ours; the log names it.")
