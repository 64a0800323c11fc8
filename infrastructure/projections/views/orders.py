"""``orders``: the columns of the order lists, one row for each order."""

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from domain.kernel import VIOLATION_KINDS
from domain.order.deadlines import ship_by
from domain.order.events import Line
from domain.order.judged import Judged
from domain.order.view import ShipmentLock, shipment_lock
from domain.order.violations import Violation
from infrastructure.projections.view import FAR_FUTURE, Column, Index, Row, ViewOfOrders

NOT_PLACED = "not_placed"
"""The status in this view of an order that only a bill names. No list has it: it is no status of an order."""

_NO_VIOLATIONS = (None,) * len(VIOLATION_KINDS)

_encode = msgspec.json.Encoder().encode
decode_lines = msgspec.json.Decoder(tuple[Line, ...]).decode
decode_numbers = msgspec.json.Decoder(tuple[str, ...]).decode
decode_lock = msgspec.json.Decoder(ShipmentLock).decode


def rows(judged: Judged) -> Iterable[Row]:
    order, rules, running, violations = judged
    upload = running.upload
    due = ship_by(order, rules)
    lines = order.lines
    holds = order.holds
    return (
        (
            order.version,
            order.position,
            order.status if order.is_known else NOT_PLACED,
            bool(holds),
            [lines[0].sku_id] if len(lines) == 1 else sorted({line.sku_id for line in lines}),
            [lines[0].goods_id] if len(lines) == 1 else sorted({line.goods_id for line in lines}),
            _codes(lines),
            _encode(lines),
            order.paid_fen,
            order.placed_at or FAR_FUTURE,
            order.group_formed_at,
            due,
            upload.met_at,
            upload.settled,
            _encode([parcel.tracking_number for parcel in order.current_parcels]),
            _encode(shipment_lock(order, rules)) if holds else None,
            len(order.anomalies),
            upload.due_at or due or FAR_FUTURE,
            *(_stand_from(violations) if violations else _NO_VIOLATIONS),
        ),
    )


def _codes(lines: Sequence[Line]) -> list[str]:
    if len(lines) == 1:
        return [lines[0].sku_code] if lines[0].sku_code else []
    return sorted({line.sku_code for line in lines if line.sku_code})


def _stand_from(violations: Sequence[Violation]) -> list[datetime | None]:
    """For each kind of violation, the time from which the first one that counts stands."""
    earliest: list[datetime | None] = [*_NO_VIOLATIONS]
    for violation in violations:
        if violation.counts:
            n = VIOLATION_KINDS.index(violation.kind)
            earliest[n] = min(earliest[n] or violation.stands_from, violation.stands_from)
    return earliest


ORDERS = ViewOfOrders(
    name="orders",
    version=5,
    table="order_list",
    columns=(
        Column("version", "integer"),
        Column("position", "bigint"),
        Column("status", "text"),
        Column("locked", "boolean"),
        Column("sku_ids", "text[]"),
        Column("goods_ids", "text[]"),
        Column("sku_codes", "text[]"),  # the merchant's own
        Column("lines", "json"),
        Column("paid_fen", "bigint", optional=True),
        Column("placed_at", "timestamptz"),
        Column("group_formed_at", "timestamptz", optional=True),
        Column("ship_by", "timestamptz", optional=True),
        Column("shipped_at", "timestamptz", optional=True),
        Column("upload", "text", optional=True),  # how the upload deadline ended; null while it runs
        Column("tracking_numbers", "json"),
        Column("shipment_lock", "json", optional=True),  # null: the order is not locked
        Column("anomalies", "integer"),
        Column("ship_by_key", "timestamptz"),  # for sorting; the far future if there is none
        *(Column(f"{kind}_from", "timestamptz", optional=True) for kind in VIOLATION_KINDS),
    ),
    key=("order_sn", "shop_id"),
    indexes=(
        *(
            Index(f"{part}by_{name}", f"(shop_id, status, {key}, order_sn){where}")
            for part, where in (
                ("", ""),
                ("locked_", " WHERE locked"),
                *((f"{kind}_", f" WHERE {kind}_from IS NOT NULL") for kind in VIOLATION_KINDS),
            )
            for name, key in (("ship_by", "ship_by_key"), ("placed", "placed_at"))
        ),
        Index("by_sku", "USING gin (sku_ids)"),
        Index("by_goods", "USING gin (goods_ids)"),
        Index("by_code", "USING gin (sku_codes)"),
        Index("by_day", "(shop_id, group_formed_at)"),
    ),
    rows=rows,
)
