"""Lists of orders that are out of stock, as a shop writes them: a column of order numbers, and perhaps more.

A column for the SKU and one for the reason are read if the header names them. A list of one column needs no
header. A row that makes no sense is rejected with its line and a reason; the others count.

The platform's own template is not known. Source: application-entrance.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Literal, NamedTuple, get_args

from infrastructure.files.cells import (
    HEADER_WITHIN,
    Cells,
    RejectedRow,
    WrongCell,
    columns_of,
    identifier,
    order_number,
)
from infrastructure.files.sheets import Line, SheetReader, UnreadableSheet

COLUMNS: dict[str, tuple[str, ...]] = {
    "order_sn": ("订单号", "订单编号", "order_sn", "order number"),
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


class Entry(NamedTuple):
    """A row: the line it stands on, the order, and the SKU and reason if it says them."""

    line: int
    order_sn: str
    sku_id: str | None = None
    reason: Reason | None = None


class StockoutListReader(SheetReader):
    """Reads a list as a stream."""

    def __iter__(self) -> Iterator[Entry | RejectedRow]:
        columns, lines = _after_header(iter(self._sheet))
        for line in lines:
            if line.damage:
                yield RejectedRow(line.number, None, line.damage)
                continue
            cells = Cells(columns, line.cells)
            if any(cells.text(field) for field in columns):
                yield _entry(line.number, cells)


def entries(order_sns: Iterable[str]) -> Iterator[Entry | RejectedRow]:
    """A list that was sent as such; its lines are counted from 1."""
    for number, order_sn in enumerate(order_sns, start=1):
        yield _entry(number, Cells({"order_sn": 0}, [order_sn]))


def _entry(line: int, cells: Cells) -> Entry | RejectedRow:
    try:
        text = cells.text("reason")
        reason = REASONS.get(text.casefold())
        if text and reason is None:
            raise WrongCell("reason", f"{text[:50]!r} is none of {', '.join(get_args(Reason))}")
        return Entry(line, order_number(cells), identifier(cells, "sku_id") or None, reason)
    except WrongCell as wrong:
        return RejectedRow.of(line, wrong, COLUMNS)


def _after_header(lines: Iterator[Line]) -> tuple[dict[str, int], Iterator[Line]]:
    """The columns, and the lines below the header: all of them where one column has none."""
    top: list[Line] = []
    for line in islice(lines, HEADER_WITHIN):
        columns = columns_of(line.cells, COLUMNS)
        if "order_sn" in columns:
            return columns, lines
        top.append(line)
    if all(len([cell for cell in line.cells if cell not in (None, "")]) <= 1 for line in top):
        return {"order_sn": 0}, chain(top, lines)
    names = "、".join(COLUMNS["order_sn"])
    raise UnreadableSheet(f"no column of order numbers was found; name one of its columns {names}")
