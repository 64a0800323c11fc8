"""The cells of a row by their meaning. The names in the header identify the columns, never their order.

What a cell means is the same in all files. An empty cell, or one of the signs that people write for nothing, is
nothing. Wrappings that protect a number from a spreadsheet are taken off. A number that a spreadsheet has rounded,
a formula without its value and a spreadsheet's sign for an error are damage, never a fact.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from domain.calendar import BEIJING
from domain.kernel import EARLIEST, is_id
from infrastructure.files.lines import Cell
from infrastructure.files.workbooks import DAY, DAY_ZERO, MINUTE, TimeCell

_ROUNDED = re.compile(r"[+-]?[0-9]+(?:\.[0-9]*)?[Ee]\+?[0-9]+")
_EXACT_NUMBERS_BELOW = 10**15
"""A spreadsheet keeps 15 digits of a number and puts zeros in the place of the others."""

_ERROR = re.compile(
    r"#+|#(?:REF|VALUE|NAME|NUM|NULL|DIV/0|SPILL|CALC|FIELD|BLOCKED|CONNECT|UNKNOWN)[!?]?", re.IGNORECASE
)
"""What a spreadsheet shows in place of a value: an error, or a column that is too narrow for it."""

_SEVERAL = re.compile(r"[,;、|\r\n]")
"""What stands between several ids in one cell."""

_YUAN = re.compile(
    r"([+-]?) ?(?:¥|RMB|CNY|人民币)? ?([+-]?)((?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]*)?|\.[0-9]+) ?"
    r"(?:元|RMB|CNY)?",
    re.IGNORECASE,
)
_PLAIN_YUAN = re.compile(r"([0-9]{1,9})\.([0-9]{2})")
_PIECES = re.compile(r"([0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.0*)? ?[件个只条双套盒包箱袋瓶份台部张本支副]?")
_TIME = re.compile(
    r"(\d{4})(?:[-/.]|年)(\d{1,2})(?:[-/.]|月)(\d{1,2})日?"
    r"(?:[ T]*(上午|下午)?\s*(\d{1,2})[:时点](\d{1,2})(?:[:分](\d{1,2})(?:\.\d+)?秒?|分)?"
    r"\s*(AM|PM)?\s*(Z|[+-]\d{2}:\d{2})?)?",
    re.IGNORECASE,
)
_NO_TIME = re.compile(
    r"(?:0000[-/.]0?0[-/.]0?0|0001[-/.]0?1[-/.]0?1|1899[-/.]12[-/.]3[01]|1900[-/.]0?1[-/.]0?[01]"
    r"|1970[-/.]0?1[-/.]0?1)(?:[ T]+0?[08]:00(?::00)?(?:\.0+)?)?"
)
"""What programs write where they have no time: their own day 0, in Greenwich or in Beijing."""

_DAYS = re.compile(r"[3-9][0-9]{4}(?:\.[0-9]+)?")
_BEIJING_IS_AHEAD = timedelta(hours=8)
_FIRST_DAY, _LAST_DAY = 36_526, 109_575
"""Days from 2000 to 2200, as spreadsheets count them."""

_INVISIBLE = "\ufeff\u200b\u200c\u200d\u2060\xa0\u3000 \t\r\n"
_WRAPPED = re.compile(r'=?"(.*)"|[\'’`](.*)', re.DOTALL)
_NOTHING = {
    "",
    "/",
    "\\",
    "无",
    "空",
    "暂无",
    "没有",
    "空白",
    "(空)",
    "（空）",
    "null",
    "none",
    "nan",
    "n/a",
    "#n/a",
}
_DASHES = "-\u2010\u2011\u2012\u2013\u2014\u2015\u2212\uff0d_"
_MINUS = str.maketrans("\u2212\u2013", "--")
NO_BLANKS = str.maketrans("", "", " \t\r\n\u3000\xa0\ufeff")
_PLAIN_BLANKS = str.maketrans(dict.fromkeys("\u3000\xa0\t\r\n", " "))
HALF_WIDTH = str.maketrans("（），：", "(),:")


class WrongCell(Exception):
    """A cell that makes no sense: its field, and the reason."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field
        self.reason = reason


