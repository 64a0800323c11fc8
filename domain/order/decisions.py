"""May this be done? One small function per command: guards first, events last.

A decision is a tuple of events (empty: it is already so) or a ``Refusal``. ``decide`` at the end adds
the laws that hold for every command: an unknown order can only be placed, times must make sense, and
a command that is told late must have been allowed then as well as now.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from domain.calendar import BEIJING
from domain.history import Recorded
from domain.order import commands as c
from domain.order import events as e
from domain.order.deadlines import ship_by
from domain.order.state import Charge, Handover, Hold, Order, Parcel, fold
from domain.order.violations import Violation, violations
from domain.order.warnings import NO_RELATED_FACTS, RelatedFacts, missed_conditions
from domain.rules.ruleset import RuleBook, RuleSet

EARLIEST = datetime(2015, 1, 1, tzinfo=BEIJING)
"""The platform was founded in 2015; no fulfilment fact is older."""

CLOCK_SKEW = timedelta(minutes=10)
"""How far ahead of ours a reporter's clock may be."""

FURTHEST_SHIP_BY = timedelta(days=731)

LONGEST_HISTORY = 5_000
"""How many events an order may have; a real one has some dozens."""


class Refusal(msgspec.Struct, frozen=True):
    """Why not. ``code`` is for programs, ``detail`` for people; ``pointer`` names a field that makes no sense."""

    code: str
    detail: str
    pointer: str | None = None


Decision = tuple[e.OrderEvent, ...] | Refusal


# ---- before shipping -------------------------------------------------------------------------------


def place(command: c.Place, order: Order, rules: RuleSet, at: datetime) -> Decision:
    """A new order. Placing the same order again changes nothing."""
    lines = tuple(
        e.Line(line.sku_id, line.goods_id, line.name, line.quantity, line.unit_price_fen) for line in command.lines
    )
    if order.version == 0:
        placed = e.OrderPlaced(
            lines,
            command.goods_type,
            command.paid_fen,
            command.group_id,
            command.region,
            command.open_in_festival,
            command.activity,
        )
        return (placed,)
    same = (lines, command.goods_type, command.group_id) == (order.lines, order.goods_type, order.group_id)
    told = (
        (command.paid_fen, order.paid_fen),
        (command.region, order.region),
        (command.open_in_festival, order.open_in_festival),
        (command.activity, order.activity),
    )
    if same and all(now in (None, before) for now, before in told):
        return ()
    return Refusal("order_exists", f"Order {order.order_sn} was already placed, and differently.")


def pay(command: c.Pay, order: Order, rules: RuleSet, at: datetime) -> Decision:
    if order.paid_at and order.paid_fen == command.paid_fen:
        return ()
    return cannot_pay(order) or (e.OrderPaid(command.paid_fen),)


def form_group(command: c.FormGroup, order: Order, rules: RuleSet, at: datetime) -> Decision:
    """The clock starts. A group forms of paid orders, so this is not refused where no payment is known yet."""
    if order.group_formed_at and command.ship_by in (None, order.promised_ship_by):
        return ()
    if refusal := cannot_form_group(order) or senseless_ship_by(command.ship_by, at):
        return refusal
    return (e.GroupFormed(command.ship_by.astimezone(UTC) if command.ship_by else None),)


def fail_group(command: c.FailGroup, order: Order, rules: RuleSet, at: datetime) -> Decision:
    if order.group_failed_at:
        return ()
    return cannot_fail_group(order) or (e.GroupFailed(),)


def change_ship_by(command: c.ChangeShipBy, order: Order, rules: RuleSet, at: datetime) -> Decision:
    """Move the ship-by. The platform may move one that has passed; a buyer's agreement can't."""
    if order.promised_ship_by == command.ship_by:
        return ()
    since = order.group_formed_at or at
    if refusal := cannot_change_ship_by(order) or senseless_ship_by(command.ship_by, since):
        return refusal
    current = ship_by(order, rules)
    if command.reason == "buyer_agreed" and current is not None and at > current:
        return Refusal("ship_by_passed", f"The ship-by passed at {_said(current)}; a buyer can't agree it away.")
    return (e.ShipByChanged(command.ship_by.astimezone(UTC), command.reason),)


