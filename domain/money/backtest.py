"""What orders would cost under other rules: each order is judged twice, and the differences are counted.

A comparison of many orders is a ``Tally``. Tallies can be added, so parts of a log can be compared separately.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from heapq import nsmallest

import msgspec
from msgspec.structs import replace

from domain.kernel import ViolationKind
from domain.money.attribution import Count
from domain.order.deadlines import clocks
from domain.order.state import Order
from domain.order.violations import StockoutCause, Violation, plain_scan, violations, was_in_time
from domain.rules.ruleset import RuleBook, RuleSet

_FINDING = ("ship_by", "deemed_stockout", "pickup", "review", "remedy")
"""The sections of a rule set that decide, with its periods, which violations there are."""

_Priced = tuple[ViolationKind, int | None]
_Charge = tuple[ViolationKind, int | None, StockoutCause | None, str]


class Charged(msgspec.Struct, frozen=True, omit_defaults=True):
    """A violation that stands and counts, and its price; ``None`` where that depends on an unknown payment."""

    kind: ViolationKind
    penalty_fen: int | None
    cause: StockoutCause | None = None


class OrderDifference(msgspec.Struct, frozen=True):
    """An order with other violations or penalties; ``difference_fen`` is ``None`` where a penalty isn't known."""

    order_sn: str
    since: datetime
    paid_fen: int | None
    now: tuple[Charged, ...]
    then: tuple[Charged, ...]
    difference_fen: int | None


class Tally(msgspec.Struct):
    """The result of comparing some orders: how many ``orders``, and how many of them are ``differing``.

    ``now`` and ``then`` are how many violations of a kind there are at a price. ``by_kind`` is how many orders
    differ in the violations of a kind. ``differences`` are the orders that differ, or those that differ most.
    """

    orders: int = 0
    differing: int = 0
    now: Counter[_Priced] = msgspec.field(default_factory=Counter)
    then: Counter[_Priced] = msgspec.field(default_factory=Counter)
    by_kind: Counter[ViolationKind] = msgspec.field(default_factory=Counter)
    differences: list[OrderDifference] = msgspec.field(default_factory=list)

    def merge(self, other: "Tally", most: int | None) -> None:
        """Add the result of another part, and keep ``most`` of the differences, or all."""
        self.orders += other.orders
        self.differing += other.differing
        self.now += other.now
        self.then += other.then
        self.by_kind += other.by_kind
        self.differences = largest(self.differences + other.differences, most)

    def add(self, order: Order, began: datetime, now: Sequence[Violation], then: Sequence[Violation]) -> None:
        """Count the violations that stand on an order by either rules."""
        before, after = _charged(now), _charged(then)
        for kind, penalty_fen, _, _ in before:
            self.now[kind, penalty_fen] += 1
        for kind, penalty_fen, _, _ in after:
            self.then[kind, penalty_fen] += 1
        if before != after:
            self.differing += 1
            for kind in {charge[0] for charge in {*before} ^ {*after}}:
                self.by_kind[kind] += 1
            self.differences.append(_difference(order, began, before, after))


def counted(priced: Counter[_Priced], kind: ViolationKind | None = None) -> Count:
    """The violations of a kind, or all, and the sum of their penalties."""
    count = Count()
    for (priced_kind, penalty_fen), times in priced.items():
        if kind in (None, priced_kind):
            count.violations += times
            count.penalties_fen += (penalty_fen or 0) * times
            count.unknown_penalties += times if penalty_fen is None else 0
    return count


class Comparison(msgspec.Struct, frozen=True):
    """Judges orders as they stand at ``at`` by the rules in force and by ``others``.

    Those whose group formed from ``since`` on and before ``until`` (while it has not: that were placed), where
    given. ``most`` is how many of the largest differences are kept; ``None``: all.
    """

    book: RuleBook
    others: RuleBook
    at: datetime
    since: datetime | None = None
    until: datetime | None = None
    most: int | None = 100

    def __call__(self, orders: Iterable[Order]) -> Tally:
        book, others, at, since, until = self.book, self.others, self.at, self.since, self.until
        tally = Tally()
        alike: dict[tuple[int, int], bool] = {}
        for order in orders:
            began = order.group_formed_at or order.placed_at
            if began is None or (since and began < since) or (until and began >= until):
                continue
            tally.orders += 1
            rules, other = book.governing(order), others.governing(order)
            pair = (id(rules), id(other))
            if pair not in alike:
                alike[pair] = same_but_penalties(rules, other)
            scanned_at = plain_scan(order)
            now = _standing(order, rules, at, scanned_at)
            if alike[pair]:
                then = tuple([_priced_by(other, order, violation) for violation in now])
            else:
                then = _standing(order, other, at, scanned_at)
            if now or then:
                tally.add(order, began, now, then)
        tally.differences = largest(tally.differences, self.most)
        return tally


def _standing(order: Order, rules: RuleSet, at: datetime, scanned_at: datetime | None) -> tuple[Violation, ...]:
    """The violations that stand. ``scanned_at`` is the order's plain scan; with one in time there is none."""
    if scanned_at is not None and was_in_time(order, scanned_at, rules):
        return ()
    return violations(order, rules, at, clocks(order, rules))


def same_but_penalties(rules: RuleSet, other: RuleSet) -> bool:
    """Whether two sets lead to the same violations, at whatever price."""
    return (
        not rules.periods
        and not other.periods
        and all(getattr(rules, section) == getattr(other, section) for section in _FINDING)
    )


def largest(differences: list[OrderDifference], most: int | None) -> list[OrderDifference]:
    """The ``most`` largest differences, the largest first; without ``most`` all of them, by order number."""
    if most is None:
        return sorted(differences, key=lambda difference: difference.order_sn)
    return nsmallest(
        most, differences, key=lambda difference: (-abs(difference.difference_fen or 0), difference.order_sn)
    )


def _priced_by(rules: RuleSet, order: Order, violation: Violation) -> Violation:
    return replace(violation, penalty_fen=rules.penalty_fen(violation.kind, order))


def _charged(judged: Sequence[Violation]) -> list[_Charge]:
    """By kind: under other rules the same violations may arise in another order."""
    standing = [
        (each.kind, each.penalty_fen, each.cause, each.violation_id)
        for each in judged
        if not each.appeal or each.counts
    ]
    if len(standing) > 1:
        standing.sort(key=lambda charge: (charge[0], charge[3]))
    return standing


def _difference(
    order: Order, began: datetime, before: Sequence[_Charge], after: Sequence[_Charge]
) -> OrderDifference:
    """The order's violations under both rules. The difference is unknown where a penalty is unknown."""
    unknown = any(penalty_fen is None for _, penalty_fen, *_ in (*before, *after))
    more = sum(charge[1] or 0 for charge in after) - sum(charge[1] or 0 for charge in before)
    now, then = (tuple([Charged(*charge[:3]) for charge in charges]) for charges in (before, after))
    return OrderDifference(order.order_sn, began, order.paid_fen, now, then, None if unknown else more)
