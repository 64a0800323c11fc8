"""What the platform shows has already happened. Which events are missing to explain it?

Commands may be refused, observations may not: ``observe`` has no refusal. A fact that is known already leads to
no event, so reading the same export twice changes nothing. A fact that contradicts the history is recorded, and a
``ContradictionObserved`` with it.

Times the source does not carry are not made up: such an event occurred "by ``seen_at``" and is marked
``observed``, and no violation is ever claimed from it. What the platform showed, the platform may take
back (an application it no longer shows was rejected); what a command recorded it may not.
"""

from collections.abc import Iterator
from datetime import datetime

import msgspec
from msgspec.structs import replace

from domain.calendar import can_be_same, iso_seconds
from domain.order import events as e
from domain.order.deadlines import ship_by, ship_by_within
from domain.order.fold import withdraw
from domain.order.snapshot import UNKNOWN, Snapshot
from domain.order.state import Order
from domain.rules.ruleset import RuleBook


class Observation(msgspec.Struct, frozen=True):
    """An event that explains a snapshot. ``observed`` is set when ``occurred_at`` is only an upper bound.

    ``within`` is how many seconds later it may have occurred, because the source is coarse.
    """

    event: e.OrderEvent
    occurred_at: datetime
    observed: bool
    within: int = 0


def observe(order: Order, snapshot: Snapshot, book: RuleBook) -> tuple[Observation, ...]:
    """The events that bring ``order`` up to ``snapshot``, in the order of an order's life; none if it is known."""
    withdrawn = _mistaken_closings(order, snapshot)
    if withdrawn:
        order = replace(order)
        for version, _ in withdrawn:
            withdraw(order, version)
    missing = [
        *(_withdrawal(version, at, snapshot) for version, at in withdrawn),
        *_beginning(order, snapshot),
        *_group(order, snapshot, book),
        *_contradictions(order, snapshot),
        *_holds(order, snapshot),
        *_stockout(order, snapshot),
        *_shipment(order, snapshot),
        *_end(order, snapshot),
    ]
    known = {(anomaly.code, anomaly.seen) for anomaly in order.anomalies}
    return tuple(
        observation
        for observation in missing
        if not isinstance(observation.event, e.ContradictionObserved)
        or (observation.event.code, observation.event.seen) not in known
    )


def _at(event: e.OrderEvent, occurred_at: datetime | None, snapshot: Snapshot, within: int = 0) -> Observation:
    """The event at its own time, or, where the source does not carry one, by the time of the sighting."""
    if occurred_at is None:
        return Observation(event, snapshot.seen_at, observed=True)
    return Observation(event, occurred_at, observed=False, within=within)


def _contradiction(code: str, expected: str, shown: str, snapshot: Snapshot) -> Observation:
    return Observation(e.ContradictionObserved(code, expected, shown), snapshot.seen_at, observed=True)


def _beginning(order: Order, snapshot: Snapshot) -> Iterator[Observation]:
    """Placed by the earliest time the source carries; the real moment is not in any export."""
    if not order.is_placed:
        times = (snapshot.paid_at, snapshot.group_formed_at, snapshot.shipped_at, snapshot.received_at)
        placed_by = min((at for at in times if at is not None), default=snapshot.seen_at)
        placed = e.OrderPlaced(snapshot.lines, snapshot.goods_type, group_id=snapshot.group_id)
        yield Observation(placed, placed_by, observed=True)
        yield from _payment(order, snapshot)
        return
    lines = order.lines if order.lines == snapshot.lines else _together(order.lines, snapshot.lines)
    if lines is None:
        yield _contradiction("lines_differ", _pieces(order.lines), _pieces(snapshot.lines), snapshot)
    elif lines != order.lines:
        is_part = len(order.lines) < len(lines) and order.paid_fen is not None
        paid_fen = snapshot.paid_fen if is_part and snapshot.paid_fen != order.paid_fen else None
        yield _at(e.LinesCompleted(lines, paid_fen), None, snapshot)
        if paid_fen is not None:
            return
    if lines is None or len(snapshot.lines) >= len(order.lines):
        yield from _payment(order, snapshot)


