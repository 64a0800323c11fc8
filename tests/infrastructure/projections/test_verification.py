"""Verification finds every difference from the log and reports it. A build with one can't be activated."""

import asyncio

import pytest

from domain.order import commands as c
from infrastructure.commands.committer import CommandPath
from infrastructure.database.pool import Pool
from infrastructure.projections import builds, rebuild
from infrastructure.projections.builds import CannotDo
from infrastructure.projections.verification import MOST_DIFFERENCES, verify
from infrastructure.projections.view import View
from infrastructure.projections.views import DEADLINES, ORDERS, VIEWS, VIOLATIONS
from infrastructure.projections.worker import Worker
from tests.infrastructure.projections.built import BOOK, active, build_of, fold_here, rebuilt
from tests.orders import SHOP, on_database, order_command, order_sn, placed_and_formed, something_for_every_view

WRONG = order_sn(1)

DAMAGE = {
    "an order is missing": ("DELETE FROM order_list_{id} WHERE order_sn = '{wrong}'", "is at version 2 in the log"),
    "a deadline is missing": (
        "DELETE FROM deadline_list_{id} WHERE order_sn = '{wrong}' AND number = 1",
        "deadlines",
    ),
    "violations are missing": ("DELETE FROM violation_list_{id} WHERE order_sn = '{wrong}'", "violations"),
    "an order is there twice": (
        """DROP INDEX order_list_{id}_key;
           INSERT INTO order_list_{id} SELECT * FROM order_list_{id} WHERE order_sn = '{wrong}'""",
        "orders",
    ),
    "a violation is there twice": (
        """DROP INDEX violation_list_{id}_key;
           INSERT INTO violation_list_{id} SELECT * FROM violation_list_{id} WHERE order_sn = '{wrong}'""",
        "violations",
    ),
    "a value is wrong": ("UPDATE order_list_{id} SET paid_fen = 1 WHERE order_sn = '{wrong}'", "orders"),
    "a value is there instead of a null": (
        "UPDATE order_list_{id} SET shipped_at = now() WHERE order_sn = '{wrong}'",
        "orders",
    ),
    "a time is wrong": (
        "UPDATE deadline_list_{id} SET due_key = due_key + interval '1 microsecond' WHERE order_sn = '{wrong}'",
        "deadlines",
    ),
    "a penalty is wrong": (
        "UPDATE violation_list_{id} SET penalty_fen = penalty_fen + 1 WHERE order_sn = '{wrong}'",
        "violations",
    ),
    "a document is wrong": (
        """UPDATE order_list_{id} SET lines = '[]' WHERE order_sn = '{wrong}'""",
        "orders",
    ),
    "a version is stale": (
        "UPDATE order_list_{id} SET version = 1 WHERE order_sn = '{wrong}'",
        "is at version 2 in the log, 1 in the build",
    ),
    "an order belongs to another shop": (
        "UPDATE order_list_{id} SET shop_id = 'another' WHERE order_sn = '{wrong}'",
        "is at version none in the log, 2 in the build",
    ),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE)
