"""Reading order exports: every layout, every encoding, dirty cells, and files that are no exports."""

import csv
import gzip
import io
import tracemalloc
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.calendar import BEIJING
from domain.order.snapshot import Snapshot
from infrastructure.files.lines import UnreadableSheet
from infrastructure.files.sheets import TableFile
from infrastructure.files.tables import RejectedRow
from infrastructure.pinduoduo.exports import ExportReader, Row, UnreadableExport

SAMPLES = Path(__file__).parent / "samples"
NOW = datetime(2026, 3, 20, 10, tzinfo=UTC)

HEADER = [
    "商品",
    "订单号",
    "订单状态",
    "商品数量(件)",
    "是否审核中",
    "支付时间",
    "拼单成功时间",
    "承诺发货时间",
    "发货时间",
    "确认收货时间",
    "商品id",
    "样式ID",
    "商家编码-规格维度",
    "售后状态",
    "商品总价(元)",
    "用户实付金额(元)",
    "快递单号",
    "快递公司",
    "收货人",
]
PLAIN = {
    "商品": "常规款袜子 2双装",
    "订单号": "260302-000000000000001",
    "订单状态": "待发货",
    "商品数量(件)": "3",
    "是否审核中": "否",
    "支付时间": "2026-03-02 09:00:00",
    "拼单成功时间": "2026-03-02 09:05:00",
    "承诺发货时间": "2026-03-04 09:05:00",
    "商品id": "520001",
    "样式ID": "52000101",
    "售后状态": "无售后或售后取消",
    "商品总价(元)": "29.70",
    "用户实付金额(元)": "28.70",
    "收货人": "某人",
}


def read(path: Path) -> list[Row | RejectedRow]:
    with ExportReader(path, seen_at=NOW, now=NOW) as reader:
        return list(reader)


def written(
    tmp_path: Path, *rows: dict[str, str], header: list[str] | None = None, encoding: str = "utf-8"
) -> Path:
    names = header or HEADER
    file = tmp_path / "export"
    with file.open("w", encoding=encoding, newline="") as out:
        table = csv.writer(out)
        table.writerow(names)
        table.writerows([row.get(name, "") for name in HEADER] for row in rows)
    return file


def only(tmp_path: Path, **changed: str) -> Snapshot:
    """The snapshot of one plain row with some cells changed."""
    (row,) = read(written(tmp_path, PLAIN | changed))
    assert isinstance(row, Row), row
    return row.snapshot


def rejected(tmp_path: Path, **changed: str) -> RejectedRow:
    (row,) = read(written(tmp_path, PLAIN | changed))
    assert isinstance(row, RejectedRow), row
    return row


def test_every_column_of_a_plain_row_is_read(tmp_path: Path) -> None:
    snapshot = only(tmp_path)
    assert snapshot.phase == "awaiting_shipment"
    assert snapshot.paid_fen == 2870
    assert snapshot.paid_at == datetime(2026, 3, 2, 1, tzinfo=UTC)
    assert snapshot.group_formed_at == datetime(2026, 3, 2, 1, 5, tzinfo=UTC)
    assert snapshot.ship_by == datetime(2026, 3, 4, 1, 5, tzinfo=UTC)
    (line,) = snapshot.lines
    assert (line.sku_id, line.quantity, line.unit_price_fen, line.sku_code) == ("52000101", 3, 990, "")
    assert snapshot.via == "export"
    assert "某人" not in repr(snapshot)


@pytest.mark.parametrize("name", ["orders_export_2020.csv", "orders_export_2023.csv"])
def test_every_row_of_the_samples_is_read(name: str) -> None:
    rows = read(SAMPLES / name)
    assert len(rows) == 400
    assert not any(isinstance(row, RejectedRow) for row in rows)


def snapshots(path: Path) -> list[Snapshot]:
    return [row.snapshot for row in read(path) if isinstance(row, Row)]


