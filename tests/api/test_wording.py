"""What is wrong with a JSON body is said without the words of a library."""

from datetime import date, datetime
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta

from api.http.problems import Refused
from api.http.requests import decode


class Line(msgspec.Struct, forbid_unknown_fields=True):
    pieces: Annotated[int, Meta(ge=1, le=9)]
    name: Annotated[str, Meta(min_length=1, max_length=3, pattern="^a")] = "a"


class Body(msgspec.Struct, forbid_unknown_fields=True):
    number: int
    at: Annotated[datetime, Meta(tz=True)] | None = None
    day: date | None = None
    lines: Annotated[list[Line], Meta(min_length=1, max_length=2)] = []
    kind: Literal["late", "stockout"] = "late"
    counts: dict[str, int] = {}
    done: bool = False
    either: int | str | None = None
    share: Annotated[float, Meta(gt=0, lt=1)] = 0.5


@pytest.mark.parametrize(
    ("given", "pointer", "says"),
    [
        ("[]", "#", "must be an object, not a list"),
        ("{}", "#/number", "this field is missing"),
        ({"numbr": 1}, "#/numbr", "there is no such field"),
        ({"number": "1"}, "#/number", "must be a whole number, not text"),
        ({"number": 1.5}, "#/number", "must be a whole number, not a fraction"),
        ({"number": None}, "#/number", "must be a whole number, not null"),
        ({"number": True}, "#/number", "must be a whole number, not true or false"),
        ({"at": "soon"}, "#/at", "must be a time such as 2026-03-06T09:00:00+08:00"),
        ({"at": "2026-03-06T09:00:00"}, "#/at", "must name its time zone, as in +08:00"),
        ({"at": 3}, "#/at", "must be a time such as 2026-03-06T09:00:00+08:00 or null, not a whole number"),
        ({"day": "6.3."}, "#/day", "must be a day such as 2026-03-06"),
        ({"lines": []}, "#/lines", "must have at least 1 entry"),
        ({"lines": [{"pieces": 1}] * 3}, "#/lines", "must have at most 2 entries"),
        ({"lines": [{"pieces": 0}]}, "#/lines/0/pieces", "must be at least 1"),
        ({"lines": [{"pieces": 1}, {"pieces": 10}]}, "#/lines/1/pieces", "must be at most 9"),
        ({"lines": [{"pieces": 1, "name": ""}]}, "#/lines/0/name", "must have at least 1 character"),
        ({"lines": [{"pieces": 1, "name": "aaaa"}]}, "#/lines/0/name", "must have at most 3 characters"),
        ({"lines": [{"pieces": 1, "name": "b"}]}, "#/lines/0/name", "must match the pattern '^a'"),
        ({"kind": "z"}, "#/kind", "'z' is none of the values it may have"),
        ({"counts": {"a": "b"}}, "#/counts/-", "must be a whole number, not text"),
        ({"done": 1}, "#/done", "must be true or false, not a whole number"),
        ({"either": []}, "#/either", "must be a whole number or text or null, not a list"),
        ({"share": 0}, "#/share", "must be more than 0.0"),
        ({"share": 1}, "#/share", "must be less than 1.0"),
        (b"", "#", "Not valid JSON: it ends too early"),
        (b'{"number": 1', "#", "Not valid JSON: it ends too early"),
        (b'{"number":}', "#", "Not valid JSON: invalid character (byte 10)"),
        (b'{"number": 1} and', "#", "Not valid JSON: trailing characters (byte 15)"),
        (b'{"number": 1, "kind": "\xff"}', "#", "Not valid JSON: it holds bytes that are not UTF-8"),
    ],
)
def test_what_is_wrong_is_said_in_plain_words(given: Any, pointer: str, says: str) -> None:
    if isinstance(given, dict):
        given = msgspec.json.encode({"number": 1} | given if "numbr" not in given else given)
    with pytest.raises(Refused) as refused:
        decode(given.encode() if isinstance(given, str) else given, Body)
    (field,) = refused.value.errors or ()
    assert field.pointer == pointer
    assert says in field.detail
    assert not any(word in field.detail for word in ("`", "$", "Expected", "codec", "RFC"))


def test_a_body_that_is_nested_too_deeply_is_told() -> None:
    with pytest.raises(Refused, match="invalid_request") as refused:
        decode(b"[" * 100_000, list[Any])
    assert refused.value.detail == "#: Not valid JSON: it is nested too deeply"
