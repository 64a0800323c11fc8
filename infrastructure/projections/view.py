"""A view: a table, and a pure function from a folded order or SKU to its rows.

A view's rows never depend on the time of a query. They depend only on the order and its rules, or on the SKU. A
live update and a rebuild both call ``rows``, so they can't disagree.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, NamedTuple

from domain.order.judged import Judged
from domain.order.state import Order
from domain.rules.ruleset import RuleBook
from domain.sku.state import Sku
from infrastructure.log.streams import OF_ORDER, OF_SKU, AnyKind, StreamState

Row = tuple[Any, ...]

FAR_FUTURE = datetime(9999, 12, 31, tzinfo=UTC)
"""Means "no such time" in columns that lists are sorted by. It sorts last."""


class Column(NamedTuple):
    """A column and its PostgreSQL type. If ``optional`` it may be null.

    A value of type ``json`` is given as its bytes, one of type ``text[]`` as a list.
    """

    name: str
    type: str
    optional: bool = False


class Index(NamedTuple):
    """An index: the end of its name, and the part of its definition after ``ON table``."""

    name: str
    on: str


@dataclass(frozen=True)
class View:
    """A projection: the table that stores its rows. ``ViewOfOrders`` and ``ViewOfSkus`` add what makes them.

    A table has ``shop_id``, the id of the order or SKU, and then ``columns``. Whoever changes the rows must raise
    ``version``; the view is then built anew. ``table`` is the name for queries; behind it each build has its own
    table. ``key`` is unique and begins with the id of the order or SKU. It is the only index for finding the rows
    of one (``rows_of_one``).
    """

    name: str
    version: int
    table: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    indexes: tuple[Index, ...]

    of: ClassVar[AnyKind]

    @property
    def rows_of_one(self) -> str:
        """The condition that joins the rows ``v`` to an order or SKU ``w``.

        Every index but the key begins with the shop. While a table is new and has no statistics, the planner may
        choose one of them, and then it reads the whole shop for each order. The expression hides the shop from the
        planner, so that it uses the key.
        """
        return f"v.{self.of.id_column} = w.id AND v.shop_id || '' = w.shop_id"


@dataclass(frozen=True)
class ViewOfOrders(View):
    """A view whose rows are made of judged orders; ``rows`` gives the values of ``columns``."""

    rows: Callable[[Judged], Iterable[Row]]

    of = OF_ORDER


@dataclass(frozen=True)
class ViewOfSkus(View):
    """A view whose rows are made of SKUs; ``rows`` gives the values of ``columns``."""

    rows: Callable[[Sku], Iterable[Row]]

    of = OF_SKU


def make_rows(view: View, subject: Judged | Sku) -> Iterable[Row]:
    """The rows that a view has of an order or SKU: none where it is a view of the other."""
    match view, subject:
        case ViewOfOrders(), Judged():
            return view.rows(subject)
        case ViewOfSkus(), Sku():
            return view.rows(subject)
        case _:
            return ()


def judged(state: StreamState, book: RuleBook) -> Judged | Sku:
    """What rows are made of: a judged order, or the SKU itself."""
    return Judged.by(book, state) if isinstance(state, Order) else state