def test_the_layouts_of_2020_and_2023_give_the_same_snapshots() -> None:
    assert snapshots(SAMPLES / "orders_export_2020.csv") == snapshots(SAMPLES / "orders_export_2023.csv")


def test_the_workbook_of_2021_gives_the_same_snapshots(tmp_path: Path) -> None:
    """It has full-width brackets, real dates and numbers, and a title above the header."""
    source = (SAMPLES / "orders_export_2020.csv").read_text(encoding="utf-8-sig").splitlines()
    header, *rows = csv.reader(source)
    book = openpyxl.Workbook()
    sheet: Any = book.active
    sheet.append(["拼多多订单导出"])
    sheet.append([name.replace("(", "（").replace(")", "）") for name in header])
    for row in rows:
        cells: list[Any] = []
        for name, cell in zip(header, row, strict=True):
            text = cell.strip()
            if name.endswith("时间"):
                cells.append(datetime.strptime(text, "%Y-%m-%d %H:%M:%S") if text else None)  # noqa: DTZ007
            elif name.endswith("(元)"):
                cells.append(float(text))
            elif name == "商品数量(件)":
                cells.append(int(text))
            else:
                cells.append(text)
        sheet.append(cells)
    book.save(tmp_path / "orders.xlsx")
    assert snapshots(tmp_path / "orders.xlsx") == snapshots(SAMPLES / "orders_export_2020.csv")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_the_content_decides_the_encoding(tmp_path: Path, encoding: str) -> None:
    (row,) = read(written(tmp_path, PLAIN, encoding=encoding))
    assert isinstance(row, Row)
    assert row.snapshot.lines[0].name == "常规款袜子 2双装"


def test_dirty_cells_are_stripped(tmp_path: Path) -> None:
    snapshot = only(
        tmp_path,
        订单号="'260302-000000000000001\t",
        发货时间="\t",
        确认收货时间="-",
        快递单号="\ufeff SF1 \u3000",
        订单状态=" 已发货，待签收\t",
    )
    assert snapshot.order_sn == "260302-000000000000001"
    assert (snapshot.shipped_at, snapshot.received_at, snapshot.tracking_number) == (None, None, "SF1")
    assert snapshot.phase == "shipped"


@pytest.mark.parametrize(
    "text",
    ["2026-03-02 09:00:00", "2026/3/2 9:00", "2026-03-02T09:00:00", "2026-03-02T01:00:00Z", "2026/03/02 09:00:00"],
)
def test_times_are_read_in_every_common_format(tmp_path: Path, text: str) -> None:
    assert only(tmp_path, 支付时间=text).paid_at == datetime(2026, 3, 2, 9, tzinfo=BEIJING)


@pytest.mark.parametrize(
    ("status", "after_sales", "phase", "refunded", "pending"),
    [
        ("待支付", "", "pending_payment", False, False),
        ("已付定金，待付尾款", "", "pending_payment", False, False),
        ("待发货", "", "awaiting_shipment", False, False),
        ("待发货", "买家申请退款，待商家处理", "awaiting_shipment", False, True),
        ("待发货", "退款取消", "awaiting_shipment", False, False),
        ("已发货,待签收", "", "shipped", False, False),
        ("已签收", "", "received", False, False),
        ("未发货，退款成功", "退款成功", "awaiting_shipment", True, False),
        ("已发货，退款成功", "退款成功", "shipped", True, False),
        ("已取消", "", "cancelled", False, False),
        ("已申请缺货", "", "stockout_applied", False, False),
        ("已申请缺货", "退款成功", "stockout_applied", True, False),
    ],
)
def test_statuses_are_understood(
    tmp_path: Path, status: str, after_sales: str, phase: str, refunded: bool, pending: bool
) -> None:
    snapshot = only(tmp_path, 订单状态=status, 售后状态=after_sales)
    assert (snapshot.phase, snapshot.refunded, snapshot.refund_pending) == (phase, refunded, pending)


