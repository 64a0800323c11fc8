"""The HTTP application: routes, problems, and the program they work with."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
from fastapi import FastAPI, Request
from fastapi.responses import Response
from fastapi_swagger import patch_fastapi
from psycopg_pool import PoolTimeout

from api import openapi, problems
from api.metrics import Metered
from api.program import Program, database
from api.routes import commands, feed, orders, service
from infrastructure.settings import Settings

DESCRIPTION = """
The system of record for a Pinduoduo shop's fulfilment: which orders may ship, what locks them, which
clocks run, which rules were broken and what that costs, at any moment of their history.
"""


def create_app(url: str | None = None, *, settings: Settings | None = None, with_worker: bool = True) -> FastAPI:
    """The application on a migrated database; without ``url``, on the one the settings name."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if url is not None:
            async with Program.running(url, with_worker=with_worker) as app.state.program:
                yield
        else:
            assert settings is not None
            with database(settings) as found:
                async with Program.running(found, with_worker=with_worker) as app.state.program:
                    yield

    app = FastAPI(
        title="Shiplock",
        description=DESCRIPTION,
        version="1",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    patch_fastapi(app, redirect_from_root_to_docs=False)  # /docs with its own scripts: a shop may be offline
    app.router.routes.append(commands.route)
    app.include_router(commands.router)
    app.include_router(orders.router)
    app.include_router(feed.router)
    app.include_router(service.router)
    problems.install(app)
    openapi.install(app)
    for error in (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout):
        app.add_exception_handler(error, _unavailable)

    app.add_middleware(Metered)
    return app


async def _unavailable(request: Request, error: Exception) -> Response:
    return problems.respond(problems.problem("unavailable", request.url.path))


def from_environment() -> FastAPI:
    """The application by the environment's settings, for servers that start several processes."""
    return create_app(settings=Settings.from_environment(os.environ))
