"""Order exports of the merchant back office, in every known layout, as snapshots. Source: export-columns.

Columns about persons are not read. A row that makes no sense is rejected with its line, its column and a reason;
the other rows count. Where only one fact of a row is damaged or unknown, the row counts without it, and a note says
so.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from domain.kernel import CLOCK_SKEW, FURTHEST_DEADLINE
from domain.order.events import Line
from domain.order.snapshot import UNKNOWN, Snapshot
from infrastructure.files.cells import (
    Cells,
    Columns,
    SourceTime,
    WrongCell,
    amount_fen,
    half_width,
    identifier,
    is_rounded,
    order_number,
    own_code,
    pieces,
    text_of,
    time_of,
    without_damage,
    words,
)
from infrastructure.files.lines import UnreadableSheet
from infrastructure.files.tables import RejectedRow, TableReader, TableRow
from infrastructure.pinduoduo.states import (
    MAY_BE_REFUNDED,
    PART_REFUNDED,
    REFUNDED,
    STATUSES,
    UNKNOWN_STATUS,
    plain_word,
    refund_is_pending,
)

COLUMNS: dict[str, tuple[str, ...]] = {
    "order_sn": ("订单号", "订单编号", "商户订单号", "商家订单号"),
    "status": ("订单状态",),
    "name": ("商品", "商品名称"),
    "quantity": ("商品数量(件)", "商品数量"),
    "goods_id": ("商品id",),
    "sku_id": ("样式ID",),
    "sku_code": ("商家编码-规格维度", "商家编码-SKU维度"),
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

_BETWEEN = re.compile(r"[,;、|/\s]+")
"""What stands between several tracking numbers in one cell."""

_SURELY_BETWEEN = re.compile(r"[,;、|\r\n]")
_NOT_OF_A_NUMBER = re.compile(r"[^0-9A-Za-z-]+")
_NUMBER = re.compile(r"(?=.*[0-9])[0-9A-Za-z-]{6,64}")


class UnreadableExport(Exception):
    """The file is no order export this program knows; the message says what is missing."""


class UnknownWord(NamedTuple):
    """A state that this program does not know, and the file's name of its column."""

    column: str
    word: str


class Row(NamedTuple):
    """An order as one row or several show it.

    ``line`` is that of the first row, ``rows`` how many there are. ``notes`` are the facts that did not go in, and
    ``unknown`` the words that are not known. ``payments`` are what the rows of its lines say was paid.
    """

    line: int
    snapshot: Snapshot
    rows: int = 1
    notes: tuple[RejectedRow, ...] = ()
    unknown: tuple[UnknownWord, ...] = ()
    payments: tuple[int, ...] = ()


