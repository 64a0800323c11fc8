"""Who one is and what one may do; and the clients, roles and keys that one manages."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any, TypeVar

from fastapi import Path, Query, Request
from fastapi.responses import Response
from pydantic import Field

from api.http import openapi
from api.http.access_schemas import (
    AddedClient,
    GrantRequest,
    IssuedKey,
    Me,
    NewClient,
    NewKeyRequest,
    RotationRequest,
    ShopRequest,
    VisibleShop,
)
from api.http.paging import Paged, decode_cursor, listed, page_response
from api.http.permissions import ANY_PRINCIPAL, GuardedRouter, admission_of, needs
from api.http.problems import ProblemCode, Refused
from api.http.requests import MAX_COMMAND_BYTES, Parameters, body_of, decode
from api.http.responses import json_response
from api.program import Program
from domain.access import commands as c
from domain.access.decisions import DenialCode, Giver, giver_of
from domain.access.scopes import Role
from domain.kernel import ID_PATTERN
from infrastructure.access import reading
from infrastructure.access.administration import Administration, NotDone
from infrastructure.access.doorkeeper import Doorkeeper
from infrastructure.access.names import name_of, read_notes
from infrastructure.queries.paging import page_of_sorted
from infrastructure.runtime import clock

router = GuardedRouter(tags=["access"])

T = TypeVar("T")

ShopKey = tuple[str]
"""The key of the list of shops: the shop's id."""

PrincipalPath = Annotated[str, Path(pattern="^[0-9A-Za-z]{12}$", description="The client's or person's id.")]
KeyPath = Annotated[str, Path(pattern="^[0-9A-Za-z]{10}$", description="The key's public id.")]


class LogQuery(Parameters):
    after: Annotated[int, Field(ge=0, le=2**62, description="Events behind this position.")] = 0
    limit: Annotated[int, Field(ge=1, le=500)] = 50


@router.get("/v1/me", responses=openapi.ok("Me"))
@needs(ANY_PRINCIPAL)
async def me(request: Request) -> Response:
    """Who am I, what may I, and when does my key end."""
    credential = admission_of(request).credential
    program: Program = request.app.state.program
    async with program.pool.read() as connection:
        name = await name_of(connection, credential.principal_id)
    shown = Me(
        credential.actor,
        name,
        credential.key_id,
        credential.ends_at,
        {shop_id: sorted(held) for shop_id, held in sorted(credential.shops.items())},
        sorted(credential.installation),
    )
    return json_response(shown)


@router.get("/v1/shops", responses=openapi.page("VisibleShop"))
@needs(ANY_PRINCIPAL)
async def shops(request: Request, query: Annotated[Paged, Query()]) -> Response:
    """The shops that the key may see, by id."""
    visible = admission_of(request).credential.shops
    cursor = decode_cursor(query.cursor, ShopKey)
    page = page_of_sorted(sorted(visible), query.limit, cursor, lambda shop_id: (shop_id,))
    return page_response(page.of([VisibleShop(shop_id, sorted(visible[shop_id])) for shop_id in page.items]))


@router.get("/v1/access/clients", responses=openapi.page("PrincipalView"))
@needs("access:read", "shops:manage")
async def clients(request: Request) -> Response:
    """The clients and people of one's merchant, with their roles and keys."""
    return listed(await _read(request, _principals))


@router.get("/v1/access/log", responses=openapi.feed("AccessEventView"))
@needs("access:read", "shops:manage")
async def log(request: Request, query: Annotated[LogQuery, Query()]) -> Response:
    """What was done to clients, roles and keys, as far as it concerns one's merchant and shops.

    A page may hold fewer events than asked for and still have a next one.
    """
    keeper = _keeper(request)
    giver = _giver(request)
    held = admission_of(request).credential.shops

    def sees_shop(shop_id: str) -> bool:
        return "access:read" in held.get(shop_id, ())

    page = await asyncio.to_thread(
        reading.log_page,
        keeper.installation,
        query.after,
        query.limit,
        giver.sees,
        sees_shop,
        whole=giver.is_operator,
    )
    cursor = None if page.next_position is None else str(page.next_position)
    return json_response({"items": page.events, "next_cursor": cursor})


