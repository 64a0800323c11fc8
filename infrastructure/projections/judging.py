"""Violations of a whole shop as of a moment in the past, by folding what had happened by then."""

from datetime import datetime

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from domain.history import visible
from domain.order.state import fold
from domain.order.view import violation_view
from domain.rules.ruleset import RuleBook, ViolationKind
from domain.rules.violations import violations
from infrastructure.log.log import ORDER, read_histories
from infrastructure.projections.lists import ListedViolation, Page

STRETCH = 500
"""Orders folded at once."""

MOST_STRETCHES = 4
"""How many of those one page looks through at most before it answers with what it has."""

_ORDERS = """
SELECT order_sn FROM order_list
WHERE shop_id = %(shop_id)s AND placed_at <= %(as_of)s AND order_sn >= %(first)s
ORDER BY order_sn LIMIT %(limit)s
"""


async def violations_as_of(
    connection: AsyncConnection[TupleRow],
    shop_id: str,
    book: RuleBook,
    as_of: datetime,
    limit: int,
    after: tuple[str, str] | None = None,
    *,
    kind: ViolationKind | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Page[ListedViolation]:
    """Exactly what stood at ``as_of``, judged from the events that had occurred by then.

    Sorted by order number; the key is the last (order, violation). A page may hold fewer than ``limit``
    items and still have a next one: the work of one page is bounded.
    """
    found: list[ListedViolation] = []
    order_sn, violation_id = after or ("", "")
    for _ in range(MOST_STRETCHES):
        cursor = await connection.execute(
            _ORDERS, {"shop_id": shop_id, "as_of": as_of, "first": order_sn, "limit": STRETCH}
        )
        numbers = [row[0] for row in await cursor.fetchall()]
        histories = await read_histories(connection, ((shop_id, ORDER + number) for number in numbers))
        for (_, stream), history in histories.items():
            number = stream.removeprefix(ORDER)
            order = fold(number, visible(history, as_of=as_of))
            for violation in sorted(violations(order, book.governing(order), as_of), key=lambda v: v.violation_id):
                # Only the order that was broken off at; numbers compare by the database's collation, not Python's.
                if number == order_sn and violation.violation_id <= violation_id:
                    continue
                if kind not in (None, violation.kind):
                    continue
                if (since and violation.arose_at < since) or (until and violation.arose_at >= until):
                    continue
                if len(found) == limit:
                    return Page(found, (found[-1].order_sn, found[-1].violation_id))
                found.append(ListedViolation.of(violation_view(violation), number))
        if len(numbers) < STRETCH:
            return Page(found, None)
        order_sn, violation_id = numbers[-1], "\uffff"
    return Page(found, (order_sn, violation_id))