def cancel(command: c.Cancel, order: Order, rules: RuleSet, at: datetime) -> Decision:
    """Call the order off. For want of stock, once the group has formed, that is a stockout (DOMAIN.md §1.3 T1)."""
    if order.cancellation:
        return ()
    return cannot_cancel(order) or (e.OrderCancelled(command.reason),)


# ---- shipping --------------------------------------------------------------------------------------


def upload_tracking(command: c.UploadTracking, order: Order, rules: RuleSet, at: datetime) -> Decision:
    """Hand a parcel over: the merchant uploads a carrier's tracking number.

    Refused while any hold is in force (a stockout review above all, seed 1), before the group has
    formed, and once the order is closed. A further number is a further parcel only when both say
    what is in them; otherwise it would replace one. The same number again changes nothing.
    """
    if _same_parcel(order.parcel(command.tracking_number), command):
        return ()
    if refusal := cannot_ship(order) or _does_not_fit(command, order):
        return refusal
    lines = tuple(e.ParcelLine(line.sku_id, line.quantity) for line in command.lines)
    return (e.TrackingUploaded(command.carrier, command.tracking_number, lines),)


def replace_tracking(command: c.ReplaceTracking, order: Order, rules: RuleSet, at: datetime) -> Decision:
    """Another number for a parcel; from now on the newest is judged (DOMAIN.md §1.5). Locked like an upload."""
    if any(p.tracking_number == command.tracking_number for p in order.current_parcels):
        return ()
    if refusal := cannot_replace_tracking(order):
        return refusal
    if order.parcel(command.tracking_number):
        return Refusal("already_replaced", f"{command.tracking_number} was itself replaced; it can't come back.")
    parcel = _parcel_meant(order, command.replaces)
    if isinstance(parcel, Refusal):
        return parcel
    if parcel.delivered_at:
        return Refusal(
            "already_delivered", f"Parcel {parcel.tracking_number} was delivered; it needs no other number."
        )
    return (e.TrackingReplaced(command.carrier, command.tracking_number, parcel.tracking_number, command.reason),)


def hand_to_supplier(command: c.HandToSupplier, order: Order, rules: RuleSet, at: datetime) -> Decision:
    """Have a supplier ship the order (一件代发). What may not be shipped may not be handed over either."""
    expected = command.expected_tracking_at
    held = order.with_supplier
    if held and (held.supplier_id, held.expected_tracking_at) == (command.supplier_id, expected):
        return ()
    if refusal := cannot_hand_over(order) or _senseless_expectation(expected, at):
        return refusal
    came_back_at = order.handovers[-1].came_back_at if order.handovers else None
    if came_back_at is not None and at < came_back_at:
        return _too_early("the order came back from its last supplier", came_back_at)
    return (e.HandedToSupplier(command.supplier_id, expected.astimezone(UTC) if expected else None),)


def record_supplier_tracking(
    command: c.RecordSupplierTracking, order: Order, rules: RuleSet, at: datetime
) -> Decision:
    """The supplier's tracking number goes up by the rules of any other."""
    decision = upload_tracking(command, order, rules, at)
    if isinstance(decision, Refusal) or not decision:
        return decision
    held = order.with_supplier
    if held is None:
        return _with_nobody()
    lines = tuple(e.ParcelLine(line.sku_id, line.quantity) for line in command.lines)
    return (e.TrackingUploaded(command.carrier, command.tracking_number, lines, held.supplier_id),)


