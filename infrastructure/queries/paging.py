"""Pages: a few items of a list, and the cursors that lead on from them and back.

A page lies between two places of its list. A reader goes on from the one behind it and back from the one before it.
So every item is on one page alone, in whichever direction the pages are read, and in the same order. What is
inserted meanwhile appears on the pages still to be read.
"""

import base64
import binascii
from bisect import bisect_left, bisect_right
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import msgspec
from psycopg import sql

ORDERS_AT_ONCE = 500
"""Orders that are folded at once."""

MOST_ROUNDS = 4
"""How often one page folds so many orders at most before it answers with what it has."""

_ALL = 2**31

OrderKey = tuple[str, int]
"""The key of a list by order number: an order, and how many of its items stand before the place."""

T = TypeVar("T")
S = TypeVar("S")
K = TypeVar("K", bound=tuple[Any, ...])


class Cursor(msgspec.Struct, Generic[K], frozen=True, omit_defaults=True):
    """A place in a list, and which way to go from there: on, or ``backwards``.

    The place is behind the item that has ``key``, or ``before`` it. The item itself may be gone.
    """

    key: K
    before: bool = False
    backwards: bool = False

    @property
    def includes_key(self) -> bool:
        """Whether the item of the key itself is behind the cursor, in the direction in which it leads."""
        return self.before != self.backwards

    @property
    def turned(self) -> "Cursor[K]":
        """The same place, the other way."""
        return Cursor(self.key, self.before, not self.backwards)


@dataclass(frozen=True, slots=True)
class Page(Generic[T, K]):
    """Some items, and the cursors of the pages behind and before them; ``None`` where there is no more."""

    items: list[T]
    next: Cursor[K] | None
    previous: Cursor[K] | None = None

    def of(self, items: Sequence[S]) -> "Page[S, K]":
        """The same page with other items."""
        return Page(list(items), self.next, self.previous)


def page_of(rows: Sequence[T], limit: int, cursor: Cursor[K] | None, key: Callable[[T], K]) -> Page[T, K]:
    """A page of the rows behind a cursor, which are in the order in which they were read.

    One row more than ``limit`` tells that there are more.
    """
    shown = list(rows[:limit])
    if cursor is None or not cursor.backwards:
        on = Cursor(key(shown[-1])) if len(rows) > limit else None
        return Page(shown, on, cursor.turned if cursor else None)
    back = Cursor(key(shown[-1]), before=True, backwards=True) if len(rows) > limit else None
    return Page(shown[::-1], cursor.turned, back)


def page_of_sorted(
    items: Sequence[T], limit: int | None, cursor: Cursor[K] | None, key: Callable[[T], K]
) -> Page[T, K]:
    """A page of all items of a list, which are sorted by their keys; without a limit all behind the cursor."""
    rows = items
    if cursor is not None:
        keys = [key(item) for item in items]
        place = (bisect_left if cursor.before else bisect_right)(keys, cursor.key)
        rows = items[:place][::-1] if cursor.backwards else items[place:]
    return page_of(rows, len(items) if limit is None else limit, cursor, key)


def is_behind(key: K, cursor: Cursor[K] | None) -> bool:
    """Whether the item of a key is behind a cursor, in the direction in which it leads."""
    if cursor is None:
        return True
    if key == cursor.key:
        return cursor.includes_key
    return (key < cursor.key) == cursor.backwards


class Keyset:
    """The SQL of a page: which rows are behind a cursor, and in which order they are read.

    ``columns`` are the columns of the key, which must be unique. A ``descending`` list begins with the largest.
    """

    def __init__(
        self, columns: Sequence[sql.Composable], cursor: Cursor[Any] | None, *, descending: bool = False
    ) -> None:
        self._columns = columns
        self._cursor = cursor
        self._falling = descending != (cursor is not None and cursor.backwards)

    @property
    def columns(self) -> sql.Composed:
        """The columns of the key, as a query selects them."""
        return sql.SQL(", ").join(self._columns)

    @property
    def order(self) -> sql.Composed:
        """What stands behind ``ORDER BY``."""
        direction = sql.SQL(" DESC" if self._falling else "")
        return sql.SQL(", ").join(column + direction for column in self._columns)

    @property
    def condition(self) -> sql.Composable:
        """Which rows are behind the cursor; its ``parameters`` go with it."""
        if self._cursor is None:
            return sql.SQL("true")
        return sql.SQL("({}) {} ({})").format(
            self.columns,
            sql.SQL(("<" if self._falling else ">") + ("=" if self._cursor.includes_key else "")),
            sql.SQL(", ").join(map(sql.Placeholder, self.parameters)),
        )

    @property
    def parameters(self) -> dict[str, Any]:
        key = self._cursor.key if self._cursor else ()
        return {f"key_{n}": part for n, part in enumerate(key)}


