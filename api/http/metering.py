"""Counting and timing requests, for Prometheus."""

import functools
import time

from prometheus_client import Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

REQUESTS = Counter("shiplock_http_requests", "Requests answered.", ["method", "route", "status"])
SECONDS = Histogram("shiplock_http_request_seconds", "Time to the start of an answer.", ["method", "route"])


@functools.cache
def _counter(method: str, route: str, status: int) -> Counter:
    return REQUESTS.labels(method, route, status)


@functools.cache
def _histogram(method: str, route: str) -> Histogram:
    return SECONDS.labels(method, route)


def count(method: str, route: str, status: int, began: float) -> None:
    """Note one answer; ``began`` is ``time.perf_counter()`` at the request. Routes are patterns: few."""
    _counter(method, route, status).inc()
    _histogram(method, route).observe(time.perf_counter() - began)


class Metered:
    """Counts each answer and how long it took to begin, by route."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()

        async def noticing(message: Message) -> None:
            if message["type"] == "http.response.start":
                count(scope["method"], getattr(scope.get("route"), "path", "none"), message["status"], began)
            await send(message)

        await self._app(scope, receive, noticing)
