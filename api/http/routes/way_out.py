"""The ways out of an order that may not be shipped in time, priced."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import Field

from api.http import openapi
from api.http.parameters import Moment, OrderSn, ShopId
from api.http.problems import Refused
from api.http.requests import Parameters
from api.http.responses import json_response
from api.program import Program
from domain.order.fold import fold
from domain.stockout.way_out import WayOut, way_out
from infrastructure.log.log import read_histories
from infrastructure.log.streams import OF_ORDER
from infrastructure.queries.related_facts import related_facts_of_applications
from infrastructure.runtime import clock

router = APIRouter(tags=["stock"])


class WayOutQuery(Parameters):
    at: Annotated[Moment | None, Field(description="What it would cost to act then (default: now).")] = None


@router.get(
    "/v1/shops/{shop_id}/orders/{order_sn}/way-out",
    responses=openapi.ok("WayOut", "unknown_order"),
)
async def ways(
    request: Request, shop_id: ShopId, order_sn: OrderSn, query: Annotated[WayOutQuery, Query()]
) -> Response:
    """What can be done about an order, and what each way costs by the rules that govern it.

    The cheapest way that is possible comes first. Sending something else is listed last, as the fraud it is.
    """
    return json_response(await way_out_of(request.app.state.program, shop_id, order_sn, query.at))


async def way_out_of(program: Program, shop_id: str, order_sn: str, at: datetime | None) -> WayOut:
    """The ways out at a moment, never before the order's last event. Raises ``Refused`` for an unknown order."""
    stream = (shop_id, OF_ORDER.stream(order_sn))
    async with program.pool.read() as connection:
        order = fold(order_sn, (await read_histories(connection, [stream]))[stream])
        if order.last_occurred_at is None:
            raise Refused("unknown_order", f"The shop has no order {order_sn}.")
        at = max(at or clock.now(), order.last_occurred_at)
        (related_facts,) = await related_facts_of_applications(connection, shop_id, program.book, [(order, at)])
    return way_out(order, program.book.governing(order), at, related_facts)
