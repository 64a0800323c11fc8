"""Connections to the log's database: one type to read with, one to write with, and the pool that gives them."""

from contextlib import AbstractAsyncContextManager

from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

WAIT_SECONDS = 3.0
"""How long a request waits for a connection before it is told that the database can't be reached."""


class ReadConnection(AsyncConnection[TupleRow]):
    """A connection to read with. Every query takes this type."""


class WriteConnection(ReadConnection):
    """A connection that may also write: appends, receipts, jobs and rows of projections take this type.

    Code that writes also reads in the same transaction, so a write connection serves as a read connection.
    """


class Pool(AsyncConnectionPool[WriteConnection]):
    """Gives connections by what they are for.

    Both kinds come from one pool. A pool of its own for reading would need further connections for every process,
    and a switch to read-only at every loan would cost a round trip, so only the type checker tells the two apart.
    """

    def read(self) -> AbstractAsyncContextManager[ReadConnection]:
        return self.connection()

    def write(self) -> AbstractAsyncContextManager[WriteConnection]:
        return self.connection()


async def _in_utc(connection: WriteConnection) -> None:
    await connection.execute("SET TIME ZONE 'UTC'")


def connection_pool(url: str, *, size: int) -> Pool:
    """A pool, to be opened by the caller, that finds a database which went away and came back.

    Connections commit each statement by itself unless a transaction is opened.
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
