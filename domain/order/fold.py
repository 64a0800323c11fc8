"""How an order's events become its state. ``fold`` and ``evolve`` are the only ways to one."""

from collections.abc import Iterable
from datetime import datetime
from typing import assert_never

from msgspec.structs import replace

from domain.history import Recorded
from domain.order.events import (
    AppealDecided,
    BuyerContacted,
    ContradictionObserved,
    FactWithdrawn,
    GroupFailed,
    GroupFormed,
    HandedToSupplier,
    HoldPlaced,
    HoldReleased,
    LinesCompleted,
    OrderCancelled,
    OrderEvent,
    OrderPaid,
    OrderPlaced,
    OrderRefunded,
    ParcelComplaintDecided,
    ParcelComplaintFiled,
    ParcelDelivered,
    ParcelKind,
    ParcelLine,
    ParcelPickedUp,
    PenaltyCharged,
    PenaltyReturned,
    ReceiptConfirmed,
    ReviewCompleted,
    ShipByChanged,
    StockoutRequested,
    SupplierOutOfStock,
    TakenBackFromSupplier,
    TrackingReplaced,
    TrackingUploaded,
    ViolationAppealed,
)
from domain.order.state import (
    Anomaly,
    Appeal,
    Cancellation,
    Charge,
    Complaint,
    Handover,
    Hold,
    Order,
    Parcel,
    Refund,
    Review,
    Scans,
)


def fold(order_sn: str, history: Iterable[Recorded[OrderEvent]]) -> Order:
    """The order that a history, in version order, leads to."""
    order = Order(order_sn)
    for recorded in history:
        _apply(order, recorded)
    return order


def evolve(order: Order, recorded: Recorded[OrderEvent]) -> Order:
    """The order after one more event; the order before it stays as it was."""
    evolved = replace(order)
    _apply(evolved, recorded)
    return evolved


def _apply(order: Order, recorded: Recorded[OrderEvent]) -> None:
    """Change the order by one event. Total: any event may follow any other.

    The order is the caller's own copy, but its parcels, reviews and so on may belong to earlier orders too. So they
    are replaced, never changed. The commonest events come first. The types are compared with ``is`` because
    ``match`` calls ``isinstance``, which is slow for msgspec's classes.
    """
    at = recorded.occurred_at
    time_known = not recorded.metadata.observed
    order.version = recorded.version
    order.position = recorded.position
    if order.last_occurred_at is None or at >= order.last_occurred_at:
        order.last_occurred_at = at
    event = recorded.event
    if type(event) is OrderPlaced:
        _place(order, event, at)
    elif type(event) is OrderPaid:
        order.paid_at, order.paid_fen = at, event.paid_fen
    elif type(event) is GroupFormed:
        order.group_formed_at, order.group_time_known = at, time_known
        order.group_within = recorded.metadata.within
        if event.ship_by:
            _promise(order, event.ship_by, event.ship_by_within, at)
    elif type(event) is TrackingUploaded:
        _add_parcel(order, event, recorded, event.lines, event.kind)
    elif type(event) is ParcelPickedUp:
        _scan(order, event.tracking_number, at, None)
    elif type(event) is ParcelDelivered:
        _scan(order, event.tracking_number, None, at)
    elif type(event) is ReceiptConfirmed:
        order.received_at = at
    elif type(event) is OrderRefunded:
        reason, version = event.reason, recorded.version
        refund = Refund(at, time_known, event.initiated_by, reason, event.amount_fen, event.part, version)
        order.refunds += (refund,)
        _note_import(order, recorded)
    elif type(event) is StockoutRequested:
        _open_review(order, event, recorded)
        _note_import(order, recorded)
    elif type(event) is ReviewCompleted:
        _complete_review(order, event, at, time_known, recorded.version)
        _note_import(order, recorded)
    elif type(event) is BuyerContacted:
        order.contacts += (at,)
    elif type(event) is OrderCancelled:
        order.cancellation = Cancellation(at, time_known, event.reason, recorded.version)
        _note_import(order, recorded)
    elif type(event) is GroupFailed:
        order.group_failed_at = at
    elif type(event) is ShipByChanged:
        _promise(order, event.ship_by, event.ship_by_within, at)
    elif type(event) is TrackingReplaced:
        _replace_parcel(order, event, recorded)
    elif type(event) is HoldPlaced:
        _place_hold(order, event, at, time_known)
    elif type(event) is HoldReleased:
        _release_hold(order, event, at)
    elif type(event) is ParcelComplaintFiled:
        order.complaints += (Complaint(at, event.finding, event.evidence, event.number),)
    elif type(event) is ParcelComplaintDecided:
        _decide_complaint(order, event, at)
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
    elif type(event) is LinesCompleted:
        order.lines = event.lines
        if event.paid_fen is not None:
            order.paid_fen = event.paid_fen
    elif type(event) is FactWithdrawn:
        withdraw(order, event.version)
        order.withdrawn_by = event.seen_at or order.withdrawn_by
    elif type(event) is HandedToSupplier:
        order.handovers += (Handover(event.supplier_id, at, event.expected_tracking_at),)
    elif type(event) is SupplierOutOfStock:
        _come_back(order, event.supplier_id, event.reason, out_of_stock_at=at)
    elif type(event) is TakenBackFromSupplier:
        _come_back(order, event.supplier_id, event.reason, taken_back_at=at)
    else:
        assert_never(event)


