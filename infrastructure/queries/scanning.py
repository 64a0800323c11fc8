"""Pages made by looking at orders one stretch after another, where no index knows what will be found.

The work of a page is bounded, not what it finds: it may hold fewer items than asked for and still have a next one.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from infrastructure.queries.lists import Page

STRETCH = 500
"""Orders looked at at once."""

MOST_STRETCHES = 4
"""How many of those one page looks through at most before it answers with what it has."""

_ALL = 2**31

T = TypeVar("T")


async def page_of(
    limit: int,
    after: tuple[str, int] | None,
    numbers_from: Callable[[str, int], Awaitable[Sequence[str]]],
    items_of: Callable[[Sequence[str]], Awaitable[Mapping[str, Sequence[T]]]],
) -> Page[T]:
    """Up to ``limit`` items, by order number.

    ``numbers_from`` gives the next so many order numbers from one on, in the database's order; ``items_of`` what is
    found on such orders, always in the same order. The key is an order and how many of its items were shown.
    """
    found: list[T] = []
    first, shown = after or ("", 0)
    for _ in range(MOST_STRETCHES):
        numbers = await numbers_from(first, STRETCH)
        items = await items_of(numbers)
        for number in numbers:
            done = shown if number == first else 0
            for place, item in enumerate(items[number][done:], start=done):
                if len(found) == limit:
                    return Page(found, (number, place))
                found.append(item)
        if len(numbers) < STRETCH:
            return Page(found, None)
        first, shown = numbers[-1], _ALL
    return Page(found, (first, shown))
