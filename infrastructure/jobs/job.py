"""A job: a row that says what is to be done, how far it is, and what came of it."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec
from psycopg import sql
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from infrastructure.database.pool import ReadConnection, WriteConnection
from infrastructure.queries.paging import Cursor, Keyset, Page, page_of
from infrastructure.runtime import clock

JobState = Literal["waiting", "running", "done", "failed", "cancelled"]
JobKey = tuple[int]

KEPT_DAYS = 30
"""Finished jobs are kept so long."""

STALE_DAYS = 7
"""A periodic job that was due so long ago is nobody's any more."""


class NotPossible(Exception):
    """The job is in no state for that; the message says why."""


class Job(msgspec.Struct, frozen=True):
    """A piece of background work.

    Of a ``kind`` and ``key`` there is one unfinished job at most. Of a ``lane``, where it has one, one runs at a
    time. Of those that are due the one of the highest ``priority`` is first. A periodic job (``every_seconds``)
    waits again after each run; it keeps the last ``outcome``, and the ``error`` if the last run failed. What
    ``done`` and ``total`` count is the kind's. ``attempts`` is how often it was begun; of a periodic job, since
    its last success.
    """

    id: int
    kind: str
    key: str
    shop_id: str | None
    lane: str | None
    arguments: dict[str, Any]
    state: JobState
    priority: int
    attempts: int
    cancel_requested: bool
    every_seconds: int | None
    done: int | None
    total: int | None
    outcome: Any
    error: str | None
    requested_at: datetime
    due_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


COLUMNS = sql.SQL(", ").join(map(sql.Identifier, Job.__struct_fields__))

_ENQUEUE = sql.SQL(
    """
INSERT INTO job (kind, key, shop_id, lane, arguments, state, priority, requested_at, due_at)
VALUES (%s, %s, %s, %s, %s, 'waiting', %s, %s, %s)
ON CONFLICT (kind, key) WHERE finished_at IS NULL DO UPDATE SET priority = greatest(job.priority, excluded.priority)
RETURNING {}
"""
).format(COLUMNS)

_SCHEDULE = """
INSERT INTO job (kind, key, arguments, state, priority, every_seconds, requested_at, due_at)
VALUES (%s, %s, '{}', 'waiting', 0, %s, %s, %s)
ON CONFLICT (kind, key) WHERE finished_at IS NULL
DO UPDATE SET every_seconds = excluded.every_seconds, due_at = least(job.due_at, excluded.due_at)
"""

_LIST = sql.SQL(
    """
SELECT {} FROM job
WHERE (%(state)s::text IS NULL OR state = %(state)s) AND (%(kind)s::text IS NULL OR kind = %(kind)s)
AND {}
ORDER BY {} LIMIT %(limit)s
"""
)

# Bounded, so that forgetting many never holds anything up for long.
_FORGET = """
DELETE FROM job WHERE id IN (
    SELECT id FROM job WHERE finished_at <= %s OR (state = 'waiting' AND every_seconds IS NOT NULL AND due_at <= %s)
    LIMIT 5000
)
"""


async def enqueue(
    connection: WriteConnection,
    kind: str,
    key: str,
    *,
    arguments: Mapping[str, Any],
    shop_id: str | None = None,
    lane: str | None = None,
    priority: int = 0,
    due_at: datetime | None = None,
) -> Job:
    """Request a job, in the caller's transaction. Where one of this kind and key is unfinished, it is that one."""
    now = clock.now()
    cursor = connection.cursor(row_factory=class_row(Job))
    await cursor.execute(_ENQUEUE, (kind, key, shop_id, lane, Jsonb(dict(arguments)), priority, now, due_at or now))
    job = await cursor.fetchone()
    assert job
    return job


async def schedule(connection: WriteConnection, kind: str, key: str, every_seconds: int) -> None:
    """Have a job run every so many seconds, for the first time after as many. Any number of programs may say so."""
    now = clock.now()
    await connection.execute(_SCHEDULE, (kind, key, every_seconds, now, now + timedelta(seconds=every_seconds)))


async def find(connection: ReadConnection, job_id: int) -> Job | None:
    cursor = connection.cursor(row_factory=class_row(Job))
    await cursor.execute(sql.SQL("SELECT {} FROM job WHERE id = %s").format(COLUMNS), (job_id,))
    return await cursor.fetchone()


async def list_jobs(
    connection: ReadConnection,
    limit: int,
    cursor: Cursor[JobKey] | None = None,
    *,
    state: JobState | None = None,
    kind: str | None = None,
) -> Page[Job, JobKey]:
    """The latest jobs first."""
    keyset = Keyset([sql.Identifier("id")], cursor, descending=True)
    found = connection.cursor(row_factory=class_row(Job))
    await found.execute(
        _LIST.format(COLUMNS, keyset.condition, keyset.order),
        {"state": state, "kind": kind, "limit": limit + 1, **keyset.parameters},
    )
    return page_of(await found.fetchall(), limit, cursor, lambda job: (job.id,))


async def refusal(connection: ReadConnection, job_id: int, what: str) -> NotPossible:
    """Why a job can't be cancelled or retried."""
    job = await find(connection, job_id)
    if job is None:
        return NotPossible(f"There is no job {job_id}.")
    return NotPossible(f"Job {job_id} is {job.state} and can't be {what}.")


async def forget_jobs(connection: WriteConnection, now: datetime) -> int:
    """Remove some of the jobs that finished long ago, and of the periodic ones that nobody runs; how many."""
    cursor = await connection.execute(_FORGET, (now - timedelta(days=KEPT_DAYS), now - timedelta(days=STALE_DAYS)))
    return cursor.rowcount
