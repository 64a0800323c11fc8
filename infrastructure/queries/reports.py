"""Reports: what a shop's days were like, counted from the views when asked, for another moment from the log.

A day is a calendar day in Beijing. Orders count on the day their group formed, violations on the day they
arose; ``docs/reference/reports.md`` says what each figure means.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import NamedTuple, Self

import msgspec

from domain.calendar import BEIJING
from domain.kernel import ViolationKind
from domain.order.judged import Judged
from domain.order.state import Order
from domain.rules.ruleset import RuleBook
from domain.viewpoint import Viewpoint
from infrastructure.database.pool import ReadConnection
from infrastructure.projections.views import ORDERS, VIOLATIONS
from infrastructure.queries.as_of import OnProgress, every_order_at

VIEWS = (ORDERS, VIOLATIONS)
"""The views that the report is read from."""

MOST_DAYS = 92
"""A quarter: the most that one report covers, so that its work is bounded."""

USUAL_DAYS = 7

_BY_DAY = """
WITH formed AS (
    SELECT (o.group_formed_at AT TIME ZONE %(beijing)s::interval)::date AS day,
           count(*) AS orders,
           count(*) FILTER (WHERE o.upload = 'met') AS on_time,
           count(*) FILTER (WHERE o.upload = 'missed' OR (o.upload IS NULL AND o.ship_by_key < %(at)s)) AS late
    FROM order_list o
    WHERE o.shop_id = %(shop_id)s AND o.group_formed_at >= %(since)s AND o.group_formed_at < %(until)s
    GROUP BY 1
), broken AS (
    SELECT (v.arose_at AT TIME ZONE %(beijing)s::interval)::date AS day,
           count(*) FILTER (WHERE v.kind = 'stockout') AS stockouts,
           count(*) FILTER (WHERE v.kind = 'false_shipment') AS false_shipments,
           count(*) FILTER (WHERE v.kind = 'fraudulent_shipment') AS fraudulent_shipments,
           coalesce(sum(v.penalty_fen), 0)::bigint AS penalties_fen,
           count(*) FILTER (WHERE v.penalty_fen IS NULL) AS unknown_penalties
    FROM violation_list v
    WHERE v.shop_id = %(shop_id)s AND v.arose_at >= %(since)s AND v.arose_at < %(until)s
      AND v.stands_from <= %(at)s AND v.arose_at <= %(at)s AND v.appeal_state <> 'overturned'
    GROUP BY 1
)
SELECT d.day, coalesce(orders, 0), coalesce(on_time, 0), coalesce(late, 0),
       on_time::float8 / nullif(on_time + late, 0),
       coalesce(stockouts, 0), coalesce(false_shipments, 0), coalesce(fraudulent_shipments, 0),
       coalesce(penalties_fen, 0), coalesce(unknown_penalties, 0)
FROM (SELECT %(first)s::date + n AS day FROM generate_series(0, %(last)s::date - %(first)s::date) AS n) d
LEFT JOIN formed USING (day) LEFT JOIN broken USING (day)
ORDER BY d.day
"""


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
    """A shop's days, each of the period, oldest first. There is never a next page."""

    items: tuple[ReportedDay, ...]
    unknown_penalties: int
    next_cursor: None = None


class BadPeriod(ValueError):
    """No report covers these days; the message says why and which it could."""


class Period(NamedTuple):
    """Days in Beijing, both inclusive."""

    first: date
    last: date

    @property
    def days(self) -> list[date]:
        return [self.first + timedelta(days=n) for n in range((self.last - self.first).days + 1)]

    @classmethod
    def of(cls, first: date | None, last: date | None, now: datetime) -> Self:
        """What is asked for; by default the seven days up to ``last``, and that is today. Raises ``BadPeriod``."""
        last = last or now.astimezone(BEIJING).date()
        first = first or last - timedelta(days=USUAL_DAYS - 1)
        if first > last:
            raise BadPeriod(f"{first} is after {last}, the last day asked for")
        earliest = last - timedelta(days=MOST_DAYS - 1)
        if first < earliest:
            raise BadPeriod(f"a report covers at most {MOST_DAYS} days; up to {last} it can begin on {earliest}")
        return cls(first, last)


