"""What happens to an order, in the past tense.

The class names are the storage format: a class renamed here is an event that old logs no longer
know. A changed shape gets a new ``schema_version`` and an upcaster (``infrastructure/log/codec.py``).

A payload holds only the fact itself. When it happened, when the log learned it, its origin and its position
belong to the envelope (``domain/history.py``). No personal data:
buyers are not named, their addresses and phones never get here.

Money is integer fen; times are aware datetimes in UTC.
"""

from datetime import datetime
from typing import Literal, final

import msgspec

from domain.kernel import GoodsType, ViolationKind

ParcelKind = Literal["order", "gift", "resend"]
"""What a parcel carries: the order's own goods, a gift, or something that is sent again."""

ShipByReason = Literal["festival", "region", "buyer_agreed", "platform"]
StockoutReason = Literal["no_supply", "production_delay", "oversold", "other", "unknown"]
ReviewOutcome = Literal["approved", "rejected"]
RefundInitiator = Literal["merchant", "buyer", "platform", "unknown"]
HoldKind = Literal["risk_control", "refund_pending", "manual"]
ComplaintFinding = Literal["empty_parcel", "different_goods", "other"]
ComplaintOutcome = Literal["upheld", "dismissed"]
AppealOutcome = Literal["upheld", "overturned"]


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """One SKU of an order. ``unit_price_fen`` is the price of one piece.

    ``sku_code`` is the merchant's own code of the SKU (商家编码-规格维度), empty where it isn't known.
    """

    sku_id: str
    goods_id: str
    name: str
    quantity: int
    unit_price_fen: int
    sku_code: str = ""


class ParcelLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """How many pieces of a SKU travel in one parcel of a split shipment."""

    sku_id: str
    quantity: int


class Event(msgspec.Struct, frozen=True, tag=True, tag_field="type", omit_defaults=True, gc=False):
    """Any event of an order. The tag, which is the class name, is stored beside the payload."""


@final
class OrderPlaced(Event, frozen=True):
    """The buyer ordered. ``paid_fen`` is set when the order was paid in the same breath.

    ``region`` is the province it goes to, no nearer; ``open_in_festival`` is the platform's tag (不打烊) of
    an order whose merchant ships through a festival. Where they are not known only the rules of periods differ.
    ``activity`` says whether it is an order of one of the platform's activities (活动). Source: order-tags.
    """

    lines: tuple[Line, ...]
    goods_type: GoodsType = "ordinary"
    paid_fen: int | None = None
    group_id: str | None = None
    region: str | None = None
    open_in_festival: bool | None = None
    activity: bool | None = None


@final
class LinesCompleted(Event, frozen=True):
    """The platform showed more of the order's lines than was known: ``lines`` are all of them now.

    Some may be new, because an earlier source showed only a part of the order; some may have ids or codes that an
    earlier source did not have. ``paid_fen`` is set where the payment that was known was only that of a part.
    """

    lines: tuple[Line, ...]
    paid_fen: int | None = None


@final
class OrderPaid(Event, frozen=True):
    """The buyer paid ``paid_fen``."""

    paid_fen: int


@final
class GroupFormed(Event, frozen=True):
    """成团: the clock starts. ``ship_by`` is the platform's own promise, which wins over the rules.

    It means that moment or up to ``ship_by_within`` seconds later, as precise as its source is.
    """

    ship_by: datetime | None = None
    ship_by_within: int = 0


@final
class GroupFailed(Event, frozen=True):
    """The group did not fill in time; the order ends here."""


@final
class ShipByChanged(Event, frozen=True):
    """The platform, a festival, a region, or the buyer's agreement moved the ship-by.

    It means that moment or up to ``ship_by_within`` seconds later, as precise as its source is.
    """

    ship_by: datetime
    reason: ShipByReason
    ship_by_within: int = 0


@final
class TrackingUploaded(Event, frozen=True):
    """A carrier's tracking number is up. ``lines`` is set when the order is split over parcels.

    ``supplier_id`` is set when a supplier sent the number. Only a parcel of the kind ``order`` ships the order.
    """

    carrier: str
    tracking_number: str
    lines: tuple[ParcelLine, ...] = ()
    supplier_id: str | None = None
    kind: ParcelKind = "order"


@final
class TrackingReplaced(Event, frozen=True):
    """``tracking_number`` takes the place of ``replaced``; the newest number is judged from now on."""

    carrier: str
    tracking_number: str
    replaced: str
    reason: str


@final
class ParcelPickedUp(Event, frozen=True):
    """揽收: the carrier's first scan."""

    tracking_number: str


@final
class ParcelDelivered(Event, frozen=True):
    """签收: the carrier delivered the parcel."""

    tracking_number: str


