"""Reading SKUs from the views: the board, one SKU, its history and its orders at risk.

SQL only selects and sums; the domain computes what may still be sold (``domain.stock``). A SKU is known as soon as
an order names it, so the board shows the SKUs of orders as well as those that commands were for.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from domain.rules.ruleset import RuleBook
from domain.sku.state import Capacity, Count, Listing, Sku, fold
from domain.stock.sellable import Demand, horizon
from domain.stock.view import SkuView, ordinary_hours, view
from domain.stockout.case_view import OrderInCase
from infrastructure.database.pool import ReadConnection
from infrastructure.log.columns import Texts, Times
from infrastructure.log.log import read_histories, read_stream
from infrastructure.log.streams import OF_SKU
from infrastructure.projections.view import FAR_FUTURE
from infrastructure.projections.views import APPLICATIONS, RESERVATIONS, SKUS
from infrastructure.queries.errors import UnknownSku
from infrastructure.queries.event_json import StoredEventView, VersionKey, page_of_history
from infrastructure.queries.names import NameKey, NamesIn, read_names
from infrastructure.queries.paging import Cursor, Page
from infrastructure.queries.stockout_cases import UrgencyKey, at_risk, cases_of

VIEWS_READ = (RESERVATIONS, APPLICATIONS, SKUS)
"""The views that the board and the cases are read from."""

SkuKey = NameKey

MOST_ROUNDS = 4
"""How many pages of SKUs one filtered page looks through at most before it answers with what it has."""

_NAMED = (
    NamesIn(RESERVATIONS.table, "sku_id", "ended_at IS NULL"),
    NamesIn(RESERVATIONS.table, "sku_id", "ended_at IS NOT NULL"),
    NamesIn(SKUS.table, "sku_id"),
)
"""Where SKUs are named. Each part of the reservations has an index of its own."""

_SKUS = """
SELECT w.sku_id, k.version, k.position, k.delisted_at, k.on_hand, k.counted_at,
       k.production_per_day, k.shipping_per_day, k.capacity_since
FROM unnest(%(sku_ids)b) WITH ORDINALITY AS w(sku_id, n)
LEFT JOIN sku_list k ON k.shop_id = %(shop_id)b AND k.sku_id = w.sku_id
ORDER BY w.n
"""

# Only indexes are read: the pieces stand in them (views/reservations.py).
_DEMAND = """
SELECT w.sku_id, o.reserved, o.due, o.pending, s.shipped, o.orders,
       o.named OR EXISTS (SELECT FROM reservation_list e
                          WHERE e.shop_id = %(shop_id)b AND e.sku_id = w.sku_id AND e.ended_at IS NOT NULL),
       EXISTS (SELECT FROM application_list a WHERE a.shop_id = %(shop_id)b AND a.sku_id = w.sku_id)
FROM unnest(%(sku_ids)b, %(counted_at)b) AS w(sku_id, counted_at)
CROSS JOIN LATERAL (
    SELECT coalesce(sum(r.quantity) FILTER (WHERE r.state = 'reserved'), 0)::bigint AS reserved,
           coalesce(sum(r.quantity) FILTER (WHERE r.state = 'reserved' AND r.ship_by_key <= %(horizon)b), 0)::bigint
               AS due,
           coalesce(sum(r.quantity) FILTER (WHERE r.state = 'pending'), 0)::bigint AS pending,
           count(*) FILTER (WHERE r.state = 'reserved') AS orders, count(*) > 0 AS named
    FROM reservation_list r
    WHERE r.shop_id = %(shop_id)b AND r.sku_id = w.sku_id AND r.ended_at IS NULL
) o
CROSS JOIN LATERAL (
    SELECT coalesce(sum(r.quantity), 0)::bigint AS shipped
    FROM reservation_list r
    WHERE r.shop_id = %(shop_id)b AND r.sku_id = w.sku_id AND r.ended_at > w.counted_at AND r.state = 'shipped'
) s
"""


async def list_skus(
    connection: ReadConnection,
    shop_id: str,
    book: RuleBook,
    now: datetime,
    limit: int,
    cursor: Cursor[SkuKey] | None = None,
    *,
    oversold: bool | None = None,
    listed: bool | None = None,
) -> Page[SkuView, SkuKey]:
    """The SKUs of a shop by id.

    With a filter a page may hold fewer than ``limit`` and still have a next one: the work of one is bounded.
    """
    backwards = cursor is not None and cursor.backwards
    shown: list[_Stock] = []
    further = cursor
    for _ in range(MOST_ROUNDS):
        names = await read_names(connection, shop_id, _NAMED, limit + 1, further)
        skus = await _read_skus(connection, shop_id, names[:limit])
        last = skus[-1].sku_id if skus else None
        for stock in await _stock(connection, shop_id, book, now, skus):
            over = oversold is not None and view(stock.sku, stock.demand, (), book, now).oversold_by > 0
            if over == bool(oversold) and listed in (None, stock.sku.listed):
                shown.append(stock)
                if len(shown) == limit:
                    last = stock.sku.sku_id
                    break
        further = None
        if last is not None and last != names[-1]:
            further = Cursor((last,), before=backwards, backwards=backwards)
        if len(shown) == limit or further is None:
            break
    start = cursor.turned if cursor else None
    views = await _views(connection, shop_id, book, now, shown)
    return Page(views[::-1], start, further) if backwards else Page(views, further, start)


async def find_sku(connection: ReadConnection, shop_id: str, book: RuleBook, now: datetime, sku_id: str) -> SkuView:
    """One SKU, by its own events and by what orders need of it. Raises ``UnknownSku``."""
    stream = (shop_id, OF_SKU.stream(sku_id))
    sku = fold(sku_id, (await read_histories(connection, [stream]))[stream])
    stock = await _stock(connection, shop_id, book, now, [sku])
    if not stock:
        raise UnknownSku(sku_id)
    (sku_view,) = await _views(connection, shop_id, book, now, stock)
    return sku_view


async def sku_history(
    connection: ReadConnection,
    shop_id: str,
    sku_id: str,
    book: RuleBook,
    now: datetime,
    limit: int,
    cursor: Cursor[VersionKey] | None = None,
) -> Page[StoredEventView, VersionKey]:
    """The SKU's history, event by event; empty for one that is only known from orders. Raises ``UnknownSku``."""
    history = await read_stream(connection, shop_id, OF_SKU.stream(sku_id))
    if not history:
        await find_sku(connection, shop_id, book, now, sku_id)
    return page_of_history(history, limit, cursor)


