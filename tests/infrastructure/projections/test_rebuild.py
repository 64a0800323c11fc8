"""Rebuilds give the rows that live workers give, in any slices, also of the past and under other rules, and
whichever process is killed."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.order import commands as c
from domain.rules.ruleset import RuleBook
from domain.viewpoint import Viewpoint, visible
from infrastructure.commands.committer import CommandPath
from infrastructure.database.pool import Pool, WriteConnection
from infrastructure.log.log import ORDER, Histories, read_head, read_histories
from infrastructure.projections import builds, rebuild, slices
from infrastructure.projections.builds import Build, CannotDo
from infrastructure.projections.rebuild import Progress
from infrastructure.projections.verification import verify
from infrastructure.projections.views import DEADLINES, ORDERS, VIEWS, VIOLATIONS
from infrastructure.projections.worker import Worker
from infrastructure.runtime import clock
from infrastructure.runtime.processes import Child, Send
from tests.infrastructure.projections.built import (
    BOOK,
    HISTORIES,
    NO_ROWS,
    Step,
    active,
    build_of,
    equal_to_the_log,
    fold_here,
    folded,
    rebuilt,
    rows_of,
    submit,
)
from tests.orders import SHOP, done, on_database, order_command, order_sn, placed_and_formed

ROOT = Path(__file__).parents[3]

_examples = count()

# ---- laws -------------------------------------------------------------------------------------------


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=HISTORIES, batch=st.integers(1, 7), size=st.integers(1, 7))
def test_a_rebuild_in_any_slices_equals_the_live_views_after_any_batches(
    database_url: str, steps: list[Step], batch: int, size: int
) -> None:
    example = next(_examples)
    shops = [f"{example}-{n}" for n in range(3)]

    async def work(pool: Pool, path: CommandPath) -> None:
        worker = Worker(pool, BOOK, batch=batch)
        for n in range(0, len(steps), 5):
            await submit(path, steps[n : n + 5], shops)
            await worker.catch_up_once()
        for shop in shops:
            await worker.catch_up(shop)
        build = await rebuilt(pool, database_url)
        assert build.state == "ready", build.error
        async with pool.connection() as connection:
            assert await rows_of(connection, build) == await rows_of(connection, await active(connection))
            await equal_to_the_log(connection)
            await builds.drop(connection, build.id)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slices, "SLICE_EVENTS", size)
        on_database(database_url, work)


def test_several_processes_give_the_same_rows_as_one(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        for shop, orders in (("small", 2), ("big", 30), ("also small", 1)):
            await placed_and_formed(path, orders, shop)
        monkeypatch.setattr(slices, "SLICE_EVENTS", 10)
        steps: list[Progress] = []
        async with pool.connection() as connection:
            build = await rebuild.request(connection, VIEWS, BOOK)
            progress = await rebuild.run(pool, database_url, BOOK, build.id, processes=2, on_progress=steps.append)
            assert progress.state == "ready"
            assert progress.verified
            assert progress.done == progress.total == 66
            assert progress.events_per_second
            assert [step.done for step in steps] == sorted(step.done for step in steps)
            monkeypatch.undo()
            by_one = await rebuilt(pool, database_url)
            assert await rows_of(connection, by_one) == await rows_of(connection, build)
            await equal_to_the_log(connection)

    on_database(database_url, work)


@pytest.mark.parametrize("size", [1, 2, 7, 25, 61])
def test_every_order_is_in_exactly_one_slice(database_url: str, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        for shop, orders in (("a", 1), ("b", 20), ("c", 4), ("d", 4), ("e", 2)):
            await placed_and_formed(path, orders, shop)
        monkeypatch.setattr(slices, "SLICE_EVENTS", size)
        build = await rebuilt(pool, database_url)
        assert build.state == "ready", build.error
        async with pool.connection() as connection:
            assert len((await rows_of(connection, build))["orders"]) == 31
            cursor = await connection.execute("SELECT sum(events)::bigint FROM slice")
            assert await cursor.fetchone() == (build.total,) == (62,)

    on_database(database_url, work)


def test_a_slice_that_was_not_committed_is_done_once_more(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 5)
        async with pool.connection() as connection:
            build = await rebuild.request(connection, VIEWS, BOOK)

            def fold_and_lose() -> None:
                with psycopg.connect(database_url) as other, other.transaction(force_rollback=True):
                    assert slices.work_once(other, database_url, build, BOOK)

            await asyncio.to_thread(fold_and_lose)
            assert await rows_of(connection, build) == NO_ROWS
            assert await slices.remaining(connection, build) == 1
            await fold_here(database_url, build)
            once = await rows_of(connection, build)
            await fold_here(database_url, build)
            assert await rows_of(connection, build) == once
            assert len(once["orders"]) == 5

    on_database(database_url, work)


def test_making_a_build_live_again_does_not_set_its_positions_back(database_url: str) -> None:
    """If a program is killed right after a build went live, the next makes it live again. Meanwhile workers may
    have moved its positions."""

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        build = await rebuilt(pool, database_url)
        await placed_and_formed(path, 2, "new shop")
        await done(path, order_command(order_sn(1), c.UploadTracking(carrier="SF", tracking_number="1")))
        for shop in (SHOP, "new shop"):
            await Worker(pool, BOOK).catch_up(shop)
        async with pool.connection() as connection:
            before = await rows_of(connection, build)
            async with connection.transaction():
                await builds.begin_reading(connection, build, {SHOP: 6})
            for shop in (SHOP, "new shop"):
                await Worker(pool, BOOK).catch_up(shop)
            assert await rows_of(connection, build) == before
            await equal_to_the_log(connection)

    on_database(database_url, work)


def test_events_that_come_during_a_rebuild_are_in_it(database_url: str) -> None:
    """There are new orders, new shops, and events of orders that were folded already. Only the rebuild's own worker
    runs."""

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        async with pool.connection() as connection:
            build = await rebuild.request(connection, VIEWS, BOOK)
            await placed_and_formed(path, 2, "new while slices are folded")
            await fold_here(database_url, build)
            await placed_and_formed(path, 1, "new after the last slice")
            await done(path, order_command(order_sn(1), c.UploadTracking(carrier="SF", tracking_number="1")))
            assert (await rebuild.run(pool, database_url, BOOK, build.id)).state == "ready"
            rows = await rows_of(connection, build)
            assert len(rows["orders"]) == 6
            await equal_to_the_log(connection)
            await placed_and_formed(path, 1, "new after the rebuild")
            await Worker(pool, BOOK).catch_up("new after the rebuild")
            assert len((await rows_of(connection, build))["orders"]) == 7
            await equal_to_the_log(connection)

    on_database(database_url, work)


def test_an_empty_log_gives_an_empty_build(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        build = await rebuilt(pool, database_url)
        assert build.state == "ready"
        assert build.verification
        assert (build.verification["orders"], build.total) == (0, 0)

    on_database(database_url, work)


# ---- of the past, and under other rules -------------------------------------------------------------


def dearer_rules() -> tuple[str, RuleBook]:
    """The shipped rules with 7.77 yuan for a late shipment, as TOML and as a book."""
    shipped = (ROOT / "domain/rules/sets/pinduoduo-2023-01.toml").read_text()
    dearer = shipped.replace("flat_fen = 300", "flat_fen = 777")
    assert dearer != shipped
    return dearer, RuleBook.parse([dearer])


async def history_in_two_parts(path: CommandPath) -> datetime:
    """Submit commands in three shops, in two parts. Returns a time between the parts."""
    await placed_and_formed(path, 3)
    await placed_and_formed(path, 2, "other")
    await done(path, order_command(order_sn(0), c.RequestStockout(reason="oversold")))
    between = clock.now()
    await done(
        path,
        order_command(order_sn(0), c.CompleteReview(outcome="approved")),
        order_command(order_sn(1), c.UploadTracking(carrier="SF", tracking_number="1")),
        order_command(order_sn(1), c.UploadTracking(carrier="SF", tracking_number="1"), "other"),
    )
    await placed_and_formed(path, 1, "third")
    return between


async def histories(connection: WriteConnection) -> Histories:
    """The histories of all streams, by shop and stream."""
    cursor = await connection.execute("SELECT DISTINCT shop_id, stream FROM event")
    return await read_histories(connection, await cursor.fetchall())


@pytest.mark.parametrize("position", [1, 3, 5, 7, 9, 100])
def test_a_build_up_to_a_position_shows_one_shop_as_of_that_position(database_url: str, position: int) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await history_in_two_parts(path)
        build = await rebuilt(pool, database_url, scope={"shop_id": SHOP, "to_position": position})
        assert build.state == "ready", build.error
        async with pool.connection() as connection:
            up_to_position = {
                (shop, number): [recorded for recorded in history if recorded.position <= position]
                for (shop, number), history in (await histories(connection)).items()
                if shop == SHOP
            }
            expected = folded({pair: history for pair, history in up_to_position.items() if history})
            assert await rows_of(connection, build) == expected
            assert (await verify(connection, build, BOOK, sample=None)).differences == []

    on_database(database_url, work)


def test_a_build_known_at_a_time_shows_what_was_recorded_by_then(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        between = await history_in_two_parts(path)
        build = await rebuilt(pool, database_url, scope={"known_at": between.isoformat()})
        assert build.state == "ready", build.error
        async with pool.connection() as connection:
            known_then = {
                pair: visible(history, Viewpoint(known_at=between))
                for pair, history in (await histories(connection)).items()
            }
            assert known_then["third", ORDER + order_sn(0)] == []
            expected = folded({pair: history for pair, history in known_then.items() if history})
            assert await rows_of(connection, build) == expected
            assert (await verify(connection, build, BOOK, sample=None)).differences == []

    on_database(database_url, work)


def test_a_build_known_at_a_time_before_all_events_is_empty(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        before = clock.now()
        await placed_and_formed(path, 2)
        for scope in ({"known_at": before.isoformat()}, {"shop_id": "unknown", "to_position": 3}):
            build = await rebuilt(pool, database_url, scope=scope)
            assert build.state == "ready"
            async with pool.connection() as connection:
                assert await rows_of(connection, build) == NO_ROWS

    on_database(database_url, work)


def test_other_rules_change_only_the_violations(database_url: str) -> None:
    dearer, book = dearer_rules()

    async def work(pool: Pool, path: CommandPath) -> None:
        await history_in_two_parts(path)
        for shop in (SHOP, "other", "third"):
            await Worker(pool, BOOK).catch_up(shop)
        build = await rebuilt(pool, database_url, book=book, scope={"rules": dearer})
        assert build.state == "ready", build.error
        async with pool.connection() as connection:
            before = await rows_of(connection, await active(connection))
            after = await rows_of(connection, build)
            assert after["orders"] == before["orders"]
            assert after["deadlines"] == before["deadlines"]
            assert after == folded(await histories(connection), book)
            n = 2 + [column.name for column in VIOLATIONS.columns].index("penalty_fen")
            kind = 2 + [column.name for column in VIOLATIONS.columns].index("kind")
            late = [row for row in before["violations"] if row[kind] == "late_shipment"]
            assert late
            assert after["violations"] == [
                (*row[:n], 777, *row[n + 1 :]) if row[kind] == "late_shipment" else row
                for row in before["violations"]
            ]

    on_database(database_url, work)


def test_a_build_of_the_past_never_changes_and_is_never_activated(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        between = await history_in_two_parts(path)
        build = await rebuilt(pool, database_url, scope={"known_at": between.isoformat()})
        async with pool.connection() as connection:
            before = await rows_of(connection, build)
            await placed_and_formed(path, 2, "later")
            for shop in (SHOP, "other", "third", "later"):
                await Worker(pool, BOOK).catch_up(shop)
            assert await rows_of(connection, build) == before
            assert not (await build_of(connection, build.id)).live
            with pytest.raises(CannotDo, match="does not show the present"):
                await builds.activate(connection, build.id, BOOK)
            assert await builds.latest_ready(connection, "orders") is None

    on_database(database_url, work)


# ---- crashes ----------------------------------------------------------------------------------------

RUN = """
import asyncio, sys
from psycopg.pq import TransactionStatus
from infrastructure.database.pool import connection_pool
from infrastructure.projections import builds, rebuild, slices
from infrastructure.runtime.rule_sets import shipped_rules

