"""Reading stockout cases: lists of them, one with its orders, what is at risk, and what to tell the buyers.

SQL selects the SKUs that were applied for. The domain makes their cases (``domain.stockout.case``).
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import msgspec
from psycopg.rows import TupleRow

from domain.order.deadlines import Deadline, ship_by
from domain.order.fold import fold
from domain.order.state import Order
from domain.rules.ruleset import RuleBook
from domain.stockout.case import Application, CaseMember, SkuOrder, StockoutCase, cases
from domain.stockout.case_view import (
    CaseState,
    CaseView,
    OrderInCase,
    case_view,
    contact,
    contact_owed,
    order_in_case,
)
from domain.stockout.messages import FilledMessage, Message, fitting
from infrastructure.database.pool import ReadConnection
from infrastructure.log.columns import Texts, Times
from infrastructure.log.log import read_histories
from infrastructure.log.streams import OF_ORDER, OF_SKU
from infrastructure.projections.view import FAR_FUTURE
from infrastructure.projections.views import APPLICATIONS
from infrastructure.queries.errors import UnknownCase
from infrastructure.queries.names import NameKey, NamesIn, read_names
from infrastructure.queries.paging import Cursor, Page, is_behind, page_of_sorted
from infrastructure.queries.related_facts import related_facts_of_applications

SKUS_AT_ONCE = 200
"""SKUs whose cases are made at once."""

MOST_ORDERS = 100_000
"""How many orders of SKUs with cases are looked at for one page."""

MOST_SKUS = 5_000
"""How many SKUs that were ever applied for are looked at for the orders at risk."""

MOST_ROUNDS = 4
"""How often one page makes so many at most before it answers with what it has."""

CaseKey = tuple[CaseState, str, int]
"""Open cases come first; then by SKU, and by number the latest first."""

UrgencyKey = tuple[int, str, str]
"""What a stockout would cost below zero, when the order must be shipped, and its number."""

CaseOrderKey = tuple[datetime, str]
"""When the order fell into the case, and its number."""

_LAST_NUMBER = 2**62

_APPLIED_FOR = (NamesIn(APPLICATIONS.table, "sku_id"),)

_APPLICATIONS = """
SELECT a.sku_id, a.order_sn, a.position, a.requested_at, a.time_known, a.outcome
FROM application_list a WHERE a.shop_id = %b AND a.sku_id = ANY (%b)
ORDER BY a.sku_id, a.requested_at, a.position
"""

_WITH_OPEN_ORDERS = """
SELECT w.sku_id FROM unnest(%(sku_ids)b) AS w(sku_id)
WHERE EXISTS (
    SELECT FROM reservation_list r
    WHERE r.shop_id = %(shop_id)b AND r.sku_id = w.sku_id AND r.ended_at IS NULL AND r.formed_at IS NOT NULL
)
"""

_ORDERS = """
SELECT w.sku_id, r.order_sn, r.quantity, r.state, r.formed_at, r.ended_at, r.contacted_at, r.ship_by_key, r.cost_key
FROM unnest(%(sku_ids)b, %(since)b) AS w(sku_id, since)
CROSS JOIN LATERAL (
    SELECT * FROM reservation_list o
    WHERE o.shop_id = %(shop_id)b AND o.sku_id = w.sku_id AND o.ended_at IS NULL
    UNION ALL
    SELECT * FROM reservation_list e
    WHERE e.shop_id = %(shop_id)b AND e.sku_id = w.sku_id AND e.ended_at > w.since
) r
WHERE r.formed_at IS NOT NULL
LIMIT %(limit)b
"""


async def list_cases(
    connection: ReadConnection,
    shop_id: str,
    book: RuleBook,
    now: datetime,
    limit: int,
    cursor: Cursor[CaseKey] | None = None,
    *,
    state: CaseState | None = None,
) -> Page[CaseView, CaseKey]:
    """The stockout cases of a shop, those that are open first, by SKU.

    A page may hold fewer than ``limit`` and still have a next one: the work of one page is bounded.
    """
    backwards = cursor is not None and cursor.backwards
    phase, first, _ = cursor.key if cursor else (state or "open", "", 0)
    at_first: Cursor[NameKey] | None = Cursor((first,), before=not backwards, backwards=backwards)
    shown: list[CaseView] = []

    def page(end: CaseKey | None, *, before: bool = False) -> Page[CaseView, CaseKey]:
        further = None if end is None else Cursor(end, before, backwards)
        start = cursor.turned if cursor else None
        return Page(shown[::-1], start, further) if backwards else Page(shown, further, start)

    def is_shown(case: StockoutCase) -> bool:
        if (case.closed_at is None) != (phase == "open"):
            return False
        if cursor is None or cursor.key[:2] != (phase, case.sku_id):
            return True
        return is_behind((-case.number,), Cursor((-cursor.key[2],), cursor.before, backwards))

    last: CaseKey | None = None
    for _ in range(MOST_ROUNDS):
        names = await read_names(connection, shop_id, _APPLIED_FOR, SKUS_AT_ONCE + 1, at_first, from_end=backwards)
        of_skus = await cases_of(connection, shop_id, names[:SKUS_AT_ONCE])
        for sku_id in names[:SKUS_AT_ONCE]:
            of_sku = of_skus.get(sku_id, [])
            by_number = sorted(of_sku, key=lambda case: case.number, reverse=not backwards)
            for case in filter(is_shown, by_number):
                if len(shown) == limit:
                    return page(last, before=backwards)
                shown.append(case_view(case, book, now))
                last = phase, sku_id, case.number
        if len(names) > SKUS_AT_ONCE:
            at_first = Cursor((names[SKUS_AT_ONCE],), before=not backwards, backwards=backwards)
        elif state is None and phase == ("closed" if backwards else "open"):
            phase, at_first = ("open" if backwards else "closed"), None
        else:
            return page(None)
    if at_first is None:  # where the open cases end and the closed ones begin
        return page(("closed", "", _LAST_NUMBER))
    return page((phase, at_first.key[0], 0 if backwards else _LAST_NUMBER))


async def cases_of(
    connection: ReadConnection, shop_id: str, sku_ids: Sequence[str]
) -> Mapping[str, list[StockoutCase]]:
    """All stockout cases of these SKUs, the oldest of each first."""
    cursor = connection.cursor(binary=True)
    await cursor.execute(_APPLICATIONS, (shop_id, Texts(sku_ids)))
    applications: dict[str, list[Application]] = {}
    for sku_id, *application in await cursor.fetchall():
        applications.setdefault(sku_id, []).append(Application(*application))
    if not applications:
        return {}
    since = [of_sku[0].requested_at for of_sku in applications.values()]
    cursor = connection.cursor(binary=True)
    await cursor.execute(
        _ORDERS,
        {"shop_id": shop_id, "sku_ids": Texts(list(applications)), "since": Times(since), "limit": MOST_ORDERS},
    )
    orders = _sku_orders(await cursor.fetchall())
    histories = await read_histories(connection, ((shop_id, OF_SKU.stream(sku_id)) for sku_id in applications))
    return {
        sku_id: cases(sku_id, histories[shop_id, OF_SKU.stream(sku_id)], of_sku, orders.get(sku_id, []))
        for sku_id, of_sku in applications.items()
    }


def _sku_orders(rows: Iterable[TupleRow]) -> dict[str, list[SkuOrder]]:
    """By SKU, an order's pieces of one SKU taken together: open while one of them is."""
    by_sku: dict[str, dict[str, SkuOrder]] = {}
    for sku_id, order_sn, quantity, state, formed_at, ended_at, contacted_at, ship_by_key, cost_key in rows:
        ship_by = None if ship_by_key == FAR_FUTURE else ship_by_key
        part = SkuOrder(order_sn, quantity, state, formed_at, ended_at, contacted_at, ship_by, -cost_key)
        orders = by_sku.setdefault(sku_id, {})
        if (other := orders.get(order_sn)) is not None:
            last = max(part, other, key=lambda each: each.ended_at or FAR_FUTURE)
            part = msgspec.structs.replace(last, quantity=part.quantity + other.quantity)
        orders[order_sn] = part
    return {sku_id: list(orders.values()) for sku_id, orders in by_sku.items()}