def test_an_unpaid_row_has_an_amount_but_no_payment(tmp_path: Path) -> None:
    snapshot = only(tmp_path, 订单状态="待支付", 支付时间="", 拼单成功时间="", 承诺发货时间="")
    assert snapshot.paid_fen is None


def test_an_order_without_group_times_waits_for_its_group(tmp_path: Path) -> None:
    assert only(tmp_path, 拼单成功时间="", 承诺发货时间="").phase == "pending_group"


def test_an_order_under_review_is_marked(tmp_path: Path) -> None:
    assert only(tmp_path, 是否审核中="是").under_review


@pytest.mark.parametrize(
    ("column", "text", "reason"),
    [
        ("订单号", "", "missing"),
        ("订单号", "2.6031E+20", "spreadsheet"),
        ("订单号", "26 03", "not an order number"),
        ("支付时间", "soon", "not a time"),
        ("支付时间", "2026-02-30 00:00:00", "not a time"),
        ("支付时间", "2014-12-31 23:59:59", "too early"),
        ("支付时间", "2026-03-20 18:10:01", "too late"),
        ("承诺发货时间", "2036-01-01 00:00:00", "too late"),
        ("商品数量(件)", "0", "pieces"),
        ("商品数量(件)", "1.5", "pieces"),
        ("商品总价(元)", "-1", "yuan"),
        ("商品总价(元)", "1.005", "yuan"),
        ("商品总价(元)", "Infinity", "yuan"),
        ("用户实付金额(元)", "99999999999999", "yuan"),
        ("商品", "x" * 501, "500"),
    ],
)
def test_a_row_that_makes_no_sense_is_rejected_by_line_and_column(
    tmp_path: Path, column: str, text: str, reason: str
) -> None:
    row = rejected(tmp_path, **{column: text})
    assert (row.line, row.column) == (2, column)
    assert reason in row.reason


@pytest.mark.parametrize(
    ("column", "text", "reason"),
    [
        ("订单状态", "飞走了", "飞走了"),
        ("售后状态", "部分退货成功", "部分退货成功"),
        ("样式ID", "x" * 65, "64"),
        ("样式ID", "5.2E+15", "spreadsheet"),
        ("商品id", "5.2E+15", "spreadsheet"),
        ("快递单号", "7.80831E+14", "spreadsheet"),
    ],
)
def test_a_fact_that_makes_no_sense_is_noted_and_the_row_counts(
    tmp_path: Path, column: str, text: str, reason: str
) -> None:
    (row,) = read(written(tmp_path, PLAIN | {column: text}))
    assert isinstance(row, Row)
    (note,) = row.notes
    assert (note.line, note.column) == (2, column)
    assert reason in note.reason
    assert row.snapshot.order_sn == PLAIN["订单号"]
    assert row.snapshot.tracking_number is None
    assert row.snapshot.group_formed_at == datetime(2026, 3, 2, 9, 5, tzinfo=BEIJING)


@pytest.mark.parametrize(
    "nothing",
    [
        "0000-00-00 00:00:00",
        "0000/0/0",
        "1970-01-01 08:00:00",
        "1970/1/1 8:00",
        "1970-01-01",
        "0001-01-01 00:00:00",
        "1900/1/0 0:00",
        "1899-12-30 00:00:00",
        "1899/12/31",
    ],
)
def test_the_day_zero_of_a_program_is_no_time(tmp_path: Path, nothing: str) -> None:
    assert only(tmp_path, 确认收货时间=nothing).received_at is None


def test_a_time_long_ago_is_told_all_the_same(tmp_path: Path) -> None:
    for wrong in ("1970-01-01 09:00:00", "1971-01-01 08:00:00", "1900-01-02"):
        assert "too early" in rejected(tmp_path, 确认收货时间=wrong).reason


