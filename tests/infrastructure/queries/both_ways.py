"""Reading a list page by page: on to its end, and back to its beginning."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from infrastructure.queries.paging import Cursor, Page

T = TypeVar("T")
K = TypeVar("K", bound=tuple[Any, ...])

Read = Callable[[Cursor[K] | None], Awaitable[Page[T, K]]]

MOST_PAGES = 1_000


async def every_item_both_ways(read: Read[K, T], limit: int, *, whole_pages: bool = True) -> list[T]:
    """The items of all pages. Read back from any page, they are the same in the same order.

    ``whole_pages`` are full but for the last one; their items are then on the same page both ways.
    """
    pages = [await read(None)]
    assert pages[0].previous is None
    while (following := pages[-1].next) is not None:
        pages.append(await read(following))
        assert len(pages) < MOST_PAGES
    assert all(len(page.items) <= limit for page in pages)
    items = [item for page in pages for item in page.items]
    read_on = 0
    for number, page in enumerate(pages):
        assert (page.previous is None) == (number == 0)
        before = await _back(read, page.previous)
        assert [item for each in before for item in each.items] == items[:read_on]
        if whole_pages:
            assert [each.items for each in before] == [each.items for each in pages[:number]]
        if before:
            again = await _on(read, before[-1].next)
            assert [item for each in again for item in each.items] == items[read_on:]
        read_on += len(page.items)
    if whole_pages:
        assert all(len(page.items) == limit for page in pages[:-1])
    return items


async def _back(read: Read[K, T], cursor: Cursor[K] | None) -> list[Page[T, K]]:
    pages: list[Page[T, K]] = []
    while cursor is not None:
        pages.insert(0, await read(cursor))
        cursor = pages[0].previous
        assert len(pages) < MOST_PAGES
    return pages


async def _on(read: Read[K, T], cursor: Cursor[K] | None) -> list[Page[T, K]]:
    pages: list[Page[T, K]] = []
    while cursor is not None:
        pages.append(await read(cursor))
        cursor = pages[-1].next
        assert len(pages) < MOST_PAGES
    return pages
