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


def history_of(*told: SkuFact, learned_at: datetime | None = None) -> list[Recorded[e.SkuEvent]]:
    """What was told, in this order."""
    return [
        Recorded(event, version, version, at, learned_at or at) for version, (event, at) in enumerate(told, start=1)
    ]


def sku_after(*told: SkuFact) -> Sku:
    return fold(SKU_ID, history_of(*told))


class Given:
    """What was told of a SKU so far."""

    def __init__(self, told: Sequence[SkuFact]) -> None:
        self._told = list(told)

    def when(self, command: Command, *, at: datetime, told_at: datetime | None = None) -> "Came":
        told = command if told_at is None else replace(command, occurred_at=at)
        return Came(self._told, *decide(sku_after(*self._told), told, told_at or at))


class Came:
    """What came of a command."""

    def __init__(self, told: list[SkuFact], decision: tuple[e.SkuEvent, ...] | Refusal, at: datetime) -> None:
        self._told = told
        self.decision = decision
        self.at = at

    def then(self, *events: e.SkuEvent) -> Sku:
        """Exactly these events; the SKU after them."""
        assert self.decision == events
        return sku_after(*self._told, *(SkuFact(event, self.at) for event in events))

    def then_nothing(self) -> None:
        assert self.decision == ()

    def rejects(self, code: str, pointer: str | None = None) -> None:
        assert isinstance(self.decision, Refusal)
        assert (self.decision.code, self.decision.pointer) == (code, pointer)


def given(*told: SkuFact) -> Given:
    return Given(told)
