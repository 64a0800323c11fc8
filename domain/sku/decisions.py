"""May this be done to a SKU? One small function per action, as for orders.

A SKU is known as soon as an order names it or a command reaches it, so no command is refused for want of one. A
command that changes nothing leads to no event.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar

from domain.kernel import Command, Refusal, RefusalCode, occurrence
from domain.sku import commands as c
from domain.sku import events as e
from domain.sku.state import Sku

LONGEST_HISTORY = 100_000
"""How many events a SKU may have: a count every quarter of an hour for almost three years."""

Decision = tuple[e.SkuEvent, ...] | Refusal

C = TypeVar("C", bound=Command)


class Action(NamedTuple, Generic[C]):
    """An action of the contract. No state of a SKU forbids one; ``example`` is a body."""

    command: type[C]
    decide: Callable[[C, Sku, datetime], tuple[e.SkuEvent, ...]]
    summary: str
    example: Mapping[str, object]


def count_stock(command: c.CountStock, sku: Sku, at: datetime) -> tuple[e.SkuEvent, ...]:
    """A count is a fact of its moment, also when its result is that of the count before."""
    if sku.count is not None and (sku.count.on_hand, sku.count.at) == (command.on_hand, at):
        return ()
    return (e.StockCounted(command.on_hand),)


COUNT_STOCK = Action(
    c.CountStock,
    count_stock,
    summary="盘点: so many pieces lie in the warehouse, those of unshipped orders among them.",
    example={"on_hand": 120, "occurred_at": "2026-03-02T09:00:00+08:00"},
)


def set_capacity(command: c.SetCapacity, sku: Sku, at: datetime) -> tuple[e.SkuEvent, ...]:
    now = sku.capacity
    is_same = now is not None and (now.production_per_day, now.shipping_per_day) == (
        command.production_per_day,
        command.shipping_per_day,
    )
    return () if is_same else (e.CapacitySet(command.production_per_day, command.shipping_per_day),)


SET_CAPACITY = Action(
    c.SetCapacity,
    set_capacity,
    summary="How many pieces can be made, and shipped, in 24 hours.",
    example={"production_per_day": 50, "shipping_per_day": 80},
)


def delist(command: c.Delist, sku: Sku, at: datetime) -> tuple[e.SkuEvent, ...]:
    return (e.SkuDelisted(command.reason),) if sku.was_listed(at) else ()


DELIST = Action(
    c.Delist,
    delist,
    summary="下架: nobody can buy it any more.",
    example={"reason": "out of stock"},
)


def relist(command: c.Relist, sku: Sku, at: datetime) -> tuple[e.SkuEvent, ...]:
    return () if sku.was_listed(at) else (e.SkuRelisted(),)


RELIST = Action(c.Relist, relist, summary="上架: it can be bought again.", example={})

ACTIONS: Mapping[str, Action[Any]] = {
    "count-stock": COUNT_STOCK,
    "set-capacity": SET_CAPACITY,
    "delist": DELIST,
    "relist": RELIST,
}
"""By the name in the contract. ``Any`` stands for the action's own command: no two of them have the same."""

COMMON_REFUSALS: tuple[RefusalCode, ...] = ("invalid_request", "history_full")
"""The codes that every action can be refused with; no action has others."""

_BY_COMMAND: Mapping[type[Command], Action[Any]] = {action.command: action for action in ACTIONS.values()}


def decide(sku: Sku, command: Command, now: datetime) -> tuple[Decision, datetime]:
    """Judge a command against a SKU; the decision, and when the command occurred.

    A backdated command takes its place among the earlier ones: nothing about a SKU forbids anything else.
    """
    if sku.version >= LONGEST_HISTORY:
        return Refusal("history_full", f"The SKU has {sku.version} events already."), now
    occurred_at = occurrence(command, sku.last_occurred_at, now)
    if isinstance(occurred_at, Refusal):
        return occurred_at, now
    return _BY_COMMAND[type(command)].decide(command, sku, occurred_at), occurred_at
