"""The rule sets that ship with the program."""

from functools import cache
from importlib.resources import files

from domain.rules.ruleset import RuleBook


@cache
def shipped_rules() -> RuleBook:
    """The book of all rule sets in ``domain/rules/sets``."""
    folder = files("domain.rules").joinpath("sets")
    documents = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".toml")), key=str)
    return RuleBook.parse(document.read_text(encoding="utf-8") for document in documents)
