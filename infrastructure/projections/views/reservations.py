"""``reservations``: what orders want of each SKU, a row for the pieces of an order that share a fate."""

from collections.abc import Iterable

from domain.order.judged import Judged
from domain.order.reservations import reservations
from infrastructure.projections.view import FAR_FUTURE, Column, Index, Row, View


def rows(judged: Judged) -> Iterable[Row]:
    order = judged.order
    wanted = reservations(order)
    if not wanted:
        return ()
    due = judged.clocks.upload.due_at or FAR_FUTURE
    would_cost = -(judged.rules.penalty_fen("stockout", order) or 0)
    contacted_at = max(order.contacts) if order.contacts else None
    return [
        (
            number,
            each.sku_id,
            each.quantity,
            each.state,
            order.group_formed_at,
            due,
            would_cost,
            each.ended_at,
            contacted_at,
        )
        for number, each in enumerate(wanted)
    ]


RESERVATIONS = View(
    name="reservations",
    version=1,
    table="reservation_list",
    columns=(
        Column("number", "smallint"),
        Column("sku_id", "text"),
        Column("quantity", "integer"),
        Column("state", "text"),
        Column("formed_at", "timestamptz", optional=True),
        Column("ship_by_key", "timestamptz"),  # for sorting; the far future where there is none
        Column(
            "cost_key", "bigint"
        ),  # what a stockout would cost, in fen below zero, for sorting: the dearest first
        Column("ended_at", "timestamptz", optional=True),  # null while it is wanted
        Column("contacted_at", "timestamptz", optional=True),  # when the buyer was spoken to last
    ),
    key=("order_sn", "shop_id", "number"),
    indexes=(
        # With all that the sums over a SKU need, so that these read nothing else.
        Index(
            "open",
            """(shop_id, sku_id, cost_key, ship_by_key, order_sn, number)
               INCLUDE (quantity, state, formed_at) WHERE ended_at IS NULL""",
        ),
        Index("ended", "(shop_id, sku_id, ended_at) INCLUDE (quantity, state) WHERE ended_at IS NOT NULL"),
    ),
    rows=rows,
)
