"""Reading suppliers: how they deliver what is handed to them, and what each is waited for."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from api.http import openapi
from api.http.paging import decode_cursor
from api.http.parameters import ShopId, SupplierId, SupplierQuery, SuppliersQuery, Waiting
from api.http.problems import Refused
from api.http.responses import json_response
from api.http.routes.orders import read_list, wait_for
from api.program import Program
from infrastructure.database.pool import ReadConnection
from infrastructure.projections.views import HANDOVERS
from infrastructure.queries.lists import Page
from infrastructure.queries.suppliers import (
    OpenHandover,
    OpenKey,
    find_supplier,
    is_known,
    list_suppliers,
    open_handovers,
)
from infrastructure.runtime import clock

router = APIRouter(tags=["suppliers"])


@router.get("/v1/shops/{shop_id}/suppliers", responses=openapi.page("SupplierRecord", "not_reached"))
async def suppliers(request: Request, shop_id: ShopId, query: Annotated[SuppliersQuery, Query()]) -> Response:
    """The shop's suppliers by id: how many orders they were handed, and what became of them."""
    after = decode_cursor(query.cursor, tuple[str]) or ("",)
    return await read_list(
        request,
        shop_id,
        HANDOVERS,
        query.min_position,
        lambda connection: list_suppliers(
            connection, shop_id, clock.now(), query.limit, after[0], since=query.since, until=query.until
        ),
    )


@router.get(
    "/v1/shops/{shop_id}/suppliers/{supplier_id:path}/handovers",
    responses=openapi.page("OpenHandover", "unknown_supplier", "not_reached"),
)
async def handovers(
    request: Request, shop_id: ShopId, supplier_id: SupplierId, query: Annotated[Waiting, Query()]
) -> Response:
    """The orders that a supplier is waited for, by when a number is expected; those without a time last."""
    after = decode_cursor(query.cursor, OpenKey)

    async def read(connection: ReadConnection) -> Page[OpenHandover]:
        if not await is_known(connection, shop_id, supplier_id):
            raise _unknown(supplier_id)
        return await open_handovers(connection, shop_id, supplier_id, clock.now(), query.limit, after)

    return await read_list(request, shop_id, HANDOVERS, query.min_position, read)


@router.get(
    "/v1/shops/{shop_id}/suppliers/{supplier_id:path}",
    responses=openapi.ok("SupplierRecord", "unknown_supplier", "not_reached"),
)
async def supplier(
    request: Request, shop_id: ShopId, supplier_id: SupplierId, query: Annotated[SupplierQuery, Query()]
) -> Response:
    """One supplier."""
    program: Program = request.app.state.program
    if query.min_position:
        await wait_for(program, shop_id, HANDOVERS, query.min_position)
    async with program.pool.read() as connection:
        found = await find_supplier(
            connection, shop_id, supplier_id, clock.now(), since=query.since, until=query.until
        )
    if found is None:
        raise _unknown(supplier_id)
    return json_response(found)


def _unknown(supplier_id: str) -> Refused:
    return Refused("unknown_supplier", f"No order of the shop was ever handed to supplier {supplier_id}.")
