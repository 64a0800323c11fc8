"""What people call merchants, clients and people, and when keys were last used: tables that can be erased.

The log has opaque ids alone, because what it holds can't be taken back.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

import psycopg
from psycopg.rows import TupleRow

from infrastructure.database.pool import ReadConnection

Connection = psycopg.Connection[TupleRow]

_SET = """
INSERT INTO access_name (id, kind, name) VALUES (%s, %s, %s) ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name
"""

_NOTE = """
INSERT INTO key_use (key_id, used_at) SELECT * FROM unnest(%s::text[], %s::timestamptz[]) AS u(key_id, used_at)
ON CONFLICT (key_id) DO UPDATE SET used_at = greatest(key_use.used_at, EXCLUDED.used_at)
"""


def set_name(connection: Connection, of: str, kind: str, name: str) -> None:
    connection.execute(_SET, (of, kind, name))


class Notes(NamedTuple):
    """Names by id, and when each key was last used, to the minute."""

    names: Mapping[str, str]
    last_uses: Mapping[str, datetime]


def read_notes(url: str) -> Notes:
    """Everything that is noted of those in the log."""
    with psycopg.connect(url, connect_timeout=3) as connection:
        names = connection.execute("SELECT id, name FROM access_name").fetchall()
        uses = connection.execute("SELECT key_id, used_at FROM key_use").fetchall()
    return Notes(dict(names), dict(uses))


async def name_of(connection: ReadConnection, of: str) -> str | None:
    """What people call a client or person."""
    row = await (await connection.execute("SELECT name FROM access_name WHERE id = %s", (of,))).fetchone()
    return row[0] if row else None


def named(connection: Connection, kind: str, name: str) -> list[str]:
    """The ids of those of a kind who have a name."""
    query = "SELECT id FROM access_name WHERE kind = %s AND name = %s ORDER BY id"
    return [row[0] for row in connection.execute(query, (kind, name)).fetchall()]


def note_uses(connection: Connection, used: Mapping[str, datetime]) -> None:
    """Note when keys were last used; an earlier time changes nothing."""
    keys = sorted(used)
    connection.execute(_NOTE, (keys, [used[key_id] for key_id in keys]))
