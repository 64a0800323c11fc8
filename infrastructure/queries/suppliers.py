"""Suppliers of a shop, by the orders that were handed to them: how often they deliver, and what is open."""

from datetime import datetime

import msgspec
from psycopg import sql

from infrastructure.database.pool import ReadConnection
from infrastructure.log.columns import Texts
from infrastructure.projections.view import FAR_FUTURE
from infrastructure.projections.views import HANDOVERS
from infrastructure.queries.errors import UnknownSupplier
from infrastructure.queries.names import NamesIn, read_names
from infrastructure.queries.paging import Cursor, Keyset, Page, page_of

_SUPPLIERS = (NamesIn(HANDOVERS.table, "supplier_id"),)

_COUNTS = """
SELECT w.supplier_id, h.* FROM unnest(%(supplier_ids)b) WITH ORDINALITY AS w(supplier_id, n)
CROSS JOIN LATERAL (
    SELECT count(*) AS handovers,
           count(*) FILTER (WHERE ended = 'tracked') AS tracked,
           count(*) FILTER (WHERE settled = 'met') AS on_time,
           count(*) FILTER (WHERE settled = 'missed' OR settled IS NULL AND due_key < %(now)b) AS late,
           count(*) FILTER (WHERE ended = 'out_of_stock') AS out_of_stock,
           count(*) FILTER (WHERE ended = 'taken_back') AS taken_back,
           count(*) FILTER (WHERE ended = 'order_ended') AS order_ended,
           count(*) FILTER (WHERE ended IS NULL) AS open,
           count(*) FILTER (WHERE ended IS NULL AND due_key < %(now)b) AS overdue
    FROM handover_list
    WHERE shop_id = %(shop_id)b AND supplier_id = w.supplier_id
      AND handed_at >= %(since)b AND handed_at < %(until)b
) h
ORDER BY w.n
"""

_OPEN = sql.SQL(
    """
SELECT order_sn, number, handed_at, due_key FROM handover_list
WHERE shop_id = %(shop_id)s AND supplier_id = %(supplier_id)s AND ended IS NULL AND {}
ORDER BY {} LIMIT %(limit)s
"""
)

_IS_KNOWN = "SELECT EXISTS (SELECT FROM handover_list WHERE shop_id = %b AND supplier_id = %b)"

_LONG_AGO = datetime.min.replace(year=2000, tzinfo=FAR_FUTURE.tzinfo)

SupplierKey = tuple[str]
OpenKey = tuple[datetime, str, int]
"""When a number is expected, the order, and which of its handovers."""

VIEWS_READ = (HANDOVERS,)
"""The views that these queries read."""


class SupplierRecord(msgspec.Struct, frozen=True):
    """What became of the orders handed to a supplier.

    Each is ``open``, or the supplier's number came (``tracked``), or it came back (``out_of_stock``,
    ``taken_back``), or the order ended otherwise, be it shipped under other numbers. ``on_time`` and ``late`` count
    those with an expected time: whose number was there by then, and whose was not; open ones that are past it
    (``overdue``) are late. ``on_time_share`` is on time of these two, ``stockout_share`` out of stock of those and
    the tracked; null where there are none.
    """

    supplier_id: str
    handovers: int
    tracked: int
    on_time: int
    late: int
    out_of_stock: int
    taken_back: int
    order_ended: int
    open: int
    overdue: int
    on_time_share: float | None
    stockout_share: float | None


class OpenHandover(msgspec.Struct, frozen=True):
    """An order that a supplier is waited for; ``overdue`` once its expected time has passed."""

    order_sn: str
    handed_at: datetime
    expected_tracking_at: datetime | None
    overdue: bool


async def list_suppliers(
    connection: ReadConnection,
    shop_id: str,
    now: datetime,
    limit: int,
    cursor: Cursor[SupplierKey] | None = None,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Page[SupplierRecord, SupplierKey]:
    """The suppliers of a shop by id, and what became of the orders handed over from ``since`` till ``until``."""
    names = await read_names(connection, shop_id, _SUPPLIERS, limit + 1, cursor)
    page = page_of(names, limit, cursor, lambda name: (name,))
    found = connection.cursor(binary=True)
    await found.execute(
        _COUNTS,
        {
            "shop_id": shop_id,
            "supplier_ids": Texts(page.items),
            "now": now,
            "since": since or _LONG_AGO,
            "until": until or FAR_FUTURE,
        },
    )
    return page.of([_record(*row) for row in await found.fetchall()])


async def _check_known(connection: ReadConnection, shop_id: str, supplier_id: str) -> None:
    cursor = await connection.execute(_IS_KNOWN, (shop_id, supplier_id))
    if await cursor.fetchone() != (True,):
        raise UnknownSupplier(supplier_id)


async def find_supplier(
    connection: ReadConnection,
    shop_id: str,
    supplier_id: str,
    now: datetime,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
) -> SupplierRecord:
    """One supplier. Raises ``UnknownSupplier``."""
    await _check_known(connection, shop_id, supplier_id)
    cursor = connection.cursor(binary=True)
    await cursor.execute(
        _COUNTS,
        {
            "shop_id": shop_id,
            "supplier_ids": Texts([supplier_id]),
            "now": now,
            "since": since or _LONG_AGO,
            "until": until or FAR_FUTURE,
        },
    )
    (row,) = await cursor.fetchall()
    return _record(*row)


async def open_handovers(
    connection: ReadConnection,
    shop_id: str,
    supplier_id: str,
    now: datetime,
    limit: int,
    cursor: Cursor[OpenKey] | None = None,
) -> Page[OpenHandover, OpenKey]:
    """The orders whose numbers a supplier owes, by when they are expected; those without a time last.

    Raises ``UnknownSupplier``.
    """
    await _check_known(connection, shop_id, supplier_id)
    keyset = Keyset([sql.Identifier(column) for column in ("due_key", "order_sn", "number")], cursor)
    found = connection.cursor(binary=True)
    await found.execute(
        _OPEN.format(keyset.condition, keyset.order),
        {"shop_id": shop_id, "supplier_id": supplier_id, "limit": limit + 1, **keyset.parameters},
    )
    page = page_of(await found.fetchall(), limit, cursor, lambda row: (row[3], row[0], row[1]))
    return page.of(
        [
            OpenHandover(order_sn, handed_at, None if due == FAR_FUTURE else due, due < now)
            for order_sn, _, handed_at, due in page.items
        ]
    )


def _record(
    supplier_id: str,
    handovers: int,
    tracked: int,
    on_time: int,
    late: int,
    out_of_stock: int,
    taken_back: int,
    order_ended: int,
    open: int,
    overdue: int,
) -> SupplierRecord:
    return SupplierRecord(
        supplier_id,
        handovers,
        tracked,
        on_time,
        late,
        out_of_stock,
        taken_back,
        order_ended,
        open,
        overdue,
        _share(on_time, on_time + late),
        _share(out_of_stock, tracked + out_of_stock),
    )


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None
