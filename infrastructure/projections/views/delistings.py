"""``delistings``: the periods in which a SKU could not be bought, a row for each."""

from collections.abc import Iterable

from domain.sku.state import Sku
from infrastructure.projections.view import Column, Row, ViewOfSkus


def rows(sku: Sku) -> Iterable[Row]:
    return [
        (number, delisting.delisted_at, delisting.relisted_at)
        for number, delisting in enumerate(sku.delistings, start=1)
    ]


DELISTINGS = ViewOfSkus(
    name="delistings",
    version=1,
    table="delisting_list",
    columns=(
        Column("number", "smallint"),
        Column("delisted_at", "timestamptz"),
        Column("relisted_at", "timestamptz", optional=True),  # null while it lasts
    ),
    key=("sku_id", "shop_id", "number"),
    indexes=(),
    rows=rows,
)
