"""A workbook without its looks: the cells and their number formats alone.

Some export tools write styles that break the rules of the format. What a workbook looks like does not matter here;
only the number formats do, because they tell times from numbers.
"""

import tempfile
import zipfile
from typing import IO
from xml.etree import ElementTree

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
