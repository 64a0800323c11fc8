"""Backtests as jobs: each runs once, starts again after a kill, and fails after too many kills."""

import asyncio
import signal
from contextlib import AsyncExitStack
from datetime import timedelta
from itertools import pairwise

import psycopg
import pytest
from msgspec.structs import replace

from domain.order import commands as c
from domain.rules.ruleset import GoodsHours
from infrastructure.commands.committer import CommandPath
from infrastructure.database.pool import Pool
from infrastructure.jobs import backtests as backtest_jobs
from infrastructure.jobs.backtests import BACKTEST, BacktestJob
from infrastructure.jobs.job import Job, list_jobs
from infrastructure.jobs.kinds import JOB_KINDS
from infrastructure.jobs.runner import cancel, retry
from infrastructure.queries.backtest import BacktestScope, backtest
from infrastructure.runtime import clock
from infrastructure.runtime.rule_sets import shipped_rules
from tests.infrastructure.jobs.running import Jobs, program, with_jobs
from tests.orders import MONDAY_9, SHOP, done, on_database, order_command, order_sn, placed_and_formed

BOOK = shipped_rules()
TODAY = BOOK.sets[-1]
HASTY = replace(TODAY, name="hasty", ship_by=replace(TODAY.ship_by, hours=GoodsHours(ordinary=4)))


@pytest.fixture
def url(database_url: str) -> str:
    """Five orders, of which the first was shipped after five hours."""

    async def fill(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 5)
        upload = c.UploadTracking(carrier="SF", tracking_number="SF1", occurred_at=MONDAY_9 + timedelta(hours=5))
        await done(path, order_command(order_sn(0), upload))

    on_database(database_url, fill)
    return database_url


def enqueued(url: str, shop: str = SHOP, **more: object) -> BacktestJob:
    async def ask(pool: Pool, path: CommandPath) -> BacktestJob:
        async with pool.connection() as connection:
            return await backtest_jobs.request(connection, shop, BacktestScope(rules=HASTY, **more))  # type: ignore[arg-type]

    return on_database(url, ask)


def backtest_job(url: str, job_id: int, shop: str = SHOP) -> BacktestJob:
    async def find(pool: Pool, path: CommandPath) -> BacktestJob | None:
        async with pool.connection() as connection:
            return await backtest_jobs.find(connection, shop, job_id)

    job = on_database(url, find)
    assert job
    return job


def job_of(url: str, job_id: int, shop: str = SHOP) -> Job:
    """The job that runs a backtest."""

    async def find(jobs: Jobs) -> Job:
        (job,) = [job for job in (await list_jobs(jobs.connection, 100)).items if job.key == f"{shop}/{job_id}"]
        return job

    return with_jobs(url, find)


def worked_off(url: str, runners: int = 1) -> None:
    """Let runners work until every backtest is finished."""

    async def work(jobs: Jobs) -> None:
        async with AsyncExitStack() as stack:
            for _ in range(runners):
                await stack.enter_async_context(jobs.run_by(BACKTEST))
            for job in (await list_jobs(jobs.connection, 100, kind="backtest")).items:
                await jobs.until_finished(job)

    with_jobs(url, work)


def test_runners_run_backtests(url: str) -> None:
    first, second = enqueued(url), enqueued(url, as_of=MONDAY_9 + timedelta(hours=3))
    other = enqueued(url, "other")
    worked_off(url)
    late = backtest_job(url, first.id).result
    assert late
    assert (late.orders, late.differing, late.items[0].order_sn) == (5, 1, order_sn(0))
    assert backtest_job(url, second.id).result.differing == 0  # type: ignore[union-attr]
    assert backtest_job(url, other.id, "other").result.orders == 0  # type: ignore[union-attr]
    job = job_of(url, first.id)
    assert (job.state, job.outcome, job.done, job.total) == ("done", {"orders": 5, "differing": 1}, 11, 11)


