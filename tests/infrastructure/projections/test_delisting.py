"""A ``delist_sku`` depends on two streams, an order's and a SKU's. Lists must show it as the order itself does."""

from datetime import timedelta
from functools import partial
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from domain.kernel import Command
from domain.order import commands as c
from domain.order.deadlines import DeadlineState
from domain.order.filters import DeadlineFilter
from domain.order.fold import fold
from domain.order.view import view
from domain.order.warnings import RelatedFacts
from domain.sku import commands as s
from domain.viewpoint import NOW
from infrastructure.commands.committer import CommandPath
from infrastructure.commands.intents import SkuCommand
from infrastructure.database.pool import Pool
from infrastructure.log.loading import read_orders
from infrastructure.projections.worker import Worker
from infrastructure.queries.deadlines import list_deadlines
from tests.infrastructure.projections.built import BOOK
from tests.infrastructure.queries.both_ways import every_item_both_ways
from tests.orders import LINE, MONDAY_9, done, on_database, order_command, order_sn

_HOURS = st.integers(1, 90)
_SHELF = st.lists(st.tuples(st.booleans(), _HOURS), max_size=5)
_APPLIED = st.lists(st.tuples(st.integers(0, 3), _HOURS, st.booleans()), min_size=1, max_size=5)


@pytest.mark.timeout(300)
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shelf=_SHELF, other=_SHELF, applied=_APPLIED, hours_later=st.integers(0, 100), number=st.uuids())
def test_lists_show_every_delisting_as_the_orders_do(
    database_url: str,
    shelf: list[tuple[bool, int]],
    other: list[tuple[bool, int]],
    applied: list[tuple[int, int, bool]],
    hours_later: int,
    number: Any,
) -> None:
    shop = f"shop-{number}"
    at = MONDAY_9 + timedelta(hours=hours_later)

    async def work(pool: Pool, path: CommandPath) -> None:
        lines = (LINE, replace(LINE, sku_id="52000302"))
        place = c.Place(lines=lines, paid_fen=100, occurred_at=MONDAY_9)
        await done(path, *(order_command(order_sn(n), place, shop) for n in range(4)))
        await done(path, *(order_command(order_sn(n), c.FormGroup(occurred_at=MONDAY_9), shop) for n in range(4)))
        for n, hours, all_of_it in applied:
            named = () if all_of_it else (LINE.sku_id,)
            when = MONDAY_9 + timedelta(hours=hours)
            request = c.RequestStockout(reason="oversold", sku_ids=named, occurred_at=when)
            await path.submit([order_command(order_sn(n), request, shop)])
        for sku_id, changes in ((LINE.sku_id, shelf), ("52000302", other)):
            for listed, hours in changes:
                when = MONDAY_9 + timedelta(hours=hours)
                change: Command = s.Relist(occurred_at=when) if listed else s.Delist(reason="x", occurred_at=when)
                await path.submit([SkuCommand(shop, sku_id, change, "test")])
        await Worker(pool, BOOK).catch_up(shop)
        async with pool.connection() as connection:
            orders = await read_orders(connection, shop, [order_sn(n) for n in range(4)])
            of_orders = {
                (name, deadline.sku_id, deadline.due_at): deadline
                for name, history in orders.items()
                for deadline in view(
                    fold(name, history.order), BOOK, at, RelatedFacts(history.skus_at(NOW))
                ).deadlines
                if deadline.kind == "delist_sku"
            }
            assert of_orders
            listed_in: dict[str, int] = {}
            for state in (None, *get_args(DeadlineState)):
                filter = DeadlineFilter(kind="delist_sku", state=state)
                for item in await every_item_both_ways(
                    partial(list_deadlines, connection, shop, at, filter, 2, book=BOOK), 2
                ):
                    deadline = of_orders[item.order_sn, item.sku_id, item.due_at]
                    assert (item.state, item.met_at) == (deadline.state, deadline.met_at)
                    assert state in (None, deadline.state)
                    listed_in[str(state)] = listed_in.get(str(state), 0) + 1
            assert listed_in.pop("None") == len(of_orders) == sum(listed_in.values())

    on_database(database_url, work)
