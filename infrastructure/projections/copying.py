"""Rows of a view as PostgreSQL's binary COPY wants them, encoded a whole column at a time.

The driver's own row writer asks every value for its type; here the view has said what it is.
"""

import struct
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain, repeat
from typing import Any

import psycopg

from infrastructure.projections.view import Row, View

Encode = Callable[[Sequence[Any]], list[bytes]]
"""Encodes the values of a column, each with its length before it."""

SIGNATURE = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
TRAILER = b"\xff\xff"

_NULL = b"\xff\xff\xff\xff"
_TRUE, _FALSE = b"\x00\x00\x00\x01\x01", b"\x00\x00\x00\x01\x00"
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_TEXT_OID = 25
_EMPTY_ARRAY = struct.pack("!iiI", 0, 0, _TEXT_OID)

_length = struct.Struct("!i").pack
_smallint = struct.Struct("!ih").pack
_integer = struct.Struct("!ii").pack
_bigint = struct.Struct("!iq").pack
_array = struct.Struct("!iiIii").pack
_columns = struct.Struct("!h").pack


def text(value: str) -> bytes:
    encoded = value.encode()
    return _length(len(encoded)) + encoded


def _array_of_texts(values: tuple[str, ...]) -> bytes:
    head = _array(1, 0, _TEXT_OID, len(values), 1) if values else _EMPTY_ARRAY
    elements = head + b"".join([text(value) for value in values])
    return _length(len(elements)) + elements


class _Distinct(dict[Any, bytes]):
    """Of values that come again and again each is encoded once; null too."""

    def __init__(self, encode: Callable[[Any], bytes]) -> None:
        super().__init__({None: _NULL})
        self._encode = encode

    def __missing__(self, value: Any) -> bytes:
        encoded = self[value] = self._encode(value)
        return encoded


def _few(encode: Callable[[Any], bytes]) -> Encode:
    """For columns in which a batch has only few different values."""

    def column(values: Sequence[Any]) -> list[bytes]:
        known = _Distinct(encode)
        return [known[value] for value in values]

    return column


def _many(encode: Callable[[Any], bytes]) -> Encode:
    return lambda values: [_NULL if value is None else encode(value) for value in values]


def _times(values: Sequence[datetime | None]) -> list[bytes]:
    return [_NULL if value is None else _bigint(8, (value - _EPOCH) // _MICROSECOND) for value in values]


_ENCODERS: dict[str, Encode] = {
    "text": _many(text),
    "text[]": _many(_array_of_texts),
    "json": _many(lambda value: _length(len(value)) + value),
    "timestamptz": _times,
    "boolean": _few(lambda value: _TRUE if value else _FALSE),
    "smallint": _few(lambda value: _smallint(2, value)),
    "integer": _few(lambda value: _integer(4, value)),
    "bigint": _many(lambda value: _bigint(8, value)),
}
_FEW_TEXTS = _few(text)


class Batch:
    """Rows of several views, to be encoded together."""

    def __init__(self, views: Sequence[View]) -> None:
        self._views = views
        self.orders: dict[str, list[tuple[str, str]]] = {view.name: [] for view in views}
        self.rows: dict[str, list[Row]] = {view.name: [] for view in views}

    def encoded(self) -> dict[str, bytes]:
        """By view, what COPY takes; empty where there are no rows.

        Raises ``psycopg.DataError`` for a value that does not fit its column, as the database does.
        """
        keys = _Distinct(lambda order: text(order[0]) + text(order[1]))
        try:
            return {view.name: self._copied(view, keys) for view in self._views}
        except (struct.error, ValueError, TypeError, AttributeError) as error:
            raise psycopg.DataError(f"a value does not fit its column: {error}") from error

    def _copied(self, view: View, keys: _Distinct) -> bytes:
        rows = self.rows[view.name]
        if not rows:
            return b""
        columns = [
            (_FEW_TEXTS if column.few else _ENCODERS[column.type])(values)
            for column, values in zip(view.columns, zip(*rows, strict=True), strict=True)
        ]
        count = _columns(2 + len(view.columns))
        orders = [keys[order] for order in self.orders[view.name]]
        return b"".join([SIGNATURE, *chain.from_iterable(zip(repeat(count), orders, *columns)), TRAILER])
