"""The declared views are consistent, have different definitions, and do not depend on the present time."""

import dataclasses
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from freezegun import freeze_time
from msgspec.structs import replace
from psycopg import sql

from domain.history import Metadata, Recorded
from domain.order import events as e
from domain.order.fold import fold
from domain.order.judged import Judged
from domain.rules.ruleset import RuleBook
from infrastructure.commands.committer import CommandPath
from infrastructure.database.pool import Pool
from infrastructure.log.codec import AnyEvent
from infrastructure.log.streams import OF_ORDER, AnyKind
from infrastructure.projections import builds
from infrastructure.projections.rows import EncodedRows
from infrastructure.projections.view import Row, View, judged, make_rows
from infrastructure.projections.views import BY_NAME, DEADLINES, ORDERS, VIEWS, VIOLATIONS
from infrastructure.projections.views.deadlines import LANES
from infrastructure.runtime import clock
from tests.infrastructure.log.test_codec import EVENTS, SKU_EVENTS
from tests.infrastructure.projections.built import BOOK, active
from tests.orders import MONDAY_9, on_database

every_view = pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)

# ---- declarations -----------------------------------------------------------------------------------


def test_every_view_has_its_own_name_and_table() -> None:
    assert list(BY_NAME.values()) == list(VIEWS)
    assert len({view.table for view in VIEWS}) == len(VIEWS)


@every_view
def test_no_two_columns_or_indexes_have_the_same_name(view: View) -> None:
    names = ["shop_id", view.of.id_column, *(column.name for column in view.columns)]
    assert len(set(names)) == len(names)
    indexes = ["key", *(index.name for index in view.indexes)]
    assert len(set(indexes)) == len(indexes)


@every_view
def test_a_key_has_only_existing_columns_that_are_never_null(view: View) -> None:
    never_null = {"shop_id", view.of.id_column, *(column.name for column in view.columns if not column.optional)}
    assert {"shop_id", view.of.id_column} <= set(view.key) <= never_null
    assert view.key[0] == view.of.id_column, "the key alone finds an order's rows"


@every_view
def test_the_tables_have_the_declared_columns_and_indexes(database_url: str, view: View) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        async with pool.connection() as connection:
            build = await active(connection, view.name)
            cursor = await connection.execute(
                """SELECT attname::text, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute
                   WHERE attrelid = %s::regclass AND attnum > 0 ORDER BY attnum""",
                (f"{view.table}_{build.id}",),
            )
            types = {"timestamptz": "timestamp with time zone"}
            assert await cursor.fetchall() == [
                ("shop_id", "text", True),
                (view.of.id_column, "text", True),
                *((c.name, types.get(c.type, c.type), not c.optional) for c in view.columns),
            ]
            cursor = await connection.execute(
                "SELECT indexname::text, indexdef LIKE 'CREATE UNIQUE%%' FROM pg_indexes WHERE tablename = %s",
                (f"{view.table}_{build.id}",),
            )
            assert dict(await cursor.fetchall()) == {
                f"{view.table}_{build.id}_key": True,
                **{f"{view.table}_{build.id}_{index.name}": False for index in view.indexes},
            }

    on_database(database_url, work)


def test_every_kind_and_end_of_a_deadline_has_its_own_lane() -> None:
    assert sorted(LANES.values()) == list(range(len(LANES)))


# ---- definitions ------------------------------------------------------------------------------------


def dearer() -> RuleBook:
    rules = BOOK.sets[-1]
    penalty = rules.penalty.stockout
    steps = tuple(replace(step, flat_fen=1, percent=None, cap_fen=None) for step in penalty.steps)
    return RuleBook(
        [*BOOK.sets[:-1], replace(rules, penalty=replace(rules.penalty, stockout=replace(penalty, steps=steps)))]
    )


def test_a_definition_changes_only_with_the_version_of_a_view_or_with_a_rule() -> None:
    now = builds.definition(VIEWS, BOOK)
    assert builds.definition(list(VIEWS), RuleBook(reversed(BOOK.sets))) == now
    others = {
        builds.definition([ORDERS, DEADLINES], BOOK),
        builds.definition([dataclasses.replace(ORDERS, version=ORDERS.version + 1), DEADLINES, VIOLATIONS], BOOK),
        builds.definition(
            [ORDERS, DEADLINES, dataclasses.replace(VIOLATIONS, version=VIOLATIONS.version + 1)], BOOK
        ),
        builds.definition(VIEWS, dearer()),
        builds.definition(VIEWS, RuleBook([replace(BOOK.sets[-1], name="renamed")])),
    }
    assert len(others) == 5
    assert now not in others


