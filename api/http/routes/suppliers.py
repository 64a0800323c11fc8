"""Reading suppliers: how they deliver what is handed to them, and what each is waited for."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from api.http import openapi
from api.http.paging import decode_cursor, page_response
from api.http.parameters import ShopId, SupplierId, SupplierQuery, SuppliersQuery, Waiting
from api.http.responses import json_response
from api.program import Program
from infrastructure.queries.suppliers import (
    VIEWS_READ,
    OpenKey,
    SupplierKey,
    find_supplier,
    list_suppliers,
    open_handovers,
)
from infrastructure.queries.waiting import wait_for
from infrastructure.runtime import clock

router = APIRouter(tags=["suppliers"])


@router.get("/v1/shops/{shop_id}/suppliers", responses=openapi.page("SupplierRecord", "not_reached"))
async def suppliers(request: Request, shop_id: ShopId, query: Annotated[SuppliersQuery, Query()]) -> Response:
    """The shop's suppliers by id: how many orders they were handed, and what became of them."""
    cursor = decode_cursor(query.cursor, SupplierKey)
    program: Program = request.app.state.program
    await wait_for(program.pool, shop_id, VIEWS_READ, query.min_position)
    async with program.pool.read() as connection:
        page = await list_suppliers(
            connection, shop_id, clock.now(), query.limit, cursor, since=query.since, until=query.until
        )
    return page_response(page)


@router.get(
    "/v1/shops/{shop_id}/suppliers/{supplier_id:path}/handovers",
    responses=openapi.page("OpenHandover", "unknown_supplier", "not_reached"),
)
async def handovers(
    request: Request, shop_id: ShopId, supplier_id: SupplierId, query: Annotated[Waiting, Query()]
) -> Response:
    """The orders that a supplier is waited for, by when a number is expected; those without a time last."""
    cursor = decode_cursor(query.cursor, OpenKey)
    program: Program = request.app.state.program
    await wait_for(program.pool, shop_id, VIEWS_READ, query.min_position)
    async with program.pool.read() as connection:
        page = await open_handovers(connection, shop_id, supplier_id, clock.now(), query.limit, cursor)
    return page_response(page)


@router.get(
    "/v1/shops/{shop_id}/suppliers/{supplier_id:path}",
    responses=openapi.ok("SupplierRecord", "unknown_supplier", "not_reached"),
)
async def supplier(
    request: Request, shop_id: ShopId, supplier_id: SupplierId, query: Annotated[SupplierQuery, Query()]
) -> Response:
    """One supplier."""
    program: Program = request.app.state.program
    await wait_for(program.pool, shop_id, VIEWS_READ, query.min_position)
    async with program.pool.read() as connection:
        return json_response(
            await find_supplier(connection, shop_id, supplier_id, clock.now(), since=query.since, until=query.until)
        )
