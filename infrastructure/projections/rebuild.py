"""Rebuilding views on all cores, while the live ones are used and writers, readers and workers go on.

A build is planned in slices (``slices``). Processes fold them, one per core; this process is one of them. Then keys
and indexes are made, and the build goes live. It is brought to the heads of the logs and compared with the log.
Then it is ready to be activated (``builds.activate``).

Every step can be repeated. If a process is killed, the next one that works on the build continues.
"""

import asyncio
import logging
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import msgspec
import psycopg

from domain.rules.ruleset import RuleBook
from infrastructure.database.pool import Pool, ReadConnection, WriteConnection
from infrastructure.log.log import positions_known_at, read_heads
from infrastructure.projections import builds, parking, slices
from infrastructure.projections.builds import Build, BuildState, CannotDo
from infrastructure.projections.verification import verify
from infrastructure.projections.view import View
from infrastructure.projections.worker import Worker
from infrastructure.runtime import clock
from infrastructure.runtime.processes import Child, Deaths

log = logging.getLogger("shiplock.rebuild")

_REBUILDING = 7_166_402
"""With a build's id: the advisory lock for working on that build. With 0: the lock for preparing a database."""

POLL_SECONDS = 0.2
INDEXING_CONNECTIONS = 4
MOST_DEATHS = 10
"""A rebuild fails if so many processes die before another slice is done."""


class BeingWorkedOn(CannotDo):
    """Another program works on the build."""


class Progress(msgspec.Struct, frozen=True):
    """A build and its progress. ``done`` and ``total`` count events; ``eta_seconds`` is the rest of the folding."""

    id: int
    views: list[str]
    state: BuildState
    done: int
    total: int
    events_per_second: float | None
    eta_seconds: float | None
    verified: bool
    live: bool
    scope: dict[str, Any]
    requested_at: datetime
    finished_at: datetime | None
    error: str | None
    verification: dict[str, Any] | None


async def progress_of(connection: ReadConnection, build: Build) -> Progress:
    """A build's progress according to the database, whichever process works on it."""
    done = build.total
    if build.state in ("building", "failed"):
        cursor = await connection.execute(
            "SELECT coalesce(sum(events) FILTER (WHERE done), 0)::bigint FROM slice WHERE build_id = %s",
            (build.id,),
        )
        row = await cursor.fetchone()
        assert row
        done = row[0] if build.state == "building" or row[0] else done
    rate = done / build.worked_seconds if done and build.worked_seconds else None
    return Progress(
        id=build.id,
        views=build.views,
        state=build.state,
        done=done,
        total=build.total,
        events_per_second=rate,
        eta_seconds=(build.total - done) / rate if rate else None,
        verified=build.state == "ready" and build.verification is not None,
        live=build.live,
        scope=build.scope,
        requested_at=build.requested_at,
        finished_at=build.finished_at,
        error=build.error,
        verification=build.verification,
    )


async def request(
    connection: WriteConnection,
    views: Sequence[View],
    book: RuleBook,
    scope: dict[str, Any] | None = None,
) -> Build:
    """Register a build of some views and plan its slices. Nothing is folded yet.

    With a ``scope`` the build shows something else than the present. Its keys: ``shop_id`` with ``to_position``,
    ``known_at`` (RFC 3339), or ``rules`` (a rule set's TOML; ``book`` must be made of it).
    """
    scope = scope or {}
    async with connection.transaction():
        build = await builds.register(connection, views, book, clock.now(), "building", scope)
        heads = await read_heads(connection)
        if "shop_id" in scope:
            head = heads.get(scope["shop_id"], 0)
            heads = {scope["shop_id"]: min(head, scope.get("to_position", head))} if head else {}
        if "known_at" in scope:
            known = await positions_known_at(connection, heads, datetime.fromisoformat(scope["known_at"]))
            heads = {shop: position for shop, position in known.items() if position}
        await slices.plan(connection, build, heads)
    planned = await builds.find(connection, build.id)
    assert planned
    return planned


async def unfinished(connection: ReadConnection, views: Sequence[View], book: RuleBook) -> Build | None:
    """The latest unfinished build of exactly these views and the present, which can be resumed."""
    names = [view.name for view in views]
    return next(
        (
            build
            for build in reversed(await builds.every(connection))
            if build.views == names
            and not build.scope
            and build.state not in ("ready", "failed")
            and builds.is_current(build, book)
        ),
        None,
    )


