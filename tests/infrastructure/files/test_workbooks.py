"""Workbooks as other tools write them: their rows come out, whatever the library thinks of their form."""

import io
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from infrastructure.files.lines import Line, UnreadableSheet
from infrastructure.files.sheets import TableFile

SHEET = "xl/worksheets/sheet1.xml"
TABLE = [["订单号", "快递单号"], ["260302-1", "YT1"], ["260302-2", "YT2"]]


def written(*sheets: Sequence[Sequence[Any]]) -> bytes:
    book = openpyxl.Workbook(write_only=True)
    for rows in sheets:
        sheet = book.create_sheet()
        for row in rows:
            sheet.append(row)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def edited(workbook: bytes, name: str, edit: Callable[[bytes], bytes]) -> bytes:
    """The workbook with one of its parts changed."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(workbook)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            content = old.read(entry)
            new.writestr(entry.filename, edit(content) if entry.filename == name else content)
    return out.getvalue()


def lines(workbook: bytes) -> list[Line]:
    file = TableFile(io.BytesIO(workbook))
    return [line for sheet in file.sheets() for line in sheet]


def cells(workbook: bytes) -> list[list[object]]:
    return [list(line.cells) for line in lines(workbook)]


def test_a_row_is_as_wide_as_its_cells() -> None:
    assert cells(written(TABLE)) == TABLE


def test_rows_whose_numbers_are_out_of_order_or_repeated_are_all_read() -> None:
    again = edited(written(TABLE), SHEET, lambda xml: xml.replace(b'<row r="3"', b'<row r="1"'))
    assert [line.number for line in lines(again)] == [1, 2, 1]
    assert cells(again) == TABLE


def test_a_row_far_down_costs_nothing() -> None:
    """A gap of two thousand million rows is skipped and not walked through."""
    far = edited(written(TABLE), SHEET, lambda xml: re.sub(rb'r="(A|B)?3"', rb'r="\g<1>2000000000"', xml))
    assert [line.number for line in lines(far)] == [1, 2, 2_000_000_000]


def test_rows_and_cells_without_numbers_are_counted() -> None:
    bare = edited(written(TABLE), SHEET, lambda xml: re.sub(rb' r="[A-Z]*[0-9]+"', b"", xml))
    assert [line.number for line in lines(bare)] == [1, 2, 3]
    assert cells(bare) == TABLE


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        (b'r="B3"', b'r="ZZZ3"'),
        (b'<c r="B3" t="inlineStr">', b'<c r="B3" t="s"><v>99999</v></c><c r="C3" t="inlineStr">'),
        (b'<c r="B3" t="inlineStr">', b'<c r="B3" t="n"><v>many</v></c><c r="C3" t="inlineStr">'),
        (b'r="B3"', b'r="?"'),
    ],
    ids=["beyond all columns", "a text that is missing", "a number that is none", "no place"],
)
def test_a_cell_that_makes_no_sense_damages_its_own_row_alone(was: bytes, becomes: bytes) -> None:
    sheet = edited(written(TABLE), SHEET, lambda xml: xml.replace(was, becomes))
    assert sheet != written(TABLE)
    first, second, third = lines(sheet)
    assert [first.cells, second.cells, third.cells] == [*TABLE[:2], []]
    assert third.damage is not None


@pytest.mark.parametrize(
    "looks",
    [
        b'<conditionalFormatting sqref="?"><cfRule type="no such" priority="first"/></conditionalFormatting>',
        b'<dataValidations count="1"><dataValidation type="no such" sqref="?"/></dataValidations>',
        b'<pageMargins left="wide"/>',
    ],
)
def test_what_a_sheet_looks_like_does_not_matter(looks: bytes) -> None:
    sheet = edited(written(TABLE), SHEET, lambda xml: xml.replace(b"</sheetData>", b"</sheetData>" + looks))
    assert cells(sheet) == TABLE


def test_a_formula_whose_value_is_missing_stays_a_formula() -> None:
    """Tools that write ``="260302-1"`` into a workbook do not compute it."""
    table = [['="260302-1"', "=A1&B1"], ["=1+1", "YT1"]]
    assert cells(written(table)) == table


def test_a_formula_counts_by_the_value_that_the_file_has() -> None:
    computed = edited(
        written([["=A2", "=IF(1,A9)"]]),
        SHEET,
        lambda xml: re.sub(
            rb'<c r="A1"[^>]*><f>A2</f><v ?/></c>', b'<c r="A1" t="str"><f>A2</f><v>260302-1</v></c>', xml
        ).replace(b'<c r="B1"><f>', b'<c r="B1" t="str"><f>'),
    )
    assert cells(computed) == [["260302-1"]]


def test_characters_that_a_workbook_writes_as_codes_are_read() -> None:
    assert cells(written([["YT1_x000D_\n", "a_x005F_b", "_x4E2D_"]])) == [["YT1\r\n", "a_b", "_x4E2D_"]]


def test_the_library_says_nothing_to_people(tmp_path: Path) -> None:
    """Its warnings would stand among the program's own words."""
    file = tmp_path / "bare.xlsx"
    file.write_bytes(edited(written(TABLE), "xl/styles.xml", lambda xml: b"<styleSheet/>"))
    program = (
        "import sys; from pathlib import Path; from infrastructure.files.sheets import TableFile\n"
        "print(sum(1 for sheet in TableFile(Path(sys.argv[1])).sheets() for line in sheet))"
    )
    done = subprocess.run([sys.executable, "-c", program, file], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("3", "")


@pytest.mark.parametrize("part", ["xl/workbook.xml", SHEET])
def test_a_workbook_that_is_not_whole_is_told(part: str) -> None:
    with pytest.raises(UnreadableSheet, match=r"save it again as \.xlsx or \.csv") as refused:
        lines(edited(written(TABLE), part, lambda xml: xml[: len(xml) // 2]))
    assert "xml" not in str(refused.value).lower()
