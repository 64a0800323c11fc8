"""The pieces of each SKU that an order reserves: until they are shipped, or until the order ends otherwise.

Computed from the folded order alone. How much of a SKU is reserved is the sum over orders, never a counter.
"""

from datetime import datetime
from typing import Literal

import msgspec

from domain.order.state import Order

ReservationState = Literal[
    "unpaid", "pending", "reserved", "shipped", "refunded", "cancelled", "stocked_out", "group_failed"
]
"""``unpaid`` and ``pending`` (paid): the group has not formed. From ``shipped`` on it has ended."""

_ENDED: dict[str, ReservationState] = {
    "refunded": "refunded",
    "cancelled": "cancelled",
    "group_failed": "group_failed",
    "stocked_out": "stocked_out",
}


class Reservation(msgspec.Struct, frozen=True, gc=False):
    """Pieces of a SKU in one order that end together; ``ended_at`` is ``None`` while they are reserved."""

    sku_id: str
    quantity: int
    state: ReservationState
    ended_at: datetime | None = None


def reservations(order: Order) -> list[Reservation]:
    """The order's reservations, SKU by SKU; a SKU that is split over parcels has one for each parcel.

    Pieces that were shipped stay shipped, whatever becomes of the order.
    """
    lines, parcels = order.lines, order.parcels
    made = []
    if len(lines) == 1:
        unshipped = {lines[0].sku_id: lines[0].quantity}
    else:
        unshipped = {}
        for line in lines:
            unshipped[line.sku_id] = unshipped.get(line.sku_id, 0) + line.quantity
    whole = [parcel.uploaded_at for parcel in parcels if not parcel.lines]
    if len(whole) < len(parcels):
        for parcel in order.current_parcels:
            for packed in parcel.lines:
                quantity = min(packed.quantity, unshipped.get(packed.sku_id, 0))
                if quantity:
                    unshipped[packed.sku_id] -= quantity
                    made.append(Reservation(packed.sku_id, quantity, "shipped", parcel.uploaded_at))
    state, ended_at = ("shipped", min(whole)) if whole else _unshipped(order)
    made += [Reservation(sku_id, quantity, state, ended_at) for sku_id, quantity in unshipped.items() if quantity]
    return made


def _unshipped(order: Order) -> tuple[ReservationState, datetime | None]:
    """The state of the pieces that no parcel holds, and when they ended."""
    ended = _ENDED.get(order.status)
    if ended and (ending := order.ending):
        return ended, ending.at
    if order.group_formed_at:
        return "reserved", None
    return ("pending" if order.paid_at else "unpaid"), None
