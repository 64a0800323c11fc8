"""``jobs``: background work, what came of it, and stopping it or trying it again."""

import json
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer

from api.cli.terminal import (
    At,
    CommandFailed,
    Json,
    connected,
    err,
    page_or_all,
    print_facts,
    print_json,
    print_page,
    settings,
    shown,
)
from api.program import database
from infrastructure.database.pool import WriteConnection
from infrastructure.jobs import job as jobs
from infrastructure.jobs import runner
from infrastructure.jobs.job import Job
from infrastructure.jobs.kinds import JOB_KINDS

app = typer.Typer(help="Background work: what runs, what waits, what came of it.", no_args_is_help=True)

T = TypeVar("T")

JobArgument = Annotated[int, typer.Argument(metavar="JOB", min=1, max=2**31 - 1, help="The job's number.")]


@app.command("list")
def list_jobs(
    state: Annotated[jobs.JobState | None, typer.Option(help="Only jobs in this state.")] = None,
    kind: Annotated[str | None, typer.Option(metavar="KIND", help="Only jobs of this kind.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="So many at most.")] = 50,
    cursor: At = None,
    as_json: Json = False,
) -> None:
    """The latest jobs, the last requested first."""
    print_page(
        _on_database(
            lambda connection: page_or_all(
                lambda size, start: jobs.list_jobs(connection, size, start, state=state, kind=kind),
                jobs.JobKey,
                limit,
                cursor,
            )
        ),
        ("job", lambda job: str(job.id)),
        ("kind", lambda job: job.kind),
        ("of", lambda job: job.key),
        ("state", _state),
        ("progress", _progress),
        ("attempts", lambda job: str(job.attempts)),
        ("requested", lambda job: shown(job.requested_at)),
        ("due", lambda job: shown(job.due_at) if job.state == "waiting" else ""),
        ("finished", lambda job: shown(job.finished_at)),
        ("error", lambda job: job.error or ""),
        as_json=as_json,
    )


@app.command("show")
def show(job_id: JobArgument, as_json: Json = False) -> None:
    """One job: how far it is, and what came of it."""
    job = _on_database(lambda connection: jobs.find(connection, job_id))
    if job is None:
        raise CommandFailed(f"There is no job {job_id}.")
    _show(job, as_json=as_json)


@app.command("cancel")
def cancel(job_id: JobArgument, as_json: Json = False) -> None:
    """Cancel a job; one that runs is stopped."""
    job = _on_database(lambda connection: runner.cancel(connection, JOB_KINDS, job_id))
    if as_json:
        print_json(job)
    else:
        err.print(f"Job {job_id} is cancelled." if job.finished_at else f"Job {job_id} is being stopped.")


@app.command("retry")
def retry(job_id: JobArgument, as_json: Json = False) -> None:
    """Run a failed or cancelled job again, or a waiting one at once."""
    job = _on_database(lambda connection: runner.retry(connection, JOB_KINDS, job_id))
    if as_json:
        print_json(job)
    else:
        err.print(f"Job {job_id} is done as soon as a server or worker has time for it.")


def _on_database(work: Callable[[WriteConnection], Awaitable[T]]) -> T:
    with database(settings()) as url:
        return connected(url, work)


def _show(job: Job, *, as_json: bool) -> None:
    if as_json:
        print_json(job)
        return
    print_facts(
        {
            "kind": job.kind,
            "of": job.key,
            "shop": job.shop_id or "-",
            "state": _state(job),
            "progress": _progress(job) or "-",
            "attempts": str(job.attempts),
            "every": f"{job.every_seconds:,} s" if job.every_seconds else "-",
            "requested": shown(job.requested_at),
            "due": shown(job.due_at),
            "begun": shown(job.started_at),
            "finished": shown(job.finished_at),
            "outcome": "-" if job.outcome is None else json.dumps(job.outcome, ensure_ascii=False),
            "error": job.error or "-",
        }
    )


def _state(job: Job) -> str:
    return "running, to be stopped" if job.state == "running" and job.cancel_requested else job.state


def _progress(job: Job) -> str:
    return "" if job.total is None or job.done is None else f"{job.done:,} of {job.total:,}"
