"""Reading doubtful shipments: tracking numbers that the platform may take for false ones."""

from typing import Annotated

from fastapi import Query, Request
from fastapi.responses import Response

from api.http import openapi
from api.http.paging import decode_cursor, page_response
from api.http.parameters import DoubtfulQuery, ShopId
from api.http.permissions import GuardedRouter, needs
from api.http.problems import wrong
from api.program import Program
from infrastructure.queries.doubtful import USUAL_PERIOD, VIEWS_READ, list_doubtful, period
from infrastructure.queries.paging import OrderKey
from infrastructure.queries.waiting import wait_for
from infrastructure.runtime import clock

router = GuardedRouter(tags=["queries"])


@router.get("/v1/shops/{shop_id}/doubtful-shipments", responses=openapi.page("DoubtfulShipment", "not_reached"))
@needs("orders:read")
async def doubtful(request: Request, shop_id: ShopId, query: Annotated[DoubtfulQuery, Query()]) -> Response:
    """Orders whose tracking number another order had shortly before, or whose numbers were replaced often.

    Looked at are numbers that went up from `from` till `to` (default: the last 31 days), by order number. A page
    may hold fewer than asked for and still have a next one.
    """
    cursor = decode_cursor(query.cursor, OrderKey)
    program: Program = request.app.state.program
    since, until = period(query.since, query.until, clock.now())
    if not since < until <= since + USUAL_PERIOD:
        raise wrong("from", "`from` must lie before `to`, by 31 days at most")
    await wait_for(program.pool, shop_id, VIEWS_READ, query.min_position)
    async with program.pool.read() as connection:
        page = await list_doubtful(connection, shop_id, program.book, since, until, query.limit, cursor)
    return page_response(page)
