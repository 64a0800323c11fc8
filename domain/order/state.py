"""What an order is, folded from what happened to it.

``fold`` and ``evolve`` are the only ways to a state. Everything that depends on rules or on the moment of
asking (deadlines, violations, penalties) is not state: it is computed from it, in ``domain/rules``.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Literal, assert_never

import msgspec
from msgspec.structs import replace

from domain.history import Recorded
from domain.kernel import GoodsType, ViolationKind
from domain.order.events import (
    AppealDecided,
    AppealOutcome,
    BuyerContacted,
    ComplaintOutcome,
    ContradictionObserved,
    Finding,
    GroupFailed,
    GroupFormed,
    HandedToSupplier,
    HoldKind,
    HoldPlaced,
    HoldReleased,
    Line,
    OrderCancelled,
    OrderPaid,
    OrderPlaced,
    OrderRefunded,
    ParcelComplaintDecided,
    ParcelComplaintFiled,
    ParcelDelivered,
    ParcelLine,
    ParcelPickedUp,
    PenaltyCharged,
    PenaltyReturned,
    ReceiptConfirmed,
    RefundInitiator,
    ReviewCompleted,
    ReviewOutcome,
    ShipByChanged,
    StockoutReason,
    StockoutRequested,
    SupplierOutOfStock,
    TakenBackFromSupplier,
    TrackingReplaced,
    TrackingUploaded,
    ViolationAppealed,
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
"""The reason of a refund or cancellation that the platform counts as a stockout (seed, DOMAIN.md §1.3 T1)."""

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
    scans_followed: bool = True
    lines: tuple[ParcelLine, ...] = ()
    picked_up_at: datetime | None = None
    delivered_at: datetime | None = None
    replaced_at: datetime | None = None


class Review(msgspec.Struct, frozen=True):
    """A stockout application and what became of it. Open while ``outcome`` is ``None``.

    ``version`` and ``position`` are its places in the order's history and in the shop's log.
    """

    requested_at: datetime
    time_known: bool
    reason: StockoutReason
    sku_ids: tuple[str, ...] = ()
    outcome: ReviewOutcome | None = None
    decided_at: datetime | None = None
    decision_time_known: bool = True
    version: int = 0
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


class Cancellation(msgspec.Struct, frozen=True):
    at: datetime
    time_known: bool
    reason: str


class Complaint(msgspec.Struct, frozen=True):
    """What the buyer says was wrong with the parcel; ``outcome`` is ``None`` while it is undecided.

    ``number`` counts complaints as they were told, so one has the same from whatever moment it is seen.
    """

    filed_at: datetime
    finding: Finding
    evidence: str | None = None
    number: int = 1
    outcome: ComplaintOutcome | None = None
    decided_at: datetime | None = None


class Appeal(msgspec.Struct, frozen=True):
    """A dispute about a violation; ``appeal_by`` is the platform's own last moment for it, where it was told."""

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

    It is not frozen, so that ``fold`` need not copy it for every event; nothing else changes one.
    """

    order_sn: str
    version: int = 0
    position: int = 0
    last_occurred_at: datetime | None = None
    lines: tuple[Line, ...] = ()
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
    group_failed_at: datetime | None = None
    promised_ship_by: datetime | None = None
    promised_at: datetime | None = None
    parcels: tuple[Parcel, ...] = ()
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
    handovers: tuple[Handover, ...] = ()

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
        """How much went back so far; ``None`` when a refund of unstated size is all that is known."""
        if not self.refunds:
            return 0
        if any(refund.amount_fen is None for refund in self.refunds):
            return self.paid_fen
        return sum(refund.amount_fen or 0 for refund in self.refunds)

    @property
    def full_refund(self) -> Refund | None:
        """The refund that took back all of the money: one of unstated size, or the last of enough parts.

        The last in the world's order, whichever was told first.
        """
        if not self.refunds:
            return None
        total = 0
        refunds = self.refunds if len(self.refunds) == 1 else sorted(self.refunds, key=lambda refund: refund.at)
        for refund in refunds:
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
            delivered = all(parcel.delivered_at for parcel in self.current_parcels)
            return "delivered" if delivered else "shipped"
        if self.open_review:
            return "stockout_review"
        if self.group_formed_at:
            return "awaiting_shipment"
        if self.paid_at:
            return "pending_group"
        return "pending_payment"

    def parcel(self, tracking_number: str) -> Parcel | None:
        return next((p for p in self.parcels if p.tracking_number == tracking_number), None)

    def applied_for(self, review: Review) -> tuple[str, ...]:
        """The SKUs that an application is about: those it names, else all of the order's."""
        return tuple(dict.fromkeys(review.sku_ids or [line.sku_id for line in self.lines]))

    def charge(self, line_id: str) -> Charge | None:
        return next((each for each in self.charges if each.line_id == line_id), None)

    def appeal(self, violation_id: str) -> Appeal | None:
        if not self.appeals:
            return None
        return next((a for a in self.appeals if a.violation_id == violation_id), None)


