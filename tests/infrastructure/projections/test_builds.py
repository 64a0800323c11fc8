"""Builds: which one is active, activating another and going back, while writers and readers go on."""

import asyncio
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from domain.order import commands as c
from domain.rules.ruleset import RuleBook, RuleSet
from infrastructure.commands.committer import CommandPath
from infrastructure.database.pool import Pool, WriteConnection
from infrastructure.log.log import read_heads
from infrastructure.projections import builds, rebuild
from infrastructure.projections.builds import Build, BuildState, CannotDo
from infrastructure.projections.views import ORDERS, VIEWS, VIOLATIONS
from infrastructure.projections.worker import Worker
from infrastructure.runtime import clock
from tests.infrastructure.projections.built import (
    BOOK,
    active,
    build_of,
    equal_to_the_log,
    fold_here,
    rebuilt,
    rows,
    rows_of,
)
from tests.orders import done, on_database, order_command, order_sn, placed_and_formed

ROOT = Path(__file__).parents[3]


async def shown(connection: WriteConnection, name: str) -> list[str]:
    """The tables that the SQL view of a name shows."""
    cursor = await connection.execute(
        "SELECT table_name FROM information_schema.view_table_usage WHERE view_name = %s", (name,)
    )
    return [table for (table,) in await cursor.fetchall()]


async def catch_up(pool: Pool) -> None:
    async with pool.connection() as connection:
        shops = list(await read_heads(connection))
    for shop in shops:
        await Worker(pool, BOOK).catch_up(shop)


# ---- from one build to another ----------------------------------------------------------------------


