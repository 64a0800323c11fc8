"""Pages: every item is on one of them, read on or back, and whatever is inserted or removed meanwhile."""

import asyncio
import base64
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.order.filters import DeadlineFilter, OrderFilter, ViolationFilter
from domain.viewpoint import Viewpoint
from infrastructure.commands.committer import CommandPath
from infrastructure.database.pool import Pool
from infrastructure.queries import paging
from infrastructure.queries.as_of import deadlines_at, orders_at, violations_at
from infrastructure.queries.doubtful import list_doubtful
from infrastructure.queries.paging import (
    Cursor,
    OrderKey,
    Page,
    decode_cursor,
    encode_cursor,
    page_by_order,
    page_of_sorted,
)
from infrastructure.queries.reconciliation import list_differences
from infrastructure.queries.stock import list_skus
from infrastructure.queries.stockout_cases import list_cases
from tests.domain.test_laws import Look, Step
from tests.domain.vocabulary import MONDAY_8
from tests.infrastructure.projections.built import BOOK
from tests.infrastructure.queries.both_ways import every_item_both_ways
from tests.infrastructure.queries.test_one_definition import LAST, a_shop, several_lives, shelves, shops
from tests.orders import on_database

Numbers = st.sets(st.integers(0, 30))


def of_numbers(numbers: Sequence[int], limit: int, cursor: Cursor[tuple[int]] | None) -> Page[int, tuple[int]]:
    return page_of_sorted(numbers, limit, cursor, lambda number: (number,))


@given(Numbers, st.integers(1, 7))
def test_pages_read_back_are_the_pages_read_on(numbers: set[int], limit: int) -> None:
    async def read(cursor: Cursor[tuple[int]] | None) -> Page[int, tuple[int]]:
        return of_numbers(sorted(numbers), limit, decode_cursor(encode_cursor(cursor), tuple[int]))

    assert asyncio.run(every_item_both_ways(read, limit)) == sorted(numbers)


@given(Numbers, Numbers, st.integers(1, 7), st.data())
def test_a_list_that_changes_shows_each_item_on_one_side_of_a_page(
    before: set[int], after: set[int], limit: int, data: st.DataObject
) -> None:
    page = of_numbers(sorted(before), limit, None)
    for _ in range(data.draw(st.integers(0, 4))):
        further = data.draw(st.sampled_from([page.next, page.previous]))
        page = of_numbers(sorted(before), limit, further) if further else page
    cursor = data.draw(st.sampled_from([page.next, page.previous]))
    if cursor is None:
        return
    one_way = of_numbers(sorted(after), len(after) + 1, cursor).items
    other_way = of_numbers(sorted(after), len(after) + 1, cursor.turned).items
    parts = [other_way, one_way] if not cursor.backwards else [one_way, other_way]
    assert [*parts[0], *parts[1]] == sorted(after)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.sampled_from([f"{n:02}" for n in range(40)]), st.integers(0, 3)),
    st.integers(1, 4),
    st.sampled_from([2, 3, 500]),
)
def test_pages_by_order_are_the_same_both_ways(
    monkeypatch: pytest.MonkeyPatch, items: dict[str, int], limit: int, at_once: int
) -> None:
    monkeypatch.setattr(paging, "ORDERS_AT_ONCE", at_once)
    orders = sorted(items)

    async def orders_from(first: str, count: int, backwards: bool) -> list[str]:
        if backwards:
            return orders[: bisect_right(orders, first)][::-1][:count]
        return orders[bisect_left(orders, first) :][:count]

    async def items_of(numbers: Sequence[str]) -> Mapping[str, Sequence[tuple[str, int]]]:
        return {number: [(number, n) for n in range(items[number])] for number in numbers}

    async def read(cursor: Cursor[OrderKey] | None) -> Page[tuple[str, int], OrderKey]:
        start = decode_cursor(encode_cursor(cursor), OrderKey)
        return await page_by_order(limit, start, orders_from, items_of)

    found = asyncio.run(every_item_both_ways(read, limit, whole_pages=at_once == 500))
    assert found == [(number, n) for number in orders for n in range(items[number])]


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ((datetime(2026, 3, 2, tzinfo=UTC), "260302-1"), tuple[datetime, str]),
        (("260302-1", 3), OrderKey),
        ((7,), tuple[int]),
    ],
)
def test_a_cursor_that_leads_on_is_what_cursors_always_were(key: tuple[Any, ...], kind: Any) -> None:
    of_old = base64.urlsafe_b64encode(msgspec.msgpack.encode(key)).decode().rstrip("=")
    assert decode_cursor(of_old, kind) == Cursor(key)
    assert encode_cursor(Cursor(key)) == of_old


@pytest.mark.parametrize(
    "text",
    ["", "?", "AAAA", encode_cursor(Cursor((1, 2))), encode_cursor(Cursor(("a\0b",))), encode_cursor(Cursor((1,)))],
)
def test_another_text_is_no_cursor_of_the_list(text: str) -> None:
    with pytest.raises(ValueError, match="not a cursor of this list"):
        decode_cursor(text, tuple[str])


of_moments: list[tuple[Any, Any]] = [
    (orders_at, OrderFilter()),
    (deadlines_at, DeadlineFilter()),
    (violations_at, ViolationFilter()),
]


@shops
@given(several_lives, shelves, st.data())
def test_every_list_of_a_shop_goes_both_ways(
    database_url: str,
    lives: list[list[Step | Look]],
    shelf: list[tuple[int, bool]],
    data: st.DataObject,
) -> None:
    async def work(pool: Pool, _: CommandPath) -> None:
        shop = await a_shop(pool, lives, shelf)
        name = shop.shop_id
        at = data.draw(shop.moments)
        limit = data.draw(st.integers(1, 3))
        oversold = data.draw(st.sampled_from([None, False]))
        async with pool.read() as connection:
            by_order: list[Any] = [
                partial(read, connection, name, BOOK, Viewpoint(as_of=at), LAST, filter, limit)
                for read, filter in of_moments
            ]
            by_order.append(partial(list_differences, connection, name, BOOK, LAST, limit))
            by_order.append(partial(list_doubtful, connection, name, BOOK, MONDAY_8, LAST, limit))
            for read in by_order:
                await every_item_both_ways(read, limit)
            skus = await every_item_both_ways(
                partial(list_skus, connection, name, BOOK, LAST, limit, oversold=oversold), limit, whole_pages=False
            )
            assert [sku.sku_id for sku in skus] == sorted({sku.sku_id for sku in skus})
            cases = await every_item_both_ways(partial(list_cases, connection, name, BOOK, LAST, limit), limit)
            assert [case.state for case in cases] == sorted((case.state for case in cases), reverse=True)

    on_database(database_url, work)
