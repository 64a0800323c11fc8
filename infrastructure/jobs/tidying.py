"""Tidying: receipts that have expired are forgotten, and jobs that finished long ago."""

from infrastructure.commands.receipts import forget_receipts
from infrastructure.jobs.job import Job, forget_jobs
from infrastructure.jobs.kind import Context, JobKind
from infrastructure.runtime import clock

EVERY_SECONDS = 60


async def _run(context: Context, job: Job) -> dict[str, int]:
    now = clock.now()
    async with context.pool.write() as connection:
        return {
            "receipts": await forget_receipts(connection, now),
            "jobs": await forget_jobs(connection, now),
        }


TIDYING = JobKind("tidying", _run)