def test_queries_read_the_active_build(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        await catch_up(pool)
        build = await rebuilt(pool, database_url)
        async with pool.connection() as connection:
            before = await active(connection)
            assert await shown(connection, "order_list") == [f"order_list_{before.id}"]
            await builds.activate(connection, build.id, BOOK)
            assert await active(connection) == build
            for view in VIEWS:
                assert await shown(connection, view.table) == [f"{view.table}_{build.id}"]
                assert (await builds.actives(connection))[view.name] == (view.name, build.id, before.id)
            assert await rows(connection) == await rows_of(connection, before)

    on_database(database_url, work)


def test_the_previous_build_stays_current_so_a_rollback_shows_the_present_at_once(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        build = await rebuilt(pool, database_url)
        async with pool.connection() as connection:
            before = await active(connection)
            await builds.activate(connection, build.id, BOOK)
            await placed_and_formed(path, 2, "new shop")
            await done(path, order_command(order_sn(1), c.RequestStockout(reason="oversold")))
            await catch_up(pool)
            expected = await rows(connection)
            assert await builds.roll_back(connection, "orders", BOOK) == before.id
            assert await shown(connection, "order_list") == [f"order_list_{before.id}"]
            assert await shown(connection, "violation_list") == [f"violation_list_{build.id}"]
            assert await rows(connection) == expected
            assert len((await rows(connection, "new shop"))["orders"]) == 2
            assert await builds.roll_back(connection, "orders", BOOK) == build.id
            assert await rows(connection) == expected
            await equal_to_the_log(connection)

    on_database(database_url, work)


def test_a_build_that_is_neither_active_nor_previous_is_no_longer_live(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 2)
        async with pool.connection() as connection:
            first = await active(connection)
            second = await rebuilt(pool, database_url)
            third = await rebuilt(pool, database_url)
            await builds.activate(connection, second.id, BOOK)
            assert await live_ids(connection) == [first.id, second.id, third.id]
            await builds.activate(connection, third.id, BOOK)
            assert await live_ids(connection) == [second.id, third.id]
            before = await rows_of(connection, first)
            await placed_and_formed(path, 1, "new shop")
            await catch_up(pool)
            assert await rows_of(connection, first) == before
            with pytest.raises(CannotDo, match=r"no longer kept current\. Rebuild orders and deadlines"):
                await builds.activate(connection, first.id, BOOK)
            await builds.drop(connection, first.id)
            assert await builds.roll_back(connection, "violations", BOOK) == second.id

    on_database(database_url, work)


async def live_ids(connection: WriteConnection) -> list[int]:
    return [build.id for build in await builds.live(connection, BOOK)]


def test_a_build_that_is_active_for_one_view_stays_live(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 2)
        async with pool.connection() as connection:
            first = await active(connection)
            for _ in range(2):
                only_violations = await rebuilt(pool, database_url, [VIOLATIONS])
                await builds.activate(connection, only_violations.id, BOOK)
            assert first.id in await live_ids(connection)
            await done(path, order_command(order_sn(1), c.RequestStockout(reason="oversold")))
            await catch_up(pool)
            await equal_to_the_log(connection)

    on_database(database_url, work)


def test_the_latest_ready_build_is_the_one_to_activate(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 2)
        async with pool.connection() as connection:
            assert await builds.latest_ready(connection, "violations") is None
            await rebuilt(pool, database_url, [ORDERS])
            assert await builds.latest_ready(connection, "violations") is None
            await rebuilt(pool, database_url)
            latest = await rebuilt(pool, database_url)
            await rebuild.request(connection, VIEWS, BOOK)
            assert await builds.latest_ready(connection, "violations") == latest
            await catch_up(pool)
            await builds.activate(connection, latest.id, BOOK)
            assert await builds.latest_ready(connection, "violations") is None
            await builds.roll_back(connection, "violations", BOOK)
            assert await builds.latest_ready(connection, "violations") is None

    on_database(database_url, work)


# ---- refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["building", "indexing", "catching_up", "verifying", "failed"])
def test_only_a_ready_build_is_activated(database_url: str, state: BuildState) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        build = await rebuilt(pool, database_url)
        async with pool.connection() as connection:
            await builds.set_state(connection, build, state, error="This is why.")
            with pytest.raises(CannotDo, match=rf"{build.id} is {state} \(This is why.\), not ready"):
                await builds.activate(connection, build.id, BOOK)
            assert (await active(connection)).id != build.id

    on_database(database_url, work)


def test_impossible_operations_are_refused_with_a_reason(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        async with pool.connection() as connection:
            first = await active(connection)
            with pytest.raises(CannotDo, match="no build 999"):
                await builds.activate(connection, 999, BOOK)
            with pytest.raises(CannotDo, match="no build 999"):
                await builds.drop(connection, 999)
            with pytest.raises(CannotDo, match=f"{first.id} is active already"):
                await builds.activate(connection, first.id, BOOK)
            with pytest.raises(CannotDo, match="no earlier build of orders"):
                await builds.roll_back(connection, "orders", BOOK)
            with pytest.raises(CannotDo, match="no earlier build of unheard"):
                await builds.roll_back(connection, "unheard", BOOK)
            with pytest.raises(CannotDo, match=f"{first.id} is active for"):
                await builds.drop(connection, first.id)
            assert await active(connection) == first
            assert await live_ids(connection) == [first.id]

    on_database(database_url, work)


def test_a_build_that_this_program_would_not_write_can_not_be_activated(database_url: str) -> None:
    """A build of an older version of a view, or of other rules, would fall behind: no worker keeps it current."""
    book = RuleBook.parse(
        [(ROOT / "domain/rules/sets/pinduoduo-2023-01.toml").read_text().replace("flat_fen = 300", "flat_fen = 7")]
    )

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 2)
        build = await rebuilt(pool, database_url)
        async with pool.connection() as connection:
            with pytest.raises(CannotDo, match=r"which this program does not write.*Rebuild orders"):
                await builds.activate(connection, build.id, book)
            assert await builds.live(connection, book) == []
            await builds.activate(connection, build.id, BOOK)
            with pytest.raises(CannotDo, match=r"which this program does not write.*Rebuild orders"):
                await builds.roll_back(connection, "orders", book)
            assert [view.name for view in await builds.missing(connection, book)] == [view.name for view in VIEWS]
            assert await builds.missing(connection, BOOK) == []

    on_database(database_url, work)


def test_a_build_that_is_behind_the_active_one_can_not_be_activated(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 2)
        await catch_up(pool)
        build = await rebuilt(pool, database_url)
        async with pool.connection() as connection:
            await connection.execute("UPDATE checkpoint SET position = 3 WHERE reader = %s", (build.reader,))
            with pytest.raises(CannotDo, match="not caught up"):
                await builds.activate(connection, build.id, BOOK)
            assert (await active(connection)).id != build.id
            await catch_up(pool)
            await builds.activate(connection, build.id, BOOK)
            await equal_to_the_log(connection)

    on_database(database_url, work)


# ---- dropping ---------------------------------------------------------------------------------------


async def traces(connection: WriteConnection, build: Build) -> list[Any]:
    """The tables, indexes and rows of a build that the database still has."""
    cursor = await connection.execute(
        r"""SELECT tablename::text FROM pg_tables WHERE tablename LIKE '%%\_list\_' || %(id)s
            UNION ALL SELECT indexname::text FROM pg_indexes WHERE indexname LIKE '%%\_list\_' || %(id)s || '\_%%'
            UNION ALL SELECT 'build' FROM build WHERE id = %(id)s
            UNION ALL SELECT 'slice' FROM slice WHERE build_id = %(id)s
            UNION ALL SELECT reader FROM checkpoint WHERE reader = 'build:' || %(id)s""",
        {"id": build.id},
    )
    return [trace for (trace,) in await cursor.fetchall()]


def test_nothing_is_left_of_a_build_that_was_dropped_and_the_others_go_on(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 2)
        async with pool.connection() as connection:
            first = await active(connection)
            build = await rebuilt(pool, database_url)
            await builds.activate(connection, build.id, BOOK)
            assert len(await traces(connection, first)) > 5
            await builds.drop(connection, first.id)
            assert await traces(connection, first) == []
            with pytest.raises(CannotDo, match="no earlier build"):
                await builds.roll_back(connection, "orders", BOOK)
            await placed_and_formed(path, 2, "new shop")
            await catch_up(pool)
            await equal_to_the_log(connection)

    on_database(database_url, work)


def test_a_build_can_be_dropped_before_it_is_finished(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 2)
        async with pool.connection() as connection:
            build = await rebuild.request(connection, VIEWS, BOOK)
            await fold_here(database_url, build)
            await builds.drop(connection, build.id)
            assert await traces(connection, build) == []

    on_database(database_url, work)


def test_a_long_read_delays_a_drop_and_nothing_else(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builds, "_TRIES", 2)

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 2)
        async with pool.connection() as connection, pool.connection() as reader:
            first = await active(connection)
            build = await rebuilt(pool, database_url)
            await builds.activate(connection, build.id, BOOK)
            async with reader.transaction():
                await reader.execute(sql.SQL("SELECT count(*) FROM {}").format(builds.table_of(ORDERS, first.id)))
                with pytest.raises(CannotDo, match=f"Build {first.id} is being read"):
                    await builds.drop(connection, first.id)
                await placed_and_formed(path, 1, "meanwhile")
                await catch_up(pool)
                assert len((await rows(connection, "meanwhile"))["orders"]) == 1
            await builds.drop(connection, first.id)
            assert await traces(connection, first) == []

    on_database(database_url, work)


# ---- while everybody goes on ------------------------------------------------------------------------


def test_a_long_read_delays_an_activation_and_nothing_else(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builds, "_TRIES", 2)

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 2)
        build = await rebuilt(pool, database_url)
        async with pool.connection() as connection, pool.connection() as reader:
            before = await builds.actives(connection)
            async with reader.transaction():
                await rows(reader)
                with pytest.raises(CannotDo, match="being read without a pause"):
                    await builds.activate(connection, build.id, BOOK)
                assert await builds.actives(connection) == before
                await placed_and_formed(path, 1, "meanwhile")
                await catch_up(pool)
                assert len((await rows(connection, "meanwhile"))["orders"]) == 1
            await builds.activate(connection, build.id, BOOK)
            assert await active(connection) == build
            await equal_to_the_log(connection)

    on_database(database_url, work)


