"""Suppliers of a shop: counted by what became of what they were handed."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import partial

import pytest

from domain.kernel import Command
from domain.order import commands as c
from infrastructure.commands.committer import CommandPath
from infrastructure.database.pool import Pool
from infrastructure.projections.worker import Worker
from infrastructure.queries.errors import UnknownSupplier
from infrastructure.queries.suppliers import SupplierRecord, find_supplier, list_suppliers, open_handovers
from tests.infrastructure.projections.built import BOOK
from tests.infrastructure.queries.both_ways import every_item_both_ways
from tests.orders import MONDAY_9, SHOP, done, on_database, order_command, order_sn, placed_and_formed

DUE = MONDAY_9 + timedelta(hours=24)
LATER = MONDAY_9 + timedelta(hours=40)


def after(count: float) -> datetime:
    return MONDAY_9 + timedelta(hours=count)


def hand(supplier_id: str, *, at: datetime = MONDAY_9, due: datetime | None = DUE) -> Command:
    return c.HandToSupplier(supplier_id=supplier_id, expected_tracking_at=due, occurred_at=at)


def tracking(at: datetime) -> Command:
    return c.RecordSupplierTracking(carrier="SF", tracking_number="SF1", occurred_at=at)


def own(at: datetime) -> Command:
    return c.UploadTracking(carrier="SF", tracking_number="SF2", occurred_at=at)


def sold_out(at: datetime) -> Command:
    return c.RecordSupplierStockout(reason="sold out", occurred_at=at)


LIVES: tuple[tuple[Command, ...], ...] = (
    (hand("S-17"), tracking(after(24))),
    (hand("S-17"), tracking(after(24.5))),
    (hand("S-17", due=None), tracking(after(30))),
    (hand("S-17"), sold_out(after(2)), hand("S-18", at=after(3), due=after(60))),
    (hand("S-17"), sold_out(after(25))),
    (hand("S-17"), c.TakeBackFromSupplier(reason="too slow", occurred_at=after(3))),
    (hand("S-17"), c.Cancel(reason="changed_mind", occurred_at=after(3))),
    (hand("S-17"), own(after(3))),
    (hand("S-17"), own(after(25))),
    (hand("S-17"),),
    (hand("S-17", due=after(50)),),
    (hand("S-17", due=None),),
    (),
)


async def lived(pool: Pool, path: CommandPath, lives: Iterable[Iterable[Command]] = LIVES) -> None:
    """Orders whose suppliers did all that they may do, and the views caught up."""
    lives = list(lives)
    await placed_and_formed(path, len(lives))
    for number, life in enumerate(lives):
        await done(path, *(order_command(order_sn(number), command) for command in life))
    await Worker(pool, BOOK).catch_up(SHOP)


def test_suppliers_are_counted_by_what_became_of_each_order(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await lived(pool, path)
        async with pool.connection() as connection:
            page = await list_suppliers(connection, SHOP, LATER, 50)
            assert page.next is None
            assert page.items == [
                SupplierRecord(
                    "S-17",
                    handovers=12,
                    tracked=3,
                    on_time=1,
                    late=4,  # half an hour late, out of stock or shipped otherwise after it, and still open
                    out_of_stock=2,
                    taken_back=1,
                    order_ended=3,
                    open=3,
                    overdue=1,
                    on_time_share=0.2,
                    stockout_share=0.4,
                ),
                SupplierRecord("S-18", 1, 0, 0, 0, 0, 0, 0, 1, 0, None, None),
            ]
            assert await find_supplier(connection, SHOP, "S-17", LATER) == page.items[0]
            for shop, supplier_id in ((SHOP, "S-19"), ("100000002", "S-17")):
                with pytest.raises(UnknownSupplier):
                    await find_supplier(connection, shop, supplier_id, LATER)
            waiting = await open_handovers(connection, SHOP, "S-17", LATER, 50)
            assert [(each.order_sn, each.expected_tracking_at, each.overdue) for each in waiting.items] == [
                (order_sn(9), DUE, True),
                (order_sn(10), after(50), False),
                (order_sn(11), None, False),
            ]

    on_database(database_url, work)


def test_an_order_becomes_overdue_as_time_passes_and_no_event_is_needed(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await lived(pool, path, [(hand("S-17"),)])
        async with pool.connection() as connection:
            counted = [
                await find_supplier(connection, SHOP, "S-17", at) for at in (DUE, DUE + timedelta(microseconds=1))
            ]
        assert [each and (each.late, each.overdue, each.open) for each in counted] == [(0, 0, 1), (1, 1, 1)]

    on_database(database_url, work)


def test_a_period_counts_what_was_handed_over_in_it(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await lived(pool, path, [(hand("S-17", at=after(n), due=None),) for n in range(1, 5)])
        async with pool.connection() as connection:
            for since, until, count in ((None, after(3), 2), (after(3), None, 2), (after(2), after(4), 2)):
                supplier = await find_supplier(connection, SHOP, "S-17", LATER, since=since, until=until)
                assert supplier is not None
                assert supplier.handovers == count
            (none,) = (await list_suppliers(connection, SHOP, LATER, 50, since=after(9))).items
            assert (none.supplier_id, none.handovers, none.on_time_share) == ("S-17", 0, None)

    on_database(database_url, work)


def test_pages_hold_every_supplier_and_every_open_order_once(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        lives = [(hand(f"S-{n % 3}", due=after(30 + n % 2)),) for n in range(9)]
        await lived(pool, path, lives)
        async with pool.connection() as connection:
            every = await every_item_both_ways(partial(list_suppliers, connection, SHOP, LATER, 2), 2)
            owed = await every_item_both_ways(partial(open_handovers, connection, SHOP, "S-0", LATER, 1), 1)
        assert [each.supplier_id for each in every] == ["S-0", "S-1", "S-2"]
        assert [each.order_sn for each in owed] == [order_sn(0), order_sn(6), order_sn(3)]

    on_database(database_url, work)
