"""What the queries of views say of a moment in the past, they would have said then.

A generated shop is compared with one whose log has only the events that count at the moment.
"""

import uuid
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import count
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.history import Metadata
from domain.order import events as e
from domain.order.filters import DeadlineFilter, OrderFilter, ViolationFilter
from domain.sku import events as s
from domain.viewpoint import Viewpoint
from infrastructure.commands.committer import CommandPath
from infrastructure.database.pool import Pool, ReadConnection
from infrastructure.log.log import Append, append, new_event
from infrastructure.projections.views import VIEWS
from infrastructure.projections.worker import Worker
from infrastructure.queries.deadlines import list_deadlines
from infrastructure.queries.errors import UnknownSku, UnknownSupplier
from infrastructure.queries.lists import list_orders, list_violations
from infrastructure.queries.paging import every_item
from infrastructure.queries.reconciliation import list_differences, list_unmatched
from infrastructure.queries.stock import find_sku, list_skus, orders_at_risk
from infrastructure.queries.stockout_cases import find_case, list_cases, messages_of, orders_of
from infrastructure.queries.suppliers import find_supplier, list_suppliers, open_handovers
from infrastructure.queries.views_at import views_at
from infrastructure.runtime.message_templates import shipped_messages
from tests.domain.test_laws import Look, Step, lived, lives, observed_lives
from tests.domain.vocabulary import MONDAY_8, hours
from tests.infrastructure.projections.built import BOOK
from tests.infrastructure.queries.test_one_definition import of_order, shops
from tests.orders import on_database, order_sn


class Told(NamedTuple):
    """An event, the stream that it is of, and when the log learned of it."""

    recorded_at: datetime
    stream: str
    event: Any
    occurred_at: datetime
    metadata: Metadata


SKU_EVENTS = (
    s.SkuDelisted("缺货"),
    s.SkuRelisted(),
    s.StockCounted(3),
    s.StockCounted(0),
    s.CapacitySet(production_per_day=1, shipping_per_day=4),
)
sku_lives = st.lists(
    st.tuples(
        st.sampled_from(["SKU-1", "SKU-2", "SKU-3"]),
        st.sampled_from(SKU_EVENTS),
        st.sampled_from([1, 2, 4, 20, 47, 60, 130]),
        st.sampled_from([0, 0, 2, 50]),
    ),
    max_size=6,
)
shop_lives = st.lists(st.one_of(lives(), observed_lives()), min_size=1, max_size=4)
moments = st.sampled_from([MONDAY_8 + hours(h) for h in (-1, 0, 1, 2, 3, 5, 10, 25, 49, 60, 100, 150, 250, 500)])
viewpoints = st.one_of(
    moments.map(lambda at: Viewpoint(as_of=at)),
    moments.map(lambda at: Viewpoint(known_at=at)),
    st.tuples(moments, moments).map(lambda both: Viewpoint(*both)),
)


def told_of(
    orders: Sequence[Sequence[Step | Look]], skus: Sequence[tuple[str, s.SkuEvent, int, int]]
) -> list[Told]:
    """All events of a shop, as its log learns of them."""
    told = [
        Told(
            each.recorded_at,
            f"order:{order_sn(n)}",
            of_order(order_sn(n), each.event),
            each.occurred_at,
            each.metadata,
        )
        for n, steps in enumerate(orders)
        for each in lived(steps, BOOK).history
    ]
    for sku_id, event, at, late in skus:
        happened = MONDAY_8 + hours(at)
        told.append(Told(happened + hours(late), f"sku:{sku_id}", event, happened, Metadata()))
    return sorted(told, key=lambda each: each.recorded_at)


def can_be_compared(told: Sequence[Told], viewpoint: Viewpoint) -> bool:
    """Whether a log without the events that do not count is the same log.

    A fact that is taken back is named by its version, which is another one where an earlier event is missing.
    """
    return viewpoint.as_of is None or not any(isinstance(each.event, e.FactWithdrawn) for each in told)


async def a_shop(pool: Pool, told: Sequence[Told]) -> str:
    """A shop with these events, in the log and in the views."""
    shop_id = f"shop-{uuid.uuid4()}"
    versions: Counter[str] = Counter()
    async with pool.write() as connection:
        for each in told:
            new = new_event(each.event, each.occurred_at, each.metadata)
            appends = {shop_id: [Append(each.stream, versions[each.stream], [new])]}
            ((outcome,),) = (await append(connection, each.recorded_at, appends)).values()
            assert outcome.recorded_at == each.recorded_at
            versions[each.stream] += 1
    await Worker(pool, BOOK).catch_up(shop_id)
    return shop_id