@pytest.mark.parametrize(
    ("text", "hour", "within"),
    [
        ("2026/3/2 上午 9:05", 9, 59),
        ("2026年3月2日 下午3:05", 15, 59),
        ("2026-03-02 下午 3:05:00", 15, 0),
        ("2026-03-02 下午15:05", 15, 59),
        ("2026-03-02 上午 12:05:00", 0, 0),
        ("2026-03-02 下午 12:05", 12, 59),
        ("2026-03-02 3:05 PM", 15, 59),
        ("2026-03-02 03:05:00 pm", 15, 0),
        ("2026-03-02 12:05 AM", 0, 59),
        ("2026年3月2日9时5分", 9, 59),
    ],
)
def test_times_of_a_clock_of_twelve_hours_are_read(tmp_path: Path, text: str, hour: int, within: int) -> None:
    snapshot = only(tmp_path, 支付时间=text)
    assert snapshot.paid_at == datetime(2026, 3, 2, hour, 5, tzinfo=BEIJING)
    assert snapshot.paid_within == within


@pytest.mark.parametrize("text", ["2026-03-02 上午 13:05", "2026-03-02 15:05 AM", "2026-03-02 下午 25:05"])
def test_an_hour_that_its_half_of_the_day_does_not_have_is_told(tmp_path: Path, text: str) -> None:
    assert "is not a time" in rejected(tmp_path, 支付时间=text).reason


@pytest.mark.parametrize(
    ("text", "number", "reason"),
    [
        ("自提", None, "'自提' is no tracking number"),
        ("无需物流", None, "'无需物流' is no tracking number"),
        ("0", None, "'0' is no tracking number"),
        ("000000", None, "'000000' is no tracking number"),
        ("SF1234567（补发）", "SF1234567", "'SF1234567(补发)' was read as SF1234567"),
        ("顺丰SF1234567", "SF1234567", "'顺丰SF1234567' was read as SF1234567"),
        ("单号待定2", None, "'单号待定2' is no tracking number"),
    ],
)
def test_words_are_no_tracking_number(tmp_path: Path, text: str, number: str | None, reason: str) -> None:
    (row,) = read(written(tmp_path, PLAIN | {"快递单号": text, "订单状态": "已发货，待收货"}))
    assert isinstance(row, Row)
    assert (row.snapshot.phase, row.snapshot.tracking_number) == ("shipped", number)
    assert [(note.column, note.reason) for note in row.notes] == [("快递单号", reason)]


@pytest.mark.parametrize(
    "text", ["已发货待收货", "已发货 待收货", "已发货；待收货", "已发货/待收货", "已发货-待收货"]
)
def test_what_divides_the_words_of_a_state_means_nothing(tmp_path: Path, text: str) -> None:
    assert only(tmp_path, 订单状态=text).phase == "shipped"


@pytest.mark.parametrize("text", ["3双", "3 条", "3盒", "３套"])
def test_pieces_are_read_with_what_people_count_them_by(tmp_path: Path, text: str) -> None:
    (line,) = only(tmp_path, **{"商品数量(件)": text}).lines
    assert line.quantity == 3


def test_money_with_signs_and_separators_is_read(tmp_path: Path) -> None:
    assert only(tmp_path, **{"用户实付金额(元)": "¥1,234.50"}).paid_fen == 123450


def test_a_damaged_row_damages_no_other(tmp_path: Path) -> None:
    file = written(tmp_path, *(PLAIN | {"订单号": f"260302-{n}"} for n in range(5)))
    lines = file.read_bytes().split(b"\r\n")
    lines[2] = lines[2].replace("袜".encode(), b"\xff\xff")
    lines[4] = lines[4].replace(b"3", b"\x00", 1)
    file.write_bytes(b"\r\n".join(lines))
    rows = read(file)
    assert [(type(row).__name__, row.line) for row in rows] == [
        ("Row", 2),
        ("RejectedRow", 3),
        ("Row", 4),
        ("RejectedRow", 5),
        ("Row", 6),
    ]


