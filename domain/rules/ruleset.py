"""Rule sets: the platform's rules as data with an effective date, never constants in code.

An order is judged by the set in force when its group formed. The shipped sets lie in ``sets/``;
each figure there names its source and how sure we are of it.
"""

from bisect import bisect_right
from collections.abc import Iterable
from datetime import datetime
from itertools import pairwise
from typing import Annotated, Literal, Self

import msgspec
from msgspec import Meta

from domain.order.events import GoodsType
from domain.order.state import Order

ViolationKind = Literal["late_shipment", "stockout", "false_shipment", "fraudulent_shipment"]

_Positive = Annotated[int, Meta(gt=0, le=10_000)]
_Fen = Annotated[int, Meta(ge=0, le=10**12)]


class _Sourced(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A rule with the place it was learned from and how sure that is."""

    source: str
    confidence: str


class Hours(_Sourced, frozen=True):
    """Hours per goods type; a type that is absent has no such limit of its own."""

    hours: dict[GoodsType, _Positive]


class Days(_Sourced, frozen=True):
    days: _Positive


class ContactBuyer(_Sourced, frozen=True):
    hours: _Positive


class ReviewRules(_Sourced, frozen=True):
    """How long a stockout review takes and what it does to the clocks."""

    earliest_working_days: _Positive
    latest_working_days: _Positive
    pauses_ship_by: bool
    defers_deemed_stockout: bool
    deemed_after_rejection: Literal["at_rejection", "at_due_time"]
    late_shipment_after_late_approval: Literal["stands", "lapses"]


class ApplicationRules(_Sourced, frozen=True, kw_only=True):
    """What the platform asks before it takes a stockout application (DOMAIN.md §1.4).

    ``conditions`` says what an application that misses one meets: it is filed with a warning, or
    refused. An absent ``daily_limit`` sets none; a day is Beijing's.
    """

    daily_limit: _Positive | None = None
    requires_delisting: bool
    takes_activity_orders: bool
    conditions: Literal["warn", "refuse"]


class Delisting(_Sourced, frozen=True):
    """Hours from filing a stockout application to the SKU's delisting; 0 is at once (seed 2)."""

    hours: Annotated[int, Meta(ge=0, le=10_000)]


class Tracking(_Sourced, frozen=True):
    """What makes a tracking number doubtful (DOMAIN.md §1.5).

    A number used for another order within ``reuse_days`` before; and an order whose number was replaced
    ``frequent_replacements`` times or more.
    """

    reuse_days: _Positive
    frequent_replacements: _Positive


class PenaltyStep(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is charged from ``paid_from_fen`` on: a flat amount, or a percentage with an optional cap."""

    paid_from_fen: _Fen
    flat_fen: _Fen | None = None
    percent: Annotated[int, Meta(gt=0, le=1_000)] | None = None
    cap_fen: _Fen | None = None
    round_to_fen: _Positive = 100

    def __post_init__(self) -> None:
        if (self.flat_fen is None) == (self.percent is None):
            raise ValueError("a penalty step has either flat_fen or percent")
        if self.cap_fen is not None and self.percent is None:
            raise ValueError("cap_fen limits a percent; a flat_fen needs none")

    def amount_fen(self, paid_fen: int) -> int:
        if self.flat_fen is not None:
            return self.flat_fen
        amount = paid_fen * (self.percent or 0) // 100 // self.round_to_fen * self.round_to_fen
        return amount if self.cap_fen is None else min(amount, self.cap_fen)


class Penalty(_Sourced, frozen=True):
    """The price of a violation per order."""

    steps: Annotated[tuple[PenaltyStep, ...], Meta(min_length=1)]

    def __post_init__(self) -> None:
        starts = [step.paid_from_fen for step in self.steps]
        if starts[0] != 0 or starts != sorted(set(starts)):
            raise ValueError("penalty steps begin at paid_from_fen 0 and rise")

    def amount_fen(self, paid_fen: int | None) -> int | None:
        """The penalty for an order paid with ``paid_fen``; ``None`` when that is unknown and matters."""
        if paid_fen is None:
            only = self.steps[0] if len(self.steps) == 1 else None
            return only.flat_fen if only else None
        reached = [step for step in self.steps if step.paid_from_fen <= paid_fen]
        return reached[-1].amount_fen(paid_fen)


class RuleSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One version of the platform's rules, in force from ``effective_from`` until the next one."""

    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9.-]{0,63}$(?!\n)")]
    title: str
    effective_from: Annotated[datetime, Meta(tz=True)]
    ship_by: Hours
    deemed_stockout: Days
    pickup: Hours
    remedy: Days
    review: ReviewRules
    contact_buyer: ContactBuyer
    application: ApplicationRules
    delisting: Delisting
    appeal: Days
    tracking: Tracking
    penalty: dict[ViolationKind, Penalty]

    def __post_init__(self) -> None:
        missing = {"late_shipment", "stockout", "false_shipment", "fraudulent_shipment"} - set(self.penalty)
        if missing:
            raise ValueError(f"no penalty for {', '.join(sorted(missing))}")
        if self.review.earliest_working_days > self.review.latest_working_days:
            raise ValueError("review.earliest_working_days is after review.latest_working_days")

    def penalty_fen(self, kind: ViolationKind, paid_fen: int | None) -> int | None:
        return self.penalty[kind].amount_fen(paid_fen)


class RuleBook:
    """All known rule sets, by effective date."""

    def __init__(self, sets: Iterable[RuleSet]) -> None:
        self.sets = tuple(sorted(sets, key=lambda rules: rules.effective_from))
        if not self.sets:
            raise ValueError("a rule book needs at least one rule set")
        for earlier, later in pairwise(self.sets):
            if earlier.effective_from == later.effective_from:
                raise ValueError(f"{earlier.name} and {later.name} are in force from the same moment")
        self._successions = [rules.effective_from for rules in self.sets[1:]]
        names = [rules.name for rules in self.sets]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two rule sets are called {min(twice)}")

    @classmethod
    def parse(cls, documents: Iterable[str]) -> Self:
        """The book of these TOML documents.

        Raises ``msgspec.ValidationError`` naming the field that makes no sense.
        """
        return cls(msgspec.toml.decode(document, type=RuleSet) for document in documents)

    def in_force(self, at: datetime) -> RuleSet:
        """The set in force at a moment; before the first known one, the first known one."""
        return self.sets[bisect_right(self._successions, at)]

    def governing(self, order: Order) -> RuleSet:
        """The set an order is judged by: that of its group's forming, until then that of its placing."""
        since = order.group_formed_at or order.placed_at
        return self.in_force(since) if since else self.sets[-1]
