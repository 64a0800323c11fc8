"""The day's limit of stockout applications is exact, however many processes apply at the same time."""

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta

from domain.order import commands as c
from domain.order.warnings import warnings
from domain.sku import commands as s
from domain.viewpoint import NOW
from infrastructure.commands.committer import CommandPath
from infrastructure.commands.intents import OrderOutcome, SkuCommand
from infrastructure.database.pool import connection_pool
from infrastructure.queries.orders import find_order
from infrastructure.queries.related_facts import read_related_facts
from infrastructure.runtime import clock
from infrastructure.runtime.rule_sets import shipped_rules
from tests.orders import LINE, done, order_command, order_sn, placed_and_formed

PROCESSES = 4
EACH = 10
LIMIT = 10
BOOK = shipped_rules()


def is_over(outcome: OrderOutcome) -> bool:
    warned = warnings(outcome.state, BOOK.governing(outcome.state), outcome.related_facts)
    return "daily_limit" in [warning.code for warning in warned]


def test_who_applies_at_the_same_time_is_counted_one_after_another(database_url: str) -> None:
    """Each process counts what the others have filed, also in two shops whose applications come crosswise."""
    shops = ("100000001", "100000002")

    async def work() -> None:
        async with AsyncExitStack() as stack:
            pools = [
                await stack.enter_async_context(connection_pool(database_url, size=4)) for _ in range(PROCESSES)
            ]
            paths = [
                await stack.enter_async_context(
                    CommandPath(
                        pool,
                        BOOK,
                        clock.now,
                        render=lambda intent, outcome: b"response",
                        read_related_facts=read_related_facts,
                    )
                )
                for pool in [await stack.enter_async_context(pool) for pool in pools]
            ]
            for shop in shops:
                await placed_and_formed(paths[0], PROCESSES * EACH, shop, clock.now() - timedelta(hours=30))
                await done(paths[0], SkuCommand(shop, LINE.sku_id, s.Delist(reason="oversold"), "test"))
            apply = c.RequestStockout(reason="oversold")
            applied = [
                path.submit_one(order_command(order_sn(number * EACH + n), apply, shop))
                for number, path in enumerate(paths)
                for n in range(EACH)
                for shop in (shops if number % 2 else shops[::-1])
            ]
            outcomes = await asyncio.gather(*applied)
            assert all(outcome.refusal is None for outcome in outcomes)
            over = [outcome for outcome in outcomes if is_over(outcome)]
            assert len(outcomes) - len(over) == LIMIT * len(shops)
            async with pools[0].read() as connection:
                for shop in shops:
                    shown = [
                        await find_order(connection, shop, order_sn(n), BOOK, NOW, clock.now())
                        for n in range(PROCESSES * EACH)
                    ]
                    warned = [order for order in shown if "daily_limit" in [each.code for each in order.warnings]]
                    assert len(shown) - len(warned) == LIMIT, "the answers stay true"

    asyncio.run(work())
