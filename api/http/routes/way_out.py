"""The ways out of an order that may not be shipped in time, priced."""

from typing import Annotated

from fastapi import Query, Request
from fastapi.responses import Response
from pydantic import Field

from api.http import openapi
from api.http.parameters import OrderSn, ShopId, TimeField
from api.http.permissions import GuardedRouter, needs
from api.http.requests import Parameters
from api.http.responses import json_response
from api.program import Program
from infrastructure.queries.way_out import find_way_out
from infrastructure.runtime import clock

router = GuardedRouter(tags=["stock"])


class WayOutQuery(Parameters):
    at: Annotated[TimeField | None, Field(description="What it would cost to act then (default: now).")] = None


@router.get(
    "/v1/shops/{shop_id}/orders/{order_sn}/way-out",
    responses=openapi.ok("WayOut", "unknown_order"),
)
@needs("orders:read")
async def ways(
    request: Request, shop_id: ShopId, order_sn: OrderSn, query: Annotated[WayOutQuery, Query()]
) -> Response:
    """What can be done about an order, and what each way costs by the rules that govern it.

    The cheapest way that is possible comes first. Sending something else is listed last, as the fraud it is.
    """
    program: Program = request.app.state.program
    async with program.pool.read() as connection:
        return json_response(
            await find_way_out(connection, shop_id, order_sn, program.book, query.at or clock.now())
        )
