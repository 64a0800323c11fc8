"""What callers ask of the command path, and what they get: intents, outcomes, and what can stop an intent."""

from datetime import datetime
from typing import ClassVar

import msgspec

from domain.kernel import Command, Refusal
from domain.order.snapshot import Snapshot
from domain.order.state import Order
from domain.order.warnings import NO_RELATED_FACTS, RelatedFacts
from domain.sku.state import Sku
from infrastructure.log.streams import OF_ORDER, OF_SKU, Kind, State


class IdempotencyKey(msgspec.Struct, frozen=True):
    """A caller's name for one attempt; ``fingerprint`` tells another payload under the same name."""

    key: str
    fingerprint: bytes


class CommandIntent(msgspec.Struct, frozen=True):
    """A command to what ``of`` names. ``if_match`` is the version the caller has seen, if it matters to them."""

    shop_id: str
    entity_id: str
    command: Command
    actor: str
    if_match: int | None = None
    idempotency: IdempotencyKey | None = None

    kind: ClassVar[Kind]

    @property
    def stream(self) -> str:
        return self.kind.stream(self.entity_id)


class OrderCommand(CommandIntent, frozen=True):
    """A command to an order."""

    kind = OF_ORDER

    @property
    def order_sn(self) -> str:
        return self.entity_id


class SkuCommand(CommandIntent, frozen=True):
    """A command to a SKU."""

    kind = OF_SKU

    @property
    def sku_id(self) -> str:
        return self.entity_id


class SnapshotIntent(msgspec.Struct, frozen=True):
    """A snapshot of an order that the platform showed; it is never refused."""

    shop_id: str
    snapshot: Snapshot
    actor: str

    @property
    def stream(self) -> str:
        return OF_ORDER.stream(self.snapshot.order_sn)


Intent = CommandIntent | SnapshotIntent


class Outcome(msgspec.Struct, frozen=True):
    """What became of an intent.

    ``state`` is the order or SKU afterwards, ``events`` how many were appended for this intent, ``position``
    the place of its last event in the shop's log (without events: of the last one it had) and ``at``
    the moment it was judged. ``response`` is what ``render`` made for an intent with an idempotency key; when
    it was given before (``replayed``) it and the position are all there is. ``around`` is what lay around an
    order then.
    """

    state: State
    events: int
    position: int
    at: datetime
    refusal: Refusal | None = None
    response: bytes | None = None
    replayed: bool = False
    related_facts: RelatedFacts = NO_RELATED_FACTS

    @property
    def order(self) -> Order:
        """The order that an intent for an order led to."""
        assert isinstance(self.state, Order)
        return self.state

    @property
    def shown_at(self) -> datetime:
        """The moment from which the order is shown: when it was judged, and never before its last event."""
        return max(self.at, self.order.last_occurred_at or self.at)

    @property
    def sku(self) -> Sku:
        """The SKU that an intent for a SKU led to."""
        assert isinstance(self.state, Sku)
        return self.state


class Overloaded(Exception):
    """Too many intents are waiting."""


class Unavailable(Exception):
    """The database can't be reached, or went away before it acknowledged."""


class StillRunning(Exception):
    """An intent with the same idempotency key has not been answered yet."""


class Contended(Exception):
    """Another process kept winning the race for the same order or SKU."""
