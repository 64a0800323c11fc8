"""Rows that are written by binary COPY are read back unchanged."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from domain.order.judged import Judged
from infrastructure.projections.rows import EncodedRows
from infrastructure.projections.view import FAR_FUTURE, Column, Row, ViewOfOrders

_TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    ["", "泰国金枕榴莲 1个", "\U0001f69a", "NULL", "\\N", "{}", "a" * 70_000]
)
_TIMES = st.datetimes(timezones=st.just(UTC)) | st.sampled_from(
    [FAR_FUTURE, datetime(2000, 1, 1, tzinfo=UTC), datetime(1999, 12, 31, 23, 59, 59, 1, UTC)]
)
_DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=5,
)

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "text": _TEXTS,
    "text[]": st.lists(_TEXTS, max_size=4),
    "json": _DOCUMENTS.map(msgspec.json.encode),
    "timestamptz": _TIMES,
    "boolean": st.booleans(),
    "smallint": st.integers(-(2**15), 2**15 - 1),
    "integer": st.integers(-(2**31), 2**31 - 1),
    "bigint": st.integers(-(2**63), 2**63 - 1),
}


def none(judged: Judged) -> Iterable[Row]:
    return ()


COLUMNS = (*(Column(f"column_{n}", type, optional=True) for n, type in enumerate(VALUES)),)
VIEW = ViewOfOrders("everything", 1, "everything", COLUMNS, ("shop_id", "order_sn"), (), none)


def copied(url: str, orders: list[tuple[str, str]], rows: list[Row]) -> list[Row]:
    """The rows that the driver reads after a COPY, in their original order."""
    with psycopg.connect(url) as connection:
        connection.execute("SET TIME ZONE 'UTC'")
        columns = ", ".join(f"{column.name} {column.type}" for column in COLUMNS)
        connection.execute(
            f"""CREATE TEMPORARY TABLE everything
                (shop_id text, order_sn text, {columns}, n integer GENERATED ALWAYS AS IDENTITY)""".encode()
        )
        names = ", ".join(["shop_id", "order_sn", *(column.name for column in COLUMNS)])
        encoded = EncodedRows(connection, VIEW)
        encoded.extend([(*order, *row) for order, row in zip(orders, rows, strict=True)])
        encoded.copy(connection, sql.SQL("COPY everything ({}) FROM STDIN (FORMAT BINARY)").format(sql.SQL(names)))
        cursor = connection.cursor(binary=True).execute(f"SELECT {names} FROM everything ORDER BY n".encode())
        read = cursor.fetchall()
        connection.rollback()
    return read


def as_read(order: tuple[str, str], row: Row) -> Row:
    """A row as the driver returns it: JSON decoded, arrays as lists."""
    values = [
        msgspec.json.decode(value) if column.type == "json" and value is not None else value
        for column, value in zip(COLUMNS, row, strict=True)
    ]
    return (*order, *values)


_ROWS = st.tuples(*(st.none() | VALUES[column.type] for column in COLUMNS))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(rows=st.lists(st.tuples(st.tuples(_TEXTS, _TEXTS), _ROWS), max_size=5))
def test_every_value_is_read_back_as_it_was(server_url: str, rows: list[tuple[tuple[str, str], Row]]) -> None:
    read = copied(server_url, [order for order, _ in rows], [row for _, row in rows])
    assert read == [as_read(order, row) for order, row in rows]


@pytest.mark.parametrize("type", VALUES)
def test_a_row_of_nulls_and_a_row_with_one_value_are_read_back(server_url: str, type: str) -> None:
    n = list(VALUES).index(type)
    example: dict[str, Any] = {
        "text": "x",
        "text[]": [],
        "json": b"[]",
        "timestamptz": FAR_FUTURE,
        "boolean": False,
        "smallint": 0,
        "integer": 0,
        "bigint": 0,
    }
    empty: Row = (None,) * len(COLUMNS)
    row = (*empty[:n], example[type], *empty[n + 1 :])
    assert copied(server_url, [("s", "1")] * 2, [row, empty]) == [
        as_read(("s", "1"), row),
        ("s", "1", *empty),
    ]


@pytest.mark.parametrize(
    ("type", "value"),
    [
        ("bigint", 2**63),
        ("bigint", "7"),
        ("text", "\ud800"),
        ("text", 7),
        ("text[]", 7),
        ("json", "[]"),
        ("timestamptz", datetime(2026, 3, 2)),  # noqa: DTZ001
    ],
)
def test_a_value_that_does_not_fit_its_column_is_refused(server_url: str, type: str, value: Any) -> None:
    row: list[Any] = [None] * len(COLUMNS)
    row[list(VALUES).index(type)] = value
    with pytest.raises(psycopg.DataError, match="does not fit its column"):
        copied(server_url, [("s", "1")], [tuple(row)])


def test_a_time_of_another_zone_is_read_back_as_the_same_time_in_utc(server_url: str) -> None:
    n = list(VALUES).index("timestamptz")
    time = datetime(2026, 3, 2, 9, tzinfo=ZoneInfo("Asia/Shanghai"))
    row: list[Any] = [None] * len(COLUMNS)
    row[n] = time
    read = copied(server_url, [("s", "1")], [tuple(row)])
    assert read[0][2 + n] == time
    assert read[0][2 + n].utcoffset() == timedelta(0)
