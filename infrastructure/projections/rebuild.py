"""Rebuilding views beside the live ones, over all cores, while writers, readers and workers go on.

A build is planned in slices: some whole small shops, or a range of a big shop's streams, so that a slice
is a bounded piece of work whatever the shop's size. Processes take slices by ``SKIP LOCKED``; a slice's
rows and its being done commit together. Then keys and indexes are made, the build goes live and is brought
to the heads of the logs, compared with the log, and may be activated (``builds.activate``).

Every step can be done again: whoever is killed at any moment, the next to work on the build goes on.
"""

import asyncio
import logging
import multiprocessing
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from multiprocessing.context import SpawnProcess
from typing import Any

import msgspec
import psycopg
import uvloop
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from domain.order.state import fold
from domain.rules.ruleset import RuleBook
from infrastructure import clock, collector
from infrastructure.database.pool import Pool
from infrastructure.log.histories import read_range
from infrastructure.log.log import ORDER, positions_known_at, read_heads, read_histories
from infrastructure.projections import builds, parking
from infrastructure.projections.applying import Applied, copy_rows
from infrastructure.projections.builds import Build, CannotDo, State
from infrastructure.projections.verification import verify
from infrastructure.projections.view import View
from infrastructure.projections.worker import Worker

log = logging.getLogger("shiplock.rebuild")

SLICE_EVENTS = 20_000
"""About so many events are folded at once: a fraction of a second's work, and some ten megabytes."""

_SAMPLES = 20
"""Streams looked at for each slice of a big shop, to cut it into slices of like size."""

_REBUILDING = 7_166_402
"""With a build's id, the advisory lock of who works on it."""

POLL_SECONDS = 0.2

_BOUNDS = """
SELECT DISTINCT min(stream) FROM (
    SELECT stream, ntile(%s) OVER (ORDER BY stream) AS tile
    FROM unnest(%s::bigint[]) AS p(position) JOIN event e ON e.shop_id = %s AND e.position = p.position
    WHERE stream LIKE %s
) t GROUP BY tile ORDER BY 1 OFFSET 1
"""

_TAKE = """
SELECT number, shop_ids, up_to, from_stream, to_stream FROM slice
WHERE build_id = %s AND NOT done ORDER BY number LIMIT 1 FOR UPDATE SKIP LOCKED
"""


class Poison(Exception):
    """An order that can't be applied; a rebuild stops there."""


class Progress(msgspec.Struct, frozen=True):
    """How far a build is. ``done`` and ``total`` count events, ``eta_seconds`` is for folding them."""

    id: int
    views: list[str]
    state: State
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


