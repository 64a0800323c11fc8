"""Reading orders: one at any moment, its history, what changed between two moments, and lists."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from api.http import openapi
from api.http.paging import Paged, decode_cursor, listed
from api.http.parameters import (
    AtAMoment,
    DeadlinesQuery,
    DiffQuery,
    InThePast,
    OrderSn,
    OrdersQuery,
    ReportQuery,
    ShopId,
    ViolationsQuery,
)
from api.http.problems import Refused, wrong
from api.http.responses import json_response
from api.moments import parse_moment
from api.program import Program
from domain.history import Recorded
from domain.order.diff import By, OrderDiff, diff
from domain.order.events import OrderEvent
from domain.order.view import OrderView, view
from domain.viewpoint import Seen, seen_from
from infrastructure.database.pool import ReadConnection
from infrastructure.log.loading import OrderHistory, read_orders
from infrastructure.log.log import ORDER, read_stream
from infrastructure.projections.builds import reached
from infrastructure.projections.view import View
from infrastructure.projections.views import DEADLINES, ORDERS, VIOLATIONS
from infrastructure.queries import as_of, lists
from infrastructure.queries.event_json import StoredEventView
from infrastructure.queries.lists import Page
from infrastructure.queries.related_facts import (
    RelatedFactsIndex,
    read_related_facts,
    related_facts_at,
    related_facts_request,
)
from infrastructure.runtime import clock

router = APIRouter(tags=["queries"])

WAIT_SECONDS = 5.0
"""How long a list waits for its ``min_position``."""

POLL_SECONDS = 0.02

T = TypeVar("T")


@router.get("/v1/shops/{shop_id}/orders/{order_sn}", responses=openapi.ok("OrderView", "unknown_order"))
async def order(
    request: Request, shop_id: ShopId, order_sn: OrderSn, moment: Annotated[AtAMoment, Query()]
) -> Response:
    """One order, now or as it stood: by what had happened, by what was known, or after so many events.

    Folded from its events on every call, so it is never behind. `ETag` is the version; while no new
    event comes the body may still change as deadlines pass, so ask without `If-None-Match` for those.
    """
    shown = await find_order(request.app.state.program, shop_id, order_sn, moment)
    tag = f'"{shown.version}"'
    headers = {"ETag": tag, "Shiplock-Position": str(shown.position)}
    if tag in _tags(request.headers.get("if-none-match", "")):
        return Response(status_code=304, headers=headers)
    return json_response(shown, headers=headers)


async def find_order(program: Program, shop_id: str, order_sn: str, moment: AtAMoment) -> OrderView:
    """The order at a moment. Raises ``Refused`` for an unknown one, and for a version that it does not have."""
    async with program.pool.read() as connection:
        history = (await read_orders(connection, shop_id, [order_sn]))[order_sn]
    if history.order:
        _must_exist(moment.at_version, history.order, "at_version")
    seen = await _seen_from(program, shop_id, order_sn, history, moment)
    if not seen.history:
        when = " by then" if history.order else ""
        raise Refused("unknown_order", f"The shop has no order {order_sn}{when}.")
    return view(seen.order, program.book, seen.at, seen.related_facts)


async def _seen_from(
    program: Program, shop_id: str, order_sn: str, history: OrderHistory, moment: AtAMoment
) -> Seen:
    """The order from a moment, with the related facts of that moment."""
    seen = seen_from(
        order_sn,
        history.order,
        clock.now(),
        as_of=moment.as_of,
        known_at=moment.known_at,
        at_version=moment.at_version,
    )
    skus = history.skus_at(as_of=seen.as_of, known_at=seen.known_at)
    others = RelatedFactsIndex()
    if asked := related_facts_request(shop_id, seen.order, seen.at):
        async with program.pool.read() as connection:
            if seen.as_of is None and seen.known_at is None:
                others = await read_related_facts(connection, [asked])
            else:
                others = await related_facts_at(connection, asked, as_of=seen.as_of, known_at=seen.known_at)
    return seen._replace(related_facts=others.facts_of(shop_id, seen.order, None, skus))


@router.get(
    "/v1/shops/{shop_id}/orders/{order_sn}/events",
    responses=openapi.page("StoredEventView", "unknown_order"),
)
async def history(
    request: Request, shop_id: ShopId, order_sn: OrderSn, paged: Annotated[Paged, Query()]
) -> Response:
    """The order's history, event by event."""
    after = decode_cursor(paged.cursor, tuple[int]) or (0,)
    program: Program = request.app.state.program
    async with program.pool.read() as connection:
        stored = await read_stream(connection, shop_id, ORDER + order_sn)
    if not stored:
        raise Refused("unknown_order", f"The shop has no order {order_sn}.")
    left = [event for event in stored if event.version > after[0]]
    shown = left[: paged.limit]
    return listed(
        [StoredEventView.of(event) for event in shown],
        (shown[-1].version,) if len(left) > len(shown) else None,
    )


