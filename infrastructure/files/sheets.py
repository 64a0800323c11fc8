"""Rows of cells from an exported file, whatever tool wrote it. The content decides what it is, never the name.

A file is a text table (commas, tabs or semicolons; UTF-8, GB18030 or UTF-16), a workbook (XLSX), or either of them
in a ZIP archive or a gzip file. Rows are read one by one, and the size of each is limited, so memory stays small
whatever the file contains.
"""

import codecs
import csv
import gzip
import os
import re
import tempfile
import zipfile
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import IO, NamedTuple

from infrastructure.files.workbooks import DAY_ZERO, UnreadableWorkbook, WorkbookRow, worksheets

LONGEST_LINE = 1 << 20
LONGEST_CELL = 1 << 15
MOST_CELLS = 1_000
LARGEST_UNPACKED = 4 << 30
LARGEST_SHARED_TEXT = 512 << 20
MOST_CONTINUED = 200
"""How many lines one cell may have."""

IN_MEMORY = 8 << 20
"""Bytes of an unpacked file that are held in memory; more go to a temporary file."""

csv.field_size_limit(LONGEST_LINE)

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
        self._lines = lines
        self.name = name
        self.day_zero = day_zero
        self.width = 0
        self.fits: Callable[[Sequence[Cell]], bool] = lambda cells: False

    def __iter__(self) -> Iterator[Line]:
        return self._lines