async def progress_of(connection: AsyncConnection[TupleRow], build: Build) -> Progress:
    """How far a build is, as the database tells: whoever works on it."""
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
    connection: AsyncConnection[TupleRow],
    views: Sequence[View],
    book: RuleBook,
    scope: dict[str, Any] | None = None,
) -> Build:
    """Plan a build of some views; nothing is folded yet.

    ``scope`` makes it show something else than the present: ``shop_id`` with ``to_position``, ``known_at``
    (RFC 3339), or ``rules`` (a rule set's TOML, which ``book`` must be made of).
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
        await _plan(connection, build, heads)
    planned = await builds.find(connection, build.id)
    assert planned
    return planned


async def unfinished(connection: AsyncConnection[TupleRow], views: Sequence[View], book: RuleBook) -> Build | None:
    """A build of just these views and the present that was begun and not finished, to be gone on with."""
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


async def _plan(connection: AsyncConnection[TupleRow], build: Build, heads: Mapping[str, int]) -> None:
    """Cut the logs into slices."""
    slices: list[tuple[list[str], list[int], str | None, str | None, int]] = []
    small: dict[str, int] = {}

    def put_small() -> None:
        if small:
            slices.append((list(small), list(small.values()), None, None, sum(small.values())))
            small.clear()

    for shop_id, head in heads.items():
        if head <= SLICE_EVENTS:
            if sum(small.values()) + head > SLICE_EVENTS:
                put_small()
            small[shop_id] = head
            continue
        parts = -(-head // SLICE_EVENTS)
        step = max(head // (parts * _SAMPLES), 1)
        cursor = await connection.execute(_BOUNDS, (parts, list(range(1, head + 1, step)), shop_id, ORDER + "%"))
        bounds = [None, *(bound for (bound,) in await cursor.fetchall()), None]
        count = len(bounds) - 1
        for n in range(count):
            events = head * (n + 1) // count - head * n // count
            slices.append(([shop_id], [head], bounds[n], bounds[n + 1], events))
    put_small()
    async with connection.cursor() as cursor:
        await cursor.executemany(
            """INSERT INTO slice (build_id, number, shop_ids, up_to, from_stream, to_stream, events)
               VALUES (%s, %s, %s, %s, %s, %s, %s)""",
            [(build.id, number, *found) for number, found in enumerate(slices, start=1)],
        )
    await connection.execute("UPDATE build SET total = %s WHERE id = %s", (sum(heads.values()), build.id))


async def run(
    pool: Pool,
    url: str,
    book: RuleBook,
    build_id: int,
    *,
    processes: int | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    """Work on a build until it is ready, or has failed. Raises ``CannotDo`` if somebody else works on it.

    ``book`` judges its orders. While it is worked on ``on_progress`` is called several times a second.
    """
    async with _alone(url, build_id):
        reporting = asyncio.create_task(_report(pool, build_id, on_progress))
        try:
            await _run(pool, url, book, build_id, processes or os.cpu_count() or 1)
        finally:
            reporting.cancel()
        async with pool.connection() as connection:
            progress = await progress_of(connection, await _build(connection, build_id))
        on_progress(progress)
        return progress


async def _run(pool: Pool, url: str, book: RuleBook, build_id: int, processes: int) -> None:
    """From where the build stands to its end."""
    while True:
        async with pool.connection() as connection:
            build = await _build(connection, build_id)
            match build.state:
                case "building":
                    await _fold(connection, url, book, build, processes)
                case "indexing":
                    await _index(pool, build)
                    await _finish_tables(connection, build)
                case "catching_up":
                    await _tail(pool, connection, build, book)
                    await builds.set_state(connection, build, "verifying")
                case "verifying":
                    found = await verify(connection, build, book)
                    wrong = found.differences
                    await builds.set_state(
                        connection,
                        build,
                        "failed" if wrong else "ready",
                        error=f"It differs from the log: {wrong[0]}" if wrong else None,
                        verification=found._asdict(),
                        finished_at=clock.now(),
                    )
                case "ready" | "failed":
                    return


async def _build(connection: AsyncConnection[TupleRow], build_id: int) -> Build:
    build = await builds.find(connection, build_id)
    if build is None:
        raise CannotDo(f"There is no build {build_id}.")
    return build


@asynccontextmanager
async def _alone(url: str, build_id: int) -> AsyncIterator[None]:
    """Be the only one to work on a build, for as long as this program and its connection live."""
    async with await AsyncConnection.connect(url, autocommit=True) as connection:
        cursor = await connection.execute("SELECT pg_try_advisory_lock(%s, %s)", (_REBUILDING, build_id))
        if await cursor.fetchone() != (True,):
            raise CannotDo(f"Build {build_id} is being worked on already.")
        yield


async def _report(pool: Pool, build_id: int, on_progress: Callable[[Progress], None]) -> None:
    while True:
        async with pool.connection() as connection:
            on_progress(await progress_of(connection, await _build(connection, build_id)))
        await asyncio.sleep(POLL_SECONDS)


# ---- folding ----------------------------------------------------------------------------------------


async def _fold(
    connection: AsyncConnection[TupleRow], url: str, book: RuleBook, build: Build, processes: int
) -> None:
    """Let processes work through the slices; one that dies is replaced by another."""
    context = multiprocessing.get_context("spawn")
    left = await _slices_left(connection, build)
    running: list[SpawnProcess] = []
    clocked = time.monotonic()
    try:
        while left:
            running = [process for process in running if process.is_alive()]
            while len(running) < min(processes, left):
                process = context.Process(target=work, args=(url, build.id, book), daemon=True)
                process.start()
                running.append(process)
            await asyncio.sleep(POLL_SECONDS / 4)
            elapsed, clocked = time.monotonic() - clocked, time.monotonic()
            cursor = await connection.execute(
                "UPDATE build SET worked_seconds = worked_seconds + %s WHERE id = %s RETURNING state",
                (elapsed, build.id),
            )
            if await cursor.fetchone() != ("building",):
                return
            left = await _slices_left(connection, build)
        await builds.set_state(connection, build, "indexing")
    finally:
        for process in running:
            process.terminate()
        for process in running:
            await asyncio.to_thread(process.join)


async def _slices_left(connection: AsyncConnection[TupleRow], build: Build) -> int:
    cursor = await connection.execute("SELECT count(*) FROM slice WHERE build_id = %s AND NOT done", (build.id,))
    row = await cursor.fetchone()
    return row[0] if row else 0


def work(url: str, build_id: int, book: RuleBook) -> None:
    """What each process does: take slices until none is left or the one who started it is gone."""
    collector.calm()
    uvloop.run(_work(url, build_id, book))


async def _work(url: str, build_id: int, book: RuleBook) -> None:
    parent = os.getppid()
    async with await AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("SET TIME ZONE 'UTC'")
        build = await builds.find(connection, build_id)
        try:
            while build and os.getppid() == parent and await work_once(connection, build, book):
                pass
        except Poison as poison:
            assert build
            await builds.set_state(connection, build, "failed", error=str(poison), finished_at=clock.now())
        except psycopg.errors.UndefinedTable:
            return  # the build was dropped meanwhile


async def work_once(connection: AsyncConnection[TupleRow], build: Build, book: RuleBook) -> bool:
    """Take a slice that nobody has, fold it and write its rows; whether there was one. Raises ``Poison``."""
    async with connection.transaction():
        await connection.execute("SET LOCAL synchronous_commit = off")  # what a crash takes back is undone whole
        cursor = await connection.execute(_TAKE, (build.id,))
        taken = await cursor.fetchone()
        if taken is None:
            return False
        number, shop_ids, up_to, since, until = taken
        heads = dict(zip(shop_ids, up_to, strict=True))
        applied = Applied(build.declared, book)
        await _apply(connection, applied, heads, since, until)
        await copy_rows(connection, build, applied.batch.encoded())
        await connection.execute(
            "UPDATE slice SET done = true WHERE build_id = %s AND number = %s", (build.id, number)
        )
    return True


async def _apply(
    connection: AsyncConnection[TupleRow],
    applied: Applied,
    heads: Mapping[str, int],
    since: str | None,
    until: str | None,
) -> None:
    """Fold a slice's orders."""
    suspects = []
    for shop_id, stream, history in await read_range(connection, heads, since, until):
        try:
            if history is not None:
                applied.add(shop_id, fold(stream.removeprefix(ORDER), history))
                continue
        except Exception as error:
            log.warning("%s of shop %s: %s", stream, shop_id, error)
        suspects.append((shop_id, stream))
    if suspects:
        await _suspects(connection, applied, heads, suspects)