async def everything(connection: ReadConnection, shop_id: str, at: datetime) -> dict[str, Any]:
    """What all queries of views say of a shop."""
    read_deadlines = partial(list_deadlines, connection, shop_id, at, DeadlineFilter(), 3, book=BOOK)
    contacts = DeadlineFilter(kind="contact_buyer")
    read_contacts = partial(list_deadlines, connection, shop_id, at, contacts, 1, book=BOOK)
    found: dict[str, Any] = {
        "orders": await every_item(partial(list_orders, connection, shop_id, at, OrderFilter(), 2)),
        "newest": await every_item(
            partial(list_orders, connection, shop_id, at, OrderFilter(), 2, sort="-placed_at")
        ),
        "deadlines": await every_item(read_deadlines),
        "contacts": await every_item(read_contacts),
        "violations": await every_item(partial(list_violations, connection, shop_id, at, ViolationFilter(), 2)),
        "skus": await every_item(partial(list_skus, connection, shop_id, BOOK, at, 1)),
        "oversold": await every_item(partial(list_skus, connection, shop_id, BOOK, at, 1, oversold=True)),
        "cases": await every_item(partial(list_cases, connection, shop_id, BOOK, at, 1)),
        "suppliers": await every_item(partial(list_suppliers, connection, shop_id, at, 1)),
        "differences": await every_item(partial(list_differences, connection, shop_id, BOOK, at, 2)),
        "unmatched": await every_item(partial(list_unmatched, connection, shop_id, 2)),
    }
    for sku in [each.sku_id for each in found["skus"]]:
        found[f"sku {sku}"] = await find_sku(connection, shop_id, BOOK, at, sku)
        found[f"at risk {sku}"] = await every_item(partial(orders_at_risk, connection, shop_id, BOOK, at, sku, 1))
    for number, view in zip(count(), found["cases"]):
        case = await find_case(connection, shop_id, view.case_id)
        read = partial(orders_of, connection, shop_id, BOOK, at, case, 1)
        found[f"orders of case {number}"] = await every_item(read)
        read_messages = partial(messages_of, connection, shop_id, BOOK, case, shipped_messages(), 1)
        found[f"messages of case {number}"] = await every_item(read_messages)
    for supplier in [each.supplier_id for each in found["suppliers"]]:
        found[f"supplier {supplier}"] = await find_supplier(connection, shop_id, supplier, at)
        handed = partial(open_handovers, connection, shop_id, supplier, at, 1)
        found[f"handovers {supplier}"] = await every_item(handed)
    return {name: without_places(msgspec.to_builtins(each)) for name, each in found.items()}


def without_places(value: Any) -> Any:
    """An answer without places in the log, which are others where the log has fewer events."""
    if isinstance(value, dict):
        places = {"version", "position", "case_id"}
        return {name: without_places(each) for name, each in value.items() if name not in places}
    return [without_places(each) for each in value] if isinstance(value, list) else value


@shops
@given(shop_lives, sku_lives, st.lists(viewpoints, min_size=1, max_size=3, unique=True))
def test_an_answer_of_a_moment_is_what_a_log_of_that_moment_answers(
    database_url: str,
    orders: list[Sequence[Step | Look]],
    skus: list[tuple[str, s.SkuEvent, int, int]],
    looked_from: list[Viewpoint],
) -> None:
    async def work(pool: Pool, _: CommandPath) -> None:
        told = told_of(orders, skus)
        whole = await a_shop(pool, told)
        for viewpoint in looked_from:
            if not can_be_compared(told, viewpoint):
                continue
            at = viewpoint.judged_at(MONDAY_8)
            as_of, known_at = viewpoint.as_of, viewpoint.known_at
            then = await a_shop(
                pool,
                [
                    each
                    for each in told
                    if (as_of is None or each.occurred_at <= as_of)
                    and (known_at is None or each.recorded_at <= known_at)
                ],
            )
            async with pool.read() as connection:
                expected = await everything(connection, then, at)
            async with views_at(database_url, whole, BOOK, viewpoint, VIEWS) as connection:
                assert await everything(connection, whole, at) == expected

    on_database(database_url, work)


def test_what_was_not_there_yet_is_unknown_at_that_moment(database_url: str) -> None:
    async def work(pool: Pool, _: CommandPath) -> None:
        later = MONDAY_8 + hours(5)
        shop_id = await a_shop(pool, [Told(later, "sku:SKU-1", s.StockCounted(3), later, Metadata())])
        before = Viewpoint(later - timedelta(seconds=1))
        async with views_at(database_url, shop_id, BOOK, before, VIEWS) as connection:
            with pytest.raises(UnknownSku):
                await find_sku(connection, shop_id, BOOK, later, "SKU-1")
            with pytest.raises(UnknownSupplier):
                await find_supplier(connection, shop_id, "S-17", later)
        async with views_at(database_url, shop_id, BOOK, Viewpoint(later), VIEWS) as connection:
            assert (await find_sku(connection, shop_id, BOOK, later, "SKU-1")).on_hand == 3

    on_database(database_url, work)


def test_nothing_of_another_moment_stays(database_url: str) -> None:
    """Also of another shop nothing is seen."""

    async def work(pool: Pool, _: CommandPath) -> None:
        counted = Told(MONDAY_8, "sku:SKU-1", s.StockCounted(3), MONDAY_8, Metadata())
        shop_id, other = await a_shop(pool, [counted]), await a_shop(pool, [counted])
        async with views_at(database_url, shop_id, BOOK, Viewpoint(MONDAY_8), VIEWS) as connection:
            assert await every_item(partial(list_skus, connection, other, BOOK, MONDAY_8, 1)) == []
            with pytest.raises(UnknownSku):
                await find_sku(connection, other, BOOK, MONDAY_8, "SKU-1")
        async with pool.read() as connection:
            temporary = await connection.execute("SELECT relname FROM pg_class WHERE relpersistence = 't'")
            assert await temporary.fetchall() == []

    on_database(database_url, work)
