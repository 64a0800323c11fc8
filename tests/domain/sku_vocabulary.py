"""The words the tests of SKUs are written in."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from msgspec.structs import replace

from domain.history import Recorded
from domain.kernel import Command, Refusal
from domain.sku import events as e
from domain.sku.decisions import decide
from domain.sku.state import Sku, fold

SKU_ID = "SKU-1"


class SkuFact(NamedTuple):
    """An event with the moment it happened."""

    event: e.SkuEvent
    at: datetime


def counted(on_hand: int, *, at: datetime) -> SkuFact:
    return SkuFact(e.StockCounted(on_hand), at)


def capacity(production_per_day: int, shipping_per_day: int, *, at: datetime) -> SkuFact:
    return SkuFact(e.CapacitySet(production_per_day, shipping_per_day), at)


def delisted(*, at: datetime, reason: str = "out of stock") -> SkuFact:
    return SkuFact(e.SkuDelisted(reason), at)


def relisted(*, at: datetime) -> SkuFact:
    return SkuFact(e.SkuRelisted(), at)


def history_of(*facts: SkuFact, learned_at: datetime | None = None) -> list[Recorded[e.SkuEvent]]:
    """A SKU's history: these facts, in this order."""
    return [
        Recorded(event, version, version, at, learned_at or at)
        for version, (event, at) in enumerate(facts, start=1)
    ]


def sku_after(*facts: SkuFact) -> Sku:
    return fold(SKU_ID, history_of(*facts))


class Given:
    """The history of a SKU so far."""

    def __init__(self, facts: Sequence[SkuFact]) -> None:
        self._facts = list(facts)

    def when(self, command: Command, *, at: datetime, recorded_at: datetime | None = None) -> "Outcome":
        command = command if recorded_at is None else replace(command, occurred_at=at)
        return Outcome(self._facts, *decide(sku_after(*self._facts), command, recorded_at or at))


class Outcome:
    """The outcome of a command."""

    def __init__(self, facts: list[SkuFact], decision: tuple[e.SkuEvent, ...] | Refusal, at: datetime) -> None:
        self._facts = facts
        self.decision = decision
        self.at = at

    def then(self, *events: e.SkuEvent) -> Sku:
        """Exactly these events; the SKU after them."""
        assert self.decision == events
        return sku_after(*self._facts, *(SkuFact(event, self.at) for event in events))

    def then_nothing(self) -> None:
        assert self.decision == ()

    def rejects(self, code: str, pointer: str | None = None) -> None:
        assert isinstance(self.decision, Refusal)
        assert (self.decision.code, self.decision.pointer) == (code, pointer)


def given(*facts: SkuFact) -> Given:
    return Given(facts)
