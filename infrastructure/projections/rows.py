"""Applying orders and SKUs to views: their rows made, and put into the tables of builds."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from io import BytesIO
from typing import Any, Protocol

import psycopg
from psycopg import Connection, Copy, sql
from psycopg.copy import FileWriter
from psycopg.rows import TupleRow

from domain.history import Recorded
from domain.order.state import Order
from domain.rules.ruleset import RuleBook
from infrastructure.database.pool import WriteConnection
from infrastructure.log.columns import TextListDumper, Texts
from infrastructure.log.streams import KINDS, OF_ORDER, OF_SKU, State, kind_of
from infrastructure.projections.builds import Build, table_of
from infrastructure.projections.view import Row, View, judged

REFUSED = (psycopg.DataError, psycopg.IntegrityError)
"""What is raised for a row that can't be stored."""


class Rows(Protocol):
    """Where the rows of a view go: a list, or ``Encoded``."""

    def extend(self, rows: list[Row], /) -> None: ...


class Applied:
    """Orders and SKUs judged by a rule book; their rows go ``into`` what is given for each view."""

    def __init__(self, into: Mapping[View, Rows], book: RuleBook) -> None:
        self._book = book
        self._into: dict[str, list[tuple[Callable[[Any], Iterable[Row]], Rows]]] = {
            kind.word: [(view.rows, rows) for view, rows in into.items() if view.of is kind] for kind in KINDS
        }

    def add(self, shop_id: str, state: State) -> None:
        """Add the rows of one, or none if any view can't make them. What is raised concerns this one only."""
        kind, of = (OF_ORDER, state.order_sn) if isinstance(state, Order) else (OF_SKU, state.sku_id)
        seen = judged(state, self._book)
        found = [
            (into, [(shop_id, of, *row) for row in rows])
            for make, into in self._into[kind.word]
            if (rows := make(seen))
        ]
        for into, rows in found:
            into.extend(rows)

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
    connection: WriteConnection,
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
        rows: dict[View, list[Row]] = {view: [] for view in views.values()}
        broken = Applied(rows, book).add_history(*pair, history[:end])
        try:
            async with connection.transaction():
                for build in into:
                    await copy_rows(connection, build, rows)
        except REFUSED as error:
            end -= 1
            refused = (history[end].position, str(error))
        else:
            return refused or broken


async def copy_rows(connection: WriteConnection, build: Build, rows: Mapping[View, Sequence[Row]]) -> None:
    """Put rows into a build's tables. Raises one of ``REFUSED``."""
    for view in build.declared:
        if rows[view]:
            async with connection.cursor() as cursor, cursor.copy(copy_statement(view, build)) as copy:
                copy.set_types(copy_types(view))
                try:
                    for row in rows[view]:
                        await copy.write_row(row)
                except _MISFITS as error:
                    raise _does_not_fit(error) from error


class Encoded:
    """Rows of a view as COPY takes them, encoded as they come.

    Whoever makes many rows keeps bytes, not objects, and the memory of one row serves the next.
    """

    def __init__(self, connection: Connection[TupleRow], view: View) -> None:
        self._bytes = BytesIO()
        cursor = connection.cursor()
        cursor.adapters.register_dumper(None, TextListDumper)
        self._copy = Copy(cursor, binary=True, writer=FileWriter(self._bytes))
        self._copy.set_types(copy_types(view))
        self._write = self._copy.write_row

    def extend(self, rows: Iterable[Row]) -> None:
        """Raises ``psycopg.DataError`` for a value that does not fit; the rows before it are there all the same."""
        write = self._write
        try:
            for row in rows:
                write(row)
        except _MISFITS as error:
            raise _does_not_fit(error) from error

    def copy(self, connection: Connection[TupleRow], statement: sql.Composed) -> None:
        """Put them where a COPY puts them, once. Raises one of ``REFUSED``."""
        self._copy.finish(None)
        with connection.cursor().copy(statement) as copy:
            copy.write(self._bytes.getbuffer())


def copy_statement(view: View, build: Build) -> sql.Composed:
    return sql.SQL("COPY {} FROM STDIN (FORMAT BINARY)").format(table_of(view, build.id))


def copy_types(view: View) -> list[str]:
    """The types of a row's values; JSON comes as the bytes that are stored."""
    return ["text", "text", *("bytea" if column.type == "json" else column.type for column in view.columns)]


_MISFITS = (TypeError, ValueError, LookupError, ArithmeticError, AttributeError)


def _does_not_fit(error: Exception) -> psycopg.DataError:
    """What the driver says of a value that does not fit its column, said as the database says it.

    A ``smallint`` or ``integer`` that is too large is not noticed; nothing a view counts comes near.
    """
    return psycopg.DataError(f"a value does not fit its column: {error}")


async def delete_rows(connection: WriteConnection, build: Build, streams: Sequence[tuple[str, str]]) -> None:
    """Remove what a build's tables hold of these orders and SKUs, each a shop and a stream."""
    for view in build.declared:
        gone = [(shop_id, view.of.id_of(stream)) for shop_id, stream in streams if kind_of(stream) is view.of]
        if not gone:
            continue
        statement = sql.SQL("DELETE FROM {} v USING unnest(%s, %s) AS w(shop_id, id) WHERE {}").format(
            table_of(view, build.id), sql.SQL(view.rows_of_one)
        )
        await connection.execute(statement, (Texts([shop for shop, _ in gone]), Texts([of for _, of in gone])))
