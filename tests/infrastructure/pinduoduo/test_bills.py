"""Reading the platform's bills: the lines about penalties, from any kind of file."""

from datetime import UTC, datetime
from io import BytesIO

import openpyxl
import pytest

from infrastructure.files.lines import UnreadableSheet
from infrastructure.files.tables import RejectedRow
from infrastructure.pinduoduo.bills import BillLine, BillReader, OtherLine

NOW = datetime(2026, 4, 1, tzinfo=UTC)
HEADER = "商户订单号,发生时间,收入金额（+元）,支出金额（-元）,账务类型,业务描述"
LATE = "260302-1,2026-03-06 03:00:00,,-3.00,其他,售后费用-延迟发货"


def read(*lines: str, header: str = HEADER, encoding: str = "utf-8") -> list[BillLine | RejectedRow | OtherLine]:
    content = "\r\n".join([header, *lines]).encode(encoding)
    with BillReader(BytesIO(content), now=NOW) as reader:
        return list(reader)


@pytest.mark.parametrize(
    ("business", "kind"),
    [
        ("售后费用-延迟发货", "late_shipment"),
        ("延迟发货_扣款", "late_shipment"),
        ("售后费用-缺货", "stockout"),
        ("缺货扣款", "stockout"),
        ("售后费用-虚假发货", "false_shipment"),
        ("虚假轨迹", "false_shipment"),
        ("售后费用-欺诈发货", "fraudulent_shipment"),
    ],
)
def test_each_description_charges_for_its_kind_of_violation(business: str, kind: str) -> None:
    (line,) = read(f"260302-1,2026-03-06 03:00:00,,-12.50,其他,{business}")
    assert isinstance(line, BillLine)
    assert (line.order_sn, line.kind, line.amount_fen) == ("260302-1", kind, 1_250)
    assert line.at == datetime(2026, 3, 5, 19, tzinfo=UTC)


def test_money_given_back_is_income() -> None:
    (line,) = read("260302-1,2026-03-06 03:00:00,+3.00,,其他,其他收入-申诉补回")
    assert isinstance(line, BillLine)
    assert (line.kind, line.amount_fen) == (None, 300)


