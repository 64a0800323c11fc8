"""What people call merchants, clients and people, and when keys were last used: tables that can be erased.

The log has opaque ids alone, because what it holds can't be taken back.
"""

from collections.abc import Mapping
from datetime import datetime

import psycopg
from psycopg.rows import TupleRow

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


def names(connection: Connection) -> dict[str, str]:
    """Names by id."""
    return dict(connection.execute("SELECT id, name FROM access_name").fetchall())


def named(connection: Connection, kind: str, name: str) -> list[str]:
    """The ids of those of a kind who have a name."""
    query = "SELECT id FROM access_name WHERE kind = %s AND name = %s ORDER BY id"
    return [row[0] for row in connection.execute(query, (kind, name)).fetchall()]


def note_uses(connection: Connection, used: Mapping[str, datetime]) -> None:
    """Note when keys were last used; an earlier time changes nothing."""
    keys = sorted(used)
    connection.execute(_NOTE, (keys, [used[key_id] for key_id in keys]))


def last_uses(connection: Connection) -> dict[str, datetime]:
    """When each key was last used, to the minute."""
    return dict(connection.execute("SELECT key_id, used_at FROM key_use").fetchall())
