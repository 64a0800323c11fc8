"""What an order is: the state that ``fold.py`` makes of its events.

What depends on rules or on a moment is no state. ``deadlines.py`` and ``violations.py`` compute it from the state.
"""

from datetime import datetime
from typing import Literal

import msgspec

from domain.calendar import can_be_same
from domain.kernel import GoodsType, ViolationKind
from domain.order.events import (
    AppealOutcome,
    ComplaintFinding,
    ComplaintOutcome,
    HoldKind,
    Line,
    ParcelKind,
    ParcelLine,
    RefundInitiator,
    ReviewOutcome,
    StockoutReason,
)

Status = Literal[
    "pending_payment",
    "pending_group",
    "awaiting_shipment",
    "stockout_review",
    "stocked_out",
    "shipped",
    "delivered",
    "received",
    "refunded",
    "cancelled",
    "group_failed",
]

OUT_OF_STOCK = "out_of_stock"
"""The reason of a refund or cancellation that the platform counts as a stockout. Source: merchant-refund."""

_SAID_OTHERWISE = {OUT_OF_STOCK, "缺货", "无货", "没货", "断货"}


def is_out_of_stock(reason: str) -> bool:
    """Whether a reason says ``out_of_stock``, be it in people's own spelling: a stockout is none the less one."""
    return reason.strip().lower().replace(" ", "_").replace("-", "_") in _SAID_OTHERWISE


class Parcel(msgspec.Struct, frozen=True, gc=False):
    """A tracking number. ``scans_followed`` is false when the source that showed it carries no carrier scans."""

    carrier: str
    tracking_number: str
    uploaded_at: datetime
    time_known: bool = True
    within: int = 0
    scans_followed: bool = True
    lines: tuple[ParcelLine, ...] = ()
    picked_up_at: datetime | None = None
    delivered_at: datetime | None = None
    replaced_at: datetime | None = None
    kind: ParcelKind = "order"


class Scans(msgspec.Struct, frozen=True, gc=False):
    """When the carrier first had a parcel, and when it delivered it, as far as that is known."""

    picked_up_at: datetime | None = None
    delivered_at: datetime | None = None


_NO_SCANS = Scans()


class Review(msgspec.Struct, frozen=True):
    """A stockout application and what became of it. Open while ``outcome`` is ``None``.

    ``version`` and ``position`` are its places in the order's history and in the shop's log, ``decided_version`` is
    that of the decision.
    """

    requested_at: datetime
    time_known: bool
    reason: StockoutReason
    sku_ids: tuple[str, ...] = ()
    outcome: ReviewOutcome | None = None
    decided_at: datetime | None = None
    decision_time_known: bool = True
    within: int = 0
    version: int = 0
    decided_version: int = 0
    position: int = 0


class Hold(msgspec.Struct, frozen=True):
    """A lock on shipping. ``stockout_review`` stands for an open review and is never stored."""

    hold: HoldKind | Literal["stockout_review"]
    reason: str
    since: datetime
    time_known: bool = True


class Refund(msgspec.Struct, frozen=True):
    at: datetime
    time_known: bool
    initiated_by: RefundInitiator
    reason: str
    amount_fen: int | None
    part: bool = False
    version: int = 0


class Cancellation(msgspec.Struct, frozen=True):
    at: datetime
    time_known: bool
    reason: str
    version: int = 0


class Complaint(msgspec.Struct, frozen=True):
    """What the buyer says was wrong with the parcel; ``outcome`` is ``None`` while it is undecided.

    ``number`` counts complaints in the order of the log, so a complaint has the same number at any moment.
    """

    filed_at: datetime
    finding: ComplaintFinding
    evidence: str | None = None
    number: int = 1
    outcome: ComplaintOutcome | None = None
    decided_at: datetime | None = None


class Appeal(msgspec.Struct, frozen=True):
    """A dispute about a violation; ``appeal_by`` is the platform's own last moment for it, where it is known."""

    violation_id: str
    appealed_at: datetime
    evidence: str | None = None
    appeal_by: datetime | None = None
    outcome: AppealOutcome | None = None
    decided_at: datetime | None = None


class Handover(msgspec.Struct, frozen=True):
    """An order with a supplier: until the supplier's number is up, the supplier has no stock, or it is taken back.

    It is over as well when all of the order is up under numbers that the supplier did not send
    (``shipped_otherwise_at``). ``reason`` is why it came back. ``tracking_time_known`` is false when the moment of
    the number that ended it is only an upper bound.
    """

    supplier_id: str
    handed_at: datetime
    expected_tracking_at: datetime | None = None
    tracking_at: datetime | None = None
    tracking_time_known: bool = True
    out_of_stock_at: datetime | None = None
    taken_back_at: datetime | None = None
    reason: str | None = None
    shipped_otherwise_at: datetime | None = None

    @property
    def came_back_at(self) -> datetime | None:
        return self.out_of_stock_at or self.taken_back_at


