"""The kinds of jobs: rebuilds, checkpoints and tidying."""

import asyncio
import signal
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from infrastructure.audit.archive import Archive
from infrastructure.commands.committer import CommandPath
from infrastructure.commands.receipts import RECEIPT_LIFETIME
from infrastructure.database.pool import Pool
from infrastructure.jobs import checkpoints, kinds, rebuilds, runner
from infrastructure.jobs.job import Job, NotPossible, find, list_jobs
from infrastructure.jobs.kinds import JOB_KINDS
from infrastructure.jobs.rebuilds import REBUILD
from infrastructure.jobs.runner import Schedule, cancel, retry
from infrastructure.jobs.tidying import TIDYING
from infrastructure.projections import builds, rebuild
from infrastructure.projections.builds import Build
from infrastructure.projections.views import VIEWS
from infrastructure.runtime import clock
from infrastructure.runtime.settings import Settings
from tests.infrastructure.jobs.running import BOOK, Jobs, program, with_jobs
from tests.orders import SHOP, on_database, placed_and_formed


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "IDLE_SECONDS", 0.05)
    monkeypatch.setattr(runner, "BUSY_SECONDS", 0.05)


@pytest.fixture
def url(database_url: str) -> str:
    async def fill(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 5)
        await placed_and_formed(path, 2, "other")

    on_database(database_url, fill)
    return database_url


async def planned(jobs: Jobs) -> tuple[Build, Job]:
    build = await rebuild.request(jobs.connection, VIEWS, BOOK)
    return build, await rebuilds.work_on(jobs.connection, build.id)


async def state_of(jobs: Jobs, build: Build) -> str:
    build_now = await builds.find(jobs.connection, build.id)
    assert build_now
    return build_now.state


# ---- rebuilds ---------------------------------------------------------------------------------------


def test_a_job_does_a_rebuild_and_reports_its_progress(url: str) -> None:
    async def work(jobs: Jobs) -> None:
        build, job = await planned(jobs)
        assert (await rebuilds.work_on(jobs.connection, build.id)).id == job.id, "somebody works on it already"
        async with jobs.run_by(REBUILD):
            done = await jobs.until_finished(job)
        assert (done.state, done.done, done.total) == ("done", 14, 14)
        assert done.outcome == {"state": "ready", "verified": True}
        assert await state_of(jobs, build) == "ready"

    with_jobs(url, work)


def test_a_rebuild_whose_program_is_killed_continues(url: str) -> None:
    """The program is killed while it waits to fold a slice, and its child processes end with it."""

    async def work(jobs: Jobs) -> None:
        build, job = await planned(jobs)
        with psycopg.connect(url) as somebody:
            somebody.execute(f"LOCK TABLE order_list_{build.id} IN SHARE MODE".encode())
            runs = await asyncio.to_thread(program, url)
            await waits_for_lock(jobs)
            runs.send_signal(signal.SIGKILL)
            await asyncio.to_thread(runs.wait)
        assert await state_of(jobs, build) == "building"
        async with jobs.run_by(REBUILD):
            done = await jobs.until_finished(job)
        assert (done.state, done.attempts, await state_of(jobs, build)) == ("done", 2, "ready")

    with_jobs(url, work)


async def waits_for_lock(jobs: Jobs) -> None:
    async with asyncio.timeout(60):
        while True:
            cursor = await jobs.connection.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            if await cursor.fetchone() != (0,):
                return
            await asyncio.sleep(0.02)


def test_a_cancelled_rebuild_leaves_a_failed_build_and_is_not_retried(url: str) -> None:
    async def work(jobs: Jobs) -> None:
        build, job = await planned(jobs)
        await cancel(jobs.connection, JOB_KINDS, job.id)
        failed = await builds.find(jobs.connection, build.id)
        assert failed
        assert (failed.state, failed.error) == ("failed", "It was cancelled.")
        assert failed.finished_at
        with pytest.raises(NotPossible, match="Request another rebuild"):
            await retry(jobs.connection, JOB_KINDS, job.id)
        still = await find(jobs.connection, job.id)
        assert still
        assert still.state == "cancelled"

    with_jobs(url, work)


def test_unfinished_builds_continue_when_a_program_starts(url: str) -> None:
    async def work(jobs: Jobs) -> None:
        build = await rebuild.request(jobs.connection, VIEWS, BOOK)
        async with jobs.run_by(REBUILD), asyncio.timeout(60):
            while True:
                if await state_of(jobs, build) == "ready":
                    return
                await asyncio.sleep(0.05)

    with_jobs(url, work)


