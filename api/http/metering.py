"""Counting and timing requests, for Prometheus."""

import functools
import time

from prometheus_client import Counter, Histogram

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