class ExportReader(TableReader):
    """Reads an export as a stream.

    ``seen_at`` is when the export was made. Nothing in it can be later than ``now`` (and ten minutes), except a
    deadline. ``rows_read`` counts the rows so far. Raises ``UnreadableExport``.
    """

    columns = COLUMNS

    def __init__(self, path: Path, *, seen_at: datetime, now: datetime) -> None:
        self._seen_at = seen_at
        self._columns: Columns | None = None
        self._line_fields: Sequence[str] = ()
        self._lines: dict[tuple[str, int | None], Line] = {}
        self._latest = now + CLOCK_SKEW
        try:
            super().__init__(path)
        except UnreadableSheet as error:
            raise UnreadableExport(str(error)) from error

    def __iter__(self) -> Iterator[Row | RejectedRow]:
        try:
            yield from _orders(self._read(), self._runs())
        except UnreadableSheet as error:
            raise UnreadableExport(str(error)) from error

    def is_header(self, columns: Columns) -> bool:
        return all(field in columns for field in REQUIRED)

    def no_header(self, found: set[str]) -> str:
        missing = "、".join(COLUMNS[field][0] for field in REQUIRED if field not in found)
        known = "、".join(COLUMNS[field][0] for field in COLUMNS if field in found) or "none it knows"
        return f"no header of an order export was found: {missing} missing; found: {known}"

    def is_row(self, cells: Cells) -> bool:
        return super().is_row(cells) and plain_word(cells.text("status")) in STATUSES

    def _runs(self) -> Mapping[int, int]:
        """How often the rows of an order begin anew in the file, by the hash of its number.

        Orders whose rows are neighbours are not in it, except a few by chance.
        """
        seen, again = _Seen(), Counter[int]()
        last = None
        for row in self.table_rows():
            if isinstance(row, RejectedRow):
                continue
            number = row.cells.text("order_sn")
            if number and number != last:
                last = number
                key = hash(half_width(number))
                if seen.add(key):
                    again[key] += 1
        return {key: count + 1 for key, count in again.items()}

    def _read(self) -> Iterator[Row | RejectedRow]:
        self.rows_read = 0
        for row in self.table_rows():
            if isinstance(row, RejectedRow):
                self.rows_read += 1
                yield row
                continue
            if _is_empty(row.cells):
                continue
            self.rows_read += 1
            try:
                yield self._order(row)
            except WrongCell as wrong:
                yield _at_fault(row, wrong)

    def _order(self, row: TableRow) -> Row:
        cells = row.cells
        faults: list[RejectedRow] = []
        if row.note:
            faults.append(RejectedRow(row.line, None, row.note, row.sheet))

        def note(wrong: WrongCell) -> None:
            faults.append(_at_fault(row, wrong))

        unknown: list[UnknownWord] = []
        snapshot = self._snapshot(cells, note, lambda field: unknown.append(_unknown_word(cells, field)))
        payments = () if snapshot.paid_fen is None else (snapshot.paid_fen,)
        return Row(row.line, snapshot, 1, tuple(faults), tuple(unknown), payments)

    def _snapshot(
        self, cells: Cells, note: Callable[[WrongCell], None], not_known: Callable[[str], None]
    ) -> Snapshot:
        order_sn = order_number(cells)
        status = STATUSES.get(plain_word(cells.text("status")), UNKNOWN_STATUS)
        if status is UNKNOWN_STATUS:
            not_known("status")
            note(WrongCell("status", f"unknown status {cells.text('status')[:50]!r}"))
        after_sales = plain_word(cells.text("after_sales"))
        refund_pending = refund_is_pending(after_sales) if cells.has("after_sales") else None
        if cells.has("after_sales") and refund_pending is None:
            not_known("after_sales")
            note(WrongCell("after_sales", f"unknown state {cells.text('after_sales')[:50]!r}"))
        confirmed = self._time(cells, "group_formed_at") or self._time(cells, "confirmed_at")
        ship_by = self._time(cells, "ship_by", future=True)
        phase = status.phase
        if phase == "awaiting_shipment" and confirmed is None and ship_by is None:
            phase = "pending_group"
        paid_at, shipped_at = self._time(cells, "paid_at"), self._time(cells, "shipped_at")
        received_at = self._time(cells, "received_at")
        paid_fen = amount_fen(cells, "paid")
        numbers = _tracking_numbers(cells, note)
        is_refunded = status.refunded or (after_sales in REFUNDED and phase in MAY_BE_REFUNDED)
        went_back = after_sales in PART_REFUNDED or after_sales in REFUNDED
        return Snapshot(
            order_sn=order_sn,
            seen_at=self._seen_at,
            via="export",
            phase=phase,
            lines=(self._line(cells, paid_fen, note),),
            group_id=without_damage(identifier, cells, "group_id", note) or None,
            paid_fen=paid_fen if paid_at and not status.is_deposit else None,
            paid_at=paid_at.at if paid_at else None,
            paid_within=paid_at.within if paid_at else 0,
            group_formed_at=confirmed.at if confirmed else None,
            group_formed_within=confirmed.within if confirmed else 0,
            ship_by=ship_by.at if ship_by else None,
            ship_by_within=ship_by.within if ship_by else 0,
            shipped_at=shipped_at.at if shipped_at else None,
            shipped_within=shipped_at.within if shipped_at else 0,
            carrier=without_damage(words, cells, "carrier", note) or None,
            tracking_number=numbers[0] if numbers else None,
            further_numbers=tuple(numbers[1:]),
            received_at=received_at.at if received_at else None,
            received_within=received_at.within if received_at else 0,
            refunded=is_refunded,
            part_refunded=went_back and not is_refunded,
            refund_pending=refund_pending,
            under_review=cells.text("under_review") == "是" if cells.has("under_review") else None,
        )

    def _line(self, cells: Cells, paid_fen: int | None, note: Callable[[WrongCell], None]) -> Line:
        """The line of a row. Rows with the same cells share one, for most orders are of the same few SKUs."""
        if cells.columns is not self._columns:
            self._columns = cells.columns
            self._line_fields = [field for field in _LINE_FIELDS if field in cells.columns]
            self._lines.clear()
        text = cells.joined(self._line_fields)
        if text is not None and (line := self._lines.get((text, paid_fen))):
            return line
        wrong: list[WrongCell] = []
        line = _line(cells, paid_fen, wrong.append)
        for each in wrong:
            note(each)
        if text is not None and not wrong:
            if len(self._lines) == _MOST_LINES_KEPT:
                self._lines.clear()
            self._lines[text, paid_fen] = line
        return line

    def _time(self, cells: Cells, field: str, *, future: bool = False) -> SourceTime | None:
        return time_of(cells, field, self._latest + FURTHEST_DEADLINE if future else self._latest)


