"""The door: whether a request is let in at all. Every request passes it, whichever route would answer.

A web page that somebody has open can send requests to any server that his machine reaches, also to one on this
machine. Two things give it away: the name under which it reached us, and the site that the browser says it is of.
Then the key of the request is looked up in memory, and with it what its client may do with the shop of the path.
"""

from collections.abc import Iterable
from datetime import datetime

from starlette.types import Scope

from api.http.problems import Problem, problem
from domain.access import scopes
from infrastructure.access.directory import Credential, Unknown
from infrastructure.access.doorkeeper import Doorkeeper
from infrastructure.commands.intents import Giver
from infrastructure.runtime import clock

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
"""The names of this machine. A page can't take one of them for itself, so they are always answered."""

OPEN = frozenset({"/", "/docs", "/healthz", "/openapi.json", "/readyz"})
OPEN_BELOW = ("/problems/", "/swagger/")
"""What everybody may read: nothing of it belongs to a shop."""

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods of requests that change nothing. What they answer no foreign page may read (there is no CORS)."""

_OF_US = frozenset({b"same-origin", b"none"})
"""What ``Sec-Fetch-Site`` says of our own pages, and of what a person typed."""

_SHOPS = "/v1/shops/"
_BEARER = b"bearer "

COMMAND, PAGE = 1, 2
"""Units that a request takes from the buckets of its client and its shop. Routes take more for what costs more."""

_WHY: dict[Unknown, str] = {
    "revoked_key": "This key was revoked.",
    "expired_key": "This key has ended. Ask for another one.",
    "disabled": "The client of this key is disabled.",
    "foreign_network": "This key may not be used from this network.",
}
"""What is told to those who hold the right secret."""


class Admission:
    """Who was let in, and what he may do where the request goes: the shop of its path, or what has no shop."""

    __slots__ = ("credential", "held", "shop_id")

    def __init__(self, credential: Credential, held: frozenset[scopes.Scope], shop_id: str | None) -> None:
        self.credential = credential
        self.held = held
        self.shop_id = shop_id

    def giver(self, on_behalf_of: str | None) -> Giver:
        """Who gives the commands of the request; whom he says that he acts for is his own word."""
        return Giver(self.credential.actor, self.credential.key_id, on_behalf_of)


class Door:
    """Lets requests in that are for this server by one of its names, ``hosts`` beside those of this machine.

    It runs for every command, so it reads the headers once and decides from memory. ``keeper`` holds the directory;
    without one nobody is let in.
    """

    def __init__(self, hosts: Iterable[str] = ()) -> None:
        self._hosts = frozenset(host.lower().encode("latin-1", "replace") for host in (*LOOPBACK, *hosts))
        self.keeper: Doorkeeper | None = None

    async def refusal(self, scope: Scope) -> Problem | None:
        """Say why a request is refused before anything else looks at it; ``None`` lets it in.

        Who is let in is noted in the scope as its ``admission``.
        """
        host = site = origin = authorization = None
        path = scope["path"]
        for name, value in scope["headers"]:
            if name == b"host":
                if host is not None:
                    return problem("ambiguous_request", path, "It has two `Host` headers.")
                host = value
            elif name == b"authorization":
                if authorization is not None:
                    return problem("ambiguous_request", path, "It has two `Authorization` headers.")
                authorization = value
            elif name == b"sec-fetch-site":
                site = value
            elif name == b"origin":
                origin = value
        if host is None or _without_port(host) not in self._hosts:
            return problem("wrong_host", path)
        if scope["method"] not in _SAFE and _is_of_another_site(host, site, origin):
            return problem("cross_site", path)
        if path in OPEN or path.startswith(OPEN_BELOW):
            return None
        keeper = self.keeper
        if keeper is None or not keeper.is_current:
            return problem("unavailable", path, "Who may do what can't be read from the database.")
        if authorization is None or authorization[:7].lower() != _BEARER:
            return problem("unauthenticated", path)
        return await self._admit(scope, keeper, authorization[7:].decode("latin-1").strip())

    async def _admit(self, scope: Scope, keeper: Doorkeeper, key: str) -> Problem | None:
        now = clock.now()
        client = scope.get("client")
        address = client[0] if client else None
        found = keeper.directory.find(key, address, now)
        if found == "unknown_key" and keeper.directory.may_know(key):
            await keeper.refresh()
            found = keeper.directory.find(key, address, now)
        path = scope["path"]
        if isinstance(found, str):
            return problem("unauthenticated", path, _WHY.get(found))
        keeper.used[found.key_id] = now
        units = COMMAND if scope["method"] == "POST" else PAGE
        if not found.bucket.take(units):
            return problem("too_many_requests", path, retry_after=found.bucket.seconds_until(units))
        if path.startswith(_SHOPS):
            shop_id = path[len(_SHOPS) :].partition("/")[0]
            held: frozenset[scopes.Scope] | None = found.shops.get(shop_id)
            if held is None:
                return problem("unknown_shop", path)
            bucket = keeper.directory.buckets_of_shops[shop_id]
            if not bucket.take(units):
                return problem("too_many_requests", path, retry_after=bucket.seconds_until(units))
            scope["admission"] = Admission(found, held, shop_id)
        else:
            scope["admission"] = Admission(found, found.anywhere, None)
        if path.endswith("\n"):
            # The patterns of the routes ignore a line break at the end, and would answer for the path without it.
            return problem("not_found", path)
        return None


def end_told(scope: Scope) -> datetime | None:
    """When the key of a request ends, if that is near enough to be told."""
    admission: Admission | None = scope.get("admission")
    if admission is None or clock.now() < admission.credential.warned_from:
        return None
    return admission.credential.ends_at


def _without_port(host: bytes) -> bytes:
    host = host.lower()
    name, colon, port = host.rpartition(b":")
    return name if colon and (port.isdigit() or not port) else host


def _is_of_another_site(host: bytes, site: bytes | None, origin: bytes | None) -> bool:
    """Whether a browser says that the page of a request is not ours. Other clients say nothing of the kind.

    Browsers that don't tell the site (plain http, not on this machine) tell the origin.
    """
    if site is not None:
        return site not in _OF_US
    return origin is not None and origin.partition(b"://")[2].lower() != host.lower()