async def orders_at_risk(
    connection: ReadConnection,
    shop_id: str,
    book: RuleBook,
    now: datetime,
    sku_id: str,
    limit: int,
    cursor: Cursor[UrgencyKey] | None = None,
) -> Page[OrderInCase, UrgencyKey]:
    """The open orders of the SKU's open case that have not applied. Raises ``UnknownSku``."""
    await find_sku(connection, shop_id, book, now, sku_id)
    return await at_risk(connection, shop_id, book, now, sku_id, limit, cursor)


class _Stock(NamedTuple):
    """A SKU with what orders want of it, and whether stockout of it was ever applied for."""

    sku: Sku
    demand: Demand
    applied_for: bool


async def _stock(
    connection: ReadConnection, shop_id: str, book: RuleBook, now: datetime, skus: Sequence[Sku]
) -> list[_Stock]:
    """What orders want of these SKUs; without those that are not known at all."""
    cursor = connection.cursor(binary=True)
    await cursor.execute(
        _DEMAND,
        {
            "shop_id": shop_id,
            "sku_ids": Texts([sku.sku_id for sku in skus]),
            "counted_at": Times([sku.count.at if sku.count else FAR_FUTURE for sku in skus]),
            "horizon": horizon(ordinary_hours(book, now), now),
        },
    )
    demands = {}
    for sku_id, reserved, due, pending, shipped, orders, named, applied_for in await cursor.fetchall():
        demands[sku_id] = (Demand(reserved, due, pending, shipped, orders), named, applied_for)
    return [
        _Stock(sku, demand, applied_for)
        for sku in skus
        for demand, named, applied_for in (demands[sku.sku_id],)
        if sku.version or named
    ]


async def _views(
    connection: ReadConnection, shop_id: str, book: RuleBook, now: datetime, stock: Sequence[_Stock]
) -> list[SkuView]:
    skus_applied_for = [each.sku.sku_id for each in stock if each.applied_for]
    cases = await cases_of(connection, shop_id, skus_applied_for) if skus_applied_for else {}
    return [view(each.sku, each.demand, cases.get(each.sku.sku_id, ()), book, now) for each in stock]


async def _read_skus(connection: ReadConnection, shop_id: str, sku_ids: Sequence[str]) -> list[Sku]:
    cursor = connection.cursor(binary=True)
    await cursor.execute(_SKUS, {"shop_id": shop_id, "sku_ids": Texts(sku_ids)})
    return [_sku(*row) for row in await cursor.fetchall()]


def _sku(
    sku_id: str,
    version: int | None,
    position: int,
    delisted_at: datetime | None,
    on_hand: int | None,
    counted_at: datetime | None,
    production_per_day: int | None,
    shipping_per_day: int | None,
    capacity_since: datetime | None,
) -> Sku:
    """The SKU of a row, as far as what may be sold depends on it."""
    if version is None:
        return Sku(sku_id)
    return Sku(
        sku_id,
        version,
        position,
        count=Count(on_hand, counted_at) if on_hand is not None and counted_at else None,
        capacity=(
            Capacity(production_per_day, shipping_per_day, capacity_since)
            if production_per_day is not None and shipping_per_day is not None and capacity_since
            else None
        ),
        listings=(Listing(False, delisted_at),) if delisted_at else (),
    )
