"""The ladder of an order: which rules were broken, when, and what that costs.

group formed -> ship-by -> late shipment -> three more days -> deemed stockout; after an upload, no
scan in time -> false shipment -> not really shipped in the remedy days -> stockout. A stockout
application approved, or a refund for want of stock, is a stockout. An upheld complaint of an empty or
different parcel is fraud.

``ladder`` computes every violation that has arisen or will arise if nothing more happens;
``violations`` is the part that stands at a moment. Nothing is claimed from a time that isn't known.
"""

from datetime import datetime
from typing import Literal

import msgspec

from domain.calendar import INSTANT, hours, later
from domain.kernel import ViolationKind
from domain.order.deadlines import Clocks, Deadline, clocks, first_scan, ship_by_at_latest
from domain.order.events import AppealOutcome
from domain.order.state import Ending, Order, Parcel, is_out_of_stock
from domain.rules.ruleset import RuleSet

StockoutCause = Literal["merchant_refund", "deemed", "application_approved", "false_shipment_unremedied"]
AppealState = Literal["none", "open", "upheld", "overturned"]
"""How far the dispute about a violation is."""


class AppealView(msgspec.Struct, frozen=True):
    """A dispute about a violation; ``outcome`` is ``None`` while it is undecided."""

    appealed_at: datetime
    evidence: str | None
    outcome: AppealOutcome | None
    decided_at: datetime | None


class Violation(msgspec.Struct, frozen=True, gc=False):
    """A broken rule. ``stands_from`` is the first instant at which it can be claimed.

    For a deadline ``arose_at`` is the deadline itself and ``stands_from`` the microsecond after it,
    because what happens at the very deadline is in time. ``penalty_fen`` is ``None`` when it depends
    on a payment that isn't known. ``appeal_by`` is the last moment to dispute it: the platform's own where
    the appeal gives it, else the rule set's. An overturned violation stays, with its appeal.
    """

    violation_id: str
    kind: ViolationKind
    cause: StockoutCause | None
    arose_at: datetime
    stands_from: datetime
    penalty_fen: int | None
    rule: str
    appeal_by: datetime
    appeal: AppealView | None

    @property
    def appeal_state(self) -> AppealState:
        if self.appeal is None:
            return "none"
        return self.appeal.outcome or "open"

    def stands_at(self, at: datetime) -> bool:
        """Whether it can be claimed at a moment."""
        return self.stands_from <= at

    @property
    def counts(self) -> bool:
        """Whether it weighs on the shop: an overturned one does not."""
        return self.appeal_state != "overturned"


class _Breach(msgspec.Struct, frozen=True, gc=False):
    arose_at: datetime
    stands_from: datetime
    cause: StockoutCause | None = None


def ladder(order: Order, rules: RuleSet, running: Clocks | None = None) -> tuple[Violation, ...]:
    """Every violation that arose, or will if nothing more happens, by the time it arises.

    ``running`` are the order's clocks, where the caller has them already.
    """
    running = running or clocks(order, rules)
    unscanned = _unscanned(order, running) if order.parcels else []
    arising = []
    if late := _passed(running.upload):
        arising.append(_violation(order, rules, "late_shipment", late))
    if stockouts := _stockouts(order, rules, running, unscanned):
        arising.append(_violation(order, rules, "stockout", _first(stockouts)))
    if unscanned:
        false = _first([breach for _, breach in unscanned])
        arising.append(_violation(order, rules, "false_shipment", false))
    if order.complaints:
        arising += [
            _violation(order, rules, "fraudulent_shipment", fraud, number)
            for number, fraud in _frauds(order).items()
        ]
    if len(arising) > 1:
        arising.sort(key=lambda violation: violation.stands_from)
    return tuple(arising)


def violations(order: Order, rules: RuleSet, at: datetime, running: Clocks | None = None) -> tuple[Violation, ...]:
    """The violations that stand at a moment."""
    if running is None and went_well(order, rules):
        return ()
    return tuple([violation for violation in ladder(order, rules, running) if violation.stands_from <= at])


def went_well(order: Order, rules: RuleSet) -> bool:
    """Whether an order was shipped and scanned in time and nothing else happened: no rule is or can be broken.

    This holds for most orders, and is cheaper to compute than their clocks.
    """
    scanned_at = plain_scan(order)
    return scanned_at is not None and was_in_time(order, scanned_at, rules)


def plain_scan(order: Order) -> datetime | None:
    """When the carrier first had the one parcel of an order with which nothing else happened."""
    if order.reviews or order.refunds or order.complaints or order.cancellation or len(order.parcels) != 1:
        return None
    return first_scan(order, order.parcels[0])


