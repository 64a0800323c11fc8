"""The platform's bills: the lines that take penalties or give them back. Source: bill-words, bill-layout.

A bill has many other lines, mostly sales; those are only counted. The names in the header identify the columns. A
row that makes no sense is rejected with its line and a reason; the other rows count.
"""

import hashlib
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, NamedTuple

from domain.kernel import CLOCK_SKEW, ViolationKind
from infrastructure.files.cells import (
    HALF_WIDTH,
    NO_BLANKS,
    Cells,
    Columns,
    WrongCell,
    amount_fen,
    identifier,
    order_number,
    time_of,
)
from infrastructure.files.sheets import LARGEST_UNPACKED
from infrastructure.files.tables import RejectedRow, TableReader, TableRow

COLUMNS: dict[str, tuple[str, ...]] = {
    "order_sn": ("商户订单号", "商家订单号", "订单号", "订单编号", "orderNo", "order_sn"),
    "at": ("发生时间", "账单时间", "入账时间", "billTime", "occurred_at"),
    "business": ("业务描述", "账务类型", "费用项", "扣款类型", "deductReason", "kind"),
    "income": ("收入金额(+元)", "收入金额(元)", "收入金额", "收入(+元)", "收入(元)", "收入"),
    "expense": ("支出金额(-元)", "支出金额(元)", "支出金额", "支出(-元)", "支出(元)", "支出"),
    "amount": ("金额(元)", "金额", "amount"),
    "line_id": ("流水号", "账单流水号", "业务流水号", "line_id"),
}
"""The fields that we read, and the header names that each may have, the preferred first."""

_VIOLATION_WORDS: tuple[tuple[str, ViolationKind], ...] = (
    ("延迟发货", "late_shipment"),
    ("虚假发货", "false_shipment"),
    ("虚假轨迹", "false_shipment"),
    ("欺诈发货", "fraudulent_shipment"),
    ("缺货", "stockout"),
)
_RETURNED = "申诉补回"
_BUSINESS = re.compile("|".join([*(word for word, _ in _VIOLATION_WORDS), _RETURNED]))


class BillLine(NamedTuple):
    """A line about a penalty. ``kind`` is ``None`` if money was given back, ``order_sn`` if it names no order.

    ``at`` is as precise as the bill: that moment or up to ``within`` seconds later. ``content`` is a hash of what
    the line says, to the minute. ``number`` counts the lines of the same content up to this one, and
    ``earlier_ids`` are the ids of those before it that have ids of their own. ``sheet`` is the sheet's name in a
    workbook; ``note`` says what was wrong with the line, though it could be read.
    """

    line: int
    order_sn: str | None
    kind: ViolationKind | None
    amount_fen: int
    at: datetime
    line_id: str
    within: int = 0
    content: str = ""
    number: int = 1
    earlier_ids: tuple[str, ...] = ()
    sheet: str | None = None
    note: str | None = None


class OtherLine(NamedTuple):
    """A line that is not about penalties; ``note`` says what was wrong with its row."""

    line: int
    sheet: str | None = None
    note: str | None = None


_REVERSED = (
    "{text!r} goes the other way than the line says, so it reverses another; "
    "tell the order what came of it by record-charge or record-return"
)


class _Written(NamedTuple):
    """Whether a column writes charges with a minus, and the line that shows it."""

    line: int
    with_minus: bool


class _Numbered(NamedTuple):
    """The first line that has a line id, and the order it belongs to."""

    line: int
    order_sn: str | None


