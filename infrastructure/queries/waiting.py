"""Waiting until views show what the log holds up to a position, so that a caller reads its own writes."""

import asyncio
from collections.abc import Sequence

from infrastructure.database.pool import Pool
from infrastructure.projections.builds import reached
from infrastructure.projections.view import View
from infrastructure.queries.errors import NotReached

WAIT_SECONDS = 5.0
"""How long a caller waits for a position."""

POLL_SECONDS = 0.02


async def wait_for(pool: Pool, shop_id: str, views: Sequence[View], position: int | None) -> None:
    """Wait for views, one after another; without a position for none. Raises ``NotReached``."""
    if position:
        for view in views:
            await _wait_for_one(pool, shop_id, view, position)


async def _wait_for_one(pool: Pool, shop_id: str, view: View, position: int) -> None:
    """Who waits holds no connection that others could use."""
    loop = asyncio.get_running_loop()
    give_up = loop.time() + WAIT_SECONDS
    while True:
        async with pool.read() as connection:
            current = await reached(connection, shop_id, view.name)
        if current >= position:
            return
        if loop.time() > give_up:
            raise NotReached(current, position)
        await asyncio.sleep(POLL_SECONDS)