class Columns:
    """The columns of a sheet: for each field that the header names, the index and the file's own name for it."""

    def __init__(self, header: Sequence[Cell], known: Mapping[str, Sequence[str]]) -> None:
        names: dict[str, int] = {}
        for index, cell in enumerate(header):
            names.setdefault(plain_name(cell), index)
        names.pop("", None)
        self.known = known
        self.index: dict[str, int] = {}
        for field, aliases in known.items():
            for alias in aliases:
                if (at := names.get(_plain(alias))) is not None:
                    self.index[field] = at
                    break
        self.width = len(header)
        self.day_zero = DAY_ZERO
        self._all_names = {_plain(alias) for aliases in known.values() for alias in aliases}
        self._names = {field: text_of(header[at]) for field, at in self.index.items()}

    def __contains__(self, field: str) -> bool:
        return field in self.index

    def repeats(self, cells: "Cells") -> bool:
        """Whether the name of a column stands where a row has the order's number."""
        cell = cells.get("order_sn")
        if type(cell) is not str or cell[:1].isdecimal() or len(cell) > 30:
            return False
        return _plain(cell) in self._all_names

    def name(self, field: str) -> str:
        """The column's name in this file; where it has none, the name that we prefer."""
        return self._names.get(field) or self.known[field][0]


class Cells:
    """A row's cells by field."""

    __slots__ = ("_cells", "_index", "columns")

    def __init__(self, columns: Columns, cells: Sequence[Cell]) -> None:
        self.columns = columns
        self._index = columns.index
        self._cells = cells

    def has(self, field: str) -> bool:
        return field in self._index

    def get(self, field: str) -> Cell:
        index = self._index.get(field)
        return self._cells[index] if index is not None and index < len(self._cells) else None

    def joined(self, fields: Sequence[str]) -> str | None:
        """The cells of some columns as one text, as they stand; ``None`` if one of them holds anything but text."""
        try:
            return "\0".join([self._cells[self._index[field]] for field in fields])  # type: ignore[misc]
        except (TypeError, IndexError):
            return None

    def text(self, field: str) -> str:
        """The text of a cell; empty if the cell holds nothing."""
        index = self._index.get(field)
        if index is None or index >= len(self._cells):
            return ""
        return text_of(self._cells[index])


def text_of(cell: Cell) -> str:
    """A cell's text without blanks and wrappings around it; empty if the cell holds nothing."""
    if type(cell) is not str:
        return _text_of_value(cell)
    text = cell.strip()
    if text and (text[0] in _AROUND or text[-1] in _AROUND):
        text = _unwrapped(text)
    if len(text) < 5 and text.casefold() in _NOTHING:
        return ""
    return text if text[-1] not in _DASHES or text.strip(_DASHES) else ""


def _text_of_value(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, TimeCell):
        return f"{cell.at:%Y-%m-%d %H:%M:%S}"
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < _EXACT_NUMBERS_BELOW:
        cell = int(cell)
    return str(cell)


def _unwrapped(text: str) -> str:
    for _ in range(3):
        text = text.strip(_INVISIBLE)
        wrapped = _WRAPPED.fullmatch(text)
        if wrapped is None:
            break
        text = wrapped[1] if wrapped[1] is not None else wrapped[2]
    return text.strip(_INVISIBLE)


_AROUND = "=\"'’`" + _INVISIBLE
"""What a cell begins or ends with that has something around its text."""


def plain_name(cell: Cell) -> str:
    """The name of a column in the form in which names are compared."""
    return _plain(text_of(cell))


def _plain(name: str) -> str:
    return name.translate(HALF_WIDTH).translate(NO_BLANKS).casefold()


def is_rounded(text: str) -> bool:
    """Whether a text is a number as a spreadsheet shortens it."""
    return ("E" in text or "e" in text) and _ROUNDED.fullmatch(text) is not None


def half_width(text: str) -> str:
    """Digits and letters as a keyboard writes them: full-width ones become plain ones."""
    return text if text.isascii() else unicodedata.normalize("NFKC", text)


# ---- values ---------------------------------------------------------------------------------------------


def order_number(cells: Cells) -> str:
    """The cell of ``order_sn``. Raises ``WrongCell``. Source: order-number."""
    cell = cells.get("order_sn")
    text = half_width(text_of(cell))
    if is_id(text) and type(cell) is str and not is_rounded(text):
        return text
    if not text:
        raise WrongCell("order_sn", "the order number is missing")
    _refuse_damaged("order_sn", cell, text)
    if is_id(text):
        return text
    raise WrongCell("order_sn", f"{text[:70]!r} is not an order number")


def identifier(cells: Cells, field: str, longest: int = 64) -> str:
    """A cell of an id that others give; empty if there is none. Raises ``WrongCell``, also for a damaged one."""
    cell = cells.get(field)
    text = text_of(cell)
    if not text:
        return ""
    text = half_width(text)
    if type(cell) is str and text.isascii() and text.isdecimal():
        return _printable(field, text, longest)
    _refuse_damaged(field, cell, text)
    if _SEVERAL.search(text):
        raise WrongCell(field, f"{text[:50]!r} is more than one; give each a row of its own")
    return _printable(field, text, longest)


