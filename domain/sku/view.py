"""The SKU as the outside sees it: what was told of it."""

from datetime import datetime
from typing import Self

import msgspec

from domain.sku.state import Sku


class SkuFacts(msgspec.Struct, frozen=True):
    """What was told of a SKU: the last count, its capacity, and whether it can be bought.

    ``counted_on_hand`` is what the count found, ``counted_at`` when; both are null before the first count.
    """

    sku_id: str
    version: int
    position: int
    listed: bool
    delisted_at: datetime | None
    counted_on_hand: int | None
    counted_at: datetime | None
    production_per_day: int | None
    shipping_per_day: int | None

    @classmethod
    def of(cls, sku: Sku) -> Self:
        return cls(
            sku_id=sku.sku_id,
            version=sku.version,
            position=sku.position,
            listed=sku.listed,
            delisted_at=sku.delisted_at,
            counted_on_hand=sku.count.on_hand if sku.count else None,
            counted_at=sku.count.at if sku.count else None,
            production_per_day=sku.capacity.production_per_day if sku.capacity else None,
            shipping_per_day=sku.capacity.shipping_per_day if sku.capacity else None,
        )