def test_an_activation_waits_for_a_short_read(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 2)
        build = await rebuilt(pool, database_url)
        async with pool.connection() as connection, pool.connection() as reader, pool.connection() as watching:
            async with reader.transaction():
                await rows(reader)
                activation = asyncio.create_task(builds.activate(connection, build.id, BOOK))
                await until_something_waits(watching)
                assert not activation.done()
            await activation
            assert await active(watching) == build

    on_database(database_url, work)


async def until_something_waits(connection: WriteConnection) -> None:
    """Wait until a transaction waits for a lock in this database."""
    async with asyncio.timeout(60):
        while True:
            cursor = await connection.execute(
                """SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                   WHERE NOT l.granted AND d.datname = current_database()"""
            )
            if await cursor.fetchone() is not None:
                return
            await asyncio.sleep(0.005)


class Load:
    """Writers and readers at full speed until ``stop``. ``counts`` are the numbers of orders that readers saw."""

    def __init__(self, pool: Pool, path: CommandPath) -> None:
        self._pool = pool
        self._path = path
        self._stopped = asyncio.Event()
        self._round_done = asyncio.Condition()
        self._rounds = 0
        self.counts: list[int] = []

    async def write(self, writer: int) -> None:
        """Place orders and submit later commands in an old shop, and every few rounds in a new one."""
        n = 0
        while not self._stopped.is_set():
            shop = f"old-{writer}" if n % 4 else f"new-{writer}-{n}"
            place = c.Place(lines=(c.OrderedLine("1", "1", "泰国金枕榴莲", 1, 100),), paid_fen=100)
            numbers = [f"{writer}-{n}-{k}" for k in range(5)]
            await done(self._path, *(order_command(number, place, shop) for number in numbers))
            await done(self._path, *(order_command(number, c.FormGroup(), shop) for number in numbers))
            upload = c.UploadTracking(carrier="SF", tracking_number=f"SF{n}")
            await done(self._path, order_command(numbers[0], upload, shop))
            n += 1
            async with self._round_done:
                self._rounds += 1
                self._round_done.notify_all()

    async def read(self) -> None:
        async with self._pool.connection() as connection:
            while not self._stopped.is_set():
                cursor = await connection.execute("SELECT count(*) FROM order_list")
                ((count,),) = await cursor.fetchall()
                self.counts.append(count)
                await asyncio.sleep(0)

    async def goes_on(self, rounds: int) -> None:
        """Wait for so many more rounds of writing."""
        async with self._round_done:
            goal = self._rounds + rounds
            await self._round_done.wait_for(lambda: self._rounds >= goal)

    def stop(self) -> None:
        self._stopped.set()


