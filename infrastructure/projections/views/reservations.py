"""``reservations``: the pieces of each SKU that orders need, a row for the pieces of an order in the same state."""

from collections.abc import Iterable

from domain.order.judged import Judged
from domain.order.reservations import reservations
from infrastructure.projections.view import FAR_FUTURE, Column, Index, Row, ViewOfOrders


def rows(judged: Judged) -> Iterable[Row]:
    order = judged.order
    reserved = reservations(order)
    if not reserved:
        return ()
    due = judged.clocks.upload.due_at or FAR_FUTURE
    would_cost = -(judged.rules.penalty_fen("stockout", order) or 0)
    contacted_at = max(order.contacts) if order.contacts else None
    return [
        (
            number,
            reservation.sku_id,
            reservation.quantity,
            reservation.state,
            order.group_formed_at,
            due,
            would_cost,
            reservation.ended_at,
            contacted_at,
        )
        for number, reservation in enumerate(reserved)
    ]


RESERVATIONS = ViewOfOrders(
    name="reservations",
    version=1,
    table="reservation_list",
    columns=(
        Column("number", "smallint"),
        Column("sku_id", "text"),
        Column("quantity", "integer"),
        Column("state", "text"),
        Column("formed_at", "timestamptz", optional=True),
        Column("ship_by_key", "timestamptz"),  # for sorting; the far future if there is none
        # The penalty of a stockout in fen, negative, so that the dearest sorts first.
        Column("cost_key", "bigint"),
        Column("ended_at", "timestamptz", optional=True),  # null while the order needs the pieces
        Column("contacted_at", "timestamptz", optional=True),  # the last contact with the buyer
    ),
    key=("order_sn", "shop_id", "number"),
    indexes=(
        # Includes all columns that the sums over a SKU need, so that they read only this index.
        Index(
            "open",
            """(shop_id, sku_id, cost_key, ship_by_key, order_sn, number)
               INCLUDE (quantity, state, formed_at) WHERE ended_at IS NULL""",
        ),
        Index("ended", "(shop_id, sku_id, ended_at) INCLUDE (quantity, state) WHERE ended_at IS NOT NULL"),
    ),
    rows=rows,
)