class Charge(msgspec.Struct, frozen=True):
    """A line of the platform's bill. ``kind`` is ``None`` for money that was given back."""

    line_id: str
    kind: ViolationKind | None
    amount_fen: int
    at: datetime

    def is_equal(self, kind: ViolationKind | None, amount_fen: int, at: datetime, within: int) -> bool:
        """Whether a line of a bill says the same, as far as its time is known. Some copies lose the seconds."""
        is_alike = self.kind == kind and self.amount_fen == amount_fen
        return is_alike and can_be_same(self.at.replace(second=0), 59, at, within)


class Anomaly(msgspec.Struct, frozen=True):
    """Something the platform reported that this history does not allow."""

    code: str
    expected: str
    seen: str
    seen_at: datetime


class Ending(msgspec.Struct, frozen=True):
    """The moment that ended every open clock; ``time_known`` is false when it is only an upper bound."""

    at: datetime
    time_known: bool


class Order(msgspec.Struct, gc=False):
    """An order. ``version`` 0 means nothing is known of it.

    It is not frozen, so that ``fold`` need not copy it for every event; nothing else changes one. A time that its
    source gives without seconds is the earliest that it can mean; ``…_within`` says how many seconds later it may
    be. ``placed_lines`` are the lines as the order was placed, before a source showed more of them.
    ``extra_parcels`` are gifts and what was sent again: they are shown but never judged. ``early_scans`` are
    those of numbers that are not up yet. ``imported`` are the versions of the closings and locks that the
    platform's files or answers brought and that nobody has withdrawn; ``withdrawn_by`` is the latest view that
    showed such a mistake.
    """

    order_sn: str
    version: int = 0
    position: int = 0
    last_occurred_at: datetime | None = None
    lines: tuple[Line, ...] = ()
    placed_lines: tuple[Line, ...] = ()
    goods_type: GoodsType = "ordinary"
    group_id: str | None = None
    region: str | None = None
    open_in_festival: bool | None = None
    activity: bool | None = None
    placed_at: datetime | None = None
    paid_at: datetime | None = None
    paid_fen: int | None = None
    group_formed_at: datetime | None = None
    group_time_known: bool = True
    group_within: int = 0
    group_failed_at: datetime | None = None
    promised_ship_by: datetime | None = None
    promised_within: int = 0
    promised_at: datetime | None = None
    parcels: tuple[Parcel, ...] = ()
    extra_parcels: tuple[Parcel, ...] = ()
    early_scans: dict[str, Scans] = {}
    received_at: datetime | None = None
    reviews: tuple[Review, ...] = ()
    placed_holds: tuple[Hold, ...] = ()
    lock_changed_at: datetime | None = None
    last_held: dict[HoldKind, datetime] = {}
    refunds: tuple[Refund, ...] = ()
    cancellation: Cancellation | None = None
    contacts: tuple[datetime, ...] = ()
    complaints: tuple[Complaint, ...] = ()
    appeals: tuple[Appeal, ...] = ()
    charges: tuple[Charge, ...] = ()
    anomalies: tuple[Anomaly, ...] = ()
    imported: tuple[int, ...] = ()
    withdrawn: tuple[int, ...] = ()
    withdrawn_by: datetime | None = None
    handovers: tuple[Handover, ...] = ()

    @property
    def is_placed(self) -> bool:
        """Whether the order itself is known. A bill may name an order that the shop's log does not have yet."""
        return self.placed_at is not None

    @property
    def is_known(self) -> bool:
        """Whether anything but lines of bills is known of the order."""
        return self.version > len(self.charges)

    @property
    def open_review(self) -> Review | None:
        """The application the platform has not decided yet, unless the order ended otherwise."""
        if not self.reviews or self.reviews[-1].outcome is not None or self.is_closed:
            return None
        return self.reviews[-1]

    @property
    def is_stocked_out(self) -> bool:
        return bool(self.reviews) and any(review.outcome == "approved" for review in self.reviews)

    @property
    def holds(self) -> tuple[Hold, ...]:
        """Every lock in force now; shipping needs there to be none. A closed order has nothing to lock."""
        if self.is_closed:
            return ()
        review = self.open_review
        if review is None:
            return self.placed_holds
        lock = Hold(
            hold="stockout_review",
            reason=review.reason,
            since=review.requested_at,
            time_known=review.time_known,
        )
        return (lock, *self.placed_holds)

    @property
    def current_parcels(self) -> tuple[Parcel, ...]:
        return tuple([parcel for parcel in self.parcels if parcel.replaced_at is None])

    def left_to_pack(self) -> dict[str, int]:
        """Pieces of each SKU that no parcel holds yet, where the parcels say what is in them."""
        left: dict[str, int] = {}
        for line in self.lines:
            left[line.sku_id] = left.get(line.sku_id, 0) + line.quantity
        for parcel in self.current_parcels:
            for packed in parcel.lines:
                left[packed.sku_id] = left.get(packed.sku_id, 0) - packed.quantity
        return left

    @property
    def is_packed(self) -> bool:
        """Whether all pieces are in parcels; one that does not say what is in it holds them all."""
        parcels = self.current_parcels
        if not all(parcel.lines for parcel in parcels):
            return True
        return bool(parcels) and not any(left > 0 for left in self.left_to_pack().values())

    @property
    def first_parcel(self) -> Parcel | None:
        """The parcel that went up first: it meets the upload deadline of the whole order."""
        if len(self.parcels) > 1:
            return min(self.parcels, key=lambda parcel: parcel.uploaded_at)
        return self.parcels[0] if self.parcels else None

    @property
    def shipped_at(self) -> datetime | None:
        """When the first tracking number went up."""
        first = self.first_parcel
        return first.uploaded_at if first else None

    @property
    def refunded_fen(self) -> int | None:
        """How much went back so far; ``None`` when nobody knows it."""
        if not self.refunds:
            return 0
        if self.full_refund and any(refund.amount_fen is None for refund in self.refunds):
            return self.paid_fen
        if any(refund.part for refund in self.refunds):
            return None
        return sum(refund.amount_fen or 0 for refund in self.refunds)

    @property
    def full_refund(self) -> Refund | None:
        """The refund that took back all of the money: one without an amount, or the last of enough parts.

        A part of unknown size closes nothing.

        The last by ``occurred_at``, in whatever order the log learned them.
        """
        if not self.refunds:
            return None
        total = 0
        refunds = self.refunds if len(self.refunds) == 1 else sorted(self.refunds, key=lambda refund: refund.at)
        for refund in refunds:
            if refund.part:
                continue
            if refund.amount_fen is None:
                return refund
            total += refund.amount_fen
            if self.paid_fen is not None and total >= self.paid_fen:
                return refund
        return None

    @property
    def is_closed(self) -> bool:
        """Refunded, cancelled or never formed: nothing can be shipped any more."""
        if self.cancellation is not None or self.group_failed_at is not None:
            return True
        return bool(self.refunds) and self.full_refund is not None

    @property
    def ending(self) -> Ending | None:
        """What ended the open clocks first: full refund, cancellation, failed group, or approved stockout."""
        if not (self.reviews or self.refunds or self.cancellation or self.group_failed_at):
            return None
        endings = [
            Ending(review.decided_at, review.decision_time_known)
            for review in self.reviews
            if review.outcome == "approved" and review.decided_at is not None
        ]
        if refund := self.full_refund:
            endings.append(Ending(refund.at, refund.time_known))
        if self.cancellation:
            endings.append(Ending(self.cancellation.at, self.cancellation.time_known))
        if self.group_failed_at:
            endings.append(Ending(self.group_failed_at, True))
        return min(endings, key=lambda ending: ending.at, default=None)

    def was_open_between(self, begin: datetime, end: datetime) -> bool:
        """Whether the order is known to have been unshipped and not ended at some moment between these.

        A stockout application proves it: the platform takes none for an order that is shipped or closed.
        """
        return any(begin < review.requested_at < end for review in self.reviews)

    @property
    def with_supplier(self) -> Handover | None:
        """The hand-over that has not come back."""
        last = self.handovers[-1] if self.handovers else None
        return last if last and last.came_back_at is None else None

    @property
    def open_complaint(self) -> Complaint | None:
        last = self.complaints[-1] if self.complaints else None
        return last if last and last.outcome is None else None

    @property
    def status(self) -> Status:
        if self.full_refund:
            return "refunded"
        if self.cancellation:
            return "cancelled"
        if self.group_failed_at:
            return "group_failed"
        if self.is_stocked_out:
            return "stocked_out"
        if self.received_at:
            return "received"
        if self.parcels:
            delivered = self.is_packed and all(parcel.delivered_at for parcel in self.current_parcels)
            return "delivered" if delivered else "shipped"
        if self.open_review:
            return "stockout_review"
        if self.group_formed_at:
            return "awaiting_shipment"
        if self.paid_at:
            return "pending_group"
        return "pending_payment"

    def parcel(self, tracking_number: str) -> Parcel | None:
        """The parcel of a number, of whatever kind."""
        known = (*self.parcels, *self.extra_parcels) if self.extra_parcels else self.parcels
        return next((p for p in known if p.tracking_number == tracking_number), None)

    def scans_of(self, tracking_number: str) -> Scans:
        """What the carrier is known to have done with a parcel, also before its number was up."""
        if parcel := self.parcel(tracking_number):
            return Scans(parcel.picked_up_at, parcel.delivered_at)
        return self.early_scans.get(tracking_number, _NO_SCANS)

    def applied_for(self, review: Review) -> tuple[str, ...]:
        """The SKUs that an application is about: those it names, else all of the order's."""
        return tuple(dict.fromkeys(review.sku_ids or [line.sku_id for line in self.lines]))

    def charge(self, line_id: str) -> Charge | None:
        return next((each for each in self.charges if each.line_id == line_id), None)

    def equal_charges(self, kind: ViolationKind | None, amount_fen: int, at: datetime, within: int) -> list[Charge]:
        """The lines of bills that are equal to such a one, as far as their times are known."""
        return [each for each in self.charges if each.is_equal(kind, amount_fen, at, within)]

    def appeal(self, violation_id: str) -> Appeal | None:
        if not self.appeals:
            return None
        return next((a for a in self.appeals if a.violation_id == violation_id), None)