def was_in_time(order: Order, scanned_at: datetime, rules: RuleSet) -> bool:
    """Whether an order with a plain scan was shipped and scanned in time: then it went well."""
    uploaded_at = order.parcels[0].uploaded_at
    due, limit = ship_by_at_latest(order, rules), rules.pickup_hours(order)
    if due is None or limit is None or uploaded_at > due or order.group_formed_at is None:
        return False
    return scanned_at <= later(uploaded_at, hours(limit))


def _first(breaches: list[_Breach]) -> _Breach:
    """The first breach: a rule that was broken more than once is charged once."""
    return min(breaches, key=lambda breach: breach.stands_from)


def _unscanned(order: Order, running: Clocks) -> list[tuple[Parcel, _Breach]]:
    """The tracking numbers the carrier did not scan in time."""
    return [
        (order.parcels[number], breach)
        for number, pickup in enumerate(running.pickups)
        if pickup and (breach := _passed(pickup))
    ]


def _stockouts(
    order: Order, rules: RuleSet, running: Clocks, unscanned: list[tuple[Parcel, _Breach]]
) -> list[_Breach]:
    """Every way this order became, or will become, a stockout. Source: stockout-by-application."""
    breaches = []
    if deemed := _passed(running.deemed, "deemed"):
        breaches.append(deemed)
    if order.reviews:
        breaches += [
            _Breach(review.decided_at, review.decided_at, "application_approved")
            for review in order.reviews
            if review.outcome == "approved" and review.decided_at and review.decision_time_known
        ]
    if order.refunds:
        breaches += [
            _Breach(refund.at, refund.at, "merchant_refund")
            for refund in order.refunds
            if refund.initiated_by == "merchant" and is_out_of_stock(refund.reason) and refund.time_known
        ]
    cancelled = order.cancellation
    if cancelled and is_out_of_stock(cancelled.reason) and order.group_formed_at and cancelled.time_known:
        breaches.append(_Breach(cancelled.at, cancelled.at, "merchant_refund"))
    if unscanned and (unremedied := _unremedied(order, rules, running.ending, unscanned)):
        breaches.append(unremedied)
    return breaches


def _unremedied(
    order: Order, rules: RuleSet, ending: Ending | None, unscanned: list[tuple[Parcel, _Breach]]
) -> _Breach | None:
    """A false shipment still without any scan when the remedy days from its upload are over.

    Source: unremedied-false-shipment.
    """
    for parcel, _ in unscanned:
        remedy_by = rules.remedy.after(parcel.uploaded_at)
        scans = [first_scan(order, other) for other in order.parcels]
        remedied = any(scan <= remedy_by for scan in scans if scan is not None)
        ended = ending is not None and (ending.at <= remedy_by or not ending.time_known)
        if not remedied and not ended:
            return _Breach(remedy_by, later(remedy_by, INSTANT), "false_shipment_unremedied")
    return None


def _frauds(order: Order) -> dict[int, _Breach]:
    """Upheld complaints of an empty parcel or of other goods than bought, by number.

    Source: fraudulent-shipment.
    """
    frauds: dict[int, _Breach] = {}
    for complaint in order.complaints:
        if complaint.outcome == "upheld" and complaint.decided_at and complaint.finding != "other":
            number = complaint.number
            while number in frauds:  # Complaints of old logs have no numbers of their own.
                number += 1
            frauds[number] = _Breach(complaint.decided_at, complaint.decided_at)
    return frauds


def _passed(deadline: Deadline, cause: StockoutCause | None = None) -> _Breach | None:
    """The breach of a deadline that was missed, or will be if nothing more happens."""
    if deadline.due_at is None or deadline.settled not in (None, "missed"):
        return None
    return _Breach(deadline.due_at, later(deadline.due_at, INSTANT), cause)


def _violation(order: Order, rules: RuleSet, kind: ViolationKind, breach: _Breach, number: int = 1) -> Violation:
    """A violation's id is the order's number and the kind: an order has one of each, but may cheat twice.

    A fraud has the number of its complaint, behind the first one's kind.
    """
    suffix = kind if number == 1 else f"{kind}:{number}"
    violation_id = f"{order.order_sn}:{suffix}"
    appeal = order.appeal(violation_id)
    return Violation(
        violation_id=violation_id,
        kind=kind,
        cause=breach.cause,
        arose_at=breach.arose_at,
        stands_from=breach.stands_from,
        penalty_fen=rules.penalty_fen(kind, order),
        rule=f"{rules.name}/{kind}",
        appeal_by=(appeal.appeal_by if appeal else None) or rules.appeal.after(breach.arose_at),
        appeal=AppealView(appeal.appealed_at, appeal.evidence, appeal.outcome, appeal.decided_at)
        if appeal
        else None,
    )
