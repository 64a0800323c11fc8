"""Rows of cells from an exported file, whatever tool wrote it. The content decides what it is, never the name.

A file is a text table (commas, tabs or semicolons; UTF-8, GB18030 or UTF-16), a workbook (XLSX), or either of them
in a ZIP archive or a gzip file. Rows are read one by one, and the size of each is limited, so memory stays small
whatever the file contains.
"""

import codecs
import gzip
import os
import re
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from infrastructure.files.lines import MOST_CELLS, Cell, Line, Sheet, UnreadableSheet, too_much
from infrastructure.files.text import text_sheet
from infrastructure.files.workbooks import UnreadableWorkbook, WorkbookRow, worksheets

LARGEST_UNPACKED = 4 << 30
LARGEST_SHARED_TEXT = 512 << 20

IN_MEMORY = 8 << 20
"""Bytes of an unpacked file that are held in memory; more go to a temporary file."""


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
            yield text_sheet(self._file, self._is_name)

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
                f"a cell that can't be read, or more than {MOST_CELLS} cells" if cells is None else too_much(cells)
            )
            yield Line(number, [] if damage or cells is None else cells, damage)
    except UnreadableWorkbook as error:
        raise UnreadableSheet("the workbook is damaged; save it again as .xlsx or .csv") from error
