"""May this be done to a SKU? One small function per command, as for orders.

A SKU is known as soon as an order names it or anything is told of it, so no command is refused for want of
one. Whatever is so already changes nothing.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

from domain.order.commands import Command
from domain.order.decisions import Refusal, time_told
from domain.sku import commands as c
from domain.sku import events as e
from domain.sku.state import Sku

LONGEST_HISTORY = 100_000
"""How many events a SKU may have: a count every quarter of an hour for almost three years."""

Decision = tuple[e.SkuEvent, ...] | Refusal


def count_stock(command: c.CountStock, sku: Sku, at: datetime) -> Decision:
    """A count is a fact of its moment, also when it finds what the one before found."""
    if sku.count is not None and (sku.count.on_hand, sku.count.at) == (command.on_hand, at):
        return ()
    return (e.StockCounted(command.on_hand),)


def set_capacity(command: c.SetCapacity, sku: Sku, at: datetime) -> Decision:
    now = sku.capacity
    same = now is not None and (now.production_per_day, now.shipping_per_day) == (
        command.production_per_day,
        command.shipping_per_day,
    )
    return () if same else (e.CapacitySet(command.production_per_day, command.shipping_per_day),)


def delist(command: c.Delist, sku: Sku, at: datetime) -> Decision:
    return (e.SkuDelisted(command.reason),) if sku.was_listed(at) else ()


def relist(command: c.Relist, sku: Sku, at: datetime) -> Decision:
    return () if sku.was_listed(at) else (e.SkuRelisted(),)


class Action(NamedTuple):
    """A command's name outside, its body, and its decision."""

    command: type[Command]
    decide: Callable[[Any, Sku, datetime], Decision]


ACTIONS: dict[str, Action] = {
    "count-stock": Action(c.CountStock, count_stock),
    "set-capacity": Action(c.SetCapacity, set_capacity),
    "delist": Action(c.Delist, delist),
    "relist": Action(c.Relist, relist),
}

_DECISIONS = {action.command: action.decide for action in ACTIONS.values()}


def decide(sku: Sku, command: Command, now: datetime) -> tuple[Decision, datetime]:
    """Judge a command against a SKU, and say when what it tells of occurred.

    What is told late takes its place among what was told before: nothing about a SKU forbids anything else.
    """
    if sku.version >= LONGEST_HISTORY:
        return Refusal("history_full", f"The SKU has {sku.version} events already."), now
    occurred_at = time_told(command, sku.last_occurred_at, now)
    if isinstance(occurred_at, Refusal):
        return occurred_at, now
    return _DECISIONS[type(command)](command, sku, occurred_at), occurred_at
