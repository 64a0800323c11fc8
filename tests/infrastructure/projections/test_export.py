"""An export's file has the rows of the table at one point in time, and exists as a whole or not at all."""

import asyncio
import csv
import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from psycopg import sql
from pyarrow import parquet

from domain.order import commands as c
from domain.order.judged import Judged
from infrastructure.commands.committer import CommandPath
from infrastructure.database.pool import Pool, WriteConnection
from infrastructure.projections import builds
from infrastructure.projections import export as exporting
from infrastructure.projections.builds import CannotDo, table_of
from infrastructure.projections.export import Exported, Format, export
from infrastructure.projections.rows import copy_types
from infrastructure.projections.view import FAR_FUTURE, Column, Row, View, ViewOfOrders
from infrastructure.projections.views import DEADLINES, ORDERS, VIEWS, VIOLATIONS
from infrastructure.projections.worker import Worker
from infrastructure.runtime import clock
from tests.domain.vocabulary import hours
from tests.infrastructure.projections.built import BOOK, rebuilt
from tests.orders import (
    LINE,
    MONDAY_9,
    SHOP,
    appeal,
    done,
    on_database,
    order_command,
    order_sn,
    placed_and_formed,
    something_for_every_view,
)

every_view = pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
both_formats = pytest.mark.parametrize("format", Format)


async def varied(pool: Pool, path: CommandPath, shop: str = SHOP) -> None:
    """Orders with holds, several lines and parcels, no payment, violations and appeals; SKUs of all kinds."""
    await something_for_every_view(path, 4, shop)
    await done(path, *(order_command(order_sn(n), c.CompleteReview(outcome="rejected"), shop) for n in range(4)))
    two_lines = (LINE, replace(LINE, sku_id='52"0,302', name="猫粮\n“试吃”, 2 kg"))
    await done(
        path,
        order_command(order_sn(0), c.RequestStockout(reason="oversold"), shop),
        order_command(order_sn(1), c.UploadTracking(carrier="SF", tracking_number="=SF(1)"), shop),
        order_command(order_sn(2), appeal(order_sn(2), evidence="快递单"), shop),
        order_command(order_sn(4), c.Place(lines=two_lines, occurred_at=MONDAY_9 + hours(1)), shop),
        *(
            order_command(
                order_sn(1), c.ReplaceTracking(carrier="SF", tracking_number=number, reason="mistyped"), shop
            )
            for number in ("SF,2", 'SF"3"', "SF 4")
        ),
    )
    await Worker(pool, BOOK).catch_up(shop)


async def stored_rows(connection: WriteConnection, view: View, shop: str | None = None) -> list[Row]:
    """The rows of the view's table, with JSON as text, and null instead of the far future."""
    columns = [
        sql.SQL("{}::text" if column.type == "json" else "{}").format(sql.Identifier(column.name))
        for column in all_columns(view)
    ]
    query = sql.SQL("SELECT {} FROM {} WHERE shop_id = coalesce({}, shop_id) ORDER BY {}").format(
        sql.SQL(", ").join(columns),
        sql.Identifier(view.table),
        sql.Literal(shop),
        sql.SQL(", ").join(map(sql.Identifier, view.key)),
    )
    rows = await (await connection.execute(query)).fetchall()
    return [tuple(None if value == FAR_FUTURE else value for value in row) for row in rows]


def all_columns(view: View) -> list[Column]:
    return [Column("shop_id", "text"), Column(view.of.id_column, "text"), *view.columns]


def of_csv(view: View, file: Path) -> list[Row]:
    """The rows of a CSV; an empty cell is null."""
    with file.open(encoding="utf-8", newline="") as text:
        header, *rows = csv.reader(text)
    assert header == [column.name for column in all_columns(view)]
    return [
        tuple(parsed(column.type, cell) for column, cell in zip(all_columns(view), row, strict=True))
        for row in rows
    ]