class BillReader(TableReader):
    """Reads a bill as a stream.

    The id of a line without a number comes from its content, to the minute, and from the count of equal lines
    before it. So the same bill gives the same ids when it is read again, also as a spreadsheet has saved it. No
    line can be later than ``now`` (and ten minutes).

    Money given back is written without a minus, under a word of its own (申诉补回) or under that of the penalty in
    the column of income. Money taken is written with or without a minus, as in the bill's first charge. Any other
    line with the other sign reverses an earlier one. How a bill words such a line is unknown, so it is rejected.
    Source: bill-layout, bill-words.
    """

    columns = COLUMNS

    def __init__(self, source: Path | IO[bytes], *, now: datetime, most_unpacked: int = LARGEST_UNPACKED) -> None:
        super().__init__(source, most_unpacked)
        self._latest = now + CLOCK_SKEW
        self._equal: dict[str, _Equal] = {}
        self._first_charges: dict[str, _Written] = {}
        self._numbered: dict[str, _Numbered] = {}

    def is_header(self, columns: Columns) -> bool:
        has_amount = "expense" in columns or "income" in columns or "amount" in columns
        return has_amount and all(field in columns for field in ("order_sn", "at", "business"))

    def no_header(self, found: set[str]) -> str:
        required = ("order_sn", "at", "business", "expense")
        missing = "、".join(COLUMNS[field][0] for field in required if field not in found)
        return f"no header of a bill was found: {missing} missing"

    def is_row(self, cells: Cells) -> bool:
        return super().is_row(cells) and bool(cells.text("business"))

    def __iter__(self) -> Iterator[BillLine | RejectedRow | OtherLine]:
        for row in self.table_rows():
            if isinstance(row, RejectedRow):
                yield row
            elif any(row.cells.text(field) for field in row.cells.columns.index):
                yield self._read(row)

    def _read(self, row: TableRow) -> BillLine | RejectedRow | OtherLine:
        number, cells, sheet, note = row
        business = cells.text("business").translate(NO_BLANKS).translate(HALF_WIDTH)
        if not _BUSINESS.search(business):
            return OtherLine(number, sheet, note)
        try:
            kind = (
                None if _RETURNED in business else next(kind for word, kind in _VIOLATION_WORDS if word in business)
            )
            order_sn = order_number(cells) if cells.text("order_sn") else None
            if kind is not None and _gives_back(cells):
                kind = None
            time = time_of(cells, "at", self._latest)
            if time is None:
                raise WrongCell("at", "the time is missing")
            fen = self._amount(number, cells, kind)
            line_id, damage = self._own_id(number, cells, order_sn)
            content = _hash(order_sn, kind, time.at.replace(second=0), fen)
        except WrongCell as wrong:
            return RejectedRow(number, cells.columns.name(wrong.field), wrong.reason, sheet)
        note = "; ".join(filter(None, (note, damage))) or None
        equal = self._equal.setdefault(content, _Equal())
        earlier_ids = equal.ids()
        place = equal.add(line_id)
        line_id = line_id or f"{content[:16]}-{place}"
        return BillLine(
            number,
            order_sn,
            kind,
            fen,
            time.at,
            line_id,
            time.within,
            content,
            place,
            earlier_ids,
            sheet,
            note,
        )

    def _amount(self, number: int, cells: Cells, kind: ViolationKind | None) -> int:
        """The amount in fen, without its sign. The first charge of a column shows which sign its charges have."""
        field, opposite = ("income", "expense") if kind is None else ("expense", "income")
        if _moves_money(cells, opposite):
            raise WrongCell(opposite, _REVERSED.format(text=cells.text(opposite)))
        if not cells.text(field):
            field = "amount"
        fen = amount_fen(cells, field, signed=True)
        if not fen:
            raise WrongCell(field if cells.has(field) else "amount", "the amount is missing")
        if kind is None:
            if fen < 0:
                raise WrongCell(field, _REVERSED.format(text=cells.text(field)))
            return fen
        first = self._first_charges.setdefault(field, _Written(number, fen < 0))
        if first.with_minus != (fen < 0):
            sign = "with" if first.with_minus else "without"
            reason = _REVERSED.format(text=cells.text(field))
            raise WrongCell(field, f"{reason}; the bill writes charges {sign} a minus (line {first.line})")
        return abs(fen)

    def _own_id(self, number: int, cells: Cells, order_sn: str | None) -> tuple[str, str | None]:
        """The line's own number, which belongs to one line of one order; empty if it has none.

        It is empty also if it is damaged, with what is wrong: the line is then known by its content.
        """
        try:
            line_id = identifier(cells, "line_id", 100)
        except WrongCell as wrong:
            return "", f"{cells.columns.name(wrong.field)}: {wrong.reason}"
        if line_id:
            first = self._numbered.setdefault(line_id, _Numbered(number, order_sn))
            if first.order_sn != order_sn:
                reason = f"{line_id} is of order {first.order_sn or 'nobody'} already (line {first.line})"
                raise WrongCell("line_id", reason)
        return line_id, None


class _Equal:
    """The lines of a bill that have the same content."""

    MOST_IDS = 1_000

    def __init__(self) -> None:
        self._ids: dict[str, None] = {}
        self._without = 0

    def ids(self) -> tuple[str, ...]:
        """The ids of the lines so far that have their own."""
        return tuple(self._ids) if len(self._ids) < self.MOST_IDS else ()

    def add(self, line_id: str) -> int:
        """Add a line with an id of its own, or one without. Returns which of the lines it is."""
        if line_id:
            self._ids.setdefault(line_id)
        else:
            self._without += 1
        return len(self._ids) + self._without


def _hash(*values: object) -> str:
    return hashlib.sha256("|".join(map(str, values)).encode()).hexdigest()[:32]


def _gives_back(cells: Cells) -> bool:
    """Whether a line about a penalty is about income alone: what was taken is given back under the same name."""
    try:
        income = amount_fen(cells, "income", signed=True)
        return bool(income) and (income or 0) > 0 and not _moves_money(cells, "expense")
    except WrongCell:
        return False


def _moves_money(cells: Cells, field: str) -> bool:
    try:
        return bool(amount_fen(cells, field, signed=True))
    except WrongCell:
        return False  # people fill an empty cell with all sorts of signs