class TableFile:
    """An open file, or an upload, with its sheets.

    ``total_bytes`` and ``bytes_read`` are the progress of the reading. The file may unpack to ``most_unpacked``
    bytes. ``is_name`` says whether a cell is the name of a column that the caller knows. Raises
    ``UnreadableSheet``.
    """

    def __init__(
        self,
        source: Path | IO[bytes],
        most_unpacked: int = LARGEST_UNPACKED,
        is_name: Callable[[Cell], bool] = lambda cell: False,
    ) -> None:
        self._most_unpacked = most_unpacked
        self._is_name = is_name
        self._file = source.open("rb") if isinstance(source, Path) else source
        try:
            self._is_workbook = self._unpack()
        except BaseException:
            self._file.close()
            raise
        self._file.seek(0)

    @property
    def total_bytes(self) -> int:
        return self._size

    @property
    def bytes_read(self) -> int:
        return min(self._file.tell(), self._size) if not self._file.closed else self._size

    def close(self) -> None:
        self._file.close()

    def sheets(self) -> Iterator[Sheet]:
        """The sheets from the beginning; each must be read before the next one."""
        self._file.seek(0)
        if self._is_workbook:
            yield from self._worksheets()
        else:
            yield _text_sheet(self._file, self._is_name)

    # ---- what the file is -------------------------------------------------------------------------------

    def _unpack(self) -> bool:
        """Bring the table itself to light. Returns whether it is a workbook."""
        for _ in range(3):  # a workbook in an archive, or a gzip file of text in another encoding
            self._size = self._file.seek(0, os.SEEK_END)
            self._file.seek(0)
            start = self._file.read(_LOOKED_AT)
            self._file.seek(0)
            if start.startswith(b"PK\x03\x04"):
                if self._holds_a_workbook():
                    return True
                self._replace(self._from_archive())
            elif start.startswith((b"PK\x05\x06", b"PK\x07\x08")):
                raise UnreadableSheet("it is an empty archive, or a part of one")
            elif start.startswith(b"\x1f\x8b"):
                self._replace(self._copy_of(gzip.GzipFile(fileobj=self._file, mode="rb"), "gzip file"))
            elif encoding := _utf_16(start):
                self._replace(self._in_utf_8(encoding))
            elif b"\r" in start and b"\n" not in start:
                self._replace(self._with_line_feeds())
            else:
                _refuse(start)
                return False
        raise UnreadableSheet("it is an archive in an archive; unpack it first")

    def _replace(self, unpacked: IO[bytes]) -> None:
        self._file.close()
        self._file = unpacked

    def _holds_a_workbook(self) -> bool:
        try:
            with zipfile.ZipFile(self._file) as archive:
                sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
        except (zipfile.BadZipFile, ValueError, OSError, EOFError, NotImplementedError) as error:
            raise UnreadableSheet(
                "it looks like an Excel workbook or an archive but is not a whole one; download or save it again"
            ) from error
        for name, what in _OTHER_WORKBOOKS.items():
            if name in sizes:
                raise UnreadableSheet(what)
        if "[Content_Types].xml" not in sizes and not any(name.startswith("xl/") for name in sizes):
            return False
        if sum(sizes.values()) > self._most_unpacked or sizes.get("xl/sharedStrings.xml", 0) > LARGEST_SHARED_TEXT:
            raise UnreadableSheet("the workbook unpacks to more than can be read; split it, or save it as .csv")
        return True

    def _from_archive(self) -> IO[bytes]:
        """The one table of an archive."""
        with zipfile.ZipFile(self._file) as archive:
            members = [entry for entry in archive.infolist() if _is_a_table(entry.filename)]
            if len(members) != 1:
                what = f"with {len(members)} files" if members else "without a table"
                raise UnreadableSheet(f"it is an archive {what}; unpack it, and read its tables one by one")
            (member,) = members
            if member.flag_bits & 1:
                raise UnreadableSheet("it is an archive with a password; unpack it first")
            try:
                return self._copy_of(archive.open(member), "archive")
            except NotImplementedError as error:
                raise UnreadableSheet("it is an archive of an uncommon kind; unpack it first") from error

    def _copy_of(self, packed: IO[bytes] | gzip.GzipFile, kind: str) -> IO[bytes]:
        """The unpacked bytes. At most ``most_unpacked`` are read."""
        unpacked: IO[bytes] = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115
        left = self._most_unpacked
        try:
            while block := packed.read(1 << 20):
                left -= len(block)
                if left < 0:
                    raise UnreadableSheet(f"the {kind} unpacks to more than can be read; split it")
                unpacked.write(block)
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError) as error:
            unpacked.close()
            raise UnreadableSheet(f"the {kind} is damaged; download it again") from error
        except UnreadableSheet:
            unpacked.close()
            raise
        return unpacked

    def _in_utf_8(self, encoding: str) -> IO[bytes]:
        """A text in another encoding; bytes that are not in it become the mark for that (U+FFFD)."""
        text: IO[bytes] = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115
        decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
        while block := self._file.read(1 << 20):
            text.write(decoder.decode(block).encode("utf-8", errors="replace"))
        text.write(decoder.decode(b"", final=True).encode("utf-8", errors="replace"))
        return text

    def _with_line_feeds(self) -> IO[bytes]:
        """A text whose lines end with carriage returns alone, as old tools write them."""
        text: IO[bytes] = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115
        while block := self._file.read(1 << 20):
            text.write(block.replace(b"\r", b"\n"))
        return text

    # ---- workbooks --------------------------------------------------------------------------------------

    def _worksheets(self) -> Iterator[Sheet]:
        try:
            for sheet in worksheets(self._file, MOST_CELLS):
                yield Sheet(_workbook_lines(sheet.rows), sheet.name, sheet.day_zero)
        except UnreadableWorkbook as error:
            raise UnreadableSheet(
                "it looks like an Excel workbook but is not a whole one; save it again as .xlsx or .csv"
            ) from error


def _refuse(start: bytes) -> None:
    """Say what a file is that can't be read."""
    text = start.removeprefix(codecs.BOM_UTF8)
    if len(start) < _LOOKED_AT and not text.strip():
        raise UnreadableSheet("the file is empty")
    for beginning, what in _NO_TABLES:
        if start.startswith(beginning):
            raise UnreadableSheet(what)
    if _XML_WORKBOOK.search(text):
        raise UnreadableSheet("it is a workbook in XML, as old tools write them; save it as .xlsx or .csv")
    if _PAGE.match(text):
        raise UnreadableSheet(
            "it is a web page that is called a table; open it in a spreadsheet, and save it as .xlsx or .csv"
        )


