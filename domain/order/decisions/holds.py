"""Holds: locks on shipping other than a stockout review."""

from datetime import datetime

from domain.kernel import Refusal, too_early
from domain.order import commands as c
from domain.order import events as e
from domain.order.decisions.action import Action, Decision, by_order
from domain.order.decisions.closing import cannot_change_closed
from domain.order.state import Order
from domain.rules.ruleset import RuleSet


def place_hold(command: c.PlaceHold, order: Order, rules: RuleSet, at: datetime) -> Decision:
    held = next((hold for hold in order.placed_holds if hold.hold == command.hold), None)
    if held and held.reason == command.reason:
        return ()
    if held:
        return Refusal("order_locked", f"A {command.hold} hold is in force already, for {held.reason!r}.")
    if refusal := cannot_change_closed(order):
        return refusal
    last_placed_at = order.last_held.get(command.hold)
    if last_placed_at is not None and at < last_placed_at:
        return too_early("the last such hold was placed", last_placed_at)
    return (e.HoldPlaced(command.hold, command.reason),)


PLACE_HOLD = Action(
    c.PlaceHold,
    place_hold,
    by_order(cannot_change_closed),
    summary="Lock shipping.",
    example={"hold": "manual", "reason": "address looks wrong"},
    refusals=("order_closed", "order_locked"),
)


def cannot_release(order: Order) -> Refusal | None:
    return None if order.placed_holds else Refusal("no_such_hold", "No hold is in force that could be released.")


def release_hold(command: c.ReleaseHold, order: Order, rules: RuleSet, at: datetime) -> Decision:
    if refusal := cannot_release(order):
        return refusal
    held = next((hold for hold in order.placed_holds if hold.hold == command.hold), None)
    if held is None:
        return Refusal("no_such_hold", f"No {command.hold} hold is in force.")
    if held.time_known and at < held.since:
        return too_early("the hold was placed", held.since)
    return (e.HoldReleased(command.hold, command.reason),)


RELEASE_HOLD = Action(
    c.ReleaseHold,
    release_hold,
    by_order(cannot_release),
    summary="Lift a hold of this kind.",
    example={"hold": "manual", "reason": "address confirmed"},
    refusals=("no_such_hold",),
)
