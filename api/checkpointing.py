"""Checkpoints now and then, while the program serves, for the shops whose logs grew."""

import asyncio
import logging
from contextlib import suppress

from api.beside import Beside
from infrastructure.audit.archive import Archive
from infrastructure.database.pool import Pool
from infrastructure.log.log import read_heads

log = logging.getLogger("shiplock.audit")

COMMAND = ("audit", "checkpoint", "--all", "--quick", "--nice", "15", "--json")


async def keep_making(pool: Pool, archive: Archive, beside: Beside, every: int, closing: asyncio.Event) -> None:
    """Have a program make checkpoints every so many seconds, where there is something to sign, until closing."""
    while not closing.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(closing.wait(), every)
            return
        try:
            async with pool.read() as connection:
                heads = await read_heads(connection)
            if await asyncio.to_thread(_any_grew, archive, heads):
                await beside.run(*COMMAND)
        except Exception:
            log.exception("checkpoints could not be made; trying again in %d s", every)


def _any_grew(archive: Archive, heads: dict[str, int]) -> bool:
    def newest(shop_id: str) -> int:
        kept = archive.checkpoints.find(shop_id)
        return kept.size if kept else 0

    return any(newest(shop_id) != head for shop_id, head in heads.items())