def _is_empty(cells: Cells) -> bool:
    return not (cells.text("order_sn") or any(cells.text(field) for field in cells.columns.index))


def _at_fault(row: TableRow, wrong: WrongCell) -> RejectedRow:
    return RejectedRow(row.line, row.cells.columns.name(wrong.field), wrong.reason, row.sheet)


def _unknown_word(cells: Cells, field: str) -> UnknownWord:
    return UnknownWord(cells.columns.name(field), cells.text(field)[:50])


class _Seen:
    """Which keys were seen, in little memory: it may take a new key for a known one, but never the other way."""

    BITS = 24

    def __init__(self) -> None:
        self._bits = bytearray(1 << self.BITS - 3)

    def add(self, key: int) -> bool:
        """Add a key. Returns whether it was there, or seemed so."""
        was_there = True
        for place in (key & (1 << self.BITS) - 1, key >> self.BITS & (1 << self.BITS) - 1):
            index, bit = place >> 3, 1 << (place & 7)
            if not self._bits[index] & bit:
                was_there = False
                self._bits[index] |= bit
        return was_there


# ---- orders of several rows -----------------------------------------------------------------------------


def _orders(rows: Iterator[Row | RejectedRow], runs: Mapping[int, int]) -> Iterator[Row | RejectedRow]:
    """The rows of one order become its lines, also where others stand between them.

    ``runs`` says of which orders the rows begin anew, and how often. Such an order waits for its last rows.
    """
    order: Row | None = None
    behind: list[RejectedRow] = []
    waiting: dict[str, Row] = {}
    left = dict(runs)

    def ended(order: Row) -> Iterator[Row]:
        number = order.snapshot.order_sn
        if earlier := waiting.pop(number, None):
            order = _joined(earlier, order)
        key = hash(number)
        if left.get(key, 1) <= 1:
            yield order
        else:
            left[key] -= 1
            waiting[number] = order

    for row in rows:
        if isinstance(row, RejectedRow):
            behind.append(row)  # the rows of the order may go on
            if order is None or len(behind) == _MOST_HELD_BACK:
                yield from behind
                behind.clear()
            continue
        if order is not None and row.snapshot.order_sn == order.snapshot.order_sn:
            order = _joined(order, row)
            continue
        if order is not None:
            yield from ended(order)
        yield from behind
        behind.clear()
        order = row
    if order is not None:
        yield from ended(order)
    yield from behind
    yield from waiting.values()


_MOST_HELD_BACK = 1_000
"""Rejected rows that wait for the end of the order before them."""


