"""Rows of a view as PostgreSQL's binary COPY wants them, encoded column by column.

The driver's own row writer asks every value for its type; here the view has said what it is.
"""

import struct
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from infrastructure.projections.view import Row, View

Encode = Callable[[Any], bytes]

SIGNATURE = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
TRAILER = b"\xff\xff"

_NULL = b"\xff\xff\xff\xff"
_TRUE, _FALSE = b"\x00\x00\x00\x01\x01", b"\x00\x00\x00\x01\x00"
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_TEXT_OID = 25

_length = struct.Struct("!i").pack
_smallint = struct.Struct("!ih").pack
_integer = struct.Struct("!ii").pack
_bigint = struct.Struct("!iq").pack
_array = struct.Struct("!iiIii").pack
_columns = struct.Struct("!h").pack


def text(value: str) -> bytes:
    encoded = value.encode()
    return _length(len(encoded)) + encoded


def _texts(values: Sequence[str]) -> bytes:
    if not values:
        return _length(12) + struct.pack("!iiI", 0, 0, _TEXT_OID)
    elements = _array(1, 0, _TEXT_OID, len(values), 1) + b"".join([text(value) for value in values])
    return _length(len(elements)) + elements


def _bytes(value: bytes) -> bytes:
    return _length(len(value)) + value


def _time(value: datetime) -> bytes:
    return _bigint(8, (value - _EPOCH) // _MICROSECOND)


_ENCODERS: dict[str, Encode] = {
    "text": text,
    "text[]": _texts,
    "json": _bytes,
    "timestamptz": _time,
    "boolean": lambda value: _TRUE if value else _FALSE,
    "smallint": lambda value: _smallint(2, value),
    "integer": lambda value: _integer(4, value),
    "bigint": lambda value: _bigint(8, value),
}


class RowEncoder:
    """Encodes the rows of one view."""

    def __init__(self, view: View) -> None:
        self._count = _columns(2 + len(view.columns))
        self._encoders = [_ENCODERS[column.type] for column in view.columns]

    def __call__(self, order: bytes, rows: Iterable[Row], into: list[bytes]) -> None:
        """Append these rows' bytes; ``order`` is the encoded shop and order they belong to."""
        for row in rows:
            into.append(self._count)
            into.append(order)
            for encode, value in zip(self._encoders, row, strict=True):
                into.append(_NULL if value is None else encode(value))
