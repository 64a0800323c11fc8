"""Orders and SKUs while a batch is being decided: as they were loaded, with the events drafted so far."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, Self

from domain.history import Metadata, Recorded
from domain.kernel import Refusal
from domain.order.events import OrderEvent
from domain.order.state import Order
from domain.sku.events import SkuEvent
from domain.sku.state import Sku
from infrastructure.commands.queue import Stream
from infrastructure.log.log import Histories, NewEvent, new_event
from infrastructure.log.streams import OF_ORDER, OF_SKU, E, S, StreamKind


@dataclass(slots=True)
class Draft(Generic[S, E]):
    """An order or SKU while a batch is being decided. ``drafted`` are the events to append.

    A drafted event has position 0 until it is in the log, and so has the state that it leads to.
    """

    kind: StreamKind[S, E]
    history: list[Recorded[E]]
    state: S
    loaded_version: int
    drafted: list[Recorded[E]] = field(default_factory=list)

    @classmethod
    def of(cls, kind: StreamKind[S, E], stream: str, history: list[Recorded[E]]) -> Self:
        state = kind.fold(kind.id_of(stream), history)
        return cls(kind, history, state, state.version)

    def add(self, events: Sequence[E], occurred_at: datetime, now: datetime, metadata: Metadata) -> None:
        for event in events:
            recorded = Recorded(event, self.state.version + 1, 0, occurred_at, now, metadata)
            self.history.append(recorded)
            self.drafted.append(recorded)
            self.state = self.kind.evolve(self.state, recorded)

    def refusal_if_stale(self, if_match: int | frozenset[int] | None) -> Refusal | None:
        if if_match is None or if_match == self.state.version:
            return None
        if isinstance(if_match, frozenset) and self.state.version in if_match:
            return None
        return Refusal("stale_version", f"The {self.kind.word} is at version {self.state.version} by now.")

    def new_events(self) -> Sequence[NewEvent]:
        return [new_event(recorded.event, recorded.occurred_at, recorded.metadata) for recorded in self.drafted]


OrderDraft = Draft[Order, OrderEvent]
SkuDraft = Draft[Sku, SkuEvent]


class Drafts:
    """The orders and SKUs of a batch, by stream."""

    def __init__(self, histories: Histories) -> None:
        self.orders: dict[Stream, OrderDraft] = {}
        self.skus: dict[Stream, SkuDraft] = {}
        self.all: dict[Stream, OrderDraft | SkuDraft] = {}
        for stream, history in histories.items():
            if stream[1].startswith(OF_SKU.prefix):
                self.all[stream] = self.skus[stream] = SkuDraft.of(OF_SKU, stream[1], history)
            else:
                self.all[stream] = self.orders[stream] = OrderDraft.of(OF_ORDER, stream[1], history)
