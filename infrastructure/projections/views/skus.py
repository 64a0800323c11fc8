"""``skus``: the recorded facts about a SKU, one row for each SKU."""

from collections.abc import Iterable

from domain.sku.state import Sku
from infrastructure.projections.view import Column, Index, Row, ViewOfSkus


def rows(sku: Sku) -> Iterable[Row]:
    count, capacity = sku.count, sku.capacity
    return (
        (
            sku.version,
            sku.position,
            sku.listed,
            sku.delisted_at,
            count.on_hand if count else None,
            count.at if count else None,
            capacity.production_per_day if capacity else None,
            capacity.shipping_per_day if capacity else None,
            capacity.since if capacity else None,
        ),
    )


SKUS = ViewOfSkus(
    name="skus",
    version=1,
    table="sku_list",
    columns=(
        Column("version", "integer"),
        Column("position", "bigint"),
        Column("listed", "boolean"),
        Column("delisted_at", "timestamptz", optional=True),
        Column("on_hand", "bigint", optional=True),  # as counted
        Column("counted_at", "timestamptz", optional=True),
        Column("production_per_day", "bigint", optional=True),
        Column("shipping_per_day", "bigint", optional=True),
        Column("capacity_since", "timestamptz", optional=True),
    ),
    key=("sku_id", "shop_id"),
    indexes=(Index("by_shop", "(shop_id, sku_id)"),),
    rows=rows,
)
