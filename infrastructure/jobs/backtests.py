"""Backtests requested over HTTP: each is a row with its scope, its progress and its result.

They run one after another, because each takes all cores. A backtest that was interrupted begins again; after
``MOST_BEGINNINGS`` it fails.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Any, Literal, NamedTuple

import msgspec
from psycopg.rows import class_row

from domain.rules.ruleset import RuleBook
from infrastructure.database.pool import ReadConnection, WriteConnection
from infrastructure.jobs.job import Job, NotPossible, enqueue
from infrastructure.jobs.kind import Context, JobFailed, JobKind, Report
from infrastructure.log.replay import ReplayFailed
from infrastructure.queries.backtest import Backtest, BacktestProgress, BacktestScope, backtest
from infrastructure.runtime import clock

BacktestState = Literal["waiting", "running", "done", "failed"]

MOST_UNFINISHED = 3
"""So many backtests of a shop wait or run at most."""

MOST_UNFINISHED_IN_ALL = 50
"""So many wait or run at most, of all shops."""

KEPT = 20
"""So many of a shop's backtests are kept; the oldest go."""

MOST_BEGINNINGS = 3
"""A backtest that began so often and did not finish fails."""

_LANE = "backtest"
"""One runs at a time, of all shops."""

_REQUESTING = 7_166_404
"""With a hash of its id, the advisory lock of a shop while a backtest is requested."""

STORED_SECONDS = 0.5
"""So often the progress of a running backtest is stored."""

_encode = msgspec.json.Encoder().encode
_decode_scope = msgspec.json.Decoder(BacktestScope).decode
_result = msgspec.json.Decoder(Backtest).decode


class TooMany(Exception):
    """The shop, or all shops together, have as many unfinished backtests as they may have."""


class StoredBacktest(NamedTuple):
    """A backtest as it is stored. ``asked`` is its scope, as JSON."""

    shop_id: str
    id: int
    asked: bytes
    state: BacktestState
    begun: int
    done: int
    total: int
    worked_seconds: float
    requested_at: datetime
    finished_at: datetime | None
    error: str | None
    result: bytes | None


class BacktestJob(msgspec.Struct, frozen=True):
    """A backtest that was requested. ``done`` and ``total`` count events; ``result`` is set once it is ``done``."""

    id: int
    rules: str
    state: BacktestState
    done: int
    total: int
    events_per_second: float | None
    eta_seconds: float | None
    requested_at: datetime
    finished_at: datetime | None
    error: str | None
    result: Backtest | None

    @classmethod
    def of(cls, row: StoredBacktest) -> "BacktestJob":
        rate = row.done / row.worked_seconds if row.done and row.worked_seconds else None
        return cls(
            id=row.id,
            rules=_decode_scope(row.asked).rules.name,
            state=row.state,
            done=row.done,
            total=row.total,
            events_per_second=rate,
            eta_seconds=(row.total - row.done) / rate if rate else None,
            requested_at=row.requested_at,
            finished_at=row.finished_at,
            error=row.error,
            result=_result(row.result) if row.result else None,
        )


_COLUMNS = ", ".join(StoredBacktest._fields)


async def request(connection: WriteConnection, shop_id: str, scope: BacktestScope) -> BacktestJob:
    """Store a backtest and request the job that runs it. Raises ``TooMany``."""
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (_REQUESTING, shop_id))
        rows = await _of_shop(connection, shop_id)
        unfinished = [row for row in rows if row.finished_at is None]
        if len(unfinished) >= MOST_UNFINISHED:
            raise TooMany(f"{len(unfinished)} backtests of this shop wait or run; let one finish first.")
        cursor = await connection.execute("SELECT count(*) FROM backtest WHERE finished_at IS NULL")
        counted = await cursor.fetchone()
        if counted and counted[0] >= MOST_UNFINISHED_IN_ALL:
            raise TooMany("Backtests of other shops wait as well, and are too many; try again later.")
        finished = [row.id for row in rows if row.finished_at is not None]
        dropped = finished[: max(len(rows) + 1 - KEPT, 0)]
        await connection.execute("DELETE FROM backtest WHERE shop_id = %s AND id = ANY (%s)", (shop_id, dropped))
        inserted = connection.cursor(row_factory=class_row(StoredBacktest))
        await inserted.execute(
            f"""INSERT INTO backtest (shop_id, id, asked, state, requested_at)
                VALUES (%s, %s, %s, 'waiting', %s) RETURNING {_COLUMNS}""",
            (shop_id, rows[-1].id + 1 if rows else 1, _encode(scope), clock.now()),
        )
        row = await inserted.fetchone()
        assert row
        await _enqueue(connection, shop_id, row.id)
        return BacktestJob.of(row)


async def _enqueue(connection: WriteConnection, shop_id: str, backtest_id: int) -> None:
    arguments = {"backtest_id": backtest_id}
    key = f"{shop_id}/{backtest_id}"
    await enqueue(connection, BACKTEST.name, key, shop_id=shop_id, lane=_LANE, arguments=arguments)


async def _go_on(connection: WriteConnection) -> None:
    """Request a job for each backtest that is not finished, in the order of the requests."""
    cursor = await connection.execute(
        "SELECT shop_id, id FROM backtest WHERE finished_at IS NULL ORDER BY requested_at, shop_id, id"
    )
    for shop_id, backtest_id in await cursor.fetchall():
        await _enqueue(connection, shop_id, backtest_id)


