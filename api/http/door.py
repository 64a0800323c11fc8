"""The door: whether a request is let in at all. Every request passes it, whichever route would answer.

A web page that somebody has open can send requests to any server that his machine reaches, also to one on this
machine. Two things give it away: the name under which it reached us, and the site that the browser says it is of.
"""

from collections.abc import Iterable

from starlette.types import Scope

from api.http.problems import Problem, problem

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
"""The names of this machine. A page can't take one of them for itself, so they are always answered."""

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods of requests that change nothing. What they answer no foreign page may read (there is no CORS)."""

_OF_US = frozenset({b"same-origin", b"none"})
"""What ``Sec-Fetch-Site`` says of our own pages, and of what a person typed."""


class Door:
    """Lets requests in that are for this server by one of its names, ``hosts`` beside those of this machine.

    It runs for every command, so it reads the headers once and makes nothing.
    """

    def __init__(self, hosts: Iterable[str] = ()) -> None:
        self._hosts = frozenset(host.lower().encode("latin-1", "replace") for host in (*LOOPBACK, *hosts))

    def refusal(self, scope: Scope) -> Problem | None:
        """Say why a request is refused before anything else looks at it; ``None`` lets it in."""
        host = site = origin = None
        for name, value in scope["headers"]:
            if name == b"host":
                if host is not None:
                    return problem("ambiguous_request", scope["path"], "It has two `Host` headers.")
                host = value
            elif name == b"sec-fetch-site":
                site = value
            elif name == b"origin":
                origin = value
        if host is None or _without_port(host) not in self._hosts:
            return problem("wrong_host", scope["path"])
        if scope["method"] not in _SAFE and _is_of_another_site(host, site, origin):
            return problem("cross_site", scope["path"])
        if scope["path"].endswith("\n"):
            # The patterns of the routes ignore a line break at the end, and would answer for the path without it.
            return problem("not_found", scope["path"])
        return None


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
