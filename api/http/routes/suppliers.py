"""Reading suppliers: how they deliver what is handed to them, and what each is waited for."""

from datetime import datetime
from typing import Annotated

from fastapi import Query, Request
from fastapi.responses import Response

from api.http import openapi
from api.http.moments import read_at
from api.http.paging import decode_cursor, page_response
from api.http.parameters import PageNowOrThen, ShopId, SupplierId, SupplierQuery, SuppliersQuery
from api.http.permissions import GuardedRouter, needs
from api.http.responses import json_response
from api.program import Program
from infrastructure.database.pool import ReadConnection
from infrastructure.queries.paging import Page
from infrastructure.queries.suppliers import (
    VIEWS_READ,
    OpenHandover,
    OpenKey,
    SupplierKey,
    SupplierRecord,
    find_supplier,
    list_suppliers,
    open_handovers,
)

router = GuardedRouter(tags=["suppliers"])


@router.get("/v1/shops/{shop_id}/suppliers", responses=openapi.page("SupplierRecord", "not_reached"))
@needs("orders:read")
async def suppliers(request: Request, shop_id: ShopId, query: Annotated[SuppliersQuery, Query()]) -> Response:
    """The shop's suppliers by id: how many orders they were handed, and what became of them."""
    cursor = decode_cursor(query.cursor, SupplierKey)
    program: Program = request.app.state.program

    async def read(connection: ReadConnection, at: datetime) -> Page[SupplierRecord, SupplierKey]:
        return await list_suppliers(
            connection, shop_id, at, query.limit, cursor, since=query.since, until=query.until
        )

    return page_response(await read_at(program, shop_id, query, VIEWS_READ, "suppliers", read))


@router.get(
    "/v1/shops/{shop_id}/suppliers/{supplier_id:path}/handovers",
    responses=openapi.page("OpenHandover", "unknown_supplier", "not_reached"),
)
@needs("orders:read")
async def handovers(
    request: Request, shop_id: ShopId, supplier_id: SupplierId, query: Annotated[PageNowOrThen, Query()]
) -> Response:
    """The orders that a supplier is waited for, by when a number is expected; those without a time last."""
    cursor = decode_cursor(query.cursor, OpenKey)
    program: Program = request.app.state.program

    async def read(connection: ReadConnection, at: datetime) -> Page[OpenHandover, OpenKey]:
        return await open_handovers(connection, shop_id, supplier_id, at, query.limit, cursor)

    return page_response(await read_at(program, shop_id, query, VIEWS_READ, "handovers", read))


@router.get(
    "/v1/shops/{shop_id}/suppliers/{supplier_id:path}",
    responses=openapi.ok("SupplierRecord", "unknown_supplier", "not_reached"),
)
@needs("orders:read")
async def supplier(
    request: Request, shop_id: ShopId, supplier_id: SupplierId, query: Annotated[SupplierQuery, Query()]
) -> Response:
    """One supplier."""
    program: Program = request.app.state.program

    async def read(connection: ReadConnection, at: datetime) -> SupplierRecord:
        return await find_supplier(connection, shop_id, supplier_id, at, since=query.since, until=query.until)

    return json_response(await read_at(program, shop_id, query, VIEWS_READ, "suppliers", read))
