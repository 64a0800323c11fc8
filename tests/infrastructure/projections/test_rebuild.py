"""Rebuilding: the same as living it, in any slices, in the past and sideways, and whatever is killed."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
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
from tests.infrastructure.projections.built import (
    BOOK,
    LIVES,
    NO_ROWS,
    Step,
    active,
    build_of,
    equal_to_the_log,
    fold_here,
    folded,
    held,
    live,
    rebuilt,
)
from tests.orders import SHOP, done, on_database, order_sn, placed_and_formed, tell

ROOT = Path(__file__).parents[3]

_examples = count()

# ---- laws -------------------------------------------------------------------------------------------


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=LIVES, batch=st.integers(1, 7), size=st.integers(1, 7))
def test_a_rebuild_in_any_slices_equals_what_was_lived_in_any_batches(
    database_url: str, steps: list[Step], batch: int, size: int
) -> None:
    example = next(_examples)
    shops = [f"{example}-{n}" for n in range(3)]

    async def work(pool: Pool, path: CommandPath) -> None:
        worker = Worker(pool, BOOK, batch=batch)
        for n in range(0, len(steps), 5):
            await live(path, steps[n : n + 5], shops)
            await worker.catch_up_once()
        for shop in shops:
            await worker.catch_up(shop)
        build = await rebuilt(pool, database_url)
        assert build.state == "ready", build.error
        async with pool.connection() as connection:
            assert await held(connection, build) == await held(connection, await active(connection))
            await equal_to_the_log(connection)
            await builds.drop(connection, build.id)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slices, "SLICE_EVENTS", size)
        on_database(database_url, work)


def test_processes_of_their_own_give_what_one_gives(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        for shop, orders in (("small", 2), ("big", 30), ("also small", 1)):
            await placed_and_formed(path, orders, shop)
        monkeypatch.setattr(slices, "SLICE_EVENTS", 10)
        seen: list[Progress] = []
        async with pool.connection() as connection:
            build = await rebuild.request(connection, VIEWS, BOOK)
            found = await rebuild.run(pool, database_url, BOOK, build.id, processes=2, on_progress=seen.append)
            assert found.state == "ready"
            assert found.verified
            assert found.done == found.total == 66
            assert found.events_per_second
            assert [progress.done for progress in seen] == sorted(progress.done for progress in seen)
            monkeypatch.undo()
            at_once = await rebuilt(pool, database_url)
            assert await held(connection, at_once) == await held(connection, build)
            await equal_to_the_log(connection)

    on_database(database_url, work)


@pytest.mark.parametrize("size", [1, 2, 7, 25, 61])
def test_the_slices_have_every_order_once(database_url: str, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        for shop, orders in (("a", 1), ("b", 20), ("c", 4), ("d", 4), ("e", 2)):
            await placed_and_formed(path, orders, shop)
        monkeypatch.setattr(slices, "SLICE_EVENTS", size)
        build = await rebuilt(pool, database_url)
        assert build.state == "ready", build.error
        async with pool.connection() as connection:
            assert len((await held(connection, build))["orders"]) == 31
            cursor = await connection.execute("SELECT sum(events)::bigint FROM slice")
            assert await cursor.fetchone() == (build.total,) == (62,)

    on_database(database_url, work)


def test_a_slice_that_was_not_committed_is_done_again_once(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 5)
        async with pool.connection() as connection:
            build = await rebuild.request(connection, VIEWS, BOOK)

            def fold_and_lose() -> None:
                with psycopg.connect(database_url) as other, other.transaction(force_rollback=True):
                    assert slices.work_once(other, database_url, build, BOOK)

            await asyncio.to_thread(fold_and_lose)
            assert await held(connection, build) == NO_ROWS
            assert await slices.left(connection, build) == 1
            await fold_here(database_url, build)
            once = await held(connection, build)
            await fold_here(database_url, build)
            assert await held(connection, build) == once
            assert len(once["orders"]) == 5

    on_database(database_url, work)


def test_going_live_again_does_not_lead_a_build_back(database_url: str) -> None:
    """Who was killed right after a build went live lets it go live again; by then workers may have moved it."""

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        build = await rebuilt(pool, database_url)
        await placed_and_formed(path, 2, "new shop")
        await done(path, tell(order_sn(1), c.UploadTracking(carrier="SF", tracking_number="1")))
        for shop in (SHOP, "new shop"):
            await Worker(pool, BOOK).catch_up(shop)
        async with pool.connection() as connection:
            before = await held(connection, build)
            async with connection.transaction():
                await builds.begin_reading(connection, build, {SHOP: 6})
            for shop in (SHOP, "new shop"):
                await Worker(pool, BOOK).catch_up(shop)
            assert await held(connection, build) == before
            await equal_to_the_log(connection)

    on_database(database_url, work)


def test_what_happens_during_a_rebuild_is_in_it(database_url: str) -> None:
    """New orders, new shops, and more of orders that were folded already; no worker but the rebuild's own runs."""

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        async with pool.connection() as connection:
            build = await rebuild.request(connection, VIEWS, BOOK)
            await placed_and_formed(path, 2, "new while slices are folded")
            await fold_here(database_url, build)
            await placed_and_formed(path, 1, "new after the last slice")
            await done(path, tell(order_sn(1), c.UploadTracking(carrier="SF", tracking_number="1")))
            assert (await rebuild.run(pool, database_url, BOOK, build.id)).state == "ready"
            found = await held(connection, build)
            assert len(found["orders"]) == 6
            await equal_to_the_log(connection)
            await placed_and_formed(path, 1, "new after the rebuild")
            await Worker(pool, BOOK).catch_up("new after the rebuild")
            assert len((await held(connection, build))["orders"]) == 7
            await equal_to_the_log(connection)

    on_database(database_url, work)


