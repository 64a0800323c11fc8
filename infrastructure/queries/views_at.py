"""The views of a shop as they would be at another moment, for the queries that read the views of now.

The whole shop is folded from exactly the events that count at that moment. The rows that the views make of it go
into temporary tables with the names of the views. PostgreSQL finds a temporary table before any other of the same
name, so a query reads these instead. The log is covered in the same way, by a temporary view of the events that
count. So each query is written once, for every moment.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from psycopg import sql

from domain.rules.ruleset import RuleBook
from domain.viewpoint import Viewpoint
from infrastructure.database.pool import ReadConnection, WriteConnection
from infrastructure.log.streams import StreamState
from infrastructure.projections.builds import columns_of, indexes_of
from infrastructure.projections.rows import RowMaker, copy_to
from infrastructure.projections.view import Row, View
from infrastructure.projections.views import BY_NAME
from infrastructure.queries.as_of import OnProgress, every_state_at

# A view knows the table of the log itself, because that was found before the view had the same name.
_LOG = sql.SQL(
    """CREATE TEMPORARY VIEW event AS SELECT * FROM event
       WHERE shop_id = {shop_id} AND occurred_at <= {as_of} AND recorded_at <= {known_at}"""
)


@asynccontextmanager
async def views_at(
    url: str,
    shop_id: str,
    book: RuleBook,
    viewpoint: Viewpoint,
    views: Sequence[View],
    on_progress: OnProgress = lambda done, total: None,
) -> AsyncIterator[ReadConnection]:
    """A connection on which queries of this shop find these views, and its log, as they were at a viewpoint.

    The viewpoint must not have a version. The whole shop is folded. Raises ``ReplayFailed``.
    """
    async with (
        await WriteConnection.connect(url, autocommit=True) as connection,
        connection.transaction(force_rollback=True),
    ):
        await connection.execute("SET TIME ZONE 'UTC'")
        for view in views:
            create = sql.SQL("CREATE TEMPORARY TABLE {} {}")
            await connection.execute(create.format(sql.Identifier(view.table), columns_of(view)))
        task = _MakeRows(shop_id, book, tuple(view.name for view in views))
        async for rows in every_state_at(url, shop_id, viewpoint, task, on_progress):
            for name, of_view in rows.items():
                await copy_to(connection, BY_NAME[name], sql.Identifier(BY_NAME[name].table), of_view)
        for view in views:
            for statement in indexes_of(view, view.table):
                await connection.execute(statement)
        await connection.execute(
            _LOG.format(
                shop_id=sql.Literal(shop_id),
                as_of=sql.Literal(viewpoint.as_of or "infinity"),
                known_at=sql.Literal(viewpoint.known_at or "infinity"),
            )
        )
        yield connection


@dataclass(frozen=True, slots=True)
class _MakeRows:
    """Makes the rows of some views of a part of a shop, in any process."""

    shop_id: str
    book: RuleBook
    views: tuple[str, ...]

    def __call__(self, states: Iterable[StreamState]) -> dict[str, list[Row]]:
        rows: dict[View, list[Row]] = {BY_NAME[name]: [] for name in self.views}
        maker = RowMaker(rows, self.book)
        for state in states:
            if state.version:
                maker.add(self.shop_id, state)
        return {view.name: of_view for view, of_view in rows.items()}
