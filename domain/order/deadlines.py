"""The clocks that run against an order, as pure functions of (order, rules, moment).

A deadline that passes needs no event to become missed. ``deadlines`` computes everything that does
not depend on the moment of asking, so that views may store it; ``Deadline.state`` adds the moment.
A deadline is inclusive: what happens at its very instant is in time, one microsecond later is not.

Some sources give times to the minute or the day. What meets a deadline then counts at the earliest moment that its
time can mean, and a deadline is due at the latest, so that nothing is called late that may have been in time.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Literal

import msgspec

from domain.calendar import at_latest, hours, later
from domain.order.state import Ending, Handover, Order, Parcel, Review
from domain.rules.ruleset import RuleSet
from domain.sku.state import Sku

DeadlineKind = Literal[
    "tracking_upload",
    "deemed_stockout",
    "carrier_pickup",
    "review_decision",
    "delist_sku",
    "contact_buyer",
    "supplier_tracking",
]
DeadlineState = Literal["pending", "met", "missed", "waived", "unknown"]


class Deadline(msgspec.Struct, frozen=True, gc=False):
    """Something that must happen by ``due_at``.

    ``settled`` is the state no passing of time can change; while it is ``None`` the deadline is
    pending until ``due_at`` and missed after it. ``due_at`` is ``None`` where it can't be known.
    ``tracking_number`` names the parcel of a ``carrier_pickup``, ``sku_id`` the SKU of a ``delist_sku`` that
    runs since ``since``, ``supplier_id`` who is to send a number.
    """

    kind: DeadlineKind
    due_at: datetime | None
    met_at: datetime | None = None
    settled: DeadlineState | None = None
    tracking_number: str | None = None
    sku_id: str | None = None
    since: datetime | None = None
    supplier_id: str | None = None

    def state(self, at: datetime) -> DeadlineState:
        if self.settled is not None:
            return self.settled
        if self.due_at is None:
            return "unknown"
        return "missed" if at > self.due_at else "pending"


class Clocks(msgspec.Struct, frozen=True, gc=False):
    """The deadlines that violations follow from, and what ended them.

    A parcel whose goods have no pickup limit has ``None``.
    """

    upload: Deadline
    deemed: Deadline
    pickups: tuple[Deadline | None, ...]
    ending: Ending | None


def clocks(order: Order, rules: RuleSet) -> Clocks:
    ending, first = order.ending, order.first_parcel
    due, paused = _upload_due(order, rules)
    return Clocks(
        tracking_upload(order, rules, due, paused, ending, first),
        deemed_stockout(order, rules, due, paused, ending, first),
        tuple([carrier_pickup(order, parcel, rules, ending) for parcel in order.parcels]),
        ending,
    )


_NO_SKUS: Mapping[str, Sku] = {}


def deadlines(
    order: Order, rules: RuleSet, running: Clocks, skus: Mapping[str, Sku] = _NO_SKUS
) -> tuple[Deadline, ...]:
    """Every deadline of the order that ever started, in the order they come due in a life.

    ``running`` are the order's clocks. ``skus`` are those that applications are about; of one that is not given no
    delisting is known.
    """
    if order.group_formed_at is None:
        return ()
    started = [running.upload, running.deemed]
    if order.reviews:
        started += [review_decision(order, review, rules, running.ending) for review in order.reviews]
        started += [
            delist_sku(review, skus.get(sku_id) or Sku(sku_id), rules)
            for review in order.reviews
            for sku_id in order.applied_for(review)
        ]
        started.append(contact_buyer(order, rules, running.ending))
    started += [pickup for pickup in running.pickups if pickup]
    if order.handovers:
        started += [
            supplier_tracking(order, handover, running.ending)
            for handover in order.handovers
            if handover.expected_tracking_at
        ]
    return tuple(started)


def ship_by(order: Order, rules: RuleSet) -> datetime | None:
    """The moment by which a tracking number must be up, before any pause for a review.

    The platform's own promise wins; otherwise the hours of the goods type from the group's forming, or what
    the rules say of that time. ``None`` before the group forms, where the time of its forming
    isn't known, and for goods whose limit only the platform knows.
    Source: group-starts-clock, platform-promise.
    """
    if order.promised_ship_by or order.group_formed_at is None:
        return order.promised_ship_by
    return rules.ship_by_of(order) if order.group_time_known else None


def ship_by_at_latest(order: Order, rules: RuleSet) -> datetime | None:
    """The latest moment that ``ship_by`` can mean, as precise as its source is. Lateness is judged by it."""
    moment = ship_by(order, rules)
    return None if moment is None else at_latest(moment, ship_by_within(order))


def ship_by_within(order: Order) -> int:
    """How many seconds later than ``ship_by`` the order may have to be shipped, because its source is coarse."""
    return order.promised_within if order.promised_ship_by else order.group_within


def tracking_upload(
    order: Order,
    rules: RuleSet,
    due: datetime | None,
    paused: bool,
    ending: Ending | None,
    first: Parcel | None,
) -> Deadline:
    """48 hours, or what the platform promised, to the first tracking number.

    ``paused`` says that an open review makes the clock stand still.
    Source: ship-by-ordinary, late-shipment.
    """
    settled = _settled_by_shipping(due, order, ending, first)
    if paused and settled != "met":
        settled = "waived" if order.is_closed else "pending"
    if settled == "missed" and _late_approval_lapses(order, rules):
        settled = "waived"
    return Deadline("tracking_upload", due, first.uploaded_at if first else None, settled)


def deemed_stockout(
    order: Order,
    rules: RuleSet,
    late_at: datetime | None,
    paused: bool,
    ending: Ending | None,
    first: Parcel | None,
) -> Deadline:
    """Three more days after the ship-by; then the order counts as a stockout. Source: deemed-stockout.

    It can't fall while a review is open. After a rejection it falls at the later of its due time and
    the rejection, unless the rule set says that the due time stands.
    """
    due = None if late_at is None else rules.deemed_stockout.after(late_at)
    deferred = paused
    if due is not None and rules.review.defers_deemed_stockout:
        for review in order.reviews:
            filed_by_then = review.requested_at <= due or not review.time_known
            if not filed_by_then or (review.decided_at is not None and review.decided_at <= due):
                continue
            if review.decided_at is None or review.outcome == "approved":
                deferred = True
            elif rules.review.deemed_after_rejection == "at_rejection":
                due = review.decided_at
    settled = _settled_by_shipping(due, order, ending, first)
    if deferred and settled != "met":
        settled = "waived" if ending else "pending"
    return Deadline("deemed_stockout", due, first.uploaded_at if first else None, settled)


def carrier_pickup(order: Order, parcel: Parcel, rules: RuleSet, ending: Ending | None) -> Deadline | None:
    """24 hours from the upload to the carrier's first scan. Source: pickup-scan.

    A shipment known only from an export starts no clock: exports carry no scans. When a number is
    replaced in time its clock is waived and the newest number is judged. A delivery or a receipt without a known
    pickup proves one whose time is unknown.
    """
    limit = rules.pickup_hours(order)
    if limit is None:
        return None
    scanned_at = first_scan(order, parcel)
    number = parcel.tracking_number
    if not parcel.scans_followed or not parcel.time_known:
        return Deadline("carrier_pickup", None, scanned_at, "met" if scanned_at else "unknown", number)
    due = later(at_latest(parcel.uploaded_at, parcel.within), hours(limit))
    settled = _settled(due, scanned_at, order, ending)
    if settled == "missed" and scanned_at != parcel.picked_up_at:
        settled = "unknown"
    replaced_in_time = parcel.replaced_at is not None and parcel.replaced_at <= due
    if replaced_in_time and settled != "met":
        settled = "waived"
    return Deadline("carrier_pickup", due, scanned_at, settled, number)


def first_scan(order: Order, parcel: Parcel) -> datetime | None:
    """When the carrier is first known to have had the parcel: a scan, its delivery, or the buyer's receipt.

    A receipt says nothing of a number that was replaced by then.
    """
    received_at = order.received_at
    if received_at is not None and parcel.replaced_at is not None and parcel.replaced_at <= received_at:
        received_at = None
    first = None
    for at in (parcel.picked_up_at, parcel.delivered_at, received_at):
        if at is not None and (first is None or at < first):
            first = at
    return first


def review_decision(order: Order, review: Review, rules: RuleSet, ending: Ending | None) -> Deadline:
    """The platform's own deadline: the later end of the expected window. Source: review-window."""
    if not review.time_known:
        return Deadline("review_decision", None, review.decided_at, "met" if review.decided_at else "unknown")
    due = rules.review.expected_decision(at_latest(review.requested_at, review.within)).latest
    settled: DeadlineState | None = None
    if review.decided_at is not None:
        in_time = review.decided_at <= due
        settled = "met" if in_time else "missed" if review.decision_time_known else "unknown"
    elif order.is_closed:
        settled = _settled(due, None, order, ending)
    return Deadline("review_decision", due, review.decided_at, settled)


