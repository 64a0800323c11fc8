"""The lists of a shop as of a moment: by what had happened by then, by what the log knew then, or by both.

The views are not read. Every order is folded from exactly the events that count, and judged at that moment, so a
page goes by order number. Its items are those that ``lists`` shows.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, TypeVar

from domain.order.deadlines import deadlines
from domain.order.filters import DeadlineFilter, OrderFilter, ViolationFilter
from domain.order.fold import fold
from domain.order.judged import Judged
from domain.order.view import deadline_view, violation_view
from domain.rules.ruleset import RuleBook
from domain.sku.state import Sku
from domain.viewpoint import Viewpoint, visible
from infrastructure.database.pool import ReadConnection
from infrastructure.log.loading import read_orders
from infrastructure.log.log import positions_known_at, read_head
from infrastructure.log.replay import RowTask, Task, partitions, replay
from infrastructure.log.streams import OF_ORDER
from infrastructure.projections.views import ORDERS
from infrastructure.queries.deadlines import ListedDeadline
from infrastructure.queries.lists import ListedViolation, OrderSummary, summary_of
from infrastructure.queries.paging import Cursor, OrderKey, Page, directed, page_by_order

# From the log itself: a view may be behind, and the log may hear of an order long after what happened to it.
_NUMBERS = """
SELECT stream FROM event
WHERE shop_id = %(shop_id)s AND stream {from_first} AND stream >= %(prefix)s AND stream < %(beyond)s AND version = 1
ORDER BY stream {direction} LIMIT %(limit)s
"""

T = TypeVar("T")


def is_by_number(sort: str | None, viewpoint: Viewpoint) -> bool:
    """Whether a list comes by order number: where that is asked for, and at another moment if nothing else is."""
    return sort == "order_sn" or (sort is None and not viewpoint.is_now)


class _OrderThen(NamedTuple):
    """An order as it stood at a viewpoint, judged at ``at``, with the SKUs it was applied for."""

    judged: Judged
    skus: Mapping[str, Sku]
    at: datetime


async def orders_at(
    connection: ReadConnection,
    shop_id: str,
    book: RuleBook,
    viewpoint: Viewpoint,
    now: datetime,
    filter: OrderFilter,
    limit: int,
    cursor: Cursor[OrderKey] | None = None,
) -> Page[OrderSummary, OrderKey]:
    """What ``lists.list_orders`` shows, at a viewpoint; by order number."""
    columns = [column.name for column in ORDERS.columns]

    def items_of(order_then: _OrderThen) -> Sequence[OrderSummary]:
        if not filter.matches(order_then.judged, order_then.at):
            return ()
        (row,) = ORDERS.rows(order_then.judged)
        return [summary_of(order_then.judged.order.order_sn, dict(zip(columns, row, strict=True)))]

    return await _page(connection, shop_id, book, viewpoint, now, limit, cursor, items_of)


async def deadlines_at(
    connection: ReadConnection,
    shop_id: str,
    book: RuleBook,
    viewpoint: Viewpoint,
    now: datetime,
    filter: DeadlineFilter,
    limit: int,
    cursor: Cursor[OrderKey] | None = None,
) -> Page[ListedDeadline, OrderKey]:
    """What ``lists.list_deadlines`` shows, at a viewpoint; by order number, an order's in the order of its life."""

    def items_of(order_then: _OrderThen) -> Sequence[ListedDeadline]:
        order, rules, running, _ = order_then.judged
        return [
            ListedDeadline.of(deadline_view(each, order_then.at), order.order_sn)
            for each in deadlines(order, rules, running, order_then.skus)
            if filter.matches(each, order_then.at)
        ]

    return await _page(connection, shop_id, book, viewpoint, now, limit, cursor, items_of)


