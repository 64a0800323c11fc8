"""Tables of orders, and the many ways in which people's tools write one: the dialects of one export.

A ``Table`` holds values that have a meaning: an identifier, a time, an amount. A ``Dialect`` says how they become
cells and how the cells become a file. ``write`` is the only place that knows file formats.
"""

import csv
import gzip
import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Literal

import openpyxl
from hypothesis import strategies as st
from openpyxl.cell import WriteOnlyCell
from openpyxl.utils.datetime import CALENDAR_MAC_1904

from domain.calendar import BEIJING
from infrastructure.pinduoduo.exports import COLUMNS

Kind = Literal["id", "word", "time", "amount", "count"]

KINDS: dict[str, Kind] = {
    "order_sn": "id",
    "status": "word",
    "name": "word",
    "quantity": "count",
    "goods_id": "id",
    "sku_id": "id",
    "sku_code": "id",
    "under_review": "word",
    "paid_at": "time",
    "group_formed_at": "time",
    "ship_by": "time",
    "shipped_at": "time",
    "received_at": "time",
    "after_sales": "word",
    "goods_total": "amount",
    "paid": "amount",
    "tracking_number": "id",
    "carrier": "word",
}
"""The fields of a table, and what each means."""

FOREIGN = ("收货人", "手机", "商家备注")
"""Columns that no reader knows. The last one holds remarks, which may contain anything."""

REMARK = FOREIGN[-1]
FIRST_DAY = datetime(2026, 3, 1, 8, tzinfo=BEIJING)
EXPORTED = datetime(2026, 3, 20, 18, tzinfo=BEIJING)
_SERIAL_ZERO = datetime(1899, 12, 30, tzinfo=BEIJING)
_ZERO_OF_1904 = datetime(1904, 1, 1, tzinfo=BEIJING)

Value = str | int | datetime | None
Record = Mapping[str, Value]
"""One row of a table by field; amounts are in fen."""


# --- tables -----------------------------------------------------------------------------------------------------


def _seconds(first: datetime, most: timedelta) -> st.SearchStrategy[datetime]:
    return st.integers(0, int(most.total_seconds())).map(lambda second: first + timedelta(seconds=second))


@st.composite
def orders(draw: st.DrawFn, number: int) -> list[Record]:
    """The rows of one order: one for each of its SKUs."""
    status = draw(
        st.sampled_from(
            ["待支付", "待发货", "已发货，待签收", "已签收", "未发货，退款成功", "已申请缺货", "已发货，退款成功"]
        )
    )
    record: dict[str, Value] = {
        "order_sn": f"2603{number % 28 + 1:02d}-{draw(st.integers(0, 10**12)):012d}{number:03d}",
        "status": status,
        "under_review": "是" if status == "已申请缺货" else "否",
        "after_sales": "退款成功" if "退款成功" in status else draw(st.sampled_from(["无售后或售后取消", None])),
    }
    if status != "待支付":
        paid_at = draw(_seconds(FIRST_DAY, timedelta(days=8)))
        formed_at = paid_at + draw(st.integers(0, 7200).map(lambda seconds: timedelta(seconds=seconds)))
        record |= {"paid_at": paid_at, "group_formed_at": formed_at, "ship_by": formed_at + timedelta(hours=48)}
        if status.startswith("已发货") or status == "已签收":
            shipped_at = formed_at + draw(_near(timedelta(hours=48)))
            record |= {
                "shipped_at": shipped_at,
                "carrier": draw(st.sampled_from(["圆通速递", "中通快递", "SF-EXPRESS"])),
                "tracking_number": draw(st.sampled_from(["YT", "75", "SF"]))
                + f"{draw(st.integers(10**10, 10**13))}",
            }
            if status == "已签收":
                record["received_at"] = shipped_at + timedelta(hours=draw(st.integers(30, 90)))
    rows: list[Record] = []
    skus = draw(st.lists(st.integers(1, 999), min_size=1, max_size=3, unique=True))
    for sku in skus:
        quantity = draw(st.sampled_from([1, 2, 3, 12, 1200]))
        price = draw(st.integers(1, 200_000))
        rows.append(
            record
            | {
                "name": draw(st.sampled_from(["常规款袜子 2双装", "茶杯,大号", '7" 平板', "水果\u3000礼盒"])),
                "goods_id": f"52{sku:07d}",
                "sku_id": f"7{sku:010d}",
                "sku_code": draw(st.sampled_from([None, f"M{sku}", f"00{sku}", "袜子-红 L"])),
                "quantity": quantity,
                "goods_total": quantity * price,
                "paid": quantity * price,
            }
        )
    return rows


