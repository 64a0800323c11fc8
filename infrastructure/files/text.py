"""The lines of a text table (commas, tabs or semicolons), also where quotation marks went wrong."""

import codecs
import csv
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import IO, NamedTuple

from infrastructure.files.lines import LONGEST_CELL, MOST_CELLS, Cell, Line, Sheet, too_much

LONGEST_LINE = 1 << 20

MOST_CONTINUED = 200
"""How many lines one cell may have."""

csv.field_size_limit(LONGEST_LINE)


def text_sheet(file: IO[bytes], is_name: Callable[[Cell], bool]) -> Sheet:
    """The one sheet of a text file."""
    source = _PhysicalLines(file)
    delimiter, usual = _delimiter(file, is_name)
    sheet = Sheet(iter(()))
    sheet.lines = _text_lines(source, delimiter, usual, sheet)
    return sheet


def _delimiter(file: IO[bytes], is_name: Callable[[Cell], bool]) -> tuple[str, int]:
    """The sign that divides one of the first lines into most names of columns, and how many cells most lines have.

    Where no line has any, it is the one that divides most lines into the same number of cells.
    """
    text = [file.readline(LONGEST_LINE) for _ in range(20)]
    file.seek(0)
    encoding = "utf-8" if all(_is(line, "utf-8") for line in text) else "gb18030"
    lines = [line.decode(encoding, errors="replace") for line in text]

    def fitness(sign: str) -> tuple[int, int]:
        rows = [_split(line, sign) for line in lines]
        names = max(sum(map(is_name, row)) for row in rows)
        counts = Counter(len(row) for row in rows if len(row) > 1)
        return names, max((cells * alike for cells, alike in counts.items()), default=0)

    sign = max(",\t;|", key=fitness)
    widths = Counter(width for line in lines if (width := len(_split(line, sign))) > 1)
    return sign, widths.most_common(1)[0][0] if widths else 1