async def stand_still(*_, **__):
    print("there", flush=True)
    await asyncio.Event().wait()

def but_in_transaction(there):
    set_state = builds.set_state
    async def stop(connection, *rest, **more):
        await set_state(connection, *rest, **more)
        if connection.info.transaction_status == TransactionStatus.INTRANS:
            await there()
    return stop

async def main(url, build_id):
    async with connection_pool(url, size=6) as pool:
        await rebuild.run(pool, url, shipped_rules(), build_id, processes=2)

{patch}
asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


class Stop(NamedTuple):
    """A point of a rebuild at which to kill it.

    The statement ``locked`` blocks the rebuild there, and the query ``reached`` tells when it is there. Or
    ``patch`` makes the program stand still.
    """

    locked: str = ""
    reached: str = ""
    patch: str = ""


_WAITS = """
SELECT count(*) > 0 FROM pg_locks l JOIN pg_database d ON d.oid = l.database
WHERE NOT l.granted AND d.datname = current_database()
"""
_FOLDED_BUT_ONE = "SELECT count(*) = 1 FROM slice WHERE NOT done"

STOPS = {
    "while its first slices are written": Stop("LOCK TABLE order_list_{id} IN SHARE MODE", _WAITS),
    "with a slice left": Stop("SELECT FROM slice WHERE number = 2 FOR UPDATE", _FOLDED_BUT_ONE),
    "after the last slice": Stop(patch="builds.set_state = stand_still"),
    "while indexing": Stop("LOCK TABLE violation_list_{id} IN ROW EXCLUSIVE MODE", _WAITS),
    "between indexing and going live": Stop("SELECT pg_advisory_lock_shared({changing_live})", _WAITS),
    "while it goes live": Stop(patch="builds.set_state = but_in_transaction(stand_still)"),
    "while tailing": Stop(patch="rebuild._behind = stand_still"),
    "before it is verified": Stop(patch="rebuild.verify = stand_still"),
}