def test_cells_may_hold_commas_quotes_and_line_breaks(tmp_path: Path) -> None:
    rows = read(written(tmp_path, PLAIN | {"商品": '大号,"厚"'}, PLAIN | {"订单号": "2", "收货人": "a\nb"}))
    assert [row.line for row in rows] == [2, 3]
    assert isinstance(rows[0], Row)
    assert rows[0].snapshot.lines[0].name == '大号,"厚"'


def test_neighbouring_rows_of_an_order_are_its_lines(tmp_path: Path) -> None:
    other = PLAIN | {"样式ID": "52000102", "商品总价(元)": "10.00"}
    rows = read(written(tmp_path, PLAIN, other, other, PLAIN | {"订单号": "2"}))
    assert [row.line for row in rows] == [2, 5]
    assert isinstance(rows[0], Row)
    assert [line.sku_id for line in rows[0].snapshot.lines] == ["52000101", "52000102"]
    assert rows[0].snapshot.paid_fen == 2870


def test_the_merchants_own_code_of_a_sku_is_read_in_any_layout(tmp_path: Path) -> None:
    coded = PLAIN | {"商家编码-规格维度": "袜子-红 L"}
    assert only(tmp_path, **coded).lines[0].sku_code == "袜子-红 L"
    header = ["商家编码-SKU维度" if name == "商家编码-规格维度" else name for name in HEADER]
    (row,) = read(written(tmp_path, coded, header=header))
    assert isinstance(row, Row)
    assert row.snapshot.lines[0].sku_code == "袜子-红 L"
    (row,) = read(written(tmp_path, PLAIN | {"商家编码-规格维度": "6.90123E+12"}))
    assert isinstance(row, Row)
    assert row.snapshot.lines[0].sku_code == ""
    assert [note.column for note in row.notes] == ["商家编码-规格维度"]


def test_a_row_of_a_line_that_lacks_the_code_is_no_line_of_its_own(tmp_path: Path) -> None:
    coded = PLAIN | {"商家编码-规格维度": "A-1"}
    for rows in ((PLAIN, coded), (coded, PLAIN)):
        (row,) = read(written(tmp_path, *rows))
        assert isinstance(row, Row)
        assert [line.sku_code for line in row.snapshot.lines] == ["A-1"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "xlsx"),
        (b"a,b,c\n1,2,3\n", "订单号"),
        ("订单号,商品\n1,2\n".encode(), "订单状态"),
        (b"PK\x03\x04nonsense", "workbook"),
        (b"x" * 5_000_000, "订单号"),
        (b'"' + b"x" * 5_000_000, "订单号"),
    ],
)
def test_a_file_that_is_no_export_is_refused_with_a_reason(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    with pytest.raises(UnreadableExport, match=message):
        read(file)


def test_a_workbook_that_unpacks_without_end_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "bomb.xlsx"
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("xl/sharedStrings.xml", "w") as out,
    ):
        for _ in range(600):
            out.write(bytes(1 << 20))
    with pytest.raises(UnreadableExport, match="unpacks"):
        read(file)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=2000) | st.text(max_size=500).map(str.encode), with_header=st.booleans())
