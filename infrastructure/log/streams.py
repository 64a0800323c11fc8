"""What the streams of a shop's log are of: an order or a SKU, told apart by how a stream's name begins."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from domain.history import Recorded
from domain.order import fold as orders
from domain.order.events import OrderEvent
from domain.order.state import Order
from domain.sku import state as skus
from domain.sku.events import SkuEvent
from domain.sku.state import Sku

StreamState = Order | Sku

S = TypeVar("S", bound=Order | Sku)
E = TypeVar("E", bound=OrderEvent | SkuEvent)


@dataclass(frozen=True, slots=True)
class StreamKind(Generic[S, E]):
    """A kind of stream. What its name begins with, an id follows; in tables the id's column is ``id_column``."""

    word: str
    prefix: str
    id_column: str
    fold: Callable[[str, Iterable[Recorded[E]]], S]
    evolve: Callable[[S, Recorded[E]], S]

    def stream(self, of: str) -> str:
        """The name of the stream of one of them."""
        return self.prefix + of

    def id_of(self, stream: str) -> str:
        return stream[len(self.prefix) :]


AnyKind = StreamKind[Order, OrderEvent] | StreamKind[Sku, SkuEvent]

OF_ORDER: StreamKind[Order, OrderEvent] = StreamKind("order", "order:", "order_sn", orders.fold, orders.evolve)
OF_SKU: StreamKind[Sku, SkuEvent] = StreamKind("SKU", "sku:", "sku_id", skus.fold, skus.evolve)
STREAM_KINDS: tuple[AnyKind, ...] = (OF_ORDER, OF_SKU)

ORDER = OF_ORDER.prefix
SKU = OF_SKU.prefix


def kind_of(stream: str) -> AnyKind:
    """Raises ``LookupError`` for a stream of neither, such as those of other programs in the same log."""
    for kind in STREAM_KINDS:
        if stream.startswith(kind.prefix):
            return kind
    raise LookupError(f"{stream} is the stream of neither an order nor a SKU")


def patterns(kinds: Iterable[AnyKind] = STREAM_KINDS) -> list[str]:
    """What the streams of a log that are folded look like, to ``LIKE``."""
    return [kind.prefix + "%" for kind in kinds]
