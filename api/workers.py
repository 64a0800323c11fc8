"""The live worker beside the API: in a process of its own, or in a thread where a process costs too much.

Both stop with the program that started them, however that ends.
"""

import asyncio
import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from domain.rules.ruleset import RuleBook
from infrastructure.database.pool import connection_pool
from infrastructure.projections.worker import Worker
from infrastructure.runtime.processes import Supervised, Wake

Start = Callable[[str, RuleBook], AbstractContextManager[Wake]]
"""Starts a worker on the database of a URL; yields what wakes it, callable from anywhere."""

NICENESS = 15
"""Commands go before views when there is not enough of the machine for both."""


@contextmanager
def worker_process(url: str, book: RuleBook) -> Iterator[Wake]:
    """A worker with an interpreter of its own, so that it takes no time from the requests."""
    worker = supervised_worker(url)
    try:
        yield worker.wake
    finally:
        worker.stop()


def supervised_worker(url: str) -> Supervised:
    """``shiplock worker``, started again should it die."""
    return Supervised(
        [sys.executable, "-m", "api.cli", "worker", "--follow-stdin", "--nice", str(NICENESS)],
        {"SHIPLOCK_DATABASE_URL": url},
    )


@contextmanager
def worker_thread(url: str, book: RuleBook) -> Iterator[Wake]:
    """A worker in a thread and event loop of its own: starts at once, for short programs and tests."""
    ready = threading.Event()
    handles: dict[str, Wake] = {}

    async def work() -> None:
        loop = asyncio.get_running_loop()
        async with connection_pool(url, size=2) as pool:
            worker = Worker(pool, book)
            handles["wake"] = lambda: _soon(loop, worker.wake)
            handles["stop"] = lambda: _soon(loop, worker.stop)
            ready.set()
            await worker.run()

    thread = threading.Thread(target=lambda: asyncio.run(work()), name="worker", daemon=True)
    thread.start()
    ready.wait()
    try:
        yield handles["wake"]
    finally:
        handles["stop"]()
        thread.join()


def _soon(loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
    """A loop that is closed already has nothing left to be told."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(callback)