async def until(connection: WriteConnection, query: str) -> None:
    async with asyncio.timeout(60):
        while True:
            cursor = await connection.execute(query)
            if await cursor.fetchone() == (True,):
                return
            await asyncio.sleep(0.02)


@asynccontextmanager
async def running(url: str, build: Build, stop: Stop) -> AsyncIterator["subprocess.Popen[bytes]"]:
    """A program that works on a build and has come to this point."""
    async with (
        await WriteConnection.connect(url, autocommit=True) as watching,
        await WriteConnection.connect(url) as blocker,
    ):
        if stop.locked:
            await blocker.execute(stop.locked.format(id=build.id, changing_live=builds._CHANGING_LIVE).encode())
        code = RUN.replace("{patch}", stop.patch)
        command = [sys.executable, "-c", code, url, str(build.id)]
        process = await asyncio.to_thread(subprocess.Popen, command, cwd=ROOT, stdout=subprocess.PIPE)
        try:
            if stop.locked:
                await until(watching, stop.reached)
            else:
                assert process.stdout
                assert await asyncio.to_thread(process.stdout.readline) == b"there\n"
            yield process
        finally:
            process.kill()
            await asyncio.to_thread(process.wait)
            if process.stdout:
                process.stdout.close()


@pytest.mark.parametrize("stop", STOPS.values(), ids=STOPS)
def test_a_rebuild_that_is_killed_at_any_point_is_resumed(
    database_url: str, monkeypatch: pytest.MonkeyPatch, stop: Stop
) -> None:
    monkeypatch.setattr(slices, "SLICE_EVENTS", 10)

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 12)
        await placed_and_formed(path, 2, "small")
        async with pool.connection() as connection:
            build = await rebuild.request(connection, VIEWS, BOOK)
            await placed_and_formed(path, 2, "new")
            await done(path, order_command(order_sn(1), c.UploadTracking(carrier="SF", tracking_number="1")))
            async with running(database_url, build, stop) as process:
                with pytest.raises(CannotDo, match="being worked on already"):
                    await rebuild.run(pool, database_url, BOOK, build.id)
                process.send_signal(signal.SIGKILL)
                assert await asyncio.to_thread(process.wait) == -signal.SIGKILL
            assert (await build_of(connection, build.id)).state not in ("ready", "failed")
            unfinished = await rebuild.unfinished(connection, VIEWS, BOOK)
            assert unfinished
            assert unfinished.id == build.id
            progress = await resumed(pool, database_url, build)
            assert progress.state == "ready", progress.error
            assert len((await rows_of(connection, build))["orders"]) == 16
            for shop in (SHOP, "small", "new"):
                await Worker(pool, BOOK).catch_up(shop)
            await equal_to_the_log(connection)
            await builds.activate(connection, build.id, BOOK)

    on_database(database_url, work)


