"""All projections at a glance, and the orders and SKUs that are parked."""

from datetime import datetime

import msgspec
from psycopg import sql
from psycopg.rows import class_row

from infrastructure.database.pool import ReadConnection
from infrastructure.projections import builds
from infrastructure.projections.parking import ParkedState
from infrastructure.projections.rebuild import Progress, progress_of
from infrastructure.projections.views import VIEWS
from infrastructure.queries.paging import Cursor, Keyset, Page, page_of

ParkedKey = tuple[str, str]
"""The shop and the stream."""

_BEHIND = """
SELECT coalesce(sum(s.position - coalesce(c.position, 0)), 0)::bigint
FROM shop_log s LEFT JOIN checkpoint c ON c.shop_id = s.shop_id AND c.reader = %s
"""


_PARKED = sql.SQL(
    """
SELECT shop_id, stream,
       CASE WHEN stream LIKE 'order:%%' THEN substr(stream, 7) END AS order_sn,
       CASE WHEN stream LIKE 'sku:%%' THEN substr(stream, 5) END AS sku_id,
       p.position,
       (SELECT count(*) FROM event e WHERE e.shop_id = p.shop_id AND e.stream = p.stream
                                     AND e.position >= p.position) AS events,
       state, attempts, error, parked_at,
       CASE WHEN state = 'retrying' THEN retry_at END AS retry_at
FROM parked p
WHERE {}
ORDER BY {} LIMIT %(limit)s
"""
)


class Projection(msgspec.Struct, frozen=True):
    """A projection: which build answers, which one it can go back to, and all its builds, oldest first.

    ``behind`` counts events that the active build has not applied yet, over all shops; ``parked`` orders with an
    event that can't be applied.
    """

    name: str
    version: int
    active: int | None
    previous: int | None
    behind: int
    parked: int
    builds: list[Progress]


async def overview(connection: ReadConnection) -> list[Projection]:
    """Every projection."""
    every = await builds.every(connection)
    progress = {build.id: await progress_of(connection, build) for build in every}
    actives = await builds.actives(connection)
    readers = {name: f"build:{selected.active}" for name, selected in actives.items()}
    behind = {reader: await _count(connection, _BEHIND, reader) for reader in set(readers.values())}
    parked = await _count(connection, "SELECT count(*) FROM parked")
    return [
        Projection(
            name=view.name,
            version=view.version,
            active=actives[view.name].active if view.name in actives else None,
            previous=actives[view.name].previous if view.name in actives else None,
            behind=behind.get(readers.get(view.name, ""), 0),
            parked=parked,
            builds=[progress[build.id] for build in every if view.name in build.views],
        )
        for view in VIEWS
    ]


class Parked(msgspec.Struct, frozen=True):
    """A parked order or SKU: the position of the event that can't be applied, and the error.

    ``events`` is the number of waiting events.
    """

    shop_id: str
    stream: str
    order_sn: str | None
    sku_id: str | None
    position: int
    events: int
    state: ParkedState
    attempts: int
    error: str
    parked_at: datetime
    retry_at: datetime | None


async def list_parked(
    connection: ReadConnection, limit: int, cursor: Cursor[ParkedKey] | None = None
) -> Page[Parked, ParkedKey]:
    """Parked orders and SKUs, sorted by shop and stream."""
    keyset = Keyset([sql.Identifier("p", column) for column in ("shop_id", "stream")], cursor)
    found = connection.cursor(row_factory=class_row(Parked))
    await found.execute(_PARKED.format(keyset.condition, keyset.order), {"limit": limit + 1, **keyset.parameters})
    return page_of(await found.fetchall(), limit, cursor, lambda parked: (parked.shop_id, parked.stream))


async def _count(connection: ReadConnection, query: str, *parameters: str) -> int:
    cursor = await connection.execute(query, parameters)
    row = await cursor.fetchone()
    return row[0] if row else 0