async def run(
    pool: Pool,
    url: str,
    book: RuleBook,
    build_id: int,
    *,
    processes: int | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    """Work on a build until it is ready or has failed. Raises ``CannotDo`` if another program works on it.

    ``book`` has the rules for its orders. ``on_progress`` is called several times a second.
    """
    async with _alone(url, build_id):
        reporting = asyncio.create_task(_report(pool, build_id, on_progress))
        try:
            await _run(pool, url, book, build_id, processes or os.cpu_count() or 1)
        finally:
            reporting.cancel()
        async with pool.read() as connection:
            progress = await progress_of(connection, await _build(connection, build_id))
        on_progress(progress)
        return progress


async def _run(pool: Pool, url: str, book: RuleBook, build_id: int, processes: int) -> None:
    """Do the remaining steps of the build."""
    while True:
        async with pool.write() as connection:
            build = await _build(connection, build_id)
            match build.state:
                case "building":
                    await _fold(connection, url, book, build, processes)
                case "indexing":
                    try:
                        await _index(pool, build, processes)
                    except psycopg.IntegrityError as error:
                        failure = f"Its rows are not as its views declare them: {error}"
                        await builds.set_state(connection, build, "failed", error=failure, finished_at=clock.now())
                        continue
                    await _finish_tables(connection, build)
                case "catching_up":
                    await _tail(pool, connection, build, book)
                    await builds.set_state(connection, build, "verifying")
                case "verifying":
                    gathering = asyncio.create_task(_gather_statistics(pool, build))
                    try:
                        verification = await verify(connection, build, book)
                    finally:
                        await gathering
                    differences = verification.differences
                    await builds.set_state(
                        connection,
                        build,
                        "failed" if differences else "ready",
                        error=f"It differs from the log: {differences[0]}" if differences else None,
                        verification=verification._asdict(),
                        finished_at=clock.now(),
                    )
                case "ready" | "failed":
                    return


async def _build(connection: ReadConnection, build_id: int) -> Build:
    build = await builds.find(connection, build_id)
    if build is None:
        raise CannotDo(f"There is no build {build_id}.")
    return build


@asynccontextmanager
async def _alone(url: str, build_id: int) -> AsyncIterator[None]:
    """Be the only one who works on a build, while this program and its connection live."""
    async with await WriteConnection.connect(url, autocommit=True) as connection:
        cursor = await connection.execute("SELECT pg_try_advisory_lock(%s, %s)", (_REBUILDING, build_id))
        if await cursor.fetchone() != (True,):
            raise BeingWorkedOn(f"Build {build_id} is being worked on already.")
        yield


async def _report(pool: Pool, build_id: int, on_progress: Callable[[Progress], None]) -> None:
    while True:
        async with pool.read() as connection:
            on_progress(await progress_of(connection, await _build(connection, build_id)))
        await asyncio.sleep(POLL_SECONDS)


# ---- folding ----------------------------------------------------------------------------------------


async def _fold(connection: WriteConnection, url: str, book: RuleBook, build: Build, processes: int) -> None:
    """Let processes fold the slices. If one dies, another replaces it."""
    remaining = await slices.remaining(connection, build)
    others: list[Child] = []
    deaths = Deaths(MOST_DEATHS)
    measured_at = time.monotonic()
    async with _own_share(url, book, build) as own:
        try:
            while remaining:
                deaths.add(sum(1 for process in others if process.status))
                others = [process for process in others if process.status is None]
                if deaths.too_many:
                    raise CannotDo(
                        f"The processes that work on build {build.id} keep dying; see their errors above."
                    )
                here = 0 if own.done() else 1
                while len(others) < min(processes, remaining) - here:
                    others.append(slices.start(url, build, book))
                if own.done():
                    own.result()  # raises its error, if it failed
                    await asyncio.sleep(POLL_SECONDS / 20)
                else:
                    await asyncio.wait([own], timeout=POLL_SECONDS / 4)
                elapsed, measured_at = time.monotonic() - measured_at, time.monotonic()
                cursor = await connection.execute(
                    "UPDATE build SET worked_seconds = worked_seconds + %s WHERE id = %s RETURNING state",
                    (elapsed, build.id),
                )
                if await cursor.fetchone() != ("building",):
                    return
                still_remaining = await slices.remaining(connection, build)
                if still_remaining != remaining:
                    deaths.forget()
                remaining = still_remaining
            await builds.set_state(connection, build, "indexing")
        finally:
            for process in others:
                process.kill()
            for process in others:
                await asyncio.to_thread(process.end)


@asynccontextmanager
async def _own_share(url: str, book: RuleBook, build: Build) -> AsyncIterator["asyncio.Task[None]"]:
    """Fold slices in a thread of this process, which already runs while the others have to start."""
    leaving = threading.Event()
    with psycopg.connect(url, autocommit=True) as connection:
        own = asyncio.create_task(
            asyncio.to_thread(slices.work, connection, url, build, book, lambda: not leaving.is_set())
        )
        try:
            yield own
        finally:
            leaving.set()
            while (await asyncio.wait([own], timeout=POLL_SECONDS))[1]:
                await asyncio.to_thread(connection.cancel_safe)
            own.exception()  # marks it as retrieved, also that of a cancelled query


# ---- from tables to a view --------------------------------------------------------------------------


async def _index(pool: Pool, build: Build, processes: int) -> None:
    """Make keys and indexes, on several connections.

    No commit here waits for the disk. The next change of the build's state does, and covers them all.
    """
    statements = builds.index_statements(build)

    async def make() -> None:
        async with pool.write() as connection:
            while statements:
                statement = statements.pop(0)
                async with connection.transaction():
                    await connection.execute("SET LOCAL synchronous_commit = off")
                    await connection.execute("SET LOCAL maintenance_work_mem = '256MB'")
                    await connection.execute("SET LOCAL max_parallel_maintenance_workers = 0")
                    await connection.execute(statement)

    await asyncio.gather(*(make() for _ in range(min(processes, INDEXING_CONNECTIONS))))


async def _gather_statistics(pool: Pool, build: Build) -> None:
    async with pool.write() as connection:
        for statement in builds.statistics_statements(build):
            await connection.execute(statement)


async def _finish_tables(connection: WriteConnection, build: Build) -> None:
    """Complete the tables: if they show the present, make the build live, so that workers keep it current.

    Orders that were parked are in these tables now. So they are retried, for the other builds too.
    """
    cursor = await connection.execute(
        "SELECT shop_id, position FROM slice, unnest(shop_ids, up_to) AS s(shop_id, position) WHERE build_id = %s",
        (build.id,),
    )
    positions: dict[str, int] = dict(await cursor.fetchall())
    async with connection.transaction():
        await builds.begin_reading(connection, build, positions)
        if not build.scope:
            await parking.retry_all(connection, clock.now())
        await builds.set_state(connection, build, "verifying" if build.scope else "catching_up")


async def _tail(pool: Pool, connection: WriteConnection, build: Build, book: RuleBook) -> None:
    """Work like a live worker until the build has reached the heads that the logs have now.

    And until no retry of a parked order is due.
    """
    worker = Worker(pool, book)
    goals = await read_heads(connection)
    while await _behind(connection, build, goals) or await parking.shops_to_retry(connection, clock.now(), 1):
        if not await worker.catch_up_once():
            await asyncio.sleep(POLL_SECONDS / 10)


async def _behind(connection: ReadConnection, build: Build, goals: Mapping[str, int]) -> bool:
    cursor = await connection.execute("SELECT shop_id, position FROM checkpoint WHERE reader = %s", (build.reader,))
    positions: dict[str, int] = dict(await cursor.fetchall())
    return any(positions.get(shop, 0) < goal for shop, goal in goals.items())


async def prepare(pool: Pool, url: str, book: RuleBook) -> list[str]:
    """Ensure that the active build of every view has this program's definition. Returns the views that were built.

    In a new database the views are empty. After an upgrade they are rebuilt from the log. If several programs start
    at the same time, one of them does it. Raises ``CannotDo`` if the log can't be applied.
    """
    async with pool.read() as connection:
        if not await builds.missing(connection, book):
            return []
    async with await WriteConnection.connect(url, autocommit=True) as guard:
        await guard.execute("SELECT pg_advisory_lock(%s, 0)", (_REBUILDING,))
        async with pool.write() as connection:
            lacking = await builds.missing(connection, book)
            if not lacking:
                return []
            build = await unfinished(connection, lacking, book) or await request(connection, lacking, book)
        names = [view.name for view in lacking]
        if build.total:
            log.warning("building %s from %d events, which takes a while", ", ".join(names), build.total)
        while True:
            try:
                progress = await run(pool, url, book, build.id)
                break
            except BeingWorkedOn:
                await asyncio.sleep(POLL_SECONDS)
        if progress.state == "failed":
            raise CannotDo(f"The views can't be built. {progress.error}")
        async with pool.write() as connection:
            await builds.activate(connection, build.id, book)
    return names