@router.get("/v1/shops/{shop_id}/orders/{order_sn}/diff", responses=openapi.ok("OrderDiff", "unknown_order"))
async def difference(
    request: Request, shop_id: ShopId, order_sn: OrderSn, query: Annotated[DiffQuery, Query()]
) -> Response:
    """Which event changed which field between two moments, each a version or a time.

    Between times by what had happened, or with `by=known_at` by what was learned. The other time can be held
    at both: `by=known_at` with `as_of` is what was learned between two times of how things stood then.
    """
    return json_response(await difference_of(request.app.state.program, shop_id, order_sn, query))


async def difference_of(program: Program, shop_id: str, order_sn: str, query: DiffQuery) -> OrderDiff:
    """What changed between two moments. Raises ``Refused``."""
    async with program.pool.read() as connection:
        history = (await read_orders(connection, shop_id, [order_sn]))[order_sn]
    if not history.order:
        raise Refused("unknown_order", f"The shop has no order {order_sn}.")
    since, until = _version_or_time(query.since, "from"), _version_or_time(query.until, "to")
    by: By = query.by
    match since, until:
        case int(), int():
            _must_exist(since, history.order, "from")
            _must_exist(until, history.order, "to")
            backwards, by = since > until, "as_of"
            if query.known_at:
                raise wrong("known_at", "a version says what was known; `as_of` goes with it")
        case datetime(), datetime():
            backwards = since > until
            if getattr(query, by):
                other = "known_at" if by == "as_of" else "as_of"
                raise wrong(by, f"`from` and `to` say it already; `{other}` goes with `by={by}`")
        case _:
            raise wrong("to", "`from` and `to` must both be versions or both be times")
    if backwards:
        raise wrong("to", "`to` must not be before `from`")

    def moment(end: int | datetime) -> AtAMoment:
        told = {"at_version": end} if isinstance(end, int) else {by: end}
        return AtAMoment.model_construct(**(query.model_dump(include={"as_of", "known_at"}) | told))

    first, last = [await _seen_from(program, shop_id, order_sn, history, moment(end)) for end in (since, until)]
    changes = diff(order_sn, program.book, first, last)
    return OrderDiff(order_sn, since, until, query.by, query.as_of, query.known_at, changes)


@router.get("/v1/shops/{shop_id}/orders", responses=openapi.page("OrderSummary", "not_reached"))
async def orders(request: Request, shop_id: ShopId, query: Annotated[OrdersQuery, Query()]) -> Response:
    """The shop's orders, by ship-by (those without one last) or newest first; at another moment by order number."""
    filters = {name: getattr(query, name) for name in ("status", "locked", "sku_id", "due_before", "violation")}
    if at_another_moment(query):
        if "sort" in query.model_fields_set:
            raise wrong("sort", "at another moment than now orders come by order number")
        return await _listed_at(request, shop_id, query, as_of.orders_at, filters)
    after = decode_cursor(query.cursor, tuple[datetime, str])
    return await read_list(
        request,
        shop_id,
        ORDERS,
        query.min_position,
        lambda connection: lists.list_orders(
            connection, shop_id, clock.now(), query.limit, after, sort=query.sort, **filters
        ),
    )


