"""The cells of a table by their meaning. The names in the header identify the columns, never their order.

Cells are stripped, because exported cells contain tabs and invisible marks.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Self

import msgspec

from domain.calendar import BEIJING
from domain.kernel import EARLIEST, is_id
from infrastructure.files.sheets import Cell

HEADER_WITHIN = 20
"""The header must be among so many first lines; some people put a title above it."""

_DAMAGED_NUMBER = re.compile(r"[0-9.]+[Ee]\+?[0-9]+")
_YUAN = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)")
_TIME = re.compile(
    r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})[ T](\d{1,2}):(\d{2})(?::(\d{2})(?:\.\d+)?)?(Z|[+-]\d{2}:\d{2})?"
)
_INVISIBLE = "\ufeff\u200b\u200c\u200d\u2060'"
NO_BLANKS = str.maketrans("", "", " \t\r\n\u3000\xa0\ufeff")
HALF_WIDTH = str.maketrans("（），：", "(),:")


class WrongCell(Exception):
    """A cell that makes no sense: its field, and the reason."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field
        self.reason = reason


class RejectedRow(msgspec.Struct, frozen=True):
    """A row that can't be used: its line, the column at fault if a single one is, and the reason."""

    line: int
    column: str | None
    reason: str

    @classmethod
    def of(cls, line: int, wrong: WrongCell, columns: Mapping[str, Sequence[str]]) -> Self:
        """``columns`` are the header names of each field, the preferred first."""
        return cls(line, columns[wrong.field][0], wrong.reason)

    @property
    def detail(self) -> str:
        return f"{self.column}: {self.reason}" if self.column else self.reason


class Cells:
    """A row's cells by field."""

    __slots__ = ("_cells", "_columns")

    def __init__(self, columns: Mapping[str, int], cells: Sequence[Cell]) -> None:
        self._columns = columns
        self._cells = cells

    def has(self, field: str) -> bool:
        return field in self._columns

    def get(self, field: str) -> Cell:
        index = self._columns.get(field)
        return self._cells[index] if index is not None and index < len(self._cells) else None

    def text(self, field: str) -> str:
        return stripped(self.get(field))


def stripped(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    return str(cell).strip().strip(_INVISIBLE).strip()


def columns_of(header: Sequence[Cell], known: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """For each known field that a header names, the index of the column with its most preferred name."""
    names: dict[str, int] = {}
    for index, cell in enumerate(header):
        names.setdefault(_plain(stripped(cell)), index)
    return {
        field: next(names[_plain(alias)] for alias in aliases if _plain(alias) in names)
        for field, aliases in known.items()
        if any(_plain(alias) in names for alias in aliases)
    }


def _plain(name: str) -> str:
    return name.translate(HALF_WIDTH).translate(NO_BLANKS).casefold()


def order_number(cells: Cells) -> str:
    """The cell of ``order_sn``. Raises ``WrongCell``. Source: order-number."""
    text = cells.text("order_sn")
    if is_id(text):
        return text
    if _DAMAGED_NUMBER.fullmatch(text):
        raise WrongCell("order_sn", f"{text!r} was rounded by a spreadsheet; export again and do not save it there")
    raise WrongCell("order_sn", f"{text[:70]!r} is not an order number" if text else "the order number is missing")


def identifier(cells: Cells, field: str, longest: int = 64) -> str:
    """A cell of printable text; empty if there is none. Raises ``WrongCell``."""
    text = cells.text(field)
    if len(text) > longest or not all(character.isprintable() for character in text):
        raise WrongCell(field, f"more than {longest} characters, or some that can't be printed")
    return text


def time_of(cells: Cells, field: str, latest: datetime) -> datetime | None:
    """A cell of a time, as UTC; ``None`` if there is none. Without a zone it is Beijing time.

    One stray character counts as no time. Source: export-cells. Raises ``WrongCell``, also for a time before the
    platform was founded or after ``latest``.
    """
    cell = cells.get(field)
    if isinstance(cell, datetime):
        time = cell.replace(tzinfo=BEIJING).astimezone(UTC)
    else:
        text = stripped(cell)
        if len(text) <= 1:
            return None
        time = _parsed(field, text)
    if not EARLIEST <= time <= latest:
        raise WrongCell(field, f"{time.astimezone(BEIJING):%Y-%m-%d %H:%M:%S} can't be: too early or too late")
    return time


def _parsed(field: str, text: str) -> datetime:
    parts = _TIME.fullmatch(text)
    if parts is None:
        raise WrongCell(field, f"{text[:50]!r} is not a time")
    year, month, day, hour, minute = (int(part) for part in parts.group(1, 2, 3, 4, 5))
    try:
        time = datetime(year, month, day, hour, minute, int(parts[6] or 0), tzinfo=BEIJING)
        if parts[7]:
            time = datetime.fromisoformat(f"{time:%Y-%m-%dT%H:%M:%S}{parts[7]}")
        return time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise WrongCell(field, f"{text[:50]!r} is not a time") from None


def amount_fen(cells: Cells, field: str, *, signed: bool = False) -> int | None:
    """A cell of yuan in plain digits, with at most two decimals, as fen; ``None`` if there is none.

    Raises ``WrongCell``.
    """
    text = cells.text(field).replace("¥", "").replace("￥", "").replace(",", "").strip()
    if not text:
        return None
    fen = Decimal(text) * 100 if len(text) < 20 and _YUAN.fullmatch(text) else None
    if fen is None or (fen < 0 and not signed) or abs(fen) > 10**12 or fen != fen.to_integral_value():
        raise WrongCell(field, f"{text[:50]!r} is not an amount in yuan")
    return int(fen)