def own_code(cells: Cells, field: str) -> str:
    """A cell of a code that the merchant made up, as ``identifier``; commas may be a part of it."""
    cell = cells.get(field)
    text = half_width(text_of(cell))
    if not text:
        return ""
    _refuse_damaged(field, cell, text)
    return _printable(field, text, 64)


def words(cells: Cells, field: str, longest: int = 100) -> str:
    """A cell of printable text, its blanks as plain ones; empty if there is none. Raises ``WrongCell``."""
    text = cells.text(field)
    if text and text[0] in "=#":
        _refuse_no_value(field, text)
    return _printable(field, text if text.isprintable() else text.translate(_PLAIN_BLANKS), longest)


def _printable(field: str, text: str, longest: int) -> str:
    if len(text) > longest or not text.isprintable():
        raise WrongCell(field, f"more than {longest} characters, or some that can't be printed")
    return text


def _refuse_damaged(field: str, cell: Cell, text: str) -> None:
    """What a spreadsheet has rounded, or may have rounded, or made something else of, is no identifier."""
    _refuse_no_value(field, text)
    if is_rounded(text):
        raise WrongCell(field, f"{text[:50]!r} was rounded by a spreadsheet; {_AGAIN}")
    if isinstance(cell, bool | TimeCell):
        raise WrongCell(field, f"{text[:50]!r} is what a spreadsheet made of a number; {_AGAIN}")
    if isinstance(cell, int | float) and abs(cell) >= _EXACT_NUMBERS_BELOW:
        reason = f"{text[:50]!r} is a number of more than 15 digits, of which a spreadsheet keeps 15"
        raise WrongCell(field, f"{reason}; {_AGAIN}")
    if '"' in text:
        raise WrongCell(field, f"{text[:50]!r} has a quotation mark in it")
    if not any(map(str.isalnum, text)):
        raise WrongCell(field, f"{text[:50]!r} has neither a letter nor a digit")


def _refuse_no_value(field: str, text: str) -> None:
    if text.startswith("="):
        raise WrongCell(
            field, f"{text[:50]!r} is a formula without its value; open the file in a spreadsheet and save it"
        )
    if _ERROR.fullmatch(text):
        raise WrongCell(field, f"{text[:50]!r} stands where a spreadsheet could not show the value; {_AGAIN}")


_AGAIN = "export again and do not save it there"


class SourceTime(NamedTuple):
    """A time in UTC, as precise as its source: that moment or up to ``within`` seconds later."""

    at: datetime
    within: int = 0


def time_of(cells: Cells, field: str, latest: datetime) -> SourceTime | None:
    """A cell of a time; ``None`` if there is none. Without a zone it is Beijing time.

    One stray character counts as no time, and so does the day 0 of other programs. Source: export-cells. Raises
    ``WrongCell``, also for a time before the platform was founded or after ``latest``.
    """
    cell = cells.get(field)
    if type(cell) is str:
        time = _parsed(field, cell, cells.columns.day_zero)
    elif isinstance(cell, TimeCell):
        time = SourceTime(_in_utc(cell.at), cell.within)
    elif isinstance(cell, int | float):
        time = _from_days(field, cell, cells.columns.day_zero) if cell or cell is False else None
    else:
        return None
    if time is not None and not EARLIEST <= time.at <= latest:
        if _is_no_time(cell):
            return None
        raise WrongCell(field, f"{time.at.astimezone(BEIJING):%Y-%m-%d %H:%M:%S} can't be: too early or too late")
    return time


def _is_no_time(cell: Cell) -> bool:
    """Whether a program wrote its day 0 because it had no time."""
    return _NO_TIME.fullmatch(half_width(text_of(cell))) is not None


