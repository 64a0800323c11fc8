"""Applying orders to views: their rows encoded, and put into the tables of builds."""

from collections.abc import Iterable, Sequence

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from domain.history import Recorded
from domain.order.state import Order, fold
from domain.rules.ruleset import RuleBook
from infrastructure.log.columns import Texts
from infrastructure.projections.builds import Build, table_of
from infrastructure.projections.copying import SIGNATURE, TRAILER, RowEncoder, text
from infrastructure.projections.view import Judged, View

Encoded = dict[str, list[bytes]]
"""By view, its rows as COPY takes them."""


class Encoder:
    """Judges orders by a rule book and encodes their rows in some views."""

    def __init__(self, views: Iterable[View], book: RuleBook) -> None:
        self._views = [(view.name, view.rows, RowEncoder(view)) for view in views]
        self._book = book

    def nothing(self) -> Encoded:
        return {name: [] for name, _, _ in self._views}

    def encode(self, shop_id: str, order: Order, into: Encoded) -> None:
        """Add an order's rows. Whatever is raised on the way concerns this order only."""
        judged = Judged.by(self._book, order)
        key = text(shop_id) + text(order.order_sn)
        for name, rows, encode in self._views:
            encode(key, rows(judged), into[name])

    def encode_history(
        self, shop_id: str, order_sn: str, history: Sequence[Recorded], into: Encoded
    ) -> tuple[int, str] | None:
        """Add the rows of an order, or of as much of it as can be applied.

        What could not be: the position of the event, and the error.
        """
        broken: tuple[int, str] | None = None
        for end in range(len(history), 0, -1):
            rows = self.nothing()
            try:
                self.encode(shop_id, fold(order_sn, history[:end]), rows)
            except Exception as error:
                broken = (history[end - 1].position, f"{type(error).__name__}: {error}")
                continue
            for name, encoded in rows.items():
                into[name] += encoded
            return broken
        return broken


async def copy_rows(connection: AsyncConnection[TupleRow], build: Build, rows: Encoded) -> None:
    """Put encoded rows into a build's tables."""
    for view in build.declared:
        if not rows[view.name]:
            continue
        copy_in = sql.SQL("COPY {} FROM STDIN (FORMAT BINARY)").format(table_of(view, build.id))
        async with connection.cursor() as cursor, cursor.copy(copy_in) as copy:
            await copy.write(b"".join([SIGNATURE, *rows[view.name], TRAILER]))


async def delete_rows(
    connection: AsyncConnection[TupleRow], build: Build, orders: Sequence[tuple[str, str]]
) -> None:
    """Remove what a build's tables hold of these orders, each a shop and an order number."""
    parameters = (Texts([shop_id for shop_id, _ in orders]), Texts([order_sn for _, order_sn in orders]))
    for view in build.declared:
        statement = sql.SQL(
            """DELETE FROM {} v USING unnest(%s, %s) AS w(shop_id, order_sn)
               WHERE v.shop_id = w.shop_id AND v.order_sn = w.order_sn"""
        ).format(table_of(view, build.id))
        await connection.execute(statement, parameters)