def record_supplier_stockout(
    command: c.RecordSupplierStockout, order: Order, rules: RuleSet, at: datetime
) -> Decision:
    """The order is the merchant's again: to hand to another supplier, or to apply for stockout of."""
    if order.handovers and order.handovers[-1].out_of_stock_at:
        return ()
    held = _still_with_supplier(order, at)
    return held if isinstance(held, Refusal) else (e.SupplierOutOfStock(held.supplier_id, command.reason),)


def take_back_from_supplier(
    command: c.TakeBackFromSupplier, order: Order, rules: RuleSet, at: datetime
) -> Decision:
    if order.handovers and order.handovers[-1].taken_back_at:
        return ()
    held = _still_with_supplier(order, at)
    return held if isinstance(held, Refusal) else (e.TakenBackFromSupplier(held.supplier_id, command.reason),)


def record_pickup(command: c.RecordPickup, order: Order, rules: RuleSet, at: datetime) -> Decision:
    parcel = cannot_track(order) or _parcel_meant(order, command.tracking_number)
    if isinstance(parcel, Refusal):
        return parcel
    return () if parcel.picked_up_at else (e.ParcelPickedUp(parcel.tracking_number),)


def record_delivery(command: c.RecordDelivery, order: Order, rules: RuleSet, at: datetime) -> Decision:
    parcel = cannot_track(order) or _parcel_meant(order, command.tracking_number)
    if isinstance(parcel, Refusal):
        return parcel
    return () if parcel.delivered_at else (e.ParcelDelivered(parcel.tracking_number),)


def confirm_receipt(command: c.ConfirmReceipt, order: Order, rules: RuleSet, at: datetime) -> Decision:
    if refusal := cannot_track(order):
        return refusal
    if command.tracking_number is not None and order.parcel(command.tracking_number) is None:
        return _no_such_parcel(command.tracking_number)
    return () if order.received_at else (e.ReceiptConfirmed(),)


# ---- stockout, refunds, holds ----------------------------------------------------------------------


def request_stockout(command: c.RequestStockout, order: Order, rules: RuleSet, at: datetime) -> Decision:
    """Apply to the platform; from here to its decision nothing may be shipped (seed 1)."""
    if refusal := cannot_request_stockout(order):
        return refusal
    strangers = set(command.sku_ids) - {line.sku_id for line in order.lines}
    if strangers:
        return Refusal("invalid_request", f"The order has no SKU {min(strangers)}.", "/sku_ids")
    previous = order.reviews[-1].decided_at if order.reviews else None
    if previous is not None and at < previous:
        return _too_early("an earlier application was decided", previous)
    return (e.StockoutRequested(command.reason, command.sku_ids),)


def cannot_meet_conditions(
    command: c.RequestStockout, order: Order, rules: RuleSet, at: datetime, related_facts: RelatedFacts
) -> Refusal | None:
    """What the platform asks of an application (DOMAIN.md §1.4) refuses it only where the rule set says so."""
    if rules.application.conditions == "warn":
        return None
    sku_ids = command.sku_ids or tuple(dict.fromkeys(line.sku_id for line in order.lines))
    missed = missed_conditions(order, sku_ids, at, rules, related_facts)
    return Refusal("conditions_not_met", " ".join(each.detail for each in missed)) if missed else None


def complete_review(command: c.CompleteReview, order: Order, rules: RuleSet, at: datetime) -> Decision:
    if order.open_review is None:
        return cannot_complete_review(order) or ()
    if order.open_review.time_known and at < order.open_review.requested_at:
        return _too_early("the application under review was filed", order.open_review.requested_at)
    return (e.ReviewCompleted(command.outcome),)


def refund(command: c.Refund, order: Order, rules: RuleSet, at: datetime) -> Decision:
    """Money goes back. By the merchant for want of stock it is a stockout, whatever the buyer says (seed 3a)."""
    if order.full_refund:
        return ()
    if refusal := cannot_refund(order):
        return refusal
    left = None if order.paid_fen is None else order.paid_fen - (order.refunded_fen or 0)
    if command.amount_fen is not None and left is not None and command.amount_fen > left:
        return Refusal("invalid_request", f"Only {left} fen are left to refund.", "/amount_fen")
    return (e.OrderRefunded(command.initiated_by, command.reason, command.amount_fen),)