async def find_case(connection: ReadConnection, shop_id: str, case_id: str) -> StockoutCase:
    """The case of this id. Raises ``UnknownCase``."""
    sku_id, _, number = case_id.rpartition(":")
    for case in (await cases_of(connection, shop_id, [sku_id])).get(sku_id, []):
        if str(case.number) == number:
            return case
    raise UnknownCase(shop_id, case_id)


async def at_risk(
    connection: ReadConnection,
    shop_id: str,
    book: RuleBook,
    now: datetime,
    sku_id: str,
    limit: int,
    cursor: Cursor[UrgencyKey] | None = None,
) -> Page[OrderInCase, UrgencyKey]:
    """The open orders of the SKU's open case that have not applied: the dearest first, then the most urgent."""
    of_sku = (await cases_of(connection, shop_id, [sku_id])).get(sku_id)
    if not of_sku or of_sku[-1].closed_at is not None:
        return Page([], None)
    case = of_sku[-1]
    orders = sorted((order for order in case.orders if order.standing == "at_risk"), key=_urgency)
    page = page_of_sorted(orders, limit, cursor, _urgency)
    return page.of(await _orders(connection, shop_id, book, now, case, page.items))


async def contacts_at_risk(connection: ReadConnection, shop_id: str, book: RuleBook) -> list[tuple[str, Deadline]]:
    """The ``contact_buyer`` of every order at risk in an open case, with its number; by order, then by SKU."""
    names = await read_names(connection, shop_id, _APPLIED_FOR, MOST_SKUS, None)
    if not names:
        return []
    cursor = connection.cursor(binary=True)
    await cursor.execute(_WITH_OPEN_ORDERS, {"shop_id": shop_id, "sku_ids": Texts(names)})
    sku_ids = [sku_id for (sku_id,) in await cursor.fetchall()]
    of_skus = await cases_of(connection, shop_id, sku_ids) if sku_ids else {}
    at_risk = [
        (member, of_sku[-1])
        for of_sku in of_skus.values()
        if of_sku[-1].closed_at is None
        for member in of_sku[-1].orders
        if member.standing == "at_risk"
    ]
    contacted = [member for member, _ in at_risk if member.contacted]
    orders = dict(zip(contacted, await _folded(connection, shop_id, contacted), strict=True))
    found = [
        (
            member.order_sn,
            case.sku_id,
            contact(case, member, orders[member], book) if member.contacted else contact_owed(case, member, book),
        )
        for member, case in at_risk
    ]
    return [
        (order_sn, msgspec.structs.replace(deadline, sku_id=sku_id))
        for order_sn, sku_id, deadline in sorted(found, key=lambda each: each[:2])
    ]


