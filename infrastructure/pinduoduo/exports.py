"""Order exports of the merchant back office, in every known layout, as snapshots. Source: export-columns.

The names in the header identify the columns, never their order. Columns about persons are not read. A row that
makes no sense is rejected with its line, its column and a reason; the other rows count.
"""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from domain.kernel import CLOCK_SKEW, FURTHEST_DEADLINE
from domain.order.events import Line
from domain.order.snapshot import Phase, Snapshot
from infrastructure.files.cells import (
    HALF_WIDTH,
    HEADER_WITHIN,
    NO_BLANKS,
    Cells,
    RejectedRow,
    WrongCell,
    amount_fen,
    columns_of,
    identifier,
    order_number,
    time_of,
)
from infrastructure.files.sheets import SheetReader, UnreadableSheet

COLUMNS: dict[str, tuple[str, ...]] = {
    "order_sn": ("订单号",),
    "status": ("订单状态",),
    "name": ("商品", "商品名称"),
    "quantity": ("商品数量(件)", "商品数量"),
    "goods_id": ("商品id",),
    "sku_id": ("样式ID",),
    "under_review": ("是否审核中",),
    "paid_at": ("支付时间",),
    "group_formed_at": ("拼单成功时间", "订单成交时间"),
    "confirmed_at": ("订单确认时间",),
    "ship_by": ("承诺发货时间",),
    "shipped_at": ("发货时间",),
    "received_at": ("确认收货时间",),
    "after_sales": ("售后状态",),
    "goods_total": ("商品总价(元)", "商品总价"),
    "paid": ("用户实付金额(元)", "用户实付金额"),
    "tracking_number": ("快递单号",),
    "carrier": ("快递公司",),
    "group_id": ("团ID",),
}
"""The fields that we read, and the header names that each has had, the preferred first."""

REQUIRED = ("order_sn", "status")

_STATUSES: dict[str, tuple[Phase, bool]] = {
    "待支付": ("pending_payment", False),
    "已付定金,待付尾款": ("pending_payment", False),
    "待成团": ("pending_group", False),
    "拼单中": ("pending_group", False),
    "待发货": ("awaiting_shipment", False),
    "已发货,待签收": ("shipped", False),
    "已发货": ("shipped", False),
    "已签收": ("received", False),
    "已收货": ("received", False),
    "未发货,退款成功": ("awaiting_shipment", True),
    "已发货,退款成功": ("shipped", True),
    "已签收,退款成功": ("received", True),
    "已取消": ("cancelled", False),
    "已申请缺货": ("stockout_applied", False),
}
"""订单状态 -> the phase, and whether the status itself shows a refund. Source: export-statuses."""

_REFUND_PENDING = ("待商家", "处理中", "退款中", "待用户发货", "待买家", "申请退款")
_REFUND_OVER = ("取消", "关闭", "撤销", "失败", "拒绝")


class UnreadableExport(Exception):
    """The file is no order export this program knows; the message says what is missing."""


class Row(NamedTuple):
    """An order as one row or several neighbouring rows show it; ``line`` is that of the first row."""

    line: int
    snapshot: Snapshot


