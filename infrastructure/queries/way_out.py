"""The ways out of an order that may not be shipped in time, priced."""

from datetime import datetime

from domain.order.fold import fold
from domain.rules.ruleset import RuleBook
from domain.stockout.way_out import WayOut, way_out
from infrastructure.database.pool import ReadConnection
from infrastructure.log.log import read_histories
from infrastructure.log.streams import OF_ORDER
from infrastructure.queries.errors import UnknownOrder
from infrastructure.queries.related_facts import related_facts_of_applications


async def find_way_out(
    connection: ReadConnection, shop_id: str, order_sn: str, book: RuleBook, at: datetime
) -> WayOut:
    """The ways out at a moment, never before the order's last event. Raises ``UnknownOrder``."""
    stream = (shop_id, OF_ORDER.stream(order_sn))
    order = fold(order_sn, (await read_histories(connection, [stream]))[stream])
    if order.last_occurred_at is None:
        raise UnknownOrder(order_sn)
    at = max(at, order.last_occurred_at)
    (related_facts,) = await related_facts_of_applications(connection, shop_id, book, [(order, at)])
    return way_out(order, book.governing(order), at, related_facts)