def parsed(type: str, cell: str) -> Any:
    if cell == "":
        return None
    if type == "timestamptz":
        return datetime.strptime(cell, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    if type == "boolean":
        return {"true": True, "false": False}[cell]
    if type == "text[]":
        return json.loads(cell)
    return int(cell) if type in ("smallint", "integer", "bigint") else cell


def of_parquet(file: Path) -> list[Row]:
    return [tuple(row.values()) for row in parquet.read_table(file).to_pylist()]


def read(view: View, format: Format, file: Path) -> list[Row]:
    return of_csv(view, file) if format is Format.CSV else of_parquet(file)


def written(view: View, format: Format, rows: Sequence[Row]) -> list[Row]:
    """These rows as a format shows them: in a CSV an apostrophe precedes a text that looks like a formula."""
    if format is Format.PARQUET:
        return list(rows)
    return [
        tuple(
            (f"'{value}" if value[:1] in tuple("=+-@\t\r") else value or None)
            if column.type == "text" and value is not None
            else value
            for column, value in zip(all_columns(view), row, strict=True)
        )
        for row in rows
    ]


def files_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


# ---- the content ------------------------------------------------------------------------------------


@every_view
@both_formats
def test_a_file_has_the_rows_of_the_table(database_url: str, tmp_path: Path, view: View, format: Format) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await varied(pool, path)
        file = tmp_path / "file"
        async with pool.connection() as connection:
            exported = await export(connection, view, file, format)
            rows = await stored_rows(connection, view)
            active = (await builds.actives(connection))[view.name].active
        assert len(rows) > 3
        assert read(view, format, file) == written(view, format, rows)
        assert exported == Exported(view.name, active, str(file), format, len(rows), file.stat().st_size)

    on_database(database_url, work)


@every_view
def test_a_parquet_file_has_the_types_of_the_columns(database_url: str, tmp_path: Path, view: View) -> None:
    types = {
        "text": pa.string(),
        "json": pa.string(),
        "text[]": pa.list_(pa.string()),
        "timestamptz": pa.timestamp("us", "UTC"),
        "boolean": pa.bool_(),
        "smallint": pa.int16(),
        "integer": pa.int32(),
        "bigint": pa.int64(),
    }

    async def work(pool: Pool, path: CommandPath) -> None:
        async with pool.connection() as connection:
            await export(connection, view, tmp_path / "empty.parquet", Format.PARQUET)
        schema = parquet.read_schema(tmp_path / "empty.parquet")
        assert schema.names == [column.name for column in all_columns(view)]
        assert schema.types == [types[column.type] for column in all_columns(view)]

    on_database(database_url, work)


@both_formats
def test_the_file_of_an_empty_view_has_columns_and_no_rows(
    database_url: str, tmp_path: Path, format: Format
) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        async with pool.connection() as connection:
            exported = await export(connection, ORDERS, tmp_path / "file", format, shop_id="no-such-shop")
        assert (exported.rows, read(ORDERS, format, tmp_path / "file")) == (0, [])

    on_database(database_url, work)


@both_formats
def test_a_single_shop_can_be_exported(database_url: str, tmp_path: Path, format: Format) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await varied(pool, path)
        await varied(pool, path, "another")
        async with pool.connection() as connection:
            both = await export(connection, VIOLATIONS, tmp_path / "both", format)
            await export(connection, VIOLATIONS, tmp_path / "one", format, shop_id="another")
            assert read(VIOLATIONS, format, tmp_path / "one") == await stored_rows(
                connection, VIOLATIONS, "another"
            )
        assert both.rows == 2 * len(read(VIOLATIONS, format, tmp_path / "one")) > 0

    on_database(database_url, work)


def test_a_build_that_is_not_active_can_be_exported(database_url: str, tmp_path: Path) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await varied(pool, path)
        past = await rebuilt(pool, database_url, [ORDERS], scope={"shop_id": SHOP, "to_position": 6})
        async with pool.connection() as connection:
            exported = await export(connection, ORDERS, tmp_path / "then.csv", Format.CSV, build_id=past.id)
        assert (exported.build, exported.rows) == (past.id, 4)
        assert [row[4] for row in of_csv(ORDERS, tmp_path / "then.csv")] == [
            *["awaiting_shipment"] * 2,
            *["pending_group"] * 2,
        ]

    on_database(database_url, work)


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ["", "泰国金枕榴莲 1个", '"', ",", "\n", "\r\n", "=1", "'=1", "\\N", "NULL", "\\."]
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "text": TEXTS,
    "text[]": st.lists(TEXTS, max_size=3),
    "json": st.dictionaries(TEXTS, TEXTS | st.integers(-(2**53), 2**53) | st.none(), max_size=3),
    "timestamptz": st.datetimes(timezones=st.just(UTC)),
    "boolean": st.booleans(),
    "smallint": st.integers(-(2**15), 2**15 - 1),
    "integer": st.integers(-(2**31), 2**31 - 1),
    "bigint": st.integers(-(2**63), 2**63 - 1),
}


