"""Rows of cells from an exported file: CSV in UTF-8 or GB18030, or XLSX. The content decides which it is.

Rows are read one by one, and the size of each is limited, so memory stays small whatever the file contains.
"""

import csv
import os
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple, Self

import openpyxl
from openpyxl.utils.exceptions import InvalidFileException

LONGEST_LINE = 1 << 20
LONGEST_CELL = 1 << 15
MOST_CELLS = 1_000
LARGEST_UNPACKED = 4 << 30
LARGEST_SHARED_TEXT = 512 << 20

csv.field_size_limit(LONGEST_LINE)

Cell = object
"""The value of a cell: text in a CSV; in a workbook also a number, a date or nothing."""


class UnreadableSheet(Exception):
    """The file is not a table this program can read; the message says why and what to do."""


class Line(NamedTuple):
    """One row of the file: the number of its first line, and its cells, or the reason why it can't be read."""

    number: int
    cells: list[Cell]
    damage: str | None = None


class Sheet:
    """An open file, or an upload: iterate over it once for its lines.

    ``total_bytes`` and ``bytes_read`` are the progress of the reading. A workbook may unpack to ``most_unpacked``
    bytes.
    """

    def __init__(self, source: Path | IO[bytes], most_unpacked: int = LARGEST_UNPACKED) -> None:
        self._most_unpacked = most_unpacked
        self._file = source.open("rb") if isinstance(source, Path) else source
        self.total_bytes = self._file.seek(0, os.SEEK_END)
        self._file.seek(0)
        start = self._file.read(8)
        self._file.seek(0)
        if start.startswith(b"PK\x03\x04"):
            self._lines = self._workbook()
        elif start.startswith(b"\xd0\xcf\x11\xe0"):
            raise UnreadableSheet("it is an old or encrypted Excel file; save it as .xlsx or .csv")
        elif not start:
            raise UnreadableSheet("the file is empty")
        else:
            self._lines = self._text()

    @property
    def bytes_read(self) -> int:
        return min(self._file.tell(), self.total_bytes)

    def close(self) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[Line]:
        return self._lines

    def _text(self) -> Iterator[Line]:
        """The lines of a CSV. The first line with Chinese text, which is the header, decides the encoding."""
        lines = _PhysicalLines(self._file)
        reader = csv.reader(lines, strict=False)
        while True:
            number = lines.number + 1
            lines.damage = None
            try:
                cells: list[Cell] = [*next(reader)]
            except StopIteration:
                return
            except csv.Error as error:
                lines.damage = lines.damage or f"not CSV: {error}"
                cells = []
                reader = csv.reader(lines, strict=False)
            damage = lines.damage or _too_much(cells)
            yield Line(number, [] if damage else cells, damage)

    def _workbook(self) -> Iterator[Line]:
        """The lines of a workbook: those of all its sheets, one after another."""
        try:
            with zipfile.ZipFile(self._file) as archive:
                sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
            if (
                sum(sizes.values()) > self._most_unpacked
                or sizes.get("xl/sharedStrings.xml", 0) > LARGEST_SHARED_TEXT
            ):
                raise UnreadableSheet("the workbook unpacks to more than can be read; split it, or save it as .csv")
            book = openpyxl.load_workbook(self._file, read_only=True, data_only=True)
        except UnreadableSheet:
            raise
        except (zipfile.BadZipFile, InvalidFileException, KeyError, ValueError, OSError, EOFError) as error:
            raise UnreadableSheet(f"it looks like an Excel workbook but is not a whole one: {error}") from error
        except Exception as error:
            raise UnreadableSheet(f"the workbook can't be opened: {error}") from error
        return self._rows(book)

    def _rows(self, book: openpyxl.Workbook) -> Iterator[Line]:
        try:
            for sheet in book.worksheets:
                sheet.reset_dimensions()
                for number, row in enumerate(sheet.iter_rows(values_only=True, max_col=MOST_CELLS), start=1):
                    cells: list[Cell] = list(row)
                    damage = _too_much(cells)
                    yield Line(number, [] if damage else cells, damage)
        except UnreadableSheet:
            raise
        except Exception as error:
            raise UnreadableSheet(f"the workbook is damaged: {error}") from error


class SheetReader:
    """A base for readers of a sheet's rows: iterate once, in a ``with`` block. Raises ``UnreadableSheet``.

    ``bytes_read`` and ``total_bytes`` are the progress of the reading.
    """

    def __init__(self, source: Path | IO[bytes], most_unpacked: int = LARGEST_UNPACKED) -> None:
        self._sheet = Sheet(source, most_unpacked)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sheet.close()

    @property
    def total_bytes(self) -> int:
        return self._sheet.total_bytes

    @property
    def bytes_read(self) -> int:
        return self._sheet.bytes_read


class _PhysicalLines:
    """The text lines of a CSV file. Each is decoded by itself, so that a bad line damages only its own row."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._encoding: str | None = None
        self.number = 0
        self.damage: str | None = None

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        raw = self._file.readline(LONGEST_LINE)
        if not raw:
            raise StopIteration
        self.number += 1
        if len(raw) == LONGEST_LINE and not raw.endswith(b"\n"):
            self.damage = f"a line is longer than {LONGEST_LINE} bytes"
            while raw and not raw.endswith(b"\n"):
                raw = self._file.readline(LONGEST_LINE)
            return "\n"
        if self.number == 1:
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        if b"\x00" in raw:
            self.damage = "a NUL byte"
            return "\n"
        return self._decode(raw)

    def _decode(self, raw: bytes) -> str:
        if self._encoding is None:
            if raw.isascii():
                return raw.decode("ascii")
            self._encoding = "utf-8" if _is(raw, "utf-8") else "gb18030"
        try:
            return raw.decode(self._encoding)
        except UnicodeDecodeError:
            self.damage = f"bytes that are not {self._encoding.upper()}"
            return "\n"


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
