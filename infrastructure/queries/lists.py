"""The lists of a shop as they are now: orders and violations, read from the views.

Pages are bounded and go by key, never by offset: each begins at the sorting key of a row. A view does not
depend on the moment, so a deadline's state and a violation's standing are compared here. ``domain.order.filters``
defines which rows a filter means. The SQL repeats it, so that an index can serve it.

The tables are SQL views over the tables of the active builds (``builds``).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Self, get_args

import msgspec
from psycopg import sql
from psycopg.rows import TupleRow

from domain.order.events import Line
from domain.order.filters import WAITING, OrderFilter, ViolationFilter
from domain.order.state import Status
from domain.order.view import UNLOCKED, ShipmentLock, ViolationView
from domain.order.warnings import plain_number
from infrastructure.database.pool import ReadConnection
from infrastructure.projections.view import FAR_FUTURE
from infrastructure.projections.views import HANDOVERS, ORDERS, PARCELS, VIOLATIONS
from infrastructure.projections.views.orders import decode_lines, decode_lock, decode_numbers
from infrastructure.projections.views.violations import decode_appeal
from infrastructure.queries.paging import Cursor, Keyset, Page, page_of

ORDERS_READ = (ORDERS, PARCELS, HANDOVERS)
"""The views that the list of orders is read from."""

VIOLATIONS_READ = (VIOLATIONS,)
"""The views that the list of violations is read from."""

OrderSort = Literal["ship_by", "-placed_at"]
OrderListKey = tuple[datetime, str]
"""The ship-by or the time of placing, and the order number."""

ViolationKey = tuple[datetime, str]
"""When it arose, and its id."""


class OrderSummary(msgspec.Struct, frozen=True):
    """What a list shows of an order."""

    order_sn: str
    status: Status
    version: int
    position: int
    lines: tuple[Line, ...]
    paid_fen: int | None
    placed_at: datetime | None
    group_formed_at: datetime | None
    ship_by: datetime | None
    tracking_numbers: tuple[str, ...]
    shipment_lock: ShipmentLock
    anomalies: int


class ListedViolation(ViolationView, frozen=True, kw_only=True, omit_defaults=True):
    """A violation with the order it belongs to."""

    order_sn: str

    @classmethod
    def of(cls, violation: ViolationView, order_sn: str) -> Self:
        return cls(**msgspec.structs.asdict(violation), order_sn=order_sn)


async def list_orders(
    connection: ReadConnection,
    shop_id: str,
    at: datetime,
    filter: OrderFilter,
    limit: int,
    cursor: Cursor[OrderListKey] | None = None,
    *,
    sort: OrderSort = "ship_by",
) -> Page[OrderSummary, OrderListKey]:
    """Orders of a shop, by ship-by (those without one last) or newest first; violations are judged at ``at``."""
    statuses = [
        each
        for each in ([filter.status] if filter.status else get_args(Status))
        if (filter.due_before is None or each in WAITING)
        and (filter.locked is not False or each != "stockout_review")
    ]
    where: list[sql.Composable] = [sql.SQL("o.shop_id = %(shop_id)s AND o.status = l.status")]
    if filter.locked is not None:
        where.append(sql.SQL("o.locked") if filter.locked else sql.SQL("NOT o.locked"))
    if filter.sku_id is not None:
        where.append(sql.SQL("o.sku_ids @> ARRAY[%(sku_id)s::text]"))
    if filter.goods_id is not None:
        where.append(sql.SQL("o.goods_ids @> ARRAY[%(goods_id)s::text]"))
    if filter.sku_code is not None:
        where.append(sql.SQL("o.sku_codes @> ARRAY[%(sku_code)s::text]"))
    if filter.order_sns is not None:
        where.append(sql.SQL("o.order_sn = ANY(%(order_sns)s)"))
    if filter.tracking_number is not None:
        where.append(_HAS_PARCEL)
    if filter.supplier_id is not None:
        where.append(_WAS_HANDED_OVER)
    if filter.due_before is not None:
        where.append(sql.SQL("o.ship_by_key < %(due_before)s"))
    if filter.violation is not None:
        stands = sql.Identifier("o", f"{filter.violation}_from")
        where.append(sql.SQL("{stands} IS NOT NULL AND {stands} <= %(at)s").format(stands=stands))
    key = ("ship_by_key", "order_sn") if sort == "ship_by" else ("placed_at", "order_sn")
    descending = sort == "-placed_at"
    parameters = {
        "shop_id": shop_id,
        "statuses": statuses,
        "sku_id": filter.sku_id,
        "goods_id": filter.goods_id,
        "sku_code": filter.sku_code,
        "order_sns": list(filter.order_sns or ()),
        "tracking_number": plain_number(filter.tracking_number or ""),
        "supplier_id": filter.supplier_id,
        "due_before": filter.due_before,
        "at": at,
    }
    rows = await rows_behind(
        connection,
        _SUMMARY,
        "order_list",
        "o",
        where,
        key,
        parameters,
        limit,
        cursor,
        descending=descending,
        lanes=sql.SQL("unnest(%(statuses)s::text[]) AS l(status)"),
    )
    page = page_of(rows, limit, cursor, lambda row: (row[-2], row[-1]))
    return page.of([_listed_order(row) for row in page.items])


_HAS_PARCEL = sql.SQL("""o.order_sn IN (
    SELECT p.order_sn FROM parcel_list p WHERE p.shop_id = %(shop_id)s AND p.tracking_number = %(tracking_number)s
)""")

_WAS_HANDED_OVER = sql.SQL("""o.order_sn IN (
    SELECT h.order_sn FROM handover_list h WHERE h.shop_id = %(shop_id)s AND h.supplier_id = %(supplier_id)s
)""")

_SUMMARY_COLUMNS = (
    "status",
    "version",
    "position",
    "lines",
    "paid_fen",
    "placed_at",
    "group_formed_at",
    "ship_by",
    "tracking_numbers",
    "shipment_lock",
    "anomalies",
)
_SUMMARY = sql.SQL("o.order_sn, {}").format(
    sql.SQL(", ").join(
        sql.SQL("{}::text" if name in ("lines", "tracking_numbers", "shipment_lock") else "{}").format(
            sql.Identifier("o", name)
        )
        for name in _SUMMARY_COLUMNS
    )
)


def _listed_order(row: TupleRow) -> OrderSummary:
    order_sn, *values = row[: 1 + len(_SUMMARY_COLUMNS)]
    return summary_of(order_sn, dict(zip(_SUMMARY_COLUMNS, values, strict=True)))


def summary_of(order_sn: str, row: Mapping[str, Any]) -> OrderSummary:
    """What a list shows of a row of the view ``orders``, by its columns' names."""
    shown = {name: row[name] for name in _SUMMARY_COLUMNS}
    lock = shown["shipment_lock"]
    if shown["placed_at"] == FAR_FUTURE:
        shown["placed_at"] = None
    shown["lines"] = decode_lines(shown["lines"])
    shown["tracking_numbers"] = decode_numbers(shown["tracking_numbers"])
    shown["shipment_lock"] = decode_lock(lock) if lock else UNLOCKED
    return OrderSummary(order_sn, **shown)


