"""``orders``, ``deadlines`` and ``violations``: the lists of a shop, now or as they stood."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal, TypeVar

import typer

from api.cli.reading import dispute
from api.cli.terminal import (
    AsOf,
    At,
    Json,
    KnownAt,
    Limit,
    ShopArgument,
    book,
    identifier,
    moment,
    out,
    page_or_all,
    print_page,
    read_log,
    read_views,
    shown,
    yuan,
)
from domain.kernel import ViolationKind
from domain.order.deadlines import DeadlineKind, DeadlineState
from domain.order.filters import DeadlineFilter, OrderFilter, ViolationFilter
from domain.order.state import Status
from domain.order.violations import AppealState
from domain.rules.ruleset import RuleBook
from domain.viewpoint import Viewpoint
from infrastructure.database.pool import ReadConnection
from infrastructure.projections.view import View
from infrastructure.queries import lists
from infrastructure.queries.as_of import deadlines_at, is_by_number, orders_at, violations_at
from infrastructure.queries.deadlines import DeadlineKey, ListedDeadline, list_deadlines, views_read
from infrastructure.queries.lists import (
    ListedViolation,
    OrderListKey,
    OrderSort,
    OrderSummary,
    ViolationKey,
    list_orders,
    list_violations,
)
from infrastructure.queries.paging import Cursor, OrderKey, Page
from infrastructure.runtime import clock

DueBefore = Annotated[
    datetime | None,
    typer.Option(parser=moment, metavar="TIME", help="Only what is due before then."),
]

F = TypeVar("F", OrderFilter, DeadlineFilter, ViolationFilter)
T = TypeVar("T")


def orders(
    shop: ShopArgument,
    status: Annotated[Status | None, typer.Option(help="Only orders of this status.")] = None,
    locked: Annotated[
        bool | None, typer.Option("--locked/--not-locked", help="Only orders whose shipping is, or is not, locked.")
    ] = None,
    order: Annotated[
        list[str] | None,
        typer.Option("--order", parser=identifier, metavar="ORDER", help="Only this order; may be repeated."),
    ] = None,
    tracking_number: Annotated[str | None, typer.Option(help="Only orders of which a parcel has it.")] = None,
    sku: Annotated[str | None, typer.Option("--sku", help="Only orders with this SKU's id.")] = None,
    goods: Annotated[str | None, typer.Option("--goods", help="Only orders with this id of goods.")] = None,
    sku_code: Annotated[str | None, typer.Option(help="Only orders with this own code for a SKU.")] = None,
    supplier: Annotated[str | None, typer.Option(help="Only orders that this supplier has or had.")] = None,
    due_before: DueBefore = None,
    violation: Annotated[
        ViolationKind | None, typer.Option(help="Only orders on which such a violation stands.")
    ] = None,
    sort: Annotated[
        Literal["ship_by", "-placed_at", "order_sn"] | None,
        typer.Option(help="By ship-by (default), newest first, or by number (default at another moment)."),
    ] = None,
    as_of: AsOf = None,
    known_at: KnownAt = None,
    limit: Limit = None,
    cursor: At = None,
    as_json: Json = False,
) -> None:
    """The orders of a shop, now or as they stood."""
    filter = OrderFilter(
        status=status,
        locked=locked,
        order_sns=frozenset(order) if order else None,
        tracking_number=tracking_number,
        sku_id=sku,
        goods_id=goods,
        sku_code=sku_code,
        supplier_id=supplier,
        due_before=due_before,
        violation=violation,
    )
    viewpoint = Viewpoint(as_of, known_at)
    page: Page[OrderSummary, Any]
    if is_by_number(sort, viewpoint):
        page = _by_number(shop, viewpoint, filter, orders_at, limit, cursor)
    else:
        own: OrderSort = "-placed_at" if sort == "-placed_at" else "ship_by"
        read = partial(list_orders, sort=own)
        page = _listed(shop, viewpoint, filter, lists.ORDERS_READ, read, OrderListKey, limit, cursor)
    print_page(
        page,
        ("order", lambda order: order.order_sn),
        ("status", lambda order: order.status),
        ("locked", lambda order: "yes" if order.shipment_lock.locked else "no"),
        ("ship by", lambda order: shown(order.ship_by)),
        ("placed", lambda order: shown(order.placed_at)),
        ("paid", lambda order: yuan(order.paid_fen)),
        ("tracking numbers", lambda order: ", ".join(order.tracking_numbers) or "-"),
        as_json=as_json,
    )


def deadlines(
    shop: ShopArgument,
    kind: Annotated[DeadlineKind | None, typer.Option(help="Only deadlines of this kind.")] = None,
    state: Annotated[DeadlineState | None, typer.Option(help="Only deadlines in this state.")] = None,
    due_before: DueBefore = None,
    sort: Annotated[
        Literal["due_at", "order_sn"] | None,
        typer.Option(help="By when they are due (default), or by order number (default at another moment)."),
    ] = None,
    as_of: AsOf = None,
    known_at: KnownAt = None,
    limit: Limit = None,
    cursor: At = None,
    as_json: Json = False,
) -> None:
    """The deadlines of a shop, each with its state, now or as they stood."""
    filter = DeadlineFilter(kind=kind, state=state, due_before=due_before)
    viewpoint = Viewpoint(as_of, known_at)
    page: Page[ListedDeadline, Any]
    if is_by_number(sort, viewpoint):
        page = _by_number(shop, viewpoint, filter, deadlines_at, limit, cursor)
    else:
        views = views_read(filter)
        read = partial(list_deadlines, book=book())
        page = _listed(shop, viewpoint, filter, views, read, DeadlineKey, limit, cursor)
    print_page(
        page,
        ("order", lambda deadline: deadline.order_sn),
        ("deadline", lambda deadline: deadline.kind),
        ("of", lambda deadline: deadline.sku_id or deadline.supplier_id or deadline.tracking_number or "-"),
        ("due", lambda deadline: shown(deadline.due_at)),
        ("met", lambda deadline: shown(deadline.met_at)),
        ("state", lambda deadline: deadline.state),
        as_json=as_json,
    )


def violations(
    shop: ShopArgument,
    kind: Annotated[ViolationKind | None, typer.Option(help="Only violations of this kind.")] = None,
    appeal: Annotated[
        AppealState | None, typer.Option(help="Only what was not disputed, still is, or came out like this.")
    ] = None,
    sort: Annotated[
        Literal["arose_at", "order_sn"] | None,
        typer.Option(help="By when they arose (default), or by order number (default at another moment)."),
    ] = None,
    as_of: AsOf = None,
    known_at: KnownAt = None,
    limit: Limit = None,
    cursor: At = None,
    as_json: Json = False,
) -> None:
    """The violations of a shop that stand now, or stood at a moment."""
    filter = ViolationFilter(kind=kind, appeal=appeal)
    viewpoint = Viewpoint(as_of, known_at)
    page: Page[ListedViolation, Any]
    if is_by_number(sort, viewpoint):
        page = _by_number(shop, viewpoint, filter, violations_at, limit, cursor)
    else:
        views = lists.VIOLATIONS_READ
        page = _listed(shop, viewpoint, filter, views, list_violations, ViolationKey, limit, cursor)
    print_page(
        page,
        ("order", lambda violation: violation.order_sn),
        ("violation", lambda violation: violation.kind),
        ("cause", lambda violation: violation.cause or "-"),
        ("arose", lambda violation: shown(violation.arose_at)),
        ("penalty", lambda violation: yuan(violation.penalty_fen)),
        ("appeal", dispute),
        as_json=as_json,
    )
    if as_json:
        return
    total = sum(v.penalty_fen or 0 for v in page.items if v.appeal is None or v.appeal.outcome != "overturned")
    where = "" if page.next is page.previous is None else " on this page"
    out.print(f"{len(page.items)} violations{where}, {yuan(total)}")


def _by_number(
    shop: str,
    viewpoint: Viewpoint,
    filter: F,
    list_at: Callable[
        [ReadConnection, str, RuleBook, Viewpoint, datetime, F, int, Cursor[OrderKey] | None],
        Awaitable[Page[T, OrderKey]],
    ],
    limit: int | None,
    cursor: str | None,
) -> Page[T, OrderKey]:
    """A list by order number, from the log."""
    now = clock.now()

    async def read(connection: ReadConnection, book: RuleBook) -> Page[T, OrderKey]:
        return await page_or_all(
            lambda size, start: list_at(connection, shop, book, viewpoint, now, filter, size, start),
            OrderKey,
            limit,
            cursor,
        )

    return read_log(read)


def _listed(
    shop: str,
    viewpoint: Viewpoint,
    filter: F,
    views: Sequence[View],
    read_list: Callable[[ReadConnection, str, datetime, F, int, Any], Awaitable[Page[T, Any]]],
    key: Any,
    limit: int | None,
    cursor: str | None,
) -> Page[T, Any]:
    """A list in its own order, from the views."""

    async def read(connection: ReadConnection, _: RuleBook, at: datetime) -> Page[T, Any]:
        return await page_or_all(
            lambda size, start: read_list(connection, shop, at, filter, size, start), key, limit, cursor
        )

    return read_views(shop, read, viewpoint=viewpoint, views=views)
