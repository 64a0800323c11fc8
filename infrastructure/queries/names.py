"""The distinct ids in a column of a shop's rows: from one to the next by index, however many rows each has."""

from collections.abc import Sequence
from typing import NamedTuple

from infrastructure.database.pool import ReadConnection
from infrastructure.queries.paging import Cursor

NameKey = tuple[str]

_NAMES = """
WITH RECURSIVE named(name) AS (
    SELECT {first} UNION ALL SELECT {next} FROM named WHERE named.name IS NOT NULL
)
SELECT name FROM named WHERE name IS NOT NULL LIMIT %(limit)s
"""

_NEAREST = """(
    SELECT {column} FROM {table} WHERE shop_id = %(shop_id)s AND {condition} AND {bound}
    ORDER BY {column} {direction} LIMIT 1
)"""


class NamesIn(NamedTuple):
    """A column with ids, and which rows count. An index must begin with the shop and the column."""

    table: str
    column: str
    condition: str = "true"


async def read_names(
    connection: ReadConnection,
    shop_id: str,
    sources: Sequence[NamesIn],
    limit: int,
    cursor: Cursor[NameKey] | None,
    *,
    from_end: bool = False,
) -> list[str]:
    """The next so many ids behind a cursor, in the order in which they are read.

    Without a cursor it is read from the beginning, or backwards ``from_end``.
    """
    backwards = cursor.backwards if cursor else from_end
    beyond, direction, nearest = ("<", "DESC", "greatest") if backwards else (">", "ASC", "least")

    def read(bound: str) -> str:
        each = [
            _NEAREST.format(**source._asdict(), bound=bound.format(source.column), direction=direction)
            for source in sources
        ]
        return f"{nearest}({', '.join(each)})"

    first = f"{{}} {beyond}{'=' if cursor.includes_key else ''} %(name)s" if cursor else "true"
    found = await connection.execute(
        _NAMES.format(first=read(first), next=read(f"{{}} {beyond} named.name")),
        {"shop_id": shop_id, "name": cursor.key[0] if cursor else None, "limit": limit},
    )
    return [name for (name,) in await found.fetchall()]
