"""Stockout applications: the merchant applies, the platform decides, and nothing is shipped in between."""

from datetime import datetime

from domain.kernel import Refusal, too_early
from domain.order import commands as c
from domain.order import events as e
from domain.order.decisions.action import Action, Decision, always_possible, by_order, in_words
from domain.order.state import Order
from domain.order.warnings import RelatedFacts, missed_conditions
from domain.rules.ruleset import RuleSet

# ---- request-stockout -------------------------------------------------------------------------------


def cannot_request_stockout(order: Order) -> Refusal | None:
    if order.open_review:
        return Refusal("review_already_open", "An application is under review already.")
    if order.parcels:
        return Refusal("already_shipped", "A shipped order can't be out of stock.")
    if order.is_closed or order.is_stocked_out:
        return Refusal("not_shippable", f"The order is {in_words(order)}; there is nothing to apply for.")
    if order.group_formed_at is None:
        return Refusal("not_shippable", "The group has not formed yet; nothing needs to be shipped.")
    return None


def request_stockout(command: c.RequestStockout, order: Order, rules: RuleSet, at: datetime) -> Decision:
    """Apply to the platform; from here to its decision nothing may be shipped. Source: stockout-lock."""
    if refusal := cannot_request_stockout(order):
        return refusal
    strangers = set(command.sku_ids) - {line.sku_id for line in order.lines}
    if strangers:
        return Refusal("invalid_request", f"The order has no SKU {min(strangers)}.", "/sku_ids")
    previous = order.reviews[-1].decided_at if order.reviews else None
    if previous is not None and at < previous:
        return too_early("an earlier application was decided", previous)
    return (e.StockoutRequested(command.reason, command.sku_ids),)


def cannot_meet_conditions(
    command: c.RequestStockout, order: Order, rules: RuleSet, at: datetime, related_facts: RelatedFacts
) -> Refusal | None:
    """A missed condition of the platform refuses an application only where the rule set says so.

    Source: application-conditions.
    """
    if rules.application.conditions == "warn":
        return None
    sku_ids = command.sku_ids or tuple(dict.fromkeys(line.sku_id for line in order.lines))
    missed = missed_conditions(order, sku_ids, at, rules, related_facts)
    return Refusal("conditions_not_met", " ".join(each.detail for each in missed)) if missed else None


REQUEST_STOCKOUT = Action(
    c.RequestStockout,
    request_stockout,
    by_order(cannot_request_stockout),
    summary="缺货申请: apply for stockout of these SKUs, or of all. Shipping is locked until the decision.",
    example={"reason": "oversold", "sku_ids": ["52000301"]},
    refusals=("review_already_open", "already_shipped", "not_shippable", "conditions_not_met"),
    conditions=cannot_meet_conditions,
)

# ---- complete-review --------------------------------------------------------------------------------


def cannot_complete_review(order: Order) -> Refusal | None:
    return None if order.open_review else _no_open_review()


def complete_review(command: c.CompleteReview, order: Order, rules: RuleSet, at: datetime) -> Decision:
    review = order.open_review
    if review is None:
        return _no_open_review()
    if review.time_known and at < review.requested_at:
        return too_early("the application under review was filed", review.requested_at)
    return (e.ReviewCompleted(command.outcome),)


COMPLETE_REVIEW = Action(
    c.CompleteReview,
    complete_review,
    by_order(cannot_complete_review),
    summary=("The platform's decision: `approved` (a stockout) or `rejected` (to be shipped); the lock ends."),
    example={"outcome": "rejected"},
    refusals=("no_open_review",),
    reports=True,
)


def _no_open_review() -> Refusal:
    return Refusal("no_open_review", "No stockout application is under review.")


# ---- contact-buyer ----------------------------------------------------------------------------------


def contact_buyer(command: c.ContactBuyer, order: Order, rules: RuleSet, at: datetime) -> Decision:
    return (e.BuyerContacted(command.channel, command.message),)


CONTACT_BUYER = Action(
    c.ContactBuyer,
    contact_buyer,
    always_possible,
    summary="安抚: you spoke to the buyer.",
    example={"channel": "chat", "message": "您好，您购买的商品暂时缺货，我们正在处理。"},
    refusals=(),
    reports=True,
)
