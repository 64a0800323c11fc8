"""Export: a view's table as one file, CSV or Parquet, for use in other programs.

The file shows the table at one point in time, however long the writing takes. It exists as a whole or not at all.
"""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from psycopg import sql

from infrastructure.database.pool import ReadConnection
from infrastructure.projections import builds
from infrastructure.projections.builds import CannotDo, table_of
from infrastructure.projections.view import FAR_FUTURE, Column, View
from infrastructure.runtime import atomic_files

ROW_GROUP = 20_000
"""Rows of a Parquet row group. So many are in memory at a time."""

_PROGRESS_EVERY = 5_000

OnProgress = Callable[[int, int], None]
"""Is called with the number of written rows and the number of all rows."""


class Format(StrEnum):
    CSV = "csv"
    PARQUET = "parquet"


class Exported(msgspec.Struct, frozen=True):
    """The result of an export: the view, the build that was read, the number of rows, the size of the file."""

    view: str
    build: int
    file: str
    format: Format
    rows: int
    bytes: int


# Expressions for the columns of a CSV, by type; other types are left to the database. A text that a spreadsheet
# would run as a formula gets a leading apostrophe.
_AS_TEXT = {
    "timestamptz": """to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')""",
    "boolean": "{}::text",
    "text[]": "to_json({})::text",
    "json": "{}::text",
    "text": "regexp_replace({}, '^(?=[-=+@\\t\\r])', '''')",
}

_AS_VALUE = {"json": "{}::text"}


async def export(
    connection: ReadConnection,
    view: View,
    file: Path,
    format: Format,
    *,
    shop_id: str | None = None,
    build_id: int | None = None,
    on_progress: OnProgress = lambda done, total: None,
) -> Exported:
    """Write a view, or one shop's part of it, sorted by order number or SKU. An existing file is replaced.

    ``build_id`` is the build to read; by default it is the active one. The columns are the shop, the order or SKU,
    and those of the view. A time that means "no such time" is written as null.

    Raises ``CannotDo`` if there is no such build or it is not ready, and ``OSError`` if the file can't be written.
    """
    with atomic_files.replacing(file) as output:
        async with connection.transaction():
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            chosen = await _source(connection, view, build_id)
            table = table_of(view, chosen)
            where = sql.SQL("WHERE shop_id = {}").format(shop_id) if shop_id else sql.SQL("")
            cursor = await connection.execute(sql.SQL("SELECT count(*) FROM {} {}").format(table, where))
            (total,) = await cursor.fetchone() or (0,)
            on_progress(0, total)
            query = sql.SQL("SELECT {} FROM {} {} ORDER BY {}").format(
                sql.SQL(", ").join(
                    _selected(column, _AS_TEXT if format is Format.CSV else _AS_VALUE) for column in _columns(view)
                ),
                table,
                where,
                sql.SQL(", ").join(map(sql.Identifier, view.key)),
            )
            if format is Format.CSV:
                await _write_csv(connection, query, output, total, on_progress)
            else:
                await _write_parquet(connection, query, view, output, total, on_progress)
        size = output.tell()
    return Exported(view.name, chosen, str(file), format, total, size)


async def _source(connection: ReadConnection, view: View, build_id: int | None) -> int:
    """The build to read. Its own table is read, because an activation would have to wait for the SQL view."""
    if build_id is None:
        active = (await builds.actives(connection)).get(view.name)
        if active is None:
            raise CannotDo(f"No build answers for {view.name} yet; start the program once, which makes one.")
        return active.active
    build = await builds.find(connection, build_id)
    if build is None:
        raise CannotDo(f"There is no build {build_id}; `shiplock projections list` shows those there are.")
    if view.name not in build.views:
        raise CannotDo(f"Build {build_id} holds {' and '.join(build.views)}, not {view.name}.")
    if build.state != "ready":
        why = f" ({build.error})" if build.error else ""
        raise CannotDo(f"Build {build_id} is {build.state}{why}, not ready; export another or finish it first.")
    return build_id


def _columns(view: View) -> tuple[Column, ...]:
    return Column("shop_id", "text"), Column(view.of.id_column, "text"), *view.columns


def _selected(column: Column, expressions: dict[str, str]) -> sql.Composable:
    value: sql.Composable = sql.Identifier(column.name)
    if _may_be_no_time(column):
        value = sql.SQL("nullif({}, {})").format(value, FAR_FUTURE)
    expression = sql.SQL(expressions.get(column.type, "{}")).format(value)
    return sql.SQL("{} AS {}").format(expression, sql.Identifier(column.name))


def _may_be_no_time(column: Column) -> bool:
    """Whether ``FAR_FUTURE`` in this column means null. A column that may be null does not use it."""
    return column.type == "timestamptz" and not column.optional


async def _write_csv(
    connection: ReadConnection, query: sql.Composed, output: BinaryIO, total: int, on_progress: OnProgress
) -> None:
    """The database formats the rows: null is an empty cell, an empty text is ``""``."""
    statement = sql.SQL("COPY ({}) TO STDOUT (FORMAT csv, HEADER, ENCODING 'UTF8')").format(query)
    async with connection.cursor() as cursor, cursor.copy(statement) as copy:
        done = -1  # the header comes first
        async for row in copy:
            output.write(row)
            done += 1
            if done % _PROGRESS_EVERY == 0:
                on_progress(done, total)
    on_progress(total, total)


async def _write_parquet(
    connection: ReadConnection,
    query: sql.Composed,
    view: View,
    output: BinaryIO,
    total: int,
    on_progress: OnProgress,
) -> None:
    # Imported here because it is large, and only exports need it.
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    types: dict[str, Any] = {
        "text": pa.string(),
        "json": pa.string(),
        "text[]": pa.list_(pa.string()),
        "timestamptz": pa.timestamp("us", tz="UTC"),
        "boolean": pa.bool_(),
        "smallint": pa.int16(),
        "integer": pa.int32(),
        "bigint": pa.int64(),
    }
    schema = pa.schema(
        [
            pa.field(column.name, types[column.type], nullable=column.optional or _may_be_no_time(column))
            for column in _columns(view)
        ]
    )
    await connection.execute("SET LOCAL cursor_tuple_fraction = 1")  # every row will be fetched, not the first few
    done = 0
    with ParquetWriter(output, schema) as writer:
        async with connection.cursor("export", binary=True) as cursor:
            await cursor.execute(query)
            while rows := await cursor.fetchmany(ROW_GROUP):
                values = [
                    pa.array(column, type=field.type)
                    for column, field in zip(zip(*rows, strict=True), schema, strict=True)
                ]
                writer.write_batch(pa.record_batch(values, schema=schema))
                done += len(rows)
                on_progress(done, total)