def test_lines_about_other_business_are_only_counted() -> None:
    assert read("260302-1,2026-03-06 03:00:00,43.00,,交易收入,交易收入-订单收入", ",,,,,") == [OtherLine(2)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_bills_are_read_in_every_encoding_that_people_save_them_in(encoding: str) -> None:
    assert [line.kind for line in read(LATE, encoding=encoding) if isinstance(line, BillLine)] == ["late_shipment"]


def test_a_workbook_is_read_like_a_csv() -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(["账单 2026-03"])
    sheet.append(["orderNo", "billTime", "amount", "deductReason"])
    sheet.append(["260302-1", "2026-03-06 03:00", 3, "延迟发货_扣款"])
    file = BytesIO()
    book.save(file)
    with BillReader(file, now=NOW) as reader:
        (line,) = reader
    assert isinstance(line, BillLine)
    assert (line.line, line.kind, line.amount_fen) == (3, "late_shipment", 300)


def test_the_id_of_a_line_is_its_number_or_comes_from_its_content() -> None:
    first, again, other = [line.line_id for line in read(LATE, LATE, LATE.replace("3.00", "4.00"))]  # type: ignore[union-attr]
    assert len({first, again, other}) == 3
    assert [line.line_id for line in read(LATE, LATE)] == [first, again]  # type: ignore[union-attr]
    (numbered,) = read(f"T-17,{LATE}", header=f"流水号,{HEADER}")
    assert isinstance(numbered, BillLine)
    assert numbered.line_id == "T-17"


@pytest.mark.parametrize(
    ("amount", "fen"), [("-3", 300), ("-3.", 300), ("-.5", 50), ("-3.500", 350), ('"-¥1,003.00"', 100_300)]
)
def test_amounts_are_read_as_people_write_them(amount: str, fen: int) -> None:
    (line,) = read(LATE.replace("-3.00", amount))
    assert isinstance(line, BillLine)
    assert line.amount_fen == fen


def test_a_line_number_that_another_order_has_already_is_rejected() -> None:
    lines = [f"T-17,{LATE}", f"T-17,{LATE.replace('260302-1', '260302-2')}", f"T-17,{LATE}"]
    first, other, again = read(*lines, header=f"流水号,{HEADER}")
    assert isinstance(again, BillLine)
    assert first == again._replace(line=2, earlier_ids=())
    assert other == RejectedRow(3, "流水号", "T-17 is of order 260302-1 already (line 2)")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (LATE.replace("260302-1", "2.603E+20"), "商户订单号: '2.603E+20' was rounded by a spreadsheet"),
        (LATE.replace("260302-1", "2.60302E+14"), "商户订单号: '2.60302E+14' was rounded by a spreadsheet"),
        (LATE.replace("2026-03-06 03:00:00", ""), "发生时间: the time is missing"),
        (LATE.replace("2026", "2027"), "too early or too late"),
        (LATE.replace("-3.00", ""), "the amount is missing"),
        (LATE.replace("-3.00", "three"), "支出金额（-元）: 'three' is not an amount in yuan"),
        (LATE.replace("-3.00", "0"), "the amount is missing"),
        (LATE.replace("-3.00", "3.005"), "is not an amount in yuan"),
        (LATE.replace("-3.00", "1e3"), "'1e3' is not an amount in yuan"),
        (LATE.replace("-3.00", "٣"), "'٣' is not an amount in yuan"),
        (LATE.replace("-3.00", "3_0"), "'3_0' is not an amount in yuan"),
        (LATE.replace("-3.00", "Infinity"), "is not an amount in yuan"),
    ],
)
def test_a_line_that_makes_no_sense_is_rejected_with_its_reason(line: str, reason: str) -> None:
    bad, good = read(line, LATE)
    assert isinstance(bad, RejectedRow)
    assert bad.line == 2
    assert reason in bad.detail
    assert isinstance(good, BillLine)


def test_a_line_that_names_no_order_is_read() -> None:
    (line,) = read(LATE.replace("260302-1", ""))
    assert isinstance(line, BillLine)
    assert (line.order_sn, line.kind, line.amount_fen) == (None, "late_shipment", 300)


def test_money_given_back_under_the_penaltys_own_name_is_given_back() -> None:
    taken, returned = read(LATE, LATE.replace(",-3.00", "3.00,0.00"))
    assert isinstance(taken, BillLine)
    assert isinstance(returned, BillLine)
    assert (taken.kind, returned.kind, returned.amount_fen) == ("late_shipment", None, 300)


def test_a_copy_without_seconds_has_the_same_ids() -> None:
    exact = read(LATE, LATE.replace(":00,", ":41,"), LATE)
    coarse = read(*[LATE.replace("2026-03-06 03:00:00", "2026/3/6 3:00")] * 3)
    assert [line.line_id for line in exact if isinstance(line, BillLine)] == [
        line.line_id for line in coarse if isinstance(line, BillLine)
    ]


RETURN = "260302-1,2026-03-06 03:00:00,3.00,,其他,其他收入-申诉补回"
ONE_COLUMN = "orderNo,billTime,amount,deductReason"
CHARGE = "260302-1,2026-03-06 03:00,3.0,延迟发货"


