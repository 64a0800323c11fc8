"""Replaying a shop's orders over all cores: every history is folded once and given to a task.

A log is cut into stretches of streams. Processes take one after another, fold its orders, and send back what
the task made of them, which must be small. Nothing is written anywhere.
"""

import asyncio
import gc
import logging
import os
from asyncio import Future, create_task, gather, get_running_loop
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar

import psycopg
from psycopg import Connection
from psycopg.rows import TupleRow

from domain.history import Recorded
from domain.order.events import OrderEvent
from domain.order.fold import fold
from domain.order.state import Order
from domain.viewpoint import Viewpoint, visible
from infrastructure.database.pool import ReadConnection
from infrastructure.log.histories import Range, cut, read_range
from infrastructure.log.log import Histories, read_histories
from infrastructure.log.streams import OF_ORDER
from infrastructure.runtime.processes import Child, Deaths, Send

log = logging.getLogger("shiplock.replay")

STRETCH_EVENTS = 20_000
"""About so many events are folded at once: a fraction of a second's work, and some ten megabytes."""

AHEAD = 2
"""Stretches a process is given at a time, so that it never waits for the next one."""

MOST_DEATHS = 3
"""So many processes may die before a replay gives up."""

R = TypeVar("R")
Task = Callable[[Iterable[Order]], R]
"""What is made of some orders. It is pickled, and so is what it gives."""


class ReplayFailed(Exception):
    """The log could not be replayed; the message says why."""


class Stretch(NamedTuple):
    """A range of a shop's streams, as far as a position of its log."""

    shop_id: str
    up_to: int
    range: Range


class Replayed(NamedTuple, Generic[R]):
    """What a task made of the orders of a stretch; of ``unreadable`` ones only what can be read was folded."""

    result: R
    unreadable: tuple[str, ...]
    events: int


async def stretches(connection: ReadConnection, shop_id: str, up_to: int) -> list[Stretch]:
    """A shop's log up to a position, to be replayed; nothing for a shop without one."""
    if not up_to:
        return []
    ranges = await cut(connection, shop_id, up_to, STRETCH_EVENTS, [OF_ORDER])
    return [Stretch(shop_id, up_to, found) for found in ranges]


async def replay(
    url: str,
    planned: Sequence[Stretch],
    task: Task[R],
    *,
    as_of: datetime | None = None,
    processes: int | None = None,
    here: bool = False,
) -> AsyncIterator[Replayed[R]]:
    """What a task makes of every stretch, in their order, over so many processes (default: one a core).

    ``here`` makes this one of them, which folds in a thread: it is there already, where another has to start
    first. It is not for a program that has others to answer meanwhile. With ``as_of`` orders are folded from what
    had occurred by then. Raises ``ReplayFailed``.
    """
    answers: list[Future[tuple[R, tuple[str, ...]]]] = [get_running_loop().create_future() for _ in planned]
    count = min(processes or os.cpu_count() or 1, len(planned))
    crew = _Crew(url, task, as_of, deque(zip(planned, answers, strict=True)), count)
    with ThreadPoolExecutor(max(count, 1), "replay") as threads:
        somebody = [crew.work_here if here and n == 0 else crew.employ for n in range(count)]
        employers = [create_task(crew.keep_at_work(threads, each)) for each in somebody]
        try:
            for stretch, answer in zip(planned, answers, strict=True):
                result, unreadable = await answer
                yield Replayed(result, unreadable, stretch.range.events)
        finally:
            if not all(answer.done() for answer in answers):
                crew.dismiss()
            await gather(*employers)
            for answer in answers:
                if not (answer.cancel() or answer.cancelled()):
                    answer.exception()  # the same for all that failed; nobody else asks these for it


_Waiting = tuple[Stretch, Future[Any]]


