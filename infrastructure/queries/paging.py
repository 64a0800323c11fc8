"""Pages: a few items of a list, and the key behind which the next page begins."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

ORDERS_AT_ONCE = 500
"""Orders that are folded at once."""

MOST_ROUNDS = 4
"""How often one page folds so many orders at most before it answers with what it has."""

_ALL = 2**31

OrderKey = tuple[str, int]
"""The key of a list by order number: an order, and how many of its items were shown."""

T = TypeVar("T")
K = TypeVar("K", bound=tuple[Any, ...])


@dataclass(frozen=True, slots=True)
class Page(Generic[T, K]):
    """Some items, and the key behind which the next page begins; ``None`` when there is no more."""

    items: list[T]
    next_key: K | None


async def every_item(read: Callable[[K | None], Awaitable[Page[T, K]]]) -> list[T]:
    """The items of all pages, each read from the key of the one before."""
    page = await read(None)
    items = page.items
    while page.next_key is not None:
        page = await read(page.next_key)
        items += page.items
    return items


async def page_by_order(
    limit: int,
    after: OrderKey | None,
    orders_from: Callable[[str, int], Awaitable[Sequence[str]]],
    items_of: Callable[[Sequence[str]], Awaitable[Mapping[str, Sequence[T]]]],
) -> Page[T, OrderKey]:
    """Up to ``limit`` items by order number, where no index knows which orders have any.

    ``orders_from`` gives the next so many order numbers from one on, in the database's order. ``items_of`` gives
    the items of such orders, always in the same order. The work of a page is bounded, not what it finds: it may
    hold fewer than ``limit`` items and still have a next page.
    """
    items: list[T] = []
    first, shown = after or ("", 0)
    for _ in range(MOST_ROUNDS):
        numbers = await orders_from(first, ORDERS_AT_ONCE)
        by_order = await items_of(numbers)
        for number in numbers:
            skipped = shown if number == first else 0
            for place, item in enumerate(by_order[number][skipped:], start=skipped):
                if len(items) == limit:
                    return Page(items, (number, place))
                items.append(item)
        if len(numbers) < ORDERS_AT_ONCE:
            return Page(items, None)
        first, shown = numbers[-1], _ALL
    return Page(items, (first, shown))
