"""The rows of workbooks, whatever tool wrote them.

Some export tools write styles that break the rules of the format. What a workbook looks like does not matter here;
only the number formats do, because they tell times from numbers.
"""

import re
import tempfile
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from typing import IO, Any, NamedTuple
from xml.etree import ElementTree

import openpyxl
from openpyxl.cell.read_only import ReadOnlyCell
from openpyxl.worksheet._reader import WorkSheetParser

warnings.filterwarnings("ignore", module="openpyxl")  # they are about looks, and would stand among our own words

DAY_ZERO = datetime(1899, 12, 30)  # noqa: DTZ001 - times in workbooks have no zone
"""The day that spreadsheets count as 0. Some workbooks, by their own word, begin in 1904."""

MINUTE, DAY = 59, 86_399
"""The seconds within which a time lies that is given to the minute or to the day."""

_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_NEEDED = (
    "[Content_Types].xml",
    "_rels/",
    "xl/workbook.xml",
    "xl/_rels/",
    "xl/worksheets/",
    "xl/sharedStrings.xml",
)
_STYLES = "xl/styles.xml"
_IN_MEMORY = 8 << 20

_ROW, _CELLS = f"{{{_MAIN}}}row", f"{{{_MAIN}}}sheetData"
_FORMULA, _VALUE = f"{{{_MAIN}}}f", f"{{{_MAIN}}}v"
_ESCAPED = re.compile(r"_x(00[01][0-9A-Fa-f]|005[Ff])_")
"""A character that XML can't hold, as workbooks write it."""


class TimeCell(NamedTuple):
    """A time in a workbook's cell, without a zone; it means that moment or up to ``within`` seconds later."""

    at: datetime
    within: int


class WorkbookRow(NamedTuple):
    """A row of a worksheet by its own number; no cells if they can't be read."""

    number: int
    cells: Sequence[object] | None


class UnreadableWorkbook(Exception):
    """The file is no whole workbook."""


class Worksheet(NamedTuple):
    """A sheet of a workbook. Iterate over ``rows`` once; raises ``UnreadableWorkbook``."""

    name: str
    rows: Iterator[WorkbookRow]
    day_zero: datetime = DAY_ZERO
    """The day that the workbook counts as 0, where a number is a time."""


def worksheets(file: IO[bytes], most_cells: int) -> Iterator[Worksheet]:
    """The sheets of a workbook. A row with anything beyond ``most_cells`` can't be read.

    A row without cells is left out. Raises ``UnreadableWorkbook``.
    """
    book = _opened(file)
    if not book.worksheets:
        raise UnreadableWorkbook
    for sheet in book.worksheets:
        yield Worksheet(sheet.title, _rows(sheet, most_cells), book.epoch)


def _opened(file: IO[bytes]) -> openpyxl.Workbook:
    """Where the styles of a workbook can't be read it is opened without them."""
    try:
        return openpyxl.load_workbook(file, read_only=True, data_only=True)
    except Exception:
        try:
            return openpyxl.load_workbook(without_looks(file), read_only=True, data_only=True)
        except Exception as error:
            raise UnreadableWorkbook from error


def _rows(sheet: Any, most_cells: int) -> Iterator[WorkbookRow]:
    book = sheet.parent
    try:
        with sheet._get_source() as source:
            parser = _Cells(
                source,
                sheet._shared_strings,
                data_only=True,
                epoch=book.epoch,
                date_formats=book._date_formats,
                timedelta_formats=book._timedelta_formats,
            )
            for element in parser.rows():
                if len(element):
                    yield _row(sheet, parser, element, most_cells)
    except Exception as error:
        raise UnreadableWorkbook from error


class _Cells(WorkSheetParser):
    """Reads the cells of a sheet and nothing else, each row by itself.

    The library's own loop gives rows in the order of their numbers alone, drops the others, fills every gap with
    empty rows, and stops at looks that it can't read.
    """

    def rows(self) -> Iterator[ElementTree.Element]:
        """The rows, each to be read before the next."""
        rows = None
        for event, element in ElementTree.iterparse(self.source, ("start", "end")):
            if event == "start":
                if element.tag == _CELLS:
                    rows = element
            elif element.tag == _ROW:
                yield element
                if rows is not None:
                    rows.clear()  # so that the memory stays small

    def parse_cell(self, element: ElementTree.Element) -> dict[str, Any]:
        """A cell. A formula whose value the file does not have stays a formula."""
        cell: dict[str, Any] = super().parse_cell(element)
        value = cell["value"]
        if value is None:
            formula = element.find(_FORMULA)
            if formula is not None and not (element.get("t") == "str" and element.find(_VALUE) is not None):
                cell["value"] = "=" + (formula.text or "")
        elif type(value) is str and "_x00" in value:
            cell["value"] = _ESCAPED.sub(lambda escaped: chr(int(escaped[1], 16)), value)
        return cell