async def resumed(pool: Pool, url: str, build: Build) -> Progress:
    """Run the build as soon as the server has noticed that the killed program is gone."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await rebuild.run(pool, url, BOOK, build.id, processes=1)
            except CannotDo:
                await asyncio.sleep(0.02)


def test_a_process_that_dies_over_a_slice_is_replaced(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    started: asyncio.Queue[Child] = asyncio.Queue()
    start = slices.start

    def starting(url: str, build: Build, book: RuleBook) -> Child:
        process = start(url, build, book)
        started.put_nowait(process)
        return process

    monkeypatch.setattr(slices, "start", starting)
    monkeypatch.setattr(slices, "SLICE_EVENTS", 5)

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 5)
        async with pool.connection() as connection:
            build = await rebuild.request(connection, VIEWS, BOOK)
            async with await WriteConnection.connect(database_url) as blocker:
                await blocker.execute(f"LOCK TABLE order_list_{build.id} IN SHARE MODE".encode())
                run = asyncio.create_task(rebuild.run(pool, database_url, BOOK, build.id, processes=2))
                await until(connection, _WAITS.replace("> 0", "= 2"))
                (await started.get()).kill()
                await asyncio.wait_for(started.get(), 60)
            assert (await run).state == "ready"
            await Worker(pool, BOOK).catch_up(SHOP)
            assert await rows_of(connection, build) == await rows_of(connection, await active(connection))

    on_database(database_url, work)


def fails(requests: Iterator[Any], send: Send) -> None:
    raise ArithmeticError("it does not add up")


def test_a_rebuild_fails_when_its_processes_keep_dying(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread of this process that folds a slice meanwhile leaves nothing behind."""

    def start(url: str, build: Build, book: RuleBook) -> Child:
        return Child(fails, None)

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 2)
        async with pool.connection() as connection:
            monkeypatch.setattr(slices, "SLICE_EVENTS", 2)
            build = await rebuild.request(connection, VIEWS, BOOK)
            async with await WriteConnection.connect(database_url) as blocker:
                await blocker.execute(f"LOCK TABLE order_list_{build.id} IN SHARE MODE".encode())
                with monkeypatch.context() as patch:
                    patch.setattr(slices, "start", start)
                    with pytest.raises(CannotDo, match="keep dying"):
                        await rebuild.run(pool, database_url, BOOK, build.id, processes=2)
            await fold_here(database_url, build)
            assert (await rebuild.run(pool, database_url, BOOK, build.id)).state == "ready"

    on_database(database_url, work)