def place_hold(command: c.PlaceHold, order: Order, rules: RuleSet, at: datetime) -> Decision:
    if any(hold.hold == command.hold for hold in order.placed_holds):
        return ()
    if refusal := cannot_hold(order):
        return refusal
    later = order.last_held.get(command.hold)
    if later is not None and at < later:
        return _too_early("the last such hold was placed", later)
    return (e.HoldPlaced(command.hold, command.reason),)


def release_hold(command: c.ReleaseHold, order: Order, rules: RuleSet, at: datetime) -> Decision:
    if refusal := cannot_release(order):
        return refusal
    held = next((hold for hold in order.placed_holds if hold.hold == command.hold), None)
    if held is None:
        return Refusal("no_such_hold", f"No {command.hold} hold is in force.")
    if held.time_known and at < held.since:
        return _too_early("the hold was placed", held.since)
    return (e.HoldReleased(command.hold, command.reason),)


def contact_buyer(command: c.ContactBuyer, order: Order, rules: RuleSet, at: datetime) -> Decision:
    return (e.BuyerContacted(command.channel, command.message),)


# ---- disputes --------------------------------------------------------------------------------------


def file_complaint(command: c.FileComplaint, order: Order, rules: RuleSet, at: datetime) -> Decision:
    number = len(order.complaints) + 1
    return cannot_complain(order) or (e.ParcelComplaintFiled(command.finding, command.evidence, number),)


def decide_complaint(command: c.DecideComplaint, order: Order, rules: RuleSet, at: datetime) -> Decision:
    if order.open_complaint is None:
        return cannot_decide_complaint(order) or ()
    if at < order.open_complaint.filed_at:
        return _too_early("the complaint was filed", order.open_complaint.filed_at)
    return (e.ParcelComplaintDecided(command.outcome),)


def appeal(command: c.AppealViolation, order: Order, rules: RuleSet, at: datetime) -> Decision:
    """Dispute a violation that stands; once only, and not too late (DOMAIN.md §1.7)."""
    standing = violations(order, rules, at)
    found = next((each for each in standing if each.violation_id == command.violation_id), None)
    if found is None:
        return Refusal("unknown_violation", f"The order has no violation {command.violation_id}.")
    if found.appeal:
        return Refusal("already_appealed", "A violation can be appealed once.")
    shown = command.appeal_by
    if shown and not EARLIEST <= shown <= at + FURTHEST_SHIP_BY:
        return Refusal("invalid_request", "No appeal can be made for two years.", "/appeal_by")
    if at > (shown or found.appeal_by):
        return _too_late_to_appeal(shown or found.appeal_by)
    return (e.ViolationAppealed(command.violation_id, command.evidence, shown.astimezone(UTC) if shown else None),)


def decide_appeal(command: c.DecideAppeal, order: Order, rules: RuleSet, at: datetime) -> Decision:
    found = order.appeal(command.violation_id)
    if found is None or found.outcome is not None:
        return Refusal("no_open_appeal", f"No appeal against {command.violation_id} is open.")
    if at < found.appealed_at:
        return _too_early("the appeal was made", found.appealed_at)
    return (e.AppealDecided(command.violation_id, command.outcome),)


# ---- bills -----------------------------------------------------------------------------------------


def record_charge(command: c.RecordCharge, order: Order, rules: RuleSet, at: datetime) -> Decision:
    """A line of the platform's bill is a fact, whatever the order looks like; told again it changes nothing."""
    charge = Charge(command.line_id, command.kind, command.amount_fen, at)
    if told := order.charge(command.line_id):
        return () if told == charge else _told_otherwise(told)
    return (e.PenaltyCharged(command.kind, command.amount_fen, command.line_id),)


