"""Reading SKUs: the stock board, one SKU with what may still be sold, its history, and its orders at risk."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from api.http import openapi
from api.http.paging import Paged, decode_cursor, listed
from api.http.parameters import ShopId, SkuId, SkuQuery, SkusQuery, Waiting
from api.http.problems import Refused
from api.http.responses import json_response
from api.http.routes.orders import read_list, wait_for
from api.program import Program
from infrastructure.log.log import read_stream
from infrastructure.log.streams import OF_SKU
from infrastructure.projections.view import View
from infrastructure.projections.views import APPLICATIONS, RESERVATIONS, SKUS
from infrastructure.queries.event_json import StoredEventView
from infrastructure.queries.stock import find_sku, list_skus
from infrastructure.queries.stockout_cases import at_risk
from infrastructure.runtime import clock

router = APIRouter(tags=["stock"])

BOARD: Sequence[View] = (RESERVATIONS, APPLICATIONS, SKUS)
"""The views that the board and the cases are read from."""


async def wait_for_board(request: Request, shop_id: str, position: int | None) -> None:
    if position:
        for view in BOARD:
            await wait_for(request.app.state.program, shop_id, view, position)


@router.get("/v1/shops/{shop_id}/skus", responses=openapi.page("SkuView", "not_reached"))
async def skus(request: Request, shop_id: ShopId, query: Annotated[SkusQuery, Query()]) -> Response:
    """The stock board: the shop's SKUs by id, each with what is reserved and what may still be sold, and why.

    A SKU is on it as soon as an order names it. With a filter a page may hold fewer SKUs than asked for and
    still have a next one.
    """
    after = decode_cursor(query.cursor, tuple[str]) or ("",)
    program: Program = request.app.state.program
    await wait_for_board(request, shop_id, query.min_position)
    return await read_list(
        request,
        shop_id,
        SKUS,
        None,
        lambda connection: list_skus(
            connection,
            shop_id,
            program.book,
            clock.now(),
            query.limit,
            after[0],
            oversold=query.oversold,
            listed=query.listed,
        ),
    )


@router.get(
    "/v1/shops/{shop_id}/skus/{sku_id:path}/events", responses=openapi.page("StoredEventView", "unknown_sku")
)
async def history(request: Request, shop_id: ShopId, sku_id: SkuId, paged: Annotated[Paged, Query()]) -> Response:
    """The SKU's history, event by event; empty for one that is only known from orders."""
    after = decode_cursor(paged.cursor, tuple[int]) or (0,)
    program: Program = request.app.state.program
    async with program.pool.read() as connection:
        stored = await read_stream(connection, shop_id, OF_SKU.stream(sku_id))
        if not stored and not await find_sku(connection, shop_id, program.book, clock.now(), sku_id):
            raise Refused("unknown_sku", f"The shop has no SKU {sku_id}.")
    left = [event for event in stored if event.version > after[0]]
    shown = left[: paged.limit]
    return listed(
        [StoredEventView.of(event) for event in shown],
        (shown[-1].version,) if len(left) > len(shown) else None,
    )


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
    after = decode_cursor(query.cursor, tuple[int, str, str])
    program: Program = request.app.state.program
    await wait_for_board(request, shop_id, query.min_position)
    async with program.pool.read() as connection:
        now = clock.now()
        if not await find_sku(connection, shop_id, program.book, now, sku_id):
            raise Refused("unknown_sku", f"The shop has no SKU {sku_id}.")
        page = await at_risk(connection, shop_id, program.book, now, sku_id, query.limit, after)
    return listed(page.items, page.next_key)


@router.get("/v1/shops/{shop_id}/skus/{sku_id:path}", responses=openapi.ok("SkuView", "unknown_sku", "not_reached"))
async def sku(request: Request, shop_id: ShopId, sku_id: SkuId, query: Annotated[SkuQuery, Query()]) -> Response:
    """One SKU. What was told of it is never behind; what its orders want is as far as the lists are."""
    program: Program = request.app.state.program
    await wait_for_board(request, shop_id, query.min_position)
    async with program.pool.read() as connection:
        found = await find_sku(connection, shop_id, program.book, clock.now(), sku_id)
    if found is None:
        raise Refused("unknown_sku", f"The shop has no SKU {sku_id}.")
    headers = {"ETag": f'"{found.version}"', "Shiplock-Position": str(found.position)}
    return json_response(found, headers=headers)