def test_no_order_is_missing_or_doubled_when_builds_are_activated_under_full_load(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        load = Load(pool, path)
        workers = [Worker(pool, BOOK) for _ in range(2)]
        async with asyncio.TaskGroup() as group:
            for writer in range(2):
                group.create_task(load.write(writer))
            group.create_task(load.read())
            for worker in workers:
                group.create_task(worker.run())
            await load.goes_on(10)
            async with pool.connection() as connection:
                first = await active(connection)
                build = await rebuild.request(connection, VIEWS, BOOK)
                await load.goes_on(5)
                progress = await rebuild.run(pool, database_url, BOOK, build.id, processes=1)
                assert progress.state == "ready", progress.error
                await load.goes_on(5)
                await builds.activate(connection, build.id, BOOK)
                await load.goes_on(5)
                for view in VIEWS:
                    assert await builds.roll_back(connection, view.name, BOOK) == first.id
                await load.goes_on(5)
                await builds.activate(connection, build.id, BOOK)
                await load.goes_on(5)
            load.stop()
            for worker in workers:
                worker.stop()
        await catch_up(pool)
        async with pool.connection() as connection:
            assert await live_ids(connection) == [first.id, build.id]
            await equal_to_the_log(connection)
            assert await rows_of(connection, first) == await rows_of(connection, build)
            cursor = await connection.execute(
                "SELECT count(*), count(DISTINCT stream) FROM event WHERE type = 'OrderPlaced'"
            )
            placed = await cursor.fetchone()
            shown = await connection.execute("SELECT count(*), count(DISTINCT (shop_id, order_sn)) FROM order_list")
            assert await shown.fetchone() == placed
        assert load.counts == sorted(load.counts), "a reader saw fewer orders than before"
        assert load.counts[0] < load.counts[-1]

    on_database(database_url, work)


ACTIVATE = """
import asyncio, sys
from infrastructure.database.pool import connection_pool
from infrastructure.projections import builds
from infrastructure.runtime.rule_sets import shipped_rules

async def main(url, build_id):
    async with connection_pool(url, size=1) as pool, pool.connection() as connection:
        await builds.activate(connection, build_id, shipped_rules())

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


@pytest.mark.parametrize("table", ["order_list", "violation_list"])
def test_an_activation_killed_in_the_middle_has_not_happened(database_url: str, table: str) -> None:
    """The process is killed while it waits to change the first view, and the last one."""

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        await catch_up(pool)
        build = await rebuilt(pool, database_url)
        async with pool.connection() as connection, pool.connection() as reader:
            before = await builds.actives(connection)
            async with reader.transaction():
                await reader.execute(f"SELECT FROM {table}".encode())
                command = [sys.executable, "-c", ACTIVATE, database_url, str(build.id)]
                process = await asyncio.to_thread(subprocess.Popen, command, cwd=ROOT)
                await until_something_waits(connection)
                process.send_signal(signal.SIGKILL)
                assert await asyncio.to_thread(process.wait) == -signal.SIGKILL
            assert await builds.actives(connection) == before
            assert len((await rows(connection))["orders"]) == 3
            await done(path, order_command(order_sn(1), c.RequestStockout(reason="oversold")))
            await catch_up(pool)
            await builds.activate(connection, build.id, BOOK)
            assert await active(connection) == build
            await equal_to_the_log(connection)

    on_database(database_url, work)


def test_an_activation_whose_connection_is_lost_has_not_happened(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        build = await rebuilt(pool, database_url)
        async with pool.connection() as connection, pool.connection() as reader:
            before = await builds.actives(connection)
            async with reader.transaction(), await WriteConnection.connect(database_url, autocommit=True) as lost:
                await reader.execute("SELECT FROM violation_list")
                activation = asyncio.create_task(builds.activate(lost, build.id, BOOK))
                await until_something_waits(connection)
                await connection.execute("SELECT pg_terminate_backend(%s)", (lost.info.backend_pid,))
                with pytest.raises(psycopg.OperationalError):
                    await activation
            assert await builds.actives(connection) == before
            await builds.activate(connection, build.id, BOOK)
            assert await active(connection) == build

    on_database(database_url, work)


def test_two_activations_at_the_same_time_leave_one_build_active_for_every_view(database_url: str) -> None:
    """The later one may fail because its build is no longer live by then."""

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        ready = [await rebuilt(pool, database_url) for _ in range(2)]

        async def activate(build: Build) -> int | None:
            async with pool.connection() as connection:
                try:
                    await builds.activate(connection, build.id, BOOK)
                except CannotDo:
                    return None
                return build.id

        activated = {*await asyncio.gather(*(activate(build) for build in ready))} - {None}
        async with pool.connection() as connection:
            active_ids = {one.active for one in (await builds.actives(connection)).values()}
            assert len(active_ids) == 1
            assert active_ids <= activated
            await placed_and_formed(path, 1, "new shop")
            await catch_up(pool)
            assert len((await rows(connection, "new shop"))["orders"]) == 1

    on_database(database_url, work)


# ---- new builds -------------------------------------------------------------------------------------


def test_a_new_build_has_its_own_tables_and_is_not_live(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        async with pool.connection() as connection:
            build = await builds.register(connection, [ORDERS, VIOLATIONS], BOOK, clock.now(), "building")
            assert (build.views, build.state, build.live, build.scope) == (
                ["orders", "violations"],
                "building",
                False,
                {},
            )
            assert builds.is_current(build, BOOK)
            assert await rows_of(connection, build) == {"orders": [], "violations": []}
            assert build.id not in await live_ids(connection)
            assert (await builds.every(connection))[-1] == build

    on_database(database_url, work)


def test_a_build_of_a_view_that_this_program_does_not_know_is_left_alone(database_url: str) -> None:
    """With an older and a newer program on one database, neither writes to a build that only the other knows."""

    async def work(pool: Pool, path: CommandPath) -> None:
        async with pool.connection() as connection:
            newer = await rebuilt(pool, database_url)
            await connection.execute(
                "UPDATE build SET views = views || '{unheard}', definition = definition || ' x' WHERE id = %s",
                (newer.id,),
            )
            await placed_and_formed(path, 2)
            await catch_up(pool)
            assert newer.id not in await live_ids(connection)
            with pytest.raises(CannotDo, match="does not write"):
                await builds.activate(connection, newer.id, BOOK)
            await equal_to_the_log(connection)
            await builds.drop(connection, newer.id)

    on_database(database_url, work)


def test_a_build_continues_from_its_position_in_each_shop(database_url: str) -> None:
    async def positions(connection: WriteConnection, build: Build) -> Sequence[tuple[str, int]]:
        cursor = await connection.execute(
            "SELECT shop_id, position FROM checkpoint WHERE reader = %s ORDER BY 1", (build.reader,)
        )
        return await cursor.fetchall()

    async def work(pool: Pool, path: CommandPath) -> None:
        async with pool.connection() as connection:
            build = await builds.register(connection, VIEWS, BOOK, clock.now(), "building")
            async with connection.transaction():
                await builds.begin_reading(connection, build, {"a": 3, "b": 5})
            assert await positions(connection, build) == [("a", 3), ("b", 5)]
            async with connection.transaction():
                await builds.begin_reading(connection, build, {"a": 1, "c": 2})
            assert await positions(connection, build) == [("a", 3), ("b", 5), ("c", 2)]
            assert (await build_of(connection, build.id)).live

    on_database(database_url, work)


def test_a_rule_set_with_other_words_for_its_sources_needs_no_new_build() -> None:
    document = (ROOT / "domain/rules/sets/pinduoduo-2023-01.toml").read_text()
    views = [ORDERS, VIOLATIONS]

    def defined(text: str) -> str:
        return builds.definition(views, RuleBook([RuleSet.parse(text, "")]))

    assert defined(re.sub(r'source = "[^"]*"', 'source = "elsewhere"', document)) == defined(document)
    assert defined(document.replace("flat_fen = 300", "flat_fen = 7")) != defined(document)
