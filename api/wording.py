"""What a decoder complains of, in words that need no knowledge of the program."""

import re
from collections.abc import Callable, Sequence
from re import Match

import msgspec

_PATH = re.compile(r" - at `\$(?P<path>[^`]*)`$")
_FIELD = re.compile(r"(?:unknown|required) field `(?P<field>[^`]+)`")
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "null": "null",
    "array": "a list",
    "object": "an object",
    "datetime": "a time such as 2026-03-06T09:00:00+08:00",
    "date": "a day such as 2026-03-06",
}

_Sentence = Callable[[Match[str]], str]


def _kinds(named: str) -> str:
    """``int | null`` as ``a whole number or null``."""
    return " or ".join(_KINDS.get(kind, kind) for kind in named.split(" | "))


def _length(match: Match[str]) -> str:
    what, bound, count = match[1], match[2], int(match[3])
    unit = {"str": "character", "array": "entry"}.get(what, "field")
    plural = {"entry": "entries"}.get(unit, f"{unit}s")
    return f"must have at {_BOUNDS[bound]} {count} {unit if count == 1 else plural}"


_BOUNDS = {">=": "least", "<=": "most"}
_STRICT = {">": "more", "<": "less"}
_SENTENCES: Sequence[tuple[re.Pattern[str], _Sentence]] = (
    (re.compile(r"Expected `int`, got `float`"), lambda _: "must be a whole number, not a fraction"),
    (re.compile(r"Expected `([^`]+)`, got `([^`]+)`"), lambda m: f"must be {_kinds(m[1])}, not {_kinds(m[2])}"),
    (re.compile(r"Expected `([^`]+)` of length (>=|<=) (\d+)"), _length),
    (re.compile(r"Expected `[^`]+` (>=|<=) (\S+)"), lambda m: f"must be at {_BOUNDS[m[1]]} {m[2]}"),
    (re.compile(r"Expected `[^`]+` (>|<) (\S+)"), lambda m: f"must be {_STRICT[m[1]]} than {m[2]}"),
    (re.compile(r"Expected `[^`]+` matching regex (.+)", re.DOTALL), lambda m: f"must match the pattern {m[1]}"),
    (re.compile(r"Expected `[^`]+` with a timezone component"), lambda _: "must name its time zone, as in +08:00"),
    (re.compile(r"Invalid RFC3339 encoded (\w+)"), lambda m: f"must be {_kinds(m[1])}"),
    (re.compile(r"Invalid enum value (.+)", re.DOTALL), lambda m: f"{m[1]} is none of the values it may have"),
    (re.compile(r"Object missing required field `[^`]+`"), lambda _: "this field is missing"),
    (re.compile(r"Object contains unknown field `[^`]+`"), lambda _: "there is no such field"),
)


def in_plain_words(error: Exception) -> tuple[str, str]:
    """The JSON pointer of the field that a decoder complains of, without its ``#``, and what is wrong with it."""
    message, pointer = str(error), ""
    if match := _PATH.search(message):
        message = message[: match.start()]
        pointer = match["path"].replace("[...]", "/-")
        pointer = re.sub(r"\[(\d+)\]", r"/\1", pointer).replace(".", "/")
    if field := _FIELD.search(message):
        pointer += "/" + field["field"]
    return pointer, _sentence(error, message)


def _sentence(error: Exception, message: str) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "Not valid JSON: it holds bytes that are not UTF-8"
    if isinstance(error, RecursionError):
        return "Not valid JSON: it is nested too deeply"
    if isinstance(error, msgspec.ValidationError):
        for pattern, sentence in _SENTENCES:
            if match := pattern.fullmatch(message):
                return sentence(match)
        return message
    if type(error) is ValueError:
        return message
    if message == "Input data was truncated":
        return "Not valid JSON: it ends too early, or in the midst of a character"
    return f"Not valid JSON: {message.removeprefix('JSON is malformed: ')}"