def _urgency(order: CaseMember) -> UrgencyKey:
    due = order.ship_by.isoformat() if order.ship_by else "9999"
    return -order.cost_fen, due, order.order_sn


async def orders_of(
    connection: ReadConnection,
    shop_id: str,
    book: RuleBook,
    now: datetime,
    case: StockoutCase,
    limit: int,
    cursor: Cursor[CaseOrderKey] | None = None,
) -> Page[OrderInCase, CaseOrderKey]:
    """The orders of a case, by when they fell into it."""
    page = page_of_sorted(case.orders, limit, cursor, _place)
    return page.of(await _orders(connection, shop_id, book, now, case, page.items))


async def messages_of(
    connection: ReadConnection,
    shop_id: str,
    book: RuleBook,
    case: StockoutCase,
    messages: Sequence[Message],
    limit: int,
    cursor: Cursor[CaseOrderKey] | None = None,
) -> Page[FilledMessage, CaseOrderKey]:
    """Messages to the buyers of a case, order by order: those that fit how each order stands."""
    page = page_of_sorted(case.orders, limit, cursor, _place)
    orders = await _folded(connection, shop_id, page.items)
    return page.of(
        [
            message
            for each, order in zip(page.items, orders, strict=True)
            for message in fitting(
                messages, each.standing, order, case.sku_id, ship_by(order, book.governing(order))
            )
        ]
    )


def _place(order: CaseMember) -> CaseOrderKey:
    return order.since, order.order_sn


async def _orders(
    connection: ReadConnection,
    shop_id: str,
    book: RuleBook,
    now: datetime,
    case: StockoutCase,
    shown: Sequence[CaseMember],
) -> list[OrderInCase]:
    orders = await _folded(connection, shop_id, shown)
    moments = [max(now, order.last_occurred_at or now) for order in orders]
    related_facts = await related_facts_of_applications(
        connection, shop_id, book, list(zip(orders, moments, strict=True))
    )
    return [
        order_in_case(case, each, order, book, at, others)
        for each, order, at, others in zip(shown, orders, moments, related_facts, strict=True)
    ]


async def _folded(connection: ReadConnection, shop_id: str, shown: Sequence[CaseMember]) -> list[Order]:
    """The orders as they are by now, from their events."""
    streams = [(shop_id, OF_ORDER.stream(each.order_sn)) for each in shown]
    histories = await read_histories(connection, streams)
    return [fold(each.order_sn, histories[stream]) for each, stream in zip(shown, streams, strict=True)]