# ---- placing ----------------------------------------------------------------------------------------


def _place(order: Order, event: OrderPlaced, at: datetime) -> None:
    order.lines = order.placed_lines = event.lines
    order.goods_type = event.goods_type
    order.group_id = event.group_id
    order.region = event.region
    order.open_in_festival = event.open_in_festival
    order.activity = event.activity
    order.placed_at = at
    if event.paid_fen is not None:
        order.paid_at, order.paid_fen = at, event.paid_fen


def _promise(order: Order, ship_by: datetime, within: int, at: datetime) -> None:
    """The promise with the latest ``occurred_at`` holds, in whatever order the log learned them."""
    if order.promised_at is None or at >= order.promised_at:
        order.promised_ship_by, order.promised_within, order.promised_at = ship_by, within, at


# ---- parcels ----------------------------------------------------------------------------------------


def _add_parcel(
    order: Order,
    event: TrackingUploaded | TrackingReplaced,
    recorded: Recorded[OrderEvent],
    lines: tuple[ParcelLine, ...],
    kind: ParcelKind = "order",
) -> None:
    metadata = recorded.metadata
    time_known = not metadata.observed
    parcel = Parcel(
        event.carrier,
        event.tracking_number,
        recorded.occurred_at,
        time_known,
        metadata.within,
        scans_followed=metadata.via == "command",
        lines=lines,
        kind=kind,
    )
    if scans := order.early_scans.get(event.tracking_number):
        parcel = replace(parcel, picked_up_at=scans.picked_up_at, delivered_at=scans.delivered_at)
        order.early_scans = {known: each for known, each in order.early_scans.items() if each is not scans}
    if kind != "order":
        order.extra_parcels += (parcel,)
        return
    order.parcels += (parcel,)
    if order.with_supplier:
        supplier_id = event.supplier_id if isinstance(event, TrackingUploaded) else None
        _number_came_up(order, order.with_supplier, supplier_id, recorded.occurred_at, time_known)


def _replace_parcel(order: Order, event: TrackingReplaced, recorded: Recorded[OrderEvent]) -> None:
    """The old number stays in history; the new one carries the same goods and its own pickup clock."""
    replaced = next((p for p in order.current_parcels if p.tracking_number == event.replaced), None)
    order.parcels = tuple(
        [replace(p, replaced_at=recorded.occurred_at) if p is replaced else p for p in order.parcels]
    )
    _add_parcel(order, event, recorded, replaced.lines if replaced else ())


def _scan(order: Order, tracking_number: str, picked_up_at: datetime | None, delivered_at: datetime | None) -> None:
    """A scan of a parcel. The earliest counts, in whatever order the log learned them."""

    def scanned(p: Parcel) -> Parcel:
        if p.tracking_number != tracking_number:
            return p
        return replace(
            p,
            picked_up_at=_earlier(p.picked_up_at, picked_up_at),
            delivered_at=_earlier(p.delivered_at, delivered_at),
        )

    if order.parcel(tracking_number):
        order.parcels = tuple([scanned(parcel) for parcel in order.parcels])
        if order.extra_parcels:
            order.extra_parcels = tuple([scanned(parcel) for parcel in order.extra_parcels])
        return
    known = order.early_scans.get(tracking_number, Scans())
    scans = Scans(_earlier(known.picked_up_at, picked_up_at), _earlier(known.delivered_at, delivered_at))
    order.early_scans = {**order.early_scans, tracking_number: scans}


