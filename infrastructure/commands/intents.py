"""What a caller wants to happen to an order or a SKU (an intent), and what came of it (an outcome)."""

from datetime import datetime
from typing import ClassVar, Generic, NamedTuple, TypeVar

import msgspec

from domain.kernel import Command, Refusal
from domain.order.snapshot import Snapshot
from domain.order.state import Order
from domain.order.warnings import NO_RELATED_FACTS, RelatedFacts
from domain.sku.state import Sku
from infrastructure.log.streams import OF_ORDER, OF_SKU

S = TypeVar("S", bound=Order | Sku)


class IdempotencyKey(msgspec.Struct, frozen=True):
    """A caller's name for one request. ``fingerprint`` differs for another request under the same name."""

    key: str
    fingerprint: bytes


class Giver(NamedTuple):
    """Who gives a command, the id of the key that let him in, and whom he says that he acts for."""

    actor: str
    credential: str | None = None
    on_behalf_of: str | None = None


class _AddressedCommand(msgspec.Struct, frozen=True):
    shop_id: str
    entity_id: str
    command: Command
    actor: str
    if_match: int | frozenset[int] | None = None
    idempotency: IdempotencyKey | None = None
    credential: str | None = None
    on_behalf_of: str | None = None


class OrderCommand(_AddressedCommand, frozen=True):
    """A command to the order ``entity_id``. ``if_match`` is the version that the caller expects, or several."""

    @property
    def order_sn(self) -> str:
        return self.entity_id

    @property
    def stream(self) -> str:
        return OF_ORDER.stream(self.entity_id)


class SkuCommand(_AddressedCommand, frozen=True):
    """A command to the SKU ``entity_id``. ``if_match`` is the version that the caller expects, or several."""

    @property
    def sku_id(self) -> str:
        return self.entity_id

    @property
    def stream(self) -> str:
        return OF_SKU.stream(self.entity_id)


class SnapshotIntent(msgspec.Struct, frozen=True):
    """A snapshot of an order that the platform showed. It is never refused."""

    idempotency: ClassVar[None] = None

    shop_id: str
    snapshot: Snapshot
    actor: str

    @property
    def order_sn(self) -> str:
        return self.snapshot.order_sn

    @property
    def stream(self) -> str:
        return OF_ORDER.stream(self.snapshot.order_sn)


CommandIntent = OrderCommand | SkuCommand
OrderIntent = OrderCommand | SnapshotIntent
Intent = OrderCommand | SkuCommand | SnapshotIntent


class _Outcome(msgspec.Struct, Generic[S], frozen=True):
    state: S
    events: int
    position: int
    at: datetime
    refusal: Refusal | None = None
    response: bytes | None = None
    replayed: bool = False


class OrderOutcome(_Outcome[Order], frozen=True):
    """What came of an intent for an order.

    ``state`` is the order afterwards. Events that were not in the log when it was decided have position 0 in it.
    ``events`` counts what was appended. ``position`` is the place of its last event in the shop's log, and without
    events that of the order's last event before. ``at`` is the moment of the decision. ``response`` is what was
    rendered for an intent with an idempotency key. For a replay (``replayed``) only ``response`` and ``position``
    are known. ``related_facts`` are those that the decision used.
    """

    related_facts: RelatedFacts = NO_RELATED_FACTS

    @property
    def order(self) -> Order:
        return self.state

    @property
    def shown_at(self) -> datetime:
        """The moment from which the order is shown: when it was decided, and never before its last event."""
        return max(self.at, self.order.last_occurred_at or self.at)


class SkuOutcome(_Outcome[Sku], frozen=True):
    """What came of an intent for a SKU. Its fields are those of ``OrderOutcome``."""

    @property
    def sku(self) -> Sku:
        return self.state


Outcome = OrderOutcome | SkuOutcome


class Overloaded(Exception):
    """Too many intents are waiting."""


class Unavailable(Exception):
    """The database can't be reached, or went away before it acknowledged."""


class StillRunning(Exception):
    """An intent with the same idempotency key is being decided."""


class Contended(Exception):
    """Another process kept winning the race for the same order or SKU."""
