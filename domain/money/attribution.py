"""Whose penalty it is: on which day a violation counts, and which order, SKU or day bears what it costs."""

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Literal

import msgspec

from domain.calendar import beijing_day
from domain.money.period import DayRange
from domain.order.events import Line
from domain.order.judged import Judged
from domain.order.state import Order
from domain.order.violations import Violation

By = Literal["order", "sku", "day"]
"""What penalties are summed up by."""

UNKNOWN_SKU = "unknown"
"""Bears the penalties of orders whose lines are not known."""


def counting_day(violation: Violation, at: datetime) -> date | None:
    """The Beijing day on which a violation counts: when it arose, once it stands and unless it was overturned."""
    return beijing_day(violation.arose_at) if violation.counts and violation.stands_at(at) else None


def shares(lines: Iterable[Line], penalty_fen: int | None) -> Mapping[str, int | None]:
    """The share of each SKU of an order in a penalty, by value: whole fen, which add up to the penalty.

    If all lines have value 0, the split is by pieces. If the lines are unknown, the SKU ``unknown`` bears all.
    """
    values = [(line.sku_id, line.quantity * line.unit_price_fen) for line in lines]
    if not any(value for _, value in values):
        values = [(line.sku_id, line.quantity) for line in lines] or [(UNKNOWN_SKU, 1)]
    if penalty_fen is None:
        return {sku_id: None for sku_id, _ in values}
    whole, up_to = sum(value for _, value in values), 0
    parts: dict[str, int] = {}
    for sku_id, value in values:
        part = penalty_fen * (up_to + value) // whole - penalty_fen * up_to // whole
        parts[sku_id] = parts.get(sku_id, 0) + part
        up_to += value
    return parts


def bearers(order: Order, violation: Violation, by: By) -> Mapping[str, int | None]:
    """Who bears the penalty of a violation, and how much each; ``None`` where the amount is not known."""
    match by:
        case "sku":
            return shares(order.lines, violation.penalty_fen)
        case "order":
            return {order.order_sn: violation.penalty_fen}
        case "day":
            return {beijing_day(violation.arose_at).isoformat(): violation.penalty_fen}


class Count(msgspec.Struct):
    """Violations and what they cost; ``penalties_fen`` leaves out the ``unknown_penalties``."""

    violations: int = 0
    penalties_fen: int = 0
    unknown_penalties: int = 0

    def add(self, other: "Count") -> None:
        self.violations += other.violations
        self.penalties_fen += other.penalties_fen
        self.unknown_penalties += other.unknown_penalties


def sum_penalties(orders: Iterable[Judged], by: By, period: DayRange, at: datetime) -> dict[str, Count]:
    """What the violations of a period come to at a moment, by order, SKU or day.

    A violation of an order with several SKUs counts for each of them, with its part of the penalty.
    """
    sums: dict[str, Count] = {}
    for judged in orders:
        for violation in judged.violations:
            day = counting_day(violation, at)
            if day is not None and period.first <= day <= period.last:
                for key, fen in bearers(judged.order, violation, by).items():
                    sums.setdefault(key, Count()).add(Count(1, fen or 0, fen is None))
    return sums
