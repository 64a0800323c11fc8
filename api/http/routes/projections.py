"""Projections: which builds answer, rebuilding them while you watch, going back, and what is parked."""

from typing import Annotated

import msgspec
from fastapi import Path, Query, Request
from fastapi.responses import Response

from api.http import openapi
from api.http.paging import Paged, decode_cursor, listed, page_response
from api.http.parameters import ShopId, SkuId
from api.http.permissions import GuardedRouter, needs
from api.http.problems import Refused
from api.http.request_schemas import RebuildRequest
from api.http.requests import MAX_COMMAND_BYTES, body_of, invalid
from api.http.responses import json_response
from api.program import Program
from domain.rules.ruleset import RuleBook
from infrastructure.jobs import rebuilds as rebuild_jobs
from infrastructure.projections import builds, parking, rebuild
from infrastructure.projections.rebuild import Progress
from infrastructure.projections.view import View
from infrastructure.projections.views import BY_NAME
from infrastructure.queries.projections import ParkedKey, list_parked, overview
from infrastructure.runtime import clock

router = GuardedRouter(prefix="/v1/projections", tags=["projections"])

Name = Annotated[str, Path(max_length=64, examples=["orders"], description="The projection's name.")]
BuildId = Annotated[int, Path(ge=1, le=2**31 - 1, description="The rebuild's number.")]


@router.get("", responses=openapi.page("Projection"))
@needs("projections:read")
async def projections(request: Request) -> Response:
    """Every projection: which build answers, which one it can go back to, how far behind it is, and all builds."""
    program: Program = request.app.state.program
    async with program.pool.read() as connection:
        return listed(await overview(connection))


@router.post(
    "/{name}/rebuilds",
    status_code=202,
    responses=openapi.accepted("Progress", "unknown_projection", "too_large"),
    openapi_extra=openapi.body("RebuildRequest", {"views": ["deadlines", "violations"]}, required=False),
)
@needs("projections:manage")
async def start(request: Request, name: Name) -> Response:
    """Rebuild a projection beside the live one. One that was begun and not finished is gone on with.

    The answer tells where to watch it (`Location`). When it is `ready` it can be activated.
    """
    program: Program = request.app.state.program
    views = [_view(name)]
    body = await body_of(request, MAX_COMMAND_BYTES)
    try:
        sent = msgspec.json.decode(body or b"{}", type=RebuildRequest)
        book = RuleBook.parse([sent.rules]) if sent.rules else program.book
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise invalid(error) from error
    views += [_view(other) for other in sent.views if other != name]
    async with program.pool.write() as connection, connection.transaction():
        unfinished = None if sent.scope() else await rebuild.unfinished(connection, views, book)
        build = unfinished or await rebuild.request(connection, views, book, sent.scope())
        progress = await rebuild.progress_of(connection, build)
        await rebuild_jobs.work_on(connection, build.id)
    program.jobs.wake()
    return json_response(progress, 202, {"Location": f"/v1/projections/{name}/rebuilds/{build.id}"})


@router.get(
    "/{name}/rebuilds/{build_id}", responses=openapi.ok("Progress", "unknown_projection", "unknown_rebuild")
)
@needs("projections:read")
async def progress(request: Request, name: Name, build_id: BuildId) -> Response:
    """How far a rebuild is: `state`, `done` of `total` events, rate, seconds left, and whether it was verified."""
    return json_response(await _progress(request, name, build_id))


@router.post(
    "/{name}/rebuilds/{build_id}/activate",
    responses=openapi.ok("Progress", "unknown_projection", "unknown_rebuild", "not_possible"),
)
@needs("projections:manage")
async def activate(request: Request, name: Name, build_id: BuildId) -> Response:
    """Let a verified rebuild answer for all its projections; the build before is kept current to go back to."""
    await _progress(request, name, build_id)
    program: Program = request.app.state.program
    async with program.pool.write() as connection:
        await builds.activate(connection, build_id, program.book)
    return json_response(await _progress(request, name, build_id))