async def _suspects(
    connection: AsyncConnection[TupleRow],
    applied: Applied,
    heads: Mapping[str, int],
    suspects: Sequence[tuple[str, str]],
) -> None:
    """Orders with which something seems wrong, event by event. What was discarded is passed over."""
    unreadable: dict[tuple[str, str], tuple[int, str]] = {}
    histories = await read_histories(connection, suspects, heads, unreadable)
    parked = await parking.waiting_of(connection, list(heads))
    for pair, history in histories.items():
        shop_id, stream = pair
        order_sn = stream.removeprefix(ORDER)
        waits = parked.get(pair)
        if waits and waits.state == "discarded":
            history = [recorded for recorded in history if recorded.position < waits.position]
            unreadable.pop(pair, None)
        broken = applied.add_history(shop_id, order_sn, history) or unreadable.get(pair)
        if broken:
            position, error = broken
            raise Poison(
                f"Order {order_sn} of shop {shop_id} can't be applied from position {position} on: {error}. "
                f"Put it right, or let it be discarded, and rebuild."
            )


# ---- from tables to a view --------------------------------------------------------------------------


async def _index(pool: Pool, build: Build) -> None:
    """Make keys and indexes, over two connections."""
    statements = builds.index_statements(build)

    async def make() -> None:
        async with pool.connection() as connection:
            while statements:
                statement = statements.pop(0)
                async with connection.transaction():
                    await connection.execute("SET LOCAL maintenance_work_mem = '256MB'")
                    await connection.execute("SET LOCAL max_parallel_maintenance_workers = 0")
                    await connection.execute(statement)

    await asyncio.gather(make(), make())


async def _finish_tables(connection: AsyncConnection[TupleRow], build: Build) -> None:
    """The tables are whole: let workers keep them current, unless they show something else than the present."""
    for view in build.declared:
        await connection.execute(builds.analyze_statement(view, build))
    cursor = await connection.execute(
        "SELECT shop_id, position FROM slice, unnest(shop_ids, up_to) AS s(shop_id, position) WHERE build_id = %s",
        (build.id,),
    )
    positions: dict[str, int] = dict(await cursor.fetchall())
    async with connection.transaction():
        await builds.begin_reading(connection, build, positions)
        await builds.set_state(connection, build, "verifying" if build.scope else "catching_up")


async def _tail(pool: Pool, connection: AsyncConnection[TupleRow], build: Build, book: RuleBook) -> None:
    """Work beside the live workers until the build has come as far as every log had when this began."""
    worker = Worker(pool, book)
    goals = await read_heads(connection)
    while await _behind(connection, build, goals):
        if not await worker.catch_up_once():
            await asyncio.sleep(POLL_SECONDS / 10)


async def _behind(connection: AsyncConnection[TupleRow], build: Build, goals: Mapping[str, int]) -> bool:
    cursor = await connection.execute("SELECT shop_id, position FROM checkpoint WHERE reader = %s", (build.reader,))
    stands: dict[str, int] = dict(await cursor.fetchall())
    return any(stands.get(shop, 0) < goal for shop, goal in goals.items())


async def prepare(
    pool: Pool, url: str, book: RuleBook, on_progress: Callable[[Progress], None] = lambda progress: None
) -> list[str]:
    """See to it that a build of this program's definition answers for every view; those that had none.

    In a new database they are empty; after an upgrade they are rebuilt from the log first.
    """
    async with pool.connection() as connection:
        lacking = await builds.missing(connection, book)
        if not lacking:
            return []
        build = await unfinished(connection, lacking, book) or await request(connection, lacking, book)
    while True:
        try:
            await run(pool, url, book, build.id, on_progress=on_progress)
        except CannotDo:  # another program is at it
            await asyncio.sleep(POLL_SECONDS)
            continue
        break
    async with pool.connection() as connection:
        if await builds.missing(connection, book):
            await builds.activate(connection, build.id, book)
    return [view.name for view in lacking]
