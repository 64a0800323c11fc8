"""Whole columns as query parameters: PostgreSQL's binary arrays, made in one step.

A batch goes to the server as one array for each column. The driver's own list adapter determines the type of every
element. Here a column has one type and no nulls, so this work is saved.
"""

import struct
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import ClassVar
from uuid import UUID

import psycopg
from psycopg import pq
from psycopg.abc import AdaptContext
from psycopg.adapt import Buffer, Dumper

_HEAD = struct.Struct("!iiIii")
_LENGTH = struct.Struct("!i").pack
POSTGRES_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Column:
    """A parameter that is an array. Subclasses give the oids of the elements' type and of the array's type."""

    element: ClassVar[int]
    array: ClassVar[int]

    def __init__(self, count: int, elements: bytes) -> None:
        head = _HEAD.pack(1, 0, self.element, count, 1) if count else struct.pack("!iiI", 0, 0, self.element)
        self.dumped = head + elements


class Blobs(Column):
    element, array = 17, 1001

    def __init__(self, values: Sequence[bytes]) -> None:
        super().__init__(len(values), b"".join([part for value in values for part in (_LENGTH(len(value)), value)]))


class Texts(Column):
    element, array = 25, 1009

    def __init__(self, values: Iterable[str]) -> None:
        encoded = [value.encode() for value in values]
        super().__init__(
            len(encoded), b"".join([part for value in encoded for part in (_LENGTH(len(value)), value)])
        )


class Uuids(Column):
    element, array = 2950, 2951

    def __init__(self, values: Sequence[UUID]) -> None:
        super().__init__(len(values), b"".join([b"\x00\x00\x00\x10" + value.bytes for value in values]))


class _Numbers(Column):
    size: ClassVar[int]
    code: ClassVar[str]

    def __init__(self, values: Sequence[int]) -> None:
        pairs = [part for value in values for part in (self.size, value)]
        try:
            packed = struct.pack("!" + f"i{self.code}" * len(values), *pairs)
        except struct.error as error:
            raise psycopg.DataError(f"a number does not fit {self.size} bytes") from error
        super().__init__(len(values), packed)


class Smallints(_Numbers):
    element, array, size, code = 21, 1005, 2, "h"


class Integers(_Numbers):
    element, array, size, code = 23, 1007, 4, "i"


class Bigints(_Numbers):
    element, array, size, code = 20, 1016, 8, "q"


class Times(_Numbers):
    """Aware datetimes."""

    element, array, size, code = 1184, 1185, 8, "q"

    def __init__(self, values: Iterable[datetime]) -> None:
        super().__init__([(value - POSTGRES_EPOCH) // _MICROSECOND for value in values])


class _ColumnDumper(Dumper):
    """Has the oid of its column's type. It is registered for the column's class only, not for the type."""

    format = pq.Format.BINARY

    def __init__(self, cls: type[Column], context: AdaptContext | None = None) -> None:
        super().__init__(cls, context)
        self.oid = cls.array

    def dump(self, obj: Column) -> Buffer:
        return obj.dumped


class TextListDumper(Dumper):
    """Dumps lists of texts as ``text[]``. It is quick for a COPY of many short lists of the same few texts.

    Register it where it is needed: ``adapters.register_dumper(None, TextListDumper)``.
    """

    format = pq.Format.BINARY
    oid = Texts.array

    def dump(self, obj: Sequence[str]) -> Buffer:
        return _one_text(obj[0]) if len(obj) == 1 else Texts(obj).dumped


@lru_cache(maxsize=20_000)
def _one_text(value: str) -> bytes:
    return Texts((value,)).dumped


for _kind in (Blobs, Texts, Uuids, Smallints, Integers, Bigints, Times):
    psycopg.adapters.register_dumper(_kind, _ColumnDumper)