def test_any_bytes_are_read_rejected_or_refused_without_a_crash(
    tmp_path: Path, content: bytes, with_header: bool
) -> None:
    file = tmp_path / "any"
    file.write_bytes((",".join(HEADER) + "\n").encode() + content if with_header else content)
    try:
        rows = read(file)
    except UnreadableExport:
        return
    assert all(isinstance(row, Row | RejectedRow) for row in rows)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(
        st.text(st.characters(codec="gb18030", exclude_categories=["C", "Z"]), min_size=2, max_size=30), max_size=8
    ),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "gb18030"]),
)
def test_names_are_read_as_they_were_written(tmp_path: Path, names: list[str], encoding: str) -> None:
    rows = [PLAIN | {"订单号": f"260302-{n}", "商品": f"货{name}货"} for n, name in enumerate(names)]
    read_back = snapshots(written(tmp_path, *rows, encoding=encoding))
    assert [snapshot.lines[0].name for snapshot in read_back] == [f"货{name}货" for name in names]


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        file = written(tmp_path, *(PLAIN | {"订单号": f"260302-{n}"} for n in range(count)))
        tracemalloc.start()
        with ExportReader(file, seen_at=NOW, now=NOW) as reader:
            rows = sum(1 for _ in reader)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert rows == count
        return size

    small, large = peak(500), peak(15_000)
    assert large < small + 500_000


def test_progress_ends_at_the_size_of_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, *(PLAIN | {"订单号": f"260302-{n}"} for n in range(50)))
    with ExportReader(file, seen_at=NOW, now=NOW) as reader:
        rows = list(reader)
        assert reader.rows_read == len(rows) == 50
        assert reader.bytes_read == reader.total_bytes == file.stat().st_size


# ---- what tools and people do to files --------------------------------------------------------------


def text_of(*rows: dict[str, str], header: list[str] = HEADER) -> str:
    out = io.StringIO(newline="")
    csv.writer(out).writerows([header, *([row.get(name, "") for name in header] for row in rows)])
    return out.getvalue()


def read_bytes(tmp_path: Path, content: bytes) -> list[Row | RejectedRow]:
    file = tmp_path / "export"
    file.write_bytes(content)
    return read(file)


def numbers(rows: list[Row | RejectedRow]) -> list[str]:
    return [row.snapshot.order_sn for row in rows if isinstance(row, Row)]


OTHER = PLAIN | {"订单号": "260302-000000000000002"}


def test_a_remark_that_looks_like_a_row_is_a_remark(tmp_path: Path) -> None:
    """Buyers write remarks. One that is quoted well can't add an order."""
    forged = ",".join((PLAIN | {"订单号": "260302-666"}).get(name, "") for name in HEADER)
    remark = {"收货人": f"某人\n{forged}\n谢谢"}
    rows = read_bytes(tmp_path, text_of(PLAIN | remark, OTHER).encode())
    assert numbers(rows) == [PLAIN["订单号"], OTHER["订单号"]]
    assert [row.line for row in rows] == [2, 5]


def test_quotation_marks_that_never_close_take_their_own_rows_alone(tmp_path: Path) -> None:
    """The last column holds one mark that opens and never closes, in two rows of four."""
    opened = text_of(PLAIN, OTHER).replace("某人", '"某人')
    closed = text_of(*(PLAIN | {"订单号": f"260302-{number}"} for number in (3, 4))).split("\r\n", 1)[1]
    rows = read_bytes(tmp_path, (opened + closed).encode())
    assert numbers(rows) == [PLAIN["订单号"], OTHER["订单号"], "260302-3", "260302-4"]
    assert [bool(row.notes) for row in rows if isinstance(row, Row)] == [True, True, False, False]


def test_a_name_full_of_semicolons_does_not_divide_the_row(tmp_path: Path) -> None:
    assert len(numbers(read_bytes(tmp_path, text_of(PLAIN | {"商品": ";".join("袜子" * 20)}).encode()))) == 1


