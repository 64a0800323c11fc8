"""Proof for those who do not want to trust us: signed checkpoints, public keys, and proofs against them."""

import asyncio
from typing import Annotated

from fastapi import Path, Query, Request
from fastapi.responses import Response

from api.http import openapi
from api.http.paging import listed
from api.http.parameters import CheckpointQuery, ConsistencyQuery, ShopId
from api.http.permissions import GuardedRouter, needs
from api.http.problems import Refused
from api.http.requests import Parameters
from api.http.responses import json_response
from api.program import Program
from infrastructure.audit.archive import Archive
from infrastructure.audit.checkpoint import Signed
from infrastructure.audit.keys import BadKey
from infrastructure.audit.proving import prove_consistency, prove_inclusion

router = GuardedRouter(prefix="/v1/shops/{shop_id}/audit", tags=["audit"])

NOTE = "text/plain; charset=utf-8"

Position = Annotated[int, Path(ge=1, le=2**62, description="The event's position in the shop's log.")]


@router.get("/checkpoint", responses=openapi.text("A signed note.", "no_checkpoint", "log_differs"))
@needs("audit:read")
async def checkpoint(request: Request, shop_id: ShopId, query: Annotated[CheckpointQuery, Query()]) -> Response:
    """The shop's newest checkpoint, or the one of a size: a signed note as C2SP's tlog-checkpoint has it."""
    signed = await _signed(request, shop_id, query.size)
    return Response(signed.note, media_type=NOTE)


@router.get("/keys", responses=openapi.page("KeyInUse"))
@needs("audit:read")
async def keys(request: Request, shop_id: ShopId, query: Annotated[Parameters, Query()]) -> Response:
    """The public keys of the shop's checkpoints, as verifier keys of C2SP's signed notes, and what each signed."""
    archive = _archive(request)
    items = await asyncio.to_thread(archive.history, shop_id) if archive else []
    return listed(items)


@router.get(
    "/proofs/{position}",
    responses=openapi.ok("InclusionProof", "no_checkpoint", "not_covered", "log_differs"),
)
@needs("audit:read")
async def inclusion(
    request: Request, shop_id: ShopId, position: Position, query: Annotated[CheckpointQuery, Query()]
) -> Response:
    """Proof that the event at a position is in a checkpoint, the newest or the one of a size (RFC 9162, 2.1.3)."""
    program: Program = request.app.state.program
    signed = await _signed(request, shop_id, query.size)
    if position > signed.checkpoint.size:
        raise Refused("not_covered", f"Checkpoint {signed.checkpoint.size} does not reach position {position}.")
    async with program.pool.write() as connection:
        (proof,) = await prove_inclusion(connection, shop_id, [position], signed)
    return json_response(proof)


@router.get("/consistency", responses=openapi.ok("ConsistencyProof", "no_checkpoint", "log_differs"))
@needs("audit:read")
async def consistency(request: Request, shop_id: ShopId, query: Annotated[ConsistencyQuery, Query()]) -> Response:
    """Proof that one checkpoint goes on where an older one ended (RFC 9162, 2.1.4)."""
    program: Program = request.app.state.program
    older, newer = await _signed(request, shop_id, query.since), await _signed(request, shop_id, query.until)
    if older.checkpoint.size > newer.checkpoint.size:
        older, newer = newer, older
    async with program.pool.write() as connection:
        proof = await prove_consistency(connection, shop_id, older, newer)
    return json_response(proof)


def _archive(request: Request) -> Archive | None:
    archive: Archive | None = request.app.state.program.archive
    return archive


async def _signed(request: Request, shop_id: str, size: int | None) -> Signed:
    archive = _archive(request)
    try:
        signed = await asyncio.to_thread(archive.newest, shop_id, size) if archive else None
    except BadKey as error:
        raise Refused("log_differs", str(error)) from error
    if signed is None:
        raise Refused("no_checkpoint", f"The shop has no checkpoint{f' of size {size}' if size else ' yet'}.")
    return signed
