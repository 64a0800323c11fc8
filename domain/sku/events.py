"""What happens to a SKU, in the past tense.

The class names are the storage format, as those of orders are (``domain/order/events.py``). How much is
reserved, how much was shipped since a count and how much may still be sold are no events: they follow from
these and from the orders.
"""

from typing import final

import msgspec


class Event(msgspec.Struct, frozen=True, tag=True, tag_field="type", omit_defaults=True, gc=False):
    """Any event of a SKU. The tag, which is the class name, is stored beside the payload."""


@final
class StockCounted(Event, frozen=True):
    """盘点: so many pieces lay in the warehouse, those of orders that were not shipped yet among them."""

    on_hand: int


@final
class CapacitySet(Event, frozen=True):
    """How many pieces can be made, and how many shipped, in 24 hours."""

    production_per_day: int
    shipping_per_day: int


@final
class SkuDelisted(Event, frozen=True):
    """下架: it can't be bought any more. The platform takes no stockout application before.

    Source: application-conditions.
    """

    reason: str


@final
class SkuRelisted(Event, frozen=True):
    """上架: it can be bought again."""


SkuEvent = StockCounted | CapacitySet | SkuDelisted | SkuRelisted
