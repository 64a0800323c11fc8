"""The one way of a request into the program: admitted, routed, measured, and its errors turned into problems."""

import time
from collections.abc import Sequence
from urllib.parse import unquote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from api.http import metering, problems
from api.http.door import Door, end_told
from api.http.requests import SLASH_OF_ID

CLIENT_CLOSED_REQUEST = 499
"""What metrics show for a client that went away before its request was whole. HTTP has no status for it."""


class Pipeline:
    """The ASGI application: one wrapper around the framework and the routes that pass it by.

    ``fast`` are routes whose POST requests go straight to their endpoint: the framework would cost a single
    command about a third of its time. They have no other privilege. An endpoint finds the framework's
    application at ``scope["app"]`` and raises what went wrong; metrics name it by ``scope["route"].path``. The
    ``door`` lets every request in or refuses it before anything else looks at it.
    """

    def __init__(self, framework: FastAPI, fast: Sequence[Route], door: Door) -> None:
        self.framework = framework
        self.door = door
        self.fast = fast
        for kind in (HTTPException, RequestValidationError, Exception):
            framework.add_exception_handler(kind, _let_through)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["type"]:
            case "http":
                await self._answer(scope, receive, send)
            case "lifespan":
                await self.framework(scope, receive, send)
            case "websocket":
                # No route speaks it. One that did would need an admission of its own kind.
                await WebSocketClose()(scope, receive, send)
            case other:
                raise ValueError(f"the ASGI protocol {other!r} is not spoken here")

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        has_started = False
        if b"%2" in scope.get("raw_path", b""):
            scope = _with_slashes_of_ids(scope)

        async def measured(message: Message) -> None:
            nonlocal has_started
            if message["type"] == "http.response.start":
                has_started = True
                metering.count(scope["method"], _route_of(scope), message["status"], began)
                if ends_at := end_told(scope):
                    told = (b"shiplock-key-expires", ends_at.isoformat().encode())
                    message = {**message, "headers": [*message["headers"], told]}
            await send(message)

        try:
            if refusal := await self.door.refusal(scope):
                await problems.respond(refusal)(scope, receive, measured)
            else:
                await self._route(scope)(scope, receive, measured)
        except ClientDisconnect:
            # Nobody is left to answer, and nothing is wrong here.
            metering.count(scope["method"], _route_of(scope), CLIENT_CLOSED_REQUEST, began)
        except Exception as error:
            if has_started:
                raise  # the server ends the connection: the client sees that the response is not whole
            path = scope["path"].replace(SLASH_OF_ID, "/")
            await problems.answer_to(error, scope["method"], path)(scope, receive, measured)

    def _route(self, scope: Scope) -> ASGIApp:
        if scope["method"] == "POST":
            for route in self.fast:
                if match := route.path_regex.match(scope["path"]):
                    scope["app"] = self.framework
                    scope["path_params"] = match.groupdict()
                    return route.app
        return self.framework


def _with_slashes_of_ids(scope: Scope) -> Scope:
    """The scope of a request whose path has an encoded slash: it belongs to an id and divides nothing.

    So a SKU whose id ends like a route (``A/events``) can be read. ``SLASH_OF_ID`` stands for it in the path.
    """
    segments = scope["raw_path"].partition(b"?")[0].decode("latin-1").split("/")
    return {**scope, "path": "/".join([unquote(segment).replace("/", SLASH_OF_ID) for segment in segments])}


def _route_of(scope: Scope) -> str:
    """The pattern of the route that answers, for metrics."""
    return getattr(scope.get("route"), "path", "none")


async def _let_through(request: Request, error: Exception) -> Response:
    """Have the framework answer no error itself."""
    raise error