def _near(limit: timedelta) -> st.SearchStrategy[timedelta]:
    """Times until a limit and beyond it, most of them close to it."""
    seconds = int(limit.total_seconds())
    return st.one_of(st.integers(seconds - 90, seconds + 90), st.integers(60, 2 * seconds)).map(
        lambda second: timedelta(seconds=second)
    )


@st.composite
def tables(draw: st.DrawFn, most: int = 6) -> list[Record]:
    """The rows of some orders. The rows of one order are neighbours."""
    count = draw(st.integers(1, most))
    return [row for number in range(count) for row in draw(orders(number))]


# --- dialects ---------------------------------------------------------------------------------------------------

NOTHING = ("", "-", "--", "无", " ", "\u3000", "\t", "—", "/")
WRAPPED: tuple[Callable[[str], str], ...] = (
    lambda text: text,
    lambda text: f'="{text}"',
    lambda text: f"'{text}",
    lambda text: f"{text}\t",
    lambda text: f"\t{text}",
    lambda text: f"\u3000{text} ",
    lambda text: f'"{text}"',
)
_FULL_WIDTH = str.maketrans({chr(code): chr(code + 0xFEE0) for code in range(ord("0"), ord("9") + 1)})
COUNTS: tuple[Callable[[int], str], ...] = (
    str,
    lambda count: f"{count:,}",
    lambda count: f"{count}.0",
    lambda count: str(count).translate(_FULL_WIDTH),
    lambda count: f"{count}件",
)
AMOUNTS: tuple[Callable[[int], str], ...] = (
    lambda fen: f"{fen / 100:.2f}",
    lambda fen: f"¥{fen / 100:,.2f}",
    lambda fen: f"￥{fen / 100:.2f}",
    lambda fen: f"{fen / 100:.2f}元",
    lambda fen: f"{fen / 100:.2f}".translate(_FULL_WIDTH),
)
TIMES: tuple[Callable[[datetime], str], ...] = (
    lambda time: f"{time:%Y-%m-%d %H:%M:%S}",
    lambda time: f"{time:%Y/%m/%d %H:%M:%S}",
    lambda time: f"{time.year}/{time.month}/{time.day} {time.hour}:{time:%M:%S}",
    lambda time: f"{time:%Y-%m-%dT%H:%M:%S}",
    lambda time: f"{time.year}/{time.month}/{time.day} {time.hour}:{time:%M}",
    lambda time: f"{time:%Y-%m-%d %H:%M}",
)
TO_THE_MINUTE = TIMES[4:]


Form = Literal["csv", "xlsx", "zip", "gz"]
FORMS: tuple[Form, ...] = ("csv", "csv", "csv", "xlsx", "zip", "gz")


@dataclass(frozen=True)
class Dialect:
    """How a table is written."""

    form: Form = "csv"
    encoding: str = "utf-8"
    delimiter: str = ","
    quoting: Literal[0, 1] = csv.QUOTE_MINIMAL
    line_end: str = "\n"
    title_lines: int = 0
    columns: tuple[tuple[str, ...], ...] = ()
    """The fields and foreign columns of each sheet, in their order."""
    names: Mapping[str, str] = field(default_factory=dict)
    """The header's name of each field."""
    nothing: str = ""
    wrap: Callable[[str], str] = WRAPPED[0]
    count: Callable[[int], str] = COUNTS[0]
    amount: Callable[[int], str] = AMOUNTS[0]
    time: Callable[[datetime], str] = TIMES[0]
    typed: bool = False
    """Whether a workbook has times and numbers, or texts only."""
    days: bool = False
    """Whether a typed workbook has its times as numbers of days without a format."""
    since_1904: bool = False
    """Whether a workbook counts days from 1904 on."""

    @property
    def is_coarse(self) -> bool:
        return self.form != "xlsx" and self.time in TO_THE_MINUTE