def fold(order_sn: str, history: Iterable[Recorded]) -> Order:
    """The order that a history, in version order, leads to."""
    order = Order(order_sn)
    for recorded in history:
        _apply(order, recorded)
    return order


def evolve(order: Order, recorded: Recorded) -> Order:
    """The order after one more event; the one before it stays as it was."""
    evolved = replace(order)
    _apply(evolved, recorded)
    return evolved


def _apply(order: Order, recorded: Recorded) -> None:
    """One more event changes an order that nobody else holds. Total: any event may follow any other.

    What the order holds is never changed, only put in another's place: an earlier order may hold it too.
    The commonest events come first. Their types are compared because to ``match`` them takes longer than
    all the rest: ``isinstance`` of msgspec's classes is slow to say no.
    """
    at = recorded.occurred_at
    known = not recorded.metadata.observed
    order.version = recorded.version
    order.position = recorded.position
    if order.last_occurred_at is None or at >= order.last_occurred_at:
        order.last_occurred_at = at
    event = recorded.event
    if type(event) is OrderPlaced:
        order.lines = event.lines
        order.goods_type = event.goods_type
        order.group_id = event.group_id
        order.region = event.region
        order.open_in_festival = event.open_in_festival
        order.activity = event.activity
        order.placed_at = at
        if event.paid_fen is not None:
            order.paid_at, order.paid_fen = at, event.paid_fen
    elif type(event) is OrderPaid:
        order.paid_at, order.paid_fen = at, event.paid_fen
    elif type(event) is GroupFormed:
        order.group_formed_at, order.group_time_known = at, known
        if event.ship_by:
            _promise(order, event.ship_by, at)
    elif type(event) is TrackingUploaded:
        _ship(order, event, recorded, event.lines)
    elif type(event) is ParcelPickedUp:
        _pick_up(order, event.tracking_number, at)
    elif type(event) is ParcelDelivered:
        _deliver(order, event.tracking_number, at)
    elif type(event) is ReceiptConfirmed:
        order.received_at = at
    elif type(event) is OrderRefunded:
        order.refunds += (Refund(at, known, event.initiated_by, event.reason, event.amount_fen),)
    elif type(event) is StockoutRequested:
        order.reviews += (
            Review(at, known, event.reason, event.sku_ids, version=recorded.version, position=recorded.position),
        )
        _lock_changed(order, at)
    elif type(event) is ReviewCompleted:
        if order.reviews:
            *earlier, last = order.reviews
            decided = replace(last, outcome=event.outcome, decided_at=at, decision_time_known=known)
            order.reviews = (*earlier, decided)
            _lock_changed(order, at)
    elif type(event) is BuyerContacted:
        order.contacts += (at,)
    elif type(event) is OrderCancelled:
        order.cancellation = Cancellation(at, known, event.reason)
    elif type(event) is GroupFailed:
        order.group_failed_at = at
    elif type(event) is ShipByChanged:
        _promise(order, event.ship_by, at)
    elif type(event) is TrackingReplaced:
        _replace_tracking(order, event, recorded)
    elif type(event) is HoldPlaced:
        order.placed_holds += (Hold(event.hold, event.reason, at, known),)
        order.last_held = {**order.last_held, event.hold: max(at, order.last_held.get(event.hold, at))}
        _lock_changed(order, at)
    elif type(event) is HoldReleased:
        _release(order, event.hold)
        _lock_changed(order, at)
    elif type(event) is ParcelComplaintFiled:
        order.complaints += (Complaint(at, event.finding, event.evidence, event.number),)
    elif type(event) is ParcelComplaintDecided:
        if order.complaints:
            *others, complaint = order.complaints
            order.complaints = (*others, replace(complaint, outcome=event.outcome, decided_at=at))
    elif type(event) is ViolationAppealed:
        order.appeals += (Appeal(event.violation_id, at, event.evidence, event.appeal_by),)
    elif type(event) is AppealDecided:
        _decide_appeal(order, event, at)
    elif type(event) is PenaltyCharged:
        order.charges += (Charge(event.line_id, event.kind, event.amount_fen, at),)
    elif type(event) is PenaltyReturned:
        order.charges += (Charge(event.line_id, None, event.amount_fen, at),)
    elif type(event) is ContradictionObserved:
        order.anomalies += (Anomaly(event.code, event.expected, event.seen, at),)
    elif type(event) is HandedToSupplier:
        order.handovers += (Handover(event.supplier_id, at, event.expected_tracking_at),)
    elif type(event) is SupplierOutOfStock:
        _come_back(order, event.supplier_id, event.reason, out_of_stock_at=at)
    elif type(event) is TakenBackFromSupplier:
        _come_back(order, event.supplier_id, event.reason, taken_back_at=at)
    else:
        assert_never(event)