async def list_violations(
    connection: ReadConnection,
    shop_id: str,
    at: datetime,
    filter: ViolationFilter,
    limit: int,
    cursor: Cursor[ViolationKey] | None = None,
) -> Page[ListedViolation, ViolationKey]:
    """Violations of a shop that stand at ``at``, by when they arose."""
    where: list[sql.Composable] = [
        sql.SQL("v.shop_id = %(shop_id)s AND v.stands_from <= %(at)s AND v.arose_at <= %(at)s")
    ]
    if filter.kind is not None:
        where.append(sql.SQL("v.kind = %(kind)s"))
    if filter.since is not None:
        where.append(sql.SQL("v.arose_at >= %(since)s"))
    if filter.until is not None:
        where.append(sql.SQL("v.arose_at < %(until)s"))
    if filter.appeal is not None:
        # Written out, so that the planner sees whether the index of those that were disputed will do.
        where.append(sql.SQL("v.appeal_state = {}").format(sql.Literal(filter.appeal)))

    def listed(row: TupleRow) -> ListedViolation:
        violation_id, kind, cause, arose_at, penalty_fen, rule, appeal_by, appeal, order_sn = row[:9]
        return ListedViolation(
            violation_id,
            kind,
            cause,
            arose_at,
            penalty_fen,
            rule,
            appeal_by,
            decode_appeal(appeal) if appeal else None,
            order_sn=order_sn,
        )

    rows = await rows_behind(
        connection,
        sql.SQL(
            "v.violation_id, v.kind, v.cause, v.arose_at, v.penalty_fen, v.rule, v.appeal_by, v.appeal::text, "
            "v.order_sn"
        ),
        "violation_list",
        "v",
        where,
        ("arose_at", "violation_id"),
        {"shop_id": shop_id, "kind": filter.kind, "since": filter.since, "until": filter.until, "at": at},
        limit,
        cursor,
    )
    page = page_of(rows, limit, cursor, lambda row: (row[-2], row[-1]))
    return page.of([listed(row) for row in page.items])


async def rows_behind(
    connection: ReadConnection,
    columns: sql.Composable,
    table: str,
    alias: str,
    where: Sequence[sql.Composable],
    sorted_by: tuple[str, ...],
    parameters: dict[str, Any],
    limit: int,
    cursor: Cursor[Any] | None,
    *,
    descending: bool = False,
    lanes: sql.SQL | None = None,
) -> list[TupleRow]:
    """The next rows of a table behind a cursor, one more than ``limit``, with their keys as the last values.

    They are in the order of the key, which must be unique. With ``lanes`` so many of each lane are read by index,
    and the rows are taken from those.
    """
    keyset = Keyset([sql.Identifier(alias, column) for column in sorted_by], cursor, descending=descending)
    rows = sql.SQL("{} {} WHERE {}").format(
        sql.Identifier(table), sql.Identifier(alias), sql.SQL(" AND ").join([*where, keyset.condition])
    )
    first = sql.SQL("ORDER BY {} LIMIT {}").format(keyset.order, sql.Literal(limit + 1))
    if lanes is not None:
        rows = sql.SQL("{}, LATERAL (SELECT * FROM {} {}) {}").format(lanes, rows, first, sql.Identifier(alias))
    query = sql.SQL("SELECT {}, {} FROM {} {}").format(columns, keyset.columns, rows, first)
    found = connection.cursor(binary=True)
    await found.execute(query, {**parameters, **keyset.parameters})
    return await found.fetchall()
