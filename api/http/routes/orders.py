"""Reading orders: one at any moment, its history, what changed between two moments, and lists."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Annotated, Any, TypeVar

from fastapi import Query, Request
from fastapi.responses import Response

from api.http import openapi
from api.http.moments import read_at
from api.http.paging import Paged, decode_cursor, page_response
from api.http.parameters import (
    AtAMoment,
    DeadlinesQuery,
    DiffQuery,
    OrderSn,
    OrdersQuery,
    PageNowOrThen,
    ShopId,
    ViolationsQuery,
)
from api.http.permissions import GuardedRouter, needs
from api.http.requests import entity_tags
from api.http.responses import json_response
from api.program import Program
from domain.order.filters import DeadlineFilter, OrderFilter, ViolationFilter
from domain.rules.ruleset import RuleBook
from domain.viewpoint import Viewpoint
from infrastructure.database.pool import ReadConnection
from infrastructure.projections.view import View
from infrastructure.queries import lists
from infrastructure.queries.as_of import deadlines_at, is_by_number, orders_at, violations_at
from infrastructure.queries.deadlines import DeadlineKey, list_deadlines, views_read
from infrastructure.queries.event_json import VersionKey
from infrastructure.queries.lists import (
    OrderListKey,
    OrderSort,
    ViolationKey,
    list_orders,
    list_violations,
)
from infrastructure.queries.orders import find_order, order_diff, order_history
from infrastructure.queries.paging import Cursor, OrderKey, Page
from infrastructure.runtime import clock

router = GuardedRouter(tags=["queries"])

F = TypeVar("F", OrderFilter, DeadlineFilter, ViolationFilter)


@router.get("/v1/shops/{shop_id}/orders/{order_sn}", responses=openapi.ok("OrderView", "unknown_order"))
@needs("orders:read")
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
@needs("orders:read")
async def history(
    request: Request, shop_id: ShopId, order_sn: OrderSn, paged: Annotated[Paged, Query()]
) -> Response:
    """The order's history, event by event."""
    cursor = decode_cursor(paged.cursor, VersionKey)
    program: Program = request.app.state.program
    async with program.pool.read() as connection:
        return page_response(await order_history(connection, shop_id, order_sn, paged.limit, cursor))


@router.get("/v1/shops/{shop_id}/orders/{order_sn}/diff", responses=openapi.ok("OrderDiff", "unknown_order"))
@needs("orders:read")
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
@needs("orders:read")
async def orders(request: Request, shop_id: ShopId, query: Annotated[OrdersQuery, Query()]) -> Response:
    """The shop's orders, by ship-by (those without one last), newest first or by number; now or as they stood.

    At another moment they come by number where no `sort` is given, and a page takes little work. In another order
    the whole shop is folded for it; of a large shop the command line does that.
    """
    if is_by_number(query.sort, query.viewpoint):
        return await _page_by_number(request, shop_id, query, query.filter, orders_at)
    sort: OrderSort = "-placed_at" if query.sort == "-placed_at" else "ship_by"
    read = partial(list_orders, sort=sort)
    return await _page(request, shop_id, query, query.filter, lists.ORDERS_READ, OrderListKey, "orders", read)


@router.get("/v1/shops/{shop_id}/deadlines", responses=openapi.page("ListedDeadline", "not_reached"))
@needs("orders:read")
async def deadlines(request: Request, shop_id: ShopId, query: Annotated[DeadlinesQuery, Query()]) -> Response:
    """The shop's deadlines by when they are due or by order number, each with its state; now or as they stood.

    At another moment they come by order number where no `sort` is given, as orders do. `kind=contact_buyer` also
    lists until when to speak to the buyers of orders that are only at risk, except by order number.
    """
    if is_by_number(query.sort, query.viewpoint):
        return await _page_by_number(request, shop_id, query, query.filter, deadlines_at)
    views = views_read(query.filter)
    read = partial(list_deadlines, book=request.app.state.program.book)
    return await _page(request, shop_id, query, query.filter, views, DeadlineKey, "deadlines", read)


@router.get("/v1/shops/{shop_id}/violations", responses=openapi.page("ListedViolation", "not_reached"))
@needs("orders:read")
async def violations(request: Request, shop_id: ShopId, query: Annotated[ViolationsQuery, Query()]) -> Response:
    """The violations that stand now, or stood at another moment, by when they arose or by order number.

    At another moment they come by order number where no `sort` is given, as orders do. For another moment every
    order is judged anew from the events that may be seen from it. A page by order number may hold fewer items than
    asked for and still have a next one.
    """
    if is_by_number(query.sort, query.viewpoint):
        return await _page_by_number(request, shop_id, query, query.filter, violations_at)
    views = lists.VIOLATIONS_READ
    return await _page(request, shop_id, query, query.filter, views, ViolationKey, "violations", list_violations)


async def _page_by_number(
    request: Request,
    shop_id: str,
    query: PageNowOrThen,
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


async def _page(
    request: Request,
    shop_id: str,
    query: PageNowOrThen,
    filter: F,
    views: Sequence[View],
    key: Any,
    command: str,
    read_list: Callable[[ReadConnection, str, datetime, F, int, Any], Awaitable[Page[Any, Any]]],
) -> Response:
    """A page of a list in its own order, from the views."""
    cursor = decode_cursor(query.cursor, key)

    async def read(connection: ReadConnection, at: datetime) -> Page[Any, Any]:
        return await read_list(connection, shop_id, at, filter, query.limit, cursor)

    return page_response(await read_at(request.app.state.program, shop_id, query, views, command, read))