def _promise(order: Order, ship_by: datetime, at: datetime) -> None:
    """The promise made last in the world holds, whichever was told first."""
    if order.promised_at is None or at >= order.promised_at:
        order.promised_ship_by, order.promised_at = ship_by, at


def _ship(
    order: Order,
    event: TrackingUploaded | TrackingReplaced,
    recorded: Recorded,
    lines: tuple[ParcelLine, ...],
) -> None:
    known, scanned = not recorded.metadata.observed, recorded.metadata.via == "command"
    order.parcels += (Parcel(event.carrier, event.tracking_number, recorded.occurred_at, known, scanned, lines),)
    if order.with_supplier:
        supplier_id = event.supplier_id if isinstance(event, TrackingUploaded) else None
        _supplied(order, order.with_supplier, supplier_id, recorded.occurred_at, known)


def _supplied(order: Order, held: Handover, supplier_id: str | None, at: datetime, known: bool) -> None:
    """A supplier is waited for until its first number, or until others carry all of the order."""
    if supplier_id == held.supplier_id:
        if held.tracking_at is None or at < held.tracking_at:
            held = replace(held, tracking_at=at, tracking_time_known=known)
    elif held.tracking_at is None and order.is_packed:
        last = max(order.current_parcels, key=lambda parcel: parcel.uploaded_at)
        if held.shipped_otherwise_at is None or last.uploaded_at < held.shipped_otherwise_at:
            held = replace(held, shipped_otherwise_at=last.uploaded_at, tracking_time_known=last.time_known)
    order.handovers = (*order.handovers[:-1], held)


def _come_back(order: Order, supplier_id: str, reason: str, **at: datetime) -> None:
    with_supplier = order.with_supplier
    if with_supplier is not None and with_supplier.supplier_id == supplier_id:
        order.handovers = (*order.handovers[:-1], replace(with_supplier, reason=reason, **at))


def _replace_tracking(order: Order, event: TrackingReplaced, recorded: Recorded) -> None:
    """The old number stays in history; the new one carries the same goods and its own pickup clock."""
    replaced = next((p for p in order.current_parcels if p.tracking_number == event.replaced), None)
    order.parcels = tuple(
        [replace(p, replaced_at=recorded.occurred_at) if p is replaced else p for p in order.parcels]
    )
    _ship(order, event, recorded, replaced.lines if replaced else ())


def _pick_up(order: Order, tracking_number: str, at: datetime) -> None:
    order.parcels = tuple(
        [replace(p, picked_up_at=at) if p.tracking_number == tracking_number else p for p in order.parcels]
    )


def _deliver(order: Order, tracking_number: str, at: datetime) -> None:
    order.parcels = tuple(
        [replace(p, delivered_at=at) if p.tracking_number == tracking_number else p for p in order.parcels]
    )


def _lock_changed(order: Order, at: datetime) -> None:
    if order.lock_changed_at is None or at >= order.lock_changed_at:
        order.lock_changed_at = at


def _release(order: Order, kind: HoldKind) -> None:
    order.placed_holds = tuple([hold for hold in order.placed_holds if hold.hold != kind])


def _decide_appeal(order: Order, event: AppealDecided, at: datetime) -> None:
    order.appeals = tuple(
        [
            replace(a, outcome=event.outcome, decided_at=at) if a.violation_id == event.violation_id else a
            for a in order.appeals
        ]
    )
