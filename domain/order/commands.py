"""What a merchant, or a system acting for one, may ask of an order.

These structs are the contract's request bodies: the HTTP API, the bulk endpoint and the OpenAPI
document are all made from them. Decoding one validates shape and size; whether it may be done is
decided in ``decisions``.
"""

import re
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from domain.kernel import (
    PRINTABLE,
    AwareDatetime,
    Command,
    Fen,
    GoodsType,
    Identifier,
    Pieces,
    PositiveFen,
    Text,
    ViolationKind,
    Word,
)
from domain.order.events import (
    AppealOutcome,
    ComplaintFinding,
    ComplaintOutcome,
    HoldKind,
    ParcelKind,
    ReviewOutcome,
    ShipByReason,
)


class OrderedLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One SKU of an order; ``unit_price_fen`` is the price of one piece.

    ``sku_code`` is the merchant's own code of the SKU.
    """

    sku_id: Identifier
    goods_id: Identifier
    name: Annotated[str, Meta(min_length=1, max_length=500, pattern=r"^[^\x00]+$")]
    quantity: Pieces
    unit_price_fen: Fen
    sku_code: Identifier | UnsetType = UNSET


class PackedLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many pieces of a SKU go into this parcel."""

    sku_id: Identifier
    quantity: Pieces


class Place(Command, frozen=True):
    """The buyer ordered. Without ``paid_fen`` the payment is pending.

    ``region`` is the province the order goes to, never an address; ``open_in_festival`` the platform's tag of
    an order whose merchant ships through a festival. Rule sets may have periods for either. ``activity`` tells an
    order of one of the platform's activities (活动), which it takes no stockout application for.
    """

    lines: Annotated[tuple[OrderedLine, ...], Meta(min_length=1, max_length=200)]
    paid_fen: Fen | None = None
    group_id: Identifier | None = None
    goods_type: GoodsType = "ordinary"
    region: Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]{1,20}$(?!\n)")] | None = None
    open_in_festival: bool | None = None
    activity: bool | None = None


class Pay(Command, frozen=True):
    """The buyer paid."""

    paid_fen: Fen


class FormGroup(Command, frozen=True):
    """The group formed (成团) and the clock starts; the platform's own ``ship_by`` wins over the rules."""

    ship_by: AwareDatetime | None = None


class FailGroup(Command, frozen=True):
    """The group did not form."""


class ChangeShipBy(Command, frozen=True):
    """The ship-by was moved."""

    ship_by: AwareDatetime
    reason: ShipByReason


class UploadTracking(Command, frozen=True):
    """Hand a parcel over; ``lines`` says what is in it when the order travels in several.

    ``kind`` says whether it carries the order (the default), a gift, or something that is sent again.
    """

    carrier: Word
    tracking_number: Identifier
    lines: Annotated[tuple[PackedLine, ...], Meta(max_length=200)] = ()
    kind: ParcelKind | UnsetType = UNSET

    @property
    def kind_of_parcel(self) -> ParcelKind:
        """``order`` unless the command says otherwise."""
        return "order" if isinstance(self.kind, UnsetType) else self.kind


class ReplaceTracking(Command, frozen=True):
    """Put another number in the place of one; ``replaces`` is needed only when there are several parcels."""

    carrier: Word
    tracking_number: Identifier
    reason: Word
    replaces: Identifier | None = None


class HandToSupplier(Command, frozen=True):
    """Have a supplier ship the order (一件代发); by ``expected_tracking_at`` its tracking number is to be here."""

    supplier_id: Identifier
    expected_tracking_at: AwareDatetime | None = None


class RecordSupplierTracking(UploadTracking, frozen=True):
    """The supplier sent the tracking number; it is uploaded, as upload-tracking does."""


class RecordSupplierStockout(Command, frozen=True):
    """The supplier has no stock; the order is the merchant's again."""

    reason: Word


class TakeBackFromSupplier(Command, frozen=True):
    """Take the order back from the supplier who has not shipped it."""

    reason: Word


class RecordPickup(Command, frozen=True):
    """The carrier scanned the parcel; the number is needed only when there are several."""

    tracking_number: Identifier | None = None


