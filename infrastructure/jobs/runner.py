"""Runs jobs: takes those that are due, calls the function of their kind, and stores the outcome.

Any number of programs have a runner. A runner holds an advisory lock on a job while it runs it, on a connection of
its own. A job in state ``running`` without a lock belongs to a process that died; another runner begins it again.
Every change to a running job names its attempt, so that a runner never changes a job that another one took over.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

import msgspec
import psycopg
from psycopg import sql
from psycopg.rows import class_row
from psycopg.types.json import Jsonb
from psycopg_pool import PoolTimeout

from domain.rules.ruleset import RuleBook
from infrastructure.database.pool import Pool, WriteConnection
from infrastructure.jobs.job import COLUMNS, Job, JobState, find, refusal, schedule
from infrastructure.jobs.kind import Context, JobFailed, JobKind, Postponed
from infrastructure.runtime import clock

log = logging.getLogger("shiplock.jobs")

AT_ONCE = 4
"""So many jobs a runner has under way."""

IDLE_SECONDS = 2.0
"""So often it looks for jobs that other programs requested."""

BUSY_SECONDS = 0.5
"""So often while a job runs, whose progress is written down, and who may be cancelled."""

RECONNECT_SECONDS = 1.0

_LOCKED = 7_166_405
"""With a job's id, the advisory lock of who runs it."""

_CANCELLED = "It was cancelled."

# Those of processes that died come first, and are few: a job that another runner holds is found locked.
_CANDIDATES = """
WITH ours AS MATERIALIZED (
    SELECT j.id, j.state, j.priority, j.due_at, j.lane FROM job j
    JOIN unnest(%(kinds)s::text[], %(keys)s::text[]) AS k(kind, key)
        ON k.kind = j.kind AND coalesce(k.key = j.key, true)
    WHERE j.finished_at IS NULL AND (j.state = 'running' OR j.due_at <= %(now)s) AND j.id <> ALL (%(running)s)
)
(SELECT id FROM ours WHERE state = 'running')
UNION ALL
(SELECT id FROM ours WHERE state = 'waiting'
 AND NOT EXISTS (SELECT FROM job o WHERE o.lane = ours.lane AND o.state = 'running')
 ORDER BY priority DESC, due_at, id LIMIT 20)
"""

_BEGIN = sql.SQL(
    """
UPDATE job j SET state = 'running', attempts = attempts + 1, started_at = %(now)s, done = NULL, total = NULL
WHERE id = %(id)s AND (state = 'running' OR (state = 'waiting' AND due_at <= %(now)s))
AND NOT EXISTS (SELECT FROM job o WHERE o.lane = j.lane AND o.state = 'running' AND o.id <> j.id)
RETURNING {}
"""
).format(COLUMNS)

_REACHED = """
UPDATE job SET done = w.done, total = w.total
FROM unnest(%s::int[], %s::int[], %s::bigint[], %s::bigint[]) AS w(id, attempts, done, total)
WHERE job.id = w.id AND job.attempts = w.attempts AND state = 'running'
"""

# The outcome of a periodic job's last success stays beside the error that followed it.
_END = """
UPDATE job SET state = %(state)s, attempts = %(attempts)s, done = %(done)s, total = %(total)s, error = %(error)s,
    outcome = coalesce(%(outcome)s, outcome),
    due_at = CASE %(state)s WHEN 'waiting' THEN %(due_at)s ELSE due_at END,
    finished_at = CASE WHEN %(state)s <> 'waiting' THEN %(now)s END
WHERE id = %(id)s AND attempts = %(attempt)s AND state = 'running'
"""

# At once where nobody runs it; otherwise its runner sees it.
_RETRY = sql.SQL(
    """
UPDATE job j SET state = 'waiting', attempts = 0, cancel_requested = false, error = NULL,
    finished_at = NULL, due_at = %s
WHERE id = %s AND state IN ('waiting', 'failed', 'cancelled')
AND NOT EXISTS (
    SELECT FROM job o WHERE o.kind = j.kind AND o.key = j.key AND o.finished_at IS NULL AND o.id <> j.id
)
RETURNING {}
"""
).format(COLUMNS)

_CANCEL = sql.SQL(
    """
UPDATE job SET cancel_requested = true, error = %(error)s,
    state = CASE state WHEN 'waiting' THEN 'cancelled' ELSE state END,
    finished_at = CASE state WHEN 'waiting' THEN %(now)s::timestamptz END
WHERE id = %(id)s AND finished_at IS NULL RETURNING {}
"""
).format(COLUMNS)


class Schedule(NamedTuple):
    """Have a job of a kind run every so many seconds. Where there are several of a kind, a key tells them apart."""

    kind: str
    every_seconds: int
    key: str = ""


@dataclass
class _Running:
    job: Job
    context: Context
    task: "asyncio.Task[None]"
    cancelled: bool = False
    over: bool = False

    def end(self) -> None:
        """Stop the job, unless it is over and its outcome is being stored."""
        if not self.over:
            self.task.cancel()