def encode_cursor(cursor: Cursor[Any] | None) -> str | None:
    """A cursor as opaque text. One that leads on is only its key, as all cursors once were."""
    if cursor is None:
        return None
    plain = not (cursor.before or cursor.backwards)
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(cursor.key if plain else cursor)).decode().rstrip("=")


def decode_cursor(text: str | None, key: Any) -> Cursor[Any] | None:
    """The cursor of a text that ``encode_cursor`` made for a list with keys of this type.

    Raises ``ValueError`` for any other text.
    """
    if text is None:
        return None
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        decoded = msgspec.msgpack.decode(raw, type=key | Cursor[key])
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        raise ValueError("not a cursor of this list") from error
    cursor: Cursor[Any] = decoded if isinstance(decoded, Cursor) else Cursor(decoded)
    if not all(map(_is_storable, cursor.key)):
        raise ValueError("not a cursor of this list")
    return cursor


def _is_storable(part: object) -> bool:
    """No text in the database holds a NUL. Every time there has an offset and can be written in UTC."""
    if isinstance(part, datetime):
        try:
            return part.tzinfo is not None and part.astimezone(UTC).year > 0
        except OverflowError:
            return False
    return not (isinstance(part, str) and "\0" in part)


async def every_item(read: Callable[[Cursor[K] | None], Awaitable[Page[T, K]]]) -> list[T]:
    """The items of all pages, each read from the end of the one before."""
    page = await read(None)
    items = page.items
    while page.next is not None:
        page = await read(page.next)
        items += page.items
    return items


async def page_by_order(
    limit: int,
    cursor: Cursor[OrderKey] | None,
    orders_from: Callable[[str, int, bool], Awaitable[Sequence[str]]],
    items_of: Callable[[Sequence[str]], Awaitable[Mapping[str, Sequence[T]]]],
) -> Page[T, OrderKey]:
    """Up to ``limit`` items by order number, where no index knows which orders have any.

    ``orders_from`` gives the next so many order numbers from one on, in the database's order, or backwards.
    ``items_of`` gives the items of such orders, always in the same order. The work of a page is bounded, not what
    it finds: it may hold fewer than ``limit`` items and still have a next page.
    """
    backwards = cursor is not None and cursor.backwards
    items: list[T] = []
    first, shown = cursor.key if cursor else ("", 0)

    def page(end: OrderKey | None) -> Page[T, OrderKey]:
        further = None if end is None else Cursor(end, backwards=backwards)
        start = cursor.turned if cursor else None
        return Page(items[::-1], start, further) if backwards else Page(items, further, start)

    for _ in range(MOST_ROUNDS):
        numbers = await orders_from(first, ORDERS_AT_ONCE, backwards)
        by_order = await items_of(numbers)
        for number in numbers:
            places = list(enumerate(by_order[number]))
            if number == first:
                places = places[:shown] if backwards else places[shown:]
            for place, item in reversed(places) if backwards else places:
                if len(items) == limit:
                    return page((number, place + 1 if backwards else place))
                items.append(item)
        if len(numbers) < ORDERS_AT_ONCE:
            return page(None)
        first, shown = numbers[-1], 0 if backwards else _ALL
    return page((first, shown))


def directed(query: str, *, backwards: bool) -> str:
    """A query of ``orders_from``, which reads from ``first`` on or backwards."""
    return query.format(
        from_first="<= %(first)s" if backwards else ">= %(first)s", direction="DESC" if backwards else "ASC"
    )
