"""Rule sets, and backtests of a shop: what other rules would have made of its orders."""

from typing import Annotated

import msgspec
from fastapi import Path, Query, Request
from fastapi.responses import Response

from api.http import openapi
from api.http.paging import listed
from api.http.parameters import ShopId
from api.http.permissions import FOLDED, GuardedRouter, needs, take
from api.http.problems import Refused
from api.http.request_schemas import BacktestRequest
from api.http.requests import MAX_COMMAND_BYTES, Parameters, body_of, invalid
from api.http.responses import json_response
from api.program import Program
from infrastructure.jobs import backtests as backtest_jobs

router = GuardedRouter(tags=["rules"])

BacktestId = Annotated[int, Path(ge=1, le=2**31 - 1, description="The backtest's number.")]


@router.get("/v1/rules", responses=openapi.page("RuleSet"))
@needs("rules:read")
async def rules(request: Request, query: Annotated[Parameters, Query()]) -> Response:
    """The rule sets that orders are judged by, by the date from which each is in force."""
    program: Program = request.app.state.program
    return listed(program.book.sets)


@router.post(
    "/v1/shops/{shop_id}/rules/backtests",
    status_code=202,
    responses=openapi.accepted("BacktestJob", "too_large", "too_many_backtests"),
    openapi_extra=openapi.body(
        "BacktestRequest", {"rules": 'name = "what-if"\n…', "from": "2026-03-01T00:00:00+08:00"}
    ),
)
@needs("rules:backtest")
async def ask(request: Request, shop_id: ShopId) -> Response:
    """Judge a shop's orders by another rule set and tell what would differ. Nothing is changed.

    The answer tells where to watch it (`Location`).
    """
    take(request, FOLDED)
    program: Program = request.app.state.program
    body = await body_of(request, MAX_COMMAND_BYTES)
    try:
        scope = msgspec.json.decode(body or b"{}", type=BacktestRequest).scope()
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise invalid(error) from error
    async with program.pool.write() as connection:
        job = await backtest_jobs.request(connection, shop_id, scope)
    program.jobs.wake()
    return json_response(job, 202, {"Location": f"/v1/shops/{shop_id}/rules/backtests/{job.id}"})


@router.get("/v1/shops/{shop_id}/rules/backtests", responses=openapi.page("BacktestJob"))
@needs("rules:read")
async def backtests(request: Request, shop_id: ShopId, query: Annotated[Parameters, Query()]) -> Response:
    """A shop's latest backtests without their results, the newest first."""
    program: Program = request.app.state.program
    async with program.pool.read() as connection:
        jobs = await backtest_jobs.of_shop(connection, shop_id)
    return listed(jobs)


@router.get(
    "/v1/shops/{shop_id}/rules/backtests/{backtest_id}", responses=openapi.ok("BacktestJob", "unknown_backtest")
)
@needs("rules:read")
async def backtest(request: Request, shop_id: ShopId, backtest_id: BacktestId) -> Response:
    """How far a backtest is: `state`, `done` of `total` events, rate, seconds left, and in the end its `result`."""
    program: Program = request.app.state.program
    async with program.pool.read() as connection:
        job = await backtest_jobs.find(connection, shop_id, backtest_id)
    if job is None:
        raise Refused("unknown_backtest", f"Shop {shop_id} has no backtest {backtest_id}.")
    return json_response(job)
