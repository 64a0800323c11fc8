"""Reports over a shop's days."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, TypeVar

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from api.http import openapi
from api.http.parameters import ReportQuery, ShopId
from api.http.problems import Refused, wrong
from api.http.responses import json_response
from api.http.routes.orders import at_another_moment, wait_for
from api.program import Program
from infrastructure.log.log import read_head
from infrastructure.projections.views import ORDERS, VIOLATIONS
from infrastructure.queries.as_of import Moment
from infrastructure.queries.reports import BadPeriod, Period, daily_report, daily_report_at
from infrastructure.runtime import clock

router = APIRouter(tags=["queries"])

T = TypeVar("T")

MOST_EVENTS = 300_000
"""So large a shop is folded for a report while the caller waits: some seconds' work for every core."""


@router.get("/v1/shops/{shop_id}/reports/daily", responses=openapi.ok("DailyReport", "not_reached"))
async def daily(request: Request, shop_id: ShopId, query: Annotated[ReportQuery, Query()]) -> Response:
    """The shop's days in Beijing, as they stand now: orders formed, shipped on time, late, rules broken, penalties.

    Orders count on the day their group formed, violations on the day they arose. At another moment the whole shop
    is folded from the events that may be seen from it; of a large shop the command line does that.
    """
    program: Program = request.app.state.program
    now = clock.now()
    moment = Moment(query.as_of, query.known_at) if at_another_moment(query) else None
    try:
        period = Period.of(query.since, query.until, moment.judged_at if moment else now)
    except BadPeriod as error:
        raise wrong("from", str(error)) from error
    if moment:
        report = partial(daily_report_at, program.url, shop_id, program.book, period, moment)
        return json_response(await of_every_order(program, shop_id, "report", report))
    if query.min_position:
        for view in (ORDERS, VIOLATIONS):
            await wait_for(program, shop_id, view, query.min_position)
    async with program.pool.read() as connection:
        return json_response(await daily_report(connection, shop_id, period, now))


async def of_every_order(program: Program, shop_id: str, command: str, fold: Callable[[], Awaitable[T]]) -> T:
    """What needs every order of a shop to be folded: of one shop at a time, and not of a large one.

    ``command`` of the command line does it for any shop. Raises ``Refused``.
    """
    async with program.pool.read() as connection:
        events = await read_head(connection, shop_id)
    if events > MOST_EVENTS:
        detail = f"the shop has {events:,} events; `shiplock {command} {shop_id} --as-of` folds them, however many"
        raise wrong("as_of", detail)
    if program.replaying.locked():
        raise Refused("overloaded", "A report of another moment is being made; only one is at a time.")
    async with program.replaying:
        return await fold()
