"""Jobs: each runs once at a time, and again after a failure or a dead process, up to a limit."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from infrastructure.database.pool import WriteConnection
from infrastructure.jobs import runner as runners
from infrastructure.jobs.job import Job, NotPossible, enqueue, forget_jobs, list_jobs, schedule
from infrastructure.jobs.kind import Context, JobFailed, JobKind, Postponed, Report
from infrastructure.jobs.runner import Schedule, cancel, retry
from infrastructure.runtime import clock
from tests.infrastructure.jobs.running import Jobs, until, with_jobs
from tests.infrastructure.runtime.test_processes import alive, wait_until

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runners with a short polling interval."""
    monkeypatch.setattr(runners, "IDLE_SECONDS", 0.05)
    monkeypatch.setattr(runners, "BUSY_SECONDS", 0.05)
    monkeypatch.setattr(runners, "RECONNECT_SECONDS", 0.05)


class Scripted:
    """A kind of job that follows a script and records its calls."""

    def __init__(self, *script: Exception | None, **options: Any) -> None:
        self.begun: list[str] = []
        self.at_once = self.most_at_once = 0
        self.go = asyncio.Event()
        self.go.set()
        self._script = list(script)
        self.kind = JobKind("scripted", self._run, **{"first_delay": 0.01} | options)

    async def _run(self, context: Context, job: Job) -> dict[str, int]:
        self.begun.append(job.key)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            context.report(1, 2)
            await self.go.wait()
            if end := self._script.pop(0) if self._script else None:
                raise end
            context.report(2, 2)
            return {"attempt": job.attempts}
        finally:
            self.at_once -= 1

    async def enqueue(self, jobs: Jobs, key: str = "1", **more: Any) -> Job:
        return await enqueue(jobs.connection, "scripted", key, **{"arguments": {}} | more)


# ---- asking -----------------------------------------------------------------------------------------


def test_a_job_runs_and_reports_its_outcome(database_url: str) -> None:
    async def work(jobs: Jobs) -> None:
        scripted = Scripted()
        job = await scripted.enqueue(jobs, shop_id="100000001", arguments={"n": 1})
        assert (job.state, job.attempts, job.arguments, job.shop_id) == ("waiting", 0, {"n": 1}, "100000001")
        async with jobs.run_by(scripted.kind):
            done = await jobs.until_finished(job)
        assert (done.state, done.attempts, done.error) == ("done", 1, None)
        assert (done.done, done.total, done.outcome) == (2, 2, {"attempt": 1})
        assert done.started_at
        assert done.finished_at
        assert job.requested_at <= done.started_at <= done.finished_at

    with_jobs(database_url, work)


def test_a_job_of_a_rolled_back_transaction_does_not_exist(database_url: str) -> None:
    async def work(jobs: Jobs) -> None:
        scripted = Scripted()
        async with jobs.connection.transaction(force_rollback=True):
            await scripted.enqueue(jobs)
        assert (await list_jobs(jobs.connection, 10)).items == []

    with_jobs(database_url, work)


def test_at_most_one_job_of_a_kind_and_key_is_unfinished(database_url: str) -> None:
    async def work(jobs: Jobs) -> None:
        scripted = Scripted()
        scripted.go.clear()
        first = await scripted.enqueue(jobs)
        assert (await scripted.enqueue(jobs)).id == first.id
        other = await scripted.enqueue(jobs, "2")
        async with jobs.run_by(scripted.kind):
            await jobs.until(first, lambda job: job.state == "running")
            assert (await scripted.enqueue(jobs)).id == first.id
            scripted.go.set()
            await jobs.until_finished(first)
            await jobs.until_finished(other)
            again = await scripted.enqueue(jobs)
            assert again.id != first.id
            await jobs.until_finished(again)
        assert sorted(scripted.begun) == ["1", "1", "2"]

    with_jobs(database_url, work)


def test_the_program_that_enqueues_a_job_starts_it_at_once(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runners, "IDLE_SECONDS", 600.0)

    async def work(jobs: Jobs) -> None:
        scripted = Scripted()
        async with jobs.run_by(scripted.kind) as runner:
            for key in ("1", "2"):
                job = await scripted.enqueue(jobs, key)
                runner.wake()
                await jobs.until_finished(job)

    with_jobs(database_url, work)


