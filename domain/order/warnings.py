"""What the platform may take amiss about an order: doubtful tracking numbers, and an application it may not take.

A warning refuses nothing and costs nothing. Some warnings depend on other orders: whether a tracking number was
used before, and how many applications there were. The caller passes these facts in (``RelatedFacts``).
"""

import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from domain.calendar import beijing_day, beijing_midnight, beijing_minute
from domain.order.state import Order
from domain.rules.ruleset import RuleSet
from domain.sku.state import Sku

OrderWarningCode = Literal[
    "number_used_before", "frequent_replacements", "on_sale", "activity_order", "daily_limit"
]


class OrderWarning(msgspec.Struct, frozen=True, omit_defaults=True):
    """``order_sn`` is the other order that ``tracking_number`` was used for, ``sku_id`` a SKU that is on sale."""

    code: OrderWarningCode
    detail: str
    tracking_number: str | None = None
    order_sn: str | None = None
    sku_id: str | None = None


def plain_number(tracking_number: str) -> str:
    """A tracking number as it is compared: half-width capitals without blanks, however it was typed."""
    return "".join(unicodedata.normalize("NFKC", tracking_number).split()).upper()


class Use(msgspec.Struct, frozen=True, gc=False):
    """A tracking number, in plain form, that went up for an order."""

    tracking_number: str
    order_sn: str
    uploaded_at: datetime


class RelatedFacts(msgspec.Struct, frozen=True):
    """Facts of other streams that a decision about an order, or a view of it, needs.

    ``skus`` are the SKUs that the order was or may be applied for, by their ids. ``uses`` are uses of its tracking
    numbers. ``filed`` is when the shop's applications were filed that stand before this order's in the log, the
    earliest first.
    """

    skus: Mapping[str, Sku] = {}
    uses: Sequence[Use] = ()
    filed: Sequence[datetime] = ()


NO_RELATED_FACTS = RelatedFacts()


def warnings(order: Order, rules: RuleSet, related_facts: RelatedFacts) -> tuple[OrderWarning, ...]:
    """Everything that is doubtful about the order's numbers and its open application."""
    if not order.parcels and not order.reviews:
        return ()
    warned = doubts(order, rules, related_facts.uses)
    if review := order.open_review:
        requested_at = review.requested_at if review.time_known else None
        warned += missed_conditions(order, order.applied_for(review), requested_at, rules, related_facts)
    return tuple(warned)


def doubts(order: Order, rules: RuleSet, uses: Sequence[Use]) -> list[OrderWarning]:
    """Numbers that another order had shortly before, and numbers that were replaced again and again.

    Source: reused-tracking-number.
    """
    warned = []
    for parcel in order.current_parcels:
        since = parcel.uploaded_at - timedelta(days=rules.tracking.reuse_days)
        before = [
            use
            for use in uses
            if use.tracking_number == plain_number(parcel.tracking_number) != ""
            and use.order_sn != order.order_sn
            and since <= use.uploaded_at <= parcel.uploaded_at
        ]
        if before:
            last = max(before, key=lambda use: (use.uploaded_at, use.order_sn))
            days = rules.tracking.reuse_days
            detail = (
                f"{parcel.tracking_number} went up for order {last.order_sn} "
                f"at {beijing_minute(last.uploaded_at)}. "
                f"A number that another receiver's parcel had within {days} days is taken for a false shipment."
            )
            warned.append(
                OrderWarning(
                    "number_used_before", detail, tracking_number=parcel.tracking_number, order_sn=last.order_sn
                )
            )
    replaced = sum(1 for parcel in order.parcels if parcel.replaced_at is not None)
    if replaced >= rules.tracking.frequent_replacements:
        detail = f"Tracking numbers were replaced {replaced} times; the platform may look for false shipments."
        warned.append(OrderWarning("frequent_replacements", detail))
    return warned


def missed_conditions(
    order: Order, sku_ids: Sequence[str], filed_at: datetime | None, rules: RuleSet, related_facts: RelatedFacts
) -> list[OrderWarning]:
    """The platform's conditions for a stockout application that this one does not meet.

    ``filed_at`` is ``None`` where it isn't known; then neither the day's limit nor the delisting is judged.
    Source: application-conditions.
    """
    conditions = rules.application
    missed = []
    if order.activity and not conditions.takes_activity_orders:
        missed.append(
            OrderWarning("activity_order", "The platform takes no application for an order of an activity.")
        )
    if filed_at is None:
        return missed
    for sku_id in sku_ids if conditions.requires_delisting else ():
        if (related_facts.skus.get(sku_id) or Sku(sku_id)).off_sale_since(filed_at) is None:
            detail = (
                f"SKU {sku_id} can still be bought; the platform takes an application only once it is delisted."
            )
            missed.append(OrderWarning("on_sale", detail, sku_id=sku_id))
    day = beijing_midnight(beijing_day(filed_at))
    before = bisect_right(related_facts.filed, filed_at) - bisect_left(related_facts.filed, day)
    if conditions.daily_limit is not None and before >= conditions.daily_limit:
        detail = (
            f"{before} applications were filed that day before; the platform takes {conditions.daily_limit} a day."
        )
        missed.append(OrderWarning("daily_limit", detail))
    return missed
