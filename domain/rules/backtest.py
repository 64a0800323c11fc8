"""What other rules would have made of orders: each is judged twice, and what differs is counted.

A comparison of many orders is a ``Tally``; tallies add up, so that parts of a log are compared apart.
"""

from collections.abc import Iterable
from datetime import datetime
from heapq import nsmallest
from typing import NamedTuple, Self, get_args

import msgspec

from domain.order.state import Order
from domain.rules.deadlines import clocks
from domain.rules.ruleset import RuleBook, RuleSet, ViolationKind
from domain.rules.violations import StockoutCause, Violation, violations

KINDS: tuple[ViolationKind, ...] = get_args(ViolationKind)

_SETTING_CLOCKS = ("ship_by", "deemed_stockout", "pickup", "review", "periods")
"""The sections of a rule set that ``clocks`` looks at."""


class Charged(msgspec.Struct, frozen=True, omit_defaults=True):
    """A violation that stands and counts, and its price; ``None`` where that depends on an unknown payment."""

    kind: ViolationKind
    penalty_fen: int | None
    cause: StockoutCause | None = None


class OrderDifference(msgspec.Struct, frozen=True):
    """An order that fares otherwise; ``difference_fen`` is ``None`` where a penalty isn't known."""

    order_sn: str
    since: datetime
    paid_fen: int | None
    now: tuple[Charged, ...]
    then: tuple[Charged, ...]
    difference_fen: int | None


class Count(msgspec.Struct):
    """Violations and what they cost; ``penalties_fen`` leaves out the ``unknown_penalties``."""

    violations: int = 0
    penalties_fen: int = 0
    unknown_penalties: int = 0

    def add(self, charged: Iterable[Charged]) -> None:
        for each in charged:
            self.violations += 1
            if each.penalty_fen is None:
                self.unknown_penalties += 1
            else:
                self.penalties_fen += each.penalty_fen

    def merge(self, other: "Count") -> None:
        self.violations += other.violations
        self.penalties_fen += other.penalties_fen
        self.unknown_penalties += other.unknown_penalties


class Tally(msgspec.Struct):
    """What comparing some orders came to: so many ``orders``, of which ``differing`` fare otherwise.

    ``now`` and ``then`` count by kind; ``orders_differing`` by kind, too. ``largest`` are the orders that differ
    most, the first by number where they differ alike.
    """

    orders: int
    differing: int
    now: dict[ViolationKind, Count]
    then: dict[ViolationKind, Count]
    orders_differing: dict[ViolationKind, int]
    largest: list[OrderDifference]

    @classmethod
    def empty(cls) -> Self:
        return cls(
            0,
            0,
            {kind: Count() for kind in KINDS},
            {kind: Count() for kind in KINDS},
            dict.fromkeys(KINDS, 0),
            [],
        )

    def merge(self, other: "Tally", most: int | None) -> None:
        """Add what another part came to, and keep the ``most`` largest differences, or all."""
        self.orders += other.orders
        self.differing += other.differing
        for kind in KINDS:
            self.now[kind].merge(other.now[kind])
            self.then[kind].merge(other.then[kind])
            self.orders_differing[kind] += other.orders_differing[kind]
        self.largest = largest(self.largest + other.largest, most)


class Comparison(NamedTuple):
    """Judges orders as they stand at ``at`` by the rules in force and by ``others``.

    Those whose group formed from ``since`` on and before ``until`` (until it forms: that were placed), where
    given. ``most`` is how many of the largest differences are kept; ``None``: all.
    """

    book: RuleBook
    others: RuleBook
    at: datetime
    since: datetime | None = None
    until: datetime | None = None
    most: int | None = 100

    def __call__(self, orders: Iterable[Order]) -> Tally:
        book, others, at, since, until, most = self
        tally = Tally.empty()
        alike: dict[tuple[int, int], bool] = {}
        for order in orders:
            began = order.group_formed_at or order.placed_at
            if began is None or (since and began < since) or (until and began >= until):
                continue
            tally.orders += 1
            rules, other = book.governing(order), others.governing(order)
            pair = (id(rules), id(other))
            if pair not in alike:
                alike[pair] = same_clocks(rules, other)
            running = clocks(order, rules)
            now = violations(order, rules, at, running)
            then = violations(order, other, at, running if alike[pair] else None)
            if now or then:
                _count(tally, order, began, now, then)
        tally.largest = largest(tally.largest, most)
        return tally


def same_clocks(rules: RuleSet, other: RuleSet) -> bool:
    """Whether two sets give every order the same clocks, so that they need be set once."""
    return all(getattr(rules, section) == getattr(other, section) for section in _SETTING_CLOCKS)


def largest(found: list[OrderDifference], most: int | None) -> list[OrderDifference]:
    """The orders that differ most come first; without ``most`` all of them, by number."""
    if most is None:
        return sorted(found, key=lambda difference: difference.order_sn)
    return nsmallest(most, found, key=lambda found: (-abs(found.difference_fen or 0), found.order_sn))


def _count(
    tally: Tally, order: Order, began: datetime, now: tuple[Violation, ...], then: tuple[Violation, ...]
) -> None:
    before, after = _charged(now), _charged(then)
    for kind in KINDS:
        here = [charged for charged in before if charged.kind == kind]
        there = [charged for charged in after if charged.kind == kind]
        tally.now[kind].add(here)
        tally.then[kind].add(there)
        tally.orders_differing[kind] += here != there
    if before != after:
        tally.differing += 1
        tally.largest.append(
            OrderDifference(order.order_sn, began, order.paid_fen, before, after, _difference(before, after))
        )


def _charged(found: tuple[Violation, ...]) -> tuple[Charged, ...]:
    """By kind: under other rules the same violations may arise in another order."""
    standing = [Charged(each.kind, each.penalty_fen, each.cause) for each in found if each.counts]
    standing.sort(key=lambda charged: KINDS.index(charged.kind))
    return tuple(standing)


def _difference(before: tuple[Charged, ...], after: tuple[Charged, ...]) -> int | None:
    """What it costs more; a penalty that is unknown on both sides makes no difference that could be told."""
    if any(charged.penalty_fen is None for charged in (*before, *after)):
        return None
    return sum(charged.penalty_fen or 0 for charged in after) - sum(charged.penalty_fen or 0 for charged in before)