def test_a_rebuild_waits_while_the_command_line_works_on_it(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuilds, "BUSY_SECONDS", 0.1)

    async def work(jobs: Jobs) -> None:
        build, job = await planned(jobs)
        async with rebuild._alone(url, build.id), jobs.run_by(REBUILD):
            await jobs.until(job, lambda current: current.started_at is not None and current.state == "waiting")
            assert (await jobs.now(job)).attempts == 0
        async with jobs.run_by(REBUILD):
            assert (await jobs.until_finished(job)).state == "done"

    with_jobs(url, work)


def test_a_failed_rebuild_gives_its_reason(url: str) -> None:
    async def work(jobs: Jobs) -> None:
        build, job = await planned(jobs)
        await builds.drop(jobs.connection, build.id)
        async with jobs.run_by(REBUILD):
            failed = await jobs.until_finished(job)
        assert (failed.state, failed.attempts, failed.error) == ("failed", 1, f"There is no build {build.id}.")

    with_jobs(url, work)


# ---- what runs every so often -----------------------------------------------------------------------


def archive_in(folder: Path, url: str) -> Archive:
    return Archive.of(Settings(url, folder))


def test_checkpoints_are_made_of_logs_that_grew(url: str, tmp_path: Path) -> None:
    archive = archive_in(tmp_path, url)

    async def work(jobs: Jobs) -> None:
        kind, place = checkpoints.checkpoints_into(archive), checkpoints.place_of(archive)
        async with jobs.run_by(kind, schedules=[Schedule(kind.name, 1, place)], only={kind.name: place}):
            await ran(jobs, {"made": 2})
            await ran(jobs, {"made": 0})

    with_jobs(url, work)
    sizes = {shop: archive.checkpoints.find(shop) for shop in (SHOP, "other")}
    assert {shop: checkpoint and checkpoint.size for shop, checkpoint in sizes.items()} == {SHOP: 10, "other": 4}


async def ran(jobs: Jobs, outcome: dict[str, int]) -> Job:
    (job,) = await listed(jobs)
    return await jobs.until(job, lambda current: current.state == "waiting" and current.outcome == outcome)


def test_a_changed_log_is_named_and_does_not_stop_the_others(url: str, tmp_path: Path) -> None:
    archive = archive_in(tmp_path, url)
    with psycopg.connect(url, autocommit=True) as superuser:
        superuser.execute("SET session_replication_role = replica")
        superuser.execute("UPDATE event SET payload = '{'::bytea WHERE shop_id = %s AND position = 3", (SHOP,))

    async def work(jobs: Jobs) -> None:
        kind = checkpoints.checkpoints_into(archive)
        async with jobs.run_by(kind, schedules=[Schedule(kind.name, 1)]):
            (job,) = await listed(jobs)
            failing = await jobs.until(job, lambda current: current.error is not None)
        assert failing.error
        assert f"The log of shop {SHOP} was tampered with; position 3" in failing.error

    with_jobs(url, work)
    assert archive.checkpoints.find(SHOP) is None
    assert archive.checkpoints.find("other")


async def listed(jobs: Jobs) -> list[Job]:
    async with asyncio.timeout(60):
        while True:
            if rows := (await list_jobs(jobs.connection, 10)).items:
                return rows
            await asyncio.sleep(0.02)


def test_each_program_makes_checkpoints_in_its_own_archive(url: str, tmp_path: Path) -> None:
    archives = [archive_in(tmp_path / name, url) for name in ("one", "two")]

    async def work(jobs: Jobs) -> None:
        async with asyncio.timeout(60):
            running = [kinds.runner(jobs.pool, url, BOOK, archive, 1) for archive in archives]
            tasks = [asyncio.create_task(each.run()) for each in running]
            while True:
                if all(archive.checkpoints.find(SHOP) for archive in archives):
                    break
                await asyncio.sleep(0.05)
            for each in running:
                each.stop()
            await asyncio.gather(*tasks)

    with_jobs(url, work)


def test_expired_receipts_are_deleted(url: str) -> None:
    async def work(jobs: Jobs) -> None:
        for age in (RECEIPT_LIFETIME + timedelta(minutes=1), timedelta(minutes=1)):
            await jobs.connection.execute(
                """INSERT INTO receipt (shop_id, key, fingerprint, outcome, position, recorded_at)
                   VALUES ('100000001', %s, ''::bytea, ''::bytea, 1, %s)""",
                (str(age), clock.now() - age),
            )
        async with jobs.run_by(TIDYING, schedules=[Schedule(TIDYING.name, 1)]):
            (job,) = await listed(jobs)
            done = await jobs.until(job, lambda current: current.outcome is not None)
        assert done.outcome == {"receipts": 1, "jobs": 0}

    with_jobs(url, work)
