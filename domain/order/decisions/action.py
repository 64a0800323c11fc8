"""The form of an action: a command, the function that decides it, and its description."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Generic, NamedTuple, TypeVar

from domain.kernel import Command, Refusal, RefusalCode
from domain.order.events import OrderEvent
from domain.order.state import Order
from domain.order.violations import Violation
from domain.order.warnings import RelatedFacts
from domain.rules.ruleset import RuleSet

Decision = tuple[OrderEvent, ...] | Refusal
"""The events that the command leads to, none if the order is so already; or why it is refused."""

Guard = Callable[[Order, Sequence[Violation], datetime], Refusal | None]
"""Why the action is not possible, whatever the body, on an order with these violations at a moment."""

C = TypeVar("C", bound=Command)


class Action(NamedTuple, Generic[C]):
    """An action of the contract.

    ``forbidden`` judges it before a body is known. ``conditions`` judges what lies outside the order and its rules;
    it is called only when ``decide`` does not refuse. ``refusals`` are the codes that ``decide`` and ``conditions``
    give, without those that every action can give (``table.COMMON_REFUSALS``). ``example`` is a body.

    ``reports`` says that the action tells what others did already: a carrier, a buyer, the platform. Such a fact
    may become known late and in any order, so it is judged by what is known now alone. Any other action asks for
    something. If it says that it was earlier, it must have been possible then, too.
    """

    command: type[C]
    decide: Callable[[C, Order, RuleSet, datetime], Decision]
    forbidden: Guard
    summary: str
    example: Mapping[str, object]
    refusals: tuple[RefusalCode, ...]
    conditions: Callable[[C, Order, RuleSet, datetime, RelatedFacts], Refusal | None] | None = None
    reports: bool = False


def by_order(guard: Callable[[Order], Refusal | None]) -> Guard:
    """A guard that depends on the order alone, not on its violations."""
    return lambda order, standing, at: guard(order)


def always_possible(order: Order, standing: Sequence[Violation], at: datetime) -> None:
    """The guard of an action that no state of an order forbids."""


def in_words(order: Order) -> str:
    """The order's status as refusals write it."""
    return order.status.replace("_", " ")