@router.post(
    "/v1/access/clients",
    status_code=201,
    openapi_extra=openapi.body("NewClient", {"name": "erp", "role": "integration", "shops": ["100000001"]}),
    responses=openapi.made("AddedClient", "forbidden", "unknown_shop"),
)
@needs("access:manage", "shops:manage")
async def add_client(request: Request) -> Response:
    """Add a client to one's merchant, with a role that one holds oneself."""
    sent = decode(await body_of(request, MAX_COMMAND_BYTES), NewClient)
    client_id = await _do(request, lambda each: each.add_client(sent.name, sent.role, sent.shops, sent.merchant))
    return json_response(AddedClient(client_id), 201)


@router.post(
    "/v1/access/clients/{principal_id}/keys",
    status_code=201,
    openapi_extra=openapi.body("NewKeyRequest", {"days": 90}, required=False),
    responses=openapi.made("IssuedKey", "forbidden", "unknown_principal", "unknown_shop"),
)
@needs("access:manage", "shops:manage")
async def issue_key(request: Request, principal_id: PrincipalPath) -> Response:
    """Give a client a key. The answer has it, and nothing shows it again."""
    sent = decode(await body_of(request, MAX_COMMAND_BYTES) or b"{}", NewKeyRequest)
    life = timedelta(days=sent.days)
    key = await _do(
        request, lambda each: each.issue_key(principal_id, life, sent.shops, sent.scopes, sent.networks)
    )
    return json_response(IssuedKey(key.key_id, key.key, key.ends_at), 201)


@router.post(
    "/v1/access/keys/{key_id}/rotate",
    status_code=201,
    openapi_extra=openapi.body("RotationRequest", {"overlap_hours": 24}, required=False),
    responses=openapi.made("IssuedKey", "forbidden", "unknown_key"),
)
@needs(ANY_PRINCIPAL)
async def rotate_key(request: Request, key_id: KeyPath) -> Response:
    """Give the client of a key another one like it; both work for a while.

    Any client may do it with the key that it uses.
    """
    sent = decode(await body_of(request, MAX_COMMAND_BYTES) or b"{}", RotationRequest)
    overlap = timedelta(hours=sent.overlap_hours)
    key, old_ends_at = await _do(request, lambda each: each.rotate_key(key_id, overlap))
    return json_response(IssuedKey(key.key_id, key.key, key.ends_at, old_ends_at), 201)


@router.delete(
    "/v1/access/keys/{key_id}",
    status_code=204,
    responses=openapi.problem_responses("invalid_request", "forbidden", "unknown_key"),
)
@needs("access:manage", "shops:manage")
async def revoke_key(request: Request, key_id: KeyPath) -> Response:
    """Refuse a key from now on."""
    await _do(request, lambda each: each.do(c.RevokeKey(key_id=key_id)))
    return Response(status_code=204)


@router.post(
    "/v1/access/clients/{principal_id}/grants",
    status_code=204,
    openapi_extra=openapi.body("GrantRequest", {"role": "viewer", "shops": ["100000001"]}),
    responses=openapi.problem_responses("invalid_request", "forbidden", "unknown_principal", "unknown_shop"),
)
@needs("access:manage", "shops:manage")
async def grant(request: Request, principal_id: PrincipalPath) -> Response:
    """Give a client or person a role."""
    sent = decode(await body_of(request, MAX_COMMAND_BYTES), GrantRequest)
    command = c.Grant(principal_id=principal_id, role=sent.role, shops=sent.shops or None)
    await _do(request, lambda each: each.do(command))
    return Response(status_code=204)


class WithdrawQuery(Parameters):
    shop: Annotated[
        list[Annotated[str, Field(pattern=ID_PATTERN)]] | None,
        Field(max_length=1_000, description="On this shop alone; may be repeated (default: on all)."),
    ] = None