def none(judged: Judged) -> Iterable[Row]:
    return ()


EVERYTHING = ViewOfOrders(
    "everything",
    1,
    "everything",
    (
        *(Column(f"column_{n}", type, optional=True) for n, type in enumerate(VALUES)),
        Column("at", "timestamptz"),  # the far future if there is none
    ),
    ("order_sn",),
    (),
    none,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            *(st.none() | strategy for strategy in VALUES.values()), VALUES["timestamptz"] | st.just(FAR_FUTURE)
        ),
        max_size=8,
    )
)
def test_any_value_is_exported_unchanged(database_url: str, tmp_path: Path, values: list[Row]) -> None:
    rows = [
        (SHOP, order_sn(n), *(msgspec.json.encode(v) if isinstance(v, dict) else v for v in row))
        for n, row in enumerate(values)
    ]

    async def work(pool: Pool, path: CommandPath) -> None:
        async with pool.connection() as connection:
            build = await builds.register(connection, [EVERYTHING], BOOK, clock.now(), "ready")
            statement = sql.SQL("COPY {} FROM STDIN (FORMAT BINARY)").format(table_of(EVERYTHING, build.id))
            async with connection.cursor() as cursor, cursor.copy(statement) as copy:
                copy.set_types(copy_types(EVERYTHING))
                for row in rows:
                    await copy.write_row(row)
            for format in Format:
                await export(connection, EVERYTHING, tmp_path / format, format, build_id=build.id)

    on_database(database_url, work)
    expected = [
        tuple(
            None if value == FAR_FUTURE else value.decode() if isinstance(value, bytes) else value for value in row
        )
        for row in rows
    ]
    for format in Format:
        assert read(EVERYTHING, format, tmp_path / format) == written(EVERYTHING, format, expected)


def cells(url: str, file: Path, texts: Sequence[str | None]) -> list[bytes]:
    """The cells of a CSV with these texts."""
    view = ViewOfOrders("texts", 1, "texts", (Column("value", "text", optional=True),), ("order_sn",), (), none)

    async def work(pool: Pool, path: CommandPath) -> None:
        async with pool.connection() as connection:
            build = await builds.register(connection, [view], BOOK, clock.now(), "ready")
            for n, text in enumerate(texts):
                statement = sql.SQL("INSERT INTO {} VALUES ('1', %s, %s)").format(table_of(view, build.id))
                await connection.execute(statement, (order_sn(n), text))
            await export(connection, view, file, Format.CSV, build_id=build.id)

    on_database(url, work)
    return [line.split(b",", 2)[2] for line in file.read_bytes().splitlines()[1:]]


def test_no_cell_of_a_csv_begins_like_a_formula(database_url: str, tmp_path: Path) -> None:
    texts = ["=1+1", "+1", "-1", "@now", "\t=1", "SF-1", "a=b", "'=1"]
    exported = cells(database_url, tmp_path / "texts.csv", texts)
    assert exported == [b"'=1+1", b"'+1", b"'-1", b"'@now", b"'\t=1", b"SF-1", b"a=b", b"'=1"]


def test_a_null_is_an_empty_cell_and_an_empty_text_is_quoted(database_url: str, tmp_path: Path) -> None:
    assert cells(database_url, tmp_path / "texts.csv", [None, "", "x"]) == [b"", b'""', b"x"]


def test_a_csv_is_utf_8_without_a_byte_order_mark(database_url: str, tmp_path: Path) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await varied(pool, path)
        async with pool.connection() as connection:
            await export(connection, ORDERS, tmp_path / "orders.csv", Format.CSV)
        written = (tmp_path / "orders.csv").read_bytes()
        assert written.startswith(b"shop_id,order_sn,version,")
        assert "泰国金枕榴莲 1个".encode() in written
        assert b"9999-12-31" not in written

    on_database(database_url, work)


# ---- one point in time, bounded memory --------------------------------------------------------------


