"""Lists of orders that are out of stock, as a shop writes them: a column of order numbers, and perhaps more.

A column for the SKU and one for the reason are read if the header names them. A list of one column needs no
header. A row that makes no sense is rejected with its line and a reason; the others count.

The platform's own template is not known. Source: application-entrance.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, get_args

from infrastructure.files.cells import (
    Cells,
    Columns,
    WrongCell,
    identifier,
    order_number,
    text_of,
)
from infrastructure.files.lines import Line
from infrastructure.files.tables import RejectedRow, TableReader, TableRow

COLUMNS: dict[str, tuple[str, ...]] = {
    "order_sn": ("订单号", "订单编号", "商户订单号", "商家订单号", "order_sn", "order number"),
    "sku_id": ("样式ID", "sku_id", "SKU ID", "SKU"),
    "reason": ("缺货原因", "reason"),
}
"""What we read, and the header names it may have, the preferred first."""

Reason = Literal["no_supply", "production_delay", "oversold", "other"]

REASONS: Mapping[str, Reason] = {reason: reason for reason in get_args(Reason)} | {
    "供应商缺货": "no_supply",
    "货源不足": "no_supply",
    "无货": "no_supply",
    "生产延期": "production_delay",
    "生产延迟": "production_delay",
    "超卖": "oversold",
    "其他": "other",
    "其它": "other",
}
"""The reasons of ``request-stockout``, in the API's words and in Chinese."""


_ALONE = Columns(["订单号"], COLUMNS)
"""A column of order numbers without a header."""


class Entry(NamedTuple):
    """A row: the line it stands on, the order, and the SKU and reason if it says them.

    ``sheet`` is the sheet's name in a workbook; ``note`` says what was wrong with the row, though it could be read.
    """

    line: int
    order_sn: str
    sku_id: str | None = None
    reason: Reason | None = None
    sheet: str | None = None
    note: str | None = None


class StockoutListReader(TableReader):
    """Reads a list as a stream. ``rows_read`` counts the rows so far."""

    columns = COLUMNS

    def is_header(self, columns: Columns) -> bool:
        return "order_sn" in columns

    def no_header(self, found: set[str]) -> str:
        names = "、".join(COLUMNS["order_sn"])
        return f"no column of order numbers was found; name one of its columns {names}"

    def without_header(self, top: Sequence[Line]) -> Columns | None:
        """One column, or a column with nothing beside it, holds the order numbers."""
        if any(len([cell for cell in line.cells if text_of(cell)]) > 1 for line in top):
            return None
        return _ALONE if any(line.cells or line.damage for line in top) else None

    def __iter__(self) -> Iterator[Entry | RejectedRow]:
        self.rows_read = 0
        for row in self.table_rows():
            if isinstance(row, RejectedRow):
                self.rows_read += 1
                yield row
            elif any(row.cells.text(field) for field in row.cells.columns.index):
                self.rows_read += 1
                yield _entry(row)


def entries(order_sns: Iterable[str]) -> Iterator[Entry | RejectedRow]:
    """A list that was sent as such; its lines are counted from 1."""
    for number, order_sn in enumerate(order_sns, start=1):
        yield _entry(TableRow(number, Cells(_ALONE, [order_sn]), None, None))


def _entry(row: TableRow) -> Entry | RejectedRow:
    cells = row.cells
    try:
        text = cells.text("reason")
        reason = REASONS.get(text.casefold())
        if text and reason is None:
            raise WrongCell("reason", f"{text[:50]!r} is none of {', '.join(get_args(Reason))}")
        sku_id = identifier(cells, "sku_id") or None
        return Entry(row.line, order_number(cells), sku_id, reason, row.sheet, row.note)
    except WrongCell as wrong:
        return RejectedRow(row.line, cells.columns.name(wrong.field), wrong.reason, row.sheet)
