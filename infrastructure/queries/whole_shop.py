"""Folding a whole shop while somebody waits for the answer: one shop at a time, and never a large one."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from infrastructure.database.pool import Pool
from infrastructure.log.log import read_head
from infrastructure.queries.errors import ReplayRunning, ShopTooLarge

MOST_EVENTS = 300_000
"""So large a shop is folded while a caller waits: some seconds' work for every core."""

WAIT_SECONDS = 20.0
"""How long a caller waits for its turn. Who shows a shop at another moment asks for several lists at once."""

T = TypeVar("T")


class WholeShopFolds:
    """Lets one of them run at a time. The others wait for a while."""

    def __init__(self) -> None:
        self._running = asyncio.Lock()

    async def run(self, pool: Pool, shop_id: str, command: str, fold: Callable[[], Awaitable[T]]) -> T:
        """Raises ``ShopTooLarge``, which names the ``command`` that folds any shop, and ``ReplayRunning``."""
        async with pool.read() as connection:
            events = await read_head(connection, shop_id)
        if events > MOST_EVENTS:
            raise ShopTooLarge(shop_id, events, command)
        try:
            await asyncio.wait_for(self._running.acquire(), WAIT_SECONDS)
        except TimeoutError:
            raise ReplayRunning from None
        try:
            return await fold()
        finally:
            self._running.release()