def _joined(first: Row, second: Row) -> Row:
    """One order from two rows. A row that repeats a line adds none. Equal payments are that of the order.

    Different payments are summed, and different tracking numbers are several parcels.
    """
    one, other = first.snapshot, second.snapshot
    lines = one.lines
    for line in other.lines:
        lines = _with_line(lines, line)
    is_wider = len(lines) > len(one.lines)
    payments = (*first.payments, *second.payments) if is_wider else first.payments
    paid_fen = None
    if payments:
        paid_fen = payments[0] if len(set(payments)) == 1 else sum(payments)
    numbers = dict.fromkeys(
        number
        for snapshot in (one, other)
        for number in (snapshot.tracking_number, *snapshot.further_numbers)
        if number
    )
    joined = one
    if lines is not one.lines or len(numbers) > 1:
        joined = replace(
            one,
            lines=lines,
            paid_fen=paid_fen,
            tracking_number=next(iter(numbers), None),
            further_numbers=tuple(numbers)[1:],
        )
    return Row(
        first.line,
        joined,
        first.rows + second.rows,
        (*first.notes, *second.notes),
        (*first.unknown, *second.unknown),
        payments,
    )


def _with_line(lines: tuple[Line, ...], line: Line) -> tuple[Line, ...]:
    """The lines and one more, if it is not among them. A row may lack the merchant's code that another row has."""
    if line in lines:
        return lines
    for number, each in enumerate(lines):
        is_short = each.sku_id == line.sku_id and "" in (line.sku_code, each.sku_code)
        if is_short and replace(each, sku_code=line.sku_code) == line:
            return lines if each.sku_code else (*lines[:number], line, *lines[number + 1 :])
    return (*lines, line)


# ---- values ---------------------------------------------------------------------------------------------


_LINE_FIELDS = ("sku_id", "goods_id", "name", "quantity", "goods_total", "sku_code")
"""The fields that a line is made of."""

_MOST_LINES_KEPT = 4_096


def _line(cells: Cells, paid_fen: int | None, note: Callable[[WrongCell], None]) -> Line:
    quantity = pieces(cells, "quantity") or 1
    total = amount_fen(cells, "goods_total")
    total = total if total is not None else paid_fen or 0
    return Line(
        sku_id=without_damage(identifier, cells, "sku_id", note) or UNKNOWN,
        goods_id=without_damage(identifier, cells, "goods_id", note) or UNKNOWN,
        name=words(cells, "name", 500) or UNKNOWN,
        quantity=quantity,
        unit_price_fen=total // quantity,
        sku_code=without_damage(own_code, cells, "sku_code", note),
    )


def _tracking_numbers(cells: Cells, note: Callable[[WrongCell], None]) -> Sequence[str]:
    """The tracking numbers of a cell; without those that are damaged."""
    text = half_width(cells.text("tracking_number"))
    if not text.isalnum() and len(text) <= 1_000:
        numbers = [number for part in _BETWEEN.split(text) if (number := text_of(part))]
        damaged = [number for number in numbers if not _is_tracking_number(number)]
        if len(numbers) > 1 and (not damaged or _SURELY_BETWEEN.search(text)):
            for number in damaged:
                note(WrongCell("tracking_number", f"{number[:50]!r}, one of several, is no tracking number"))
            return [*dict.fromkeys(number for number in numbers if number not in damaged)]
    number = without_damage(identifier, cells, "tracking_number", note)
    if not number.isascii():
        return _number_among_words(number, note)
    if number and not number.strip("0"):
        note(WrongCell("tracking_number", f"{number[:50]!r} is no tracking number"))
        return []
    return [number] if number else []


def _number_among_words(text: str, note: Callable[[WrongCell], None]) -> Sequence[str]:
    """The tracking number beside which somebody wrote something else, such as the carrier or 补发.

    Words without a number, such as 自提, are none.
    """
    numbers = [part for part in _NOT_OF_A_NUMBER.split(text) if part]
    if len(numbers) == 1 and _is_tracking_number(numbers[0]):
        note(WrongCell("tracking_number", f"{text[:50]!r} was read as {numbers[0]}"))
        return numbers
    note(WrongCell("tracking_number", f"{text[:50]!r} is no tracking number"))
    return []


def _is_tracking_number(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None and not is_rounded(text)