def test_the_highest_priority_runs_first_and_a_job_waits_until_it_is_due(database_url: str) -> None:
    async def work(jobs: Jobs) -> None:
        scripted = Scripted()
        later = await scripted.enqueue(jobs, "later", due_at=clock.now() + timedelta(hours=1), priority=9)
        waiting = [await scripted.enqueue(jobs, f"{priority}", priority=priority) for priority in (1, 3, 2)]
        async with jobs.run_by(scripted.kind, at_once=1):
            for job in waiting:
                await jobs.until_finished(job)
        assert scripted.begun == ["3", "2", "1"]
        assert (await jobs.now(later)).state == "waiting"

    with_jobs(database_url, work)


def test_a_runner_ignores_unknown_kinds_and_the_keys_of_other_runners(database_url: str) -> None:
    async def work(jobs: Jobs) -> None:
        scripted = Scripted()
        strange = await enqueue(jobs.connection, "strange", "1", arguments={})
        others, own = await scripted.enqueue(jobs, "theirs"), await scripted.enqueue(jobs, "ours")
        async with jobs.run_by(scripted.kind, only={"scripted": "ours"}):
            await jobs.until_finished(own)
        assert [(await jobs.now(job)).state for job in (strange, others)] == ["waiting", "waiting"]

    with_jobs(database_url, work)


# ---- one at a time ----------------------------------------------------------------------------------


def test_one_job_of_a_lane_runs_at_a_time_over_all_runners(database_url: str) -> None:
    async def work(jobs: Jobs) -> None:
        scripted = Scripted()
        waiting = [await scripted.enqueue(jobs, f"{n}", lane="a shop's") for n in range(8)]
        async with jobs.run_by(scripted.kind), jobs.run_by(scripted.kind), jobs.run_by(scripted.kind):
            for job in waiting:
                assert (await jobs.until_finished(job)).attempts == 1
        assert scripted.most_at_once == 1
        assert sorted(scripted.begun) == sorted(job.key for job in waiting)

    with_jobs(database_url, work)


def test_several_runners_do_each_job_once_and_several_jobs_at_once(database_url: str) -> None:
    async def work(jobs: Jobs) -> None:
        scripted = Scripted()
        scripted.go.clear()
        waiting = [await scripted.enqueue(jobs, f"{n}") for n in range(12)]
        async with jobs.run_by(scripted.kind), jobs.run_by(scripted.kind):
            await until(lambda: scripted.at_once == 8)
            scripted.go.set()
            for job in waiting:
                assert (await jobs.until_finished(job)).attempts == 1
        assert scripted.most_at_once == 8, "four a runner"
        assert len(scripted.begun) == 12

    with_jobs(database_url, work)


# ---- trying again -----------------------------------------------------------------------------------


def test_a_job_that_raises_is_tried_again_after_a_pause(database_url: str) -> None:
    async def work(jobs: Jobs) -> None:
        scripted = Scripted(ConnectionError("no route"), ConnectionError("no answer"), first_delay=0.3)
        job = await scripted.enqueue(jobs)
        async with jobs.run_by(scripted.kind):
            first = await jobs.until(job, lambda current: current.error == "no route")
            assert (first.state, first.attempts) == ("waiting", 1)
            second = await jobs.until(job, lambda current: current.error == "no answer")
            assert (second.state, second.attempts) == ("waiting", 2)
            done = await jobs.until_finished(job)
        assert (done.state, done.attempts, done.error) == ("done", 3, None)
        assert first.started_at
        assert second.started_at
        assert done.started_at
        assert second.started_at - first.started_at >= timedelta(seconds=0.3)
        assert done.started_at - second.started_at >= timedelta(seconds=0.6)

    with_jobs(database_url, work)


def test_the_pause_doubles_up_to_a_limit() -> None:
    kind = Scripted(longest_delay=10.0, first_delay=1.5).kind
    assert [kind.delay(attempts) for attempts in (1, 2, 3, 4, 500)] == [1.5, 3.0, 6.0, 10.0, 10.0]


@pytest.mark.parametrize(
    ("script", "attempts", "error"),
    [
        ([ValueError("first"), ValueError("second"), ValueError("third")], 2, "second"),
        ([JobFailed("it makes no sense")], 1, "it makes no sense"),
        ([ValueError()] * 2, 2, "ValueError"),
    ],
)
def test_a_job_that_fails_for_good_keeps_its_error_and_is_abandoned_by_its_kind(
    database_url: str, script: list[Exception], attempts: int, error: str
) -> None:
    given_up: list[tuple[str, str]] = []

    async def abandoned(connection: WriteConnection, job: Job, error: str) -> None:
        given_up.append((job.key, error))

    async def work(jobs: Jobs) -> None:
        scripted = Scripted(*script, attempts=2, abandoned=abandoned)
        job = await scripted.enqueue(jobs)
        async with jobs.run_by(scripted.kind):
            failed = await jobs.until_finished(job)
        assert (failed.state, failed.attempts, failed.error) == ("failed", attempts, error)
        assert given_up == [("1", error)]

    with_jobs(database_url, work)