def _payment(order: Order, snapshot: Snapshot) -> Iterator[Observation]:
    if snapshot.paid_fen is None:
        return
    if order.paid_fen is None:
        yield _at(e.OrderPaid(snapshot.paid_fen), snapshot.paid_at, snapshot, snapshot.paid_within)
    elif order.paid_fen != snapshot.paid_fen:
        yield _contradiction("paid_differs", f"{order.paid_fen} fen", f"{snapshot.paid_fen} fen", snapshot)


def _group(order: Order, snapshot: Snapshot, book: RuleBook) -> Iterator[Observation]:
    """The platform's own group time starts the clock, even where a command gave another.

    An order past the group without that time has formed, but no clock can be started for it. One whose state says
    that it waits for payment or for its group has not formed, whatever times stand beside the state. A coarser view
    of a known time is the same time; a finer one makes the known time more precise.
    """
    if snapshot.phase in ("pending_payment", "pending_group"):
        return
    if snapshot.phase == "unknown" and snapshot.shipped_at is None:
        return  # it may have ended, so no clock may run for it
    formed_at, within = snapshot.group_formed_at, snapshot.group_formed_within
    outdated = order.promised_at is not None and snapshot.seen_at < order.promised_at
    promise, promise_within = snapshot.ship_by, snapshot.ship_by_within
    if order.group_formed_at is None and formed_at is None:
        is_shipped = snapshot.phase == "unknown" and snapshot.shipped_at is not None
        if snapshot.phase in ("awaiting_shipment", "stockout_applied", "shipped", "received") or is_shipped:
            yield _at(e.GroupFormed(promise, promise_within if promise else 0), None, snapshot)
        return
    current, current_within = ship_by(order, book.governing(order)), ship_by_within(order)
    ours = order.group_formed_at if order.group_time_known else None
    if formed_at is not None:
        differs = ours is not None and not can_be_same(ours, order.group_within, formed_at, within)
        if ours is None or differs or within < order.group_within:
            if ours is not None and differs:
                yield _contradiction("group_formed_at_differs", iso_seconds(ours), iso_seconds(formed_at), snapshot)
            takes_promise = promise is not None and (order.promised_at is None or formed_at >= order.promised_at)
            formed = e.GroupFormed(promise, promise_within) if takes_promise else e.GroupFormed()
            yield _at(formed, formed_at, snapshot, within)
            current = promise if takes_promise else order.promised_ship_by
            current_within = promise_within if takes_promise else order.promised_within
    if promise is None or outdated:
        return
    is_same = current is not None and can_be_same(current, current_within, promise, promise_within)
    if not is_same or promise_within < current_within:
        yield _at(e.ShipByChanged(promise, "platform", promise_within), None, snapshot)


def _mistaken_closings(order: Order, snapshot: Snapshot) -> list[tuple[int, datetime]]:
    """The closings of an order that a later view shows alive, where only imports have closed it: all mistakes.

    Their versions, and when they are said to have happened.
    """
    if not order.is_closed or not order.imported or not _shows_alive(order, snapshot):
        return []
    closings = [(refund.version, refund.at) for refund in order.refunds if not refund.part]
    if order.cancellation:
        closings.append((order.cancellation.version, order.cancellation.at))
    all_imported = all(version in order.imported for version, _ in closings)
    return closings if all_imported and order.group_failed_at is None else []


def _withdrawal(version: int, at: datetime, snapshot: Snapshot) -> Observation:
    reason = "a later view of the platform shows the order alive"
    return Observation(e.FactWithdrawn(version, reason, snapshot.seen_at), at, observed=True)


def _shows_alive(order: Order, snapshot: Snapshot) -> bool:
    """Whether a later view than all that is known shows a closed order as open."""
    if order.last_occurred_at is None or snapshot.seen_at <= order.last_occurred_at:
        return False
    if snapshot.refunded or snapshot.phase in ("cancelled", "unknown"):
        return False
    return order.status != "refunded" or snapshot.phase not in ("received", "stockout_applied")


def _contradictions(order: Order, snapshot: Snapshot) -> Iterator[Observation]:
    """What the platform shows no more, or not yet, although this history has it; an older view proves nothing."""
    if order.last_occurred_at is None or snapshot.seen_at <= order.last_occurred_at:
        return
    if order.is_closed and not snapshot.refunded and snapshot.phase not in ("cancelled", "unknown"):
        if _shows_alive(order, snapshot):
            yield _contradiction("closed_order_alive", order.status, snapshot.phase, snapshot)
    elif order.parcels and snapshot.phase in ("pending_payment", "pending_group", "awaiting_shipment"):
        yield _contradiction("shipment_not_seen", order.status, snapshot.phase, snapshot)