class RecordDelivery(Command, frozen=True):
    """The carrier delivered the parcel; the number is needed only when there are several."""

    tracking_number: Identifier | None = None


class ConfirmReceipt(Command, frozen=True):
    """The buyer confirmed receipt of the order."""

    tracking_number: Identifier | None = None


class RequestStockout(Command, frozen=True):
    """Apply for stockout; shipping is locked until the review is completed."""

    reason: Literal["no_supply", "production_delay", "oversold", "other"]
    sku_ids: Annotated[tuple[Identifier, ...], Meta(max_length=200)] = ()


class CompleteReview(Command, frozen=True):
    """The platform decided on the stockout application."""

    outcome: ReviewOutcome


class Refund(Command, frozen=True):
    """Money goes back; without ``amount_fen`` all of it.

    By the merchant, with the reason ``out_of_stock``, it is a stockout.
    """

    initiated_by: Literal["merchant", "buyer", "platform"]
    reason: Word
    amount_fen: PositiveFen | None = None


class Cancel(Command, frozen=True):
    """Call the order off before it is shipped.

    With the reason ``out_of_stock``, once its group formed, it is a stockout.
    """

    reason: Word


class PlaceHold(Command, frozen=True):
    """Lock shipping for another reason than a stockout review."""

    hold: HoldKind
    reason: Word


class ReleaseHold(Command, frozen=True):
    """Lift a hold placed with ``place-hold``."""

    hold: HoldKind
    reason: Word


class ContactBuyer(Command, frozen=True):
    """The merchant spoke to the buyer."""

    channel: Word
    message: Text


class FileComplaint(Command, frozen=True):
    """The buyer says that the parcel was empty or held something else."""

    finding: ComplaintFinding
    evidence: Text | None = None


class DecideComplaint(Command, frozen=True):
    """The platform decided on the complaint."""

    outcome: ComplaintOutcome


class AppealViolation(Command, frozen=True):
    """Dispute a violation. ``appeal_by`` is the last moment for it where the platform shows one (申诉截止时间)."""

    violation_id: Annotated[str, Meta(min_length=1, max_length=200, pattern=PRINTABLE)]
    evidence: Text | None = None
    appeal_by: AwareDatetime | None = None


class DecideAppeal(Command, frozen=True):
    """The platform decided on the appeal."""

    violation_id: Annotated[str, Meta(min_length=1, max_length=200, pattern=PRINTABLE)]
    outcome: AppealOutcome


class RecordCharge(Command, frozen=True):
    """The platform's bill shows a penalty; ``line_id`` is what the line is known by, ``occurred_at`` its time."""

    kind: ViolationKind
    amount_fen: PositiveFen
    line_id: Word


class WithdrawFact(Command, frozen=True):
    """Take back what a mistaken import brought: the event of the order with this version."""

    version: Annotated[int, Meta(ge=1, le=5_000)]
    reason: Word


CONTENT_ID = re.compile(r"[0-9a-f]{16}-[0-9]+")
"""The id of a line of a bill that has none of its own: a hash of its content, and which of equal lines it is."""

NO_ORDER = "no-order-"
"""How the number begins under which a line of a bill stands that names no order."""


class RecordBilledCharge(RecordCharge, frozen=True):
    """``record-charge`` as an imported bill says it, also of an order that is not known yet.

    ``number`` counts the lines of the bill that are equal to the minute, up to this one. ``earlier_ids`` are the
    ids of those before it that have ids of their own. ``within`` is how many seconds later it may have happened,
    because the bill is coarse.
    """

    number: int = 1
    earlier_ids: tuple[str, ...] = ()
    within: int = 0


class RecordReturn(Command, frozen=True):
    """The platform's bill shows money that an appeal brought back (申诉补回)."""

    amount_fen: PositiveFen
    line_id: Word


class RecordBilledReturn(RecordReturn, frozen=True):
    """``record-return`` as an imported bill says it, also of an order that is not known yet."""

    number: int = 1
    earlier_ids: tuple[str, ...] = ()
    within: int = 0
