"""The live worker applies every event exactly once, however many workers there are and whichever is killed."""

import asyncio

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.kernel import Command
from domain.order import commands as c
from infrastructure.commands.committer import CommandPath
from infrastructure.database.pool import Pool, WriteConnection
from infrastructure.log.log import read_head
from infrastructure.projections import worker as worker_module
from infrastructure.projections.builds import reached
from infrastructure.projections.worker import CATCH_UP_BATCH, Worker, share_out
from infrastructure.queries.projections import list_parked
from infrastructure.runtime.rule_sets import shipped_rules
from tests.infrastructure.projections.built import NO_ROWS, equal_to_the_log, rows
from tests.orders import SHOP, done, on_database, order_command, order_sn, placed_and_formed

BOOK = shipped_rules()


async def advance(worker: Worker, connection: WriteConnection, shop: str = SHOP) -> int:
    return await worker.advance(connection, {shop: await read_head(connection, shop)})


def test_the_views_reach_the_head_and_equal_the_folded_log(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 30)
        await done(
            path,
            order_command(order_sn(1), c.RequestStockout(reason="oversold")),
            order_command(order_sn(2), c.UploadTracking(carrier="SF", tracking_number="1")),
        )
        await Worker(pool, BOOK).catch_up(SHOP)
        async with pool.connection() as connection:
            assert await reached(connection, SHOP, "orders") == await read_head(connection, SHOP) == 62
            assert len((await rows(connection))["orders"]) == 30
            await equal_to_the_log(connection)

    on_database(database_url, work)


_COMMANDS = st.sampled_from(
    [
        c.FormGroup(),
        c.UploadTracking(carrier="SF", tracking_number="1"),
        c.RequestStockout(reason="oversold"),
        c.CompleteReview(outcome="rejected"),
        c.CompleteReview(outcome="approved"),
        c.RecordPickup(),
        c.ConfirmReceipt(),
        c.Refund(initiated_by="merchant", reason="out_of_stock"),
        c.PlaceHold(hold="manual", reason="x"),
        c.ReleaseHold(hold="manual", reason="x"),
    ]
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.integers(0, 3), _COMMANDS), max_size=30), batch=st.integers(1, 7))
def test_the_views_equal_the_folded_log_after_any_events_in_any_batches(
    database_url: str, steps: list[tuple[int, Command]], batch: int
) -> None:
    shop = f"shop-{abs(hash((tuple(map(repr, steps)), batch)))}"

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 4, shop)
        worker = Worker(pool, BOOK, batch=batch)
        for number, command in steps:
            await path.submit([order_command(order_sn(number), command, shop)])
            async with pool.connection() as connection:
                await advance(worker, connection, shop)
        await worker.catch_up(shop)
        async with pool.connection() as connection:
            await equal_to_the_log(connection)

    on_database(database_url, work)


def test_events_that_are_applied_twice_change_nothing(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 5)
        worker = Worker(pool, BOOK)
        await worker.catch_up(SHOP)
        async with pool.connection() as connection:
            once = await rows(connection)
            await connection.execute("UPDATE checkpoint SET position = 0")
            await worker.catch_up(SHOP)
            assert await rows(connection) == once
            assert (await list_parked(connection, 10)).items == []

    on_database(database_url, work)


def test_an_unreadable_log_stops_no_other_shop(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        for shop in ("damaged", SHOP):
            await placed_and_formed(path, 3, shop)
        worker = Worker(pool, BOOK)
        async with pool.connection() as connection:
            async with connection.transaction():
                await connection.execute("SET LOCAL session_replication_role = replica")
                await connection.execute(
                    "UPDATE event SET occurred_at = 'infinity' WHERE shop_id = 'damaged' AND position = 2"
                )
            assert await worker.catch_up_once()
            assert await reached(connection, SHOP, "orders") == await read_head(connection, SHOP)
            assert await reached(connection, "damaged", "orders") == 0
            assert not await worker.catch_up_once()  # the damaged shop is left alone for a while
            with pytest.raises(psycopg.DataError):
                await worker.catch_up("damaged")

    on_database(database_url, work)


@pytest.mark.parametrize("together", [True, False], ids=["one server", "distributed"])
def test_many_workers_share_the_work_and_apply_nothing_twice(database_url: str, together: bool) -> None:
    shops = [f"shop-{n}" for n in range(6)]

    async def work(pool: Pool, path: CommandPath) -> None:
        workers = [Worker(pool, BOOK, batch=5, together=together) for _ in range(4)]
        running = asyncio.gather(*(worker.run() for worker in workers))
        for shop in shops:
            await placed_and_formed(path, 12, shop)
        async with pool.connection() as connection:
            for shop in shops:
                await Worker(pool, BOOK).catch_up(shop)
            await equal_to_the_log(connection)
        for worker in workers:
            worker.stop()
        await asyncio.wait_for(running, 60)

    on_database(database_url, work)


def test_a_crash_before_the_commit_changes_neither_rows_nor_position(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 5)
        worker = Worker(pool, BOOK)
        with monkeypatch.context() as patch:
            patch.setattr(worker_module, "_ADVANCE", "SELECT pg_terminate_backend(pg_backend_pid()), %s, %s, %s")
            with pytest.raises(psycopg.OperationalError):
                await worker.catch_up(SHOP)
        async with pool.connection() as connection:
            assert await reached(connection, SHOP, "orders") == 0
            assert await rows(connection) == NO_ROWS
        await worker.catch_up(SHOP)
        async with pool.connection() as connection:
            await equal_to_the_log(connection)

    on_database(database_url, work)


@given(
    lags=st.dictionaries(st.text("abc", min_size=1, max_size=3), st.integers(0, 10**7), min_size=1, max_size=20),
    batch=st.integers(1, 5_000),
)
def test_a_batch_is_shared_fairly(lags: dict[str, int], batch: int) -> None:
    """No shop gets more than it needs while another gets too few, and every shop gets something."""
    shares = share_out(lags, batch)
    size = max(batch, min(sum(lags.values()) // 2, CATCH_UP_BATCH))
    assert all(1 <= shares[shop] <= max(lags[shop], 1) for shop in lags)
    assert sum(shares.values()) <= size + len(lags)
    short = [shares[shop] for shop in lags if shares[shop] < lags[shop]]
    if short:
        assert sum(shares.values()) >= size
        assert max(shares.values()) <= min(short) + 1


def test_an_idle_worker_only_checks_whether_anything_was_written(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        worker = Worker(pool, BOOK)
        while await worker.catch_up_once():
            pass
        with monkeypatch.context() as patch:
            patch.setattr(worker_module, "_LAGGING", "SELECT 1 / 0, %s, %s")
            assert not await worker.catch_up_once()
        await done(path, order_command(order_sn(1), c.RequestStockout(reason="oversold")))
        assert await worker.catch_up_once()

    on_database(database_url, work)
