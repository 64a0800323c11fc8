"""``charges``: money that the platform's bills took for an order or gave back, a row for each line of a bill."""

from collections.abc import Iterable

from domain.order.judged import Judged
from infrastructure.projections.view import Column, Index, Row, ViewOfOrders


def rows(judged: Judged) -> Iterable[Row]:
    charges = judged.order.charges
    if not charges:
        return ()
    return [
        (number, charge.line_id, charge.kind, charge.amount_fen, charge.at)
        for number, charge in enumerate(charges, start=1)
    ]


CHARGES = ViewOfOrders(
    name="charges",
    version=1,
    table="charge_list",
    columns=(
        Column("number", "smallint"),
        Column("line_id", "text"),
        Column("kind", "text", optional=True),  # null: money that was given back
        Column("amount_fen", "bigint"),
        Column("charged_at", "timestamptz"),
    ),
    key=("order_sn", "shop_id", "number"),
    indexes=(Index("by_time", "(shop_id, charged_at, order_sn)"),),
    rows=rows,
)
