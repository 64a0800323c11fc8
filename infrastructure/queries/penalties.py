"""Penalties summed up by order, by SKU or by day: from the views when asked, for another moment from the log.

A violation counts on the day it arose, as in the daily report: once it stands, and unless it was overturned.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from heapq import nsmallest
from typing import Literal

import msgspec

from domain.calendar import BEIJING
from domain.order.events import Line
from domain.order.judged import Judged
from domain.order.state import Order
from domain.order.violations import Violation
from domain.rules.ruleset import RuleBook
from domain.viewpoint import Viewpoint
from infrastructure.database.pool import ReadConnection
from infrastructure.projections.views import ORDERS, VIOLATIONS
from infrastructure.queries.as_of import OnProgress, every_order_at
from infrastructure.queries.paging import Page
from infrastructure.queries.reports import Period

By = Literal["order", "sku", "day"]
PenaltyKey = tuple[str]

VIEWS = (VIOLATIONS, ORDERS)
"""The views that the sums are read from."""

_BROKEN = """
SELECT v.order_sn, v.violation_id, v.arose_at, v.penalty_fen FROM violation_list v
WHERE v.shop_id = %(shop_id)s AND v.arose_at >= %(since)s AND v.arose_at < %(until)s
  AND v.stands_from <= %(at)s AND v.arose_at <= %(at)s AND v.appeal_state <> 'overturned'
"""

# Each SKU bears its part of the order's value; whole fen, and together exactly the penalty.
_BY_SKU = """
SELECT sku_id, violation_id,
       (div(penalty_fen::numeric * up_to, whole) - div(penalty_fen::numeric * (up_to - value), whole))::bigint
FROM (
    SELECT sku_id, violation_id, penalty_fen, value,
           sum(value) OVER (PARTITION BY violation_id ORDER BY place) AS up_to,
           sum(value) OVER (PARTITION BY violation_id) AS whole
    FROM (
        SELECT coalesce(l.sku_id, 'unknown') AS sku_id, b.violation_id, b.penalty_fen,
               coalesce(l.place, 1) AS place,
               CASE WHEN coalesce(sum(l.quantity * l.unit_price_fen) OVER (PARTITION BY b.violation_id), 0) = 0
                    THEN coalesce(l.quantity, 1) ELSE l.quantity * l.unit_price_fen END AS value
        FROM broken b JOIN order_list o ON o.order_sn = b.order_sn AND o.shop_id || '' = %(shop_id)s
        LEFT JOIN LATERAL ROWS FROM (
            json_to_recordset(o.lines) AS (sku_id text, quantity bigint, unit_price_fen bigint)
        ) WITH ORDINALITY AS l(sku_id, quantity, unit_price_fen, place) ON true
    ) AS priced
) AS shared
"""

_ATTRIBUTED: dict[By, str] = {
    "order": "SELECT order_sn, violation_id, penalty_fen FROM broken",
    "day": """SELECT (arose_at AT TIME ZONE %(beijing)s::interval)::date::text, violation_id, penalty_fen
              FROM broken""",
    "sku": _BY_SKU,
}

_SUMMED = """
WITH broken AS ({broken})
SELECT key, count(DISTINCT violation_id), coalesce(sum(penalty_fen), 0)::bigint,
       count(DISTINCT violation_id) FILTER (WHERE penalty_fen IS NULL)