@router.delete(
    "/v1/access/clients/{principal_id}/grants/{role}",
    status_code=204,
    responses=openapi.problem_responses("invalid_request", "forbidden", "unknown_principal", "unknown_shop"),
)
@needs("access:manage", "shops:manage")
async def withdraw(
    request: Request, principal_id: PrincipalPath, role: Role, query: Annotated[WithdrawQuery, Query()]
) -> Response:
    """Take a role back."""
    command = c.Withdraw(principal_id=principal_id, role=role, shops=tuple(query.shop or ()) or None)
    await _do(request, lambda each: each.do(command))
    return Response(status_code=204)


@router.post(
    "/v1/access/clients/{principal_id}/disable",
    status_code=204,
    responses=openapi.problem_responses("invalid_request", "forbidden", "unknown_principal"),
)
@needs("access:manage", "shops:manage")
async def disable(request: Request, principal_id: PrincipalPath) -> Response:
    """Let nothing in from a client or person until it is enabled again."""
    await _do(request, lambda each: each.do(c.Disable(principal_id=principal_id)))
    return Response(status_code=204)


@router.post(
    "/v1/access/clients/{principal_id}/enable",
    status_code=204,
    responses=openapi.problem_responses("invalid_request", "forbidden", "unknown_principal"),
)
@needs("access:manage", "shops:manage")
async def enable(request: Request, principal_id: PrincipalPath) -> Response:
    """Let a client or person in again."""
    await _do(request, lambda each: each.do(c.Enable(principal_id=principal_id)))
    return Response(status_code=204)


@router.post(
    "/v1/access/shops",
    status_code=201,
    openapi_extra=openapi.body("ShopRequest", {"shop_id": "100000001", "merchant": "Durian & Co"}),
    responses=openapi.made("EnrolledShop", "forbidden"),
)
@needs("shops:manage")
async def enrol(request: Request) -> Response:
    """Enrol a shop with a merchant, which is added if it is new."""
    sent = decode(await body_of(request, MAX_COMMAND_BYTES), ShopRequest)
    merchant_id = await _do(request, lambda each: each.enrol(sent.shop_id, sent.merchant))
    return json_response(reading.EnrolledShop(sent.shop_id, merchant_id, sent.merchant), 201)


def _keeper(request: Request) -> Doorkeeper:
    keeper: Doorkeeper = request.app.state.access
    return keeper


def _giver(request: Request) -> Giver:
    """Who asks, with the rights that his key leaves him."""
    credential = admission_of(request).credential
    registry = _keeper(request).installation.registry()
    principal = registry.principals[credential.principal_id]
    return giver_of(registry, principal, principal.keys[credential.key_id], clock.now())


async def _do(request: Request, work: Callable[[Administration], T]) -> T:
    """Have something done in the name of who asks; this process knows of it at once."""
    credential = admission_of(request).credential
    keeper = _keeper(request)
    program: Program = request.app.state.program

    def do() -> T:
        administration = Administration(
            keeper.installation, program.url, credential.principal_id, credential.key_id
        )
        done = work(administration)
        keeper.look()
        return done

    try:
        return await asyncio.to_thread(do)
    except NotDone as error:
        raise Refused(_CODES[error.denial.code], error.denial.detail) from error


_CODES: dict[DenialCode, ProblemCode] = {
    "invalid_request": "invalid_request",
    "not_permitted": "forbidden",
    "unknown_shop": "unknown_shop",
    "unknown_principal": "unknown_principal",
    "unknown_key": "unknown_key",
    "exists": "not_possible",
}


async def _read(request: Request, read: Callable[[Request, Giver], T]) -> T:
    return await asyncio.to_thread(lambda: read(request, _giver(request)))


def _principals(request: Request, giver: Giver) -> list[Any]:
    program: Program = request.app.state.program
    registry = _keeper(request).installation.registry()
    return list(reading.principals(registry, read_notes(program.url), giver.sees))
