"""A folded order with all that the rules make of it: what lists, reports and projections start from."""

from typing import NamedTuple, Self

from domain.order.deadlines import Clocks, clocks
from domain.order.state import Order
from domain.order.violations import Violation, ladder
from domain.rules.ruleset import RuleBook, RuleSet


class Judged(NamedTuple):
    """A folded order with the rules that govern it, the clocks they set, and the rules broken or still to be."""

    order: Order
    rules: RuleSet
    clocks: Clocks
    violations: tuple[Violation, ...]

    @classmethod
    def by(cls, book: RuleBook, order: Order) -> Self:
        rules = book.governing(order)
        running = clocks(order, rules)
        return cls(order, rules, running, ladder(order, rules, running))
