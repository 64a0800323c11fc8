"""Facts about the platform and their citations: each ``Source:`` names an entry of docs/reference/sources.md."""

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference" / "sources.md"
FOLDERS = ("api", "benchmarks", "docs", "domain", "infrastructure", "tests")
SUFFIXES = (".md", ".py", ".sql", ".toml", ".yml")

NAME = r"[a-z0-9]+(?:-[a-z0-9]+)*"
NAMES = re.compile(rf"{NAME}(?:, {NAME})*")
CITATION = re.compile(rf"(?<![`\w])Source: ?({NAMES.pattern})?")
IN_A_RULE_SET = re.compile(r'^source = "(.*)"$', re.MULTILINE)
LINK = re.compile(r"\[([^]]*)\]\([^)]*\)")
LINE_BREAK = re.compile(r"\s*\n\s*(?:#\s*)?")
DOCUMENT = re.compile(r"\b[\w-]+\.md\b")
NUMBERED = re.compile(r"\N{SECTION SIGN}|\b[Ss]eed \d")


class Entry(NamedTuple):
    """An entry: its name, its last paragraph, and the pages that paragraph names."""

    name: str
    confidence: str
    pages: tuple[str, ...]

    @property
    def is_background(self) -> bool:
        return " Background. " in self.confidence


@cache
def texts() -> dict[str, str]:
    """Every text of the repository by its path, this file apart."""
    files = [file for folder in FOLDERS for file in (ROOT / folder).rglob("*")] + list(ROOT.iterdir())
    here = Path(__file__)
    return {
        str(file.relative_to(ROOT)): file.read_text(encoding="utf-8")
        for file in files
        if file.suffix in SUFFIXES and file != here
    }


def names_cited(text: str) -> Iterator[str]:
    """The names after each ``Source:`` of a text; an empty one where none follows."""
    for names in CITATION.findall(LINE_BREAK.sub(" ", LINK.sub(r"\1", text))):
        yield from names.split(", ")


def is_rule_set(path: str) -> bool:
    return path.startswith("domain/") and "/sets/" in path


def citations() -> dict[str, set[str]]:
    """Each name that is cited, and the files that cite it."""
    found: dict[str, set[str]] = {}
    for path, text in texts().items():
        names = list(names_cited(text))
        if is_rule_set(path):
            names += [name for value in IN_A_RULE_SET.findall(text) for name in value.split(", ")]
        for name in names:
            found.setdefault(name, set()).add(path)
    return found


def entries() -> list[Entry]:
    facts = PAGE.read_text(encoding="utf-8").partition("\n## Pages\n")[0]
    found = []
    for section in re.split(r"^### ", facts, flags=re.MULTILINE)[1:]:
        name, _, text = section.partition("\n")
        last = " ".join(text.partition("\n## ")[0].strip().split("\n\n")[-1].split())
        named = re.sub(r" for [^;]*", "", last.partition("Pages: ")[2].rstrip("."))
        found.append(Entry(name, last, tuple(re.split("[,;] ", named)) if named != "none" else ()))
    return found


def pages() -> list[str]:
    """The names in the table of pages."""
    table = PAGE.read_text(encoding="utf-8").partition("\n## Pages\n")[2]
    return re.findall(rf"^\| ({NAME}) \|", table.partition("|---|")[2], re.MULTILINE)


def test_every_citation_names_an_entry() -> None:
    names = {entry.name for entry in entries()}
    assert {name: where for name, where in citations().items() if name not in names} == {}


def test_every_entry_is_cited_or_background_and_never_both() -> None:
    cited = citations()
    assert [entry.name for entry in entries() if (entry.name in cited) == entry.is_background] == []


def test_the_source_of_every_shipped_rule_is_names_and_nothing_else() -> None:
    rule_sets = {path: IN_A_RULE_SET.findall(text) for path, text in texts().items() if is_rule_set(path)}
    assert len(rule_sets) >= 5
    for path, sources in rule_sets.items():
        assert len(sources) >= 13, path
        assert [source for source in sources if not NAMES.fullmatch(source)] == [], path


def test_every_entry_says_how_sure_it_is_and_from_which_pages() -> None:
    known = pages()
    for entry in entries():
        assert re.match(r"Confidence: (A|B|C|house)\b.* Pages: ", entry.confidence), entry.name
        assert set(entry.pages) <= set(known), entry.name
        assert entry.pages or entry.confidence.startswith("Confidence: house."), entry.name


def test_every_page_is_named_once_and_used() -> None:
    used = {page for entry in entries() for page in entry.pages}
    assert Counter(pages()) == Counter(used)


def test_every_heading_and_every_link_of_the_page_has_one_place() -> None:
    text = PAGE.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    anchors = Counter(heading.lower().replace(" ", "-") for heading in headings)
    assert max(anchors.values()) == 1, anchors.most_common(1)
    links = [anchor for page in texts().values() for anchor in re.findall(r"sources\.md#([\w-]+)", page)]
    assert set(links + re.findall(r"\]\(#([^)]+)\)", text)) <= set(anchors)


def test_no_text_cites_a_document_that_is_not_in_the_repository() -> None:
    there = {Path(path).name for path in texts()}
    for path, text in texts().items():
        assert set(DOCUMENT.findall(text)) <= there, path
        assert NUMBERED.findall(text) == [], path


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('"""Three more days. Source: deemed-stockout."""', ["deemed-stockout"]),
        ("# One page. Source: a-b,\n# c-d. Then more.", ["a-b", "c-d"]),
        ("fraud. Source: [a-b](sources.md#a-b), [c](../x.md#c) |", ["a-b", "c"]),
        ("Source: some page, of a kind", ["some"]),
        ("Source: DOMAIN", [""]),
        ("`Source: x` names an entry; data_source: 3", []),
    ],
)
def test_citations_are_found_in_code_and_prose(text: str, names: list[str]) -> None:
    assert list(names_cited(text)) == names
