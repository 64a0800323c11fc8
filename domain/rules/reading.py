"""Reading rule sets: a document that makes no sense is refused with its field and what would be right."""

import re
import tomllib
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

T = TypeVar("T")

_AT = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_FIELD = re.compile(r"(?P<what>unknown|required) field `(?P<name>[^`]+)`")
_PART = re.compile(r"[^.\[\]]+")
_MOST_SHOWN = 60


class InvalidRuleSet(ValueError):
    """A rule set that makes no sense. The message names the document, the field, and what would be right."""


def read(document: str | Mapping[str, Any], kind: type[T], called: str) -> T:
    """A TOML text, or JSON that was decoded already, as a ``kind``. Raises ``InvalidRuleSet``."""
    try:
        content = tomllib.loads(document) if isinstance(document, str) else document
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidRuleSet(f"{called}: not valid TOML: {error}") from None
    try:
        return msgspec.convert(content, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        raise InvalidRuleSet(f"{called}: {_complaint(error, content, kind)}") from None


def _complaint(error: Exception, content: Any, kind: type) -> str:
    message, path = str(error), ""
    if at := _AT.search(message):
        message, path = message[: at.start()], at["path"]
    parts = _PART.findall(path)
    node = _node(inspect.type_info(kind), parts)
    if named := _FIELD.search(message):
        where = ".".join(filter(None, (path, named["name"])))
        if named["what"] == "unknown":
            return f"there is no field {where}; there are {', '.join(_fields(node))}"
        return f"{where} is missing; it must be {_described(_node(node, [named['name']]))}"
    if isinstance(error.__cause__, ValueError):
        return f"{path}: {message}" if path else message
    return f"{path or 'the document'} is {_shown(_value(content, parts))}; it must be {_described(node)}"


def _shown(value: Any) -> str:
    match value:
        case list() | tuple():
            return "a list" if value else "an empty list"
        case Mapping():
            return "a table"
        case str():
            value = repr(value)
    text = str(value)
    return text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + "…"


def _value(content: Any, parts: list[str]) -> Any:
    for part in parts:
        content = content[int(part)] if isinstance(content, list | tuple) else content[part]
    return content


def _node(node: inspect.Type, parts: list[str]) -> inspect.Type:
    """The type that the schema has at a path."""
    for part in parts:
        node = _plain(node)
        if isinstance(node, inspect.StructType):
            node = next(field.type for field in node.fields if field.encode_name == part)
        elif isinstance(node, inspect.VarTupleType):
            node = node.item_type
    return node


def _plain(node: inspect.Type) -> inspect.Type:
    """The type itself, where a schema adds metadata to it or makes it optional."""
    while isinstance(node, inspect.Metadata | inspect.UnionType):
        if isinstance(node, inspect.Metadata):
            node = node.type
        else:
            node = next(each for each in node.types if not isinstance(each, inspect.NoneType))
    return node


def _described(node: inspect.Type) -> str:
    """What a field must be, in words: as the schema describes it, or by its type."""
    if isinstance(node, inspect.UnionType):
        return _described(next(each for each in node.types if not isinstance(each, inspect.NoneType)))
    if isinstance(node, inspect.Metadata):
        described = (node.extra_json_schema or {}).get("description")
        return str(described) if described else _described(node.type)
    match node:
        case inspect.LiteralType(values=values):
            return " or ".join(f'"{value}"' for value in values)
        case inspect.BoolType():
            return "true or false"
        case inspect.VarTupleType(item_type=item):
            return f"a list, each {_described(item)}"
        case inspect.StructType():
            return f"a table of {', '.join(_fields(node))}"
    return "text"


def _fields(node: inspect.Type) -> list[str]:
    node = _plain(node)
    return [field.encode_name for field in node.fields] if isinstance(node, inspect.StructType) else []
