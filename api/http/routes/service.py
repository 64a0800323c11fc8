"""What operates the program: health, metrics, and the texts its problems point at."""

import html

import psycopg
from fastapi import Request
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from psycopg_pool import PoolTimeout

from api.http import openapi
from api.http.permissions import OPEN, GuardedRouter, needs
from api.http.problems import Refused, kind_of
from api.http.responses import json_response
from api.program import Program
from infrastructure.projections.builds import missing

router = GuardedRouter(tags=["service"])


@router.get("/", include_in_schema=False)
@needs(OPEN)
async def root() -> Response:
    return RedirectResponse("/docs")


@router.get("/healthz")
@needs(OPEN)
async def healthz() -> Response:
    """The process is alive; nothing else is looked at."""
    return json_response({"status": "ok"})


@router.get("/readyz", responses=openapi.problem_responses("unavailable"))
@needs(OPEN)
async def readyz(request: Request) -> Response:
    """The database answers and every list has its rows, so requests can be served."""
    program: Program = request.app.state.program
    try:
        async with program.pool.read() as connection:
            unbuilt = await missing(connection, program.book)
    except (psycopg.Error, PoolTimeout) as error:
        raise Refused("unavailable") from error
    if unbuilt:
        names = ", ".join(view.name for view in unbuilt)
        raise Refused("unavailable", f"These lists are still being built: {names}.")
    return json_response({"status": "ready"})


@router.get("/metrics", response_class=PlainTextResponse)
@needs("service:read")
async def metrics() -> Response:
    """Counters and gauges in the Prometheus text format."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


@router.get("/problems/{code}", response_class=HTMLResponse, responses=openapi.problem_responses("not_found"))
@needs(OPEN)
async def problem(code: str) -> Response:
    """What a problem's `type` points at: what is wrong and what to do next."""
    kind = kind_of(code)
    if kind is None:
        raise Refused("not_found", f"No problem is called {code[:100]!r}.")
    title, advice = html.escape(kind.title), html.escape(kind.advice)
    return HTMLResponse(
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>"
        f"<h1>{title}</h1><p><code>{code}</code>, status {kind.status}</p><p>{advice}</p></html>"
    )
