"""Reading SKUs: the stock board, one SKU with what may still be sold, its history, and its orders at risk."""

from datetime import datetime
from typing import Annotated

from fastapi import Query, Request
from fastapi.responses import Response

from api.http import openapi
from api.http.moments import read_at
from api.http.paging import Paged, decode_cursor, page_response
from api.http.parameters import NowOrThen, PageNowOrThen, ShopId, SkuId, SkusQuery
from api.http.permissions import GuardedRouter, needs
from api.http.responses import json_response
from api.program import Program
from domain.stock.view import SkuView
from domain.stockout.case_view import OrderInCase
from infrastructure.database.pool import ReadConnection
from infrastructure.queries import stock
from infrastructure.queries.event_json import VersionKey
from infrastructure.queries.paging import Page
from infrastructure.queries.stock import SkuKey, find_sku, list_skus, sku_history
from infrastructure.queries.stockout_cases import UrgencyKey
from infrastructure.runtime import clock

router = GuardedRouter(tags=["stock"])


@router.get("/v1/shops/{shop_id}/skus", responses=openapi.page("SkuView", "not_reached"))
@needs("stock:read")
async def skus(request: Request, shop_id: ShopId, query: Annotated[SkusQuery, Query()]) -> Response:
    """The stock board: the shop's SKUs by id, each with what is reserved and what may still be sold, and why.

    A SKU is on it as soon as an order names it. With a filter a page may hold fewer SKUs than asked for and
    still have a next one. At another moment the whole shop is folded from the events that may be seen from it; of a
    large shop the command line does that.
    """
    cursor = decode_cursor(query.cursor, SkuKey)
    program: Program = request.app.state.program

    async def read(connection: ReadConnection, at: datetime) -> Page[SkuView, SkuKey]:
        return await list_skus(
            connection,
            shop_id,
            program.book,
            at,
            query.limit,
            cursor,
            oversold=query.oversold,
            listed=query.listed,
        )

    return page_response(await read_at(program, shop_id, query, stock.VIEWS_READ, "skus", read))


@router.get(
    "/v1/shops/{shop_id}/skus/{sku_id:path}/events", responses=openapi.page("StoredEventView", "unknown_sku")
)
@needs("stock:read")
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
@needs("stock:read")
async def orders_at_risk(
    request: Request, shop_id: ShopId, sku_id: SkuId, query: Annotated[PageNowOrThen, Query()]
) -> Response:
    """The open orders of the SKU's open stockout case that have not applied: the dearest, then the most urgent.

    Each with the ways out of it and their prices. Empty while no case is open.
    """
    cursor = decode_cursor(query.cursor, UrgencyKey)
    program: Program = request.app.state.program

    async def read(connection: ReadConnection, at: datetime) -> Page[OrderInCase, UrgencyKey]:
        return await stock.orders_at_risk(connection, shop_id, program.book, at, sku_id, query.limit, cursor)

    return page_response(await read_at(program, shop_id, query, stock.VIEWS_READ, "at-risk", read))


@router.get("/v1/shops/{shop_id}/skus/{sku_id:path}", responses=openapi.ok("SkuView", "unknown_sku", "not_reached"))
@needs("stock:read")
async def sku(request: Request, shop_id: ShopId, sku_id: SkuId, query: Annotated[NowOrThen, Query()]) -> Response:
    """One SKU, now or as it stood. Now, what was told of it is never behind; what its orders want is as far as the
    lists are.
    """
    program: Program = request.app.state.program

    async def read(connection: ReadConnection, at: datetime) -> SkuView:
        return await find_sku(connection, shop_id, program.book, at, sku_id)

    shown = await read_at(program, shop_id, query, stock.VIEWS_READ, "sku", read)
    return json_response(shown, headers={"ETag": f'"{shown.version}"', "Shiplock-Position": str(shown.position)})
