"""Applying orders and SKUs to views: their rows made, and put into the tables of builds."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import AsyncConnection, Copy, sql
from psycopg.rows import TupleRow

from domain.history import Recorded
from domain.order.state import Order
from domain.rules.ruleset import RuleBook
from infrastructure.log.columns import Texts
from infrastructure.log.streams import KINDS, OF_ORDER, OF_SKU, State, kind_of
from infrastructure.projections.builds import Build, table_of
from infrastructure.projections.view import Row, View, judged

REFUSED = (psycopg.DataError, psycopg.IntegrityError)
"""What is raised for a row that can't be stored."""


class Applied:
    """Orders and SKUs judged by a rule book, and their rows in some views, as they gather."""

    def __init__(self, views: Iterable[View], book: RuleBook) -> None:
        self._book = book
        self.rows: dict[str, list[Row]] = {}
        self._into: dict[str, list[tuple[Callable[[Any], Iterable[Row]], list[Row]]]] = {
            kind.word: [] for kind in KINDS
        }
        for view in views:
            self._into[view.of.word].append((view.rows, self.rows.setdefault(view.name, [])))

    def add(self, shop_id: str, state: State) -> None:
        """Add the rows of one, or none if any view can't make them. What is raised concerns this one only."""
        kind, of = (OF_ORDER, state.order_sn) if isinstance(state, Order) else (OF_SKU, state.sku_id)
        seen = judged(state, self._book)
        found = [[(shop_id, of, *row) for row in rows(seen)] for rows, _ in self._into[kind.word]]
        for (_, into), rows in zip(self._into[kind.word], found, strict=True):
            into += rows

    def add_history(self, shop_id: str, stream: str, history: Sequence[Recorded[Any]]) -> tuple[int, str] | None:
        """Add an order or SKU, or as much of it as can be applied.

        What could not be: the position of the event, and the error.
        """
        kind = kind_of(stream)
        broken: tuple[int, str] | None = None
        for end in range(len(history), 0, -1):
            try:
                self.add(shop_id, kind.fold(kind.id_of(stream), history[:end]))
            except Exception as error:
                broken = (history[end - 1].position, f"{type(error).__name__}: {error}")
            else:
                break
        return broken


async def copy_stream(
    connection: AsyncConnection[TupleRow],
    into: Sequence[Build],
    book: RuleBook,
    pair: tuple[str, str],
    history: Sequence[Recorded[Any]],
) -> tuple[int, str] | None:
    """Put the rows of one order or SKU into builds' tables, or of as much of it as can be applied and stored.

    What could not be: the position of the event, and the error.
    """
    views = {view.name: view for build in into for view in build.declared}
    refused: tuple[int, str] | None = None
    end = len(history)
    while True:
        applied = Applied(views.values(), book)
        broken = applied.add_history(*pair, history[:end])
        try:
            async with connection.transaction():
                for build in into:
                    await copy_rows(connection, build, applied.rows)
        except REFUSED as error:
            end -= 1
            refused = (history[end].position, str(error))
        else:
            return refused or broken


async def copy_rows(connection: AsyncConnection[TupleRow], build: Build, rows: Mapping[str, Sequence[Row]]) -> None:
    """Put rows, by view, into a build's tables. Raises one of ``REFUSED``."""
    for view in build.declared:
        if rows[view.name]:
            async with connection.cursor() as cursor, cursor.copy(copy_statement(view, build)) as copy:
                copy.set_types(copy_types(view))
                with fitting():
                    for row in rows[view.name]:
                        await copy.write_row(row)


def copy_statement(view: View, build: Build) -> sql.Composed:
    return sql.SQL("COPY {} FROM STDIN (FORMAT BINARY)").format(table_of(view, build.id))


def write_rows(copy: Copy, view: View, rows: Iterable[Row]) -> None:
    """Put rows of a view into a COPY; ``copy_rows`` for who waits for nothing else meanwhile."""
    copy.set_types(copy_types(view))
    with fitting():
        for row in rows:
            copy.write_row(row)


def copy_types(view: View) -> list[str]:
    """The types of a row's values; JSON comes as the bytes that are stored."""
    return ["text", "text", *("bytea" if column.type == "json" else column.type for column in view.columns)]


@contextmanager
def fitting() -> Iterator[None]:
    """What the driver says of a value that does not fit its column, said as the database says it.

    A ``smallint`` or ``integer`` that is too large is not noticed; nothing a view counts comes near.
    """
    try:
        yield
    except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError) as error:
        raise psycopg.DataError(f"a value does not fit its column: {error}") from error


async def delete_rows(
    connection: AsyncConnection[TupleRow], build: Build, streams: Sequence[tuple[str, str]]
) -> None:
    """Remove what a build's tables hold of these orders and SKUs, each a shop and a stream."""
    for view in build.declared:
        gone = [(shop_id, view.of.id_of(stream)) for shop_id, stream in streams if kind_of(stream) is view.of]
        if not gone:
            continue
        statement = sql.SQL("DELETE FROM {} v USING unnest(%s, %s) AS w(shop_id, id) WHERE {}").format(
            table_of(view, build.id), sql.SQL(view.rows_of_one)
        )
        await connection.execute(statement, (Texts([shop for shop, _ in gone]), Texts([of for _, of in gone])))
