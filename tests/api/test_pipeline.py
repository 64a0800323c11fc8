"""Every request goes through the pipeline: no route of any kind can be reached without it."""

import asyncio
import re
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.responses import PlainTextResponse, StreamingResponse
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from api.http import metering, problems
from api.http.app import create_app
from api.http.pipeline import Pipeline
from api.http.problems import Problem
from tests.access import KEY, headers
from tests.api.conftest import LOCAL, SHOP, Api

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "NONSENSE")


def routes_of(app: Any) -> Iterator[BaseRoute]:
    """Every route of an application: those of included routers and mounted applications too."""
    for route in app.routes:
        inner = getattr(route, "original_router", None) or getattr(route, "app", None)
        if hasattr(inner, "routes"):
            yield from routes_of(inner)
        else:
            yield route


def paths_of(app: Pipeline) -> list[str]:
    """The path patterns of every route, those of the fast path first."""
    routes = [*app.fast, *routes_of(app.framework)]
    assert all(isinstance(route, Route) for route in routes), "a route of another kind needs a test here"
    return list(dict.fromkeys(route.path for route in routes if isinstance(route, Route)))


def filled(path: str) -> str:
    return re.sub(r"{[^}]*}", "1", path)


def counted(method: str, status: int) -> float:
    """Requests of a method that were answered with a status, on all routes."""
    return sum(
        sample.value
        for metric in metering.REQUESTS.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
        and (sample.labels["method"], sample.labels["status"]) == (method, str(status))
    )


def counted_of(method: str, route: str) -> float:
    """Requests of a method that one route answered, with any status."""
    return sum(
        sample.value
        for metric in metering.REQUESTS.collect()
        for sample in metric.samples
        if sample.name.endswith("_total") and (sample.labels["method"], sample.labels["route"]) == (method, route)
    )