def delist_sku(review: Review, sku: Sku, rules: RuleSet) -> Deadline:
    """Off the shelf at once when stockout is applied for. Source: delist-at-once."""
    delisted_at = sku.off_sale_since(review.requested_at)
    requested_at = at_latest(review.requested_at, review.within)
    return delist_since(requested_at, review.time_known, sku.sku_id, delisted_at, rules)


def delist_since(
    since: datetime, time_known: bool, sku_id: str, delisted_at: datetime | None, rules: RuleSet
) -> Deadline:
    """A ``delist_sku`` that runs since an application: missed until the SKU is off the shelf, and then met.

    The platform takes no application for what can still be bought. Source: application-conditions.
    """
    due = later(since, hours(rules.delisting.hours)) if time_known else None
    settled: DeadlineState | None = "met" if delisted_at else "unknown" if due is None else None
    return Deadline("delist_sku", due, delisted_at, settled, sku_id=sku_id, since=since)


def contact_buyer(order: Order, rules: RuleSet, ending: Ending | None) -> Deadline:
    """The buyer is to be comforted, and the platform applied to. Source: comfort-buyers.

    Due in the hours of the rules from the application; a buyer who was spoken to before has been comforted, too.
    """
    first = order.reviews[0]
    requested_at = at_latest(first.requested_at, first.within)
    return _contact(order, order.contacts, requested_at, first.time_known, rules, ending)


