"""Reports over a shop's days."""

from functools import partial
from typing import Annotated

from fastapi import Query, Request
from fastapi.responses import Response

from api.http import openapi
from api.http.parameters import ReportQuery, ShopId
from api.http.permissions import FOLDED, GuardedRouter, needs, take
from api.http.responses import json_response
from api.program import Program
from domain.money.period import DayRange
from infrastructure.queries.reports import VIEWS_READ, daily_report, daily_report_at
from infrastructure.queries.waiting import wait_for
from infrastructure.runtime import clock

router = GuardedRouter(tags=["queries"])


@router.get("/v1/shops/{shop_id}/reports/daily", responses=openapi.ok("DailyReport", "not_reached"))
@needs("reports:read")
async def daily(request: Request, shop_id: ShopId, query: Annotated[ReportQuery, Query()]) -> Response:
    """The shop's days in Beijing, as they stand now: orders formed, shipped on time, late, rules broken, penalties.

    Orders count on the day their group formed, violations on the day they arose. At another moment the whole shop
    is folded from the events that may be seen from it; of a large shop the command line does that.
    """
    program: Program = request.app.state.program
    now, viewpoint = clock.now(), query.viewpoint
    period = DayRange.of(query.since, query.until, viewpoint.judged_at(now))
    if not viewpoint.is_now:
        take(request, FOLDED)
        fold = partial(daily_report_at, program.url, shop_id, program.book, period, viewpoint, now)
        return json_response(await program.whole_shops.run(program.pool, shop_id, "report", fold))
    await wait_for(program.pool, shop_id, VIEWS_READ, query.min_position)
    async with program.pool.read() as connection:
        return json_response(await daily_report(connection, shop_id, period, now))
