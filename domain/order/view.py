"""The order as the outside sees it at one moment: facts, locks, clocks, violations, and what may be done.

Everything here is computed from the folded order, its rule set and the moment of asking.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from domain.calendar import ExpectedDecision
from domain.kernel import ViolationKind
from domain.order.deadlines import Deadline, DeadlineKind, DeadlineState, clocks, deadlines, ship_by
from domain.order.decisions.table import ACTIONS
from domain.order.events import Line, ParcelKind, ParcelLine
from domain.order.state import Anomaly, Charge, Complaint, Handover, Hold, Order, Status
from domain.order.violations import AppealView, StockoutCause, Violation, violations
from domain.order.warnings import NO_RELATED_FACTS, OrderWarning, RelatedFacts, warnings
from domain.rules.ruleset import RuleBook, RuleSet


class ParcelView(msgspec.Struct, frozen=True):
    """A tracking number; a replaced one stays in the list with the moment it was replaced.

    ``kind`` is what it carries; only parcels of the kind ``order`` are judged.
    """

    carrier: str
    tracking_number: str
    uploaded_at: datetime
    picked_up_at: datetime | None
    delivered_at: datetime | None
    replaced_at: datetime | None
    lines: tuple[ParcelLine, ...]
    kind: ParcelKind


class HoldView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A lock in force. ``expected_decision`` is an estimate for a stockout review whose filing time is known."""

    hold: str
    reason: str
    since: datetime
    expected_decision: ExpectedDecision | None = None


class ShipmentLock(msgspec.Struct, frozen=True):
    locked: bool
    holds: tuple[HoldView, ...]


class DeadlineView(msgspec.Struct, frozen=True, omit_defaults=True):
    """``due_at`` is null where it can't be known; the last three fields say what it is about."""

    kind: DeadlineKind
    due_at: datetime | None
    met_at: datetime | None
    state: DeadlineState
    tracking_number: str | None = None
    sku_id: str | None = None
    supplier_id: str | None = None


class ViolationView(msgspec.Struct, frozen=True, omit_defaults=True):
    """``penalty_fen`` is null where it depends on a payment that isn't known; ``cause`` tells stockouts apart.

    ``appeal_by`` is the last moment to dispute it, as far as it is known.
    """

    violation_id: str
    kind: ViolationKind
    cause: StockoutCause | None
    arose_at: datetime
    penalty_fen: int | None
    rule: str
    appeal_by: datetime
    appeal: AppealView | None = None


