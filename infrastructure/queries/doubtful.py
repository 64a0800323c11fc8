"""Doubtful shipments: orders whose tracking number another order had, or whose numbers were replaced often.

SQL selects the orders that may be doubtful. The domain decides it from their events (``domain.order.warnings``).
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from domain.order.fold import fold
from domain.order.state import Status
from domain.order.warnings import OrderWarning, doubts
from domain.rules.ruleset import RuleBook
from infrastructure.database.pool import ReadConnection
from infrastructure.log.log import read_histories
from infrastructure.log.streams import OF_ORDER
from infrastructure.projections.views import PARCELS
from infrastructure.queries.paging import Cursor, OrderKey, Page, directed, page_by_order
from infrastructure.queries.related_facts import read_related_facts, related_facts_request

VIEWS_READ = (PARCELS,)
"""The views that this query reads."""

USUAL_PERIOD = timedelta(days=31)

_ORDERS = """
SELECT DISTINCT p.order_sn FROM parcel_list p
WHERE p.shop_id = %(shop_id)s AND p.uploaded_at >= %(since)s AND p.uploaded_at < %(until)s
  AND p.order_sn {from_first}
  AND (p.number > 1 OR EXISTS (
      SELECT FROM parcel_list o
      WHERE o.shop_id = %(shop_id)s AND o.tracking_number = p.tracking_number AND o.order_sn <> p.order_sn))
ORDER BY p.order_sn {direction} LIMIT %(limit)s
"""


class DoubtfulShipment(msgspec.Struct, frozen=True):
    """An order with what is doubtful about its tracking numbers."""

    order_sn: str
    status: Status
    shipped_at: datetime | None
    warnings: tuple[OrderWarning, ...]


def period(since: datetime | None, until: datetime | None, now: datetime) -> tuple[datetime, datetime]:
    """From when until when uploads are looked at: by default the last 31 days, up to tomorrow."""
    until = until or now + timedelta(days=1)
    return since or until - USUAL_PERIOD, until


async def list_doubtful(
    connection: ReadConnection,
    shop_id: str,
    book: RuleBook,
    since: datetime,
    until: datetime,
    limit: int,
    cursor: Cursor[OrderKey] | None = None,
) -> Page[DoubtfulShipment, OrderKey]:
    """Orders with a doubtful number among those that went up from ``since`` till ``until``, by order number.

    A page may hold fewer than ``limit`` and still have a next one: the work of one page is bounded.
    """

    async def orders_from(first: str, count: int, backwards: bool) -> list[str]:
        found = await connection.execute(
            directed(_ORDERS, backwards=backwards),
            {"shop_id": shop_id, "since": since, "until": until, "first": first, "limit": count},
        )
        return [number for (number,) in await found.fetchall()]

    async def items_of(numbers: Sequence[str]) -> dict[str, list[DoubtfulShipment]]:
        streams = [(shop_id, OF_ORDER.stream(number)) for number in numbers]
        histories = await read_histories(connection, streams)
        orders = [fold(number, histories[stream]) for number, stream in zip(numbers, streams, strict=True)]
        requests = [related_facts_request(shop_id, order, until) for order in orders]
        others = await read_related_facts(connection, [request for request in requests if request])
        shipments = {}
        for order in orders:
            related_facts = others.facts_of(shop_id, order, None, {})
            warned = tuple(doubts(order, book.governing(order), related_facts.uses))
            shown = DoubtfulShipment(order.order_sn, order.status, order.shipped_at, warned)
            shipments[order.order_sn] = [shown] if warned else []
        return shipments

    return await page_by_order(limit, cursor, orders_from, items_of)
