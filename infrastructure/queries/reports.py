"""Daily reports: from the views as a shop's days are now, from the log as they were at another moment.

``domain.money.daily_report`` defines what a report counts. The SQL repeats it over the rows of the views.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime

from domain.calendar import BEIJING
from domain.money.daily_report import DailyReport, DayCounts, ReportedDay, count_days, report
from domain.money.period import DayRange
from domain.order.judged import Judged
from domain.order.state import Order
from domain.rules.ruleset import RuleBook
from domain.viewpoint import Viewpoint
from infrastructure.database.pool import ReadConnection
from infrastructure.projections.views import ORDERS, VIOLATIONS
from infrastructure.queries.as_of import OnProgress, every_order_at

VIEWS_READ = (ORDERS, VIOLATIONS)
"""The views that the report is read from."""

COUNTS = "v.stands_from <= %(at)s AND v.arose_at <= %(at)s AND v.appeal_state <> 'overturned'"
"""Whether a row ``v`` of the violations counts at a moment; ``domain.money.attribution.counting_day`` in SQL."""

_BY_DAY = f"""
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
      AND {COUNTS}
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


async def daily_report(connection: ReadConnection, shop_id: str, period: DayRange, at: datetime) -> DailyReport:
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
            "since": period.since,
            "until": period.until,
        },
    )
    return DailyReport.of([ReportedDay(*row) for row in await cursor.fetchall()])


@dataclass(frozen=True, slots=True)
class _CountDays:
    """Counts the orders of a part of a shop, in any process."""

    book: RuleBook
    period: DayRange
    at: datetime

    def __call__(self, orders: Iterable[Order]) -> dict[date, DayCounts]:
        return count_days((Judged.by(self.book, order) for order in orders), self.period, self.at)


async def daily_report_at(
    url: str,
    shop_id: str,
    book: RuleBook,
    period: DayRange,
    viewpoint: Viewpoint,
    now: datetime,
    *,
    on_progress: OnProgress = lambda done, total: None,
) -> DailyReport:
    """The days of a period as they stood at a viewpoint, from exactly the events that count there.

    The whole shop is folded. Raises ``ReplayFailed``.
    """
    days = {day: DayCounts() for day in period.days}
    task = _CountDays(book, period, viewpoint.judged_at(now))
    async for part in every_order_at(url, shop_id, viewpoint, task, on_progress):
        for day, counts in part.items():
            days[day].add(counts)
    return report(days)