def _split(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return []


def _text_lines(source: "_PhysicalLines", delimiter: str, usual: int, sheet: Sheet) -> Iterator[Line]:
    """The rows of a text, which usually have ``usual`` cells.

    A quotation mark that never closes, or one that is missing around a cell, damages its own row and no other.
    """
    some_are_whole = some_are_short = False
    source.is_row = lambda line: sheet.fits(_split(line, delimiter))
    source.is_whole = lambda lines: _is_whole(lines, delimiter, sheet.width)
    reader = csv.reader(source, delimiter=delimiter, strict=True)
    while True:
        source.begin()
        note = None
        try:
            cells: Sequence[Cell] = next(reader)
        except StopIteration:
            return
        except (csv.Error, _NeverClosed):
            # Some quotation mark is not one: the line alone is the row, and what follows is read anew.
            cells = _badly_quoted(source.first_alone(), delimiter, sheet.width)
            note = "a quotation mark that never closes, or closes in the wrong place"
        is_short = len(cells) < sheet.width
        if note is None and is_short and source.has_quotation_marks and not source.ends_without_line_end:
            note = "fewer cells than the header has; a quotation mark may close in the wrong place"
        damage = source.damage
        if note is None and damage is None and sheet.width:
            if len(cells) > max(sheet.width, usual):
                damage = _MOVED.format(len(cells), sheet.width)
            elif len(cells) == sheet.width:
                some_are_whole = True
            elif not sheet.fits(cells):
                if source.ends_without_line_end and source.has_more_than_blanks:
                    damage = _CUT_OFF
            elif len(cells) > 1:
                if together := _broken_row(source, cells, delimiter, sheet.width):
                    cells, note = together, "a cell of several lines has no quotation marks around it"
                elif source.ends_without_line_end and some_are_whole and not some_are_short:
                    damage = _CUT_OFF
                elif source.ends_without_line_end:
                    cells, note = cells[:-1], _MAY_BE_CUT_OFF
                some_are_short = True
        if damage is None and (source.is_long or len(cells) > MOST_CELLS):
            damage = too_much(cells)
        if note and not cells:
            damage = damage or note
        yield Line(source.row_number, [] if damage else cells, damage, note)


_MOVED = (
    "{} cells where the header has {}; a delimiter within a cell has moved those behind it. "
    "Put the cell into quotation marks, or export again"
)
_CUT_OFF = "the file ends in the midst of this row; download it again"
_MAY_BE_CUT_OFF = "the file may end in the midst of this row, so its last cell was not read; download it again"

_WIDE = 8
"""In a table of fewer columns, lines below it may add up to a row by chance."""

_MOST_BROKEN = 20
"""Into how many lines a cell without quotation marks may be broken."""


def _broken_row(source: "_PhysicalLines", cells: Sequence[Cell], delimiter: str, width: int) -> list[Cell] | None:
    """The row with the lines behind it that are no rows, if together they are exactly one row."""
    if width <= _WIDE:
        return None
    together = [*map(str, cells)]
    taken: list[_TextLine] = []
    while len(taken) < _MOST_BROKEN and (line := source.take()) is not None:
        taken.append(line)
        if line.damage or source.is_row(line.text):
            break
        first, *rest = _split(line.text, delimiter) or [""]
        together[-1] += "\n" + first
        together += rest
        if len(together) >= width:
            break
    if len(together) == width:
        return [*together]
    source.give_back(taken)
    return None


def _is_whole(lines: Sequence[str], delimiter: str, width: int) -> bool | None:
    """Whether the lines are one well-formed row of so many cells; ``None`` while a quotation mark is open."""
    try:
        rows = [*csv.reader(lines, delimiter=delimiter, strict=True)]
    except csv.Error as error:
        return None if "unexpected end" in str(error) else False
    return len(rows) == 1 and len(rows[0]) == width


def _badly_quoted(line: str, delimiter: str, width: int) -> Sequence[Cell]:
    """The cells of a line of which a quotation mark is not one; none if they can't be told.

    Either none of its marks is meant as such, or all but one that begins a cell.
    """
    try:
        cells = next(csv.reader([line], delimiter=delimiter, quoting=csv.QUOTE_NONE), [])
    except csv.Error:
        return []
    if len(cells) == width:
        return cells
    begins = [
        place for place, sign in enumerate(line) if sign == '"' and (place == 0 or line[place - 1] == delimiter)
    ]
    for place in begins[:MOST_TRIED]:
        tried = line[:place] + _LITERAL + line[place + 1 :]
        if _is_whole([tried], delimiter, width):
            return [cell.replace(_LITERAL, '"') for cell in next(csv.reader([tried], delimiter=delimiter))]
    return []


MOST_TRIED = 50
"""Quotation marks of a line that are tried to be none."""

_LITERAL = "\ue000"
"""What stands for a quotation mark that is not one; a character that no text has."""


class _NeverClosed(Exception):
    """The row's text goes on without an end, because a quotation mark never closes."""


class _TextLine(NamedTuple):
    """A line of a text file, or an empty one and what is wrong with it."""

    text: str
    damage: str | None = None


class _PhysicalLines:
    """The text lines of a CSV file. Each is decoded by itself, so that a bad line damages only its own row.

    The reader takes further lines of one row only while a quotation mark is open. If such a line looks like a row
    itself, and what follows does not close the mark as it should be closed, the mark was never meant to be one: the
    lines behind the first are given again. Text that was quoted well stays text, whatever it looks like.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._encoding: str | None = None
        self._number = 0
        self._again: deque[_TextLine] = deque()
        self._row: list[_TextLine] = []
        self._is_well_quoted = False
        self.is_row: Callable[[str], bool] = lambda line: False
        self.is_whole: Callable[[Sequence[str]], bool | None] = lambda lines: False
        self.row_number = 0

    def begin(self) -> None:
        """The next line is the first of a row."""
        self._row.clear()
        self._is_well_quoted = False
        self.row_number = self._number - len(self._again) + 1

    @property
    def damage(self) -> str | None:
        """What is wrong with a line of the row."""
        if len(self._row) == 1:
            return self._row[0].damage
        return next((line.damage for line in self._row if line.damage), None)

    @property
    def is_long(self) -> bool:
        """Whether a cell of the row may be too long."""
        return len(self._row) > 1 or (bool(self._row) and len(self._row[0].text) > LONGEST_CELL)

    @property
    def has_quotation_marks(self) -> bool:
        return any('"' in line.text for line in self._row)

    @property
    def ends_without_line_end(self) -> bool:
        """Whether the file ends with this row, and not with the end of a line."""
        return not self._row[-1].text.endswith("\n")

    @property
    def has_more_than_blanks(self) -> bool:
        """Whether the row's text has anything but blanks: cells that hold nothing also have delimiters or marks."""
        return any(line.text.strip(" \r\n") for line in self._row)

    def take(self) -> _TextLine | None:
        """The line behind the row."""
        return self._next()

    def give_back(self, lines: Sequence[_TextLine]) -> None:
        """Let lines be read anew."""
        self._again.extendleft(reversed(lines))

    def first_alone(self) -> str:
        """The first line of the row. Those that were taken behind it are given again."""
        self.give_back(self._row[1:])
        del self._row[1:]
        return self._row[0].text.rstrip("\r\n")

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._row:
            return self._continued()
        line = self._next()
        if line is None:
            raise StopIteration
        self._row.append(line)
        return line.text

    def _continued(self) -> str:
        line = self._next()
        if line is not None:
            self._row.append(line)
            if not self._hastoo_much() and (self._is_well_quoted or not self.is_row(line.text) or self._closes()):
                return line.text
        raise _NeverClosed

    def _hastoo_much(self) -> bool:
        return len(self._row) > MOST_CONTINUED or sum(len(line.text) for line in self._row) > LONGEST_LINE

    def _closes(self) -> bool:
        """Look ahead whether the row ends as a well-formed one. The lines that this takes are given again."""
        texts = [line.text for line in self._row]
        ahead: list[_TextLine] = []
        whole = self.is_whole(texts)
        while whole is None and len(texts) <= MOST_CONTINUED:
            line = self._next()
            if line is None:
                break
            ahead.append(line)
            texts.append(line.text)
            if '"' in line.text:
                whole = self.is_whole(texts)
        self.give_back(ahead)
        self._is_well_quoted = bool(whole)
        return self._is_well_quoted

    def _next(self) -> _TextLine | None:
        return self._again.popleft() if self._again else self._read()

    def _read(self) -> _TextLine | None:
        raw = self._file.readline(LONGEST_LINE)
        if not raw:
            return None
        self._number += 1
        if len(raw) == LONGEST_LINE and not raw.endswith(b"\n"):
            while raw and not raw.endswith(b"\n"):
                raw = self._file.readline(LONGEST_LINE)
            return _TextLine("\n", f"a line is longer than {LONGEST_LINE} bytes")
        if self._number == 1:
            raw = raw.removeprefix(codecs.BOM_UTF8)
        if b"\x00" in raw:
            return _TextLine("\n", "a NUL byte")
        return self._decode(raw)

    def _decode(self, raw: bytes) -> _TextLine:
        """The first line with Chinese text, which is the header, decides the encoding."""
        if self._encoding is None:
            if raw.isascii():
                return _TextLine(raw.decode("ascii"))
            self._encoding = "utf-8" if _is(raw, "utf-8") else "gb18030"
        try:
            text = raw.decode(self._encoding)
        except UnicodeDecodeError:
            return _TextLine("\n", f"bytes that are not {self._encoding.upper()}")
        is_garbled = "\ufffd" in text and self._encoding == "utf-8"
        return _TextLine(text, "bytes that are no text" if is_garbled else None)


def _is(raw: bytes, encoding: str) -> bool:
    try:
        raw.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
