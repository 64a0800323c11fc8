"""Reading doubtful shipments: tracking numbers that the platform may take for false ones."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from api.http import openapi
from api.http.paging import decode_cursor
from api.http.parameters import DoubtfulQuery, ShopId
from api.http.problems import wrong
from api.http.routes.orders import read_list
from api.program import Program
from infrastructure.projections.views import PARCELS
from infrastructure.queries.doubtful import list_doubtful
from infrastructure.runtime import clock

router = APIRouter(tags=["queries"])

LONGEST = timedelta(days=31)
"""The longest time one list looks through."""


@router.get("/v1/shops/{shop_id}/doubtful-shipments", responses=openapi.page("DoubtfulShipment", "not_reached"))
async def doubtful(request: Request, shop_id: ShopId, query: Annotated[DoubtfulQuery, Query()]) -> Response:
    """Orders whose tracking number another order had shortly before, or whose numbers were replaced often.

    Looked at are numbers that went up from `from` till `to` (default: the last 31 days), by order number. A page
    may hold fewer than asked for and still have a next one.
    """
    after = decode_cursor(query.cursor, tuple[str, int])
    program: Program = request.app.state.program
    until = query.until or clock.now() + timedelta(days=1)
    since = query.since or until - LONGEST
    if not since < until <= since + LONGEST:
        raise wrong("from", "`from` must lie before `to`, by 31 days at most")
    return await read_list(
        request,
        shop_id,
        PARCELS,
        query.min_position,
        lambda connection: list_doubtful(connection, shop_id, program.book, since, until, query.limit, after),
    )
