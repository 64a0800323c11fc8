"""What the streams of a shop's log are of: an order or a SKU, told apart by how a stream's name begins."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from domain.order import fold as orders
from domain.order.state import Order
from domain.sku import state as skus
from domain.sku.state import Sku

State = Order | Sku


class Kind(NamedTuple):
    """A kind of stream. What its name begins with, an id follows; in tables the id's column is ``id_column``."""

    word: str
    prefix: str
    id_column: str
    fold: Callable[[str, Any], State]
    evolve: Callable[[Any, Any], State]

    def stream(self, of: str) -> str:
        """The name of the stream of one of them."""
        return self.prefix + of

    def id_of(self, stream: str) -> str:
        return stream[len(self.prefix) :]


OF_ORDER = Kind("order", "order:", "order_sn", orders.fold, orders.evolve)
OF_SKU = Kind("SKU", "sku:", "sku_id", skus.fold, skus.evolve)
KINDS = (OF_ORDER, OF_SKU)

ORDER = OF_ORDER.prefix
SKU = OF_SKU.prefix


def kind_of(stream: str) -> Kind:
    """Raises ``LookupError`` for a stream of neither, such as those of other programs in the same log."""
    for kind in KINDS:
        if stream.startswith(kind.prefix):
            return kind
    raise LookupError(f"{stream} is the stream of neither an order nor a SKU")


def patterns(kinds: Iterable[Kind] = KINDS) -> list[str]:
    """What the streams of a log that are folded look like, to ``LIKE``."""
    return [kind.prefix + "%" for kind in kinds]