def _earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    return min(one, other) if one and other else one or other


# ---- suppliers --------------------------------------------------------------------------------------


def _number_came_up(
    order: Order, handover: Handover, supplier_id: str | None, at: datetime, time_known: bool
) -> None:
    """A supplier's first number meets the hand-over; other numbers end it once they carry all of the order."""
    if supplier_id == handover.supplier_id:
        if handover.tracking_at is None or at < handover.tracking_at:
            handover = replace(handover, tracking_at=at, tracking_time_known=time_known)
    elif handover.tracking_at is None and order.is_packed:
        last = max(order.current_parcels, key=lambda parcel: parcel.uploaded_at)
        if handover.shipped_otherwise_at is None or last.uploaded_at < handover.shipped_otherwise_at:
            handover = replace(handover, shipped_otherwise_at=last.uploaded_at, tracking_time_known=last.time_known)
    order.handovers = (*order.handovers[:-1], handover)


def _come_back(order: Order, supplier_id: str, reason: str, **at: datetime) -> None:
    with_supplier = order.with_supplier
    if with_supplier is not None and with_supplier.supplier_id == supplier_id:
        order.handovers = (*order.handovers[:-1], replace(with_supplier, reason=reason, **at))


# ---- locks ------------------------------------------------------------------------------------------


def _open_review(order: Order, event: StockoutRequested, recorded: Recorded[OrderEvent]) -> None:
    review = Review(
        requested_at=recorded.occurred_at,
        time_known=not recorded.metadata.observed,
        reason=event.reason,
        sku_ids=event.sku_ids,
        within=recorded.metadata.within,
        version=recorded.version,
        position=recorded.position,
    )
    order.reviews += (review,)
    _change_lock(order, recorded.occurred_at)


def _complete_review(order: Order, event: ReviewCompleted, at: datetime, time_known: bool, version: int) -> None:
    if order.reviews:
        *earlier, last = order.reviews
        decided = replace(
            last,
            outcome=event.outcome,
            decided_at=at,
            decision_time_known=time_known,
            decided_version=version,
        )
        order.reviews = (*earlier, decided)
        _change_lock(order, at)


def _place_hold(order: Order, event: HoldPlaced, at: datetime, time_known: bool) -> None:
    order.placed_holds += (Hold(event.hold, event.reason, at, time_known),)
    order.last_held = {**order.last_held, event.hold: max(at, order.last_held.get(event.hold, at))}
    _change_lock(order, at)


def _release_hold(order: Order, event: HoldReleased, at: datetime) -> None:
    order.placed_holds = tuple([hold for hold in order.placed_holds if hold.hold != event.hold])
    _change_lock(order, at)


def _change_lock(order: Order, at: datetime) -> None:
    if order.lock_changed_at is None or at >= order.lock_changed_at:
        order.lock_changed_at = at


# ---- mistaken imports -------------------------------------------------------------------------------


def _note_import(order: Order, recorded: Recorded[OrderEvent]) -> None:
    if recorded.metadata.via != "command":
        order.imported += (recorded.version,)


def withdraw(order: Order, version: int) -> None:
    """Undo what the event with this version did, if it was a closing or a lock."""
    order.refunds = tuple([refund for refund in order.refunds if refund.version != version])
    if order.cancellation and order.cancellation.version == version:
        order.cancellation = None
    order.reviews = tuple([_undecided(each, version) for each in order.reviews if each.version != version])
    order.imported = tuple([each for each in order.imported if each != version])
    order.withdrawn += (version,)


def _undecided(review: Review, version: int) -> Review:
    if review.decided_version != version:
        return review
    return replace(review, outcome=None, decided_at=None, decision_time_known=True, decided_version=0)


# ---- disputes ---------------------------------------------------------------------------------------


def _decide_complaint(order: Order, event: ParcelComplaintDecided, at: datetime) -> None:
    if order.complaints:
        *earlier, last = order.complaints
        order.complaints = (*earlier, replace(last, outcome=event.outcome, decided_at=at))


def _decide_appeal(order: Order, event: AppealDecided, at: datetime) -> None:
    order.appeals = tuple(
        [
            replace(a, outcome=event.outcome, decided_at=at) if a.violation_id == event.violation_id else a
            for a in order.appeals
        ]
    )
