"""The messages to buyers that ship with the program."""

from functools import cache
from importlib.resources import files

from domain.stockout.messages import Message, parse


@cache
def shipped_messages() -> tuple[Message, ...]:
    return parse((files("domain.stockout") / "messages.toml").read_text(encoding="utf-8"))