@router.get("/v1/shops/{shop_id}/deadlines", responses=openapi.page("ListedDeadline", "not_reached"))
async def deadlines(request: Request, shop_id: ShopId, query: Annotated[DeadlinesQuery, Query()]) -> Response:
    """The shop's deadlines by when they are due, each with its state now; at another moment by order number."""
    filters = {name: getattr(query, name) for name in ("kind", "due_before", "state")}
    if at_another_moment(query):
        return await _listed_at(request, shop_id, query, as_of.deadlines_at, filters)
    after = decode_cursor(query.cursor, tuple[datetime, str, int])
    return await read_list(
        request,
        shop_id,
        DEADLINES,
        query.min_position,
        lambda connection: lists.list_deadlines(connection, shop_id, clock.now(), query.limit, after, **filters),
    )


@router.get("/v1/shops/{shop_id}/violations", responses=openapi.page("ListedViolation", "not_reached"))
async def violations(request: Request, shop_id: ShopId, query: Annotated[ViolationsQuery, Query()]) -> Response:
    """The violations that stand now, by when they arose; at another moment those that stood then, by order number.

    For another moment every order is judged anew from the events that may be seen from it, never from a view.
    Such a page may hold fewer items than asked for and still have a next one.
    """
    filters = {name: getattr(query, name) for name in ("kind", "since", "until", "appeal")}
    if at_another_moment(query):
        return await _listed_at(request, shop_id, query, as_of.violations_at, filters)
    after = decode_cursor(query.cursor, tuple[datetime, str])
    return await read_list(
        request,
        shop_id,
        VIOLATIONS,
        query.min_position,
        lambda connection: lists.list_violations(connection, shop_id, clock.now(), query.limit, after, **filters),
    )


def at_another_moment(query: InThePast | ReportQuery) -> bool:
    return query.as_of is not None or query.known_at is not None


async def _listed_at(
    request: Request,
    shop_id: str,
    query: InThePast,
    find: Callable[..., Awaitable[Page[Any]]],
    filters: dict[str, Any],
) -> Response:
    """A page as of a moment. It comes from the log, which is never behind, so there is nothing to wait for."""
    after = decode_cursor(query.cursor, tuple[str, int])
    program: Program = request.app.state.program
    moment = as_of.Moment(query.as_of, query.known_at)
    async with program.pool.read() as connection:
        page = await find(connection, shop_id, program.book, moment, query.limit, after, **filters)
    return listed(page.items, page.next_key)


async def read_list(
    request: Request,
    shop_id: str,
    view: View,
    min_position: int | None,
    read: Callable[[ReadConnection], Awaitable[Page[T]]],
) -> Response:
    program: Program = request.app.state.program
    if min_position:
        await wait_for(program, shop_id, view, min_position)
    async with program.pool.read() as connection:
        page = await read(connection)
    return listed(page.items, page.next_key)


async def wait_for(program: Program, shop_id: str, view: View, position: int) -> None:
    """Wait for the view; who waits holds no connection that others could use."""
    loop = asyncio.get_running_loop()
    give_up = loop.time() + WAIT_SECONDS
    while True:
        async with program.pool.read() as connection:
            current = await reached(connection, shop_id, view.name)
        if current >= position:
            return
        if loop.time() > give_up:
            raise Refused("not_reached", f"The lists have reached position {current}, not yet {position}.")
        await asyncio.sleep(POLL_SECONDS)


def _must_exist(version: int | None, history: Sequence[Recorded[OrderEvent]], parameter: str) -> None:
    """Raises ``Refused`` for a version that the order does not have yet."""
    last = history[-1].version
    if version is not None and version > last:
        raise wrong(parameter, f"the order has no version {version}; its last one is {last}")


def _version_or_time(stated: str, parameter: str) -> int | datetime:
    if stated.isascii() and stated.isdecimal():
        return int(stated)
    try:
        return parse_moment(stated)
    except ValueError as error:
        raise wrong(parameter, f"neither a version nor a time: {error}") from error


def _tags(stated: str) -> set[str]:
    return {tag.strip().removeprefix("W/") for tag in stated.split(",")}