def _holds(order: Order, snapshot: Snapshot) -> Iterator[Observation]:
    """Risk control and refunds under way lock the parcel. A hold that a snapshot showed ends when one does not.

    A view older than the last change of a lock says nothing about it.
    """
    if order.is_closed or snapshot.refunded or snapshot.phase in ("cancelled", "unknown"):
        return
    if order.lock_changed_at is not None and snapshot.seen_at < order.lock_changed_at:
        return
    shown: tuple[tuple[e.HoldKind, bool | None], ...] = (
        ("risk_control", snapshot.under_review),
        ("refund_pending", snapshot.refund_pending),
    )
    for hold, is_shown in shown:
        held = next((h for h in order.placed_holds if h.hold == hold), None)
        if is_shown and held is None:
            yield _at(e.HoldPlaced(hold, "shown by the platform"), None, snapshot)
        elif is_shown is False and held and not held.time_known and snapshot.seen_at > held.since:
            yield _at(e.HoldReleased(hold, "no longer shown by the platform"), None, snapshot)


def _stockout(order: Order, snapshot: Snapshot) -> Iterator[Observation]:
    """The platform shows an application, or no longer shows one. Only what followed shows whether it was approved.

    Source: application-status.
    """
    review = order.open_review
    if snapshot.phase == "stockout_applied":
        if review is None and not order.is_stocked_out and not order.is_closed and _is_news(order, snapshot):
            if order.parcels:
                yield _contradiction("stockout_after_shipment", order.status, "stockout applied for", snapshot)
            yield _at(e.StockoutRequested("unknown"), None, snapshot)
            review_is_open = True
        else:
            review_is_open = review is not None
        if review_is_open and snapshot.refunded:
            yield _at(e.ReviewCompleted("approved"), None, snapshot)
    elif review is None or snapshot.refunded or snapshot.phase in ("cancelled", "unknown"):
        return
    elif snapshot.phase in ("shipped", "received"):
        decided_by = max(review.requested_at, snapshot.shipped_at or snapshot.seen_at)
        yield Observation(e.ReviewCompleted("rejected"), decided_by, observed=True)
    elif snapshot.seen_at > review.requested_at:
        if review.time_known:
            yield _contradiction("application_not_seen", "stockout applied for", snapshot.phase, snapshot)
        else:
            yield _at(e.ReviewCompleted("rejected"), None, snapshot)


def _is_news(order: Order, snapshot: Snapshot) -> bool:
    """Whether the application shown is another than the one decided, and not older than a shipment since."""
    decided_at = order.reviews[-1].decided_at if order.reviews else None
    if order.shipped_at is not None and snapshot.seen_at < order.shipped_at:
        return False
    return decided_at is None or snapshot.seen_at > decided_at


def _shipment(order: Order, snapshot: Snapshot) -> Iterator[Observation]:
    was_shipped = snapshot.phase == "unknown" and (snapshot.shipped_at or snapshot.received_at)
    if snapshot.phase not in ("shipped", "received") and not was_shipped:
        return
    number = snapshot.tracking_number or ""
    carrier = snapshot.carrier or ""
    undelivered = [parcel.tracking_number for parcel in order.current_parcels if not parcel.delivered_at]
    if not order.parcels:
        yield from _shipped_in_spite(order, snapshot)
        uploaded = e.TrackingUploaded(carrier, number)
        yield _at(uploaded, snapshot.shipped_at, snapshot, snapshot.shipped_within)
        undelivered = [number, *snapshot.further_numbers]
        for further in snapshot.further_numbers:
            yield _at(e.TrackingUploaded(carrier, further), snapshot.shipped_at, snapshot, snapshot.shipped_within)
    elif known := [each for each in _numbers(snapshot) if order.parcel(each)]:
        further_numbers = [each for each in _numbers(snapshot) if each not in known]
        for further in further_numbers:
            yield _at(e.TrackingUploaded(carrier, further), None, snapshot)
        undelivered += further_numbers
    elif number:
        newest = max(order.current_parcels, key=lambda parcel: parcel.uploaded_at)
        replaced = newest.tracking_number
        if replaced and snapshot.seen_at < newest.uploaded_at:
            yield _contradiction("tracking_number_differs", replaced, number, snapshot)
        else:
            yield _at(e.TrackingReplaced(carrier, number, replaced, "shown by the platform"), None, snapshot)
            for further in snapshot.further_numbers:
                yield _at(e.TrackingUploaded(carrier, further), None, snapshot)
            others = [each for each in undelivered if each != replaced]
            undelivered = [*others, number, *snapshot.further_numbers]
    was_received = snapshot.phase == "received" or (snapshot.phase == "unknown" and snapshot.received_at)
    if not was_received or order.received_at:
        return
    if snapshot.received_at:
        yield _at(e.ReceiptConfirmed(), snapshot.received_at, snapshot, snapshot.received_within)
        return
    for delivered in undelivered:
        yield _at(e.ParcelDelivered(delivered), None, snapshot)


