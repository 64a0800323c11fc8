"""How an order ends early: cancelled before it is shipped, or refunded."""

from datetime import datetime

from domain.kernel import Refusal
from domain.order import commands as c
from domain.order import events as e
from domain.order.decisions.action import Action, Decision, by_order, in_words
from domain.order.state import Order
from domain.rules.ruleset import RuleSet


def cannot_change_closed(order: Order) -> Refusal | None:
    return Refusal("order_closed", f"The order is {in_words(order)}.") if order.is_closed else None


# ---- cancel -----------------------------------------------------------------------------------------


def cannot_cancel(order: Order) -> Refusal | None:
    if order.cancellation:
        return Refusal("order_closed", f"The order was cancelled already, for {order.cancellation.reason!r}.")
    if order.parcels:
        return Refusal("already_shipped", "A shipped order can be refunded, not cancelled.")
    if order.is_stocked_out:
        return Refusal("order_closed", "The stockout was approved; the platform refunds the order.")
    return cannot_change_closed(order)


def cancel(command: c.Cancel, order: Order, rules: RuleSet, at: datetime) -> Decision:
    """Call the order off. For want of stock, once the group has formed, that is a stockout.

    Source: merchant-refund.
    """
    if order.cancellation and order.cancellation.reason == command.reason:
        return ()
    return cannot_cancel(order) or (e.OrderCancelled(command.reason),)


CANCEL = Action(
    c.Cancel,
    cancel,
    by_order(cannot_cancel),
    summary="The order is called off before it is shipped.",
    example={"reason": "changed_mind"},
    refusals=("already_shipped", "order_closed"),
)

# ---- refund -----------------------------------------------------------------------------------------


def cannot_refund(order: Order) -> Refusal | None:
    if done := order.full_refund:
        by = "nobody knows whom" if done.initiated_by == "unknown" else f"the {done.initiated_by}"
        return Refusal("order_closed", f"Everything was refunded already, by {by} for {done.reason!r}.")
    return _nothing_paid(order)


def refund(command: c.Refund, order: Order, rules: RuleSet, at: datetime) -> Decision:
    """Money goes back. By the merchant for want of stock it is a stockout, whatever the buyer says.

    Source: merchant-refund.
    """
    done = order.full_refund
    if done and (done.initiated_by, done.reason, done.amount_fen) == (
        command.initiated_by,
        command.reason,
        command.amount_fen,
    ):
        return ()
    if refusal := cannot_refund(order):
        return refusal
    left = None if order.paid_fen is None else order.paid_fen - (order.refunded_fen or 0)
    if command.amount_fen is not None and left is not None and command.amount_fen > left:
        return Refusal("invalid_request", f"Only {left} fen are left to refund.", "/amount_fen")
    return (e.OrderRefunded(command.initiated_by, command.reason, command.amount_fen),)


def _nothing_paid(order: Order) -> Refusal | None:
    if order.paid_at is None and order.group_formed_at is None:
        return Refusal("not_paid", "Nothing was paid yet; cancel the order instead.")
    return None


REFUND = Action(
    c.Refund,
    refund,
    by_order(cannot_refund),
    summary="Money goes back, all of it or `amount_fen`.",
    example={"initiated_by": "buyer", "reason": "changed_mind", "amount_fen": 12900},
    refusals=("not_paid", "order_closed"),
)
