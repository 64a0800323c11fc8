"""An order's history with those of the SKUs it was applied for, on which its ``delist_sku`` depends."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from domain.history import Recorded
from domain.order.events import OrderEvent, StockoutRequested
from domain.order.fold import fold
from domain.sku.events import SkuEvent
from domain.sku.state import Sku
from domain.sku.state import fold as fold_sku
from domain.viewpoint import Viewpoint, visible
from infrastructure.database.pool import ReadConnection
from infrastructure.log.log import read_histories
from infrastructure.log.streams import OF_ORDER, OF_SKU


class OrderHistory(NamedTuple):
    """What happened to an order, and to the SKUs it was applied for."""

    order: list[Recorded[OrderEvent]]
    skus: Mapping[str, Sequence[Recorded[SkuEvent]]]

    def skus_at(self, viewpoint: Viewpoint) -> Mapping[str, Sku]:
        """The SKUs as they stood."""
        return {sku_id: fold_sku(sku_id, visible(history, viewpoint)) for sku_id, history in self.skus.items()}


async def read_orders(connection: ReadConnection, shop_id: str, numbers: Sequence[str]) -> dict[str, OrderHistory]:
    """These orders of a shop, by number; one that is not there has an empty history."""
    found = await read_histories(connection, [(shop_id, OF_ORDER.stream(number)) for number in numbers])
    histories: dict[str, list[Recorded[OrderEvent]]] = {
        OF_ORDER.id_of(stream): history for (_, stream), history in found.items()
    }
    about: dict[str, list[str]] = {}
    for number, history in histories.items():
        if any(isinstance(recorded.event, StockoutRequested) for recorded in history):
            order = fold(number, history)
            about[number] = list(
                dict.fromkeys(sku_id for review in order.reviews for sku_id in order.applied_for(review))
            )
    streams = {(shop_id, OF_SKU.stream(sku_id)) for names in about.values() for sku_id in names}
    told = await read_histories(connection, streams) if streams else {}
    return {
        number: OrderHistory(
            history, {sku_id: told[shop_id, OF_SKU.stream(sku_id)] for sku_id in about.get(number, ())}
        )
        for number, history in histories.items()
    }
