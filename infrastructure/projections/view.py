"""What a view is: a table and a pure function from a folded order or SKU to its rows.

A view's rows never depend on the moment of asking, only on the order and its rules, or on the SKU; so a live
update and a rebuild, which both call ``rows``, can't disagree.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from domain.order.judged import Judged
from domain.order.state import Order
from domain.rules.ruleset import RuleBook
from infrastructure.log.streams import OF_ORDER, AnyKind, State

Row = tuple[Any, ...]

FAR_FUTURE = datetime(9999, 12, 31, tzinfo=UTC)
"""Stands for "no such time" in columns that are sorted by; it sorts last."""


class Column(NamedTuple):
    """A column and its PostgreSQL type; ``optional`` ones may be null.

    A value of type ``json`` is its bytes, of ``text[]`` a list.
    """

    name: str
    type: str
    optional: bool = False


class Index(NamedTuple):
    """An index: the end of its name, and what follows ``ON table`` in its definition."""

    name: str
    on: str


class View(NamedTuple):
    """A projection: what its rows are, and where and as what they are stored.

    ``columns`` follow ``shop_id`` and the id of the order or SKU, and ``rows`` gives their values: for an order
    as it is ``Judged``, for a ``Sku``. Whoever changes what ``rows`` gives raises ``version``: the view is then
    built anew. ``table`` is the name it is read by; each build has its own table behind it. ``key`` is unique and
    begins with that id: it is the one index by which the rows of one are found (``rows_of_one``).
    """

    name: str
    version: int
    table: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    indexes: tuple[Index, ...]
    rows: Callable[[Any], Iterable[Row]]
    of: AnyKind = OF_ORDER

    @property
    def rows_of_one(self) -> str:
        """How a statement finds the rows ``v`` of an order or SKU ``w``.

        Every index but the key begins with the shop. Hidden like this the shop can't lead the planner to one of
        them, which it may choose while a table is so new that nothing is known of it, and then reads the whole
        shop for each.
        """
        return f"v.{self.of.id_column} = w.id AND v.shop_id || '' = w.shop_id"


def judged(state: State, book: RuleBook) -> Any:
    """What views are given: an order with its rules, a SKU as it is."""
    return Judged.by(book, state) if isinstance(state, Order) else state
