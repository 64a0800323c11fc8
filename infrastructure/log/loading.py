"""An order's history with those of the SKUs in its stockout applications. Its ``delist_sku`` depends on them."""

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
    """The history of an order, and those of the SKUs in its stockout applications, by SKU."""

    order: list[Recorded[OrderEvent]]
    skus: Mapping[str, Sequence[Recorded[SkuEvent]]]

    def skus_at(self, viewpoint: Viewpoint) -> Mapping[str, Sku]:
        """The SKUs as seen from a viewpoint."""
        return {sku_id: fold_sku(sku_id, visible(history, viewpoint)) for sku_id, history in self.skus.items()}


async def read_orders(connection: ReadConnection, shop_id: str, numbers: Sequence[str]) -> dict[str, OrderHistory]:
    """These orders of a shop, by number. A missing order has an empty history."""
    by_stream = await read_histories(connection, [(shop_id, OF_ORDER.stream(number)) for number in numbers])
    histories: dict[str, list[Recorded[OrderEvent]]] = {
        OF_ORDER.id_of(stream): history for (_, stream), history in by_stream.items()
    }
    applied_for: dict[str, list[str]] = {}
    for number, history in histories.items():
        if any(isinstance(recorded.event, StockoutRequested) for recorded in history):
            order = fold(number, history)
            applied_for[number] = list(
                dict.fromkeys(sku_id for review in order.reviews for sku_id in order.applied_for(review))
            )
    streams = {(shop_id, OF_SKU.stream(sku_id)) for names in applied_for.values() for sku_id in names}
    sku_histories = await read_histories(connection, streams) if streams else {}
    return {
        number: OrderHistory(
            history,
            {sku_id: sku_histories[shop_id, OF_SKU.stream(sku_id)] for sku_id in applied_for.get(number, ())},
        )
        for number, history in histories.items()
    }