class _Ending(NamedTuple):
    """What becomes of a job after an attempt; where it waits again, for so many seconds."""

    state: JobState
    seconds: float = 0.0
    attempts: int | None = None
    error: str | None = None
    outcome: Any = None


def _failure(job: Job, kind: JobKind, error: Exception) -> _Ending:
    """What becomes of a job that raised ``error``: it waits for another attempt, or it has failed.

    It has failed after a ``JobFailed``, or after the last attempt of its kind. A periodic job always waits, at most
    until it is due next.
    """
    for_good = isinstance(error, JobFailed)
    log.error("job %d (%s) failed: %s", job.id, job.kind, error, exc_info=None if for_good else error)
    message = str(error) or type(error).__name__
    seconds = kind.delay(job.attempts)
    if job.every_seconds is not None:
        return _Ending("waiting", job.every_seconds if for_good else min(seconds, job.every_seconds), error=message)
    if for_good or job.attempts >= kind.attempts:
        return _Ending("failed", error=message)
    return _Ending("waiting", seconds, error=message)


class Runner:
    """Runs jobs of some kinds until it is stopped.

    Of a kind in ``only`` it runs the jobs of one key: those of what this program has and others may not.
    """

    def __init__(
        self,
        pool: Pool,
        url: str,
        book: RuleBook,
        kinds: Iterable[JobKind],
        *,
        schedules: Iterable[Schedule] = (),
        only: Mapping[str, str] | None = None,
        at_once: int = AT_ONCE,
    ) -> None:
        self._pool = pool
        self._url = url
        self._book = book
        self._kinds = {kind.name: kind for kind in kinds}
        self._only = dict(only or {})
        self._schedules = list(schedules)
        self._at_once = at_once
        self._threads = ThreadPoolExecutor(at_once, "jobs")
        self._running: dict[int, _Running] = {}
        self._wake = asyncio.Event()
        self._stopping = False

    def wake(self) -> None:
        """A job was requested: look now. To be called in the runner's event loop."""
        self._wake.set()

    def stop(self) -> None:
        """End ``run``; what is under way is left to be begun again. To be called in the runner's event loop."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Work until stopped; a database that went away is waited for."""
        begun = False
        while not self._stopping:
            try:
                async with await WriteConnection.connect(self._url, autocommit=True, connect_timeout=3) as own:
                    await own.execute("SET TIME ZONE 'UTC'")
                    if not begun:
                        await self._go_on(own)
                    begun = True
                    try:
                        await self._work(own)
                    finally:
                        await self._end_all()
            except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
                log.warning("the database can't be reached, jobs wait: %s", error)
                await self._wait(RECONNECT_SECONDS)
            except Exception:
                log.exception("jobs wait")
                await self._wait(RECONNECT_SECONDS)
        self._threads.shutdown(wait=False)

    async def _go_on(self, own: WriteConnection) -> None:
        for each in self._schedules:
            await schedule(own, each.kind, each.key, each.every_seconds)
        for kind in self._kinds.values():
            if kind.go_on:
                await kind.go_on(own)

    async def _work(self, own: WriteConnection) -> None:
        while not self._stopping:
            if self._running:
                await self._write_progress(own)
                await self._see_cancellations(own)
            if len(self._running) < self._at_once:
                await self._take(own)
            await self._wait(BUSY_SECONDS if self._running else IDLE_SECONDS)

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds)
        if not self._stopping:
            self._wake.clear()

    # ---- taking ------------------------------------------------------------------------------------

    async def _take(self, own: WriteConnection) -> None:
        cursor = await own.execute(
            _CANDIDATES,
            {
                "kinds": list(self._kinds),
                "keys": [self._only.get(kind) for kind in self._kinds],
                "now": clock.now(),
                "running": list(self._running),
            },
        )
        for (job_id,) in await cursor.fetchall():
            if len(self._running) >= self._at_once:
                return
            locked = await own.execute("SELECT pg_try_advisory_lock(%s, %s)", (_LOCKED, job_id))
            if await locked.fetchone() != (True,):
                continue
            job = await self._begin(own, job_id)
            if job is None:
                await self._unlock(own, job_id)
                continue
            context = Context(self._url, self._pool, self._book, self._threads)
            task = asyncio.create_task(self._run(own, job, context), name=f"job {job_id}")
            self._running[job_id] = _Running(job, context, task)

    async def _begin(self, own: WriteConnection, job_id: int) -> Job | None:
        """The job, if it still is to be done."""
        cursor = own.cursor(row_factory=class_row(Job))
        try:
            await cursor.execute(_BEGIN, {"id": job_id, "now": clock.now()})
        except psycopg.errors.UniqueViolation:  # another runner was quicker to take one of its lane
            return None
        return await cursor.fetchone()

    async def _unlock(self, own: WriteConnection, job_id: int) -> None:
        await own.execute("SELECT pg_advisory_unlock(%s, %s)", (_LOCKED, job_id))

    # ---- running -----------------------------------------------------------------------------------

    async def _run(self, own: WriteConnection, job: Job, context: Context) -> None:
        """Do a job, and write down what came of it."""
        running = self._running[job.id]
        try:
            ending = await self._attempt(running, context)
            running.over = True
            await self._write_ending(job, context, ending)
        except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
            log.warning("job %d can't be written down, it will be begun again: %s", job.id, error)
        finally:
            self._running.pop(job.id, None)
            with suppress(psycopg.OperationalError, psycopg.InterfaceError):  # a lost connection holds no lock
                await self._unlock(own, job.id)
            self._wake.set()

    async def _attempt(self, running: _Running, context: Context) -> _Ending:
        job = running.job
        kind = self._kinds[job.kind]
        if job.cancel_requested:
            return _Ending("cancelled", error=_CANCELLED)
        try:
            if job.attempts > kind.attempts and job.every_seconds is None:
                raise JobFailed(f"It was interrupted {job.attempts - 1} times; ask for it again.")
            outcome = await kind.run(context, job)
        except asyncio.CancelledError:
            if running.cancelled:
                return _Ending("cancelled", error=_CANCELLED)
            return _Ending("waiting", attempts=job.attempts - 1)  # this program ends: the attempt does not count
        except Postponed as postponed:
            return _Ending("waiting", postponed.seconds, attempts=job.attempts - 1)
        except Exception as error:
            return _failure(job, kind, error)
        if job.every_seconds is None:
            return _Ending("done", outcome=outcome)
        return _Ending("waiting", job.every_seconds, attempts=0, outcome=outcome)

    async def _write_ending(self, job: Job, context: Context, ending: _Ending) -> None:
        now = clock.now()
        done, total = context.reached or (None, None)
        async with self._pool.write() as connection, connection.transaction():
            cursor = await connection.execute(
                _END,
                {
                    "id": job.id,
                    "attempt": job.attempts,
                    "state": ending.state,
                    "attempts": job.attempts if ending.attempts is None else ending.attempts,
                    "due_at": now + timedelta(seconds=ending.seconds),
                    "now": now,
                    "error": ending.error,
                    "outcome": None if ending.outcome is None else Jsonb(msgspec.to_builtins(ending.outcome)),
                    "done": done,
                    "total": total,
                },
            )
            if cursor.rowcount and ending.state in ("failed", "cancelled"):
                await _abandon(connection, self._kinds, job, ending.error or "")

    async def _write_progress(self, own: WriteConnection) -> None:
        rows = [
            (running.job.id, running.job.attempts, *running.context.reached)
            for running in self._running.values()
            if running.context.reached
        ]
        if rows:
            await own.execute(_REACHED, [list(column) for column in zip(*rows, strict=True)])

    async def _see_cancellations(self, own: WriteConnection) -> None:
        cursor = await own.execute(
            "SELECT id FROM job WHERE id = ANY (%s) AND cancel_requested", (list(self._running),)
        )
        for (job_id,) in await cursor.fetchall():
            running = self._running.get(job_id)
            if running and not running.cancelled:
                running.cancelled = True
                running.end()

    async def _end_all(self) -> None:
        ended = list(self._running.values())
        for running in ended:
            running.end()
        if ended:
            await asyncio.wait([running.task for running in ended])
        self._running.clear()


