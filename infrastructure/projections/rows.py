"""Applying orders and SKUs to views: making their rows, and writing them to the tables of builds."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from io import BytesIO
from typing import Any, Protocol, TypeVar

import psycopg
from psycopg import Connection, Copy, sql
from psycopg.copy import FileWriter
from psycopg.rows import TupleRow

from domain.history import Recorded
from domain.order.judged import Judged
from domain.order.state import Order
from domain.rules.ruleset import RuleBook
from domain.sku.state import Sku
from infrastructure.database.pool import WriteConnection
from infrastructure.log.columns import TextListDumper, Texts
from infrastructure.log.streams import StreamState, kind_of
from infrastructure.projections.builds import Build, table_of
from infrastructure.projections.view import Row, View, ViewOfOrders, ViewOfSkus

S = TypeVar("S", bound=Judged | Sku)

REFUSED = (psycopg.DataError, psycopg.IntegrityError)
"""The errors that the database raises for a row that can't be stored."""


class RowSink(Protocol):
    """Collects the rows of a view: a list, or ``EncodedRows``."""

    def extend(self, rows: list[Row], /) -> None: ...


class RowMaker:
    """Makes the rows of orders and SKUs, judged by a rule book, and adds them to the sink of each view."""

    def __init__(self, sinks: Mapping[View, RowSink], book: RuleBook) -> None:
        self._book = book
        self._of_orders = [(view.rows, sink) for view, sink in sinks.items() if isinstance(view, ViewOfOrders)]
        self._of_skus = [(view.rows, sink) for view, sink in sinks.items() if isinstance(view, ViewOfSkus)]

    def add(self, shop_id: str, state: StreamState) -> None:
        """Add the rows of one order or SKU. If a view fails, its error is raised and no view gets rows."""
        if isinstance(state, Order):
            _add(self._of_orders, Judged.by(self._book, state), shop_id, state.order_sn)
        else:
            _add(self._of_skus, state, shop_id, state.sku_id)

    def add_history(self, shop_id: str, stream: str, history: Sequence[Recorded[Any]]) -> tuple[int, str] | None:
        """Add the rows of an order or SKU after as many of its events as can be applied.

        Returns the position of the first event that can't be applied, and the error; ``None`` if all can.
        """
        kind = kind_of(stream)
        failure: tuple[int, str] | None = None
        for end in range(len(history), 0, -1):
            try:
                self.add(shop_id, kind.fold(kind.id_of(stream), history[:end]))
            except Exception as error:
                failure = (history[end - 1].position, f"{type(error).__name__}: {error}")
            else:
                break
        return failure


def _add(sinks: Sequence[tuple[Callable[[S], Iterable[Row]], RowSink]], subject: S, shop_id: str, of: str) -> None:
    made: list[tuple[RowSink, list[Row]]] = []
    for make, sink in sinks:
        if rows := make(subject):
            made.append((sink, [(shop_id, of, *row) for row in rows]))
    for sink, of_view in made:
        sink.extend(of_view)


async def copy_stream(
    connection: WriteConnection,
    targets: Sequence[Build],
    book: RuleBook,
    pair: tuple[str, str],
    history: Sequence[Recorded[Any]],
) -> tuple[int, str] | None:
    """Write the rows of an order or SKU to builds' tables, after as many events as can be applied and stored.

    Returns the position of the first event that can't be, and the error; ``None`` if all can.
    """
    views = {view.name: view for build in targets for view in build.declared}
    refused: tuple[int, str] | None = None
    end = len(history)
    while True:
        rows: dict[View, list[Row]] = {view: [] for view in views.values()}
        failure = RowMaker(rows, book).add_history(*pair, history[:end])
        try:
            async with connection.transaction():
                for build in targets:
                    await copy_rows(connection, build, rows)
        except REFUSED as error:
            end -= 1
            refused = (history[end].position, str(error))
        else:
            return refused or failure


async def copy_rows(connection: WriteConnection, build: Build, rows: Mapping[View, Sequence[Row]]) -> None:
    """Write rows to a build's tables. Raises one of ``REFUSED``."""
    for view in build.declared:
        if rows[view]:
            await copy_to(connection, view, table_of(view, build.id), rows[view])


async def copy_to(connection: WriteConnection, view: View, table: sql.Identifier, rows: Sequence[Row]) -> None:
    """Write rows of a view to a table that has its columns. Raises one of ``REFUSED``."""
    async with connection.cursor() as cursor, cursor.copy(_COPY.format(table)) as copy:
        copy.set_types(copy_types(view))
        try:
            for row in rows:
                await copy.write_row(row)
        except _MISFITS as error:
            raise _does_not_fit(error) from error


class EncodedRows:
    """Rows of a view in the format of COPY. Each is encoded when it is added.

    So many rows take only the memory of their bytes, and the memory of one row's objects is used again for the
    next.
    """

    def __init__(self, connection: Connection[TupleRow], view: View) -> None:
        self._bytes = BytesIO()
        cursor = connection.cursor()
        cursor.adapters.register_dumper(None, TextListDumper)
        self._copy = Copy(cursor, binary=True, writer=FileWriter(self._bytes))
        self._copy.set_types(copy_types(view))
        self._write = self._copy.write_row

    def extend(self, rows: Iterable[Row]) -> None:
        """Raises ``psycopg.DataError`` for a value that does not fit. The rows before it stay added."""
        write = self._write
        try:
            for row in rows:
                write(row)
        except _MISFITS as error:
            raise _does_not_fit(error) from error

    def copy(self, connection: Connection[TupleRow], statement: sql.Composed) -> None:
        """Send the rows to a COPY statement, once. Raises one of ``REFUSED``."""
        self._copy.finish(None)
        with connection.cursor().copy(statement) as copy:
            copy.write(self._bytes.getbuffer())


_COPY = sql.SQL("COPY {} FROM STDIN (FORMAT BINARY)")


def copy_statement(view: View, build: Build) -> sql.Composed:
    return _COPY.format(table_of(view, build.id))


def copy_types(view: View) -> list[str]:
    """The types of a row's values. JSON is passed as bytes."""
    return ["text", "text", *("bytea" if column.type == "json" else column.type for column in view.columns)]


_MISFITS = (TypeError, ValueError, LookupError, ArithmeticError, AttributeError)


def _does_not_fit(error: Exception) -> psycopg.DataError:
    """The driver's error for a value that does not fit its column, as the error that the database would raise.

    The driver does not notice a ``smallint`` or ``integer`` that is too large. No number of a view comes near.
    """
    return psycopg.DataError(f"a value does not fit its column: {error}")


async def delete_rows(connection: WriteConnection, build: Build, streams: Sequence[tuple[str, str]]) -> None:
    """Delete the rows of these orders and SKUs, each a shop and a stream, from a build's tables."""
    for view in build.declared:
        ids = [(shop_id, view.of.id_of(stream)) for shop_id, stream in streams if kind_of(stream) is view.of]
        if not ids:
            continue
        statement = sql.SQL("DELETE FROM {} v USING unnest(%s, %s) AS w(shop_id, id) WHERE {}").format(
            table_of(view, build.id), sql.SQL(view.rows_of_one)
        )
        await connection.execute(statement, (Texts([shop for shop, _ in ids]), Texts([of for _, of in ids])))
