"""How many pieces of a SKU may still be sold, with the arithmetic, step by step. Source: real-stock.

What lies in the warehouse, and what is made in time, less what open orders are owed, as far as shipping can
move it before the ship-by of an order whose group forms now. What is sold beyond that is a stockout.

Production and shipping are spread evenly over the day: of ``n`` pieces in 24 hours the k-th is done after
``k * 24 / n`` hours. A piece can be shipped once it is made, and each takes its own share of the shipping.
Open orders go first.
"""

from datetime import datetime, timedelta
from typing import Literal

import msgspec

from domain.calendar import beijing_minute
from domain.sku.state import Capacity, Sku

StepName = Literal["counted", "not_counted", "shipped", "made", "shipping", "reserved", "short", "delisted"]
StockWarningCode = Literal["oversold", "pending", "not_counted", "delist"]


class Step(msgspec.Struct, frozen=True):
    """A step of the arithmetic: pieces added or taken away, and why. All together are what may be sold."""

    step: StepName
    quantity: int
    detail: str


class StockWarning(msgspec.Struct, frozen=True):
    """What somebody should do something about."""

    code: StockWarningCode
    detail: str


class Demand(msgspec.Struct, frozen=True):
    """What orders want of a SKU, in pieces, and how many orders that are.

    ``reserved`` is owed to open orders: their group formed, and they are neither shipped nor ended; ``due`` is
    the part of it that must be shipped before the ship-by of a new order. ``pending`` is paid for in groups
    that have not formed. ``shipped`` left the warehouse since the last count.
    """

    reserved: int = 0
    due: int = 0
    pending: int = 0
    shipped: int = 0
    orders: int = 0


class Sellable(msgspec.Struct, frozen=True):
    """``sellable`` is null while the stock was never counted; ``because`` are the steps to it.

    ``on_hand`` is what is surely there: the count less what was shipped since. ``oversold_by`` are pieces due
    before the ship-by of a new order that can't be shipped by then. ``suggested_stock`` is what to set on the
    platform: groups that may still form are taken off.
    """

    on_hand: int | None
    sellable: int | None
    because: tuple[Step, ...]
    oversold_by: int
    suggested_stock: int | None
    warnings: tuple[StockWarning, ...]


def horizon(hours: int, now: datetime) -> datetime:
    """The ship-by of an order whose group forms now."""
    return now + timedelta(hours=hours)


def sellable(sku: Sku, demand: Demand, hours: int, now: datetime) -> Sellable:
    """What may still be sold of a SKU now, when a new order must be shipped within ``hours``."""
    ship_by = horizon(hours, now)
    if sku.count is None:
        return _not_counted(sku, demand)
    on_hand = max(sku.count.on_hand - demand.shipped, 0)
    steps = [
        Step("counted", sku.count.on_hand, f"{sku.count.on_hand} were counted at {beijing_minute(sku.count.at)}."),
    ]
    if demand.shipped:
        unknown = "; what was made since then is not known to be there" if on_hand == 0 else ""
        steps.append(
            Step("shipped", on_hand - sku.count.on_hand, f"{demand.shipped} were shipped since the count{unknown}.")
        )
    made, movable = _by(ship_by, sku.capacity, hours)
    if sku.capacity is None:
        steps.append(Step("made", 0, "No capacity is set, so no production is counted on."))
    else:
        per_day = sku.capacity.production_per_day
        steps.append(
            Step(
                "made",
                made,
                f"{per_day} a day are made; {made} early enough to be shipped by {beijing_minute(ship_by)}.",
            )
        )
    there = on_hand + made
    if movable is None:
        steps.append(Step("shipping", 0, "No capacity is set, so shipping is not taken for a limit."))
    else:
        per_day = sku.capacity.shipping_per_day if sku.capacity else 0
        over = max(there - movable, 0)
        steps.append(
            Step("shipping", -over, f"{per_day} a day can be shipped: {movable} in the {hours} hours till then.")
        )
        there -= over
    steps.append(
        Step("reserved", -demand.reserved, f"{demand.orders} open orders are owed {demand.reserved} and go first.")
    )
    left = there - demand.reserved
    if left < 0:
        steps.append(Step("short", -left, f"{-left} are owed beyond that; less than none can't be sold."))
        left = 0
    beyond = demand.pending - left
    if (delisted_at := sku.delisted_at) is not None:
        steps.append(Step("delisted", -left, _off_sale(delisted_at)))
        left = 0
    oversold_by = max(demand.due - there, 0)
    warnings = []
    if oversold_by:
        warnings.append(
            StockWarning(
                "oversold",
                f"{oversold_by} of {demand.due} pieces due by {beijing_minute(ship_by)} can't be shipped by then. "
                "Sell no more; make more, ship more, or apply for stockout.",
            )
        )
    if beyond > 0:
        warnings.append(
            StockWarning(
                "pending",
                f"{demand.pending} pieces are paid for in groups that may still form, {beyond} more than can be "
                "shipped then.",
            )
        )
    return Sellable(on_hand, left, tuple(steps), oversold_by, max(left - demand.pending, 0), tuple(warnings))


def _not_counted(sku: Sku, demand: Demand) -> Sellable:
    step = Step("not_counted", 0, "The stock was never counted; tell it with count-stock.")
    if (delisted_at := sku.delisted_at) is not None:
        return Sellable(None, 0, (step, Step("delisted", 0, _off_sale(delisted_at))), 0, 0, ())
    warnings = (StockWarning("not_counted", step.detail),) if demand.reserved or demand.pending else ()
    return Sellable(None, None, (step,), 0, None, warnings)


def _by(ship_by: datetime, capacity: Capacity | None, hours: int) -> tuple[int, int | None]:
    """How many pieces are made early enough to be shipped in these hours, and how many can be shipped at all.

    The last parcel leaves when the last whole one is done; what is made after that stays.
    """
    if capacity is None:
        return 0, None
    movable = capacity.shipping_per_day * hours // 24
    if movable == 0:
        return 0, 0
    return capacity.production_per_day * movable // capacity.shipping_per_day, movable


def _off_sale(delisted_at: datetime) -> str:
    return f"It was delisted at {beijing_minute(delisted_at)}; nothing is for sale."