async def find(connection: ReadConnection, shop_id: str, job_id: int) -> BacktestJob | None:
    cursor = connection.cursor(row_factory=class_row(StoredBacktest))
    await cursor.execute(f"SELECT {_COLUMNS} FROM backtest WHERE shop_id = %s AND id = %s", (shop_id, job_id))
    row = await cursor.fetchone()
    return BacktestJob.of(row) if row else None


async def of_shop(connection: ReadConnection, shop_id: str) -> list[BacktestJob]:
    """A shop's backtests, the latest first, without their results."""
    return [BacktestJob.of(row._replace(result=None)) for row in reversed(await _of_shop(connection, shop_id))]


# ---- the job ----------------------------------------------------------------------------------------


async def _run(context: Context, job: Job) -> Any:
    return await context.in_child(
        _run_in_child, context.url, context.book, job.shop_id, job.arguments["backtest_id"]
    )


def _run_in_child(
    report: Report, url: str, book: RuleBook, shop_id: str, backtest_id: int
) -> dict[str, int] | None:
    """Run a backtest in this process, which exists for it."""

    async def run() -> dict[str, int] | None:
        async with await WriteConnection.connect(url, autocommit=True) as connection:
            return await _run_and_store(connection, url, book, shop_id, backtest_id, report)

    return asyncio.run(run())


async def _run_and_store(
    connection: WriteConnection,
    url: str,
    book: RuleBook,
    shop_id: str,
    backtest_id: int,
    report: Report,
) -> dict[str, int] | None:
    """Run a backtest and store its result; return its counts, or ``None`` if it is done. Raises ``JobFailed``."""
    row = await _begin(connection, shop_id, backtest_id)
    if row is None:
        return None
    async with _storing_progress(connection, row) as reached:

        def show(progress: BacktestProgress) -> None:
            reached.append(progress)
            report(progress.done, progress.total)

        try:
            found = await backtest(url, shop_id, book, _decode_scope(row.asked), row.requested_at, on_progress=show)
        except ReplayFailed as error:
            raise JobFailed(str(error)) from error
    await connection.execute(
        """UPDATE backtest SET state = 'done', finished_at = %s, result = %s
           WHERE shop_id = %s AND id = %s""",
        (clock.now(), _encode(found), shop_id, backtest_id),
    )
    return {"orders": found.orders, "differing": found.differing}


async def _begin(connection: WriteConnection, shop_id: str, backtest_id: int) -> StoredBacktest | None:
    """The backtest, if it is there and not done."""
    cursor = connection.cursor(row_factory=class_row(StoredBacktest))
    await cursor.execute(
        f"""UPDATE backtest SET state = 'running', begun = begun + 1, done = 0, worked_seconds = 0, error = NULL,
            finished_at = NULL WHERE shop_id = %s AND id = %s AND state <> 'done' RETURNING {_COLUMNS}""",
        (shop_id, backtest_id),
    )
    return await cursor.fetchone()


async def _abandoned(connection: WriteConnection, job: Job, error: str) -> None:
    """Store that the backtest failed: its job failed for good, or was cancelled."""
    await connection.execute(
        """UPDATE backtest SET state = 'failed', finished_at = %s, error = %s
           WHERE shop_id = %s AND id = %s AND finished_at IS NULL""",
        (clock.now(), error, job.shop_id, job.arguments["backtest_id"]),
    )


async def _retried(connection: WriteConnection, job: Job) -> None:
    """Let the backtest wait again. Raises ``NotPossible`` where it was forgotten."""
    cursor = await connection.execute(
        """UPDATE backtest SET state = 'waiting', finished_at = NULL, error = NULL, done = 0, begun = 0
           WHERE shop_id = %s AND id = %s AND state = 'failed'""",
        (job.shop_id, job.arguments["backtest_id"]),
    )
    if not cursor.rowcount:
        raise NotPossible(f"Backtest {job.arguments['backtest_id']} was forgotten; request it again.")


@asynccontextmanager
async def _storing_progress(
    connection: WriteConnection, job: StoredBacktest
) -> AsyncIterator[list[BacktestProgress]]:
    """Store the progress of a backtest every ``STORED_SECONDS``: the last item of the list that this yields."""
    reached = [BacktestProgress(0, 0, 0.0)]
    over = asyncio.Event()

    async def store() -> None:
        while not over.is_set():
            await _store_progress(connection, job, reached[-1])
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), STORED_SECONDS)
        await _store_progress(connection, job, reached[-1])

    storing = asyncio.create_task(store())
    try:
        yield reached
    finally:
        over.set()
        await storing


async def _store_progress(connection: WriteConnection, job: StoredBacktest, reached: BacktestProgress) -> None:
    await connection.execute(
        "UPDATE backtest SET done = %s, total = %s, worked_seconds = %s WHERE shop_id = %s AND id = %s",
        (reached.done, reached.total, reached.seconds, job.shop_id, job.id),
    )


async def _of_shop(connection: ReadConnection, shop_id: str) -> list[StoredBacktest]:
    """Oldest first; there are never more than a few."""
    cursor = connection.cursor(row_factory=class_row(StoredBacktest))
    await cursor.execute(f"SELECT {_COLUMNS} FROM backtest WHERE shop_id = %s ORDER BY id", (shop_id,))
    return await cursor.fetchall()


BACKTEST = JobKind("backtest", _run, attempts=MOST_BEGINNINGS, abandoned=_abandoned, retried=_retried, go_on=_go_on)
