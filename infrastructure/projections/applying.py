"""Applying orders to views: their rows made, and put into the tables of builds."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import psycopg
from psycopg import AsyncConnection, Copy, sql
from psycopg.rows import TupleRow

from domain.history import Recorded
from domain.order.state import Order, fold
from domain.rules.ruleset import RuleBook
from infrastructure.log.columns import Texts
from infrastructure.projections.builds import Build, table_of
from infrastructure.projections.view import THE_ORDER, Judged, Row, View

REFUSED = (psycopg.DataError, psycopg.IntegrityError)
"""What is raised for a row that can't be stored."""


class Applied:
    """Orders judged by a rule book, and their rows in some views, as they gather."""

    def __init__(self, views: Iterable[View], book: RuleBook) -> None:
        self._book = book
        self.rows: dict[str, list[Row]] = {}
        self._into = [(view.rows, self.rows.setdefault(view.name, [])) for view in views]

    def add(self, shop_id: str, order: Order) -> None:
        """Add an order's rows, or none if any view can't make them. What is raised concerns this order only."""
        judged = Judged.by(self._book, order)
        order_sn = order.order_sn
        found = [[(shop_id, order_sn, *row) for row in rows(judged)] for rows, _ in self._into]
        for (_, into), rows in zip(self._into, found, strict=True):
            into += rows

    def add_history(self, shop_id: str, order_sn: str, history: Sequence[Recorded]) -> tuple[int, str] | None:
        """Add an order, or as much of it as can be applied.

        What could not be: the position of the event, and the error.
        """
        broken: tuple[int, str] | None = None
        for end in range(len(history), 0, -1):
            try:
                self.add(shop_id, fold(order_sn, history[:end]))
            except Exception as error:
                broken = (history[end - 1].position, f"{type(error).__name__}: {error}")
            else:
                break
        return broken


async def copy_order(
    connection: AsyncConnection[TupleRow],
    into: Sequence[Build],
    book: RuleBook,
    order: tuple[str, str],
    history: Sequence[Recorded],
) -> tuple[int, str] | None:
    """Put the rows of one order into builds' tables, or of as much of it as can be applied and stored.

    What could not be: the position of the event, and the error.
    """
    views = {view.name: view for build in into for view in build.declared}
    refused: tuple[int, str] | None = None
    end = len(history)
    while True:
        applied = Applied(views.values(), book)
        broken = applied.add_history(*order, history[:end])
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
    connection: AsyncConnection[TupleRow], build: Build, orders: Sequence[tuple[str, str]]
) -> None:
    """Remove what a build's tables hold of these orders, each a shop and an order number."""
    parameters = (Texts([shop_id for shop_id, _ in orders]), Texts([order_sn for _, order_sn in orders]))
    for view in build.declared:
        statement = sql.SQL("DELETE FROM {} v USING unnest(%s, %s) AS w(shop_id, order_sn) WHERE {}").format(
            table_of(view, build.id), sql.SQL(THE_ORDER)
        )
        await connection.execute(statement, parameters)