@st.composite
def dialects(draw: st.DrawFn) -> Dialect:
    """Any dialect that loses nothing but, at times, the seconds."""
    form = draw(st.sampled_from(FORMS))
    sheets = draw(st.integers(1, 3)) if form == "xlsx" else 1
    names = {name: draw(st.sampled_from(aliases)) for name, aliases in COLUMNS.items() if name in KINDS}
    if draw(st.booleans()):
        names = {
            name: text.replace("(", "（").replace(")", "）") + draw(st.sampled_from(["", " ", "\t", "\u3000"]))
            for name, text in names.items()
        }
    return Dialect(
        form=form,
        encoding=draw(st.sampled_from(["utf-8", "utf-8-sig", "gb18030", "utf-16"])),
        delimiter=draw(st.sampled_from([",", ",", "\t", ";"])),
        quoting=draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])),
        line_end=draw(st.sampled_from(["\n", "\r\n"])),
        title_lines=draw(st.integers(0, 3)),
        columns=tuple(tuple(draw(st.permutations([*KINDS, *FOREIGN]))) for _ in range(sheets)),
        names=names,
        nothing=draw(st.sampled_from(NOTHING)),
        wrap=draw(st.sampled_from(WRAPPED)),
        count=draw(st.sampled_from(COUNTS)),
        amount=draw(st.sampled_from(AMOUNTS)),
        time=draw(st.sampled_from(TIMES)),
        typed=draw(st.booleans()),
        days=draw(st.booleans()),
        since_1904=draw(st.booleans()),
    )


PLAIN = Dialect(columns=((*KINDS, *FOREIGN),))


# --- damage -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Damage:
    """What went wrong with one cell of one row: ``raw`` stands in the file as it is, unquoted."""

    row: int
    column: str
    raw: str | bytes | float


def _rounded(text: str) -> str:
    digits = "".join(character for character in text if character.isdigit()) or "1"
    return f"{int(digits):.5E}".replace("E+0", "E+")


@st.composite
def damages(draw: st.DrawFn, table: Sequence[Record]) -> Damage:
    """Something that happens to files: cells that were rounded, cut off, overwritten, or never closed."""
    row = draw(st.integers(0, len(table) - 1))
    what = draw(st.sampled_from(["rounded", "open quote", "bytes", "nul", "word", "nonsense"]))
    if what == "rounded":
        column = draw(st.sampled_from([name for name, kind in KINDS.items() if kind == "id"]))
        return Damage(row, column, _rounded(str(table[row].get(column) or "780831000000000")))
    if what == "open quote":
        return Damage(row, REMARK, '"请发顺丰')
    if what == "bytes":
        return Damage(row, REMARK, b"\xff\xfe\xff\x80")
    if what == "nul":
        return Damage(row, REMARK, b"\x00")
    if what == "word":
        return Damage(row, "status", draw(st.sampled_from(["某种新状态", "???", "待発货"])))
    column = draw(st.sampled_from([name for name, kind in KINDS.items() if kind in ("time", "count", "amount")]))
    return Damage(row, column, draw(st.sampled_from(["昨天", "#REF!", "####", "abc"])))


# --- files ------------------------------------------------------------------------------------------------------


def write(table: Sequence[Record], dialect: Dialect, damaged: Sequence[Damage] = ()) -> bytes:
    """The file of a table in a dialect."""
    if dialect.form == "xlsx":
        return _workbook(table, dialect, damaged)
    text = _text(table, dialect, damaged)
    if dialect.form == "gz":
        return gzip.compress(text)
    if dialect.form == "zip":
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("订单.csv", text)
        return packed.getvalue()
    return text


def lines_of_rows(table: Sequence[Record], dialect: Dialect) -> list[int]:
    """The line in the file (in a workbook: in its sheet) on which each row of the table stands."""
    if dialect.form != "xlsx":
        return [dialect.title_lines + 2 + index for index in range(len(table))]
    return [dialect.title_lines + 2 + index for rows in _on_sheets(table, dialect) for index in range(len(rows))]