@final
class ReceiptConfirmed(Event, frozen=True):
    """确认收货: the buyer (or the platform for them) confirmed receipt of the order."""


@final
class StockoutRequested(Event, frozen=True):
    """缺货申请: the merchant applied. Shipping is locked until the review is completed. Source: stockout-lock."""

    reason: StockoutReason
    sku_ids: tuple[str, ...] = ()


@final
class ReviewCompleted(Event, frozen=True):
    """The platform decided on the stockout application; the lock ends. Source: approved-application."""

    outcome: ReviewOutcome


@final
class OrderRefunded(Event, frozen=True):
    """Money went back. ``amount_fen`` absent means all of it, or with ``part`` a part that nobody knows.

    By the merchant for ``out_of_stock`` it is a stockout. Source: merchant-refund.
    """

    initiated_by: RefundInitiator
    reason: str
    amount_fen: int | None = None
    part: bool = False


@final
class OrderCancelled(Event, frozen=True):
    """The order was called off before it was shipped; for ``out_of_stock``, once its group formed, a stockout."""

    reason: str


@final
class HoldPlaced(Event, frozen=True):
    """A lock on shipping other than the stockout review."""

    hold: HoldKind
    reason: str


@final
class HoldReleased(Event, frozen=True):
    """That lock was lifted."""

    hold: HoldKind
    reason: str


@final
class BuyerContacted(Event, frozen=True):
    """安抚: the merchant spoke to the buyer."""

    channel: str
    message: str


@final
class ParcelComplaintFiled(Event, frozen=True):
    """The buyer says what came was nothing, or something else. ``number`` counts the order's complaints."""

    finding: ComplaintFinding
    evidence: str | None = None
    number: int = 1


@final
class ParcelComplaintDecided(Event, frozen=True):
    """The platform upheld or dismissed the complaint; upheld, it is fraud. Source: fraudulent-shipment."""

    outcome: ComplaintOutcome


@final
class ViolationAppealed(Event, frozen=True):
    """申诉: the merchant disputes a violation.

    ``appeal_by`` is the platform's own last moment for it (申诉截止时间), where it is known.
    Source: appeal-deadline.
    """

    violation_id: str
    evidence: str | None = None
    appeal_by: datetime | None = None


@final
class AppealDecided(Event, frozen=True):
    """The platform upheld the violation, or overturned it."""

    violation_id: str
    outcome: AppealOutcome


@final
class HandedToSupplier(Event, frozen=True):
    """一件代发: a supplier is to ship the order, and to send its tracking number by ``expected_tracking_at``."""

    supplier_id: str
    expected_tracking_at: datetime | None = None


@final
class SupplierOutOfStock(Event, frozen=True):
    """The supplier has no stock; the order is the merchant's again."""

    supplier_id: str
    reason: str


@final
class TakenBackFromSupplier(Event, frozen=True):
    """The merchant took the order back before the supplier shipped it."""

    supplier_id: str
    reason: str


@final
class PenaltyCharged(Event, frozen=True):
    """A line of the platform's bill: so much was taken for breaking a rule. ``line_id`` tells lines apart."""

    kind: ViolationKind
    amount_fen: int
    line_id: str


@final
class PenaltyReturned(Event, frozen=True):
    """申诉补回: a line of the platform's bill gives money back after an appeal; it does not say for what."""

    amount_fen: int
    line_id: str


@final
class FactWithdrawn(Event, frozen=True):
    """What a mistaken import brought never was: the event of the order with this ``version`` counts no longer.

    ``seen_at`` is when the platform was looked at, where a later view showed the mistake.
    """

    version: int
    reason: str
    seen_at: datetime | None = None


@final
class ContradictionObserved(Event, frozen=True):
    """The platform reported what this history does not allow. It is recorded as an anomaly, never dropped.

    ``code`` names the kind of contradiction, ``expected`` what the history says and ``seen`` what
    the platform says, both as people read them.
    """

    code: str
    expected: str
    seen: str


OrderEvent = (
    OrderPlaced
    | LinesCompleted
    | OrderPaid
    | GroupFormed
    | GroupFailed
    | ShipByChanged
    | TrackingUploaded
    | TrackingReplaced
    | ParcelPickedUp
    | ParcelDelivered
    | ReceiptConfirmed
    | StockoutRequested
    | ReviewCompleted
    | OrderRefunded
    | OrderCancelled
    | HoldPlaced
    | HoldReleased
    | BuyerContacted
    | ParcelComplaintFiled
    | ParcelComplaintDecided
    | ViolationAppealed
    | AppealDecided
    | HandedToSupplier
    | SupplierOutOfStock
    | TakenBackFromSupplier
    | PenaltyCharged
    | PenaltyReturned
    | FactWithdrawn
    | ContradictionObserved
)
