"""Which orders, deadlines and violations a list shows. A condition that is ``None`` lets everything pass."""

from datetime import datetime

import msgspec

from domain.kernel import ViolationKind
from domain.order.deadlines import Deadline, DeadlineKind, DeadlineState, ship_by
from domain.order.judged import Judged
from domain.order.state import Order, Status
from domain.order.violations import AppealState, Violation
from domain.order.warnings import plain_number

WAITING: tuple[Status, ...] = ("awaiting_shipment", "stockout_review")
"""The statuses of orders that still need a tracking number; the second is locked always."""


class OrderFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Orders of a ``status``, whose shipping is ``locked`` or is not, with a SKU among their lines.

    ``due_before`` finds orders that still wait for a tracking number and must have one before then; ``violation``
    those on which such a violation stands and counts. ``order_sns`` are their numbers, ``tracking_number``
    is that of any of their parcels, ``goods_id`` and the merchant's own ``sku_code`` are among their lines, and
    ``supplier_id`` had them at some time.
    """

    status: Status | None = None
    locked: bool | None = None
    sku_id: str | None = None
    due_before: datetime | None = None
    violation: ViolationKind | None = None
    order_sns: frozenset[str] | None = None
    tracking_number: str | None = None
    supplier_id: str | None = None
    goods_id: str | None = None
    sku_code: str | None = None

    def matches(self, judged: Judged, at: datetime) -> bool:
        order = judged.order
        return (
            self.status in (None, order.status)
            and (self.order_sns is None or order.order_sn in self.order_sns)
            and (self.tracking_number is None or self._has_parcel(order))
            and (self.supplier_id is None or any(each.supplier_id == self.supplier_id for each in order.handovers))
            and (self.goods_id is None or any(line.goods_id == self.goods_id for line in order.lines))
            and (self.sku_code is None or any(line.sku_code == self.sku_code for line in order.lines))
            and self.locked in (None, bool(order.holds))
            and (self.sku_id is None or any(line.sku_id == self.sku_id for line in order.lines))
            and (self.due_before is None or _is_due_before(judged, self.due_before))
            and (
                self.violation is None
                or any(
                    each.kind == self.violation and each.counts and each.stands_from <= at
                    for each in judged.violations
                )
            )
        )

    def _has_parcel(self, order: Order) -> bool:
        wanted = plain_number(self.tracking_number or "")
        parcels = (*order.parcels, *order.extra_parcels)
        return any(plain_number(parcel.tracking_number) == wanted for parcel in parcels)


def _is_due_before(judged: Judged, limit: datetime) -> bool:
    if judged.order.status not in WAITING:
        return False
    due_at = judged.clocks.upload.due_at or ship_by(judged.order, judged.rules)
    return due_at is not None and due_at < limit


class DeadlineFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Deadlines of a ``kind``, in a ``state``, due before a moment; one whose time is not known is never due."""

    kind: DeadlineKind | None = None
    due_before: datetime | None = None
    state: DeadlineState | None = None

    def matches(self, deadline: Deadline, at: datetime) -> bool:
        return (
            self.kind in (None, deadline.kind)
            and self.state in (None, deadline.state(at))
            and (self.due_before is None or (deadline.due_at is not None and deadline.due_at < self.due_before))
        )


class ViolationFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Violations of a ``kind`` that arose from ``since`` on and before ``until``, with an ``appeal`` in a state."""

    kind: ViolationKind | None = None
    since: datetime | None = None
    until: datetime | None = None
    appeal: AppealState | None = None

    def matches(self, violation: Violation, at: datetime) -> bool:
        """Whether the violation stands at a moment and meets every condition."""
        return (
            violation.stands_at(at)
            and self.kind in (None, violation.kind)
            and (self.since is None or violation.arose_at >= self.since)
            and (self.until is None or violation.arose_at < self.until)
            and self.appeal in (None, violation.appeal_state)
        )
