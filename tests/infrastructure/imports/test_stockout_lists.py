"""Lists of orders out of stock, as shops write them."""

import io
from pathlib import Path

import openpyxl
import pytest

from infrastructure.files.cells import RejectedRow
from infrastructure.files.sheets import UnreadableSheet
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
        assert list(reader) == [Entry(2, NUMBERS[0], "52000301", "oversold")]


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