_LOOKED_AT = 4096
"""Bytes at the beginning of a file that show what it is."""

_OLD_EXCEL = "it is an old or encrypted Excel file; save it as .xlsx or .csv"
_NO_TABLES = (
    (b"\xd0\xcf\x11\xe0", _OLD_EXCEL),
    (b"\x09\x08\x10\x00", _OLD_EXCEL),
    (b"\x09\x04\x06\x00", _OLD_EXCEL),
    (b"%PDF", "it is a PDF; export the table as .csv or .xlsx"),
    (b"{", "it is JSON; export the table as .csv or .xlsx"),
    (b"[{", "it is JSON; export the table as .csv or .xlsx"),
    (b"Rar!", "it is a RAR archive; unpack it first"),
    (b"7z\xbc\xaf", "it is a 7z archive; unpack it first"),
    (b"\x89PNG", "it is a picture; export the table as .csv or .xlsx"),
    (b"\xff\xd8\xff", "it is a picture; export the table as .csv or .xlsx"),
)
_XML_WORKBOOK = re.compile(rb"\A\s*<\?xml.*urn:schemas-microsoft-com:office:spreadsheet", re.DOTALL)
_PAGE = re.compile(
    rb"\s*<(!doctype|html|head|meta|body|table|tr|td|\?xml|style|div|script)\b|\s*<!--", re.IGNORECASE
)
_OTHER_WORKBOOKS = {
    "content.xml": "it is an OpenDocument file; save it as .xlsx or .csv",
    "Index/Document.iwa": "it is a Numbers file; export it as .xlsx or .csv",
    "xl/workbook.bin": "it is a binary workbook (.xlsb); save it as .xlsx or .csv",
    "word/document.xml": "it is a text document; save the table as .xlsx or .csv",
}


def _is_a_table(name: str) -> bool:
    """Whether a file of an archive may be the table: archives also have folders, and notes of the packing tool."""
    base = name.rsplit("/", 1)[-1]
    return bool(base) and not base.startswith(".") and "__MACOSX" not in name


def _utf_16(start: bytes) -> str | None:
    """UTF-16 by its mark; without one by the zeros beside every delimiter and digit."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if len(start) >= 8:
        even, odd = start[0:200:2].count(0), start[1:200:2].count(0)
        if max(even, odd) * 10 > len(start[:200]) and min(even, odd) * 10 < max(even, odd):
            return "utf-16-be" if even > odd else "utf-16-le"
    return None


# ---- worksheets -----------------------------------------------------------------------------------------


def _workbook_lines(rows: Iterator[WorkbookRow]) -> Iterator[Line]:
    try:
        for number, cells in rows:
            damage = (
                f"a cell that can't be read, or more than {MOST_CELLS} cells" if cells is None else _too_much(cells)
            )
            yield Line(number, [] if damage or cells is None else cells, damage)
    except UnreadableWorkbook as error:
        raise UnreadableSheet("the workbook is damaged; save it again as .xlsx or .csv") from error


# ---- text -----------------------------------------------------------------------------------------------


def _text_sheet(file: IO[bytes], is_name: Callable[[Cell], bool]) -> Sheet:
    source = _PhysicalLines(file)
    delimiter, usual = _delimiter(file, is_name)
    sheet = Sheet(iter(()))
    sheet._lines = _text_lines(source, delimiter, usual, sheet)
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
            damage = _too_much(cells)
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
            if not self._has_too_much() and (self._is_well_quoted or not self.is_row(line.text) or self._closes()):
                return line.text
        raise _NeverClosed

    def _has_too_much(self) -> bool:
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


def _too_much(cells: Sequence[Cell]) -> str | None:
    if len(cells) > MOST_CELLS:
        return f"more than {MOST_CELLS} cells"
    if any(isinstance(cell, str) and len(cell) > LONGEST_CELL for cell in cells):
        return f"a cell of more than {LONGEST_CELL} characters"
    return None
