"""Connections for reading and for writing."""

import asyncio

from infrastructure.database.pool import ReadConnection, WriteConnection, connection_pool
from infrastructure.log.log import Append, append, read_head
from infrastructure.runtime import clock


async def append_with_a_read_connection(connection: ReadConnection) -> None:
    """Nobody calls this. The type checker refuses it; if it ever accepts it, it reports the ignore as unused."""
    await append(connection, clock.now(), {"s": [Append("order:1", 0, [])]})  # type: ignore[arg-type]


def test_a_write_connection_can_read(database_url: str) -> None:
    async def run() -> None:
        async with connection_pool(database_url, size=1) as pool:
            async with pool.read() as reading:
                assert await read_head(reading, "nobody") == 0
            async with pool.write() as writing:
                assert isinstance(writing, WriteConnection)
                assert await read_head(writing, "nobody") == 0

    asyncio.run(run())
