"""What a daily report counts. Orders count on the day their group formed, violations on the day they arose."""

from collections.abc import Iterable, Mapping
from datetime import date, datetime

import msgspec

from domain.calendar import beijing_day
from domain.kernel import ViolationKind
from domain.money.attribution import counting_day
from domain.money.period import DayRange
from domain.order.judged import Judged


class ReportedDay(msgspec.Struct, frozen=True):
    """A Beijing calendar day of a shop.

    ``on_time_rate`` is between 0 and 1, and ``None`` while no order of the day is decided. Where
    ``unknown_penalties`` isn't 0, ``penalties_fen`` is the sum of the others.
    """

    day: date
    orders_formed: int
    shipped_on_time: int
    late: int
    on_time_rate: float | None
    stockouts: int
    false_shipments: int
    fraudulent_shipments: int
    penalties_fen: int
    unknown_penalties: int


class DailyReport(msgspec.Struct, frozen=True):
    """A shop's days, each of the period, oldest first. It is one page, always."""

    items: tuple[ReportedDay, ...]
    unknown_penalties: int
    next_cursor: None = None
    previous_cursor: None = None

    @classmethod
    def of(cls, days: Iterable[ReportedDay]) -> "DailyReport":
        items = tuple(days)
        return cls(items, sum(day.unknown_penalties for day in items))


class DayCounts(msgspec.Struct):
    """What is counted of a day; the fields are those of ``ReportedDay``."""

    orders_formed: int = 0
    shipped_on_time: int = 0
    late: int = 0
    stockouts: int = 0
    false_shipments: int = 0
    fraudulent_shipments: int = 0
    penalties_fen: int = 0
    unknown_penalties: int = 0

    def add(self, other: "DayCounts") -> None:
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


_OF_KIND: Mapping[ViolationKind, str] = {
    "stockout": "stockouts",
    "false_shipment": "false_shipments",
    "fraudulent_shipment": "fraudulent_shipments",
}
"""The field that counts violations of a kind. Late shipments are counted as late orders."""


def count_days(orders: Iterable[Judged], period: DayRange, at: datetime) -> dict[date, DayCounts]:
    """Count orders and violations on the days of a period, as they stand at a moment."""
    days = {day: DayCounts() for day in period.days}
    for judged in orders:
        formed_at = judged.order.group_formed_at
        if formed_at and (counts := days.get(beijing_day(formed_at))):
            counts.orders_formed += 1
            state = judged.clocks.upload.state(at)
            counts.shipped_on_time += state == "met"
            counts.late += state == "missed"
        for violation in judged.violations:
            day = counting_day(violation, at)
            if day is not None and (counts := days.get(day)):
                if name := _OF_KIND.get(violation.kind):
                    setattr(counts, name, getattr(counts, name) + 1)
                counts.penalties_fen += violation.penalty_fen or 0
                counts.unknown_penalties += violation.penalty_fen is None
    return days


def report(days: Mapping[date, DayCounts]) -> DailyReport:
    """The report of counted days, in their order."""
    return DailyReport.of(_reported(day, counts) for day, counts in days.items())


def _reported(day: date, counts: DayCounts) -> ReportedDay:
    decided = counts.shipped_on_time + counts.late
    rate = counts.shipped_on_time / decided if decided else None
    return ReportedDay(day=day, on_time_rate=rate, **msgspec.structs.asdict(counts))
