"""What SQL repeats of the domain, it repeats exactly: filters, the daily report, and who bears a penalty.

The lists and reports of generated shops are read from the views in PostgreSQL, and made by the domain from the same
orders and SKUs, folded.
"""

import uuid
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from functools import partial
from itertools import product
from typing import Any, NamedTuple, Self, get_args

import msgspec
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from domain.history import Metadata
from domain.kernel import ViolationKind
from domain.money.attribution import By, sum_penalties
from domain.money.daily_report import count_days, report
from domain.money.period import DayRange
from domain.order import commands as c
from domain.order import events as e
from domain.order.deadlines import Deadline, DeadlineKind, DeadlineState, deadlines
from domain.order.filters import DeadlineFilter, OrderFilter, ViolationFilter
from domain.order.fold import fold
from domain.order.judged import Judged
from domain.order.state import Status
from domain.order.view import deadline_view, violation_view
from domain.order.violations import AppealState
from domain.sku import events as s
from domain.sku.state import Sku
from domain.viewpoint import NOW
from infrastructure.commands.committer import CommandPath
from infrastructure.database.pool import Pool, ReadConnection
from infrastructure.log.loading import read_orders
from infrastructure.log.log import Append, append, new_event
from infrastructure.projections.worker import Worker
from infrastructure.queries.deadlines import ListedDeadline, list_deadlines
from infrastructure.queries.lists import (
    ListedViolation,
    list_orders,
    list_violations,
)
from infrastructure.queries.paging import every_item
from infrastructure.queries.penalties import penalty_sums
from infrastructure.queries.reports import daily_report
from infrastructure.queries.stockout_cases import find_case, list_cases, orders_of
from tests.domain.test_laws import PLACE_TWO, Look, Step, lived, observed_lives
from tests.domain.vocabulary import MONDAY_8, ORDER_SN, beijing, hours, violation_id
from tests.infrastructure.projections.built import BOOK
from tests.infrastructure.queries.both_ways import every_item_both_ways
from tests.orders import on_database, order_sn

LAST = beijing(2030, 1, 1)
PERIOD = DayRange(date(2026, 3, 2), date(2026, 3, 20))

APPEAL_OUTCOMES: tuple[e.AppealOutcome, ...] = ("upheld", "overturned", "overturned")
shelves = st.lists(st.tuples(st.sampled_from([1, 2, 4, 20, 47, 60, 130]), st.booleans()), max_size=4)


def maybe(literal: Any) -> st.SearchStrategy[Any]:
    """No condition half of the time: several conditions together match little."""
    return st.one_of(st.none(), st.sampled_from(get_args(literal)))


class Filters(NamedTuple):
    """Strategies for the filters of a shop, whose bounds are moments at which something happens in it."""

    orders: st.SearchStrategy[OrderFilter]
    deadlines: st.SearchStrategy[DeadlineFilter]
    violations: st.SearchStrategy[ViolationFilter]

    @classmethod
    def of(cls, shop: "Shop") -> Self:
        bounds = st.one_of(st.none(), shop.moments)
        numbers = [judged.order.order_sn for judged in shop.judged]
        goods = sorted({line.goods_id for judged in shop.judged for line in judged.order.lines})
        return cls(
            st.builds(
                OrderFilter,
                status=maybe(Status),
                locked=st.sampled_from([None, True, False]),
                sku_id=st.sampled_from([None, "SKU-1", "SKU-2", "SKU-9"]),
                due_before=bounds,
                violation=maybe(ViolationKind),
                order_sns=st.none() | st.frozensets(st.sampled_from([*numbers, "260302-404"]), max_size=3),
                tracking_number=st.sampled_from([None, None, "SF1", " sf1", "SF2", "SF9"]),
                supplier_id=st.sampled_from([None, None, "S-17", "S-18"]),
                goods_id=st.sampled_from([None, None, *goods, "nothing"]),
                sku_code=st.sampled_from([None, None, "A-1", "A-2"]),
            ),
            st.builds(DeadlineFilter, kind=maybe(DeadlineKind), due_before=bounds, state=maybe(DeadlineState)),
            st.builds(
                ViolationFilter, kind=maybe(ViolationKind), since=bounds, until=bounds, appeal=maybe(AppealState)
            ),
        )