def test_a_postponed_job_counts_no_attempt(database_url: str) -> None:
    async def work(jobs: Jobs) -> None:
        scripted = Scripted(*[Postponed(0.01)] * 5, attempts=1)
        job = await scripted.enqueue(jobs)
        async with jobs.run_by(scripted.kind):
            done = await jobs.until_finished(job)
        assert (done.state, done.attempts, len(scripted.begun)) == ("done", 1, 6)

    with_jobs(database_url, work)


def test_a_failed_job_can_be_retried_and_a_waiting_one_can_be_run_at_once(database_url: str) -> None:
    async def work(jobs: Jobs) -> None:
        scripted = Scripted(JobFailed("not today"), ValueError("not yet"), first_delay=3600, longest_delay=3600)
        job = await scripted.enqueue(jobs)
        async with jobs.run_by(scripted.kind):
            await jobs.until_finished(job)
            assert (await retry(jobs.connection, {}, job.id)).attempts == 0
            await jobs.until(job, lambda current: current.error == "not yet" and current.state == "waiting")
            await retry(jobs.connection, {}, job.id)
            assert (await jobs.until_finished(job)).state == "done"
        with pytest.raises(NotPossible, match=f"Job {job.id} is done and can't be retried"):
            await retry(jobs.connection, {}, job.id)
        with pytest.raises(NotPossible, match="There is no job 999"):
            await retry(jobs.connection, {}, 999)

    with_jobs(database_url, work)


def test_a_failed_job_is_not_retried_while_another_of_its_key_is_unfinished(database_url: str) -> None:
    async def work(jobs: Jobs) -> None:
        scripted = Scripted(JobFailed("not today"))
        job = await scripted.enqueue(jobs)
        async with jobs.run_by(scripted.kind):
            await jobs.until_finished(job)
        await scripted.enqueue(jobs)
        with pytest.raises(NotPossible):
            await retry(jobs.connection, {}, job.id)

    with_jobs(database_url, work)


# ---- every so often ---------------------------------------------------------------------------------


def test_a_periodic_job_runs_repeatedly_and_is_one_row_for_all_runners(database_url: str) -> None:
    async def work(jobs: Jobs) -> None:
        scripted = Scripted(None, ValueError("once"), None)
        every = [Schedule("scripted", 1, "so often")]
        async with jobs.run_by(scripted.kind, schedules=every), jobs.run_by(scripted.kind, schedules=every):
            await until(lambda: len(scripted.begun) == 4)
            (job,) = (await list_jobs(jobs.connection, 10)).items
            await jobs.until(job, lambda current: current.state == "waiting" and current.attempts == 0)
        (job,) = (await list_jobs(jobs.connection, 10)).items
        assert (job.state, job.every_seconds, job.finished_at, job.error) == ("waiting", 1, None, None)
        assert job.outcome
        assert scripted.most_at_once == 1

    with_jobs(database_url, work)


def test_a_failed_periodic_job_shows_its_error_and_is_tried_when_it_is_due(database_url: str) -> None:
    async def work(jobs: Jobs) -> None:
        scripted = Scripted(None, *[JobFailed("the log differs")] * 2)
        async with jobs.run_by(scripted.kind, schedules=[Schedule("scripted", 1)]):
            await until(lambda: len(scripted.begun) == 3)
            (job,) = (await list_jobs(jobs.connection, 10)).items
            failing = await jobs.until(job, lambda current: current.state == "waiting")
        assert (failing.error, failing.outcome) == ("the log differs", {"attempt": 1})

    with_jobs(database_url, work)


def test_a_schedule_that_changes_changes_the_job(database_url: str) -> None:
    async def work(jobs: Jobs) -> None:
        for seconds in (600, 60, 3600):
            await schedule(jobs.connection, "scripted", "", seconds)
        (job,) = (await list_jobs(jobs.connection, 10)).items
        assert job.every_seconds == 3600
        assert job.due_at < clock.now() + timedelta(seconds=61)

    with_jobs(database_url, work)