def test_an_empty_log_is_rebuilt_in_no_time(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        build = await rebuilt(pool, database_url)
        assert build.state == "ready"
        assert build.verification
        assert (build.verification["orders"], build.total) == (0, 0)

    on_database(database_url, work)


# ---- past and sideways ------------------------------------------------------------------------------


def dearer_rules() -> tuple[str, RuleBook]:
    """The shipped rules with 7.77 yuan for a late shipment, as TOML and as a book."""
    shipped = (ROOT / "domain/rules/sets/pinduoduo-2023-01.toml").read_text()
    dearer = shipped.replace("flat_fen = 300", "flat_fen = 777")
    assert dearer != shipped
    return dearer, RuleBook.parse([dearer])


async def told_in_two_parts(path: CommandPath) -> datetime:
    """Some lives in two shops; the moment between their first part and their second."""
    await placed_and_formed(path, 3)
    await placed_and_formed(path, 2, "other")
    await done(path, tell(order_sn(0), c.RequestStockout(reason="oversold")))
    between = clock.now()
    await done(
        path,
        tell(order_sn(0), c.CompleteReview(outcome="approved")),
        tell(order_sn(1), c.UploadTracking(carrier="SF", tracking_number="1")),
        tell(order_sn(1), c.UploadTracking(carrier="SF", tracking_number="1"), "other"),
    )
    await placed_and_formed(path, 1, "third")
    return between


async def histories(connection: WriteConnection) -> Histories:
    """Of everything, by shop and stream."""
    cursor = await connection.execute("SELECT DISTINCT shop_id, stream FROM event")
    return await read_histories(connection, await cursor.fetchall())


@pytest.mark.parametrize("position", [1, 3, 5, 7, 9, 100])
def test_a_build_to_a_position_shows_one_shop_as_its_log_stood_there(database_url: str, position: int) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await told_in_two_parts(path)
        build = await rebuilt(pool, database_url, scope={"shop_id": SHOP, "to_position": position})
        assert build.state == "ready", build.error
        async with pool.connection() as connection:
            seen = {
                (shop, number): [recorded for recorded in history if recorded.position <= position]
                for (shop, number), history in (await histories(connection)).items()
                if shop == SHOP
            }
            expected = folded({pair: history for pair, history in seen.items() if history})
            assert await held(connection, build) == expected
            assert (await verify(connection, build, BOOK, sample=None)).differences == []

    on_database(database_url, work)


def test_a_build_of_a_moment_shows_what_was_known_then(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        between = await told_in_two_parts(path)
        build = await rebuilt(pool, database_url, scope={"known_at": between.isoformat()})
        assert build.state == "ready", build.error
        async with pool.connection() as connection:
            seen = {
                pair: visible(history, Viewpoint(known_at=between))
                for pair, history in (await histories(connection)).items()
            }
            assert seen["third", ORDER + order_sn(0)] == []
            expected = folded({pair: history for pair, history in seen.items() if history})
            assert await held(connection, build) == expected
            assert (await verify(connection, build, BOOK, sample=None)).differences == []

    on_database(database_url, work)


def test_a_build_before_anything_was_known_is_empty(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        before = clock.now()
        await placed_and_formed(path, 2)
        for scope in ({"known_at": before.isoformat()}, {"shop_id": "never heard of", "to_position": 3}):
            build = await rebuilt(pool, database_url, scope=scope)
            assert build.state == "ready"
            async with pool.connection() as connection:
                assert await held(connection, build) == NO_ROWS

    on_database(database_url, work)


def test_other_rules_change_the_violations_and_nothing_else(database_url: str) -> None:
    dearer, book = dearer_rules()

    async def work(pool: Pool, path: CommandPath) -> None:
        await told_in_two_parts(path)
        for shop in (SHOP, "other", "third"):
            await Worker(pool, BOOK).catch_up(shop)
        build = await rebuilt(pool, database_url, book=book, scope={"rules": dearer})
        assert build.state == "ready", build.error
        async with pool.connection() as connection:
            was = await held(connection, await active(connection))
            now = await held(connection, build)
            assert now["orders"] == was["orders"]
            assert now["deadlines"] == was["deadlines"]
            assert now == folded(await histories(connection), book)
            at = 2 + [column.name for column in VIOLATIONS.columns].index("penalty_fen")
            kind = 2 + [column.name for column in VIOLATIONS.columns].index("kind")
            late = [row for row in was["violations"] if row[kind] == "late_shipment"]
            assert late
            assert now["violations"] == [
                (*row[:at], 777, *row[at + 1 :]) if row[kind] == "late_shipment" else row
                for row in was["violations"]
            ]

    on_database(database_url, work)


def test_what_does_not_show_the_present_stays_as_it_is_and_never_answers(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        between = await told_in_two_parts(path)
        build = await rebuilt(pool, database_url, scope={"known_at": between.isoformat()})
        async with pool.connection() as connection:
            before = await held(connection, build)
            await placed_and_formed(path, 2, "later")
            for shop in (SHOP, "other", "third", "later"):
                await Worker(pool, BOOK).catch_up(shop)
            assert await held(connection, build) == before
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


class Moment(NamedTuple):
    """A moment of a rebuild to kill it at.

    It is held up there by something in the way, which is ``locked``, until ``reached``; or ``patch`` makes it
    stand still.
    """

    locked: str = ""
    reached: str = ""
    patch: str = ""


_WAITS = """
SELECT count(*) > 0 FROM pg_locks l JOIN pg_database d ON d.oid = l.database
WHERE NOT l.granted AND d.datname = current_database()
"""
_FOLDED_BUT_ONE = "SELECT count(*) = 1 FROM slice WHERE NOT done"

MOMENTS = {
    "while its first slices are written": Moment("LOCK TABLE order_list_{id} IN SHARE MODE", _WAITS),
    "with a slice left": Moment("SELECT FROM slice WHERE number = 2 FOR UPDATE", _FOLDED_BUT_ONE),
    "after the last slice": Moment(patch="builds.set_state = stand_still"),
    "while indexing": Moment("LOCK TABLE violation_list_{id} IN ROW EXCLUSIVE MODE", _WAITS),
    "between indexing and going live": Moment("SELECT pg_advisory_lock_shared({changing_live})", _WAITS),
    "while it goes live": Moment(patch="builds.set_state = but_in_transaction(stand_still)"),
    "while tailing": Moment(patch="rebuild._behind = stand_still"),
    "before it is verified": Moment(patch="rebuild.verify = stand_still"),
}


async def until(connection: WriteConnection, query: str) -> None:
    async with asyncio.timeout(60):
        while True:
            cursor = await connection.execute(query)
            if await cursor.fetchone() == (True,):
                return
            await asyncio.sleep(0.02)


@asynccontextmanager
async def running(url: str, build: Build, moment: Moment) -> AsyncIterator["subprocess.Popen[bytes]"]:
    """A program that works on a build and has come to this moment."""
    async with (
        await WriteConnection.connect(url, autocommit=True) as watching,
        await WriteConnection.connect(url) as in_the_way,
    ):
        if moment.locked:
            await in_the_way.execute(
                moment.locked.format(id=build.id, changing_live=builds._CHANGING_LIVE).encode()
            )
        code = RUN.replace("{patch}", moment.patch)
        command = [sys.executable, "-c", code, url, str(build.id)]
        process = await asyncio.to_thread(subprocess.Popen, command, cwd=ROOT, stdout=subprocess.PIPE)
        try:
            if moment.locked:
                await until(watching, moment.reached)
            else:
                assert process.stdout
                assert await asyncio.to_thread(process.stdout.readline) == b"there\n"
            yield process
        finally:
            process.kill()
            await asyncio.to_thread(process.wait)
            if process.stdout:
                process.stdout.close()


@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS)
def test_a_rebuild_killed_at_any_moment_is_gone_on_with(
    database_url: str, monkeypatch: pytest.MonkeyPatch, moment: Moment
) -> None:
    monkeypatch.setattr(slices, "SLICE_EVENTS", 10)

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 12)
        await placed_and_formed(path, 2, "small")
        async with pool.connection() as connection:
            build = await rebuild.request(connection, VIEWS, BOOK)
            await placed_and_formed(path, 2, "new")
            await done(path, tell(order_sn(1), c.UploadTracking(carrier="SF", tracking_number="1")))
            async with running(database_url, build, moment) as process:
                with pytest.raises(CannotDo, match="being worked on already"):
                    await rebuild.run(pool, database_url, BOOK, build.id)
                process.send_signal(signal.SIGKILL)
                assert await asyncio.to_thread(process.wait) == -signal.SIGKILL
            assert (await build_of(connection, build.id)).state not in ("ready", "failed")
            found = await rebuild.unfinished(connection, VIEWS, BOOK)
            assert found
            assert found.id == build.id
            progress = await gone_on_with(pool, database_url, build)
            assert progress.state == "ready", progress.error
            assert len((await held(connection, build))["orders"]) == 16
            for shop in (SHOP, "small", "new"):
                await Worker(pool, BOOK).catch_up(shop)
            await equal_to_the_log(connection)
            await builds.activate(connection, build.id, BOOK)

    on_database(database_url, work)


async def gone_on_with(pool: Pool, url: str, build: Build) -> Progress:
    """Run when the server has noticed that who worked on the build is gone."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await rebuild.run(pool, url, BOOK, build.id, processes=1)
            except CannotDo:
                await asyncio.sleep(0.02)


def test_a_process_that_dies_over_a_slice_is_replaced(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    started: asyncio.Queue[subprocess.Popen[bytes]] = asyncio.Queue()
    start = slices.start

    def starting(url: str, build: Build, book: RuleBook) -> "subprocess.Popen[bytes]":
        process = start(url, build, book)
        started.put_nowait(process)
        return process

    monkeypatch.setattr(slices, "start", starting)
    monkeypatch.setattr(slices, "SLICE_EVENTS", 5)

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 5)
        async with pool.connection() as connection:
            build = await rebuild.request(connection, VIEWS, BOOK)
            async with await WriteConnection.connect(database_url) as in_the_way:
                await in_the_way.execute(f"LOCK TABLE order_list_{build.id} IN SHARE MODE".encode())
                run = asyncio.create_task(rebuild.run(pool, database_url, BOOK, build.id, processes=2))
                await until(connection, _WAITS.replace("> 0", "= 2"))
                (await started.get()).kill()
                await asyncio.wait_for(started.get(), 60)
            assert (await run).state == "ready"
            await Worker(pool, BOOK).catch_up(SHOP)
            assert await held(connection, build) == await held(connection, await active(connection))

    on_database(database_url, work)


def test_processes_that_keep_dying_are_not_replaced_for_ever(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is anything left behind of the one that does get on, or would."""

    def start(url: str, build: Build, book: RuleBook) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(["false"])

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 2)
        async with pool.connection() as connection:
            monkeypatch.setattr(slices, "SLICE_EVENTS", 2)
            build = await rebuild.request(connection, VIEWS, BOOK)
            async with await WriteConnection.connect(database_url) as in_the_way:
                await in_the_way.execute(f"LOCK TABLE order_list_{build.id} IN SHARE MODE".encode())
                with monkeypatch.context() as patch:
                    patch.setattr(slices, "start", start)
                    with pytest.raises(CannotDo, match="keep dying"):
                        await rebuild.run(pool, database_url, BOOK, build.id, processes=2)
            await fold_here(database_url, build)
            assert (await rebuild.run(pool, database_url, BOOK, build.id)).state == "ready"

    on_database(database_url, work)


@pytest.mark.parametrize("step", ["_index", "_finish_tables", "_tail"])
def test_a_rebuild_that_lost_its_connections_is_gone_on_with(
    database_url: str, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The server ends every connection when a step has done its work, before anybody knows."""
    worked = getattr(rebuild, step)

    async def and_lose_all(*given: Any) -> None:
        await worked(*given)
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
            patch.setattr(rebuild, step, and_lose_all)
            with pytest.raises((psycopg.OperationalError, psycopg.InterfaceError)):
                await rebuild.run(pool, database_url, BOOK, build.id)
        await pool.check()
        assert (await rebuild.run(pool, database_url, BOOK, build.id)).state == "ready"
        async with pool.connection() as connection:
            for shop in (SHOP, "new"):
                await Worker(pool, BOOK).catch_up(shop)
            assert len((await held(connection, build))["orders"]) == 7
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


# ---- finding a rebuild again ------------------------------------------------------------------------


def test_only_a_rebuild_of_the_same_views_and_the_present_is_gone_on_with(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 1)
        async with pool.connection() as connection:
            assert await rebuild.unfinished(connection, VIEWS, BOOK) is None
            await rebuild.request(connection, VIEWS, BOOK, {"shop_id": SHOP, "to_position": 1})
            await rebuild.request(connection, [ORDERS], BOOK)
            assert await rebuild.unfinished(connection, VIEWS, BOOK) is None
            await rebuild.request(connection, VIEWS, BOOK)
            later = await rebuild.request(connection, VIEWS, BOOK)
            found = await rebuild.unfinished(connection, VIEWS, BOOK)
            assert found
            assert found.id == later.id
            assert await rebuild.unfinished(connection, [DEADLINES], BOOK) is None
            assert await rebuild.unfinished(connection, VIEWS, dearer_rules()[1]) is None

    on_database(database_url, work)


def test_preparing_builds_what_no_build_of_this_definition_answers_for(database_url: str) -> None:
    """After an upgrade: the view of another version is rebuilt and activated before the program serves."""

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        assert await rebuild.prepare(pool, database_url, BOOK) == []
        async with pool.connection() as connection:
            await Worker(pool, BOOK).catch_up(SHOP)
            before = await held(connection, await active(connection))
            head = await read_head(connection, SHOP)
            await connection.execute("UPDATE build SET definition = 'of an older program'")
            assert await builds.live(connection, BOOK) == []
            assert await rebuild.prepare(pool, database_url, BOOK) == [view.name for view in VIEWS]
            now = await active(connection)
            assert await held(connection, now) == before
            assert await builds.reached(connection, SHOP, "orders") == head
            assert await rebuild.prepare(pool, database_url, BOOK) == []

    on_database(database_url, work)
