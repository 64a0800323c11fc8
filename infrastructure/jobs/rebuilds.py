"""Rebuilds of projections, requested over HTTP. The job has a build worked on; the build says how it stands."""

from typing import Any

import uvloop

from domain.rules.ruleset import RuleBook
from infrastructure.database.pool import WriteConnection, connection_pool
from infrastructure.jobs.job import Job, NotPossible, enqueue
from infrastructure.jobs.kind import Context, JobFailed, JobKind, Postponed, Report
from infrastructure.projections import builds, rebuild
from infrastructure.projections.builds import CannotDo
from infrastructure.projections.rebuild import BeingWorkedOn, Progress
from infrastructure.runtime import clock

CONNECTIONS = 6

BUSY_SECONDS = 5.0
"""So long a build is left to the command line that works on it."""

_LEFT = "SELECT id FROM build WHERE state NOT IN ('ready', 'failed')"


async def work_on(connection: WriteConnection, build_id: int) -> Job:
    """Have a build worked on; where somebody does already, nothing comes of it."""
    return await enqueue(connection, REBUILD.name, str(build_id), arguments={"build_id": build_id})


async def _go_on(connection: WriteConnection) -> None:
    """Have those builds worked on that were begun and not finished."""
    cursor = await connection.execute(_LEFT)
    for (build_id,) in await cursor.fetchall():
        await work_on(connection, build_id)


async def _run(context: Context, job: Job) -> dict[str, Any]:
    found: dict[str, Any] | None = await context.in_child(
        _rebuild, context.url, context.book, job.arguments["build_id"]
    )
    if found is None:
        raise Postponed(BUSY_SECONDS)
    return found


def _rebuild(report: Report, url: str, book: RuleBook, build_id: int) -> dict[str, Any] | None:
    """Work on a build in a process of its own; ``None`` while somebody else does."""

    def show(reached: Progress) -> None:
        report(reached.done, reached.total)

    async def run() -> Progress:
        async with connection_pool(url, size=CONNECTIONS) as pool:
            async with pool.write() as connection:
                build = await builds.find(connection, build_id)
            if build is None:
                raise CannotDo(f"There is no build {build_id}.")
            rules = RuleBook.parse([build.scope["rules"]]) if "rules" in build.scope else book
            return await rebuild.run(pool, url, rules, build_id, on_progress=show)

    try:
        found = uvloop.run(run())
    except BeingWorkedOn:
        return None
    except CannotDo as error:
        raise JobFailed(str(error)) from error
    if found.state == "failed":
        raise JobFailed(f"Build {build_id} failed. {found.error}")
    return {"state": found.state, "verified": found.verified}


async def _abandoned(connection: WriteConnection, job: Job, error: str) -> None:
    """Let the build end as failed, so that whoever watches it learns that nobody works on it."""
    build = await builds.find(connection, job.arguments["build_id"])
    if build and build.finished_at is None:
        await builds.set_state(connection, build, "failed", error=error, finished_at=clock.now())


async def _retried(connection: WriteConnection, job: Job) -> None:
    raise NotPossible(f"Build {job.arguments['build_id']} has failed. Request another rebuild.")


REBUILD = JobKind("rebuild", _run, attempts=10, abandoned=_abandoned, retried=_retried, go_on=_go_on)
