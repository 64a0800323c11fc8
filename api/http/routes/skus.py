"""Reading SKUs: the stock board, one SKU with what may still be sold, its history, and its orders at risk."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from api.http import openapi
from api.http.paging import Paged, decode_cursor, page_response
from api.http.parameters import ShopId, SkuId, SkuQuery, SkusQuery, Waiting
from api.http.responses import json_response
from api.program import Program
from infrastructure.queries import stock
from infrastructure.queries.event_json import VersionKey
from infrastructure.queries.stock import SkuKey, find_sku, list_skus, sku_history
from infrastructure.queries.stockout_cases import UrgencyKey
from infrastructure.queries.waiting import wait_for
from infrastructure.runtime import clock

router = APIRouter(tags=["stock"])


@router.get("/v1/shops/{shop_id}/skus", responses=openapi.page("SkuView", "not_reached"))
async def skus(request: Request, shop_id: ShopId, query: Annotated[SkusQuery, Query()]) -> Response:
    """The stock board: the shop's SKUs by id, each with what is reserved and what may still be sold, and why.

    A SKU is on it as soon as an order names it. With a filter a page may hold fewer SKUs than asked for and
    still have a next one.
    """
    cursor = decode_cursor(query.cursor, SkuKey)
    program: Program = request.app.state.program
    await wait_for(program.pool, shop_id, stock.VIEWS_READ, query.min_position)
    async with program.pool.read() as connection:
        page = await list_skus(
            connection,
            shop_id,
            program.book,
            clock.now(),
            query.limit,
            cursor,
            oversold=query.oversold,
            listed=query.listed,
        )
    return page_response(page)


@router.get(
    "/v1/shops/{shop_id}/skus/{sku_id:path}/events", responses=openapi.page("StoredEventView", "unknown_sku")
)
async def history(request: Request, shop_id: ShopId, sku_id: SkuId, paged: Annotated[Paged, Query()]) -> Response:
    """The SKU's history, event by event; empty for one that is only known from orders."""
    cursor = decode_cursor(paged.cursor, VersionKey)
    program: Program = request.app.state.program
    async with program.pool.read() as connection:
        page = await sku_history(connection, shop_id, sku_id, program.book, clock.now(), paged.limit, cursor)
    return page_response(page)


@router.get(
    "/v1/shops/{shop_id}/skus/{sku_id:path}/at-risk",
    responses=openapi.page("OrderInCase", "unknown_sku", "not_reached"),
)
async def orders_at_risk(
    request: Request, shop_id: ShopId, sku_id: SkuId, query: Annotated[Waiting, Query()]
) -> Response:
    """The open orders of the SKU's open stockout case that have not applied: the dearest, then the most urgent.

    Each with the ways out of it and their prices. Empty while no case is open.
    """
    cursor = decode_cursor(query.cursor, UrgencyKey)
    program: Program = request.app.state.program
    await wait_for(program.pool, shop_id, stock.VIEWS_READ, query.min_position)
    async with program.pool.read() as connection:
        page = await stock.orders_at_risk(
            connection, shop_id, program.book, clock.now(), sku_id, query.limit, cursor
        )
    return page_response(page)


@router.get("/v1/shops/{shop_id}/skus/{sku_id:path}", responses=openapi.ok("SkuView", "unknown_sku", "not_reached"))
async def sku(request: Request, shop_id: ShopId, sku_id: SkuId, query: Annotated[SkuQuery, Query()]) -> Response:
    """One SKU. What was told of it is never behind; what its orders want is as far as the lists are."""
    program: Program = request.app.state.program
    await wait_for(program.pool, shop_id, stock.VIEWS_READ, query.min_position)
    async with program.pool.read() as connection:
        sku_view = await find_sku(connection, shop_id, program.book, clock.now(), sku_id)
    return json_response(
        sku_view, headers={"ETag": f'"{sku_view.version}"', "Shiplock-Position": str(sku_view.position)}
    )