def contact_since(
    order: Order, since: datetime, time_known: bool, rules: RuleSet, ending: Ending | None
) -> Deadline:
    """A ``contact_buyer`` that runs since an application on another order of the same SKU.

    Only a contact from then on counts, for before it there was no reason for one; an application on this order
    does not begin it anew.
    """
    contacts = [at for at in order.contacts if at >= since] if time_known else order.contacts
    return _contact(order, contacts, since, time_known, rules, ending)


def contact_not_made(since: datetime, time_known: bool, rules: RuleSet) -> Deadline:
    """The ``contact_since`` of an open order whose buyer was not spoken to from then on."""
    if not time_known:
        return Deadline("contact_buyer", None, None, "unknown")
    return Deadline("contact_buyer", later(since, hours(rules.contact_buyer.hours)))


def _contact(
    order: Order,
    contacts: Iterable[datetime],
    since: datetime,
    time_known: bool,
    rules: RuleSet,
    ending: Ending | None,
) -> Deadline:
    contacted_at = min(contacts, default=None)
    if not time_known:
        return Deadline("contact_buyer", None, contacted_at, "met" if contacted_at else "unknown")
    due = later(since, hours(rules.contact_buyer.hours))
    return Deadline("contact_buyer", due, contacted_at, _settled(due, contacted_at, order, ending))


def supplier_tracking(order: Order, handover: Handover, ending: Ending | None) -> Deadline:
    """A supplier's tracking number by when it was expected (一件代发); no rule of the platform hangs on it.

    An order that came back in time, or was up by then under other numbers than the supplier's, is waived.
    Source: dropshipping.
    """
    over_at, over_time_known = handover.came_back_at, True
    if over_at is None and handover.tracking_at is None:
        over_at, over_time_known = handover.shipped_otherwise_at, handover.tracking_time_known
    if over_at is not None and (ending is None or over_at <= ending.at):
        ending = Ending(over_at, over_time_known)
    due, met_at = handover.expected_tracking_at, handover.tracking_at
    settled = None if due is None else _settled(due, met_at, order, ending, handover.tracking_time_known)
    return Deadline("supplier_tracking", due, met_at, settled, supplier_id=handover.supplier_id)


def _settled_by_shipping(
    due: datetime | None, order: Order, ending: Ending | None, first: Parcel | None
) -> DeadlineState | None:
    """Settled by the first number, or by a receipt before any: it was shipped by then, nobody knows when."""
    received_at = order.received_at
    if first is None or (received_at is not None and received_at < first.uploaded_at):
        return _settled(due, received_at, order, ending, met_time_known=False)
    return _settled(due, first.uploaded_at, order, ending, first.time_known)


def _settled(
    due: datetime | None,
    met_at: datetime | None,
    order: Order,
    ending: Ending | None,
    met_time_known: bool = True,
) -> DeadlineState | None:
    """What no passing of time can change: met, missed by something that came too late, or waived by the end.

    A moment that isn't known is an upper bound: it meets or waives what was surely still open, and
    leaves the rest unknown, unless the order is known to have been open after the due time.
    """
    if due is None:
        return "waived" if ending and (met_at is None or ending.at < met_at) else "unknown"
    if met_at is not None and met_at <= due:
        return "met"
    if ending is not None and ending.at <= due:
        return "waived"
    if met_at is not None:
        return "missed" if met_time_known or order.was_open_between(due, met_at) else "unknown"
    if ending is not None:
        return "missed" if ending.time_known or order.was_open_between(due, ending.at) else "unknown"
    return None


def _upload_due(order: Order, rules: RuleSet) -> tuple[datetime | None, bool]:
    """The upload deadline, time in review added where the rule set says so; and whether it stands still."""
    due = ship_by_at_latest(order, rules)
    if due is None or not rules.review.pauses_ship_by:
        return due, False
    whole = due - order.group_formed_at if order.group_formed_at and order.group_time_known else None
    for review in order.reviews:
        if review.requested_at > due or not review.time_known:
            continue
        if review.decided_at is None:
            return due, True
        anew = review.outcome == "rejected" and rules.review.ship_by_after_rejection == "starts_anew"
        if anew and whole is not None:
            due = max(due, later(review.decided_at, whole))
        else:
            due = later(due, review.decided_at - review.requested_at)
    return due, False


def _late_approval_lapses(order: Order, rules: RuleSet) -> bool:
    return order.is_stocked_out and rules.review.late_shipment_after_late_approval == "lapses"
