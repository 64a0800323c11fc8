"""Starts the live worker of a program: in a process of its own, or in a thread where a process costs too much.

The worker stops when the program ends, even if the program is killed.
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
"""The worker yields the processor to the program, so commands stay fast when the machine is busy."""


@contextmanager
def worker_process(url: str, book: RuleBook) -> Iterator[Wake]:
    """Run a worker in a process of its own, so that it takes no time from requests."""
    worker = supervised_worker(url)
    try:
        yield worker.wake
    finally:
        worker.stop()


def supervised_worker(url: str) -> Supervised:
    """Start ``shiplock worker`` as a process; it is started again if it dies."""
    return Supervised(
        [sys.executable, "-P", "-m", "api.cli", "worker", "--follow-stdin", "--nice", str(NICENESS)],
        {"SHIPLOCK_DATABASE_URL": url},
    )


@contextmanager
def worker_thread(url: str, book: RuleBook) -> Iterator[Wake]:
    """Run a worker in a thread with its own event loop. It starts at once: for short programs and tests."""
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
    """Call ``callback`` in the loop; do nothing if the loop is closed."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(callback)