def _header(columns: Sequence[str], dialect: Dialect) -> list[str]:
    return [dialect.names.get(name, COLUMNS[name][0]) if name in KINDS else name for name in columns]


def _cell(row: Record, column: str, dialect: Dialect) -> str:
    if column in FOREIGN:
        return "某人"
    value = row.get(column)
    if value is None:
        return dialect.nothing
    if isinstance(value, datetime):
        return dialect.time(value)
    if isinstance(value, int):
        return (dialect.count if KINDS[column] == "count" else dialect.amount)(value)
    return dialect.wrap(value) if KINDS[column] == "id" else value


def _text(table: Sequence[Record], dialect: Dialect, damaged: Sequence[Damage]) -> bytes:
    (columns,) = dialect.columns
    out = io.BytesIO()
    encoding = {"utf-16": "utf-16-le", "utf-8-sig": "utf-8"}.get(dialect.encoding, dialect.encoding)
    out.write({"utf-16": b"\xff\xfe", "utf-8-sig": b"\xef\xbb\xbf"}.get(dialect.encoding, b""))
    delimiter = dialect.delimiter.encode(encoding)
    end = dialect.line_end.encode(encoding)

    def quoted(text: str) -> bytes:
        line = io.StringIO()
        csv.writer(line, delimiter=dialect.delimiter, quoting=dialect.quoting, lineterminator="").writerow([text])
        return line.getvalue().encode(encoding)

    def put(cells: Sequence[bytes]) -> None:
        out.write(delimiter.join(cells) + end)

    for number in range(dialect.title_lines):
        put([quoted(f"订单导出 第{number + 1}行")])
    put([quoted(name) for name in _header(columns, dialect)])
    for index, row in enumerate(table):
        cells = [quoted(_cell(row, column, dialect)) for column in columns]
        for damage in damaged:
            raw = damage.raw
            if damage.row != index or isinstance(raw, float):
                continue
            width = 2 if dialect.encoding == "utf-16" else 1  # half a character would shift all that follow
            cells[columns.index(damage.column)] = raw * width if isinstance(raw, bytes) else raw.encode(encoding)
        put(cells)
    return out.getvalue()


def _on_sheets(table: Sequence[Record], dialect: Dialect) -> list[Sequence[Record]]:
    """The rows of each sheet: about as many on each."""
    count = len(dialect.columns)
    bounds = [len(table) * number // count for number in range(count + 1)]
    return [table[first:end] for first, end in pairwise(bounds)]


def _workbook(table: Sequence[Record], dialect: Dialect, damaged: Sequence[Damage]) -> bytes:
    book = openpyxl.Workbook(write_only=True)
    if dialect.since_1904:
        book.epoch = CALENDAR_MAC_1904
    index = 0
    for columns, rows in zip(dialect.columns, _on_sheets(table, dialect), strict=True):
        sheet = book.create_sheet()
        for number in range(dialect.title_lines):
            sheet.append([f"订单导出 第{number + 1}行"])
        sheet.append(_header(columns, dialect))
        for row in rows:
            cells: list[Any] = [_typed_cell(row, column, dialect) for column in columns]
            for damage in damaged:
                if damage.row == index and not isinstance(damage.raw, bytes):
                    cells[columns.index(damage.column)] = damage.raw
            sheet.append([_as_text(sheet, cell) for cell in cells])
            index += 1
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def _as_text(sheet: Any, value: Any) -> Any:
    """Text that begins with = is no formula."""
    if not isinstance(value, str):
        return value
    cell = WriteOnlyCell(sheet, value)
    cell.data_type = "s"
    return cell


def _typed_cell(row: Record, column: str, dialect: Dialect) -> Any:
    value = row.get(column)
    if dialect.typed and isinstance(value, datetime):
        naive = value.replace(tzinfo=None)
        zero = _ZERO_OF_1904 if dialect.since_1904 else _SERIAL_ZERO
        return (value - zero) / timedelta(days=1) if dialect.days else naive
    if dialect.typed and isinstance(value, int):
        return value if KINDS[column] == "count" else value / 100
    text = _cell(row, column, replace(dialect, time=TIMES[0]))
    return None if text == "" else text