@router.post("/{name}/activate", responses=openapi.ok("Progress", "unknown_projection", "not_possible"))
@needs("projections:manage")
async def activate_latest(request: Request, name: Name) -> Response:
    """Activate the latest rebuild that is ready."""
    _view(name)
    program: Program = request.app.state.program
    async with program.pool.read() as connection:
        build = await builds.latest_ready(connection, name)
    if build is None:
        raise Refused("not_possible", f"No rebuild of {name} waits to be activated.")
    return await activate(request, name, build.id)


@router.post("/{name}/rebuilds/{build_id}/rollback", include_in_schema=False)
@needs("projections:manage")
async def rollback_of(request: Request, name: Name, build_id: BuildId) -> Response:
    """The same as ``rollback``, for who goes by the rebuild."""
    await _progress(request, name, build_id)
    return await rollback(request, name)


@router.post("/{name}/rollback", responses=openapi.ok("Progress", "unknown_projection", "not_possible"))
@needs("projections:manage")
async def rollback(request: Request, name: Name) -> Response:
    """Let the build answer again that did before."""
    _view(name)
    program: Program = request.app.state.program
    async with program.pool.write() as connection:
        build_id = await builds.roll_back(connection, name, program.book)
    return json_response(await _progress(request, name, build_id))


@router.delete(
    "/{name}/rebuilds/{build_id}",
    status_code=204,
    responses=openapi.problem_responses("invalid_request", "unknown_projection", "unknown_rebuild", "not_possible"),
)
@needs("projections:manage")
async def drop(request: Request, name: Name, build_id: BuildId) -> Response:
    """Remove a build and its tables; not one that answers for a projection."""
    await _progress(request, name, build_id)
    program: Program = request.app.state.program
    async with program.pool.write() as connection:
        await builds.drop(connection, build_id)
    return Response(status_code=204)


@router.get("/{name}/parked", responses=openapi.page("Parked", "unknown_projection"))
@needs("projections:read")
async def parked(request: Request, name: Name, paged: Annotated[Paged, Query()]) -> Response:
    """Orders and SKUs with an event that can't be applied. Views show them as they were before it.

    An event that can't be applied holds its order or SKU up in every projection, so the list is the same for each.
    """
    _view(name)
    cursor = decode_cursor(paged.cursor, ParkedKey)
    program: Program = request.app.state.program
    async with program.pool.read() as connection:
        return page_response(await list_parked(connection, paged.limit, cursor))


@router.post(
    "/{name}/parked/{shop_id}/{of}/retry",
    status_code=204,
    responses=openapi.problem_responses("invalid_request", "unknown_projection", "not_parked"),
)
@needs("projections:manage")
async def retry(request: Request, name: Name, shop_id: ShopId, of: SkuId) -> Response:
    """Try the parked order or SKU of this id again, now and with new patience."""
    _view(name)
    program: Program = request.app.state.program
    async with program.pool.write() as connection:
        if not await parking.retry(connection, shop_id, of, clock.now()):
            raise Refused("not_parked")
    return Response(status_code=204)


@router.post(
    "/{name}/parked/{shop_id}/{of}/discard",
    status_code=204,
    responses=openapi.problem_responses("invalid_request", "unknown_projection", "not_parked"),
)
@needs("projections:manage")
async def discard(request: Request, name: Name, shop_id: ShopId, of: SkuId) -> Response:
    """Give up an event that can't be applied, and what follows it in its order or SKU; rebuilds then pass over it.

    The log keeps it: a later retry brings it back.
    """
    _view(name)
    program: Program = request.app.state.program
    async with program.pool.write() as connection:
        if not await parking.discard(connection, shop_id, of):
            raise Refused("not_parked")
    return Response(status_code=204)


async def _progress(request: Request, name: str, build_id: int) -> Progress:
    _view(name)
    program: Program = request.app.state.program
    async with program.pool.read() as connection:
        build = await builds.find(connection, build_id)
        if build is None or name not in build.views:
            raise Refused("unknown_rebuild", f"{name} has no rebuild {build_id}.")
        return await rebuild.progress_of(connection, build)


def _view(name: str) -> View:
    if name not in BY_NAME:
        raise Refused("unknown_projection", f"No projection is called {name!r}; there are {', '.join(BY_NAME)}.")
    return BY_NAME[name]