class ExportReader(SheetReader):
    """Reads an export as a stream.

    ``seen_at`` is when the export was made. Nothing in it can be later than ``now`` (and ten minutes), except a
    deadline. ``rows_read`` counts the rows so far. Raises ``UnreadableExport``.
    """

    def __init__(self, path: Path, *, seen_at: datetime, now: datetime) -> None:
        self._seen_at = seen_at
        self._latest = now + CLOCK_SKEW
        self.rows_read = 0
        try:
            super().__init__(path)
        except UnreadableSheet as error:
            raise UnreadableExport(str(error)) from error

    def __iter__(self) -> Iterator[Row | RejectedRow]:
        try:
            yield from _orders(self._rows())
        except UnreadableSheet as error:
            raise UnreadableExport(str(error)) from error

    def _rows(self) -> Iterator[Row | RejectedRow]:
        lines = iter(self._sheet)
        columns = _find_header(lines)
        for line in lines:
            if line.damage:
                self.rows_read += 1
                yield RejectedRow(line.number, None, line.damage)
                continue
            cells = Cells(columns, line.cells)
            if not any(cells.text(field) for field in ("order_sn", "status", "name")):
                continue
            self.rows_read += 1
            try:
                yield Row(line.number, self._snapshot(cells))
            except WrongCell as wrong:
                yield RejectedRow.of(line.number, wrong, COLUMNS)

    def _snapshot(self, cells: Cells) -> Snapshot:
        status = cells.text("status").translate(NO_BLANKS).translate(HALF_WIDTH)
        if status not in _STATUSES:
            raise WrongCell("status", f"unknown status {status[:50]!r}")
        phase, refunded = _STATUSES[status]
        after_sales = cells.text("after_sales")
        formed_at = self._time(cells, "group_formed_at") or self._time(cells, "confirmed_at")
        ship_by = self._time(cells, "ship_by", future=True)
        if phase == "awaiting_shipment" and formed_at is None and ship_by is None:
            phase = "pending_group"
        paid_at = self._time(cells, "paid_at")
        paid_fen = amount_fen(cells, "paid")
        return Snapshot(
            order_sn=order_number(cells),
            seen_at=self._seen_at,
            via="export",
            phase=phase,
            lines=(_line(cells, paid_fen),),
            group_id=identifier(cells, "group_id") or None,
            paid_fen=paid_fen if paid_at else None,
            paid_at=paid_at,
            group_formed_at=formed_at,
            ship_by=ship_by,
            shipped_at=self._time(cells, "shipped_at"),
            carrier=identifier(cells, "carrier", 100) or None,
            tracking_number=identifier(cells, "tracking_number") or None,
            received_at=self._time(cells, "received_at"),
            refunded=refunded or "退款成功" in after_sales,
            refund_pending=_refund_is_pending(after_sales) if cells.has("after_sales") else None,
            under_review=cells.text("under_review") == "是" if cells.has("under_review") else None,
        )

    def _time(self, cells: Cells, field: str, *, future: bool = False) -> datetime | None:
        return time_of(cells, field, self._latest + FURTHEST_DEADLINE if future else self._latest)


def _find_header(lines: Iterator[object]) -> dict[str, int]:
    """The columns of the header: for each field the index of the column with its most preferred name."""
    best: set[str] = set()
    for _, line in zip(range(HEADER_WITHIN), lines, strict=False):
        cells = getattr(line, "cells", [])
        columns = columns_of(cells, COLUMNS)
        if all(field in columns for field in REQUIRED):
            return columns
        best = max(best, set(columns), key=len)
    missing = "、".join(COLUMNS[field][0] for field in REQUIRED if field not in best)
    known = "、".join(COLUMNS[field][0] for field in COLUMNS if field in best) or "none it knows"
    raise UnreadableExport(f"no header of an order export was found: {missing} missing; found: {known}")


def _orders(rows: Iterator[Row | RejectedRow]) -> Iterator[Row | RejectedRow]:
    """Neighbouring rows of one order become its lines. A row that repeats one of them is dropped."""
    order: Row | None = None
    for row in rows:
        if order is not None and isinstance(row, Row) and row.snapshot.order_sn == order.snapshot.order_sn:
            order = _joined(order, row)
            continue
        if order is not None:
            yield order
            order = None
        if isinstance(row, Row):
            order = row
        else:
            yield row
    if order is not None:
        yield order


def _joined(first: Row, second: Row) -> Row:
    """One order from two rows. Equal payments are that of the order; different ones are summed."""
    if second.snapshot.lines[0] in first.snapshot.lines:
        return first
    one, other = first.snapshot.paid_fen, second.snapshot.paid_fen
    paid_fen = one if one == other or other is None else other + (one or 0)
    lines = (*first.snapshot.lines, *second.snapshot.lines)
    return Row(first.line, replace(first.snapshot, lines=lines, paid_fen=paid_fen))


def _line(cells: Cells, paid_fen: int | None) -> Line:
    quantity = _quantity(cells)
    total = amount_fen(cells, "goods_total")
    total = total if total is not None else paid_fen or 0
    return Line(
        sku_id=identifier(cells, "sku_id") or "unknown",
        goods_id=identifier(cells, "goods_id") or "unknown",
        name=identifier(cells, "name", 500) or "unknown",
        quantity=quantity,
        unit_price_fen=total // quantity,
    )


def _quantity(cells: Cells) -> int:
    text = cells.text("quantity") or "1"
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:9]) <= 1_000_000 or len(text) > 9:
        raise WrongCell("quantity", f"{text[:50]!r} is not a number of pieces from 1 to 1,000,000")
    return int(text)


def _refund_is_pending(after_sales: str) -> bool:
    """Whether the after-sales text says that a refund was requested or is in progress; unknown texts do not."""
    if not after_sales or "退款成功" in after_sales or any(word in after_sales for word in _REFUND_OVER):
        return False
    return any(word in after_sales for word in _REFUND_PENDING)