async def cancel(connection: WriteConnection, kinds: Mapping[str, JobKind], job_id: int) -> Job:
    """Have a job not run, or stopped if it runs. A periodic one comes back when a program starts that wants it.

    Raises ``NotPossible``.
    """
    async with connection.transaction():
        cursor = connection.cursor(row_factory=class_row(Job))
        await cursor.execute(_CANCEL, {"id": job_id, "now": clock.now(), "error": _CANCELLED})
        job = await cursor.fetchone()
        if job is None:
            raise await refusal(connection, job_id, "cancelled")
        if job.state == "cancelled":
            await _abandon(connection, kinds, job, _CANCELLED)
        return job


async def retry(connection: WriteConnection, kinds: Mapping[str, JobKind], job_id: int) -> Job:
    """Run a job again that failed or was cancelled; run one that waits at once.

    Raises ``NotPossible``.
    """
    async with connection.transaction():
        before = await find(connection, job_id)
        cursor = connection.cursor(row_factory=class_row(Job))
        await cursor.execute(_RETRY, (clock.now(), job_id))
        job = await cursor.fetchone()
        if before is None or job is None:
            raise await refusal(connection, job_id, "retried")
        kind = kinds.get(job.kind)
        if kind and kind.retried and before.finished_at is not None:
            await kind.retried(connection, job)
        return job


async def _abandon(connection: WriteConnection, kinds: Mapping[str, JobKind], job: Job, error: str) -> None:
    kind = kinds.get(job.kind)
    if kind and kind.abandoned:
        await kind.abandoned(connection, job, error)
