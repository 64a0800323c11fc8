"""Reading orders: one at any moment, its history, what changed between two moments, and lists."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from api.http import openapi
from api.http.paging import Paged, decode_cursor, page_response
from api.http.parameters import (
    AtAMoment,
    DeadlinesQuery,
    DiffQuery,
    InThePast,
    OrderSn,
    OrdersQuery,
    ShopId,
    ViolationsQuery,
)
from api.http.problems import wrong
from api.http.requests import entity_tags
from api.http.responses import json_response
from api.program import Program
from domain.order.filters import DeadlineFilter, OrderFilter, ViolationFilter
from domain.rules.ruleset import RuleBook
from domain.viewpoint import Viewpoint
from infrastructure.database.pool import ReadConnection
from infrastructure.projections.view import View
from infrastructure.projections.views import DEADLINES, HANDOVERS, ORDERS, PARCELS, VIOLATIONS
from infrastructure.queries.as_of import deadlines_at, orders_at, violations_at
from infrastructure.queries.event_json import VersionKey
from infrastructure.queries.lists import (
    DeadlineKey,
    OrderListKey,
    ViolationKey,
    list_deadlines,
    list_orders,
    list_violations,
)
from infrastructure.queries.orders import find_order, order_diff, order_history
from infrastructure.queries.paging import Cursor, OrderKey, Page
from infrastructure.queries.waiting import wait_for
from infrastructure.runtime import clock

router = APIRouter(tags=["queries"])

FILTERED_BY = (ORDERS, PARCELS, HANDOVERS)
"""The views that a list of orders is read from."""

F = TypeVar("F", OrderFilter, DeadlineFilter, ViolationFilter)


@router.get("/v1/shops/{shop_id}/orders/{order_sn}", responses=openapi.ok("OrderView", "unknown_order"))
async def order(
    request: Request, shop_id: ShopId, order_sn: OrderSn, moment: Annotated[AtAMoment, Query()]
) -> Response:
    """One order, now or as it stood: by what had happened, by what was known, or after so many events.

    Folded from its events on every call, so it is never behind. `ETag` is the version; while no new
    event comes the body may still change as deadlines pass, so ask without `If-None-Match` for those.
    """
    program: Program = request.app.state.program
    async with program.pool.read() as connection:
        shown = await find_order(connection, shop_id, order_sn, program.book, moment.viewpoint, clock.now())
    tag = f'"{shown.version}"'
    headers = {"ETag": tag, "Shiplock-Position": str(shown.position)}
    tags = entity_tags(", ".join(request.headers.getlist("if-none-match")))
    if tag.strip('"') in tags or "*" in tags:
        return Response(status_code=304, headers=headers)
    return json_response(shown, headers=headers)


@router.get(
    "/v1/shops/{shop_id}/orders/{order_sn}/events",
    responses=openapi.page("StoredEventView", "unknown_order"),
)
async def history(
    request: Request, shop_id: ShopId, order_sn: OrderSn, paged: Annotated[Paged, Query()]
) -> Response:
    """The order's history, event by event."""
    cursor = decode_cursor(paged.cursor, VersionKey)
    program: Program = request.app.state.program
    async with program.pool.read() as connection:
        return page_response(await order_history(connection, shop_id, order_sn, paged.limit, cursor))


@router.get("/v1/shops/{shop_id}/orders/{order_sn}/diff", responses=openapi.ok("OrderDiff", "unknown_order"))
async def difference(
    request: Request, shop_id: ShopId, order_sn: OrderSn, query: Annotated[DiffQuery, Query()]
) -> Response:
    """Which event changed which field between two moments, each a version or a time.

    Between times by what had happened, or with `by=known_at` by what was learned. The other time can be held
    at both: `by=known_at` with `as_of` is what was learned between two times of how things stood then.
    """
    program: Program = request.app.state.program
    async with program.pool.read() as connection:
        return json_response(
            await order_diff(connection, shop_id, order_sn, program.book, query.request, clock.now())
        )


@router.get("/v1/shops/{shop_id}/orders", responses=openapi.page("OrderSummary", "not_reached"))
async def orders(request: Request, shop_id: ShopId, query: Annotated[OrdersQuery, Query()]) -> Response:
    """The shop's orders, by ship-by (those without one last) or newest first; at another moment by order number."""
    if not query.viewpoint.is_now:
        if "sort" in query.model_fields_set:
            raise wrong("sort", "at another moment than now orders come by order number")
        return await _page_at(request, shop_id, query, query.filter, orders_at)
    read = partial(list_orders, sort=query.sort)
    return await _page_now(request, shop_id, query, query.filter, FILTERED_BY, OrderListKey, read)


@router.get("/v1/shops/{shop_id}/deadlines", responses=openapi.page("ListedDeadline", "not_reached"))
async def deadlines(request: Request, shop_id: ShopId, query: Annotated[DeadlinesQuery, Query()]) -> Response:
    """The shop's deadlines by when they are due, each with its state now; at another moment by order number."""
    if not query.viewpoint.is_now:
        return await _page_at(request, shop_id, query, query.filter, deadlines_at)
    return await _page_now(request, shop_id, query, query.filter, [DEADLINES], DeadlineKey, list_deadlines)


@router.get("/v1/shops/{shop_id}/violations", responses=openapi.page("ListedViolation", "not_reached"))
async def violations(request: Request, shop_id: ShopId, query: Annotated[ViolationsQuery, Query()]) -> Response:
    """The violations that stand now, by when they arose; at another moment those that stood then, by order number.

    For another moment every order is judged anew from the events that may be seen from it, never from a view.
    Such a page may hold fewer items than asked for and still have a next one.
    """
    if not query.viewpoint.is_now:
        return await _page_at(request, shop_id, query, query.filter, violations_at)
    return await _page_now(request, shop_id, query, query.filter, [VIOLATIONS], ViolationKey, list_violations)


async def _page_at(
    request: Request,
    shop_id: str,
    query: InThePast,
    filter: F,
    read: Callable[
        [ReadConnection, str, RuleBook, Viewpoint, datetime, F, int, Cursor[OrderKey] | None],
        Awaitable[Page[Any, OrderKey]],
    ],
) -> Response:
    """A page at a viewpoint. It comes from the log, which is never behind, so there is nothing to wait for."""
    cursor = decode_cursor(query.cursor, OrderKey)
    program: Program = request.app.state.program
    async with program.pool.read() as connection:
        return page_response(
            await read(connection, shop_id, program.book, query.viewpoint, clock.now(), filter, query.limit, cursor)
        )


async def _page_now(
    request: Request,
    shop_id: str,
    query: InThePast,
    filter: F,
    views: Sequence[View],
    key: Any,
    read: Callable[[ReadConnection, str, datetime, F, int, Any], Awaitable[Page[Any, Any]]],
) -> Response:
    """A page of a view, once those that it is read from have reached the position that the client waits for."""
    cursor = decode_cursor(query.cursor, key)
    program: Program = request.app.state.program
    await wait_for(program.pool, shop_id, views, query.min_position)
    async with program.pool.read() as connection:
        return page_response(await read(connection, shop_id, clock.now(), filter, query.limit, cursor))
