"""Connections to the database: one type for reading, one for writing, and the pool that lends them."""

from contextlib import AbstractAsyncContextManager

from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

WAIT_SECONDS = 3.0
"""How long a request waits for a connection before it fails because the database can't be reached."""


class ReadConnection(AsyncConnection[TupleRow]):
    """A connection for reading. Every query takes this type."""


class WriteConnection(ReadConnection):
    """A connection that may also write: appends, receipts, jobs and rows of projections take this type.

    Code that writes also reads in the same transaction, so a write connection serves as a read connection.
    """


class Pool(AsyncConnectionPool[WriteConnection]):
    """Lends connections for reading and for writing.

    Both come from one pool. A second pool would need more connections for every process, and making a connection
    read-only at every loan would cost a round trip. So only the type checker distinguishes the two.
    """

    def read(self) -> AbstractAsyncContextManager[ReadConnection]:
        return self.connection()

    def write(self) -> AbstractAsyncContextManager[WriteConnection]:
        return self.connection()


async def _in_utc(connection: WriteConnection) -> None:
    await connection.execute("SET TIME ZONE 'UTC'")


def connection_pool(url: str, *, size: int) -> Pool:
    """A pool that reconnects when the database was away. The caller opens it.

    Each statement commits by itself unless a transaction is opened.
    """
    return Pool(
        url,
        connection_class=WriteConnection,
        open=False,
        min_size=1,
        max_size=size,
        timeout=WAIT_SECONDS,
        configure=_in_utc,
        reconnect_timeout=5.0,
        kwargs={"autocommit": True, "application_name": "shiplock", "connect_timeout": 3},
    )
