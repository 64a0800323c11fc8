"""Replaying a shop on all cores: every history is folded once and given to a task.

A log is divided into partitions, which are ranges of streams. Processes take one partition after another, fold its
orders, and its SKUs if they are asked for, and send back the result of the task, which must be small. Nothing is
written anywhere.
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
from typing import Any, Generic, NamedTuple, TypeVar, cast

import psycopg
from psycopg import Connection
from psycopg.rows import TupleRow

from domain.history import Recorded
from domain.order.state import Order
from domain.viewpoint import Viewpoint, visible
from infrastructure.database.pool import ReadConnection
from infrastructure.log.histories import Range, cut, read_range
from infrastructure.log.log import Histories, read_histories
from infrastructure.log.streams import OF_ORDER, STREAM_KINDS, AnyKind, StreamState, kind_of
from infrastructure.runtime.processes import Child, Deaths, Send

log = logging.getLogger("shiplock.replay")

PARTITION_EVENTS = 20_000
"""Events of a partition, about: a fraction of a second's work, and about ten megabytes."""

AHEAD = 2
"""Partitions that a process has at a time, so that it never waits for the next one."""

MOST_DEATHS = 3
"""So many processes may die before a replay gives up."""

R = TypeVar("R")
Task = Callable[[Iterable[Order]], R]
"""A function of some orders. It is pickled, and so is its result."""

RowTask = Callable[[Iterable[StreamState]], R]
"""A function of some orders and SKUs. It is pickled, and so is its result."""


class ReplayFailed(Exception):
    """The log could not be replayed; the message says why."""


class Partition(NamedTuple):
    """A range of a shop's streams, up to a position of its log.

    ``for_rows``: SKUs are read as well as orders, and the positions of events, which no rule needs but rows of
    views have.
    """

    shop_id: str
    up_to: int
    range: Range
    for_rows: bool = False

    @property
    def kinds(self) -> Sequence[AnyKind]:
        return STREAM_KINDS if self.for_rows else (OF_ORDER,)


class Replayed(NamedTuple, Generic[R]):
    """A task's result for the orders of a partition.

    ``unreadable`` are the ids of orders and SKUs with an unreadable event. They were folded up to that event.
    """

    result: R
    unreadable: tuple[str, ...]
    events: int


async def partitions(
    connection: ReadConnection, shop_id: str, up_to: int, *, for_rows: bool = False
) -> list[Partition]:
    """Divide a shop's log up to a position into partitions; into none if the shop has no log.

    With ``for_rows`` they have the SKUs too, and their task is a ``RowTask``.
    """
    if not up_to:
        return []
    kinds = STREAM_KINDS if for_rows else [OF_ORDER]
    ranges = await cut(connection, shop_id, up_to, PARTITION_EVENTS, kinds)
    return [Partition(shop_id, up_to, streams, for_rows) for streams in ranges]


async def replay(
    url: str,
    planned: Sequence[Partition],
    task: Task[R] | RowTask[R],
    *,
    as_of: datetime | None = None,
    processes: int | None = None,
    here: bool = False,
) -> AsyncIterator[Replayed[R]]:
    """The task's result for every partition, in their order, with so many processes (default: one per core).

    With ``here``, this process is one of them and folds in a thread. It runs already, while others have to start
    first. A program that also serves requests should not use it. With ``as_of``, only events that had occurred by
    then are folded. Raises ``ReplayFailed``.
    """
    results: list[Future[tuple[R, tuple[str, ...]]]] = [get_running_loop().create_future() for _ in planned]
    count = min(processes or os.cpu_count() or 1, len(planned))
    workers = _Workers(url, task, as_of, deque(zip(planned, results, strict=True)), count)
    with ThreadPoolExecutor(max(count, 1), "replay") as threads:
        works = [workers.work_here if here and n == 0 else workers.work_in_a_process for n in range(count)]
        running = [create_task(workers.keep_at_work(threads, work)) for work in works]
        try:
            for partition, future in zip(planned, results, strict=True):
                result, unreadable = await future
                yield Replayed(result, unreadable, partition.range.events)
        finally:
            if not all(future.done() for future in results):
                workers.stop()
            await gather(*running)
            for future in results:
                if not (future.cancel() or future.cancelled()):
                    future.exception()  # marks it as retrieved; all futures that failed have the same one


_Pending = tuple[Partition, Future[Any]]