def test_a_definition_names_its_views_and_their_versions() -> None:
    assert builds.definition([ORDERS, VIOLATIONS], BOOK).startswith(
        f"orders/{ORDERS.version} violations/{VIOLATIONS.version} rules/"
    )


# ---- rows -------------------------------------------------------------------------------------------


def states_of(kind: AnyKind = OF_ORDER) -> Iterator[Any]:
    """The states after each event of a history with all types of events, and of histories without one type."""
    events: Sequence[AnyEvent] = EVENTS if kind is OF_ORDER else SKU_EVENTS
    for without in (None, *events):
        history: list[Recorded[Any]] = [
            Recorded(event, n, n, MONDAY_9 + timedelta(hours=7 * n), MONDAY_9 + timedelta(hours=7 * n), Metadata())
            for n, event in enumerate((event for event in events if event is not without), start=1)
        ]
        for end in range(1, len(history) + 1):
            yield kind.fold("260302-1", history[:end])


@every_view
def test_rows_of_any_history_fit_the_columns(database_url: str, view: View) -> None:
    applied: list[Row] = []
    for n, state in enumerate(states_of(view.of)):
        rows = list(make_rows(view, judged(state, BOOK)))
        assert all(len(row) == len(view.columns) for row in rows)
        for row in rows:
            for column, value in zip(view.columns, row, strict=True):
                assert column.optional or value is not None, column.name
        applied += [(f"{n}", "260302-1", *row) for row in rows]
    assert applied
    with psycopg.connect(database_url) as connection:
        (active_build,) = connection.execute(
            "SELECT active FROM projection WHERE name = %s", (view.name,)
        ).fetchall()
        table = f"{view.table}_{active_build[0]}"
        encoded = EncodedRows(connection, view)
        encoded.extend(applied)
        encoded.copy(connection, sql.SQL("COPY {} FROM STDIN (FORMAT BINARY)").format(sql.Identifier(table)))
        (count,) = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchall()
        assert count == (len(applied),)


@every_view
def test_rows_do_not_depend_on_the_present_time(view: View) -> None:
    states = list(states_of(view.of))
    rows_at: list[object] = []
    for present in ("2020-01-01", "2026-03-04 12:00", "2126-01-01"):
        with freeze_time(present):
            assert clock.now().isoformat().startswith(present[:10])
            rows_at.append([list(make_rows(view, judged(state, BOOK))) for state in states])
    assert rows_at[0] == rows_at[1] == rows_at[2]


def test_an_order_is_one_row_of_the_orders_view() -> None:
    assert {len(list(ORDERS.rows(Judged.by(BOOK, order)))) for order in states_of()} == {1}


def test_the_columns_of_a_list_agree_with_the_order() -> None:
    """These are the columns that lists sort and filter by, for a locked order and a shipped one."""
    placed, formed = (
        e.OrderPlaced((e.Line("2", "g", "绿豆糕", 1, 900), e.Line("1", "g", "月饼", 2, 100)), paid_fen=1100),
        e.GroupFormed(),
    )
    names = [column.name for column in ORDERS.columns]

    def listed(*events: e.OrderEvent) -> dict[str, object]:
        history: list[Recorded[Any]] = [
            Recorded(event, n, n * 10, MONDAY_9 + timedelta(hours=n), MONDAY_9, Metadata())
            for n, event in enumerate(events, start=1)
        ]
        (row,) = ORDERS.rows(Judged.by(BOOK, fold("260302-1", history)))
        return dict(zip(names, row, strict=True))

    locked = listed(placed, formed, e.StockoutRequested("oversold"))
    assert (locked["locked"], locked["version"], locked["position"]) == (True, 3, 30)
    assert locked["sku_ids"] == ["1", "2"]
    assert locked["shipment_lock"]
    shipped = listed(placed, formed, e.TrackingUploaded("SF", "SF1"))
    assert (shipped["locked"], shipped["shipment_lock"]) == (False, None)
    assert shipped["tracking_numbers"] == b'["SF1"]'
    assert shipped["shipped_at"] == MONDAY_9 + timedelta(hours=3)
