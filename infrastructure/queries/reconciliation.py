"""Reconciliation: for which orders the platform's bills and the rules disagree, and by how much.

SQL selects the orders that were charged or broke a rule in a period. The domain finds the differences from their
events (``domain.money.reconciliation``).
"""

from collections.abc import Sequence
from datetime import datetime

from domain.money.reconciliation import Difference, DifferenceKind, differences
from domain.order.fold import fold
from domain.rules.ruleset import RuleBook
from infrastructure.database.pool import ReadConnection
from infrastructure.log.log import read_histories
from infrastructure.log.streams import OF_ORDER
from infrastructure.projections.views import CHARGES, VIOLATIONS
from infrastructure.queries.paging import OrderKey, Page, page_by_order

VIEWS_READ = (VIOLATIONS, CHARGES)
"""The views that this query reads."""

# An order counts with all its charges and violations as soon as one of them lies in the period: a bill comes days
# after what it is for.
_ORDERS = """
SELECT order_sn FROM (
    SELECT v.order_sn FROM violation_list v
    WHERE v.shop_id = %(shop_id)s AND v.order_sn >= %(first)s AND v.stands_from <= %(at)s
      AND v.arose_at >= %(since)s::timestamptz AND v.arose_at < %(until)s::timestamptz
    UNION
    SELECT c.order_sn FROM charge_list c
    WHERE c.shop_id = %(shop_id)s AND c.order_sn >= %(first)s
      AND c.charged_at >= %(since)s::timestamptz AND c.charged_at < %(until)s::timestamptz
) AS concerned
ORDER BY order_sn LIMIT %(limit)s
"""


async def list_differences(
    connection: ReadConnection,
    shop_id: str,
    book: RuleBook,
    at: datetime,
    limit: int,
    after: OrderKey | None = None,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    difference: DifferenceKind | None = None,
) -> Page[Difference, OrderKey]:
    """The differences of a shop as they stand at a moment, by order number.

    A page may hold fewer than ``limit`` and still have a next one: the work of one page is bounded.
    """

    async def orders_from(first: str, count: int) -> list[str]:
        cursor = await connection.execute(
            _ORDERS,
            {
                "shop_id": shop_id,
                "first": first,
                "at": at,
                "since": since.isoformat() if since else "-infinity",
                "until": until.isoformat() if until else "infinity",
                "limit": count,
            },
        )
        return [number for (number,) in await cursor.fetchall()]

    async def items_of(numbers: Sequence[str]) -> dict[str, list[Difference]]:
        by_order = await _differences(connection, shop_id, book, at, numbers)
        return {
            number: [each for each in of_order if difference in (None, each.difference)]
            for number, of_order in by_order.items()
        }

    return await page_by_order(limit, after, orders_from, items_of)


async def _differences(
    connection: ReadConnection, shop_id: str, book: RuleBook, at: datetime, numbers: Sequence[str]
) -> dict[str, tuple[Difference, ...]]:
    streams = [(shop_id, OF_ORDER.stream(number)) for number in numbers]
    histories = await read_histories(connection, streams)
    by_order = {}
    for number, stream in zip(numbers, streams, strict=True):
        order = fold(number, histories[stream])
        by_order[number] = differences(order, book.governing(order), at)
    return by_order
