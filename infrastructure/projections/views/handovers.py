"""``handovers``: orders handed to a supplier (一件代发), a row for each handover; most orders have none."""

from collections.abc import Iterable

from domain.order.deadlines import supplier_tracking
from domain.order.judged import Judged
from domain.order.state import Handover, Order
from infrastructure.projections.view import FAR_FUTURE, Column, Index, Row, ViewOfOrders


def rows(judged: Judged) -> Iterable[Row]:
    order = judged.order
    if not order.handovers:
        return ()
    return [
        (
            number,
            handover.supplier_id,
            handover.handed_at,
            handover.expected_tracking_at or FAR_FUTURE,
            handover.tracking_at,
            _end(handover, order),
            supplier_tracking(order, handover, judged.clocks.ending).settled,
        )
        for number, handover in enumerate(order.handovers, start=1)
    ]


def _end(handover: Handover, order: Order) -> str | None:
    if handover.out_of_stock_at:
        return "out_of_stock"
    if handover.taken_back_at:
        return "taken_back"
    if handover.tracking_at:
        return "tracked"
    return "order_ended" if order.ending or handover.shipped_otherwise_at else None


HANDOVERS = ViewOfOrders(
    name="handovers",
    version=2,
    table="handover_list",
    columns=(
        Column("number", "smallint"),
        Column("supplier_id", "text"),
        Column("handed_at", "timestamptz"),
        Column("due_key", "timestamptz"),  # when a number is expected; the far future if no time was agreed
        Column("tracking_at", "timestamptz", optional=True),
        Column("ended", "text", optional=True),  # how it ended; null while we wait for the supplier
        Column("settled", "text", optional=True),  # the state of the supplier_tracking once time can't change it
    ),
    key=("order_sn", "shop_id", "number"),
    indexes=(
        # Includes all columns that the sums over a supplier need, so that they read only this index.
        Index("by_supplier", "(shop_id, supplier_id, handed_at) INCLUDE (due_key, ended, settled)"),
        Index("open", "(shop_id, supplier_id, due_key, order_sn, number) WHERE ended IS NULL"),
    ),
    rows=rows,
)