class _Crew:
    """Threads that work on what waits: one folds here, each of the others has a process do it."""

    def __init__(
        self,
        url: str,
        task: Task[Any],
        as_of: datetime | None,
        waiting: deque[_Waiting],
        size: int,
    ) -> None:
        self._to_do = url, task, as_of
        self._waiting = waiting
        self._size = size
        self._loop = get_running_loop()
        self._running: set[Child] = set()
        self._deaths = Deaths(MOST_DEATHS)
        self._dismissed = False

    def dismiss(self) -> None:
        self._dismissed = True
        for process in tuple(self._running):
            process.kill()

    async def keep_at_work(self, threads: ThreadPoolExecutor, somebody: Callable[[], None]) -> None:
        """Have somebody at work, and another should they fail, until nothing waits any more."""
        while self._waiting and not self._dismissed:
            try:
                await self._loop.run_in_executor(threads, somebody)
            except Exception as error:
                self._deaths.add()
                if self._deaths.too_many:
                    self._fail(error)

    def work_here(self) -> None:
        """Work through what waits in this process. What it fails with is raised."""
        url, task, as_of = self._to_do
        with _connect(url) as connection, self._taking() as taken:
            while self._take_one(taken):
                try:
                    found = _worked(connection, url, taken[0][0], task, as_of)
                except Exception:
                    log.exception("a stretch could not be replayed")  # as a process says of itself when it dies
                    raise
                self._settle(taken, found)

    def employ(self) -> None:
        """Let a process work through what waits. What it dies of is raised."""
        with Child(_serve, self._to_do) as process, self._taking() as taken:
            self._running.add(process)
            try:
                while True:
                    while len(taken) < self._most_ahead() and self._take_one(taken):
                        process.send(taken[-1][0])
                    if not taken:
                        return
                    self._settle(taken, process.receive())
            finally:
                self._running.discard(process)

    @contextmanager
    def _taking(self) -> Iterator[deque[_Waiting]]:
        """What somebody has taken; if they fail it waits again."""
        taken: deque[_Waiting] = deque()
        try:
            yield taken
        finally:
            self._waiting.extendleft(reversed(taken))

    def _most_ahead(self) -> int:
        """How many somebody may have taken: towards the end one, so that all are done at the same time."""
        return AHEAD if len(self._waiting) > self._size else 1

    def _take_one(self, taken: deque[_Waiting]) -> bool:
        """Take what waits longest, if anything still has to be done."""
        if self._dismissed:
            return False
        try:
            taken.append(self._waiting.popleft())
        except IndexError:  # nothing waits any more, or another thread was quicker
            return False
        return True

    def _settle(self, taken: deque[_Waiting], found: Any) -> None:
        """Answer what was taken first."""
        _, answer = taken.popleft()
        self._loop.call_soon_threadsafe(_answer, answer, found)

    def _fail(self, error: Exception) -> None:
        failed = ReplayFailed("The processes that replay the log keep dying; see their errors above.")
        failed.__cause__ = error
        with suppress(IndexError):
            while True:
                _, answer = self._waiting.popleft()
                if not answer.done():
                    answer.set_exception(failed)


def _answer(answer: Future[Any], found: Any) -> None:
    if not answer.done():
        answer.set_result(found)


# ---- what each process does ------------------------------------------------------------------------


def _serve(requests: Iterator[Any], send: Send) -> None:
    """Fold one stretch after another."""
    gc.disable()  # it would look through whole histories and find nothing: they hold no cycles
    url, task, as_of = next(requests)
    with _connect(url) as connection:
        for stretch in requests:
            send(_worked(connection, url, stretch, task, as_of))


def _connect(url: str) -> Connection[TupleRow]:
    connection = psycopg.connect(url, autocommit=True)
    connection.execute("SET TIME ZONE 'UTC'")
    return connection


def _worked(
    connection: Connection[TupleRow], url: str, stretch: Stretch, task: Task[R], as_of: datetime | None
) -> tuple[R, tuple[str, ...]]:
    """What the task makes of a stretch, and what could not be read."""
    unreadable: list[str] = []
    return task(_orders(connection, url, stretch, as_of, unreadable)), tuple(unreadable)


def _orders(
    connection: Connection[TupleRow], url: str, stretch: Stretch, as_of: datetime | None, unreadable: list[str]
) -> Iterator[Order]:
    """Every order of a stretch, folded. Those that can't be read whole are read last, event by event."""
    suspects = []
    heads = {stretch.shop_id: stretch.up_to}
    since, until = stretch.range.since, stretch.range.until
    for _, stream, history in read_range(connection, heads, since, until, [OF_ORDER], with_position=False):
        if history is None:
            suspects.append((stretch.shop_id, stream))
            continue
        yield _folded(stream, history, as_of)
    if suspects:
        broken: dict[tuple[str, str], tuple[int, str]] = {}
        for (_, stream), history in asyncio.run(_read(url, suspects, heads, broken)).items():
            yield _folded(stream, history, as_of)
        unreadable += [OF_ORDER.id_of(stream) for _, stream in broken]


def _folded(stream: str, history: list[Recorded[OrderEvent]], as_of: datetime | None) -> Order:
    return fold(OF_ORDER.id_of(stream), history if as_of is None else visible(history, Viewpoint(as_of)))


async def _read(
    url: str,
    streams: Sequence[tuple[str, str]],
    heads: Mapping[str, int],
    broken: dict[tuple[str, str], tuple[int, str]],
) -> Histories:
    async with await ReadConnection.connect(url, autocommit=True) as connection:
        await connection.execute("SET TIME ZONE 'UTC'")
        return await read_histories(connection, streams, heads, broken)
