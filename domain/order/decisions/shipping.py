"""How an order is shipped: its tracking numbers go up, and the carrier and the buyer report on the parcels."""

from collections.abc import Sequence
from datetime import datetime

from domain.kernel import Refusal
from domain.order import commands as c
from domain.order import events as e
from domain.order.decisions.action import Action, Decision, always_possible, by_order, in_words
from domain.order.decisions.closing import cannot_change_closed
from domain.order.state import Hold, Order, Parcel
from domain.rules.ruleset import RuleSet

# ---- upload-tracking --------------------------------------------------------------------------------


def cannot_ship(order: Order) -> Refusal | None:
    """Locks come first: a locked order is refused as locked, whatever else is wrong with it."""
    if order.holds:
        return _locked(order.holds)
    if order.is_closed or order.is_stocked_out:
        return Refusal("not_shippable", f"The order is {in_words(order)}; nothing may be sent.")
    if order.group_formed_at is None:
        return Refusal("not_shippable", "The group has not formed yet.")
    if any(not parcel.lines for parcel in order.current_parcels):
        return Refusal("already_shipped", "A tracking number is up already; replace it instead.")
    if order.current_parcels and not any(left > 0 for left in order.left_to_pack().values()):
        return Refusal("already_shipped", "Everything is packed; replace a tracking number instead.")
    return None


def upload_tracking(command: c.UploadTracking, order: Order, rules: RuleSet, at: datetime) -> Decision:
    """Hand a parcel over: the merchant uploads a carrier's tracking number.

    Refused while any hold is in force (a stockout review above all), before the group has
    formed, and once the order is closed. A further number is a further parcel only when both say
    what is in them; otherwise it would replace one. The same number again changes nothing. A gift or something sent
    again travels in a parcel of its own, also when the whole order is on its way.
    Source: stockout-lock.
    """
    if _is_same_parcel(order.parcel(command.tracking_number), command):
        return ()
    if command.kind_of_parcel == "order":
        refusal = cannot_ship(order) or _does_not_fit(command, order)
    else:
        refusal = _cannot_send_extra(order) or _is_up_otherwise(command, order)
    if refusal:
        return refusal
    lines = tuple(e.ParcelLine(line.sku_id, line.quantity) for line in command.lines)
    return (e.TrackingUploaded(command.carrier, command.tracking_number, lines, kind=command.kind_of_parcel),)


UPLOAD_TRACKING = Action(
    c.UploadTracking,
    upload_tracking,
    by_order(cannot_ship),
    summary=(
        "A parcel is handed over; `lines` says what is in it, where there are several. `kind` is `gift` or "
        "`resend` for a parcel that travels besides the order; such a one is never judged. Refused while a hold "
        "is in force."
    ),
    example={"carrier": "顺丰速运", "tracking_number": "SF7975425451911"},
    refusals=("order_locked", "already_shipped", "not_shippable"),
)


def _locked(holds: Sequence[Hold]) -> Refusal:
    names = " and ".join(hold.hold.replace("_", " ") for hold in holds)
    return Refusal("order_locked", f"Shipping is locked by {names}; no tracking number may be uploaded.")


def _is_same_parcel(parcel: Parcel | None, command: c.UploadTracking) -> bool:
    return (
        parcel is not None
        and parcel.kind == command.kind_of_parcel
        and parcel.replaced_at is None
        and parcel.carrier == command.carrier
        and [(line.sku_id, line.quantity) for line in parcel.lines]
        == [(line.sku_id, line.quantity) for line in command.lines]
    )


def _cannot_send_extra(order: Order) -> Refusal | None:
    """Why nothing can be sent besides the order: like the order itself, but it may be packed or closed already."""
    if order.holds:
        return _locked(order.holds)
    if order.group_formed_at is None:
        return Refusal("not_shippable", "The group has not formed yet.")
    return None


def _is_up_otherwise(command: c.UploadTracking, order: Order) -> Refusal | None:
    if order.parcel(command.tracking_number) is None:
        return None
    return Refusal(
        "already_shipped", f"{command.tracking_number} is up already, with other contents, carrier or kind."
    )


def _does_not_fit(command: c.UploadTracking, order: Order) -> Refusal | None:
    """A parcel holds only what the order has and earlier parcels do not."""
    if refusal := _is_up_otherwise(command, order):
        return refusal
    if order.current_parcels and not command.lines:
        return Refusal("already_shipped", "Part of the order is on its way; say in `lines` what is in this parcel.")
    left = order.left_to_pack()
    for packed in command.lines:
        left[packed.sku_id] = left.get(packed.sku_id, 0) - packed.quantity
        if left[packed.sku_id] < 0:
            detail = f"The order has not that many of SKU {packed.sku_id} left to pack."
            return Refusal("invalid_request", detail, "/lines")
    return None


# ---- replace-tracking -------------------------------------------------------------------------------


def cannot_replace_tracking(order: Order) -> Refusal | None:
    if order.holds:
        return _locked(order.holds)
    return cannot_track(order) or cannot_change_closed(order)