def test_jobs_that_finished_long_ago_and_schedules_that_nobody_runs_are_deleted(database_url: str) -> None:
    async def work(jobs: Jobs) -> None:
        scripted = Scripted()
        _, new, waiting = [await scripted.enqueue(jobs, key) for key in ("old", "new", "waiting")]
        await schedule(jobs.connection, "scripted", "nobody's", 60)
        await jobs.connection.execute(
            "UPDATE job SET state = 'done', finished_at = now() - CASE key WHEN 'old' THEN '31 days'::interval "
            "ELSE '29 days' END WHERE key IN ('old', 'new')"
        )
        await jobs.connection.execute("UPDATE job SET due_at = now() - '8 days'::interval WHERE key <> 'old'")
        assert await forget_jobs(jobs.connection, clock.now()) == 2
        assert [job.id for job in (await list_jobs(jobs.connection, 10)).items] == [waiting.id, new.id]

    with_jobs(database_url, work)


# ---- stopping ---------------------------------------------------------------------------------------


def test_a_waiting_job_is_cancelled_at_once_and_a_running_one_is_stopped(database_url: str) -> None:
    given_up: list[str] = []

    async def abandoned(connection: WriteConnection, job: Job, error: str) -> None:
        given_up.append(f"{job.key}: {error}")

    async def work(jobs: Jobs) -> None:
        scripted = Scripted(abandoned=abandoned)
        scripted.go.clear()
        kinds = {"scripted": scripted.kind}
        runs, waits = await scripted.enqueue(jobs, "runs"), await scripted.enqueue(jobs, "waits")
        async with jobs.run_by(scripted.kind, at_once=1):
            await jobs.until(runs, lambda job: job.state == "running")
            cancelled = await cancel(jobs.connection, kinds, waits.id)
            assert (cancelled.state, cancelled.error) == ("cancelled", "It was cancelled.")
            assert (await cancel(jobs.connection, kinds, runs.id)).state == "running"
            stopped = await jobs.until_finished(runs)
            assert (stopped.state, stopped.error, stopped.done) == ("cancelled", "It was cancelled.", 1)
            with pytest.raises(NotPossible, match="is cancelled and can't be cancelled"):
                await cancel(jobs.connection, kinds, runs.id)
            scripted.go.set()
            await retry(jobs.connection, {}, runs.id)
            assert (await jobs.until_finished(runs)).state == "done"
        assert scripted.begun == ["runs", "runs"]
        assert given_up == ["waits: It was cancelled.", "runs: It was cancelled."]

    with_jobs(database_url, work)


def test_a_runner_that_stops_in_order_gives_its_jobs_back_without_counting_an_attempt(database_url: str) -> None:
    async def work(jobs: Jobs) -> None:
        scripted = Scripted(attempts=1)
        scripted.go.clear()
        job = await scripted.enqueue(jobs)
        async with jobs.run_by(scripted.kind):
            await jobs.until(job, lambda current: current.state == "running")
        left = await jobs.now(job)
        assert (left.state, left.attempts, left.error) == ("waiting", 0, None)
        scripted.go.set()
        async with jobs.run_by(scripted.kind):
            assert (await jobs.until_finished(job)).attempts == 1

    with_jobs(database_url, work)


def test_a_runner_that_loses_its_connections_starts_its_jobs_again(database_url: str) -> None:
    async def work(jobs: Jobs) -> None:
        scripted = Scripted()
        scripted.go.clear()
        job = await scripted.enqueue(jobs)
        async with jobs.run_by(scripted.kind):
            await jobs.until(job, lambda current: current.state == "running")
            await jobs.connection.execute(
                """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                   WHERE datname = current_database() AND pid <> pg_backend_pid()"""
            )
            await until(lambda: len(scripted.begun) == 2)
            scripted.go.set()
            assert (await jobs.until_finished(job)).state == "done"
        assert scripted.most_at_once == 1

    with_jobs(database_url, work)


# ---- in other processes -----------------------------------------------------------------------------


def measured(report: Report, upto: int) -> dict[str, int]:
    for n in range(upto):
        report(n, upto)
    return {"pid": os.getpid()}


def never_ends(report: Report) -> None:
    report(os.getpid(), 0)
    while True:
        time.sleep(60)


def refuses(report: Report) -> None:
    raise JobFailed("it makes no sense")


def breaks(report: Report) -> None:
    raise ArithmeticError("it does not add up")


