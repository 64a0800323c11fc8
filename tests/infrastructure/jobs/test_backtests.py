"""Backtests put down to be worked off: each once, begun again after a kill, never for ever."""

import asyncio
import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from msgspec.structs import replace

from domain.order import commands as c
from domain.rules.ruleset import GoodsHours
from infrastructure.commands.committer import CommandPath
from infrastructure.database.pool import Pool
from infrastructure.jobs import backtests as backtest_jobs
from infrastructure.jobs.backtests import BacktestJob, work_off
from infrastructure.queries.backtest import Asked, backtest
from infrastructure.runtime import clock
from infrastructure.runtime.rule_sets import shipped_rules
from tests.orders import MONDAY_9, SHOP, done, on_database, order_sn, placed_and_formed, tell

BOOK = shipped_rules()
TODAY = BOOK.sets[-1]
HASTY = replace(TODAY, name="hasty", ship_by=replace(TODAY.ship_by, hours=GoodsHours(ordinary=4)))
ROOT = Path(__file__).parents[3]


@pytest.fixture
def url(database_url: str) -> str:
    """Five orders, of which the first was shipped after five hours."""

    async def fill(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 5)
        upload = c.UploadTracking(carrier="SF", tracking_number="SF1", occurred_at=MONDAY_9 + timedelta(hours=5))
        await done(path, tell(order_sn(0), upload))

    on_database(database_url, fill)
    return database_url


def asked_for(url: str, shop: str = SHOP, **more: object) -> BacktestJob:
    async def ask(pool: Pool, path: CommandPath) -> BacktestJob:
        async with pool.connection() as connection:
            return await backtest_jobs.ask(connection, shop, Asked(rules=HASTY, **more))  # type: ignore[arg-type]

    return on_database(url, ask)


def found(url: str, job_id: int, shop: str = SHOP) -> BacktestJob:
    async def find(pool: Pool, path: CommandPath) -> BacktestJob | None:
        async with pool.connection() as connection:
            return await backtest_jobs.find(connection, shop, job_id)

    job = on_database(url, find)
    assert job
    return job


def begun(url: str) -> list[int]:
    with psycopg.connect(url) as connection:
        return [count for (count,) in connection.execute("SELECT begun FROM backtest ORDER BY shop_id, id")]


def test_jobs_are_worked_off_one_after_another(url: str) -> None:
    first, second = asked_for(url), asked_for(url, as_of=MONDAY_9 + timedelta(hours=3))
    other = asked_for(url, "other")
    asyncio.run(work_off(url, BOOK, 1))
    late = found(url, first.id).result
    assert late
    assert (late.orders, late.differing, late.items[0].order_sn) == (5, 1, order_sn(0))
    assert found(url, second.id).result.differing == 0  # type: ignore[union-attr]
    assert found(url, other.id, "other").result.orders == 0  # type: ignore[union-attr]
    assert begun(url) == [1, 1, 1]


def test_of_two_who_want_to_work_one_does(url: str) -> None:
    for _ in range(3):
        asked_for(url)

    async def both() -> None:
        await asyncio.gather(work_off(url, BOOK, 1), work_off(url, BOOK, 1))

    asyncio.run(both())
    assert begun(url) == [1, 1, 1]


def test_a_job_tells_what_the_same_backtest_without_one_finds(url: str) -> None:
    job = asked_for(url)
    asyncio.run(work_off(url, BOOK, 1))
    alone = asyncio.run(backtest(url, SHOP, BOOK, Asked(rules=HASTY), job.requested_at, processes=1))
    assert found(url, job.id).result == alone
    every: list[str] = []
    asyncio.run(
        backtest(
            url,
            SHOP,
            BOOK,
            Asked(rules=HASTY),
            clock.now(),
            on_differences=lambda differences: every.extend(each.order_sn for each in differences),
        )
    )
    assert every == [order_sn(0)]


def test_a_job_whose_program_was_killed_is_begun_again(url: str) -> None:
    """The one at work is killed while it waits for the log, which somebody has locked."""
    job = asked_for(url)
    with psycopg.connect(url) as somebody:
        somebody.execute("LOCK TABLE shop_log IN ACCESS EXCLUSIVE MODE")
        worker = subprocess.Popen(
            [sys.executable, "-m", "api.cli", "rules", "work"],
            cwd=ROOT,
            env=os.environ | {"SHIPLOCK_DATABASE_URL": url},
            stdout=subprocess.DEVNULL,
        )
        with psycopg.connect(url, autocommit=True) as watcher:
            running = "SELECT EXISTS (SELECT FROM backtest WHERE state = 'running')"
            while watcher.execute(running).fetchone() != (True,):
                assert worker.poll() is None, "it ended before it began"
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    assert found(url, job.id).state == "running"
    asyncio.run(work_off(url, BOOK, 1))
    assert (found(url, job.id).state, begun(url)) == ("done", [2])


def test_a_job_that_never_comes_to_its_end_is_given_up(url: str) -> None:
    job = asked_for(url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE backtest SET state = 'running', begun = %s", (backtest_jobs.MOST_BEGINNINGS,))
    asyncio.run(work_off(url, BOOK, 1))
    given_up = found(url, job.id)
    assert (given_up.state, given_up.result) == ("failed", None)
    assert given_up.error == "It was interrupted 3 times; ask for it again."