async def violations_at(
    connection: ReadConnection,
    shop_id: str,
    book: RuleBook,
    viewpoint: Viewpoint,
    now: datetime,
    filter: ViolationFilter,
    limit: int,
    cursor: Cursor[OrderKey] | None = None,
) -> Page[ListedViolation, OrderKey]:
    """What ``lists.list_violations`` shows, at a viewpoint; by order number, an order's as they arose."""

    def items_of(order_then: _OrderThen) -> Sequence[ListedViolation]:
        return [
            ListedViolation.of(violation_view(each), order_then.judged.order.order_sn)
            for each in order_then.judged.violations
            if filter.matches(each, order_then.at)
        ]

    return await _page(connection, shop_id, book, viewpoint, now, limit, cursor, items_of)


FOLDED_HERE = 5_000
"""A log of so many events is folded in this process: to start another takes longer."""

OnProgress = Callable[[int, int], None]
"""Is called with how many events are folded, and of how many."""


async def every_order_at(
    url: str,
    shop_id: str,
    viewpoint: Viewpoint,
    task: Task[T],
    on_progress: OnProgress = lambda done, total: None,
) -> AsyncIterator[T]:
    """What a task makes of all orders of a shop as they stood, a part of the shop at a time, over all cores.

    Raises ``ReplayFailed``.
    """
    async for result in _of_whole_shop(url, shop_id, viewpoint, task, on_progress):
        yield result


async def every_state_at(
    url: str,
    shop_id: str,
    viewpoint: Viewpoint,
    task: RowTask[T],
    on_progress: OnProgress = lambda done, total: None,
) -> AsyncIterator[T]:
    """What a task makes of all orders and SKUs of a shop as they stood; otherwise as ``every_order_at``."""
    async for result in _of_whole_shop(url, shop_id, viewpoint, task, on_progress, for_rows=True):
        yield result


async def _of_whole_shop(
    url: str,
    shop_id: str,
    viewpoint: Viewpoint,
    task: Task[T] | RowTask[T],
    on_progress: OnProgress,
    *,
    for_rows: bool = False,
) -> AsyncIterator[T]:
    async with await ReadConnection.connect(url, autocommit=True) as connection:
        head = await read_head(connection, shop_id)
        if viewpoint.known_at is not None:
            head = (await positions_known_at(connection, {shop_id: head}, viewpoint.known_at))[shop_id]
        planned = await partitions(connection, shop_id, head, for_rows=for_rows)
    done, total = 0, sum(partition.range.events for partition in planned)
    is_small = total <= FOLDED_HERE
    async for replayed in replay(url, planned, task, as_of=viewpoint.as_of, here=is_small):
        yield replayed.result
        done += replayed.events
        on_progress(done, total)


async def _page(
    connection: ReadConnection,
    shop_id: str,
    book: RuleBook,
    viewpoint: Viewpoint,
    now: datetime,
    limit: int,
    cursor: Cursor[OrderKey] | None,
    items_of: Callable[[_OrderThen], Sequence[T]],
) -> Page[T, OrderKey]:
    at = viewpoint.judged_at(now)

    async def orders_from(first: str, count: int, backwards: bool) -> list[str]:
        prefix = OF_ORDER.prefix
        found = await connection.execute(
            directed(_NUMBERS, backwards=backwards),
            {
                "shop_id": shop_id,
                "first": prefix + first,
                "prefix": prefix,
                "beyond": prefix[:-1] + chr(ord(prefix[-1]) + 1),
                "limit": count,
            },
        )
        return [OF_ORDER.id_of(stream) for (stream,) in await found.fetchall()]

    async def items_by_order(numbers: Sequence[str]) -> dict[str, Sequence[T]]:
        items: dict[str, Sequence[T]] = {}
        for number, history in (await read_orders(connection, shop_id, numbers)).items():
            order = fold(number, visible(history.order, viewpoint))
            order_then = _OrderThen(Judged.by(book, order), history.skus_at(viewpoint), at)
            items[number] = items_of(order_then) if order.is_known else ()
        return items

    return await page_by_order(limit, cursor, orders_from, items_by_order)
