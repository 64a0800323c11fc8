"""Replaying a shop's orders over all cores: every history is folded once and given to a task.

A log is cut into stretches of streams. Processes take one after another, fold its orders, and send back what
the task made of them, which must be small. Nothing is written anywhere.

Run as a program (``python -m``) this is such a process; what it has to do comes by pickles on its standard
input, one answer to each goes to its standard output.
"""

import asyncio
import gc
import os
import pickle
import sys
from asyncio import Future, create_subprocess_exec, create_task, gather, get_running_loop
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from struct import Struct
from typing import Any, BinaryIO, Generic, NamedTuple, TypeVar

import psycopg
from psycopg import AsyncConnection, Connection
from psycopg.rows import TupleRow

from domain.history import Recorded, visible
from domain.order.state import Order, fold
from infrastructure.log.histories import Range, cut, read_range
from infrastructure.log.log import Histories, read_histories
from infrastructure.log.streams import OF_ORDER

STRETCH_EVENTS = 20_000
"""About so many events are folded at once: a fraction of a second's work, and some ten megabytes."""

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


async def stretches(connection: AsyncConnection[TupleRow], shop_id: str, up_to: int) -> list[Stretch]:
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
) -> AsyncIterator[Replayed[R]]:
    """What a task makes of every stretch, in their order, over so many processes (default: one a core).

    With ``as_of`` orders are folded from what had occurred by then. Raises ``ReplayFailed``.
    """
    answers: list[Future[tuple[R, tuple[str, ...]]]] = [get_running_loop().create_future() for _ in planned]
    crew = _Crew(pickle.dumps((url, task, as_of)), deque(zip(planned, answers, strict=True)))
    count = min(processes or os.cpu_count() or 1, len(planned))
    employers = [create_task(crew.keep_employing()) for _ in range(count)]
    try:
        for stretch, answer in zip(planned, answers, strict=True):
            result, unreadable = await answer
            yield Replayed(result, unreadable, stretch.range.events)
    finally:
        crew.dismiss()
        await gather(*employers)
        for answer in answers:
            if not (answer.cancel() or answer.cancelled()):
                answer.exception()  # the same for all that failed; nobody else asks these for it


class _Crew:
    """The processes that work on what waits."""

    def __init__(self, work_to_do: bytes, waiting: deque[tuple[Stretch, Future[Any]]]) -> None:
        self._work_to_do = work_to_do
        self._waiting = waiting
        self._running: set[Process] = set()
        self._deaths = 0
        self._dismissed = False

    def dismiss(self) -> None:
        self._dismissed = True
        for process in self._running:
            if process.returncode is None:
                process.terminate()

    async def keep_employing(self) -> None:
        """Have a process at work, and another should it die, until nothing waits any more."""
        while self._waiting and not self._dismissed:
            try:
                await self._employ()
            except Exception as error:
                self._deaths += 1
                if self._deaths >= MOST_DEATHS:
                    self._fail(error)

    async def _employ(self) -> None:
        """Let a process work through what waits. What it dies of is raised, and what it had waits again."""
        process = await create_subprocess_exec(sys.executable, "-m", __name__, stdin=PIPE, stdout=PIPE)
        self._running.add(process)
        assert process.stdin
        assert process.stdout
        try:
            process.stdin.write(_framed(self._work_to_do))
            while self._waiting and not self._dismissed:
                stretch, answer = self._waiting.popleft()
                try:
                    process.stdin.write(_framed(pickle.dumps(stretch)))
                    await process.stdin.drain()
                    (length,) = _LENGTH.unpack(await process.stdout.readexactly(_LENGTH.size))
                    found = pickle.loads(await process.stdout.readexactly(length))
                except Exception:
                    self._waiting.appendleft((stretch, answer))
                    raise
                if not answer.done():
                    answer.set_result(found)
        finally:
            process.stdin.close()
            await process.wait()
            self._running.discard(process)

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
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET TIME ZONE 'UTC'")
        while stretch := _take(given):
            unreadable: list[str] = []
            result = task(_orders(connection, url, stretch, as_of, unreadable))
            told.write(_framed(pickle.dumps((result, tuple(unreadable)))))
            told.flush()


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
    for _, stream, history in read_range(connection, heads, since, until, [OF_ORDER], learned=False):
        if history is None:
            suspects.append((stretch.shop_id, stream))
            continue
        yield _folded(stream, history, as_of)
    if suspects:
        broken: dict[tuple[str, str], tuple[int, str]] = {}
        for (_, stream), history in asyncio.run(_read(url, suspects, heads, broken)).items():
            yield _folded(stream, history, as_of)
        unreadable += [OF_ORDER.id_of(stream) for _, stream in broken]


def _folded(stream: str, history: list[Recorded], as_of: datetime | None) -> Order:
    return fold(OF_ORDER.id_of(stream), history if as_of is None else visible(history, as_of=as_of))


async def _read(
    url: str,
    streams: Sequence[tuple[str, str]],
    heads: Mapping[str, int],
    broken: dict[tuple[str, str], tuple[int, str]],
) -> Histories:
    async with await AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("SET TIME ZONE 'UTC'")
        return await read_histories(connection, streams, heads, broken)


if __name__ == "__main__":
    work(sys.stdin.buffer, sys.stdout.buffer)