FROM ({attributed}) AS attributed(key, violation_id, penalty_fen)
WHERE key > %(after)s GROUP BY key ORDER BY key LIMIT %(limit)s
"""


class PenaltySum(msgspec.Struct, frozen=True):
    """What the violations of an order, a SKU or a Beijing day (``key``) cost.

    A violation of an order with several SKUs counts for each of them, with its part of the penalty. Where
    ``unknown_penalties`` isn't 0, ``penalties_fen`` is the sum of the others.
    """

    key: str
    violations: int
    penalties_fen: int
    unknown_penalties: int


async def penalty_sums(
    connection: ReadConnection,
    shop_id: str,
    by: By,
    period: Period,
    at: datetime,
    limit: int,
    after: PenaltyKey | None = None,
) -> Page[PenaltySum, PenaltyKey]:
    """Sums over a period as they stand at a moment, by key."""
    query = _SUMMED.format(broken=_BROKEN, attributed=_ATTRIBUTED[by])
    cursor = connection.cursor(binary=True)
    await cursor.execute(
        query,
        {
            "shop_id": shop_id,
            "at": at,
            "beijing": BEIJING.utcoffset(None),
            "since": datetime.combine(period.first, time(), BEIJING),
            "until": datetime.combine(period.last + timedelta(days=1), time(), BEIJING),
            "after": after[0] if after else "",
            "limit": limit + 1,
        },
    )
    found = [PenaltySum(*row) for row in await cursor.fetchall()]
    return Page(found[:limit], (found[limit - 1].key,) if len(found) > limit else None)


# ---- at another moment --------------------------------------------------------------------------------


class _Sum(msgspec.Struct):
    """What is summed up of a key; the fields are those of ``PenaltySum``."""

    violations: int = 0
    penalties_fen: int = 0
    unknown_penalties: int = 0

    def add(self, other: "_Sum") -> None:
        self.violations += other.violations
        self.penalties_fen += other.penalties_fen
        self.unknown_penalties += other.unknown_penalties


@dataclass(frozen=True, slots=True)
class _Summing:
    """What a replay sums up of some orders: the same as ``_SUMMED`` does in rows of the views.

    Of orders, which are in one stretch each, only the first ``most`` behind ``after`` are of any use.
    """

    book: RuleBook
    by: By
    period: Period
    at: datetime
    after: str
    most: int | None

    def __call__(self, orders: Iterable[Order]) -> dict[str, _Sum]:
        sums: dict[str, _Sum] = {}
        for order in orders:
            for violation in Judged.by(self.book, order).violations:
                if self._means(violation):
                    for key, fen in self._bear(order, violation).items():
                        if key > self.after:
                            sums.setdefault(key, _Sum()).add(_Sum(1, fen or 0, fen is None))
        if self.by == "order" and self.most is not None:
            return {key: sums[key] for key in nsmallest(self.most, sums)}
        return sums

    def _means(self, violation: Violation) -> bool:
        first, last = self.period
        stands = violation.stands_from <= self.at and violation.arose_at <= self.at
        return stands and violation.counts and first <= _day(violation) <= last

    def _bear(self, order: Order, violation: Violation) -> Mapping[str, int | None]:
        if self.by == "sku":
            return borne(order.lines, violation.penalty_fen)
        key = order.order_sn if self.by == "order" else _day(violation).isoformat()
        return {key: violation.penalty_fen}


def _day(violation: Violation) -> date:
    return violation.arose_at.astimezone(BEIJING).date()


def borne(lines: Iterable[Line], penalty_fen: int | None) -> Mapping[str, int | None]:
    """What each SKU of an order bears of a penalty: its part by value, in whole fen and together exactly it.

    Where nothing has a value pieces count. Of an order whose lines are unknown, the SKU ``unknown`` bears all.
    """
    values = [(line.sku_id, line.quantity * line.unit_price_fen) for line in lines]
    if not any(value for _, value in values):
        values = [(line.sku_id, line.quantity) for line in lines] or [("unknown", 1)]
    if penalty_fen is None:
        return {sku_id: None for sku_id, _ in values}
    whole, up_to = sum(value for _, value in values), 0
    parts: dict[str, int] = {}
    for sku_id, value in values:
        part = penalty_fen * (up_to + value) // whole - penalty_fen * up_to // whole
        parts[sku_id] = parts.get(sku_id, 0) + part
        up_to += value
    return parts


async def penalty_sums_at(
    url: str,
    shop_id: str,
    book: RuleBook,
    by: By,
    period: Period,
    viewpoint: Viewpoint,
    now: datetime,
    limit: int | None = None,
    after: PenaltyKey | None = None,
    *,
    on_progress: OnProgress = lambda done, total: None,
) -> Page[PenaltySum, PenaltyKey]:
    """The sums as they stood at another moment, from exactly the events that may be seen from it; by key.

    The whole shop is folded, for every page of them. Raises ``ReplayFailed``.
    """
    most = None if limit is None else limit + 1
    summing = _Summing(book, by, period, viewpoint.judged_at(now), after[0] if after else "", most)
    sums: dict[str, _Sum] = {}
    async for part in every_order_at(url, shop_id, viewpoint, summing, on_progress):
        for key, found in part.items():
            sums.setdefault(key, _Sum()).add(found)
    items = [PenaltySum(key, **msgspec.structs.asdict(sums[key])) for key in sorted(sums)]
    if limit is None or len(items) <= limit:
        return Page(items, None)
    return Page(items[:limit], (items[limit - 1].key,))
