"""Connections to the log's database."""

from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

Pool = AsyncConnectionPool[AsyncConnection[TupleRow]]

WAIT_SECONDS = 3.0
"""How long a request waits for a connection before it is told that the database can't be reached."""


async def _in_utc(connection: AsyncConnection[TupleRow]) -> None:
    await connection.execute("SET TIME ZONE 'UTC'")


def connection_pool(url: str, *, size: int) -> Pool:
    """A pool, to be opened by the caller, that finds a database which went away and came back.

    Connections commit each statement by itself unless a transaction is opened.
    """
    return AsyncConnectionPool(
        url,
        open=False,
        min_size=1,
        max_size=size,
        timeout=WAIT_SECONDS,
        configure=_in_utc,
        reconnect_timeout=5.0,
        kwargs={"autocommit": True, "application_name": "shiplock", "connect_timeout": 3},
    )