def dies(report: Report) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def in_child(work: Any, *arguments: Any) -> JobKind:
    async def run(context: Context, job: Job) -> Any:
        return await context.in_child(work, *arguments)

    return JobKind("scripted", run, attempts=2, first_delay=0.01)


def test_a_child_does_the_work_and_reports_its_progress(database_url: str) -> None:
    async def work(jobs: Jobs) -> None:
        job = await Scripted().enqueue(jobs)
        async with jobs.run_by(in_child(measured, 5)):
            done = await jobs.until_finished(job)
        assert (done.state, done.done, done.total) == ("done", 4, 5)
        assert done.outcome["pid"] != os.getpid()

    with_jobs(database_url, work)


@pytest.mark.parametrize(
    ("child", "attempts", "error"),
    [
        (refuses, 1, "it makes no sense"),
        (breaks, 2, "ArithmeticError: it does not add up"),
        (dies, 2, "A process ended with status -9; see its error above."),
    ],
)
def test_the_error_of_a_child_is_shown(database_url: str, child: Any, attempts: int, error: str) -> None:
    async def work(jobs: Jobs) -> None:
        job = await Scripted().enqueue(jobs)
        async with jobs.run_by(in_child(child)):
            failed = await jobs.until_finished(job)
        assert (failed.state, failed.attempts, failed.error) == ("failed", attempts, error)

    with_jobs(database_url, work)


def test_a_child_ends_when_its_job_is_cancelled(database_url: str) -> None:
    async def work(jobs: Jobs) -> None:
        job = await Scripted().enqueue(jobs)
        async with jobs.run_by(in_child(never_ends)):
            pid = (await jobs.until(job, lambda current: current.done is not None)).done
            assert pid
            assert alive(pid)
            await cancel(jobs.connection, {}, job.id)
            assert (await jobs.until_finished(job)).state == "cancelled"
            assert not alive(pid)

    with_jobs(database_url, work)


PROGRAM = """
import asyncio, sys
from infrastructure.database.pool import connection_pool
from infrastructure.jobs.runner import Runner
from tests.infrastructure.jobs.running import BOOK
from tests.infrastructure.jobs.test_runner import in_child, never_ends

async def main(url):
    async with connection_pool(url, size=2) as pool:
        await Runner(pool, url, BOOK, [in_child(never_ends)]).run()

asyncio.run(main(sys.argv[1]))
"""


def test_another_program_starts_the_job_of_a_killed_one_again(database_url: str) -> None:
    async def work(jobs: Jobs) -> None:
        job = await Scripted().enqueue(jobs)
        program = await asyncio.to_thread(subprocess.Popen, [sys.executable, "-c", PROGRAM, database_url], cwd=ROOT)
        pid = (await jobs.until(job, lambda current: current.done is not None)).done
        assert pid
        scripted = Scripted()
        async with jobs.run_by(scripted.kind):
            await asyncio.sleep(0.3)
            assert (await jobs.now(job)).state == "running"
            assert scripted.begun == [], "whoever runs it is alive"
            program.kill()
            done = await jobs.until_finished(job)
            assert (done.state, done.attempts, scripted.begun) == ("done", 2, ["1"])
        await asyncio.to_thread(program.wait)
        await asyncio.to_thread(wait_until, lambda: not alive(pid))

    with_jobs(database_url, work)


def test_a_job_that_is_interrupted_repeatedly_fails(database_url: str) -> None:
    async def work(jobs: Jobs) -> None:
        scripted = Scripted(attempts=3)
        job = await scripted.enqueue(jobs)
        await jobs.connection.execute("UPDATE job SET state = 'running', attempts = 3")
        async with jobs.run_by(scripted.kind):
            failed = await jobs.until_finished(job)
        assert (failed.state, failed.error) == ("failed", "It was interrupted 3 times; ask for it again.")
        assert scripted.begun == []

    with_jobs(database_url, work)


def test_an_idle_runner_writes_nothing(database_url: str) -> None:
    async def work(jobs: Jobs) -> None:
        scripted = Scripted()
        async with jobs.run_by(scripted.kind):
            await jobs.until_finished(await scripted.enqueue(jobs))
            await asyncio.sleep(0.2)
            written = "SELECT array_agg(ROW(id, xmin, ctid)::text) FROM job"
            before = await (await jobs.connection.execute(written)).fetchone()
            await asyncio.sleep(0.5)
            assert await (await jobs.connection.execute(written)).fetchone() == before

    with_jobs(database_url, work)
