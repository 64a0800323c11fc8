"""Commands to orders and SKUs: one route for every action of the domain's tables, and the bulk endpoint."""

from fastapi import Request
from fastapi.responses import Response
from starlette.routing import Route

from api.http import openapi
from api.http.commands import ORDERS, SKUS, BulkRequest, SingleCommand, submit_bulk
from api.http.parameters import Actor, ShopId
from api.http.permissions import ANY_PRINCIPAL, GuardedRouter, admission_of, needs, take
from api.http.problems import wrong
from api.http.requests import MAX_BULK_BYTES, body_of, claim, decode
from api.http.responses import written

router = GuardedRouter(tags=["commands"])

# A SKU's id may hold a slash, which arrives decoded.
singles = [
    Route(target.path.replace("{sku_id}", "{sku_id:path}") + "/{action}", SingleCommand(target), methods=["POST"])
    for target in (ORDERS, SKUS)
]


@router.post(
    "/v1/shops/{shop_id}/commands",
    openapi_extra=openapi.bulk(),
    responses=openapi.bulk_responses(),
)
@needs(ANY_PRINCIPAL)
async def bulk(request: Request, shop_id: ShopId, given_by: Actor = None) -> Response:
    """Many commands at once. They are judged in order; one that is refused never stops the others.

    Each may have an `idempotency_key` of its own; there is none for them all.
    """
    if "idempotency-key" in request.headers:
        raise wrong("Idempotency-Key", "give each command its own `idempotency_key`", "header")
    entries = decode(await body_of(request, MAX_BULK_BYTES), BulkRequest).commands
    take(request, len(entries) - 1)
    admission = admission_of(request)
    response = await submit_bulk(request.app.state.program, admission, claim(given_by), entries, request.url.path)
    return written(response, response.position)
