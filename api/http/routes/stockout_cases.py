"""Stockout cases: what is open, how far each is, its orders, and what to tell the buyers."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from api.http import openapi
from api.http.paging import decode_cursor, listed
from api.http.parameters import CaseId, CasesQuery, ShopId, SkuQuery, Waiting
from api.http.problems import Refused
from api.http.responses import json_response
from api.http.routes.skus import wait_for_board
from api.program import Program
from domain.stockout.case import StockoutCase
from domain.stockout.case_view import case_view
from infrastructure.database.pool import ReadConnection
from infrastructure.queries.stockout_cases import CaseKey, find_case, list_cases, messages_of, orders_of
from infrastructure.runtime import clock
from infrastructure.runtime.message_templates import shipped_messages

router = APIRouter(tags=["stock"])


@router.get("/v1/shops/{shop_id}/stockout-cases", responses=openapi.page("CaseView", "not_reached"))
async def cases(request: Request, shop_id: ShopId, query: Annotated[CasesQuery, Query()]) -> Response:
    """The shop's stockout cases, those that are open first, by SKU.

    A page may hold fewer cases than asked for and still have a next one.
    """
    after = decode_cursor(query.cursor, CaseKey)
    program: Program = request.app.state.program
    await wait_for_board(request, shop_id, query.min_position)
    async with program.pool.read() as connection:
        page = await list_cases(
            connection, shop_id, program.book, clock.now(), query.limit, after, state=query.state
        )
    return listed(page.items, page.next_key)


@router.get(
    "/v1/shops/{shop_id}/stockout-cases/{case_id:path}/orders",
    responses=openapi.page("OrderInCase", "unknown_case", "not_reached"),
)
async def orders(
    request: Request, shop_id: ShopId, case_id: CaseId, query: Annotated[Waiting, Query()]
) -> Response:
    """The orders of a case, by when they fell into it: how each stands, and until when to speak to its buyer."""
    after = decode_cursor(query.cursor, tuple[datetime, str])
    program: Program = request.app.state.program
    await wait_for_board(request, shop_id, query.min_position)
    async with program.pool.read() as connection:
        found = await _case(connection, shop_id, case_id)
        page = await orders_of(connection, shop_id, program.book, clock.now(), found, query.limit, after)
    return listed(page.items, page.next_key)


@router.get(
    "/v1/shops/{shop_id}/stockout-cases/{case_id:path}/messages",
    responses=openapi.page("FilledMessage", "unknown_case", "not_reached"),
)
async def messages(
    request: Request, shop_id: ShopId, case_id: CaseId, query: Annotated[Waiting, Query()]
) -> Response:
    """Ready-made messages to the buyers of a case, in Chinese: for each order those that fit how it stands.

    `limit` counts orders; an order may have several messages, or none.
    """
    after = decode_cursor(query.cursor, tuple[datetime, str])
    program: Program = request.app.state.program
    await wait_for_board(request, shop_id, query.min_position)
    async with program.pool.read() as connection:
        found = await _case(connection, shop_id, case_id)
        page = await messages_of(connection, shop_id, program.book, found, shipped_messages(), query.limit, after)
    return listed(page.items, page.next_key)


@router.get("/v1/messages", responses=openapi.page("Message"))
async def templates() -> Response:
    """The ready-made messages with their placeholders, by situation."""
    return listed(list(shipped_messages()), None)


@router.get(
    "/v1/shops/{shop_id}/stockout-cases/{case_id:path}",
    responses=openapi.ok("CaseView", "unknown_case", "not_reached"),
)
async def case(request: Request, shop_id: ShopId, case_id: CaseId, query: Annotated[SkuQuery, Query()]) -> Response:
    """One case: when the SKU had to be off the shelf, how its orders stand, and what is at stake."""
    program: Program = request.app.state.program
    await wait_for_board(request, shop_id, query.min_position)
    async with program.pool.read() as connection:
        found = await _case(connection, shop_id, case_id)
    shown = case_view(found, program.book, clock.now())
    return json_response(shown)


async def _case(connection: ReadConnection, shop_id: str, case_id: str) -> StockoutCase:
    found = await find_case(connection, shop_id, case_id)
    if found is None:
        raise Refused("unknown_case", f"The shop has no stockout case {case_id}.")
    return found
