"""Reading rule sets: those that ship with the program, and those in an operator's own folder."""

from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from domain.rules.reading import InvalidRuleSet
from domain.rules.ruleset import RuleBook, RuleSet

MOST_BYTES = 1_000_000
"""No rule set is larger. A larger file was named by mistake."""


@cache
def shipped_rules() -> RuleBook:
    """All rule sets in ``domain/rules/sets``."""
    return RuleBook(_read_all(files("domain.rules").joinpath("sets").iterdir()))


def rule_book(folder: Path | None = None) -> RuleBook:
    """The shipped rule sets and those of a folder. A set of the folder replaces a shipped set of the same name.

    Raises ``InvalidRuleSet`` naming the file, the field, and what would be right.
    """
    if folder is None:
        return shipped_rules()
    try:
        own = _read_all(folder.iterdir())
    except OSError as error:
        raise InvalidRuleSet(f"The rule sets in {folder} can't be read: {error.strerror or error}") from None
    names = {rules.name for rules in own}
    try:
        return RuleBook([*own, *(rules for rules in shipped_rules().sets if rules.name not in names)])
    except ValueError as error:
        raise InvalidRuleSet(f"{folder}: {error}") from None


def read_file(path: Path) -> RuleSet:
    """The rule set of a TOML file. Raises ``InvalidRuleSet``."""
    return _read(path, str(path))


def _read_all(entries: Iterable[Traversable]) -> list[RuleSet]:
    documents = sorted((entry for entry in entries if entry.name.endswith(".toml")), key=lambda entry: entry.name)
    return [_read(document, document.name) for document in documents]


def _read(document: Traversable, called: str) -> RuleSet:
    try:
        with document.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise InvalidRuleSet(f"{called}: larger than {MOST_BYTES:,} bytes; that is no rule set")
        return RuleSet.parse(content.decode("utf-8-sig"), called)
    except UnicodeDecodeError:
        raise InvalidRuleSet(f"{called}: not text in UTF-8") from None
    except OSError as error:
        raise InvalidRuleSet(f"{called}: can't be read: {error.strerror or error}") from None