def test_a_difference_from_the_log_is_reported(database_url: str, damage: str, message: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        await Worker(pool, BOOK).catch_up(SHOP)
        async with pool.connection() as connection:
            build = await active(connection)
            clean = await verify(connection, build, BOOK, sample=None)
            assert (clean.orders, clean.compared, clean.differences) == (3, 3, [])
            assert clean.checksum == clean.expected
            await connection.execute(damage.format(id=build.id, wrong=WRONG).encode())
            verification = await verify(connection, build, BOOK, sample=None)
            assert verification.differences
            assert all(WRONG in difference for difference in verification.differences)
            assert any(message in difference for difference in verification.differences)
            assert verification.checksum != verification.expected

    on_database(database_url, work)


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_rows_of_unknown_orders_are_reported_in_every_view(database_url: str, view: View) -> None:
    of = view.of.id_column

    async def work(pool: Pool, path: CommandPath) -> None:
        await something_for_every_view(path, 3)
        build = await rebuilt(pool, database_url, [view])
        async with pool.connection() as connection:
            await connection.execute(
                f"CREATE TEMPORARY TABLE ghost AS SELECT * FROM {view.table}_{build.id}".encode()
            )
            await connection.execute(f"UPDATE ghost SET {of} = 'ghost ' || {of}".encode())
            await connection.execute(f"INSERT INTO {view.table}_{build.id} SELECT * FROM ghost".encode())
            verification = await verify(connection, build, BOOK, sample=None)
            assert len({difference for difference in verification.differences if "ghost" in difference}) >= 3

    on_database(database_url, work)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param("DELETE FROM order_list_{id} WHERE order_sn = '{wrong}'", id="a row is missing"),
        pytest.param("UPDATE order_list_{id} SET version = 1 WHERE order_sn = '{wrong}'", id="a version is stale"),
        pytest.param("UPDATE order_list_{id} SET order_sn = '{wrong}-' WHERE order_sn = '{wrong}'", id="too many"),
        pytest.param("UPDATE violation_list_{id} SET penalty_fen = 1", id="values are wrong"),
        pytest.param(
            "CREATE TEMPORARY TABLE ghost AS SELECT * FROM deadline_list_{id} WHERE order_sn = '{wrong}';"
            "UPDATE ghost SET order_sn = 'ghost'; INSERT INTO deadline_list_{id} SELECT * FROM ghost",
            id="rows of an unknown order",
        ),
    ],
)
def test_a_rebuild_that_differs_fails_and_is_not_activated(database_url: str, damage: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        async with pool.connection() as connection:
            build = await rebuild.request(connection, VIEWS, BOOK)
            await fold_here(database_url, build)
            await connection.execute(damage.format(id=build.id, wrong=WRONG).encode())
            progress = await rebuild.run(pool, database_url, BOOK, build.id)
            assert (progress.state, progress.verified) == ("failed", False)
            assert progress.verification
            assert progress.error == f"It differs from the log: {progress.verification['differences'][0]}"
            with pytest.raises(CannotDo, match=r"is failed \(It differs from the log: "):
                await builds.activate(connection, build.id, BOOK)
            assert (await active(connection)).id != build.id
            assert await builds.latest_ready(connection, "orders") is None

    on_database(database_url, work)


def test_a_failed_build_is_no_longer_live(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        async with pool.connection() as connection:
            build = await rebuild.request(connection, VIEWS, BOOK)
            await fold_here(database_url, build)
            await connection.execute(f"DELETE FROM order_list_{build.id}".encode())
            await rebuild.run(pool, database_url, BOOK, build.id)
            assert not (await build_of(connection, build.id)).live

    on_database(database_url, work)


def test_the_number_of_reported_differences_is_limited(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 30)
        await Worker(pool, BOOK).catch_up(SHOP)
        async with pool.connection() as connection:
            build = await active(connection)
            await connection.execute(f"UPDATE order_list_{build.id} SET version = 7, paid_fen = 7".encode())
            assert len((await verify(connection, build, BOOK, sample=None)).differences) == MOST_DIFFERENCES

    on_database(database_url, work)


def test_a_sample_of_a_short_log_is_never_empty(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 1)
        build = await rebuilt(pool, database_url)
        async with pool.read() as connection:
            assert {(await verify(connection, build, BOOK)).compared for _ in range(40)} == {1}

    on_database(database_url, work)


def test_a_sample_limits_the_compared_orders_but_every_version_is_compared(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 50)
        await Worker(pool, BOOK).catch_up(SHOP)
        async with pool.connection() as connection:
            build = await active(connection)
            verification = await verify(connection, build, BOOK, sample=5)
            assert 1 <= verification.compared <= 5
            assert (verification.orders, verification.differences) == (50, [])
            assert verification.checksum == verification.expected
            await connection.execute(
                f"UPDATE order_list_{build.id} SET version = 1 WHERE order_sn = %s".encode(), (WRONG,)
            )
            differences = (await verify(connection, build, BOOK, sample=1)).differences
            (difference,) = {difference for difference in differences if "is at" in difference}
            assert difference == f"order {WRONG} of shop {SHOP} is at version 2 in the log, 1 in the build"

    on_database(database_url, work)


@pytest.mark.parametrize(
    "views",
    [[ORDERS], [DEADLINES], [VIOLATIONS], [VIOLATIONS, DEADLINES]],
    ids=lambda views: " and ".join(view.name for view in views),
)
def test_a_build_of_some_views_is_verified(database_url: str, views: list[View]) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        build = await rebuilt(pool, database_url, views)
        assert build.state == "ready", build.error
        async with pool.connection() as connection:
            verification = await verify(connection, build, BOOK, sample=None)
            assert (verification.compared, verification.differences) == (3, [])
            await connection.execute(f"DELETE FROM {views[0].table}_{build.id} WHERE order_sn = '{WRONG}'".encode())
            verification = await verify(connection, build, BOOK, sample=None)
            assert verification.differences
            assert all(WRONG in difference for difference in verification.differences)
            assert verification.checksum != verification.expected

    on_database(database_url, work)


def test_an_empty_build_of_an_empty_log_has_no_differences(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        async with pool.connection() as connection:
            for sample in (None, 10):
                verification = await verify(connection, await active(connection), BOOK, sample=sample)
                assert (verification.orders, verification.compared, verification.differences) == (0, 0, [])
                assert verification.checksum == verification.expected

    on_database(database_url, work)


def test_writers_do_not_disturb_a_verification(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 20)
        worker = Worker(pool, BOOK, batch=3)
        verified = asyncio.Event()

        async def write() -> None:
            n = 0
            while not verified.is_set():
                await path.submit([order_command(order_sn(n % 20), c.ContactBuyer(channel="chat", message=f"{n}"))])
                n += 1

        async with asyncio.TaskGroup() as group:
            group.create_task(worker.run())
            group.create_task(write())
            checksums: set[str] = set()
            async with pool.connection() as connection:
                build = await active(connection)
                async with asyncio.timeout(60):
                    while len(checksums) < 5:
                        verification = await verify(connection, build, BOOK, sample=None)
                        assert verification.differences == []
                        checksums.add(verification.checksum)
            verified.set()
            worker.stop()

    on_database(database_url, work)
