"""Recomputing many stretches at the same time, in processes of their own."""

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from queue import Queue
from typing import Any, NamedTuple

import psycopg
from psycopg import Connection
from psycopg.rows import TupleRow

from infrastructure.audit.segment import SEGMENT_EVENTS, Rows, Segment, Streams, recompute
from infrastructure.runtime import garbage_collection
from infrastructure.runtime.processes import Child, Died, Send

RUN_EVENTS = 1 << 16
"""The most events of one shop that are recomputed in one go; so much is known of the streams of one run."""

MOST_RUNS = 1 << 10
"""A log is cut into no more runs, however far its last position is said to be."""

SMALL = 1 << 16
"""So many events are recomputed in the time it takes to start a process."""

_NEXT = """
SELECT position FROM event WHERE shop_id = %s AND position > %s AND position <= %s ORDER BY position LIMIT 1
"""


class Run(NamedTuple):
    """Events ``start + 1`` to ``end`` of a shop, which one process recomputes; ``sizes`` of the log in between."""

    shop_id: str
    start: int
    end: int
    sizes: list[int]

    def segments(self, connection: Connection[TupleRow]) -> Iterator["Recomputed"]:
        """Its stretches, recomputed; until the last one came the connection is taken."""
        streams = Streams({}, {})
        rows = Rows(connection, self.shop_id, self.start, self.end)
        start = self.start
        while start < self.end:
            end = min(start + SEGMENT_EVENTS, self.end)
            if again := rows.closed:  # something was odd, and may be again soon
                end = max(end, self._empty_to(connection, start))
                rows = Rows(connection, self.shop_id, start, end)
            cuts = [size for size in self.sizes if start < size <= end]
            segment = recompute(connection, self.shop_id, start, end, cuts, streams, rows)
            last = end == self.end
            if again or last:
                rows.close()
            yield Recomputed(segment, streams if last else None)
            start = end

    def _empty_to(self, connection: Connection[TupleRow], start: int) -> int:
        """Up to where no event stands behind ``start``, in whole stretches, so that a gap of any width is one."""
        row = connection.execute(_NEXT, (self.shop_id, start, self.end)).fetchone()
        if row is None:
            return self.end
        return start + (int(row[0]) - 1 - start) // SEGMENT_EVENTS * SEGMENT_EVENTS


class Recomputed(NamedTuple):
    """A stretch; with the last one of a run come the streams of the whole run."""

    segment: Segment
    streams: Streams | None


def runs(shop_id: str, size: int, sizes: Sequence[int], processes: int) -> Iterator[Run]:
    """A log in runs of about the same length, as many as to give every process its share."""
    count = min(-(-size // RUN_EVENTS), MOST_RUNS)
    if size > SMALL:
        count = -(-count // processes) * processes
    length = -(-size // (max(count, 1) * SEGMENT_EVENTS)) * SEGMENT_EVENTS
    for start in range(0, size, length or 1):
        end = min(start + length, size)
        yield Run(shop_id, start, end, [cut for cut in sizes if start < cut <= end])


def connect(url: str) -> Connection[TupleRow]:
    """A connection to read events with."""
    found = psycopg.connect(url, autocommit=True, client_encoding="UTF8", application_name="shiplock audit")
    found.execute("SET TIME ZONE 'UTC'")
    return found


@contextmanager
def recomputed(url: str, work: Sequence[Run], processes: int) -> Iterator[Iterator[Recomputed]]:
    """The stretches of some runs, in order. This process does its share, others do theirs ahead.

    Each takes whole runs, and about as many events; this process begins while the others start.
    """
    if sum(run.end - run.start for run in work) <= SMALL:
        processes = 1
    shares: list[list[Run]] = [[] for _ in range(processes)]
    taken = [0] + [SMALL] * (processes - 1)
    whose = []
    for run in work:
        least = taken.index(min(taken))
        taken[least] += run.end - run.start
        shares[least].append(run)
        whose.append(least)
    workers = [_Worker(url, share) for share in shares[1:] if share]
    try:
        with connect(url) as connection:
            own = _Own(connection, shares[0])
            yield chain.from_iterable(
                workers[who - 1].of(run, own) if who else own.of(run) for run, who in zip(work, whose, strict=True)
            )
    finally:
        for worker in workers:
            worker.end()


class _Own:
    """What this process recomputes itself: when it is asked for, or before, while it would have to wait."""

    def __init__(self, connection: Connection[TupleRow], share: Sequence[Run]) -> None:
        self._coming = chain.from_iterable(run.segments(connection) for run in share)
        self._ready: deque[Recomputed] = deque()

    def go_on(self) -> bool:
        """Recompute one more stretch; whether there was one."""
        found = next(self._coming, None)
        if found is not None:
            self._ready.append(found)
        return found is not None

    def of(self, run: Run) -> Iterator[Recomputed]:
        """The stretches of the next run."""
        end = run.start
        while end < run.end:
            if not self._ready:
                self.go_on()
            found = self._ready.popleft()
            end = found.segment.end
            yield found


class _Worker:
    """A process, and a thread that takes what it gives."""

    def __init__(self, url: str, share: Sequence[Run]) -> None:
        self._process = Child(_serve, (url, share))
        self._results: Queue[Recomputed | Died] = Queue()
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        try:
            while True:
                self._results.put(self._process.receive())
        except Died as died:
            self._results.put(died)

    def of(self, run: Run, meanwhile: _Own) -> Iterator[Recomputed]:
        """The stretches of its next run; this process does its own share while it waits."""
        end = run.start
        while end < run.end:
            while self._results.empty() and meanwhile.go_on():
                pass
            found = self._results.get()
            if isinstance(found, Died):
                raise found
            end = found.segment.end
            yield found

    def end(self) -> None:
        self._process.end()


def _serve(requests: Iterator[Any], send: Send) -> None:
    """What each process does."""
    url, share = next(requests)
    garbage_collection.calm()
    with connect(url) as connection:
        for run in share:
            for found in run.segments(connection):
                send(found)
