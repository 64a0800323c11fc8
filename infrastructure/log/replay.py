"""Replaying a shop's orders over all cores: every history is folded once and given to a task.

A log is cut into stretches of streams. Processes take one after another, fold its orders, and send back what
the task made of them, which must be small. Nothing is written anywhere.

Run as a program (``python -m``) this is such a process; what it has to do comes by pickles on its standard
input, one answer to each goes to its standard output.
"""

import asyncio
import gc
import logging
import os
import pickle
import sys
from asyncio import Future, create_subprocess_exec, create_task, gather, get_running_loop, to_thread
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from struct import Struct
from typing import Any, BinaryIO, Generic, NamedTuple, TypeVar

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

_LENGTH = Struct(">Q")


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
    somebody = [crew.work_here if here and n == 0 else crew.employ for n in range(count)]
    employers = [create_task(crew.keep_at_work(each)) for each in somebody]
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


def _settle(taken: deque[_Waiting], found: Any) -> None:
    """Answer what was taken first."""
    _, answer = taken.popleft()
    if not answer.done():
        answer.set_result(found)


class _Crew:
    """The processes that work on what waits."""

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
        self._running: set[Process] = set()
        self._deaths = 0
        self._dismissed = False

    def dismiss(self) -> None:
        self._dismissed = True
        for process in self._running:
            if process.returncode is None:
                process.terminate()

    async def keep_at_work(self, somebody: Callable[[], Awaitable[None]]) -> None:
        """Have somebody at work, and another should they fail, until nothing waits any more."""
        while self._waiting and not self._dismissed:
            try:
                await somebody()
            except Exception as error:
                self._deaths += 1
                if self._deaths >= MOST_DEATHS:
                    self._fail(error)

    async def work_here(self) -> None:
        """Work through what waits in a thread of this process. What it fails with is raised."""
        url, task, as_of = self._to_do
        with await to_thread(_connect, url) as connection, self._taking() as taken:
            while self._take_one(taken):
                try:
                    found = await to_thread(_worked, connection, url, taken[0][0], task, as_of)
                except Exception:
                    log.exception("a stretch could not be replayed")  # as a process says of itself when it dies
                    raise
                _settle(taken, found)

    async def employ(self) -> None:
        """Let a process work through what waits. What it dies of is raised."""
        process = await create_subprocess_exec(sys.executable, "-m", __name__, stdin=PIPE, stdout=PIPE)
        self._running.add(process)
        told, said = process.stdin, process.stdout
        assert told
        assert said
        try:
            told.write(_framed(pickle.dumps(self._to_do)))
            with self._taking() as taken:
                while True:
                    while len(taken) < self._most_ahead() and self._take_one(taken):
                        told.write(_framed(pickle.dumps(taken[-1][0])))
                    if not taken:
                        return
                    await told.drain()
                    (length,) = _LENGTH.unpack(await said.readexactly(_LENGTH.size))
                    _settle(taken, pickle.loads(await said.readexactly(length)))
        finally:
            told.close()
            await process.wait()
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
        if self._dismissed or not self._waiting:
            return False
        taken.append(self._waiting.popleft())
        return True

    def _fail(self, error: Exception) -> None:
        failed = ReplayFailed("The processes that replay the log keep dying; see their errors above.")
        failed.__cause__ = error
        while self._waiting:
            _, answer = self._waiting.popleft()
            if not answer.done():
                answer.set_exception(failed)


def _framed(pickled: bytes) -> bytes:
    return _LENGTH.pack(len(pickled)) + pickled


# ---- what each process does ------------------------------------------------------------------------


def work(given: BinaryIO, told: BinaryIO) -> None:
    """Fold what is given until there is no more: the one who gives it is done, or gone."""
    gc.disable()  # it would look through whole histories and find nothing: they hold no cycles
    url, task, as_of = _take(given)
    with _connect(url) as connection:
        while stretch := _take(given):
            told.write(_framed(pickle.dumps(_worked(connection, url, stretch, task, as_of))))
            told.flush()


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


def _take(given: BinaryIO) -> Any:
    length = given.read(_LENGTH.size)
    return pickle.loads(given.read(_LENGTH.unpack(length)[0])) if length else None


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


if __name__ == "__main__":
    work(sys.stdin.buffer, sys.stdout.buffer)