def replace_tracking(command: c.ReplaceTracking, order: Order, rules: RuleSet, at: datetime) -> Decision:
    """Another number for a parcel; from now on the newest is judged. Locked like an upload.

    Source: newest-number.
    """
    up = next((p for p in order.current_parcels if p.tracking_number == command.tracking_number), None)
    if up is not None:
        if up.carrier == command.carrier:
            return ()
        return Refusal("already_shipped", f"{up.tracking_number} is up already, with {up.carrier}.")
    if refusal := cannot_replace_tracking(order):
        return refusal
    if order.parcel(command.tracking_number):
        return Refusal("already_replaced", f"{command.tracking_number} was itself replaced; it can't come back.")
    parcel = _current_parcel(order, command.replaces)
    if isinstance(parcel, Refusal):
        return parcel
    if parcel.delivered_at:
        return Refusal(
            "already_delivered", f"Parcel {parcel.tracking_number} was delivered; it needs no other number."
        )
    return (e.TrackingReplaced(command.carrier, command.tracking_number, parcel.tracking_number, command.reason),)


REPLACE_TRACKING = Action(
    c.ReplaceTracking,
    replace_tracking,
    by_order(cannot_replace_tracking),
    summary=(
        "Another number for a parcel, judged from now on; `replaces` says which, where there are several. Refused "
        "while a hold is in force."
    ),
    example={"carrier": "中通快递", "tracking_number": "JT2179977024207", "reason": "carrier lost the label"},
    refusals=(
        "order_locked",
        "not_shipped",
        "which_parcel",
        "unknown_parcel",
        "already_delivered",
        "already_replaced",
        "already_shipped",
        "order_closed",
    ),
)


def _current_parcel(order: Order, tracking_number: str | None) -> Parcel | Refusal:
    """The parcel with this number; without a number the only one."""
    current = order.current_parcels
    if tracking_number is not None:
        named = next((p for p in current if p.tracking_number == tracking_number), None)
        return named or _no_such_parcel(tracking_number)
    if len(current) == 1:
        return current[0]
    return Refusal("which_parcel", f"The order has {len(current)} parcels; name a tracking number.")


def _reported_number(order: Order, tracking_number: str | None) -> str | Refusal:
    """The number that a report names, which need not be up yet; without one that of the only parcel."""
    if tracking_number is not None:
        return tracking_number
    if len(order.current_parcels) == 1:
        return order.current_parcels[0].tracking_number
    number_of_parcels = len(order.current_parcels) or "no"
    return Refusal("which_parcel", f"The order has {number_of_parcels} parcels; name a tracking number.")


def _no_such_parcel(tracking_number: str) -> Refusal:
    return Refusal("unknown_parcel", f"The order has no parcel {tracking_number}.")


# ---- record-pickup, record-delivery, confirm-receipt ------------------------------------------------


def cannot_track(order: Order) -> Refusal | None:
    return None if order.parcels else Refusal("not_shipped", "No tracking number is up yet.")


def record_pickup(command: c.RecordPickup, order: Order, rules: RuleSet, at: datetime) -> Decision:
    """The earliest scan counts. It may come before the number is up: shops upload what was scanned.

    Source: scan-before-upload.
    """
    number = _reported_number(order, command.tracking_number)
    if isinstance(number, Refusal):
        return number
    known_at = order.scans_of(number).picked_up_at
    return () if known_at is not None and known_at <= at else (e.ParcelPickedUp(number),)


RECORD_PICKUP = Action(
    c.RecordPickup,
    record_pickup,
    always_possible,
    summary="揽收: the carrier's first scan, also of a number that is not up yet.",
    example={"tracking_number": "SF7975425451911"},
    refusals=("which_parcel",),
    reports=True,
)


def record_delivery(command: c.RecordDelivery, order: Order, rules: RuleSet, at: datetime) -> Decision:
    """It proves that the carrier had the parcel, even where no scan is known. The earliest delivery counts."""
    number = _reported_number(order, command.tracking_number)
    if isinstance(number, Refusal):
        return number
    known_at = order.scans_of(number).delivered_at
    return () if known_at is not None and known_at <= at else (e.ParcelDelivered(number),)


RECORD_DELIVERY = Action(
    c.RecordDelivery,
    record_delivery,
    always_possible,
    summary="签收: the carrier delivered the parcel.",
    example={"tracking_number": "SF7975425451911"},
    refusals=("which_parcel",),
    reports=True,
)


def confirm_receipt(command: c.ConfirmReceipt, order: Order, rules: RuleSet, at: datetime) -> Decision:
    """The order's receipt, whichever parcel it is told of. It proves that the order was shipped by then."""
    return () if order.received_at else (e.ReceiptConfirmed(),)


CONFIRM_RECEIPT = Action(
    c.ConfirmReceipt,
    confirm_receipt,
    always_possible,
    summary="确认收货: the buyer has the order.",
    example={},
    refusals=(),
    reports=True,
)
