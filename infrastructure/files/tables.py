"""The rows of a table in a file: its sheets, the header of each, and what can't be read."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import IO, NamedTuple, Self

import msgspec

from domain.kernel import is_id
from infrastructure.files.cells import Cells, Columns, half_width, plain_name, text_of
from infrastructure.files.lines import Line, Sheet, UnreadableSheet
from infrastructure.files.sheets import LARGEST_UNPACKED, TableFile

HEADER_WITHIN = 20
"""The header must be among so many first lines; some people put a title above it."""


class RejectedRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """A row that can't be used: its line, the column at fault if a single one is, and the reason.

    ``sheet`` is the sheet's name in a workbook.
    """

    line: int
    column: str | None
    reason: str
    sheet: str | None = None

    @property
    def detail(self) -> str:
        return f"{self.column}: {self.reason}" if self.column else self.reason

    @property
    def place(self) -> str:
        """Where the row stands, for people."""
        return f"{self.sheet}, line {self.line}" if self.sheet else f"line {self.line}"


class TableRow(NamedTuple):
    """A row of a sheet: its line, its cells by field, the sheet's name, and what was wrong with it, if anything."""

    line: int
    cells: Cells
    sheet: str | None
    note: str | None


class TableReader:
    """A base for readers of a table's rows: use it in a ``with`` block. Raises ``UnreadableSheet``.

    ``columns`` are the fields with the header names that each may have, the preferred first; a line is a header if
    ``is_header`` says so of the fields that it names. Each sheet has its own header, and a header in the midst of a
    sheet begins another table. ``bytes_read`` and ``total_bytes`` are the progress of the reading.
    """

    columns: Mapping[str, Sequence[str]]
    rows_read = 0

    def __init__(self, source: Path | IO[bytes], most_unpacked: int = LARGEST_UNPACKED) -> None:
        names = {plain_name(alias) for aliases in self.columns.values() for alias in aliases}
        self._file = TableFile(source, most_unpacked, lambda cell: plain_name(cell) in names)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def total_bytes(self) -> int:
        return self._file.total_bytes

    @property
    def bytes_read(self) -> int:
        return self._file.bytes_read

    def is_header(self, columns: Columns) -> bool:
        raise NotImplementedError

    def no_header(self, found: set[str]) -> str:
        """What to say of a file without a header, of which the best line names the fields ``found``."""
        raise NotImplementedError

    def without_header(self, top: Sequence[Line]) -> Columns | None:
        """The columns of a sheet whose first lines hold no header, if it needs none."""
        return None

    def is_row(self, cells: Cells) -> bool:
        """Whether a line with these cells looks like a row by itself."""
        return is_id(half_width(cells.text("order_sn")))

    def table_rows(self) -> Iterator[TableRow | RejectedRow]:
        """Every row of every sheet that has a header, and what can't be read."""
        best: set[str] = set()
        headers = 0
        headless: list[RejectedRow] = []
        for sheet in self._file.sheets():
            top: list[Line] = []
            lines = iter(sheet)
            columns = None
            for line in islice(lines, HEADER_WITHIN):
                named = Columns(line.cells, self.columns)
                if self.is_header(named):
                    columns = named
                    break
                best = max(best, set(named.index), key=len)
                top.append(line)
            rest: Iterator[Line] = lines
            if columns is None:
                columns = self.without_header(top)
                rest = chain(top, lines)
            if columns is None:
                if any(text_of(cell) for line in top for cell in line.cells):
                    headless.append(
                        RejectedRow(1, None, "no header was found; nothing of this sheet was read", sheet.name)
                    )
                continue
            headers += 1
            yield from self._rows_of(sheet, columns, rest)
        if not headers:
            raise UnreadableSheet(self.no_header(best))
        yield from headless

    def _rows_of(self, sheet: Sheet, columns: Columns, lines: Iterator[Line]) -> Iterator[TableRow | RejectedRow]:
        self._watch(sheet, columns)
        for line in lines:
            if line.damage:
                yield RejectedRow(line.number, None, line.damage, sheet.name)
                continue
            cells = Cells(columns, line.cells)
            if columns.repeats(cells) and self.is_header(again := Columns(line.cells, self.columns)):
                columns = again
                self._watch(sheet, columns)
                continue
            yield TableRow(line.number, cells, sheet.name, line.note)

    def _watch(self, sheet: Sheet, columns: Columns) -> None:
        """Tell the sheet what a whole row looks like, and the columns from when it counts days."""
        columns.day_zero = sheet.day_zero
        sheet.width = columns.width
        sheet.fits = lambda cells: len(cells) == columns.width > 2 or self.is_row(Cells(columns, cells))