def record_return(command: c.RecordReturn, order: Order, rules: RuleSet, at: datetime) -> Decision:
    charge = Charge(command.line_id, None, command.amount_fen, at)
    if told := order.charge(command.line_id):
        return () if told == charge else _told_otherwise(told)
    return (e.PenaltyReturned(command.amount_fen, command.line_id),)


# ---- policies: what stands in the way, if anything --------------------------------------------------


def cannot_ship(order: Order) -> Refusal | None:
    """Locks come first: a locked order is refused as locked, whatever else is wrong with it."""
    if order.holds:
        return _locked(order.holds)
    if order.is_closed or order.is_stocked_out:
        return Refusal("not_shippable", f"The order is {_worded(order)}; nothing may be sent.")
    if order.group_formed_at is None:
        return Refusal("not_shippable", "The group has not formed yet.")
    if any(not parcel.lines for parcel in order.current_parcels):
        return Refusal("already_shipped", "A tracking number is up already; replace it instead.")
    if order.current_parcels and not any(left > 0 for left in order.left_to_pack().values()):
        return Refusal("already_shipped", "Everything is packed; replace a tracking number instead.")
    return None


def cannot_hand_over(order: Order) -> Refusal | None:
    if refusal := cannot_ship(order):
        return refusal
    if held := order.with_supplier:
        return Refusal("with_supplier", f"The order is with supplier {held.supplier_id}; take it back first.")
    return None


def cannot_ship_by_supplier(order: Order) -> Refusal | None:
    if refusal := cannot_ship(order):
        return refusal
    return None if order.with_supplier else _with_nobody()


def cannot_come_back(order: Order) -> Refusal | None:
    held = order.with_supplier
    if held is None:
        return _with_nobody()
    if shipped_at := held.tracking_at or held.shipped_otherwise_at:
        return Refusal("already_shipped", f"A tracking number is up since {_said(shipped_at)}.")
    return _closed(order)


def cannot_replace_tracking(order: Order) -> Refusal | None:
    if order.holds:
        return _locked(order.holds)
    return cannot_track(order) or _closed(order)


def cannot_track(order: Order) -> Refusal | None:
    return None if order.parcels else Refusal("not_shipped", "No tracking number is up yet.")


def cannot_request_stockout(order: Order) -> Refusal | None:
    if order.open_review:
        return Refusal("review_already_open", "An application is under review already.")
    if order.parcels:
        return Refusal("already_shipped", "A shipped order can't be out of stock.")
    if order.is_closed or order.is_stocked_out:
        return Refusal("not_shippable", f"The order is {_worded(order)}; there is nothing to apply for.")
    if order.group_formed_at is None:
        return Refusal("not_shippable", "The group has not formed yet; nothing needs to be shipped.")
    return None


def cannot_complete_review(order: Order) -> Refusal | None:
    return None if order.open_review else Refusal("no_open_review", "No stockout application is under review.")


def cannot_pay(order: Order) -> Refusal | None:
    if order.paid_at:
        return Refusal("already_paid", f"The order was paid with {order.paid_fen} fen.")
    return _closed(order)


def cannot_form_group(order: Order) -> Refusal | None:
    if order.group_formed_at:
        return Refusal("group_already_formed", "The group has formed; a moved promise is a changed ship-by.")
    return _closed(order)


def cannot_fail_group(order: Order) -> Refusal | None:
    if order.group_formed_at:
        return Refusal("group_already_formed", "The group has formed; it can't fail any more.")
    return _closed(order)


def cannot_change_ship_by(order: Order) -> Refusal | None:
    if order.group_formed_at is None and not order.is_closed:
        return Refusal("not_shippable", "The group has not formed yet; no ship-by runs.")
    return _closed(order)


def cannot_cancel(order: Order) -> Refusal | None:
    if order.parcels:
        return Refusal("already_shipped", "A shipped order can be refunded, not cancelled.")
    if order.is_stocked_out:
        return Refusal("order_closed", "The stockout was approved; the platform refunds the order.")
    return _closed(order)