def _row(sheet: Any, parser: _Cells, element: Any, most_cells: int) -> WorkbookRow:
    try:
        number, cells = parser.parse_row(element)
        return WorkbookRow(number, _in_order(sheet, cells, most_cells))
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return WorkbookRow(parser.row_counter, None)


def _in_order(sheet: Any, cells: Sequence[dict[str, Any]], most_cells: int) -> list[object] | None:
    """The values of a row by their columns; ``None`` if there are too many."""
    values: list[object] = []
    for cell in cells:
        if cell["value"] is None:
            continue
        column = cell["column"]
        if column > most_cells:
            return None
        if len(values) < column:
            values.extend([None] * (column - len(values)))
        values[column - 1] = _value(sheet, cell)
    return values


def _value(sheet: Any, cell: dict[str, Any]) -> object:
    value = cell["value"]
    if isinstance(value, datetime):
        return _time_cell(value, ReadOnlyCell(sheet, **cell).number_format)
    if isinstance(value, date):
        return TimeCell(datetime.combine(value, time()), DAY)
    if isinstance(value, time | timedelta):
        return str(value)
    return value


def _time_cell(value: datetime, number_format: str) -> TimeCell:
    """A time is as precise as its cell shows it, unless it has seconds that the cell does not show."""
    at = (value + timedelta(microseconds=500_000)).replace(microsecond=0)
    shown = number_format.lower()
    if at.second or "s" in shown:
        return TimeCell(at, 0)
    if at.hour or at.minute or "h" in shown:
        return TimeCell(at, MINUTE)
    return TimeCell(at, DAY)


def without_looks(workbook: IO[bytes]) -> IO[bytes]:
    """A copy with the sheets, and with styles that hold nothing but number formats."""
    plain: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115
    workbook.seek(0)
    with zipfile.ZipFile(workbook) as old, zipfile.ZipFile(plain, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            if entry.filename == _STYLES:
                new.writestr(_STYLES, _number_formats(old.read(entry)))
            elif entry.filename.startswith(_NEEDED):
                with old.open(entry) as source, new.open(entry.filename, "w") as target:
                    while block := source.read(1 << 20):
                        target.write(block)
    plain.seek(0)
    return plain


def _number_formats(styles: bytes) -> bytes:
    """A style sheet with the number format of each cell style, in their order; without any if it can't be read."""
    try:
        sheet = ElementTree.fromstring(styles)
    except ElementTree.ParseError:
        sheet = ElementTree.Element("styleSheet")
    formats = [
        (each.get("numFmtId", "0"), each.get("formatCode", "General")) for each in sheet.iter(f"{{{_MAIN}}}numFmt")
    ]
    of_styles = [style.get("numFmtId", "0") for style in sheet.iterfind(f"{{{_MAIN}}}cellXfs/{{{_MAIN}}}xf")]
    plain = ElementTree.Element("styleSheet", xmlns=_MAIN)
    kept = ElementTree.SubElement(plain, "numFmts", count=str(len(formats)))
    for number, code in formats:
        ElementTree.SubElement(kept, "numFmt", numFmtId=number, formatCode=code)
    for name, part in (("fonts", "font"), ("fills", "fill"), ("borders", "border")):
        parts = ElementTree.SubElement(plain, name, count="1")
        one = ElementTree.SubElement(parts, part)
        if part == "fill":
            ElementTree.SubElement(one, "patternFill", patternType="none")
    masters = ElementTree.SubElement(plain, "cellStyleXfs", count="1")
    ElementTree.SubElement(masters, "xf", numFmtId="0", fontId="0", fillId="0", borderId="0")
    cells = ElementTree.SubElement(plain, "cellXfs", count=str(len(of_styles) or 1))
    for number in of_styles or ["0"]:
        ElementTree.SubElement(cells, "xf", numFmtId=number, fontId="0", fillId="0", borderId="0", xfId="0")
    written: bytes = ElementTree.tostring(plain, encoding="utf-8", xml_declaration=True)
    return written