async def daily_report(connection: ReadConnection, shop_id: str, period: Period, at: datetime) -> DailyReport:
    """The days of a period as they stand at ``at``: what is late by then, and which violations stand."""
    cursor = connection.cursor(binary=True)
    await cursor.execute(
        _BY_DAY,
        {
            "shop_id": shop_id,
            "at": at,
            "beijing": BEIJING.utcoffset(None),
            "first": period.first,
            "last": period.last,
            "since": datetime.combine(period.first, time(), BEIJING),
            "until": datetime.combine(period.last + timedelta(days=1), time(), BEIJING),
        },
    )
    days = tuple([ReportedDay(*row) for row in await cursor.fetchall()])
    return DailyReport(days, sum(day.unknown_penalties for day in days))


# ---- at another moment --------------------------------------------------------------------------------


class _Counts(msgspec.Struct):
    """What is counted of a day; the fields are those of ``ReportedDay``."""

    orders_formed: int = 0
    shipped_on_time: int = 0
    late: int = 0
    stockouts: int = 0
    false_shipments: int = 0
    fraudulent_shipments: int = 0
    penalties_fen: int = 0
    unknown_penalties: int = 0

    def add(self, other: "_Counts") -> None:
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


_BROKEN: dict[ViolationKind, str] = {
    "stockout": "stockouts",
    "false_shipment": "false_shipments",
    "fraudulent_shipment": "fraudulent_shipments",
}


@dataclass(frozen=True, slots=True)
class _Counting:
    """What a replay has counted of some orders: the same as ``_BY_DAY`` counts in rows of the views."""

    book: RuleBook
    period: Period
    at: datetime

    def __call__(self, orders: Iterable[Order]) -> dict[date, _Counts]:
        days = {day: _Counts() for day in self.period.days}
        for order in orders:
            judged = Judged.by(self.book, order)
            if order.group_formed_at and (day := days.get(_day(order.group_formed_at))):
                day.orders_formed += 1
                state = judged.clocks.upload.state(self.at)
                day.shipped_on_time += state == "met"
                day.late += state == "missed"
            for violation in judged.violations:
                day = days.get(_day(violation.arose_at))
                if day and violation.stands_from <= self.at and violation.arose_at <= self.at and violation.counts:
                    if violation.kind in _BROKEN:
                        name = _BROKEN[violation.kind]
                        setattr(day, name, getattr(day, name) + 1)
                    day.penalties_fen += violation.penalty_fen or 0
                    day.unknown_penalties += violation.penalty_fen is None
        return days


def _day(moment: datetime) -> date:
    return moment.astimezone(BEIJING).date()


async def daily_report_at(
    url: str,
    shop_id: str,
    book: RuleBook,
    period: Period,
    viewpoint: Viewpoint,
    now: datetime,
    *,
    on_progress: OnProgress = lambda done, total: None,
) -> DailyReport:
    """The days of a period as they stood at another moment, from exactly the events that may be seen from it.

    The whole shop is folded. Raises ``ReplayFailed``.
    """
    days = {day: _Counts() for day in period.days}
    counting = _Counting(book, period, viewpoint.judged_at(now))
    async for counted in every_order_at(url, shop_id, viewpoint, counting, on_progress):
        for day, counts in counted.items():
            days[day].add(counts)
    items = tuple([_reported(day, counts) for day, counts in days.items()])
    return DailyReport(items, sum(day.unknown_penalties for day in items))


def _reported(day: date, counts: _Counts) -> ReportedDay:
    decided = counts.shipped_on_time + counts.late
    rate = counts.shipped_on_time / decided if decided else None
    return ReportedDay(day=day, on_time_rate=rate, **msgspec.structs.asdict(counts))