@both_formats
def test_a_file_shows_one_point_in_time_whatever_is_written_meanwhile(
    database_url: str, tmp_path: Path, format: Format
) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 30)
        await Worker(pool, BOOK).catch_up(SHOP)

        def meanwhile(done: int, total: int) -> None:
            with psycopg.connect(database_url) as other:
                other.execute("DELETE FROM order_list WHERE order_sn > %s", (order_sn(9),))

        async with pool.connection() as connection:
            exported = await export(connection, ORDERS, tmp_path / "file", format, on_progress=meanwhile)
            assert len(await stored_rows(connection, ORDERS)) == 10
        assert exported.rows == len(read(ORDERS, format, tmp_path / "file")) == 30

    on_database(database_url, work)


def test_a_build_can_be_activated_during_an_export(database_url: str, tmp_path: Path) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await varied(pool, path)
        build = await rebuilt(pool, database_url, [ORDERS])

        def activate(done: int, total: int) -> None:
            async def activate_if_needed() -> None:
                async with await WriteConnection.connect(database_url, autocommit=True) as other:
                    if (await builds.actives(other))["orders"].active != build.id:
                        await builds.activate(other, build.id, BOOK)

            with ThreadPoolExecutor() as thread:
                thread.submit(lambda: asyncio.run(activate_if_needed())).result(timeout=60)

        async with pool.connection() as connection:
            before = (await builds.actives(connection))["orders"].active
            exported = await export(connection, ORDERS, tmp_path / "orders.csv", Format.CSV, on_progress=activate)
            assert (await builds.actives(connection))["orders"].active == build.id
        assert (exported.build, exported.rows) == (before, 9)

    on_database(database_url, work)


def test_parquet_is_written_in_groups_of_bounded_size(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "ROW_GROUP", 4)
    calls: list[tuple[int, int]] = []

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 10)
        await Worker(pool, BOOK).catch_up(SHOP)
        async with pool.connection() as connection:
            file = tmp_path / "orders.parquet"
            await export(
                connection, ORDERS, file, Format.PARQUET, on_progress=lambda *progress: calls.append(progress)
            )
            assert of_parquet(file) == await stored_rows(connection, ORDERS)
        groups = parquet.ParquetFile(file).metadata
        assert [groups.row_group(n).num_rows for n in range(groups.num_row_groups)] == [4, 4, 2]

    on_database(database_url, work)
    assert calls == [(0, 10), (4, 10), (8, 10), (10, 10)]


# ---- as a whole or not at all -----------------------------------------------------------------------


class Interrupted(Exception):
    pass


def at_the_end(done: int, total: int) -> None:
    if done == total:
        raise Interrupted


@both_formats
def test_an_export_that_fails_leaves_no_file_and_does_not_change_an_old_one(
    database_url: str, tmp_path: Path, format: Format
) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await varied(pool, path)
        before = tmp_path / "before"
        before.write_text("of yesterday")
        async with pool.connection() as connection:
            for file in (before, tmp_path / "new"):
                with pytest.raises(Interrupted):
                    await export(connection, ORDERS, file, format, on_progress=at_the_end)
            assert files_in(tmp_path) == [before]
            assert before.read_text() == "of yesterday"

            await export(connection, ORDERS, before, format)
            assert files_in(tmp_path) == [before]
            assert len(read(ORDERS, format, before)) == 9

    on_database(database_url, work)


def test_a_missing_folder_is_an_os_error(database_url: str, tmp_path: Path) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        async with pool.connection() as connection:
            with pytest.raises(FileNotFoundError):
                await export(connection, ORDERS, tmp_path / "missing" / "orders.csv", Format.CSV)

    on_database(database_url, work)


def test_a_build_that_can_not_be_exported_is_refused_and_no_file_is_written(
    database_url: str, tmp_path: Path
) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        async with pool.connection() as connection:
            building = await builds.register(connection, [ORDERS], BOOK, clock.now(), "building")
            for view, build_id, message in (
                (ORDERS, 404, "There is no build 404"),
                (DEADLINES, building.id, f"Build {building.id} holds orders, not deadlines"),
                (ORDERS, building.id, f"Build {building.id} is building, not ready"),
            ):
                with pytest.raises(CannotDo, match=message):
                    await export(connection, view, tmp_path / "file.csv", Format.CSV, build_id=build_id)
        assert files_in(tmp_path) == []

    on_database(database_url, work)
