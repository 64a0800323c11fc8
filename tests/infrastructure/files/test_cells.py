"""What a cell means, in whatever column of whatever file it stands."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.calendar import BEIJING
from infrastructure.files.cells import (
    Cells,
    Columns,
    SourceTime,
    WrongCell,
    amount_fen,
    identifier,
    order_number,
    pieces,
    time_of,
    words,
)
from infrastructure.files.lines import Cell
from infrastructure.files.workbooks import DAY, TimeCell

COLUMNS = Columns(["订单号"], {"order_sn": ("订单号",)})
A_DATE = datetime(2026, 1, 2)  # noqa: DTZ001
LATEST = datetime(2026, 12, 1, tzinfo=UTC)


def of(cell: Cell) -> Cells:
    return Cells(COLUMNS, [cell])


def an_identifier(cell: Cell) -> str:
    return identifier(of(cell), "order_sn")


def an_order_number(cell: Cell) -> str:
    return order_number(of(cell))


def a_word(cell: Cell) -> str:
    return words(of(cell), "order_sn")


def fen(cell: Cell, *, signed: bool = False) -> int | None:
    return amount_fen(of(cell), "order_sn", signed=signed)


def time(cell: Cell) -> SourceTime | None:
    return time_of(of(cell), "order_sn", LATEST)


@pytest.mark.parametrize(
    "nothing",
    [
        None,
        "",
        " ",
        "\u3000",
        "\t",
        "-",
        "--",
        "-----",
        "—",
        "——————",
        "－",
        "−",
        "__",
        "/",
        "无",
        "暂无",
        "空白",
        "（空）",
        "NULL",
        "N/A",
        "#N/A",
        '=""',
        "'",
        '"-"',
        "\u200b",
    ],
)
def test_what_people_write_for_nothing_is_nothing(nothing: Cell) -> None:
    assert (
        an_identifier(nothing),
        a_word(nothing),
        fen(nothing),
        pieces(of(nothing), "order_sn"),
        time(nothing),
    ) == (
        "",
        "",
        None,
        None,
        None,
    )
    with pytest.raises(WrongCell, match="the order number is missing"):
        an_order_number(nothing)


@pytest.mark.parametrize(
    ("damaged", "says"),
    [
        ("7.80831E+14", "rounded"),
        ("7.80831e14", "rounded"),
        ('="7.80831E+14"', "rounded"),
        ("７.80831Ｅ+14", "rounded"),
        (7.80831e17, "rounded|15 digits"),
        (10**15, "15 digits"),
        (731_200_000_000_000_031, "15 digits"),
        (-(10**15), "15 digits"),
        ("########", "could not show"),
        ("#REF!", "could not show"),
        ("#NAME?", "could not show"),
        ("#DIV/0!", "could not show"),
        ("=A1&B1", "formula"),
        ('=T("731200000000031")', "formula"),
        (True, "made of"),
        (TimeCell(A_DATE, 0), "made of"),
        ("***", "neither a letter nor a digit"),
        ('YT88"01', "quotation mark"),
    ],
)
@pytest.mark.parametrize("read", [an_identifier, an_order_number])
def test_what_a_spreadsheet_has_damaged_is_no_identifier(
    read: Callable[[Cell], str], damaged: Cell, says: str
) -> None:
    with pytest.raises(WrongCell, match=says):
        read(damaged)


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (731_200_000_000_031, "731200000000031"),
        (52000101.0, "52000101"),
        ('="731200000000000031"', "731200000000000031"),
        ("731200000000000031\t", "731200000000000031"),
        ("７３１２", "7312"),
        ("JDVA00001-1-2-", "JDVA00001-1-2-"),
        ("EE123456789CN", "EE123456789CN"),
    ],
)
def test_what_is_whole_is_an_identifier(cell: Cell, text: str) -> None:
    assert an_identifier(cell) == text


@pytest.mark.parametrize("cell", ["71,72", "71，72", "71;72", "71、72", "71\n72"])
def test_several_ids_are_not_taken_for_one(cell: str) -> None:
    with pytest.raises(WrongCell, match="more than one"):
        an_identifier(cell)


@pytest.mark.parametrize("cell", ["#REF!", "=B2", "####"])
def test_a_carrier_is_never_the_sign_of_an_error(cell: str) -> None:
    with pytest.raises(WrongCell):
        a_word(cell)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("19.80元", 1980),
        ("￥19.80", 1980),
        ("¥1,299.00", 129_900),
        ("¥ 1,299", 129_900),
        ("RMB 19.80", 1980),
        ("人民币19.8", 1980),
        ("１９．８０", 1980),
        ("19.8 元", 1980),
        (".5", 50),
        (19.799999999999997, 1980),
        (20, 2000),
    ],
)
def test_money_is_read_as_people_write_it(cell: Cell, expected: int) -> None:
    assert fen(cell) == expected


@pytest.mark.parametrize("cell", ["-3.00", "−3.00", "－￥3.00", "￥-3.00", "-3元"])
def test_money_that_is_taken_may_have_any_minus(cell: str) -> None:
    assert fen(cell, signed=True) == -300
    with pytest.raises(WrongCell):
        fen(cell)


@pytest.mark.parametrize(
    "cell", ["1元2", "1¥2", "19,80", "1.299,00", "--3", "-¥-3", "1.005", "1e2", "abc", "9" * 40]
)
def test_what_may_be_another_amount_is_none(cell: str) -> None:
    with pytest.raises(WrongCell, match="not an amount"):
        fen(cell, signed=True)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("２", 2),
        ("1,200", 1200),
        ("1，200", 1200),
        ("2.0", 2),
        ("1,200.00", 1200),
        ("2件", 2),
        ("2 个", 2),
        (2.0, 2),
    ],
)
def test_pieces_are_read_as_people_write_them(cell: Cell, expected: int) -> None:
    assert pieces(of(cell), "order_sn") == expected


@pytest.mark.parametrize("cell", ["0", "2.5", "x2", "1,20", "2..0", "-1", "1000001", 2.5, "9" * 30])
def test_what_may_be_another_number_of_pieces_is_none(cell: Cell) -> None:
    with pytest.raises(WrongCell, match="pieces"):
        pieces(of(cell), "order_sn")


@pytest.mark.parametrize(
    "cell",
    ["2026年03月02日 09时00分41秒", "2026年3月2日9:00:41", "2026-03-02 09:00:41.0", "2026-03-02T01:00:41Z"],
)
def test_times_are_read_in_the_words_of_people(cell: str) -> None:
    assert time(cell) == SourceTime(datetime(2026, 3, 2, 9, 0, 41, tzinfo=BEIJING), 0)


@given(st.integers(0, 27 * 86_400), st.integers(1, 10))
def test_days_with_few_decimals_are_no_more_exact_than_they_say(second: int, decimals: int) -> None:
    """The true time lies within what the cell may mean, unless the cell tells a whole minute by chance."""
    true = datetime(2026, 3, 1, tzinfo=BEIJING) + timedelta(seconds=second)
    days = (true - datetime(1899, 12, 30, tzinfo=BEIJING)) / timedelta(days=1)
    read = time(f"{days:.{decimals}f}")
    assert read is not None
    if read.within == DAY:
        assert abs(read.at - true) <= timedelta(days=0.5 / 10**decimals)
    elif decimals > 4:
        assert read == SourceTime(true.astimezone(UTC), 0)
    elif read.within:
        assert read.at - timedelta(seconds=1) <= true <= read.at + timedelta(seconds=read.within + 1)
    else:
        assert not read.at.second
