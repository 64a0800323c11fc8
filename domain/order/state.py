"""What an order is, folded from what happened to it.

``evolve`` is the only way a state changes. Everything that depends on rules or on the moment of
asking (deadlines, violations, penalties) is not state: it is computed from it, in ``domain/rules``.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Literal, assert_never

import msgspec
from msgspec.structs import replace

from domain.history import Recorded
from domain.order.events import (
    AppealDecided,
    AppealOutcome,
    BuyerContacted,
    ComplaintOutcome,
    ContradictionObserved,
    Finding,
    GoodsType,
    GroupFailed,
    GroupFormed,
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
    ReceiptConfirmed,
    RefundInitiator,
    ReviewCompleted,
    ReviewOutcome,
    ShipByChanged,
    StockoutReason,
    StockoutRequested,
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


class Parcel(msgspec.Struct, frozen=True):
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
    """A stockout application and what became of it. Open while ``outcome`` is ``None``."""

    requested_at: datetime
    time_known: bool
    reason: StockoutReason
    sku_ids: tuple[str, ...] = ()
    outcome: ReviewOutcome | None = None
    decided_at: datetime | None = None
    decision_time_known: bool = True


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
    filed_at: datetime
    finding: Finding
    outcome: ComplaintOutcome | None = None
    decided_at: datetime | None = None


class Appeal(msgspec.Struct, frozen=True):
    violation_id: str
    appealed_at: datetime
    outcome: AppealOutcome | None = None
    decided_at: datetime | None = None


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


class Order(msgspec.Struct, frozen=True):
    """An order. ``version`` 0 means nothing is known of it."""

    order_sn: str
    version: int = 0
    position: int = 0
    last_occurred_at: datetime | None = None
    lines: tuple[Line, ...] = ()
    goods_type: GoodsType = "ordinary"
    group_id: str | None = None
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
    anomalies: tuple[Anomaly, ...] = ()

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

    @property
    def shipped_at(self) -> datetime | None:
        """When the first tracking number went up: it meets the upload deadline of the whole order."""
        if not self.parcels:
            return None
        return min(parcel.uploaded_at for parcel in self.parcels)

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
        for refund in sorted(self.refunds, key=lambda refund: refund.at):
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
        if not self.is_closed and not self.is_stocked_out:
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

    def appeal(self, violation_id: str) -> Appeal | None:
        return next((a for a in self.appeals if a.violation_id == violation_id), None)


def evolve(order: Order, recorded: Recorded) -> Order:
    """The order after one more event. Total: any event may follow any other."""
    at = recorded.occurred_at
    known = not recorded.metadata.observed
    order = replace(
        order,
        version=recorded.version,
        position=recorded.position,
        last_occurred_at=at if order.last_occurred_at is None else max(at, order.last_occurred_at),
    )
    match recorded.event:
        case OrderPlaced() as e:
            paid_at = order.paid_at if e.paid_fen is None else at
            paid_fen = order.paid_fen if e.paid_fen is None else e.paid_fen
            return replace(
                order,
                lines=e.lines,
                goods_type=e.goods_type,
                group_id=e.group_id,
                placed_at=at,
                paid_at=paid_at,
                paid_fen=paid_fen,
            )
        case OrderPaid(paid_fen=paid_fen):
            return replace(order, paid_at=at, paid_fen=paid_fen)
        case GroupFormed(ship_by=ship_by):
            formed = replace(order, group_formed_at=at, group_time_known=known)
            return _promise(formed, ship_by, at) if ship_by else formed
        case GroupFailed():
            return replace(order, group_failed_at=at)
        case ShipByChanged(ship_by=ship_by):
            return _promise(order, ship_by, at)
        case TrackingUploaded() as e:
            parcel = Parcel(
                carrier=e.carrier,
                tracking_number=e.tracking_number,
                uploaded_at=at,
                time_known=known,
                scans_followed=recorded.metadata.via == "command",
                lines=e.lines,
            )
            return replace(order, parcels=(*order.parcels, parcel))
        case TrackingReplaced() as e:
            return _replace_tracking(order, e, recorded)
        case ParcelPickedUp(tracking_number=number):
            return _change_parcel(order, number, picked_up_at=at)
        case ParcelDelivered(tracking_number=number):
            return _change_parcel(order, number, delivered_at=at)
        case ReceiptConfirmed():
            return replace(order, received_at=at)
        case StockoutRequested(reason=reason, sku_ids=sku_ids):
            review = Review(requested_at=at, time_known=known, reason=reason, sku_ids=sku_ids)
            return replace(order, reviews=(*order.reviews, review), lock_changed_at=_latest(order, at))
        case ReviewCompleted(outcome=outcome):
            if not order.reviews:
                return order
            decided = replace(order.reviews[-1], outcome=outcome, decided_at=at, decision_time_known=known)
            return replace(order, reviews=(*order.reviews[:-1], decided), lock_changed_at=_latest(order, at))
        case OrderRefunded() as e:
            refund = Refund(at, known, e.initiated_by, e.reason, e.amount_fen)
            return replace(order, refunds=(*order.refunds, refund))
        case OrderCancelled(reason=reason):
            return replace(order, cancellation=Cancellation(at, known, reason))
        case HoldPlaced(hold=hold, reason=reason):
            placed = Hold(hold=hold, reason=reason, since=at, time_known=known)
            holds = (*order.placed_holds, placed)
            last_held = {**order.last_held, hold: max(at, order.last_held.get(hold, at))}
            return replace(order, placed_holds=holds, lock_changed_at=_latest(order, at), last_held=last_held)
        case HoldReleased(hold=hold):
            holds = tuple(h for h in order.placed_holds if h.hold != hold)
            return replace(order, placed_holds=holds, lock_changed_at=_latest(order, at))
        case BuyerContacted():
            return replace(order, contacts=(*order.contacts, at))
        case ParcelComplaintFiled(finding=finding):
            return replace(order, complaints=(*order.complaints, Complaint(at, finding)))
        case ParcelComplaintDecided(outcome=verdict):
            if not order.complaints:
                return order
            settled = replace(order.complaints[-1], outcome=verdict, decided_at=at)
            return replace(order, complaints=(*order.complaints[:-1], settled))
        case ViolationAppealed(violation_id=violation_id):
            return replace(order, appeals=(*order.appeals, Appeal(violation_id, at)))
        case AppealDecided(violation_id=violation_id, outcome=decision):
            appeals = tuple(
                replace(a, outcome=decision, decided_at=at) if a.violation_id == violation_id else a
                for a in order.appeals
            )
            return replace(order, appeals=appeals)
        case ContradictionObserved() as e:
            return replace(order, anomalies=(*order.anomalies, Anomaly(e.code, e.expected, e.seen, at)))
        case unknown:
            assert_never(unknown)


def fold(order_sn: str, history: Iterable[Recorded]) -> Order:
    """The order that a history, in version order, leads to."""
    order = Order(order_sn)
    for recorded in history:
        order = evolve(order, recorded)
    return order


def _promise(order: Order, ship_by: datetime, at: datetime) -> Order:
    """The promise made last in the world holds, whichever was told first."""
    if order.promised_at is not None and at < order.promised_at:
        return order
    return replace(order, promised_ship_by=ship_by, promised_at=at)


def _latest(order: Order, at: datetime) -> datetime:
    return at if order.lock_changed_at is None else max(at, order.lock_changed_at)


def _change_parcel(
    order: Order,
    tracking_number: str,
    *,
    picked_up_at: datetime | None = None,
    delivered_at: datetime | None = None,
) -> Order:
    parcels = tuple(
        replace(
            parcel,
            picked_up_at=picked_up_at or parcel.picked_up_at,
            delivered_at=delivered_at or parcel.delivered_at,
        )
        if parcel.tracking_number == tracking_number
        else parcel
        for parcel in order.parcels
    )
    return replace(order, parcels=parcels)


def _replace_tracking(order: Order, event: TrackingReplaced, recorded: Recorded) -> Order:
    """The old number stays in history; the new one carries the same goods and its own pickup clock."""
    replaced = next((p for p in order.current_parcels if p.tracking_number == event.replaced), None)
    successor = Parcel(
        carrier=event.carrier,
        tracking_number=event.tracking_number,
        uploaded_at=recorded.occurred_at,
        time_known=not recorded.metadata.observed,
        scans_followed=recorded.metadata.via == "command",
        lines=replaced.lines if replaced else (),
    )
    parcels = tuple(
        replace(parcel, replaced_at=recorded.occurred_at) if parcel is replaced else parcel
        for parcel in order.parcels
    )
    return replace(order, parcels=(*parcels, successor))
