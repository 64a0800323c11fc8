"""Suppliers of a shop, by the orders that were handed to them: how often they deliver, and what is open."""

from datetime import datetime

import msgspec

from infrastructure.database.pool import ReadConnection
from infrastructure.log.columns import Texts
from infrastructure.projections.view import FAR_FUTURE
from infrastructure.projections.views import HANDOVERS
from infrastructure.queries.errors import UnknownSupplier
from infrastructure.queries.paging import Page

# From supplier to supplier by index, whatever many orders each has.
_NAMES = """
WITH RECURSIVE named(supplier_id) AS (
    SELECT (SELECT h.supplier_id FROM handover_list h
            WHERE h.shop_id = %(shop_id)s AND h.supplier_id > %(after)s ORDER BY h.supplier_id LIMIT 1)
    UNION ALL
    SELECT (SELECT h.supplier_id FROM handover_list h
            WHERE h.shop_id = %(shop_id)s AND h.supplier_id > named.supplier_id ORDER BY h.supplier_id LIMIT 1)
    FROM named WHERE named.supplier_id IS NOT NULL
)
SELECT supplier_id FROM named WHERE supplier_id IS NOT NULL LIMIT %(limit)s
"""

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

_OPEN = """
SELECT order_sn, number, handed_at, due_key FROM handover_list
WHERE shop_id = %(shop_id)b AND supplier_id = %(supplier_id)b AND ended IS NULL
  AND (due_key, order_sn, number) > (%(due)b, %(order_sn)b, %(number)b)
ORDER BY due_key, order_sn, number LIMIT %(limit)b
"""

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
    after: SupplierKey | None = None,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Page[SupplierRecord, SupplierKey]:
    """The suppliers of a shop by id, and what became of the orders handed over from ``since`` till ``until``."""
    (last,) = after or ("",)
    cursor = await connection.execute(_NAMES, {"shop_id": shop_id, "after": last, "limit": limit + 1})
    names = [name for (name,) in await cursor.fetchall()]
    cursor = connection.cursor(binary=True)
    await cursor.execute(
        _COUNTS,
        {
            "shop_id": shop_id,
            "supplier_ids": Texts(names[:limit]),
            "now": now,
            "since": since or _LONG_AGO,
            "until": until or FAR_FUTURE,
        },
    )
    records = [_record(*row) for row in await cursor.fetchall()]
    return Page(records, (names[limit - 1],) if len(names) > limit else None)


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
    after: OpenKey | None = None,
) -> Page[OpenHandover, OpenKey]:
    """The orders whose numbers a supplier owes, by when they are expected; those without a time last.

    Raises ``UnknownSupplier``.
    """
    await _check_known(connection, shop_id, supplier_id)
    due, order_sn, number = after or (_LONG_AGO, "", 0)
    cursor = connection.cursor(binary=True)
    await cursor.execute(
        _OPEN,
        {
            "shop_id": shop_id,
            "supplier_id": supplier_id,
            "due": due,
            "order_sn": order_sn,
            "number": number,
            "limit": limit + 1,
        },
    )
    rows = await cursor.fetchall()
    shown = [
        OpenHandover(order_sn, handed_at, None if due == FAR_FUTURE else due, due < now)
        for order_sn, _, handed_at, due in rows[:limit]
    ]
    last_row = rows[limit - 1] if len(rows) > limit else None
    return Page(shown, (last_row[3], last_row[0], last_row[1]) if last_row else None)


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
