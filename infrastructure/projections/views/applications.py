"""``applications``: stockout applications, a row for each SKU of an application."""

from collections.abc import Iterable

from domain.order.judged import Judged
from infrastructure.projections.view import Column, Index, Row, ViewOfOrders


def rows(judged: Judged) -> Iterable[Row]:
    order = judged.order
    if not order.reviews:
        return ()
    return [
        (
            number,
            sku_id,
            review.position,
            review.requested_at,
            review.time_known,
            review.reason,
            review.outcome,
            review.decided_at,
        )
        for number, review in enumerate(order.reviews, start=1)
        for sku_id in order.applied_for(review)
    ]


APPLICATIONS = ViewOfOrders(
    name="applications",
    version=2,
    table="application_list",
    columns=(
        Column("number", "smallint"),
        Column("sku_id", "text"),
        Column("position", "bigint"),
        Column("requested_at", "timestamptz"),
        Column("time_known", "boolean"),
        Column("reason", "text"),
        Column("outcome", "text", optional=True),
        Column("decided_at", "timestamptz", optional=True),
    ),
    key=("order_sn", "shop_id", "number", "sku_id"),
    indexes=(
        Index("by_sku", "(shop_id, sku_id, requested_at, order_sn, number)"),
        Index("by_time", "(shop_id, requested_at)"),
    ),
    rows=rows,
)