def cannot_refund(order: Order) -> Refusal | None:
    if order.full_refund:
        return Refusal("order_closed", "Everything was refunded already.")
    if order.paid_at is None and order.group_formed_at is None:
        return Refusal("not_paid", "Nothing was paid yet; cancel the order instead.")
    return None


def cannot_hold(order: Order) -> Refusal | None:
    return _closed(order)


def cannot_release(order: Order) -> Refusal | None:
    return None if order.placed_holds else Refusal("no_such_hold", "No hold is in force that could be released.")


def cannot_complain(order: Order) -> Refusal | None:
    if order.open_complaint:
        return Refusal("complaint_already_open", "A complaint is waiting for its decision.")
    return cannot_track(order)


def cannot_decide_complaint(order: Order) -> Refusal | None:
    return None if order.open_complaint else Refusal("no_open_complaint", "No complaint is open.")


def senseless_ship_by(promise: datetime | None, since: datetime) -> Refusal | None:
    if promise is None or since < promise <= since + FURTHEST_SHIP_BY:
        return None
    return Refusal(
        "invalid_request", "The ship-by must lie after the group's forming, within two years.", "/ship_by"
    )


def _closed(order: Order) -> Refusal | None:
    return Refusal("order_closed", f"The order is {_worded(order)}.") if order.is_closed else None


def _locked(holds: Sequence[Hold]) -> Refusal:
    names = " and ".join(hold.hold.replace("_", " ") for hold in holds)
    return Refusal("order_locked", f"Shipping is locked by {names}; no tracking number may be uploaded.")


def _with_nobody() -> Refusal:
    return Refusal("no_supplier", "The order is with no supplier.")


def _still_with_supplier(order: Order, at: datetime) -> Handover | Refusal:
    held = order.with_supplier
    if held is None:
        return _with_nobody()
    if at < held.handed_at:
        return _too_early("the order was handed to the supplier", held.handed_at)
    return cannot_come_back(order) or held


def _too_late_to_appeal(appeal_by: datetime) -> Refusal:
    return Refusal("appeal_too_late", f"An appeal was taken until {_said(appeal_by.astimezone(UTC))}.")


def _senseless_expectation(expected: datetime | None, at: datetime) -> Refusal | None:
    if expected is None or at < expected <= at + FURTHEST_SHIP_BY:
        return None
    detail = "The number can be expected only after the hand-over, within two years."
    return Refusal("invalid_request", detail, "/expected_tracking_at")


def _told_otherwise(charge: Charge) -> Refusal:
    kind = charge.kind or "return"
    said = f"{kind.replace('_', ' ')} of {charge.amount_fen} fen at {_said(charge.at)}"
    return Refusal("line_already_told", f"Line {charge.line_id} of a bill was told already, as {said}.")


def _same_parcel(parcel: Parcel | None, command: c.UploadTracking) -> bool:
    return (
        parcel is not None
        and parcel.replaced_at is None
        and parcel.carrier == command.carrier
        and [(line.sku_id, line.quantity) for line in parcel.lines]
        == [(line.sku_id, line.quantity) for line in command.lines]
    )


def _does_not_fit(command: c.UploadTracking, order: Order) -> Refusal | None:
    """A parcel holds only what the order has and earlier parcels do not."""
    if order.parcel(command.tracking_number):
        return Refusal(
            "already_shipped", f"{command.tracking_number} is up already, with other contents or carrier."
        )
    if order.current_parcels and not command.lines:
        return Refusal("already_shipped", "Part of the order is on its way; say in `lines` what is in this parcel.")
    left = order.left_to_pack()
    for wanted in command.lines:
        left[wanted.sku_id] = left.get(wanted.sku_id, 0) - wanted.quantity
        if left[wanted.sku_id] < 0:
            detail = f"The order has not that many of SKU {wanted.sku_id} left to pack."
            return Refusal("invalid_request", detail, "/lines")
    return None


