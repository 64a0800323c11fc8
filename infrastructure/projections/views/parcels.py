"""``parcels``: tracking numbers, a row for each that an order has or had. A blank cell of an export gives no row.

Numbers are stored in the plain form in which they are compared.
"""

from collections.abc import Iterable

from domain.order.judged import Judged
from domain.order.warnings import plain_number
from infrastructure.projections.view import Column, Index, Row, ViewOfOrders


def rows(judged: Judged) -> Iterable[Row]:
    return [
        (number, plain, parcel.uploaded_at, parcel.replaced_at is not None)
        for number, parcel in enumerate((*judged.order.parcels, *judged.order.extra_parcels), start=1)
        if (plain := plain_number(parcel.tracking_number))
    ]


PARCELS = ViewOfOrders(
    name="parcels",
    version=2,
    table="parcel_list",
    columns=(
        Column("number", "smallint"),
        Column("tracking_number", "text"),
        Column("uploaded_at", "timestamptz"),
        Column("replaced", "boolean"),
    ),
    key=("order_sn", "shop_id", "number"),
    indexes=(
        Index("by_number", "(shop_id, tracking_number, uploaded_at, order_sn)"),
        Index("by_time", "(shop_id, uploaded_at)"),
    ),
    rows=rows,
)
