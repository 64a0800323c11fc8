"""Runners for tests: real ones, on a real database."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TypeVar

from infrastructure.database.pool import Pool, WriteConnection, connection_pool
from infrastructure.jobs.job import Job, find
from infrastructure.jobs.kind import JobKind
from infrastructure.jobs.runner import Runner, Schedule
from infrastructure.runtime.rule_sets import shipped_rules

T = TypeVar("T")

BOOK = shipped_rules()

ROOT = Path(__file__).parents[3]

_PROGRAM = """
import asyncio, sys
from infrastructure.database.pool import connection_pool
from infrastructure.jobs import kinds
from infrastructure.runtime.rule_sets import shipped_rules

async def main(url):
    async with connection_pool(url, size=2) as pool:
        await kinds.runner(pool, url, shipped_rules()).run()

asyncio.run(main(sys.argv[1]))
"""


def program(url: str) -> "subprocess.Popen[bytes]":
    """A process that runs every kind of job."""
    return subprocess.Popen([sys.executable, "-c", _PROGRAM, url], cwd=ROOT)


class Jobs:
    """A database's jobs, and runners of them."""

    def __init__(self, url: str, pool: Pool, connection: WriteConnection) -> None:
        self.url = url
        self.pool = pool
        self.connection = connection

    @asynccontextmanager
    async def run_by(
        self,
        *kinds: JobKind,
        schedules: Iterable[Schedule] = (),
        only: Mapping[str, str] | None = None,
        at_once: int = 4,
    ) -> AsyncIterator[Runner]:
        runner = Runner(self.pool, self.url, BOOK, kinds, schedules=schedules, only=only, at_once=at_once)
        running = asyncio.create_task(runner.run())
        try:
            yield runner
        finally:
            runner.stop()
            await running

    async def now(self, job: Job) -> Job:
        current = await find(self.connection, job.id)
        assert current
        return current

    async def until(self, job: Job, true: Callable[[Job], bool], seconds: float = 60) -> Job:
        async with asyncio.timeout(seconds):
            while True:
                current = await self.now(job)
                if true(current):
                    return current
                await asyncio.sleep(0.02)

    async def until_finished(self, job: Job) -> Job:
        return await self.until(job, lambda current: current.finished_at is not None)


async def until(true: Callable[[], bool], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while True:
            if true():
                return
            await asyncio.sleep(0.01)


def with_jobs(url: str, work: Callable[[Jobs], Awaitable[T]]) -> T:
    async def run() -> T:
        async with AsyncExitStack() as stack:
            pool = await stack.enter_async_context(connection_pool(url, size=8))
            connection = await stack.enter_async_context(pool.write())
            return await work(Jobs(url, pool, connection))

    return asyncio.run(run())
