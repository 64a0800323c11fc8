"""What a table is read as, whatever file it comes from: sheets, their lines, and the cells of each."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from infrastructure.files.workbooks import DAY_ZERO

LONGEST_CELL = 1 << 15
MOST_CELLS = 1_000

Cell = object
"""The value of a cell: text in a CSV; in a workbook also a number, a ``TimeCell`` or nothing."""


class UnreadableSheet(Exception):
    """The file is not a table this program can read; the message says why and what to do."""


class Line(NamedTuple):
    """One row of a sheet: the number of its first line, and its cells, or the reason why it can't be read.

    ``note`` says what was wrong with a row that could be read.
    """

    number: int
    cells: Sequence[Cell]
    damage: str | None = None
    note: str | None = None


class Sheet:
    """A table in a file: iterate over it once for its lines. ``name`` is ``None`` where a file has only one.
    ``day_zero`` is the day from which numbers count days.

    Whoever finds the header sets ``width``, the cells of a row, and ``fits``, which says whether the cells of one
    line look like a whole row. Without them a quotation mark that never closes can't be told from text of several
    lines.
    """

    def __init__(self, lines: Iterator[Line], name: str | None = None, day_zero: datetime = DAY_ZERO) -> None:
        self.lines = lines
        self.name = name
        self.day_zero = day_zero
        self.width = 0
        self.fits: Callable[[Sequence[Cell]], bool] = lambda cells: False

    def __iter__(self) -> Iterator[Line]:
        return self.lines


def too_much(cells: Sequence[Cell]) -> str | None:
    if len(cells) > MOST_CELLS:
        return f"more than {MOST_CELLS} cells"
    if any(isinstance(cell, str) and len(cell) > LONGEST_CELL for cell in cells):
        return f"a cell of more than {LONGEST_CELL} characters"
    return None
