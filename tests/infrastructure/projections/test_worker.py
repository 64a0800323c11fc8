"""The live worker: exactly once, whoever works and whatever is killed."""

import asyncio
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from domain.order import commands as c
from domain.order.state import fold
from infrastructure.command_path import CommandPath
from infrastructure.database.pool import Pool
from infrastructure.log.log import ORDER, Append, NewEvent, append, read_head, read_histories
from infrastructure.projections import worker as worker_module
from infrastructure.projections.views import VIEWS, Judged
from infrastructure.projections.worker import Worker, reached, write_rows
from infrastructure.rule_sets import shipped_rules
from tests.orders import MONDAY_9, SHOP, done, on_database, order_sn, placed_and_formed, tell

BOOK = shipped_rules()


async def rows(connection: AsyncConnection[TupleRow], shop: str = SHOP) -> dict[str, list[Any]]:
    """Everything the views hold of a shop."""
    found = {}
    for view in VIEWS:
        names = ", ".join(name for name, _ in view.columns)
        cursor = await connection.execute(
            f"SELECT order_sn, {names} FROM {view.table} WHERE shop_id = %s ORDER BY order_sn, 2, 3", (shop,)
        )
        found[view.name] = await cursor.fetchall()
    return found


async def rebuilt(connection: AsyncConnection[TupleRow], shop: str = SHOP) -> dict[str, list[Any]]:
    """What the views would hold if every order were folded from its first event, all at once."""
    cursor = await connection.execute("SELECT DISTINCT stream FROM event WHERE shop_id = %s", (shop,))
    streams = [(shop, row[0]) for row in await cursor.fetchall()]
    histories = await read_histories(connection, streams)
    orders = [
        (shop, Judged.by(BOOK, fold(stream.removeprefix(ORDER), history)))
        for (_, stream), history in histories.items()
    ]
    async with connection.transaction(force_rollback=True):
        for view in VIEWS:
            await connection.execute(f"DELETE FROM {view.table} WHERE shop_id = %s", (shop,))
            await write_rows(connection, view, orders)
        return await rows(connection, shop)


def test_the_views_reach_the_head_and_equal_a_fresh_fold(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 30)
        await done(
            path,
            tell(order_sn(1), c.RequestStockout(reason="oversold")),
            tell(order_sn(2), c.UploadTracking(carrier="SF", tracking_number="1")),
        )
        await Worker(pool, BOOK).catch_up(SHOP)
        async with pool.connection() as connection:
            assert await reached(connection, SHOP) == await read_head(connection, SHOP) == 62
            live = await rows(connection)
            assert len(live["orders"]) == 30
            assert live == await rebuilt(connection)

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
def test_live_equals_rebuilt_after_any_events_in_any_batches(
    database_url: str, steps: list[tuple[int, c.Command]], batch: int
) -> None:
    shop = f"shop-{abs(hash((tuple(map(repr, steps)), batch)))}"

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 4, shop)
        worker = Worker(pool, BOOK, batch=batch)
        for number, command in steps:
            await path.submit([tell(order_sn(number), command, shop)])
            async with pool.connection() as connection:
                await worker.advance(connection, [shop])
        await worker.catch_up(shop)
        async with pool.connection() as connection:
            live = await rows(connection, shop)
            assert live == await rebuilt(connection, shop)

    on_database(database_url, work)


def test_applied_twice_is_applied_once(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 5)
        worker = Worker(pool, BOOK)
        await worker.catch_up(SHOP)
        async with pool.connection() as connection:
            once = await rows(connection)
            await connection.execute("UPDATE checkpoint SET position = 0")
            await worker.catch_up(SHOP)
            assert await rows(connection) == once

    on_database(database_url, work)


@pytest.mark.parametrize("together", [True, False], ids=["one server", "distributed"])
def test_many_workers_share_the_work_without_doubling_any(database_url: str, together: bool) -> None:
    shops = [f"shop-{n}" for n in range(6)]

    async def work(pool: Pool, path: CommandPath) -> None:
        workers = [Worker(pool, BOOK, batch=5, together=together) for _ in range(4)]
        running = asyncio.gather(*(worker.run() for worker in workers))
        for shop in shops:
            await placed_and_formed(path, 12, shop)
        async with pool.connection() as connection:
            for shop in shops:
                await Worker(pool, BOOK).catch_up(shop)
                assert await rows(connection, shop) == await rebuilt(connection, shop)
        for worker in workers:
            worker.stop()
        await asyncio.wait_for(running, 5)

    on_database(database_url, work)


def test_a_crash_before_the_commit_leaves_rows_and_checkpoint_as_they_were(
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
            assert await reached(connection, SHOP) == 0
            assert await rows(connection) == {"orders": [], "deadlines": [], "violations": []}
        await worker.catch_up(SHOP)
        async with pool.connection() as connection:
            assert await rows(connection) == await rebuilt(connection)

    on_database(database_url, work)


def test_a_shop_with_an_event_nobody_can_read_does_not_stop_the_others(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 2, "healthy")
        async with pool.connection() as connection, connection.transaction():
            event = NewEvent(
                event_id=uuid4(),
                type="NeverHeardOf",
                schema_version=1,
                occurred_at=MONDAY_9,
                payload=b'{"type":"NeverHeardOf"}',
                metadata=b"{}",
            )
            await append(connection, MONDAY_9, {"broken": [Append(ORDER + order_sn(1), 0, [event])]})
        worker = Worker(pool, BOOK)
        await worker.catch_up_once()
        async with pool.connection() as connection:
            assert await reached(connection, "healthy") == 4
            assert await reached(connection, "broken") == 0

    on_database(database_url, work)