class AllowedAction(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whether an action may be taken now, and ``because`` of what it may not, or is called for."""

    action: str
    allowed: bool
    because: str | None = None


class GoverningRules(msgspec.Struct, frozen=True):
    """The rule set the order is judged by."""

    name: str
    effective_from: datetime


class OrderView(msgspec.Struct, frozen=True):
    """An order at a moment. Money is in fen, times are UTC."""

    order_sn: str
    status: Status
    version: int
    position: int
    goods_type: str
    activity: bool | None
    group_id: str | None
    lines: tuple[Line, ...]
    paid_fen: int | None
    refunded_fen: int | None
    placed_at: datetime | None
    paid_at: datetime | None
    group_formed_at: datetime | None
    ship_by: datetime | None
    received_at: datetime | None
    parcels: tuple[ParcelView, ...]
    handovers: tuple[Handover, ...]
    shipment_lock: ShipmentLock
    deadlines: tuple[DeadlineView, ...]
    violations: tuple[ViolationView, ...]
    complaints: tuple[Complaint, ...]
    charges: tuple[Charge, ...]
    anomalies: tuple[Anomaly, ...]
    warnings: tuple[OrderWarning, ...]
    allowed_actions: tuple[AllowedAction, ...]
    rules: GoverningRules


def view(order: Order, book: RuleBook, at: datetime, related_facts: RelatedFacts = NO_RELATED_FACTS) -> OrderView:
    """The order as it stands at a moment, with the related facts of that moment."""
    rules = book.governing(order)
    running = clocks(order, rules)
    standing = violations(order, rules, at, running)
    return OrderView(
        order_sn=order.order_sn,
        status=order.status,
        version=order.version,
        position=order.position,
        goods_type=order.goods_type,
        activity=order.activity,
        group_id=order.group_id,
        lines=order.lines,
        paid_fen=order.paid_fen,
        refunded_fen=order.refunded_fen,
        placed_at=order.placed_at,
        paid_at=order.paid_at,
        group_formed_at=order.group_formed_at,
        ship_by=ship_by(order, rules),
        received_at=order.received_at,
        parcels=tuple(
            [
                ParcelView(
                    parcel.carrier,
                    parcel.tracking_number,
                    parcel.uploaded_at,
                    parcel.picked_up_at,
                    parcel.delivered_at,
                    parcel.replaced_at,
                    parcel.lines,
                    parcel.kind,
                )
                for parcel in (*order.parcels, *order.extra_parcels)
            ]
        ),
        handovers=order.handovers,
        shipment_lock=shipment_lock(order, rules),
        deadlines=tuple(
            [deadline_view(deadline, at) for deadline in deadlines(order, rules, running, related_facts.skus)]
        ),
        violations=tuple([violation_view(violation) for violation in standing]),
        complaints=order.complaints,
        charges=order.charges,
        anomalies=order.anomalies,
        warnings=warnings(order, rules, related_facts),
        allowed_actions=allowed_actions(order, standing, at),
        rules=GoverningRules(rules.name, rules.effective_from),
    )


UNLOCKED = ShipmentLock(locked=False, holds=())


def shipment_lock(order: Order, rules: RuleSet) -> ShipmentLock:
    holds = order.holds
    if not holds:
        return UNLOCKED
    return ShipmentLock(locked=True, holds=tuple([_hold_view(hold, rules) for hold in holds]))


def _hold_view(hold: Hold, rules: RuleSet) -> HoldView:
    expected = None
    if hold.hold == "stockout_review" and hold.time_known:
        expected = rules.review.expected_decision(hold.since)
    return HoldView(hold.hold, hold.reason, hold.since, expected)


def deadline_view(deadline: Deadline, at: datetime) -> DeadlineView:
    return DeadlineView(
        deadline.kind,
        deadline.due_at,
        deadline.met_at,
        deadline.state(at),
        deadline.tracking_number,
        deadline.sku_id,
        deadline.supplier_id,
    )


def violation_view(violation: Violation) -> ViolationView:
    return ViolationView(
        violation.violation_id,
        violation.kind,
        violation.cause,
        violation.arose_at,
        violation.penalty_fen,
        violation.rule,
        violation.appeal_by,
        violation.appeal,
    )


_ALLOWED = {name: AllowedAction(name, True) for name in ACTIONS}
_WITHOUT_STOCK = ("hand-to-supplier", "request-stockout")
"""The actions that help a merchant whose supplier has no stock."""

_FORBIDDEN = [(name, action.forbidden) for name, action in ACTIONS.items()]


def allowed_actions(order: Order, standing: Sequence[Violation], at: datetime) -> tuple[AllowedAction, ...]:
    """Every action of the contract, with the reason for each "no"; ``standing`` are the violations at ``at``."""
    actions = []
    for name, forbidden in _FORBIDDEN:
        refusal = forbidden(order, standing, at)
        actions.append(_ALLOWED[name] if refusal is None else AllowedAction(name, False, refusal.detail))
    if order.handovers and order.handovers[-1].out_of_stock_at:
        because = f"Supplier {order.handovers[-1].supplier_id} has no stock."
        actions = [
            AllowedAction(each.action, True, because) if each.allowed and each.action in _WITHOUT_STOCK else each
            for each in actions
        ]
    return tuple(actions)
