"""All projections at a glance."""

import msgspec

from infrastructure.database.pool import ReadConnection
from infrastructure.projections import builds
from infrastructure.projections.rebuild import Progress, progress_of
from infrastructure.projections.views import VIEWS

_BEHIND = """
SELECT coalesce(sum(s.position - coalesce(c.position, 0)), 0)::bigint
FROM shop_log s LEFT JOIN checkpoint c ON c.shop_id = s.shop_id AND c.reader = %s
"""


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


async def _count(connection: ReadConnection, query: str, *parameters: str) -> int:
    cursor = await connection.execute(query, parameters)
    row = await cursor.fetchone()
    return row[0] if row else 0