def _parsed(field: str, cell: str, day_zero: datetime) -> SourceTime | None:
    if len(cell) == 19 and cell[13] == cell[16] == ":" and cell[4] == cell[7] == "-":
        try:  # the platform's own form, which almost all cells have
            return SourceTime(datetime.fromisoformat(cell).replace(tzinfo=UTC) - _BEIJING_IS_AHEAD)
        except (ValueError, OverflowError):
            pass
    parts = _TIME.fullmatch(cell)
    if parts is None:
        text = half_width(text_of(cell))
        if len(text) <= 1:
            return None
        parts = _TIME.fullmatch(text)
        if parts is None:
            if _DAYS.fullmatch(text):
                return _from_text_of_days(field, text, day_zero)
            raise WrongCell(field, f"{text[:50]!r} is not a time")
    year, month, day, half, hour, minute, second, am_pm, zone = parts.groups()
    try:
        hours = int(hour or 0)
        if half or am_pm:
            hours = _of_half_a_day(hours, is_afternoon=half == "下午" or (am_pm or "").upper() == "PM")
        at = datetime(int(year), int(month), int(day), hours, int(minute or 0), int(second or 0), tzinfo=BEIJING)
        if zone:
            at = datetime.fromisoformat(f"{at:%Y-%m-%dT%H:%M:%S}{zone}")
        return SourceTime(at.astimezone(UTC), 0 if second else MINUTE if hour else DAY)
    except (ValueError, OverflowError):
        if _is_no_time(cell):
            return None
        raise WrongCell(field, f"{cell.strip()[:50]!r} is not a time") from None


def _of_half_a_day(hour: int, *, is_afternoon: bool) -> int:
    """An hour on a clock of twelve. People also write 下午15:00. Raises ``ValueError``."""
    if hour > 12:
        if is_afternoon:
            return hour
        raise ValueError("no hour of a morning")
    return hour % 12 + (12 if is_afternoon else 0)


def _from_days(field: str, days: float, day_zero: datetime) -> SourceTime:
    """A time as a spreadsheet holds it: days since its day 0, here rounded to the second."""
    days += (day_zero - DAY_ZERO).days
    if not _FIRST_DAY <= days < _LAST_DAY:
        raise WrongCell(field, f"{days:.20g} is not a time")
    seconds = round(days * 86_400)
    at = _in_utc(DAY_ZERO + timedelta(seconds=seconds))
    return SourceTime(at, 0 if days % 1 else DAY)


def _from_text_of_days(field: str, text: str, day_zero: datetime) -> SourceTime:
    """Days as a text. One with few decimals may have been rounded, unless it tells a whole minute, or hour."""
    time = _from_days(field, float(text), day_zero)
    _, _, decimals = text.partition(".")
    is_round = not time.at.second and (len(decimals) > 2 or not time.at.minute)
    if time.within or len(decimals) > 4 or is_round:
        return time
    step = 86_400 / 10 ** len(decimals)
    return SourceTime(time.at - timedelta(seconds=step // 2), int(step))


def _in_utc(naive: datetime) -> datetime:
    return naive.replace(tzinfo=BEIJING).astimezone(UTC)


def amount_fen(cells: Cells, field: str, *, signed: bool = False) -> int | None:
    """A cell of yuan as people write them, with at most two decimals, as fen; ``None`` if there is none.

    Raises ``WrongCell``.
    """
    cell = cells.get(field)
    if isinstance(cell, float):
        text = f"{round(cell, 6):.6f}"
    else:
        text = text_of(cell)
        if plain := _PLAIN_YUAN.fullmatch(text):
            return int(plain[1]) * 100 + int(plain[2])
        text = half_width(text).translate(_MINUS)
    if not text:
        return None
    yuan = _YUAN.fullmatch(text)
    if yuan is None or len(text) > 30 or (yuan[1] and yuan[2]):
        raise WrongCell(field, f"{cells.text(field)[:50]!r} is not an amount in yuan")
    fen = Decimal(f"{yuan[1]}{yuan[2]}{yuan[3].replace(',', '')}") * 100
    if (fen < 0 and not signed) or abs(fen) > 10**12 or fen != fen.to_integral_value():
        raise WrongCell(field, f"{cells.text(field)[:50]!r} is not an amount in yuan")
    return int(fen)


def pieces(cells: Cells, field: str) -> int | None:
    """A cell of a number of pieces as people write them; ``None`` if there is none. Raises ``WrongCell``."""
    text = cells.text(field)
    if not text:
        return None
    number = _PIECES.fullmatch(half_width(text)) if len(text) < 20 else None
    count = int(number[1].replace(",", "")) if number else 0
    if not 1 <= count <= 1_000_000:
        raise WrongCell(field, f"{text[:50]!r} is not a number of pieces from 1 to 1,000,000")
    return count


def without_damage(
    read: Callable[[Cells, str], str], cells: Cells, field: str, note: Callable[[WrongCell], None]
) -> str:
    """A cell's value; empty if it is damaged, which is noted. The other facts of the row count."""
    try:
        return read(cells, field)
    except WrongCell as wrong:
        note(wrong)
        return ""
