"""The related facts of an order, read from views and in the end of the log that they have not reached."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

from domain.kernel import Command
from domain.order import commands as c
from domain.order.warnings import warnings
from infrastructure.commands.committer import CommandPath
from infrastructure.commands.intents import OrderOutcome
from infrastructure.database.pool import Pool, connection_pool
from infrastructure.projections.rebuild import prepare
from infrastructure.projections.worker import Worker
from infrastructure.queries.related_facts import read_related_facts
from infrastructure.runtime import clock
from tests.infrastructure.projections.built import BOOK
from tests.orders import done, order_command, order_sn, placed_and_formed


def without_a_worker(url: str, work: Callable[[Pool, CommandPath], Awaitable[None]]) -> None:
    async def run() -> None:
        async with connection_pool(url, size=4) as pool:
            await prepare(pool, url, BOOK)
            async with CommandPath(
                pool, BOOK, clock.now, render=lambda intent, outcome: b"", read_related_facts=read_related_facts
            ) as path:
                await work(pool, path)

    asyncio.run(run())


async def submitted(path: CommandPath, n: int, command: Command) -> OrderOutcome:
    outcome = await path.submit_one(order_command(order_sn(n), command))
    assert outcome.refusal is None, outcome.refusal
    return outcome


def warned(outcome: OrderOutcome) -> list[tuple[str, str | None]]:
    of_order = warnings(outcome.order, BOOK.governing(outcome.order), outcome.related_facts)
    return [(each.code, each.order_sn) for each in of_order]


def test_a_number_is_known_before_and_after_the_views_contain_it(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 4)
        upload = c.UploadTracking(carrier="SF", tracking_number="SF1")
        assert warned(await submitted(path, 0, upload)) == []
        assert warned(await submitted(path, 1, upload)) == [("number_used_before", order_sn(0))]
        await Worker(pool, BOOK).catch_up("100000001")
        assert warned(await submitted(path, 2, upload)) == [("number_used_before", order_sn(1))]
        await Worker(pool, BOOK).catch_up("100000001")
        assert warned(await submitted(path, 2, c.RecordPickup())) == [("number_used_before", order_sn(1))]
        assert warned(await submitted(path, 3, c.RequestStockout(reason="other"))) == [("on_sale", None)]

    without_a_worker(database_url, work)


def test_an_application_is_counted_once_whether_view_or_log_has_it(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 13, at=clock.now() - timedelta(hours=30))
        apply = c.RequestStockout(reason="oversold", occurred_at=clock.now())
        counted = []
        for n in range(13):
            outcome = await submitted(path, n, apply)
            counted.append(len(outcome.related_facts.filed))
            if n % 4 == 2:
                await Worker(pool, BOOK).catch_up("100000001")
        assert counted == list(range(13))

    without_a_worker(database_url, work)


def test_orders_of_one_batch_know_of_those_before_them_in_it(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        upload = c.UploadTracking(carrier="SF", tracking_number="SF1")
        outcomes = await done(path, *(order_command(order_sn(n), upload) for n in range(3)))
        assert [len(warned(outcome)) for outcome in outcomes] == [0, 1, 1]

    without_a_worker(database_url, work)
