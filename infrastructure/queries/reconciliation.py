"""Reconciliation: for which orders the platform's bills and the rules disagree, and by how much.

SQL selects the orders that were charged or broke a rule in a period. The domain finds the differences from their
events (``domain.money.reconciliation``).
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from psycopg import sql

from domain.kernel import ViolationKind
from domain.money.reconciliation import Difference, DifferenceKind, Unattributed, differences
from domain.order.commands import NO_ORDER
from domain.order.fold import fold
from domain.rules.ruleset import RuleBook
from infrastructure.database.pool import ReadConnection
from infrastructure.log.log import read_histories
from infrastructure.log.streams import OF_ORDER
from infrastructure.projections.views import CHARGES, ORDERS, VIOLATIONS
from infrastructure.projections.views.orders import NOT_PLACED
from infrastructure.queries.paging import Cursor, Keyset, OrderKey, Page, directed, page_by_order, page_of

VIEWS_READ = (VIOLATIONS, CHARGES)
"""The views that the differences are read from."""

UNMATCHED_VIEWS_READ = (CHARGES, ORDERS)
"""The views that the list of unmatched lines is read from."""

# An order counts with all its charges and violations as soon as one of them lies in the period: a bill comes days
# after what it is for.
_ORDERS = """
SELECT order_sn FROM (
    SELECT v.order_sn FROM violation_list v
    WHERE v.shop_id = %(shop_id)s AND v.order_sn {from_first} AND v.stands_from <= %(at)s
      AND v.arose_at >= %(since)s::timestamptz AND v.arose_at < %(until)s::timestamptz
    UNION
    SELECT c.order_sn FROM charge_list c
    WHERE c.shop_id = %(shop_id)s AND c.order_sn {from_first}
      AND c.charged_at >= %(since)s::timestamptz AND c.charged_at < %(until)s::timestamptz
) AS concerned
ORDER BY order_sn {direction} LIMIT %(limit)s
"""

_UNATTRIBUTED = """
SELECT kind, max(charged_at) FROM charge_list
WHERE shop_id = %(shop_id)s AND order_sn >= %(first)s AND order_sn < %(beyond)s
  AND kind IS NOT NULL AND charged_at <= %(at)s
GROUP BY kind
"""

_UNMATCHED = sql.SQL(
    """
SELECT c.charged_at, c.order_sn, c.number, c.line_id, c.kind, c.amount_fen FROM charge_list c
WHERE c.shop_id = %(shop_id)s AND {}
  AND EXISTS (SELECT FROM order_list o
              WHERE o.order_sn = c.order_sn AND o.shop_id = c.shop_id AND o.status = %(not_placed)s)
ORDER BY {} LIMIT %(limit)s
"""
)

UnmatchedKey = tuple[datetime, str, int]
"""The key of the list of unmatched lines: the time, the order's number, and the line's place in the order."""


async def list_differences(
    connection: ReadConnection,
    shop_id: str,
    book: RuleBook,
    at: datetime,
    limit: int,
    cursor: Cursor[OrderKey] | None = None,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    difference: DifferenceKind | None = None,
) -> Page[Difference, OrderKey]:
    """The differences of a shop as they stand at a moment, by order number.

    A page may hold fewer than ``limit`` and still have a next one: the work of one page is bounded.
    """

    async def orders_from(first: str, count: int, backwards: bool) -> list[str]:
        found = await connection.execute(
            directed(_ORDERS, backwards=backwards),
            {
                "shop_id": shop_id,
                "first": first,
                "at": at,
                "since": since.isoformat() if since else "-infinity",
                "until": until.isoformat() if until else "infinity",
                "limit": count,
            },
        )
        return [number for (number,) in await found.fetchall()]

    async def items_of(numbers: Sequence[str]) -> dict[str, list[Difference]]:
        by_order = await _differences(connection, shop_id, book, at, numbers)
        return {
            number: [each for each in of_order if difference in (None, each.difference)]
            for number, of_order in by_order.items()
        }

    return await page_by_order(limit, cursor, orders_from, items_of)


async def _differences(
    connection: ReadConnection, shop_id: str, book: RuleBook, at: datetime, numbers: Sequence[str]
) -> dict[str, tuple[Difference, ...]]:
    streams = [(shop_id, OF_ORDER.stream(number)) for number in numbers]
    histories = await read_histories(connection, streams)
    by_order = {}
    unattributed = await _unattributed(connection, shop_id, at)
    for number, stream in zip(numbers, streams, strict=True):
        order = fold(number, histories[stream])
        found = differences(order, book.governing(order), at, unattributed) if order.is_placed else ()
        by_order[number] = found
    return by_order


async def _unattributed(connection: ReadConnection, shop_id: str, at: datetime) -> Unattributed:
    cursor = await connection.execute(
        _UNATTRIBUTED,
        {"shop_id": shop_id, "at": at, "first": NO_ORDER, "beyond": NO_ORDER[:-1] + chr(ord(NO_ORDER[-1]) + 1)},
    )
    return dict(await cursor.fetchall())


class UnmatchedCharge(msgspec.Struct, frozen=True):
    """A line of a bill that names no order of the log. ``order_sn`` is null where it names none at all.

    ``kind`` is null for money that was given back.
    """

    line_id: str
    order_sn: str | None
    kind: ViolationKind | None
    amount_fen: int
    at: datetime


async def list_unmatched(
    connection: ReadConnection, shop_id: str, limit: int, cursor: Cursor[UnmatchedKey] | None = None
) -> Page[UnmatchedCharge, UnmatchedKey]:
    """The lines of bills that name no order of the log, by time. One leaves the list when its order is imported."""
    keyset = Keyset([sql.Identifier("c", column) for column in ("charged_at", "order_sn", "number")], cursor)
    found = await connection.execute(
        _UNMATCHED.format(keyset.condition, keyset.order),
        {"shop_id": shop_id, "not_placed": NOT_PLACED, "limit": limit + 1, **keyset.parameters},
    )
    page = page_of(await found.fetchall(), limit, cursor, lambda row: row[:3])
    return page.of(
        [
            UnmatchedCharge(line_id, None if named.startswith(NO_ORDER) else named, kind, amount_fen, charged_at)
            for charged_at, named, _, line_id, kind, amount_fen in page.items
        ]
    )
