"""Reports over a shop's days."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from api import openapi
from api.program import Program
from api.queries import ReportQuery, ShopId
from api.routes.orders import wait_for, wrong
from infrastructure import clock
from infrastructure.projections.reports import BadPeriod, Period, daily_report
from infrastructure.projections.views import ORDERS, VIOLATIONS

router = APIRouter(tags=["queries"])


@router.get("/v1/shops/{shop_id}/reports/daily", responses=openapi.ok("DailyReport", "not_reached"))
async def daily(request: Request, shop_id: ShopId, query: Annotated[ReportQuery, Query()]) -> Response:
    """The shop's days in Beijing, as they stand now: orders formed, shipped on time, late, rules broken, penalties.

    Orders count on the day their group formed, violations on the day they arose.
    """
    program: Program = request.app.state.program
    now = clock.now()
    try:
        period = Period.of(query.since, query.until, now)
    except BadPeriod as error:
        raise wrong("from", str(error)) from error
    if query.min_position:
        for view in (ORDERS, VIOLATIONS):
            await wait_for(program, shop_id, view, query.min_position)
    async with program.pool.connection() as connection:
        report = await daily_report(connection, shop_id, period, now)
    return Response(msgspec.json.encode(report), media_type="application/json")