def _numbers(snapshot: Snapshot) -> tuple[str, ...]:
    """The tracking numbers that a snapshot shows."""
    return (snapshot.tracking_number, *snapshot.further_numbers) if snapshot.tracking_number else ()


def _shipped_in_spite(order: Order, snapshot: Snapshot) -> Iterator[Observation]:
    """The platform let a parcel go that this history had locked or written off."""
    if order.is_stocked_out:
        yield _contradiction("shipped_after_stockout", order.status, snapshot.phase, snapshot)
    shipped_by = snapshot.shipped_at or snapshot.seen_at
    ours = [hold.hold for hold in order.placed_holds if hold.time_known and hold.since < shipped_by]
    if ours and not order.is_closed:
        yield _contradiction("shipped_while_locked", f"held by {' and '.join(ours)}", snapshot.phase, snapshot)


def _end(order: Order, snapshot: Snapshot) -> Iterator[Observation]:
    if order.withdrawn_by is not None and snapshot.seen_at <= order.withdrawn_by:
        return  # a later view has shown already that the order is not closed
    if snapshot.refunded and not order.full_refund:
        yield _at(e.OrderRefunded("unknown", "unknown"), None, snapshot)
    elif snapshot.part_refunded and not order.refunds:
        yield _at(e.OrderRefunded("unknown", "unknown", part=True), None, snapshot)
    if snapshot.phase == "cancelled" and not order.is_closed:
        if order.parcels:
            yield _contradiction("cancelled_after_shipment", order.status, "cancelled", snapshot)
        yield _at(e.OrderCancelled("unknown"), None, snapshot)


def _pieces(lines: tuple[e.Line, ...]) -> str:
    return ", ".join(sorted(f"{line.quantity} x {line.sku_id}" for line in lines))


def _together(known: tuple[e.Line, ...], shown: tuple[e.Line, ...]) -> tuple[e.Line, ...] | None:
    """The lines that are known and those that a source shows, if either has all lines of the other.

    A source may show only some lines of an order, and it may not know an id or a code. What one of both knows of a
    line is known of it. ``None`` if the sources contradict each other.
    """
    left = list(shown)
    pairs = dict[int, e.Line]()
    for is_match in (_is_the_same_line, _can_be_the_same_line):
        for number, line in enumerate(known):
            if number not in pairs and (match := next((each for each in left if is_match(line, each)), None)):
                pairs[number] = match
                left.remove(match)
    if left and len(pairs) < len(known):
        return None
    return (*(_completed(line, pairs.get(number, line)) for number, line in enumerate(known)), *left)


def _is_the_same_line(known: e.Line, shown: e.Line) -> bool:
    return known.quantity == shown.quantity and known.sku_id == shown.sku_id


def _can_be_the_same_line(known: e.Line, shown: e.Line) -> bool:
    return known.quantity == shown.quantity and UNKNOWN in (known.sku_id, shown.sku_id)


def _completed(known: e.Line, shown: e.Line) -> e.Line:
    """A line with what the other source knows of it besides."""
    return e.Line(
        known.sku_id if known.sku_id != UNKNOWN else shown.sku_id,
        known.goods_id if known.goods_id != UNKNOWN else shown.goods_id,
        known.name if known.name != UNKNOWN else shown.name,
        known.quantity,
        known.unit_price_fen,
        known.sku_code or shown.sku_code,
    )
