"""Stockout cases: what is open, how far each is, its orders, and what to tell the buyers."""

from datetime import datetime
from typing import Annotated

from fastapi import Query, Request
from fastapi.responses import Response

from api.http import openapi
from api.http.moments import read_at
from api.http.paging import decode_cursor, listed, page_response
from api.http.parameters import CaseId, CasesQuery, NowOrThen, PageNowOrThen, ShopId
from api.http.permissions import ANY_PRINCIPAL, GuardedRouter, needs
from api.http.responses import json_response
from api.program import Program
from domain.stockout.case_view import CaseView, OrderInCase, case_view
from domain.stockout.messages import FilledMessage
from infrastructure.database.pool import ReadConnection
from infrastructure.queries import stock
from infrastructure.queries.paging import Page
from infrastructure.queries.stockout_cases import (
    CaseKey,
    CaseOrderKey,
    find_case,
    list_cases,
    messages_of,
    orders_of,
)
from infrastructure.runtime.message_templates import shipped_messages

router = GuardedRouter(tags=["stock"])


@router.get("/v1/shops/{shop_id}/stockout-cases", responses=openapi.page("CaseView", "not_reached"))
@needs("stock:read")
async def cases(request: Request, shop_id: ShopId, query: Annotated[CasesQuery, Query()]) -> Response:
    """The shop's stockout cases, those that are open first, by SKU.

    A page may hold fewer cases than asked for and still have a next one.
    """
    cursor = decode_cursor(query.cursor, CaseKey)
    program: Program = request.app.state.program

    async def read(connection: ReadConnection, at: datetime) -> Page[CaseView, CaseKey]:
        return await list_cases(connection, shop_id, program.book, at, query.limit, cursor, state=query.state)

    return page_response(await read_at(program, shop_id, query, stock.VIEWS_READ, "cases", read))


@router.get(
    "/v1/shops/{shop_id}/stockout-cases/{case_id:path}/orders",
    responses=openapi.page("OrderInCase", "unknown_case", "not_reached"),
)
@needs("stock:read")
async def orders(
    request: Request, shop_id: ShopId, case_id: CaseId, query: Annotated[PageNowOrThen, Query()]
) -> Response:
    """The orders of a case, by when they fell into it: how each stands, and until when to speak to its buyer."""
    cursor = decode_cursor(query.cursor, CaseOrderKey)
    program: Program = request.app.state.program

    async def read(connection: ReadConnection, at: datetime) -> Page[OrderInCase, CaseOrderKey]:
        stockout_case = await find_case(connection, shop_id, case_id)
        return await orders_of(connection, shop_id, program.book, at, stockout_case, query.limit, cursor)

    return page_response(await read_at(program, shop_id, query, stock.VIEWS_READ, "case", read))


@router.get(
    "/v1/shops/{shop_id}/stockout-cases/{case_id:path}/messages",
    responses=openapi.page("FilledMessage", "unknown_case", "not_reached"),
)
@needs("stock:read")
async def messages(
    request: Request, shop_id: ShopId, case_id: CaseId, query: Annotated[PageNowOrThen, Query()]
) -> Response:
    """Ready-made messages to the buyers of a case, in Chinese: for each order those that fit how it stands.

    `limit` counts orders; an order may have several messages, or none.
    """
    cursor = decode_cursor(query.cursor, CaseOrderKey)
    program: Program = request.app.state.program

    async def read(connection: ReadConnection, _: datetime) -> Page[FilledMessage, CaseOrderKey]:
        stockout_case = await find_case(connection, shop_id, case_id)
        return await messages_of(
            connection, shop_id, program.book, stockout_case, shipped_messages(), query.limit, cursor
        )

    return page_response(await read_at(program, shop_id, query, stock.VIEWS_READ, "case", read))


@router.get("/v1/messages", responses=openapi.page("Message"))
@needs(ANY_PRINCIPAL)
async def templates() -> Response:
    """The ready-made messages with their placeholders, by situation."""
    return listed(shipped_messages())


@router.get(
    "/v1/shops/{shop_id}/stockout-cases/{case_id:path}",
    responses=openapi.ok("CaseView", "unknown_case", "not_reached"),
)
@needs("stock:read")
async def case(
    request: Request, shop_id: ShopId, case_id: CaseId, query: Annotated[NowOrThen, Query()]
) -> Response:
    """One case: when the SKU had to be off the shelf, how its orders stand, and what is at stake."""
    program: Program = request.app.state.program

    async def read(connection: ReadConnection, at: datetime) -> CaseView:
        return case_view(await find_case(connection, shop_id, case_id), program.book, at)

    return json_response(await read_at(program, shop_id, query, stock.VIEWS_READ, "case", read))