class _Workers:
    """Threads that work on the waiting partitions. One may fold here; each of the others has its own process."""

    def __init__(
        self,
        url: str,
        task: Task[Any],
        as_of: datetime | None,
        waiting: deque[_Pending],
        size: int,
    ) -> None:
        self._setup = url, task, as_of
        self._waiting = waiting
        self._size = size
        self._loop = get_running_loop()
        self._running: set[Child] = set()
        self._deaths = Deaths(MOST_DEATHS)
        self._stopping = False

    def stop(self) -> None:
        self._stopping = True
        for process in tuple(self._running):
            process.kill()

    async def keep_at_work(self, threads: ThreadPoolExecutor, work: Callable[[], None]) -> None:
        """Run ``work`` until no partition waits any more, and again whenever it fails."""
        while self._waiting and not self._stopping:
            try:
                await self._loop.run_in_executor(threads, work)
            except Exception as error:
                self._deaths.add()
                if self._deaths.too_many:
                    self._fail(error)

    def work_here(self) -> None:
        """Work on the waiting partitions in this process. Raises the task's errors."""
        url, task, as_of = self._setup
        with _connect(url) as connection, self._taking() as taken:
            while self._take_one(taken):
                try:
                    result = _result_of(connection, url, taken[0][0], task, as_of)
                except Exception:
                    # Log the error here, as a process does before it dies.
                    log.exception("a partition could not be replayed")
                    raise
                self._settle(taken, result)

    def work_in_a_process(self) -> None:
        """Let a process work on the waiting partitions. Raises ``Died`` if it dies."""
        with Child(_serve, self._setup) as process, self._taking() as taken:
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
    def _taking(self) -> Iterator[deque[_Pending]]:
        """The partitions that a worker has taken. If the worker fails, they wait again."""
        taken: deque[_Pending] = deque()
        try:
            yield taken
        finally:
            self._waiting.extendleft(reversed(taken))

    def _most_ahead(self) -> int:
        """How many partitions a worker may have: near the end only one, so that all workers end together."""
        return AHEAD if len(self._waiting) > self._size else 1

    def _take_one(self, taken: deque[_Pending]) -> bool:
        """Take the partition that waits longest. Returns false if there is none, or the workers are to stop."""
        if self._stopping:
            return False
        try:
            taken.append(self._waiting.popleft())
        except IndexError:  # none waits any more, or another thread took the last one
            return False
        return True

    def _settle(self, taken: deque[_Pending], result: Any) -> None:
        """Set the result of the partition that was taken first."""
        _, future = taken.popleft()
        self._loop.call_soon_threadsafe(_set_result, future, result)

    def _fail(self, error: Exception) -> None:
        failed = ReplayFailed("The processes that replay the log keep dying; see their errors above.")
        failed.__cause__ = error
        with suppress(IndexError):
            while True:
                _, future = self._waiting.popleft()
                if not future.done():
                    future.set_exception(failed)


def _set_result(future: Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


# ---- the work of each process ----------------------------------------------------------------------


def _serve(requests: Iterator[Any], send: Send) -> None:
    """Fold one partition after another."""
    gc.disable()  # it would scan whole histories and collect nothing, because they have no cycles
    url, task, as_of = next(requests)
    with _connect(url) as connection:
        for partition in requests:
            send(_result_of(connection, url, partition, task, as_of))


def _connect(url: str) -> Connection[TupleRow]:
    connection = psycopg.connect(url, autocommit=True)
    connection.execute("SET TIME ZONE 'UTC'")
    return connection


def _result_of(
    connection: Connection[TupleRow], url: str, partition: Partition, task: Task[R], as_of: datetime | None
) -> tuple[R, tuple[str, ...]]:
    """The task's result for a partition, and the ids of what is unreadable in it."""
    unreadable: list[str] = []
    states = _states(connection, url, partition, as_of, unreadable)
    return task(cast(Iterator[Order], states)), tuple(unreadable)


def _states(
    connection: Connection[TupleRow], url: str, partition: Partition, as_of: datetime | None, unreadable: list[str]
) -> Iterator[StreamState]:
    """Every order and SKU of a partition, folded. Those with an unreadable event come last, read event by event."""
    suspects = []
    heads = {partition.shop_id: partition.up_to}
    since, until = partition.range.since, partition.range.until
    streams = read_range(
        connection,
        heads,
        since,
        until,
        partition.kinds,
        with_recorded_at=False,
        with_position=partition.for_rows,
    )
    for _, stream, history in streams:
        if history is None:
            suspects.append((partition.shop_id, stream))
            continue
        yield _folded(stream, history, as_of)
    if suspects:
        failures: dict[tuple[str, str], tuple[int, str]] = {}
        for (_, stream), history in asyncio.run(_read(url, suspects, heads, failures)).items():
            yield _folded(stream, history, as_of)
        unreadable += [kind_of(stream).id_of(stream) for _, stream in failures]


def _folded(stream: str, history: list[Recorded[Any]], as_of: datetime | None) -> StreamState:
    kind = kind_of(stream)
    return kind.fold(kind.id_of(stream), history if as_of is None else visible(history, Viewpoint(as_of)))


async def _read(
    url: str,
    streams: Sequence[tuple[str, str]],
    heads: Mapping[str, int],
    failures: dict[tuple[str, str], tuple[int, str]],
) -> Histories:
    async with await ReadConnection.connect(url, autocommit=True) as connection:
        await connection.execute("SET TIME ZONE 'UTC'")
        return await read_histories(connection, streams, heads, failures)