def _parcel_meant(order: Order, tracking_number: str | None) -> Parcel | Refusal:
    current = order.current_parcels
    if tracking_number is not None:
        named = next((p for p in current if p.tracking_number == tracking_number), None)
        return named or _no_such_parcel(tracking_number)
    if len(current) == 1:
        return current[0]
    return Refusal("which_parcel", f"The order has {len(current)} parcels; name a tracking number.")


def _no_such_parcel(tracking_number: str) -> Refusal:
    return Refusal("unknown_parcel", f"The order has no parcel {tracking_number}.")


def _too_early(what: str, since: datetime) -> Refusal:
    return Refusal("invalid_request", f"That was before {what} ({_said(since)}).", "/occurred_at")


def _worded(order: Order) -> str:
    return order.status.replace("_", " ")


def _said(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


# ---- the table of actions ---------------------------------------------------------------------------


class Action(NamedTuple):
    """A command's name outside, its body, its decision, and what can be said of it before a body is known."""

    command: type[c.Command]
    decide: Callable[[Any, Order, RuleSet, datetime], Decision]
    forbidden: "Guard"


Guard = Callable[[Order, Sequence[Violation], datetime], Refusal | None]
"""Why nothing of the kind can be done to an order on which such violations stand at a moment."""


def _by(guard: Callable[[Order], Refusal | None]) -> Guard:
    """For what depends on the order alone and not on the violations that stand."""
    return lambda order, standing, at: guard(order)


def _already_placed(order: Order) -> Refusal | None:
    return Refusal("order_exists", "The order was placed already.") if order.version else None


def _nothing_to_decide(order: Order) -> Refusal | None:
    if any(found.outcome is None for found in order.appeals):
        return None
    return Refusal("no_open_appeal", "No appeal is open.")


def _nothing_to_appeal(order: Order, standing: Sequence[Violation], at: datetime) -> Refusal | None:
    undisputed = [violation.appeal_by for violation in standing if violation.appeal is None]
    if not undisputed:
        return Refusal("unknown_violation", "No violation stands that was not appealed already.")
    return _too_late_to_appeal(max(undisputed)) if at > max(undisputed) else None


ACTIONS: dict[str, Action] = {
    "place": Action(c.Place, place, _by(_already_placed)),
    "pay": Action(c.Pay, pay, _by(cannot_pay)),
    "form-group": Action(c.FormGroup, form_group, _by(cannot_form_group)),
    "fail-group": Action(c.FailGroup, fail_group, _by(cannot_fail_group)),
    "change-ship-by": Action(c.ChangeShipBy, change_ship_by, _by(cannot_change_ship_by)),
    "upload-tracking": Action(c.UploadTracking, upload_tracking, _by(cannot_ship)),
    "replace-tracking": Action(c.ReplaceTracking, replace_tracking, _by(cannot_replace_tracking)),
    "record-pickup": Action(c.RecordPickup, record_pickup, _by(cannot_track)),
    "record-delivery": Action(c.RecordDelivery, record_delivery, _by(cannot_track)),
    "confirm-receipt": Action(c.ConfirmReceipt, confirm_receipt, _by(cannot_track)),
    "request-stockout": Action(c.RequestStockout, request_stockout, _by(cannot_request_stockout)),
    "complete-review": Action(c.CompleteReview, complete_review, _by(cannot_complete_review)),
    "refund": Action(c.Refund, refund, _by(cannot_refund)),
    "cancel": Action(c.Cancel, cancel, _by(cannot_cancel)),
    "place-hold": Action(c.PlaceHold, place_hold, _by(cannot_hold)),
    "release-hold": Action(c.ReleaseHold, release_hold, _by(cannot_release)),
    "contact-buyer": Action(c.ContactBuyer, contact_buyer, _by(lambda order: None)),
    "file-complaint": Action(c.FileComplaint, file_complaint, _by(cannot_complain)),
    "decide-complaint": Action(c.DecideComplaint, decide_complaint, _by(cannot_decide_complaint)),
    "appeal": Action(c.AppealViolation, appeal, _nothing_to_appeal),
    "decide-appeal": Action(c.DecideAppeal, decide_appeal, _by(_nothing_to_decide)),
    "hand-to-supplier": Action(c.HandToSupplier, hand_to_supplier, _by(cannot_hand_over)),
    "record-supplier-tracking": Action(
        c.RecordSupplierTracking, record_supplier_tracking, _by(cannot_ship_by_supplier)
    ),
    "record-supplier-stockout": Action(c.RecordSupplierStockout, record_supplier_stockout, _by(cannot_come_back)),
    "take-back-from-supplier": Action(c.TakeBackFromSupplier, take_back_from_supplier, _by(cannot_come_back)),
    "record-charge": Action(c.RecordCharge, record_charge, _by(lambda order: None)),
    "record-return": Action(c.RecordReturn, record_return, _by(lambda order: None)),
}

_DECISIONS = {action.command: action.decide for action in ACTIONS.values()}


def decide(
    history: Sequence[Recorded],
    order: Order,
    command: c.Command,
    book: RuleBook,
    now: datetime,
    related_facts: RelatedFacts = NO_RELATED_FACTS,
) -> tuple[Decision, datetime]:
    """Judge a command against an order, and say when what it tells of occurred.

    ``order`` is the fold of ``history``. A command told late is judged twice, by what is known now and
    by what had happened when it says it occurred: neither a lock that is in force nor one that was in
    force then can be passed by choosing a time. What was so already at that time changes nothing.
    ``related_facts`` is what a stockout application depends on beyond its order.
    """
    if order.version == 0 and not isinstance(command, c.Place):
        return Refusal("unknown_order", f"There is no order {order.order_sn} in this shop."), now
    if order.version >= LONGEST_HISTORY:
        return Refusal("history_full", f"The order has {order.version} events already."), now
    occurred_at = time_told(command, order.last_occurred_at, now)
    if isinstance(occurred_at, Refusal):
        return occurred_at, now
    judge = _DECISIONS[type(command)]
    rules = book.governing(order)
    decision = judge(command, order, rules, occurred_at)
    if isinstance(command, c.RequestStockout) and not isinstance(decision, Refusal):
        decision = cannot_meet_conditions(command, order, rules, occurred_at, related_facts) or decision
    told_late = order.last_occurred_at is not None and occurred_at < order.last_occurred_at
    if not told_late or isinstance(decision, Refusal) or not decision:
        return decision, occurred_at
    then = fold(
        order.order_sn,
        (past for past in history if past.occurred_at <= occurred_at or _may_have_been(past)),
    )
    if then.version == 0:
        return Refusal("invalid_request", "The order was placed later than that.", "/occurred_at"), now
    judged_then = judge(command, then, book.governing(then), occurred_at)
    if isinstance(judged_then, Refusal):
        at_that_time = f"At {_said(occurred_at)}: {judged_then.detail}"
        return Refusal(judged_then.code, at_that_time, judged_then.pointer), now
    return (decision if judged_then else ()), occurred_at


def time_told(command: c.Command, last_occurred_at: datetime | None, now: datetime) -> datetime | Refusal:
    """When what a command tells of occurred: when it says, else now, but not before what is known of."""
    if not isinstance(command.occurred_at, datetime):
        return min(max(now, last_occurred_at or now), now + CLOCK_SKEW)
    if not EARLIEST <= command.occurred_at <= now + CLOCK_SKEW:
        detail = f"It must lie between {_said(EARLIEST)} and ten minutes from now ({_said(now)})."
        return Refusal("invalid_request", detail, "/occurred_at")
    return command.occurred_at.astimezone(UTC)


def _may_have_been(past: Recorded) -> bool:
    """What was merely seen may have happened at any earlier time; a lock merely seen lifted was on till then."""
    return past.metadata.observed and not isinstance(past.event, e.ReviewCompleted | e.HoldReleased)
