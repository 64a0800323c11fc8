"""The SKU as the outside sees it: its own facts, and what follows from them and from the orders."""

from collections.abc import Sequence
from datetime import datetime
from typing import Self

import msgspec

from domain.rules.ruleset import RuleBook
from domain.sku.state import Sku
from domain.stock.sellable import Demand, Step, StockWarning, horizon, sellable
from domain.stockout.case import StockoutCase
from domain.stockout.case_view import delisting


class SkuFacts(msgspec.Struct, frozen=True):
    """The facts of a SKU: the last count, its capacity, and whether it can be bought.

    ``counted_on_hand`` is the result of the count, ``counted_at`` its time; both are null before the first count.
    """

    sku_id: str
    version: int
    position: int
    listed: bool
    delisted_at: datetime | None
    counted_on_hand: int | None
    counted_at: datetime | None
    production_per_day: int | None
    shipping_per_day: int | None

    @classmethod
    def of(cls, sku: Sku) -> Self:
        return cls(
            sku_id=sku.sku_id,
            version=sku.version,
            position=sku.position,
            listed=sku.listed,
            delisted_at=sku.delisted_at,
            counted_on_hand=sku.count.on_hand if sku.count else None,
            counted_at=sku.count.at if sku.count else None,
            production_per_day=sku.capacity.production_per_day if sku.capacity else None,
            shipping_per_day=sku.capacity.shipping_per_day if sku.capacity else None,
        )


class SkuView(msgspec.Struct, frozen=True):
    """A SKU at a moment, in pieces.

    ``on_hand`` is the last count less what was shipped since; ``reserved`` is owed to open orders, ``pending``
    paid for in groups that have not formed. ``because`` are the steps to ``sellable``, for an order that must be
    shipped by ``ship_by``. ``delist_due_at`` is by when it had to be off the shelf and is not; ``at_risk_orders``
    counts the open orders of its open case ``case_id`` that have not applied.
    """

    sku_id: str
    version: int
    position: int
    listed: bool
    delisted_at: datetime | None
    on_hand: int | None
    counted_on_hand: int | None
    counted_at: datetime | None
    reserved: int
    pending: int
    open_orders: int
    production_per_day: int | None
    shipping_per_day: int | None
    ship_by: datetime
    sellable: int | None
    because: tuple[Step, ...]
    suggested_stock: int | None
    oversold_by: int
    delist_due_at: datetime | None
    at_risk_orders: int
    case_id: str | None
    warnings: tuple[StockWarning, ...]


def ordinary_hours(book: RuleBook, now: datetime) -> int:
    """Within how many hours an ordinary order whose group forms now must be shipped."""
    return book.in_force(now).ship_by.ordinary_hours()


def view(sku: Sku, demand: Demand, cases: Sequence[StockoutCase], book: RuleBook, now: datetime) -> SkuView:
    """The SKU as it stands at a moment."""
    limit = ordinary_hours(book, now)
    arithmetic = sellable(sku, demand, limit, now)
    facts = SkuFacts.of(sku)
    case = cases[-1] if cases and cases[-1].closed_at is None else None
    on_sale = case is not None and sku.listed and case.restocked_at is None
    due_at = delisting(case, book).due_at if case and on_sale else None
    warnings = arithmetic.warnings
    if due_at is not None and due_at <= now:
        warnings = (*warnings, StockWarning("delist", "Stockout was applied for; take it off the shelf at once."))
    return SkuView(
        sku_id=sku.sku_id,
        version=sku.version,
        position=sku.position,
        listed=facts.listed,
        delisted_at=facts.delisted_at,
        on_hand=arithmetic.on_hand,
        counted_on_hand=facts.counted_on_hand,
        counted_at=facts.counted_at,
        reserved=demand.reserved,
        pending=demand.pending,
        open_orders=demand.orders,
        production_per_day=facts.production_per_day,
        shipping_per_day=facts.shipping_per_day,
        ship_by=horizon(limit, now),
        sellable=arithmetic.sellable,
        because=arithmetic.because,
        suggested_stock=arithmetic.suggested_stock,
        oversold_by=arithmetic.oversold_by,
        delist_due_at=due_at,
        at_risk_orders=case.counts()["at_risk"] if case else 0,
        case_id=case.case_id if case else None,
        warnings=warnings,
    )
