"""Text tables as they arrive: rows whose cells have moved, broken lines, and files that are no tables."""

import io
import zipfile
from collections.abc import Sequence

import pytest

from infrastructure.files.cells import (
    Cells,
    Columns,
)
from infrastructure.files.lines import UnreadableSheet
from infrastructure.files.tables import RejectedRow, TableReader, TableRow

NAMES = [
    "订单号",
    "状态",
    "备注",
    "支付时间",
    "成交时间",
    "承诺发货时间",
    "发货时间",
    "快递单号",
    "快递公司",
    "售后",
]
ROW = ["260302-1", "待发货", "急", "08:59", "09:00", "09:00+2", "", "", "", "无"]


class Reader(TableReader):
    columns = {name: (name,) for name in NAMES} | {"order_sn": ("订单号",)}

    def is_header(self, columns: Columns) -> bool:
        return "order_sn" in columns

    def is_row(self, cells: Cells) -> bool:
        return super().is_row(cells) and cells.text("状态") == "待发货"

    def no_header(self, found: set[str]) -> str:
        return "no header"


def row(number: int, **changed: str) -> list[str]:
    return [changed.get(name, cell) for name, cell in zip(NAMES, [f"260302-{number}", *ROW[1:]], strict=True)]


def text(*rows: Sequence[str], delimiter: str = ",", end: str = "\n") -> str:
    return "".join(delimiter.join(cells) + end for cells in rows)


def read(content: str | bytes) -> list[TableRow | RejectedRow]:
    with Reader(io.BytesIO(content.encode() if isinstance(content, str) else content)) as reader:
        return list(reader.table_rows())


def numbers(rows: Sequence[TableRow | RejectedRow]) -> list[str]:
    return [row.cells.text("order_sn") for row in rows if isinstance(row, TableRow)]


def told(rows: Sequence[TableRow | RejectedRow]) -> list[tuple[int, str]]:
    return [(row.line, row.reason) for row in rows if isinstance(row, RejectedRow)]


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
def test_a_delimiter_within_a_cell_moves_no_time_into_the_column_of_another(delimiter: str) -> None:
    """Moved by one the time of the group would be the time to ship by, and the order late."""
    moved = row(1, 备注=f"急{delimiter}")
    rows = read(text(NAMES, moved, row(2), row(3), delimiter=delimiter))
    assert numbers(rows) == ["260302-2", "260302-3"]
    ((line, reason),) = told(rows)
    assert line == 2
    assert "11 cells where the header has 10" in reason


def test_a_tool_may_end_every_row_with_a_delimiter() -> None:
    rows = read(text(NAMES, *([*row(number), ""] for number in (1, 2, 3))))
    assert (numbers(rows), told(rows)) == (["260302-1", "260302-2", "260302-3"], [])


def test_rows_may_leave_out_empty_cells_at_their_end() -> None:
    rows = read(text(NAMES, row(1)[:6], row(2), row(3)[:7]).rstrip("\n"))
    assert (numbers(rows), told(rows)) == (["260302-1", "260302-2", "260302-3"], [])


def test_a_row_that_the_end_of_the_file_cuts_off_is_told_and_not_read() -> None:
    """Half a number is another number."""
    rows = read(text(NAMES, row(1), row(2, 快递单号="YT8800000000001"))[:-10])
    assert numbers(rows) == ["260302-1"]
    assert told(rows) == [(3, "the file ends in the midst of this row; download it again")]


@pytest.mark.parametrize("cells", range(1, len(NAMES)))
@pytest.mark.parametrize("lost", [1, 3])
def test_a_row_cut_off_anywhere_gives_no_half_of_a_cell(cells: int, lost: int) -> None:
    """Also where the cells that make it a row are the ones that are missing."""
    cut = row(2)[:cells]
    cut[-1] = "8800000000001"[:-lost]
    rows = read(text(NAMES, row(1), cut).rstrip("\n"))
    assert numbers(rows) == ["260302-1"]
    assert told(rows) == [(3, "the file ends in the midst of this row; download it again")]


@pytest.mark.parametrize("begin", [",", ",,,", '""', '"",""', '"', "\u3000"])
def test_a_row_cut_off_behind_cells_that_hold_nothing_is_told(begin: str) -> None:
    rows = read(text(NAMES, row(1)) + begin)
    assert numbers(rows) == ["260302-1"]
    assert [line for line, _ in told(rows)] == [3]


@pytest.mark.parametrize("end", ["  ", "\n\n", "\n  "])
def test_blanks_at_the_end_of_the_file_are_no_row(end: str) -> None:
    rows = read(text(NAMES, row(1)) + end)
    assert ([number for number in numbers(rows) if number], told(rows)) == (["260302-1"], [])


@pytest.mark.parametrize("remark", ["急", '""', '"急"'])
def test_where_no_row_is_whole_the_last_cell_at_the_end_of_the_file_is_noted_and_not_read(remark: str) -> None:
    (only,) = read(text(NAMES, row(1, 备注=remark)[:7]).rstrip("\n"))
    assert isinstance(only, TableRow)
    assert only.note is not None
    assert "its last cell was not read" in only.note
    assert only.cells.text(NAMES[5]) == row(1)[5]
    assert only.cells.text(NAMES[6]) == ""


@pytest.mark.parametrize("remark", ["第一行\n第二行", "a\n\nb", "a\nb\nc"])
def test_a_cell_of_several_lines_without_quotation_marks_stays_one_cell(remark: str) -> None:
    rows = read(text(NAMES, row(1, 备注=remark), row(2)))
    assert (numbers(rows), told(rows)) == (["260302-1", "260302-2"], [])
    first, second = rows
    assert isinstance(first, TableRow)
    assert isinstance(second, TableRow)
    assert (first.cells.text("备注"), first.cells.text("承诺发货时间")) == (remark, "09:00+2")
    assert first.note is not None
    assert (second.line, second.note) == (2 + 1 + remark.count("\n"), None)


def test_lines_below_a_table_are_not_drawn_into_its_last_row() -> None:
    rows = read(text(NAMES, row(1), row(2)[:4], ["合计", "2"], ["导出人", "某人"]))
    assert numbers(rows) == ["260302-1", "260302-2", "合计", "导出人"]


def zipped(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"\xef\xbb\xbf\r\n", "empty"),
        (zipped("mimetype", "content.xml"), "OpenDocument"),
        (zipped("[Content_Types].xml", "xl/workbook.bin"), r"\.xlsb"),
        (zipped("[Content_Types].xml", "word/document.xml"), "text document"),
        (zipped("Index/Document.iwa"), "Numbers"),
        (zipped(), "empty archive"),
        (b"\x09\x08\x10\x00\x00\x06\x05\x00", "old or encrypted Excel"),
        (b'{"orders": []}', "JSON"),
        (b"<!-- made by a tool --><table></table>", "web page"),
        ("\ufeff<tr><td>订单号</td></tr>".encode(), "web page"),
        ("<table></table>".encode("utf-16"), "web page"),
        (
            b'<?xml version="1.0"?><Workbook xmlns="urn:schemas-microsoft-com:office:spreadsheet"/>',
            "workbook in XML",
        ),
    ],
)
def test_a_file_that_is_no_table_is_told_what_it_is(content: bytes, says: str) -> None:
    with pytest.raises(UnreadableSheet, match=says):
        read(content)