@pytest.mark.parametrize(
    ("header", "normal", "reversal", "reason"),
    [
        (HEADER, RETURN, RETURN.replace("3.00", "-3.00"), "收入金额（+元）: '-3.00' goes the other way"),
        (HEADER, RETURN, RETURN.replace("3.00,", ",-3.00"), "支出金额（-元）: '-3.00' goes the other way"),
        (HEADER, LATE, LATE.replace("-3.00", "3.00"), "writes charges with a minus (line 2)"),
        (HEADER, LATE.replace("-3.00", "3.00"), LATE, "writes charges without a minus (line 2)"),
        (HEADER, LATE, LATE.replace(",-3.00", "3.00,-3.00"), "收入金额（+元）: '3.00' goes the other way"),
        (ONE_COLUMN, CHARGE, CHARGE.replace("3.0", "-3.0"), "amount: '-3.0' goes the other way"),
        (ONE_COLUMN, CHARGE.replace("3.0", "-3.0"), CHARGE, "amount: '3.0' goes the other way"),
        (
            ONE_COLUMN,
            CHARGE.replace("延迟发货", "申诉补回"),
            CHARGE.replace("3.0,延迟发货", "-3.0,申诉补回"),
            "'-3.0' goes the other way",
        ),
    ],
)
def test_a_line_whose_sign_contradicts_its_description_is_rejected(
    header: str, normal: str, reversal: str, reason: str
) -> None:
    first, rejected, last = read(normal, reversal, normal, header=header)
    assert isinstance(first, BillLine)
    assert isinstance(last, BillLine)
    assert (first.amount_fen, last.amount_fen) == (300, 300)
    assert isinstance(rejected, RejectedRow)
    assert reason in rejected.detail


@pytest.mark.parametrize("nothing", ["0.00", "-", "--", "/"])
def test_a_sign_for_no_amount_counts_as_an_empty_cell(nothing: str) -> None:
    (line,) = read(LATE.replace(",-3.00", f"{nothing},-3.00"))
    assert isinstance(line, BillLine)


def test_a_file_without_a_bills_header_is_refused_with_the_missing_columns() -> None:
    with pytest.raises(UnreadableSheet, match=r"no header of a bill was found: 发生时间、业务描述、支出金额"):
        read("1,2", header="订单号,something")


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "gb18030", "utf-16"])
def test_a_bill_is_read_whatever_tool_wrote_it(delimiter: str, encoding: str) -> None:
    line = ['="260302-1"', "2026/3/6 3:00:00", "-", "－￥1,003.00", "无", "延迟发货"]
    content = "\n".join(delimiter.join(cells) for cells in (HEADER.split(","), line)).encode(encoding)
    with BillReader(BytesIO(content), now=NOW) as reader:
        (read_line,) = reader
    assert isinstance(read_line, BillLine) == (
        delimiter != ","
    )  # an amount with commas needs quotation marks there
    if isinstance(read_line, BillLine):
        assert (read_line.order_sn, read_line.kind, read_line.amount_fen) == ("260302-1", "late_shipment", 100_300)


def test_a_delimiter_within_a_cell_moves_no_amount_into_another_column() -> None:
    header = "商户订单号,备注,发生时间,业务描述,收入金额（+元）,支出金额（-元）"
    moved, plain = read(
        "260302-1,急,,2026-03-06 03:00:00,延迟发货,,-3.00",
        "260302-2,急,2026-03-06 03:00:00,延迟发货,,-3.00",
        header=header,
    )
    assert isinstance(moved, RejectedRow)
    assert isinstance(plain, BillLine)


def test_a_formula_that_a_workbook_has_not_computed_names_its_order() -> None:
    """Taken for an empty cell, the charge would be of no order."""
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(["商户订单号", "发生时间", "支出金额（-元）", "业务描述"])
    sheet.append(['="260302-1"', "2026-03-06 03:00:00", -3, "延迟发货"])
    sheet.append(["=A2", "2026-03-06 03:00:00", -3, "延迟发货"])
    file = BytesIO()
    book.save(file)
    with BillReader(BytesIO(file.getvalue()), now=NOW) as reader:
        named, unknown = reader
    assert isinstance(named, BillLine)
    assert (named.order_sn, named.sheet) == ("260302-1", "Sheet")
    assert isinstance(unknown, RejectedRow)
    assert "formula" in unknown.reason
