"""Lists of orders out of stock, as shops write them."""

import gzip
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pytest

from infrastructure.files.lines import UnreadableSheet
from infrastructure.files.tables import RejectedRow
from infrastructure.imports.stockout_lists import Entry, StockoutListReader, entries

NUMBERS = ["260302-000000000000001", "260302-000000000000002"]


def read(data: bytes) -> list[Entry | RejectedRow]:
    with StockoutListReader(io.BytesIO(data)) as reader:
        return list(reader)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
@pytest.mark.parametrize("name", ["订单号", "订单编号", " Order  Number ", "ORDER_SN"])
def test_columns_are_found_by_name_whatever_else_there_is(encoding: str, name: str) -> None:
    lines = [f"商品,{name},缺货原因,样式ID", f"榴莲,\t{NUMBERS[0]} ,超卖,52000301", f"榴莲,{NUMBERS[1]},,"]
    assert read("\r\n".join(lines).encode(encoding)) == [
        Entry(2, NUMBERS[0], "52000301", "oversold"),
        Entry(3, NUMBERS[1], None, None),
    ]


@pytest.mark.parametrize("header", ["", "订单号\n", "\n"])
def test_one_column_needs_no_header(header: str) -> None:
    rows = read((header + "\n".join(NUMBERS)).encode())
    assert [row.order_sn for row in rows if isinstance(row, Entry)] == NUMBERS
    assert len(rows) == 2


def test_a_title_above_one_column_is_a_row_that_makes_no_sense() -> None:
    title, *rows = read("\n".join(["缺货订单", *NUMBERS]).encode())
    assert title == RejectedRow(1, "订单号", "'缺货订单' is not an order number")
    assert rows == [Entry(2, NUMBERS[0]), Entry(3, NUMBERS[1])]


def test_a_title_above_a_header_is_not_read() -> None:
    assert read(f"三月缺货\n\nsku,order_sn\n7,{NUMBERS[0]}".encode()) == [Entry(4, NUMBERS[0], "7")]


def test_a_workbook_reads_as_a_csv_does(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in (["订单号", "样式ID", "reason"], [NUMBERS[0], 52000301, "Oversold"], [None, None, None]):
        sheet.append(row)
    book.save(tmp_path / "list.xlsx")
    with StockoutListReader(tmp_path / "list.xlsx") as reader:
        assert list(reader) == [Entry(2, NUMBERS[0], "52000301", "oversold", sheet="Sheet")]


def test_a_row_that_makes_no_sense_is_rejected_with_its_line_and_the_others_count() -> None:
    lines = [
        "order_sn,reason,sku_id",
        "2.60302E+20,,",
        ",,52000301",
        f"{NUMBERS[0]},because,",
        f"{NUMBERS[0]},,{'x' * 65}",
        "=cmd|'/c calc'!A1,,",
        f"{NUMBERS[0]},\x00,",
        NUMBERS[1],
    ]
    *rejected, taken = read("\n".join(lines).encode())
    assert [row.line for row in rejected] == [2, 3, 4, 5, 6, 7]
    assert all(isinstance(row, RejectedRow) for row in rejected)
    assert taken == Entry(8, NUMBERS[1])


@pytest.mark.parametrize("data", [b"", b"a,b\nc,d\n", b"PK\x03\x04 nothing", b"\xd0\xcf\x11\xe0 old"])
def test_what_is_no_list_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(UnreadableSheet):
        read(data)


def test_numbers_sent_as_such_are_counted_from_one() -> None:
    assert list(entries([NUMBERS[0], "a b"])) == [
        Entry(1, NUMBERS[0]),
        RejectedRow(2, "订单号", "'a b' is not an order number"),
    ]


def zipped(data: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("缺货.csv", data)
    return packed.getvalue()


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
@pytest.mark.parametrize("packed", [bytes, gzip.compress, zipped])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "gb18030", "utf-16"])
def test_a_list_is_read_whatever_tool_wrote_it(
    delimiter: str, packed: Callable[[bytes], bytes], encoding: str
) -> None:
    lines = [("订单号", "备注", "样式ID"), (f'="{NUMBERS[0]}"', "-", "５２"), (NUMBERS[1], "", "无")]
    data = "\n".join(delimiter.join(line) for line in lines).encode(encoding)
    assert read(packed(data)) == [Entry(2, NUMBERS[0], "52"), Entry(3, NUMBERS[1])]


def test_each_sheet_has_a_header_of_its_own_and_rows_say_where_they_stand() -> None:
    book = openpyxl.Workbook(write_only=True)
    for rows in ([["订单号", "样式ID"], [NUMBERS[0], "1"]], [["样式ID", "订单号"], ["2", NUMBERS[1]], ["3", "?"]]):
        sheet = book.create_sheet()
        for row in rows:
            sheet.append(row)
    file = io.BytesIO()
    book.save(file)
    *taken, rejected = read(file.getvalue())
    assert taken == [Entry(2, NUMBERS[0], "1", sheet="Sheet"), Entry(2, NUMBERS[1], "2", sheet="Sheet1")]
    assert isinstance(rejected, RejectedRow)
    assert rejected.place == "Sheet1, line 3"


def test_a_quotation_mark_that_never_closes_is_told_with_its_row() -> None:
    first, second = read(f'订单号,样式ID,备注\n{NUMBERS[0]},1,"急\n{NUMBERS[1]},2,\n'.encode())
    assert isinstance(first, Entry)
    assert (first.sku_id, "quotation mark" in (first.note or "")) == ("1", True)
    assert second == Entry(3, NUMBERS[1], "2")


def test_several_skus_in_one_cell_are_not_taken_for_one() -> None:
    (row,) = read(f'订单号,样式ID\n{NUMBERS[0]},"52000301,52000302"\n'.encode())
    assert isinstance(row, RejectedRow)
    assert (row.line, row.column) == (2, "样式ID")