@pytest.mark.parametrize("step", ["_index", "_finish_tables", "_tail"])
def test_a_rebuild_that_lost_its_connections_is_resumed(
    database_url: str, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The server closes every connection when a step has done its work, before the program knows."""
    do_step = getattr(rebuild, step)

    async def do_step_and_disconnect(*arguments: Any) -> None:
        await do_step(*arguments)
        async with await WriteConnection.connect(database_url, autocommit=True) as other:
            await other.execute(
                """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                   WHERE datname = current_database() AND pid <> pg_backend_pid()"""
            )

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 5)
        async with pool.connection() as connection:
            build = await rebuild.request(connection, VIEWS, BOOK)
        await fold_here(database_url, build)
        await placed_and_formed(path, 2, "new")
        with monkeypatch.context() as patch:
            patch.setattr(rebuild, step, do_step_and_disconnect)
            with pytest.raises((psycopg.OperationalError, psycopg.InterfaceError)):
                await rebuild.run(pool, database_url, BOOK, build.id)
        await pool.check()
        assert (await rebuild.run(pool, database_url, BOOK, build.id)).state == "ready"
        async with pool.connection() as connection:
            for shop in (SHOP, "new"):
                await Worker(pool, BOOK).catch_up(shop)
            assert len((await rows_of(connection, build))["orders"]) == 7
            await equal_to_the_log(connection)

    on_database(database_url, work)


def test_a_build_that_was_dropped_meanwhile_is_not_worked_on(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 1)
        async with pool.connection() as connection:
            build = await rebuild.request(connection, VIEWS, BOOK)
            await builds.drop(connection, build.id)
        with pytest.raises(CannotDo, match=f"no build {build.id}"):
            await rebuild.run(pool, database_url, BOOK, build.id)

    on_database(database_url, work)


# ---- which rebuild is resumed -----------------------------------------------------------------------


def test_only_a_rebuild_of_the_same_views_and_the_present_is_resumed(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 1)
        async with pool.connection() as connection:
            assert await rebuild.unfinished(connection, VIEWS, BOOK) is None
            await rebuild.request(connection, VIEWS, BOOK, {"shop_id": SHOP, "to_position": 1})
            await rebuild.request(connection, [ORDERS], BOOK)
            assert await rebuild.unfinished(connection, VIEWS, BOOK) is None
            await rebuild.request(connection, VIEWS, BOOK)
            later = await rebuild.request(connection, VIEWS, BOOK)
            unfinished = await rebuild.unfinished(connection, VIEWS, BOOK)
            assert unfinished
            assert unfinished.id == later.id
            assert await rebuild.unfinished(connection, [DEADLINES], BOOK) is None
            assert await rebuild.unfinished(connection, VIEWS, dearer_rules()[1]) is None

    on_database(database_url, work)


def test_preparing_rebuilds_views_whose_active_build_has_another_definition(database_url: str) -> None:
    """So after an upgrade, views of another version are rebuilt and activated before the program serves."""

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        assert await rebuild.prepare(pool, database_url, BOOK) == []
        async with pool.connection() as connection:
            await Worker(pool, BOOK).catch_up(SHOP)
            before = await rows_of(connection, await active(connection))
            head = await read_head(connection, SHOP)
            await connection.execute("UPDATE build SET definition = 'of an older program'")
            assert await builds.live(connection, BOOK) == []
            assert await rebuild.prepare(pool, database_url, BOOK) == [view.name for view in VIEWS]
            now = await active(connection)
            assert await rows_of(connection, now) == before
            assert await builds.reached(connection, SHOP, "orders") == head
            assert await rebuild.prepare(pool, database_url, BOOK) == []

    on_database(database_url, work)
