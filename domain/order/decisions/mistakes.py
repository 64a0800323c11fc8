"""Taking back what a mistaken import brought: a refund, a cancellation, a stockout application or its decision."""

from datetime import datetime

from domain.kernel import Refusal
from domain.order import commands as c
from domain.order import events as e
from domain.order.decisions.action import Action, Decision, by_order
from domain.order.state import Order
from domain.rules.ruleset import RuleSet


def cannot_withdraw(order: Order) -> Refusal | None:
    if order.imported:
        return None
    return Refusal("nothing_to_withdraw", "No import has closed or locked this order.")


def withdraw_fact(command: c.WithdrawFact, order: Order, rules: RuleSet, at: datetime) -> Decision:
    """What commands said stands: only closings and locks that imports brought can be taken back."""
    if command.version in order.withdrawn:
        return ()
    if refusal := cannot_withdraw(order):
        return refusal
    if command.version not in order.imported:
        versions = ", ".join(map(str, order.imported))
        detail = f"Version {command.version} can't be taken back; of this order only {versions} can."
        return Refusal("invalid_request", detail, "/version")
    return (e.FactWithdrawn(command.version, command.reason),)


WITHDRAW_FACT = Action(
    c.WithdrawFact,
    withdraw_fact,
    by_order(cannot_withdraw),
    summary=(
        "Take back a refund, a cancellation, a stockout application or its decision that a mistaken import brought."
    ),
    example={"version": 4, "reason": "the export was another shop's"},
    refusals=("nothing_to_withdraw",),
    reports=True,
)