@pytest.mark.parametrize(
    "packed",
    [
        lambda text: text.replace("\r\n", "\r").encode(),
        lambda text: ("\ufeff" + text).encode("utf-16-be"),
        lambda text: text.encode("utf-16-le"),
        lambda text: gzip.compress(text.encode("utf-16")),
        lambda text: gzip.compress(gzip.compress(text.encode())),
    ],
)
def test_a_file_is_unpacked_and_decoded(tmp_path: Path, packed: Callable[[str], bytes]) -> None:
    assert numbers(read_bytes(tmp_path, packed(text_of(PLAIN, OTHER)))) == [PLAIN["订单号"], OTHER["订单号"]]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"%PDF-1.7", "PDF"),
        (b"Rar!\x1a\x07", "RAR"),
        (b"  <table><tr><td>1</td></tr></table>", "web page"),
        (b"\x1f\x8b\x08\x00damaged", "damaged"),
        (bytes(1_000), "no header"),
    ],
)
def test_a_file_that_is_no_table_is_told_what_it_is(tmp_path: Path, content: bytes, says: str) -> None:
    with pytest.raises(UnreadableExport, match=says):
        read_bytes(tmp_path, content)


def test_an_archive_of_several_tables_is_to_be_unpacked(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("1.csv", text_of(PLAIN))
        archive.writestr("2.csv", text_of(OTHER))
    with pytest.raises(UnreadableExport, match="2 files"):
        read_bytes(tmp_path, packed.getvalue())


def test_an_archive_that_unpacks_without_end_is_refused(tmp_path: Path) -> None:
    packed = gzip.compress(bytes(2 << 20))
    with pytest.raises(UnreadableSheet, match="unpacks to more"):
        TableFile(io.BytesIO(packed), most_unpacked=1 << 20)


def test_files_that_were_joined_are_read_whole(tmp_path: Path) -> None:
    joined = text_of(PLAIN) + text_of(OTHER, header=HEADER[::-1])
    assert numbers(read_bytes(tmp_path, joined.encode())) == [PLAIN["订单号"], OTHER["订单号"]]


def test_several_tracking_numbers_in_a_cell_are_several_parcels(tmp_path: Path) -> None:
    shown = only(tmp_path, 订单状态="已发货，待签收", 快递单号="YT8800000000001，YT8800000000002")
    assert (shown.tracking_number, shown.further_numbers) == ("YT8800000000001", ("YT8800000000002",))


def test_what_was_paid_for_a_deposit_is_not_the_price(tmp_path: Path) -> None:
    assert only(tmp_path, 订单状态="已付定金，待付尾款", 用户实付金额="5.00").paid_fen is None


def test_a_number_of_a_workbook_with_more_digits_than_it_keeps_is_damage(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(HEADER)
    values: dict[str, Any] = PLAIN | {
        "订单状态": "已发货，待签收",
        "快递单号": 7808310000000012,
        "样式ID": 52000101,
    }
    sheet.append([values.get(name) for name in HEADER])
    file = tmp_path / "export.xlsx"
    book.save(file)
    (row,) = read(file)
    assert isinstance(row, Row)
    assert [note.column for note in row.notes] == ["快递单号"]
    assert (row.snapshot.tracking_number, row.snapshot.lines[0].sku_id) == (None, "52000101")


@pytest.mark.parametrize(
    ("number_format", "within"), [("yyyy/m/d h:mm", 59), ("yyyy/m/d", 86_399), ("yyyy-mm-dd hh:mm:ss", 0)]
)
def test_a_time_of_a_workbook_is_as_precise_as_its_cell_shows_it(
    tmp_path: Path, number_format: str, within: int
) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(HEADER)
    values: dict[str, Any] = PLAIN | {"拼单成功时间": datetime(2026, 3, 2)}  # noqa: DTZ001
    sheet.append([values.get(name) for name in HEADER])
    sheet.cell(2, HEADER.index("拼单成功时间") + 1).number_format = number_format
    file = tmp_path / "export.xlsx"
    book.save(file)
    (row,) = read(file)
    assert isinstance(row, Row)
    assert row.snapshot.group_formed_within == within


def test_a_damaged_line_behind_an_open_quotation_mark_is_told_by_its_own_number(tmp_path: Path) -> None:
    opened, damaged, last = (text_of(PLAIN | {"订单号": f"260302-{number}"}) for number in (1, 2, 3))
    header, first = opened.replace("某人", '"某人').split("\r\n", 1)
    rest = damaged.split("\r\n", 1)[1].replace("某人", "\x00") + last.split("\r\n", 1)[1]
    rows = read_bytes(tmp_path, f"{header}\r\n{first}{rest}".encode())
    assert numbers(rows) == ["260302-1", "260302-3"]
    assert [(row.line, row.reason) for row in rows if isinstance(row, RejectedRow)] == [(3, "a NUL byte")]


def test_a_row_that_is_rejected_does_not_divide_the_order_around_it(tmp_path: Path) -> None:
    """In two parts the second would be seen as a change of the first."""
    skus = [PLAIN | {"样式ID": f"5200010{number}", "商品总价(元)": f"{number}.00"} for number in (1, 2, 3)]
    rows = read(written(tmp_path, skus[0], skus[1] | {"支付时间": "昨天"}, skus[2], PLAIN | {"订单号": "2"}))
    assert [(type(row).__name__, row.line) for row in rows] == [("Row", 2), ("RejectedRow", 3), ("Row", 5)]
    assert isinstance(rows[0], Row)
    assert [line.sku_id for line in rows[0].snapshot.lines] == ["52000101", "52000103"]


def test_rejected_rows_are_not_heaped_up_behind_an_order(tmp_path: Path) -> None:
    file = written(tmp_path, PLAIN, *[PLAIN | {"订单号": ""}] * 1_500)
    with ExportReader(file, seen_at=NOW, now=NOW) as reader:
        rows = iter(reader)
        first = next(rows)
        assert isinstance(first, RejectedRow)
        assert reader.rows_read < 1_500
        assert sum(1 for _ in rows) == 1_500


def test_one_damaged_number_of_several_is_told_and_the_others_are_parcels(tmp_path: Path) -> None:
    (row,) = read(written(tmp_path, PLAIN | {"快递单号": "YT8800000000001，7.80831E+14、圆通:731200000000031"}))
    assert isinstance(row, Row)
    assert (row.snapshot.tracking_number, row.snapshot.further_numbers) == ("YT8800000000001", ())
    assert [(note.line, note.column) for note in row.notes] == [(2, "快递单号")] * 2
    assert "7.80831E+14" in row.notes[0].reason


@pytest.mark.parametrize(
    "cell", ["JDVA00001-1-2-/JDVA00001-2-2-", "JDVA00001-1-2-\nJDVA00001-2-2-", "JDVA00001-1-2- JDVA00001-2-2-"]
)
def test_numbers_with_dashes_are_several_parcels_too(tmp_path: Path, cell: str) -> None:
    snapshot = only(tmp_path, 快递单号=cell)
    assert (snapshot.tracking_number, snapshot.further_numbers) == ("JDVA00001-1-2-", ("JDVA00001-2-2-",))


def test_a_number_with_a_blank_in_it_is_one_number(tmp_path: Path) -> None:
    assert only(tmp_path, 快递单号="YT 8800000000001").tracking_number == "YT 8800000000001"


@pytest.mark.parametrize("sign", ["#REF!", "=VLOOKUP(A2,B:C,2)", "####"])
def test_a_carrier_that_a_spreadsheet_could_not_show_is_told(tmp_path: Path, sign: str) -> None:
    (row,) = read(written(tmp_path, PLAIN | {"快递公司": sign}))
    assert isinstance(row, Row)
    assert row.snapshot.carrier is None
    assert [(note.line, note.column) for note in row.notes] == [(2, "快递公司")]


def test_a_row_without_number_state_and_name_does_not_vanish(tmp_path: Path) -> None:
    row = rejected(tmp_path, 订单号="-", 订单状态="", 商品="")
    assert (row.line, row.reason) == (2, "the order number is missing")


def test_a_line_with_nothing_that_is_read_is_no_row(tmp_path: Path) -> None:
    assert read(written(tmp_path, {"收货人": "合计"})) == []
