"""What a route needs: a scope that stands above it, checked before the framework reads a parameter.

A route that says nothing does not import.
"""

from collections.abc import Callable, Coroutine
from enum import Enum
from typing import Any, Final, TypeVar, cast

from fastapi import APIRouter, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute

from api.http.door import PAGE, Admission
from api.http.problems import Refused
from domain.access.permissions import needed
from domain.access.scopes import INSTALLATION_SCOPES, SHOP_SCOPES, Scope
from domain.kernel import Command

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


class Everybody(Enum):
    """A route that needs no scope: any client may use it, or everybody without a key."""

    ANY_PRINCIPAL = "any principal"
    OPEN = "open"


ANY_PRINCIPAL: Final = Everybody.ANY_PRINCIPAL
OPEN: Final = Everybody.OPEN


def needs(*scopes: Scope | Everybody) -> Callable[[Endpoint], Endpoint]:
    """Declare what a route needs: one scope, one of several, or none (``ANY_PRINCIPAL``, ``OPEN``)."""

    def declare(endpoint: Endpoint) -> Endpoint:
        endpoint.needed = scopes  # type: ignore[attr-defined]
        return endpoint

    return declare


def needed_by(endpoint: Callable[..., Any]) -> tuple[Scope | Everybody, ...]:
    """What an endpoint needs. Raises ``TypeError`` for one that does not say it."""
    scopes: tuple[Scope | Everybody, ...] | None = getattr(endpoint, "needed", None)
    if not scopes:
        raise TypeError(f"the route {endpoint.__qualname__} does not say what it needs")
    return scopes


_OF_ACCESS = frozenset({"access:read", "access:manage"})
"""Held on some shop, they let a client ask; ``domain.access`` decides what it may see and do."""


class GuardedRoute(APIRoute):
    """A route that refuses whoever lacks its scope before it looks at the request."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        self.needed = needed_by(endpoint)
        scopes = {scope for scope in self.needed if isinstance(scope, str)}
        known: frozenset[str] = SHOP_SCOPES if path.startswith("/v1/shops/{shop_id}") else INSTALLATION_SCOPES
        if path.startswith("/v1/access/"):
            known = known | _OF_ACCESS
        if not scopes <= known:
            raise TypeError(f"{path} can't be given {', '.join(sorted(scopes - known))}")
        super().__init__(path, endpoint, **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()
        if OPEN in self.needed:
            return answer
        scopes = frozenset(scope for scope in self.needed if isinstance(scope, str))
        of_a_shop = self.path.startswith("/v1/shops/{shop_id}")

        async def guarded(request: Request) -> Response:
            admission = admission_of(request)
            if of_a_shop and admission.shop_id != request.path_params["shop_id"]:
                raise Refused("unknown_shop")
            if scopes and admission.held.isdisjoint(scopes):
                raise forbidden(scopes)
            return await answer(request)

        return guarded


class GuardedRouter(APIRouter):
    """A router whose routes all say what they need."""

    def __init__(self, **options: Any) -> None:
        super().__init__(route_class=GuardedRoute, **options)


def admission_of(request: Request) -> Admission:
    return cast(Admission, request.scope["admission"])


def forbidden(scopes: frozenset[Scope]) -> Refused:
    return Refused("forbidden", f"It needs {' or '.join(sorted(scopes))}, which this key does not have here.")


def check_command(admission: Admission, action: str, command: Command) -> None:
    """Refuse a command of which a scope is missing: ``forbidden``."""
    scopes = needed(action, command)
    if not scopes <= admission.held:
        missing = " and ".join(sorted(scopes - admission.held))
        raise Refused("forbidden", f"It needs {missing}, which this key does not have here.")


def take(request: Request, units: int) -> None:
    """Take from the buckets what a request costs beyond a page; ``too_many_requests`` if there is too little."""
    admission = admission_of(request)
    buckets = [admission.credential.bucket]
    if admission.shop_id is not None:
        buckets.append(request.app.state.access.directory.buckets_of_shops[admission.shop_id])
    for bucket in buckets:
        if not bucket.take(units):
            raise Refused("too_many_requests", headers={"Retry-After": str(bucket.seconds_until(units))})


FOLDED = 200 - PAGE
"""Units beyond those of a page, for a backtest or a report that is folded."""
