"""Suppliers who ship orders (一件代发): the order goes to one, and its number or the order comes back."""

from datetime import UTC, datetime

from domain.calendar import iso_seconds
from domain.kernel import FURTHEST_DEADLINE, Refusal, too_early
from domain.order import commands as c
from domain.order import events as e
from domain.order.decisions.action import Action, Decision, by_order
from domain.order.decisions.closing import cannot_change_closed
from domain.order.decisions.shipping import cannot_ship, upload_tracking
from domain.order.state import Handover, Order
from domain.rules.ruleset import RuleSet

# ---- hand-to-supplier -------------------------------------------------------------------------------


def cannot_hand_over(order: Order) -> Refusal | None:
    if refusal := cannot_ship(order):
        return refusal
    if held := order.with_supplier:
        return Refusal("with_supplier", f"The order is with supplier {held.supplier_id}; take it back first.")
    return None


def hand_to_supplier(command: c.HandToSupplier, order: Order, rules: RuleSet, at: datetime) -> Decision:
    """Have a supplier ship the order (一件代发). What may not be shipped may not be handed over either."""
    expected = command.expected_tracking_at
    held = order.with_supplier
    if held and (held.supplier_id, held.expected_tracking_at) == (command.supplier_id, expected):
        return ()
    if refusal := cannot_hand_over(order) or _expectation_out_of_range(expected, at):
        return refusal
    came_back_at = order.handovers[-1].came_back_at if order.handovers else None
    if came_back_at is not None and at < came_back_at:
        return too_early("the order came back from its last supplier", came_back_at)
    return (e.HandedToSupplier(command.supplier_id, expected.astimezone(UTC) if expected else None),)


HAND_TO_SUPPLIER = Action(
    c.HandToSupplier,
    hand_to_supplier,
    by_order(cannot_hand_over),
    summary="一件代发: a supplier is to ship it.",
    example={"supplier_id": "S-17", "expected_tracking_at": "2026-03-03T18:00:00+08:00"},
    refusals=("order_locked", "already_shipped", "not_shippable", "with_supplier"),
)


def _expectation_out_of_range(expected: datetime | None, at: datetime) -> Refusal | None:
    if expected is None or at < expected <= at + FURTHEST_DEADLINE:
        return None
    detail = "The number can be expected only after the hand-over, within two years."
    return Refusal("invalid_request", detail, "/expected_tracking_at")


# ---- record-supplier-tracking -----------------------------------------------------------------------


def cannot_ship_by_supplier(order: Order) -> Refusal | None:
    if refusal := cannot_ship(order):
        return refusal
    return None if order.with_supplier else _no_supplier()


def record_supplier_tracking(
    command: c.RecordSupplierTracking, order: Order, rules: RuleSet, at: datetime
) -> Decision:
    """The supplier's tracking number goes up by the rules of any other."""
    decision = upload_tracking(command, order, rules, at)
    if isinstance(decision, Refusal) or not decision:
        return decision
    held = order.with_supplier
    if held is None:
        return _no_supplier()
    lines = tuple(e.ParcelLine(line.sku_id, line.quantity) for line in command.lines)
    return (e.TrackingUploaded(command.carrier, command.tracking_number, lines, held.supplier_id),)


RECORD_SUPPLIER_TRACKING = Action(
    c.RecordSupplierTracking,
    record_supplier_tracking,
    by_order(cannot_ship_by_supplier),
    summary="The supplier's number goes up, as by `upload-tracking`.",
    example={"carrier": "顺丰速运", "tracking_number": "SF7975425451911"},
    refusals=("order_locked", "already_shipped", "not_shippable", "no_supplier"),
)

# ---- record-supplier-stockout, take-back-from-supplier ----------------------------------------------


def cannot_come_back(order: Order) -> Refusal | None:
    held = order.with_supplier
    if held is None:
        return _no_supplier()
    if shipped_at := held.tracking_at or held.shipped_otherwise_at:
        return Refusal("already_shipped", f"A tracking number is up since {iso_seconds(shipped_at)}.")
    return cannot_change_closed(order)


def record_supplier_stockout(
    command: c.RecordSupplierStockout, order: Order, rules: RuleSet, at: datetime
) -> Decision:
    """The order is the merchant's again: to hand to another supplier, or to apply for stockout of."""
    last = order.handovers[-1] if order.handovers else None
    if last and last.out_of_stock_at and last.reason == command.reason:
        return ()
    held = _handover_to_end(order, at)
    return held if isinstance(held, Refusal) else (e.SupplierOutOfStock(held.supplier_id, command.reason),)


RECORD_SUPPLIER_STOCKOUT = Action(
    c.RecordSupplierStockout,
    record_supplier_stockout,
    by_order(cannot_come_back),
    summary="The supplier has no stock; the order is yours again.",
    example={"reason": "no stock before Monday"},
    refusals=("no_supplier", "already_shipped", "order_closed"),
    reports=True,
)


def take_back_from_supplier(
    command: c.TakeBackFromSupplier, order: Order, rules: RuleSet, at: datetime
) -> Decision:
    last = order.handovers[-1] if order.handovers else None
    if last and last.taken_back_at and last.reason == command.reason:
        return ()
    held = _handover_to_end(order, at)
    return held if isinstance(held, Refusal) else (e.TakenBackFromSupplier(held.supplier_id, command.reason),)


TAKE_BACK_FROM_SUPPLIER = Action(
    c.TakeBackFromSupplier,
    take_back_from_supplier,
    by_order(cannot_come_back),
    summary="The order is yours again, before the supplier shipped it.",
    example={"reason": "another one is faster"},
    refusals=("no_supplier", "already_shipped", "order_closed"),
)


def _handover_to_end(order: Order, at: datetime) -> Handover | Refusal:
    """The hand-over that can end at a moment."""
    held = order.with_supplier
    if held is None:
        return _no_supplier()
    if at < held.handed_at:
        return too_early("the order was handed to the supplier", held.handed_at)
    return cannot_come_back(order) or held


def _no_supplier() -> Refusal:
    return Refusal("no_supplier", "The order is with no supplier.")
