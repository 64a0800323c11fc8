"""The live worker beside the API: in a process of its own, or in a thread where a process costs too much.

Both stop with the program that started them, however that ends.
"""

import asyncio
import contextlib
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from domain.rules.ruleset import RuleBook
from infrastructure.database.pool import connection_pool
from infrastructure.projections.worker import Worker

log = logging.getLogger("shiplock.worker")

Wake = Callable[[], None]
Start = Callable[[str, RuleBook], AbstractContextManager[Wake]]
"""Starts a worker on the database of a URL; yields what wakes it, callable from anywhere."""

NICENESS = 15
"""Commands go before views when there is not enough of the machine for both."""

RESTART_SECONDS = 1.0


@contextmanager
def worker_process(url: str, book: RuleBook) -> Iterator[Wake]:
    """A worker with an interpreter of its own, so that it takes no time from the requests."""
    process = WorkerProcess(url)
    try:
        yield process.wake
    finally:
        process.stop()


class WorkerProcess:
    """Runs ``shiplock worker``, and runs it again should it die.

    The pipe to its standard input is the leash: a byte wakes it, and its end, which comes even if this
    program is killed, stops it.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._stopping = threading.Event()
        self._process = self._start()
        self._thread = threading.Thread(target=self._watch, name="worker supervisor", daemon=True)
        self._thread.start()

    def _start(self) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            [sys.executable, "-m", "api.cli", "worker", "--follow-stdin", "--nice", str(NICENESS)],
            stdin=subprocess.PIPE,
            env=os.environ | {"SHIPLOCK_DATABASE_URL": self._url},
            start_new_session=True,  # Ctrl-C is for this program, which stops the worker when it is done
        )
        assert process.stdin
        os.set_blocking(process.stdin.fileno(), False)
        return process

    def _watch(self) -> None:
        while not self._stopping.is_set():
            status = self._process.wait()
            if self._stopping.wait(0.0 if status == 0 else RESTART_SECONDS):
                return
            log.error("the worker ended with status %s, starting it again", status)
            self._process = self._start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def wake(self) -> None:
        stdin = self._process.stdin
        assert stdin
        # A full pipe has woken it already; a closed one is that of a worker about to be started again.
        with contextlib.suppress(BlockingIOError, BrokenPipeError, ValueError):
            os.write(stdin.fileno(), b"\n")

    def stop(self) -> None:
        """End the worker, and one that was just being started in its place."""
        self._stopping.set()
        self._let_go()
        self._thread.join()
        self._let_go()

    def _let_go(self) -> None:
        process = self._process
        if process.stdin:
            process.stdin.close()
        process.wait()


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


def follow_stdin(wake: Wake, stop: Wake) -> None:
    """Be led by whoever holds the other end of standard input: any byte wakes, the end stops."""
    loop = asyncio.get_running_loop()

    def led() -> None:
        if os.read(0, 4096):
            wake()
        else:
            loop.remove_reader(0)
            stop()

    loop.add_reader(0, led)