def test_one_backtest_runs_at_a_time(url: str) -> None:
    backtests = [enqueued(url) for _ in range(3)]
    worked_off(url, 2)
    jobs = sorted((job_of(url, each.id) for each in backtests), key=lambda job: job.started_at or job.requested_at)
    assert [job.attempts for job in jobs] == [1, 1, 1]
    for before, after in pairwise(jobs):
        assert before.finished_at
        assert after.started_at
        assert before.finished_at <= after.started_at


def test_a_backtest_as_a_job_gives_the_same_result_as_one_run_at_once(url: str) -> None:
    job = enqueued(url)
    worked_off(url)
    alone = asyncio.run(backtest(url, SHOP, BOOK, BacktestScope(rules=HASTY), job.requested_at, processes=1))
    assert backtest_job(url, job.id).result == alone
    every: list[str] = []
    asyncio.run(
        backtest(
            url,
            SHOP,
            BOOK,
            BacktestScope(rules=HASTY),
            clock.now(),
            on_differences=lambda differences: every.extend(each.order_sn for each in differences),
        )
    )
    assert every == [order_sn(0)]


def test_a_backtest_whose_program_was_killed_starts_again(url: str) -> None:
    """The runner is killed while it waits for the log, which the test has locked."""
    backtest = enqueued(url)
    with psycopg.connect(url) as somebody:
        somebody.execute("LOCK TABLE shop_log IN ACCESS EXCLUSIVE MODE")
        worker = program(url)
        with psycopg.connect(url, autocommit=True) as watcher:
            running = "SELECT EXISTS (SELECT FROM backtest WHERE state = 'running')"
            while watcher.execute(running).fetchone() != (True,):
                assert worker.poll() is None, "it ended before it began"
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    assert backtest_job(url, backtest.id).state == "running"
    worked_off(url)
    assert (backtest_job(url, backtest.id).state, job_of(url, backtest.id).attempts) == ("done", 2)


def test_a_backtest_that_never_ends_fails(url: str) -> None:
    backtest = enqueued(url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE backtest SET state = 'running'")
        connection.execute("UPDATE job SET state = 'running', attempts = %s", (backtest_jobs.MOST_BEGINNINGS,))
    worked_off(url)
    given_up = backtest_job(url, backtest.id)
    assert (given_up.state, given_up.result) == ("failed", None)
    assert given_up.error == "It was interrupted 3 times; ask for it again."


def test_a_cancelled_backtest_makes_room_for_another_and_can_be_retried(url: str) -> None:
    backtest, *_ = [enqueued(url) for _ in range(backtest_jobs.MOST_UNFINISHED)]
    with pytest.raises(backtest_jobs.TooMany):
        enqueued(url)
    job = job_of(url, backtest.id)

    async def stop(jobs: Jobs) -> None:
        await cancel(jobs.connection, JOB_KINDS, job.id)

    with_jobs(url, stop)
    cancelled = backtest_job(url, backtest.id)
    assert (cancelled.state, cancelled.error) == ("failed", "It was cancelled.")
    enqueued(url)

    async def after_all(jobs: Jobs) -> None:
        await retry(jobs.connection, JOB_KINDS, job.id)

    with_jobs(url, after_all)
    again = backtest_job(url, backtest.id)
    assert (again.state, again.error, again.finished_at) == ("waiting", None, None)
    worked_off(url)
    assert (backtest_job(url, backtest.id).state, backtest_job(url, backtest.id).error) == ("done", None)


def test_a_backtest_that_an_earlier_program_left_without_a_job_runs(url: str) -> None:
    backtests = [enqueued(url), enqueued(url, "other")]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DELETE FROM job")
        connection.execute("UPDATE backtest SET state = 'running', begun = 1 WHERE shop_id = %s", (SHOP,))

    async def work(jobs: Jobs) -> None:
        async with jobs.run_by(BACKTEST), asyncio.timeout(60):
            while True:
                done = (await list_jobs(jobs.connection, 10, state="done")).items
                if {job.shop_id for job in done} == {SHOP, "other"}:
                    return
                await asyncio.sleep(0.05)

    with_jobs(url, work)
    assert [
        backtest_job(url, each.id, shop).state for each, shop in zip(backtests, (SHOP, "other"), strict=True)
    ] == [
        "done",
        "done",
    ]
