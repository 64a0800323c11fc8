"""Background work: what runs, what waits, and what came of it."""

from typing import Annotated

from fastapi import Path, Query, Request
from fastapi.responses import Response

from api.http import openapi
from api.http.paging import decode_cursor, page_response
from api.http.parameters import JobsQuery
from api.http.permissions import GuardedRouter, needs
from api.http.problems import Refused
from api.http.responses import json_response
from api.program import Program
from infrastructure.jobs.job import JobKey, find, list_jobs

router = GuardedRouter(prefix="/v1/jobs", tags=["jobs"])

JobId = Annotated[int, Path(ge=1, le=2**31 - 1, description="The job's number.")]


@router.get("", responses=openapi.page("Job"))
@needs("projections:read")
async def jobs(request: Request, query: Annotated[JobsQuery, Query()]) -> Response:
    """Background work, the last requested first: rebuilds, backtests, and what runs every so often."""
    cursor = decode_cursor(query.cursor, JobKey)
    program: Program = request.app.state.program
    async with program.pool.read() as connection:
        page = await list_jobs(connection, query.limit, cursor, state=query.state, kind=query.kind)
    return page_response(page)


@router.get("/{job_id}", responses=openapi.ok("Job", "unknown_job"))
@needs("projections:read")
async def job(request: Request, job_id: JobId) -> Response:
    """One job: its `state`, how far it is (`done` of `total`), its attempts, `outcome` and `error`."""
    program: Program = request.app.state.program
    async with program.pool.read() as connection:
        entry = await find(connection, job_id)
    if entry is None:
        raise Refused("unknown_job", f"There is no job {job_id}.")
    return json_response(entry)
