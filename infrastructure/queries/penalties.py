"""Penalties summed up by order, SKU or day: from the views as they are now, from the log as they were at a moment.

``domain.money.attribution`` defines which violations count and who bears a penalty. The SQL repeats it over the
rows of the views.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from heapq import nlargest, nsmallest

import msgspec
from psycopg import sql

from domain.calendar import BEIJING
from domain.money.attribution import By, Count, sum_penalties
from domain.money.period import DayRange
from domain.order.judged import Judged
from domain.order.state import Order
from domain.rules.ruleset import RuleBook
from domain.viewpoint import Viewpoint
from infrastructure.database.pool import ReadConnection
from infrastructure.projections.views import ORDERS, VIOLATIONS
from infrastructure.queries.as_of import OnProgress, every_order_at
from infrastructure.queries.paging import Cursor, Keyset, Page, is_behind, page_of, page_of_sorted
from infrastructure.queries.reports import COUNTS

PenaltyKey = tuple[str]

VIEWS_READ = (VIOLATIONS, ORDERS)
"""The views that the sums are read from."""

_BROKEN = f"""
SELECT v.order_sn, v.violation_id, v.arose_at, v.penalty_fen FROM violation_list v
WHERE v.shop_id = %(shop_id)s AND v.arose_at >= %(since)s AND v.arose_at < %(until)s
  AND {COUNTS}
"""

# domain.money.attribution.shares in SQL.
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
WHERE {condition} GROUP BY key ORDER BY {order} LIMIT %(limit)s
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
    period: DayRange,
    at: datetime,
    limit: int,
    cursor: Cursor[PenaltyKey] | None = None,
) -> Page[PenaltySum, PenaltyKey]:
    """Sums over a period as they stand at a moment, by key."""
    keyset = Keyset([sql.Identifier("key")], cursor)
    query = sql.SQL(_SUMMED.format(broken=_BROKEN, attributed=_ATTRIBUTED[by], condition="{}", order="{}"))
    found = connection.cursor(binary=True)
    await found.execute(
        query.format(keyset.condition, keyset.order),
        {
            **keyset.parameters,
            "shop_id": shop_id,
            "at": at,
            "beijing": BEIJING.utcoffset(None),
            "since": period.since,
            "until": period.until,
            "limit": limit + 1,
        },
    )
    return page_of([PenaltySum(*row) for row in await found.fetchall()], limit, cursor, _key)


@dataclass(frozen=True, slots=True)
class _SumPenalties:
    """Sums up the orders of a part of a shop, in any process, behind a cursor.

    An order is in one part alone, so only the next ``most`` orders of each part can be among the next of all.
    """

    book: RuleBook
    by: By
    period: DayRange
    at: datetime
    cursor: Cursor[PenaltyKey] | None
    most: int | None

    def __call__(self, orders: Iterable[Order]) -> dict[str, Count]:
        judged = (Judged.by(self.book, order) for order in orders)
        sums = sum_penalties(judged, self.by, self.period, self.at)
        keys = [key for key in sums if is_behind((key,), self.cursor)]
        if self.by == "order" and self.most is not None:
            backwards = self.cursor is not None and self.cursor.backwards
            keys = (nlargest if backwards else nsmallest)(self.most, keys)
        return {key: sums[key] for key in keys}


async def penalty_sums_at(
    url: str,
    shop_id: str,
    book: RuleBook,
    by: By,
    period: DayRange,
    viewpoint: Viewpoint,
    now: datetime,
    limit: int | None = None,
    cursor: Cursor[PenaltyKey] | None = None,
    *,
    on_progress: OnProgress = lambda done, total: None,
) -> Page[PenaltySum, PenaltyKey]:
    """The sums as they stood at a viewpoint, from exactly the events that count there; by key.

    The whole shop is folded, for every page of them. Raises ``ReplayFailed``.
    """
    most = None if limit is None else limit + 1
    task = _SumPenalties(book, by, period, viewpoint.judged_at(now), cursor, most)
    sums: dict[str, Count] = {}
    async for part in every_order_at(url, shop_id, viewpoint, task, on_progress):
        for key, counts in part.items():
            sums.setdefault(key, Count()).add(counts)
    summed = [PenaltySum(key, **msgspec.structs.asdict(sums[key])) for key in sorted(sums)]
    return page_of_sorted(summed, limit, cursor, _key)


def _key(summed: PenaltySum) -> PenaltyKey:
    return (summed.key,)
