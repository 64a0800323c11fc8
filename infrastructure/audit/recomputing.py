"""Recomputing many segments in parallel, in several processes."""

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
"""The most events of a run. The versions of all streams of a run are in memory."""

MOST_RUNS = 1 << 10
"""A log is divided into no more runs, however large its last position claims to be."""

SMALL = 1 << 16
"""About so many events are recomputed in the time that a process needs to start."""

_NEXT = """
SELECT position FROM event WHERE shop_id = %s AND position > %s AND position <= %s ORDER BY position LIMIT 1
"""


class Run(NamedTuple):
    """Events ``start + 1`` to ``end`` of a shop: consecutive segments that one process recomputes.

    ``sizes`` are sizes of the log in between, at which its tree is needed.
    """

    shop_id: str
    start: int
    end: int
    sizes: list[int]

    def segments(self, connection: Connection[TupleRow]) -> Iterator["Recomputed"]:
        """Recompute the segments of the run. The connection is in use until the last one."""
        streams = Streams({}, {})
        rows = Rows(connection, self.shop_id, self.start, self.end)
        start = self.start
        while start < self.end:
            end = min(start + SEGMENT_EVENTS, self.end)
            if again := rows.closed:  # something was unexpected, and the next rows may be as well
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
        """The end of a gap after ``start``, in whole segments, so that a gap of any width is a single segment."""
        row = connection.execute(_NEXT, (self.shop_id, start, self.end)).fetchone()
        if row is None:
            return self.end
        return start + (int(row[0]) - 1 - start) // SEGMENT_EVENTS * SEGMENT_EVENTS


class Recomputed(NamedTuple):
    """A segment. With the last one of a run come the streams of the whole run."""

    segment: Segment
    streams: Streams | None


def runs(shop_id: str, size: int, sizes: Sequence[int], processes: int) -> Iterator[Run]:
    """Divide a log into runs of about the same length, so many that every process gets an equal share."""
    count = min(-(-size // RUN_EVENTS), MOST_RUNS)
    if size > SMALL:
        count = -(-count // processes) * processes
    length = -(-size // (max(count, 1) * SEGMENT_EVENTS)) * SEGMENT_EVENTS
    for start in range(0, size, length or 1):
        end = min(start + length, size)
        yield Run(shop_id, start, end, [cut for cut in sizes if start < cut <= end])


def connect(url: str) -> Connection[TupleRow]:
    """A connection for reading events."""
    connection = psycopg.connect(url, autocommit=True, client_encoding="UTF8", application_name="shiplock audit")
    connection.execute("SET TIME ZONE 'UTC'")
    return connection


@contextmanager
def recomputed(url: str, work: Sequence[Run], processes: int) -> Iterator[Iterator[Recomputed]]:
    """The segments of some runs, in order. This process recomputes its own share, others recompute theirs ahead.

    A share has whole runs. The shares have about as many events, but that of this process is larger, because it
    begins while the others still start.
    """
    if sum(run.end - run.start for run in work) <= SMALL:
        processes = 1
    shares: list[list[Run]] = [[] for _ in range(processes)]
    events = [0] + [SMALL] * (processes - 1)
    owners = []
    for run in work:
        owner = events.index(min(events))
        events[owner] += run.end - run.start
        shares[owner].append(run)
        owners.append(owner)
    workers = [_Worker(url, share) for share in shares[1:] if share]
    try:
        with connect(url) as connection:
            own = _OwnShare(connection, shares[0])
            yield chain.from_iterable(
                workers[owner - 1].of(run, own) if owner else own.of(run)
                for run, owner in zip(work, owners, strict=True)
            )
    finally:
        for worker in workers:
            worker.end()


class _OwnShare:
    """The share of this process. It is recomputed when it is needed, or earlier instead of waiting for others."""

    def __init__(self, connection: Connection[TupleRow], share: Sequence[Run]) -> None:
        self._coming = chain.from_iterable(run.segments(connection) for run in share)
        self._ready: deque[Recomputed] = deque()

    def recompute_next(self) -> bool:
        """Recompute one more segment. Returns whether there was one."""
        part = next(self._coming, None)
        if part is not None:
            self._ready.append(part)
        return part is not None

    def of(self, run: Run) -> Iterator[Recomputed]:
        """The segments of the next run."""
        end = run.start
        while end < run.end:
            if not self._ready:
                self.recompute_next()
            part = self._ready.popleft()
            end = part.segment.end
            yield part


class _Worker:
    """A process that recomputes a share, and a thread that receives its results."""

    def __init__(self, url: str, share: Sequence[Run]) -> None:
        self._process = Child(_serve, (url, share))
        self._results: Queue[Recomputed | Died] = Queue()
        threading.Thread(target=self._receive, daemon=True).start()

    def _receive(self) -> None:
        try:
            while True:
                self._results.put(self._process.receive())
        except Died as died:
            self._results.put(died)

    def of(self, run: Run, own_share: _OwnShare) -> Iterator[Recomputed]:
        """The segments of its next run. While this process waits for them, it recomputes its own share."""
        end = run.start
        while end < run.end:
            while self._results.empty() and own_share.recompute_next():
                pass
            part = self._results.get()
            if isinstance(part, Died):
                raise part
            end = part.segment.end
            yield part

    def end(self) -> None:
        self._process.end()


def _serve(requests: Iterator[Any], send: Send) -> None:
    """The work of each process."""
    url, share = next(requests)
    garbage_collection.tune()
    with connect(url) as connection:
        for run in share:
            for part in run.segments(connection):
                send(part)
