"""The read-only HTTP API: one claim, the business metrics, live and ready; only these two without the token."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Annotated

import msgspec
from fastapi import FastAPI, HTTPException, Path, Query, Request, Response, Security

from services import database, http_server, metrics, queries
from services.business import MAX_PAYERS, MAX_REASONS, shown
from services.http_server import BEARER, READY_LIMIT_S, new_app, problem, problems
from services.settings import Settings
from services.show import BadTime, read_time, show

_log = logging.getLogger(__name__)


async def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT, then return 0; raises BadSetting where it must not or cannot listen."""
    return await http_server.run("api", settings, create_app(settings))


def create_app(settings: Settings) -> FastAPI:
    """Return the application; it reads as the role `claimpath_reader`, and from the database alone."""
    pool = database.engine(settings, application="claimpath-api", role="claimpath_reader")

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await pool.dispose()

    summary = "Therapy claims from the recorded session to the payer's money."
    app = new_app("api", settings, summary, lifespan)
    app.add_exception_handler(BadTime, _bad_time)
    for failure in queries.FAILURES:
        app.add_exception_handler(failure, _database_failed)
    _add_probes(app, pool)
    _add_claims(app, pool)
    return app


def _add_probes(app: FastAPI, pool: queries.Database) -> None:
    scraping = asyncio.Lock()

    @app.get(
        "/readyz",
        summary="Whether the database answers and has this release's schema",
        status_code=HTTPStatus.NO_CONTENT,
        responses=problems(HTTPStatus.SERVICE_UNAVAILABLE),
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
        dependencies=[Security(BEARER)],
        response_class=Response,
        responses=problems(HTTPStatus.UNAUTHORIZED, HTTPStatus.SERVICE_UNAVAILABLE),
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
        dependencies=[Security(BEARER)],
        response_class=Response,
        responses={HTTPStatus.OK: {"content": {"application/json": {}}}}
        | problems(
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


async def _bad_time(_request: Request, _error: Exception) -> Response:
    return problem(HTTPStatus.BAD_REQUEST, f"as_of and known_at: {BadTime.__doc__} In an address, + is written %2B.")


async def _database_failed(_request: Request, error: Exception) -> Response:
    _log.warning("the database does not answer: %s", database.describe_error(error))
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, "The database does not answer.")
