"""The HTTP application: routes, problems, and the program they work with."""

import contextlib
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from types import FrameType

from fastapi import FastAPI
from fastapi_swagger import patch_fastapi

from api.http import openapi
from api.http.door import Door
from api.http.pipeline import Pipeline
from api.http.responses import renderer
from api.http.routes import (
    access,
    audit,
    bills,
    commands,
    doubtful,
    feed,
    jobs,
    money,
    orders,
    projections,
    reports,
    rules,
    service,
    skus,
    stockout_applications,
    stockout_cases,
    suppliers,
    way_out,
)
from api.program import Program, database, prepare_owner
from api.workers import Start, worker_process, worker_thread
from infrastructure.access.doorkeeper import open_doorkeeper
from infrastructure.audit.archive import Archive
from infrastructure.runtime import garbage_collection
from infrastructure.runtime.rule_sets import rule_book
from infrastructure.runtime.settings import Settings

ROUTERS = (
    commands.router,
    stockout_applications.router,
    doubtful.router,
    suppliers.router,
    orders.router,
    skus.router,
    stockout_cases.router,
    way_out.router,
    reports.router,
    money.router,
    bills.router,
    feed.router,
    projections.router,
    jobs.router,
    rules.router,
    audit.router,
    access.router,
    service.router,
)
"""Those with patterns that others match come last."""

DESCRIPTION = """
The system of record for a Pinduoduo shop's fulfilment: which orders may ship, what locks them, which
clocks run, which rules were broken and what that costs, at any moment of their history.
"""


@contextlib.contextmanager
def when_stopping(callback: Callable[[], None]) -> Iterator[None]:
    """Call back as soon as the server gets the signal to stop.

    Live streams must end then: the server would wait for their clients.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # a server in a thread gets no signals
        return
    before = {sign: signal.getsignal(sign) for sign in (signal.SIGINT, signal.SIGTERM)}

    def stop(number: int, frame: FrameType | None) -> None:
        callback()
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    for sign in before:
        signal.signal(sign, stop)
    try:
        yield
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)


def create_app(
    url: str | None = None, *, settings: Settings | None = None, worker: Start | None = worker_thread
) -> Pipeline:
    """The application on a migrated database; without ``url``, on the one the settings name.

    Without ``settings`` it judges by the shipped rule sets alone, and there are no checkpoints.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with contextlib.ExitStack() as stack:
            database_url = url
            if database_url is None:
                assert settings is not None
                database_url = stack.enter_context(database(settings))
            book = rule_book(settings.rules_dir if settings else None)
            if settings:
                prepare_owner(database_url, settings)
            keeper = stack.enter_context(open_doorkeeper(database_url, settings.workers if settings else 1))
            door.keeper = app.state.access = keeper
            async with Program.running(
                database_url,
                book,
                render=renderer(book),
                worker=worker,
                archive=Archive.of(settings) if settings else None,
                checkpoint_seconds=settings.checkpoint_seconds if settings else 0,
            ) as app.state.program:
                with when_stopping(app.state.program.closing.set):
                    yield

    door = Door(settings.hosts if settings else ())
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
    app.router.routes.extend(commands.singles)
    for router in ROUTERS:
        app.include_router(router)
    openapi.install(app, ROUTERS)
    return Pipeline(app, commands.singles, door)


def serving_app(url: str | None = None, *, settings: Settings | None = None) -> Pipeline:
    """The application for a process that does nothing but serve it, its worker in a process beside it."""
    app = create_app(url, settings=settings, worker=worker_process)
    garbage_collection.tune()
    return app


def from_environment() -> Pipeline:
    """The application by the environment's settings, for servers that start several processes."""
    return serving_app(settings=Settings.from_environment(os.environ))
