"""An order as the platform shows it at one moment: in an export, an API answer, or after a push.

A snapshot is already translated: no column names, no status codes. Readers of the platform's formats
(``infrastructure/pinduoduo``) make snapshots; ``observations.py`` turns them into events.
"""

from datetime import datetime
from typing import Literal

import msgspec

from domain.kernel import GoodsType
from domain.order.events import Line

Phase = Literal[
    "pending_payment",
    "pending_group",
    "awaiting_shipment",
    "stockout_applied",
    "shipped",
    "received",
    "cancelled",
    "unknown",
]


UNKNOWN = "unknown"
"""The SKU, goods or name of a line whose source does not say them."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What the platform says of one order.

    ``phase`` is the order's status on the platform, without refunds: an order refunded before shipment is
    ``awaiting_shipment`` with ``refunded`` set, one refunded after it is ``shipped`` with ``refunded`` set. It is
    ``unknown`` where the source has a word for it that nobody knows yet; the other facts count. ``part_refunded``
    says that some money went back, nobody knows how much. ``further_numbers`` are the tracking numbers besides the
    first. A time is ``None`` when the source does not carry it; it is never made up. It means that moment or up to
    ``…_within`` seconds later, as precise as the source gives it. ``seen_at`` is the moment the platform was looked
    at (the export's own time). ``refund_pending`` and ``under_review`` are ``None`` when the source does not say.
    All times are aware, in UTC.
    """

    order_sn: str
    seen_at: datetime
    via: Literal["export", "poll", "push"]
    phase: Phase
    lines: tuple[Line, ...]
    goods_type: GoodsType = "ordinary"
    group_id: str | None = None
    paid_fen: int | None = None
    paid_at: datetime | None = None
    paid_within: int = 0
    group_formed_at: datetime | None = None
    group_formed_within: int = 0
    ship_by: datetime | None = None
    ship_by_within: int = 0
    shipped_at: datetime | None = None
    shipped_within: int = 0
    carrier: str | None = None
    tracking_number: str | None = None
    further_numbers: tuple[str, ...] = ()
    received_at: datetime | None = None
    received_within: int = 0
    refunded: bool = False
    part_refunded: bool = False
    refund_pending: bool | None = None
    under_review: bool | None = None