class Shop(NamedTuple):
    """A shop's orders as the domain judges them, with the SKUs that each was applied for."""

    shop_id: str
    orders: list[tuple[Judged, Mapping[str, Sku]]]

    @property
    def judged(self) -> list[Judged]:
        return [judged for judged, _ in self.orders]

    @property
    def moments(self) -> st.SearchStrategy[datetime]:
        """Moments at which something falls due or begins to stand, so that every bound is met exactly."""
        edges = {MONDAY_8 + timedelta(days=60)}
        for judged, skus in self.orders:
            edges |= {at for each in judged.violations for at in (each.arose_at, each.stands_from)}
            for deadline in deadlines(judged.order, judged.rules, judged.clocks, skus):
                edges |= {at for at in (deadline.due_at, deadline.met_at) if at is not None}
        return st.sampled_from(sorted(at for at in edges if at < LAST))


async def a_shop(pool: Pool, lives: list[list[Step | Look]], shelf: list[tuple[int, bool]]) -> Shop:
    """A shop in the log and in the views."""
    shop_id = f"shop-{uuid.uuid4()}"
    appends = []
    numbers = [order_sn(n) for n in range(len(lives))]
    for number, steps in zip(numbers, lives, strict=True):
        if history := lived(steps, BOOK).history:
            new = [new_event(of_order(number, each.event), each.occurred_at, each.metadata) for each in history]
            appends.append(Append(f"order:{number}", 0, new))
    changes = [
        new_event(s.SkuDelisted("缺货") if off else s.SkuRelisted(), MONDAY_8 + hours(at), Metadata())
        for at, off in sorted(shelf)
    ]
    if changes:
        appends.append(Append("sku:SKU-1", 0, changes))
    async with pool.write() as connection:
        if appends:
            await append(connection, MONDAY_8 + timedelta(days=60), {shop_id: appends})
        await Worker(pool, BOOK).catch_up(shop_id)
        histories = await read_orders(connection, shop_id, numbers)
    return Shop(
        shop_id,
        [
            (Judged.by(BOOK, fold(number, history.order)), history.skus_at(NOW))
            for number, history in histories.items()
            if history.order
        ],
    )


def of_order(number: str, event: e.OrderEvent) -> e.OrderEvent:
    """An event of a generated life, as one of an order of this number: appeals name its violations."""
    match event:
        case e.ViolationAppealed() | e.AppealDecided():
            return replace(event, violation_id=event.violation_id.replace(ORDER_SN, number))
        case _:
            return event


def plain(items: list[Any]) -> list[str]:
    """Items in an order of their own, as JSON: the lists sort by time, the domain by order."""
    return sorted(msgspec.json.encode(item).decode() for item in items)


@st.composite
def disputed_lives(draw: st.DrawFn) -> list[Step | Look]:
    """Two SKUs, shipped late, and an appeal that may be won."""
    late = draw(st.sampled_from([47, 48, 72, 120]))
    outcome = draw(st.sampled_from(APPEAL_OUTCOMES))
    kind = draw(st.sampled_from(["late_shipment", "late_shipment", "stockout"]))
    steps: list[Step | Look] = [
        Step(PLACE_TWO, hours(0), None),
        Step(c.FormGroup(ship_by=MONDAY_8 + hours(49)), hours(1), None),
        Step(c.UploadTracking(carrier="SF", tracking_number="SF1"), hours(late), None),
        Step(c.AppealViolation(violation_id=violation_id(kind)), hours(24), None),
        Step(c.DecideAppeal(violation_id=violation_id(kind), outcome=outcome), hours(24), None),
    ]
    return steps[: draw(st.sampled_from([2, 3, 4, 5, 5, 5]))]


several_lives = st.lists(st.one_of(observed_lives(), disputed_lives()), min_size=1, max_size=4)
shops = settings(
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # to shrink a shop takes longer than to read it
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)


