"""Penalties summed up by order, by SKU or by day, counted from the views when asked.

A violation counts on the day it arose, as in the daily report: once it stands, and unless it was overturned.
"""

from datetime import datetime, time, timedelta
from typing import Literal

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from domain.calendar import BEIJING
from infrastructure.projections.lists import Page
from infrastructure.projections.reports import Period

By = Literal["order", "sku", "day"]

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
    connection: AsyncConnection[TupleRow],
    shop_id: str,
    by: By,
    period: Period,
    at: datetime,
    limit: int,
    after: str | None = None,
) -> Page[PenaltySum]:
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
            "after": after or "",
            "limit": limit + 1,
        },
    )
    found = [PenaltySum(*row) for row in await cursor.fetchall()]
    return Page(found[:limit], (found[limit - 1].key,) if len(found) > limit else None)