def measured_as(route: Route, method: str, app: Pipeline) -> str:
    """The name of a route in the metrics. The framework's own, such as the OpenAPI document, have none."""
    if method == "POST" and route.path in [fast.path for fast in app.fast]:
        return route.path.replace(":path", "")
    return route.path if isinstance(route, APIRoute) else "none"


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """The application with an admission that refuses everything, without a database; no handler may run."""

    async def refuse(scope: Scope) -> Problem:
        return problems.problem("overloaded", scope["path"])

    async def must_not_run(self: FastAPI, scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError(f"{scope['path']} was reached though it was refused")

    app = create_app("postgresql://nowhere")
    monkeypatch.setattr(app.door, "refusal", refuse)
    monkeypatch.setattr(FastAPI, "__call__", must_not_run)
    for route in app.fast:
        monkeypatch.setattr(route, "app", must_not_run)
    return app


def all_refused(app: Pipeline, paths: Iterable[str]) -> None:
    http = TestClient(app, LOCAL)
    for path in paths:
        for method in METHODS:
            before = counted(method, 503)
            answer = http.request(method, filled(path))
            assert answer.status_code == 503, (method, path)
            if method != "HEAD":
                assert answer.json()["code"] == "overloaded", (method, path)
            assert counted(method, 503) == before + 1, (method, path)


def test_a_request_that_is_not_admitted_reaches_no_route(refusing: Pipeline) -> None:
    paths = paths_of(refusing)
    assert {"/", "/docs", "/openapi.json", "/metrics", "/swagger/swagger-ui.css"} <= set(paths)
    assert "/v1/shops/{shop_id}/orders/{order_sn}/{action}" in paths
    assert len(paths) > 40
    all_refused(refusing, [*paths, "/nowhere", "/docs/", "/v1/shops/1/orders/1/place", "/v1/shops/1/skus/1/delist"])


def test_routes_that_are_added_later_are_refused_as_well(refusing: Pipeline) -> None:
    framework = refusing.framework
    router = APIRouter(prefix="/later/router")
    router.add_api_route("/{name}", lambda name: name, methods=["GET", "POST"])
    framework.include_router(router)
    framework.router.routes += [
        Route("/later/plain", lambda request: PlainTextResponse("reached")),
        Mount("/later/mount", Route("/inside", lambda request: PlainTextResponse("reached"))),
    ]
    all_refused(refusing, ["/later/router/a", "/later/plain", "/later/mount/inside"])


def test_no_web_socket_is_opened() -> None:
    async def greet(socket: WebSocket) -> None:
        await socket.accept()

    app = create_app("postgresql://nowhere")
    app.framework.router.routes.insert(0, WebSocketRoute("/socket", greet))
    for path in ("/socket", "/docs", "/v1/shops/1/orders/1/place", "/nowhere"):
        with pytest.raises(WebSocketDisconnect), TestClient(app, LOCAL).websocket_connect(path):
            pass


def test_an_unknown_protocol_reaches_no_route() -> None:
    async def silent(*_: object) -> Any:
        raise AssertionError

    app = create_app("postgresql://nowhere")
    with pytest.raises(ValueError, match="'gopher'"):
        asyncio.run(app({"type": "gopher", "path": "/docs"}, silent, silent))


def test_every_route_is_measured_by_its_name(api: Api) -> None:
    app = api.http.app
    assert isinstance(app, Pipeline)
    for route in (*app.fast, *routes_of(app.framework)):
        assert isinstance(route, Route)
        for method in route.methods or ():
            name = measured_as(route, method, app)
            before = counted_of(method, name)
            api.http.request(method, filled(route.path), follow_redirects=False)
            assert counted_of(method, name) == before + 1, (method, route.path)
    for path in ("orders/{order_sn}/place", "skus/{sku_id}/delist"):
        name = f"/v1/shops/{{shop_id}}/{path}"
        before = counted_of("POST", name)
        api.http.post(filled(name))
        assert counted_of("POST", name) == before + 1


def test_a_request_without_a_route_is_measured_too(api: Api) -> None:
    for method, path, route, status in (
        ("GET", "/nowhere", "none", 404),
        ("GET", "/docs%0A", "none", 404),
        ("DELETE", "/docs", "/docs", 405),
    ):
        before = counted_of(method, route)
        assert api.http.request(method, path).status_code == status
        assert counted_of(method, route) == before + 1, path


def test_an_error_of_any_route_becomes_one_problem(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("a defect with a secret")

    app = api.http.app
    assert isinstance(app, Pipeline)
    app.framework.router.routes.insert(0, Route("/defect", fail))
    app.fast = [Route("/fast-defect", fail, methods=["POST"])]
    for method, path in (("GET", "/defect"), ("POST", "/fast-defect")):
        caplog.clear()
        answer = api.http.request(method, path)
        assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
        assert "secret" not in answer.text
        assert [record.getMessage() for record in caplog.records if record.name == "shiplock.api"] == [
            f"unexpected error at {method} {path}"
        ]


def test_an_error_in_the_middle_of_a_response_is_not_hidden(api: Api) -> None:
    async def half() -> Any:
        yield "half of "
        raise RuntimeError("the other half is lost")

    app = api.http.app
    assert isinstance(app, Pipeline)
    app.framework.router.routes.insert(0, Route("/half", lambda request: StreamingResponse(half())))
    with pytest.raises(RuntimeError, match="the other half"):
        TestClient(app, LOCAL, headers=headers()).get("/half")


@pytest.mark.parametrize("path", ["commands", "orders/A-1/place"])
def test_a_client_that_goes_away_while_it_sends_is_no_error_of_the_program(
    api: Api, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    messages = [{"type": "http.request", "body": b'{"a"', "more_body": True}, {"type": "http.disconnect"}]
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": f"/v1/shops/{SHOP}/{path}",
        "raw_path": f"/v1/shops/{SHOP}/{path}".encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost"), (b"authorization", f"Bearer {KEY}".encode())],
        "server": ("testserver", 80),
        "client": ("testclient", 1),
    }
    assert api.http.portal
    api.http.portal.call(api.http.app, scope, receive, send)
    assert sent == []
    assert not caplog.records
    assert 'status="499"' in api.http.get("/metrics").text
