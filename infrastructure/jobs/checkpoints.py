"""Checkpoints every so often, for the shops whose logs grew."""

import asyncio
import logging
import socket
from typing import Any

from infrastructure.audit.archive import Archive, LogDiffers
from infrastructure.audit.signing import make_checkpoint, shops_to_sign
from infrastructure.jobs.job import Job
from infrastructure.jobs.kind import Context, JobFailed, JobKind, Report
from infrastructure.log.log import read_heads

log = logging.getLogger("shiplock.audit")

NAME = "checkpoints"

NICENESS = 15
"""Commands go first when there is not enough of the machine for both."""


def place_of(archive: Archive) -> str:
    """The key of an archive's job: its folder on this machine. Another folder has checkpoints of its own."""
    return f"{socket.gethostname()}:{archive.checkpoints.folder}"


def checkpoints_into(archive: Archive) -> JobKind:
    """The kind of job that makes an archive's checkpoints."""

    async def run(context: Context, job: Job) -> Any:
        async with context.pool.read() as connection:
            heads = await read_heads(connection)
        if not await asyncio.to_thread(_any_grew, archive, heads):
            return {"made": 0}
        return await context.in_child(_sign, context.url, archive, niceness=NICENESS)

    return JobKind(NAME, run)


def _any_grew(archive: Archive, heads: dict[str, int]) -> bool:
    def newest(shop_id: str) -> int:
        checkpoint = archive.checkpoints.find(shop_id)
        return checkpoint.size if checkpoint else 0

    return any(newest(shop_id) != head for shop_id, head in heads.items())


def _sign(report: Report, url: str, archive: Archive) -> dict[str, int]:
    """Sign every log in a process of its own; one that was changed holds up no other."""
    shops = shops_to_sign(url, archive)
    made = 0
    differing: list[str] = []
    for done, shop_id in enumerate(shops, start=1):
        try:
            found = make_checkpoint(url, shop_id, archive, whole=False)
            made += 1 if found and found.new else 0
        except LogDiffers as error:
            log.error("%s Look with: shiplock audit verify %s", error, shop_id)
            differing.append(str(error))
        report(done, len(shops))
    if differing:
        raise JobFailed(" ".join(differing[:10]))
    return {"made": made}