@shops
@given(several_lives, shelves, st.data())
def test_a_filter_means_in_sql_what_it_means_in_the_domain(
    database_url: str,
    lives: list[list[Step | Look]],
    shelf: list[tuple[int, bool]],
    data: st.DataObject,
) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        shop = await a_shop(pool, lives, shelf)
        filters = Filters.of(shop)
        async with pool.read() as connection:
            for _ in range(12):
                at = data.draw(shop.moments)
                await orders_agree(connection, shop, at, data.draw(filters.orders))
                await orders_agree(connection, shop, at, OrderFilter(due_before=at))
                await deadlines_agree(connection, shop, at, data.draw(filters.deadlines))
                await deadlines_agree(connection, shop, at, DeadlineFilter(kind="contact_buyer"))
                await violations_agree(connection, shop, at, data.draw(filters.violations))

    on_database(database_url, work)


async def orders_agree(connection: ReadConnection, shop: Shop, at: datetime, filter: OrderFilter) -> None:
    listed = await every_item_both_ways(partial(list_orders, connection, shop.shop_id, at, filter, 2), 2)
    matching = [judged.order.order_sn for judged in shop.judged if filter.matches(judged, at)]
    assert sorted(each.order_sn for each in listed) == sorted(matching), filter


async def deadlines_agree(connection: ReadConnection, shop: Shop, at: datetime, filter: DeadlineFilter) -> None:
    """The deadlines of each order, and when to speak to the buyers of those at risk in a stockout case."""
    read = partial(list_deadlines, connection, shop.shop_id, at, filter, 3, book=BOOK)
    listed = await every_item_both_ways(read, 3)
    matching = [
        ListedDeadline.of(deadline_view(each, at), judged.order.order_sn)
        for judged, skus in shop.orders
        for each in deadlines(judged.order, judged.rules, judged.clocks, skus)
        if filter.matches(each, at)
    ]
    for case in await every_item(partial(list_cases, connection, shop.shop_id, BOOK, at, 5, state="open")):
        stockout_case = await find_case(connection, shop.shop_id, case.case_id)
        for order in await every_item(partial(orders_of, connection, shop.shop_id, BOOK, at, stockout_case, 5)):
            contact = Deadline("contact_buyer", order.contact.due_at, order.contact.met_at, order.contact.state)
            if order.standing == "at_risk" and filter.kind == contact.kind and filter.matches(contact, at):
                shown = replace(order.contact, sku_id=case.sku_id)
                matching.append(ListedDeadline.of(shown, order.order_sn))
    assert plain(listed) == plain(matching), filter


async def violations_agree(connection: ReadConnection, shop: Shop, at: datetime, filter: ViolationFilter) -> None:
    listed = await every_item_both_ways(partial(list_violations, connection, shop.shop_id, at, filter, 2), 2)
    matching = [
        ListedViolation.of(violation_view(each), judged.order.order_sn)
        for judged in shop.judged
        for each in judged.violations
        if filter.matches(each, at)
    ]
    assert plain(listed) == plain(matching), filter


@shops
@given(several_lives, st.data())
def test_a_report_counts_in_sql_what_it_counts_in_the_domain(
    database_url: str, lives: list[list[Step | Look]], data: st.DataObject
) -> None:
    async def work(pool: Pool, _: CommandPath) -> None:
        shop = await a_shop(pool, lives, [])
        async with pool.read() as connection:
            for at in data.draw(st.sets(shop.moments, max_size=6)):
                from_views = await daily_report(connection, shop.shop_id, PERIOD, at)
                assert from_views == report(count_days(shop.judged, PERIOD, at)), at

    on_database(database_url, work)


@shops
@given(several_lives, st.data())
def test_a_penalty_is_borne_in_sql_by_whom_it_is_borne_in_the_domain(
    database_url: str, lives: list[list[Step | Look]], data: st.DataObject
) -> None:
    async def work(pool: Pool, _: CommandPath) -> None:
        shop = await a_shop(pool, lives, [])
        async with pool.read() as connection:
            for by, at in product(get_args(By), data.draw(st.sets(shop.moments, max_size=6))):
                sums = await every_item_both_ways(
                    partial(penalty_sums, connection, shop.shop_id, by, PERIOD, at, 2), 2
                )
                counts = sum_penalties(shop.judged, by, PERIOD, at)
                assert [(each.key, *_numbers(each)) for each in sums] == [
                    (key, *_numbers(counts[key])) for key in sorted(counts)
                ], (by, at)

    on_database(database_url, work)


def _numbers(sums: Any) -> tuple[int, int, int]:
    return sums.violations, sums.penalties_fen, sums.unknown_penalties
