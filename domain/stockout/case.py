"""The stockout case: from the first application for a SKU until none of its orders is undecided.
Source: stockout-to-do.

Nothing of a case is stored. ``cases`` computes the cases of a SKU from the applications, the orders and the SKU's
history, by these rules:

- A case opens with a stockout application for the SKU, unless a case is open.
- A quiet window is a time in which no order falls into the case: the SKU is off sale, or it was restocked. A
  restock is a count that covers the pieces owed to open orders; its window never ends.
- These orders are in the case: those that are open when it opens, those whose group forms later outside of the
  quiet windows, and those that apply while the case is open.
- The case closes in the first quiet window in which all orders that are in it by then are decided: shipped or
  ended. It closes when the window begins, or with the last decision if that comes later.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import accumulate
from typing import Literal

import msgspec

from domain.history import Recorded
from domain.order.events import ReviewOutcome
from domain.order.reservations import ReservationState
from domain.sku.events import SkuEvent, StockCounted
from domain.sku.state import Delisting, Sku, fold

Standing = Literal["at_risk", "applied", "rejected", "approved", "shipped", "refunded", "cancelled"]
"""How an order stands in a case. ``rejected``: the platform rejected its application, and it must be shipped."""

STANDINGS: tuple[Standing, ...] = (
    "at_risk", "applied", "rejected", "approved", "shipped", "refunded", "cancelled",
)  # fmt: skip

_OPEN: frozenset[Standing] = frozenset(("at_risk", "applied", "rejected"))

# ---- what a case is made from -----------------------------------------------------------------------


class Application(msgspec.Struct, frozen=True, gc=False):
    """A stockout application on an order, as far as it is about one SKU; ``position`` is its place in the log."""

    order_sn: str
    position: int
    requested_at: datetime
    time_known: bool = True
    outcome: ReviewOutcome | None = None


class SkuOrder(msgspec.Struct, frozen=True, gc=False):
    """An order of the SKU. ``state`` and ``ended_at`` are those of its last piece to be shipped or ended.

    ``contacted_at`` is the last contact with its buyer, ``cost_fen`` the price of a stockout of the order.
    """

    order_sn: str
    quantity: int
    state: ReservationState
    formed_at: datetime
    ended_at: datetime | None = None
    contacted_at: datetime | None = None
    ship_by: datetime | None = None
    cost_fen: int = 0

    def was_open(self, at: datetime) -> bool:
        return self.formed_at <= at and (self.ended_at is None or self.ended_at > at)


# ---- what a case is ---------------------------------------------------------------------------------


class CaseMember(msgspec.Struct, frozen=True, gc=False):
    """An order in a case, since a moment.

    ``by_application`` says that its own application brought it in. Any other order fell in, and the time to contact
    its buyer runs since then, whether it applies later or not.
    """

    order_sn: str
    quantity: int
    formed_at: datetime
    since: datetime
    standing: Standing
    contacted: bool
    ship_by: datetime | None
    cost_fen: int
    by_application: bool

    @property
    def is_open(self) -> bool:
        return self.standing in _OPEN


class StockoutCase(msgspec.Struct, frozen=True):
    """A case; ``time_known`` is false when its first application was filed at an unknown time before ``opened_at``.

    ``delisted_at`` is when the SKU was first off sale, ``restocked_at`` when a count covered the pieces owed. While
    neither holds, the case cannot close and every new order of the SKU falls into it. The same is true after the
    SKU is relisted without a restock.
    """

    sku_id: str
    number: int
    opened_at: datetime
    opened_by: str
    opened_by_formed_at: datetime
    time_known: bool
    delisted_at: datetime | None
    restocked_at: datetime | None
    closed_at: datetime | None
    orders: tuple[CaseMember, ...]

    @property
    def case_id(self) -> str:
        """The SKU, and the lowest position in the log of the case's applications."""
        return f"{self.sku_id}:{self.number}"

    def counts(self) -> dict[Standing, int]:
        """The number of orders by their standing."""
        counts: dict[Standing, int] = dict.fromkeys(STANDINGS, 0)
        for order in self.orders:
            counts[order.standing] += 1
        return counts


def cases(
    sku_id: str,
    history: Sequence[Recorded[SkuEvent]],
    applications: Iterable[Application],
    orders: Sequence[SkuOrder],
) -> list[StockoutCase]:
    """All cases of a SKU, the oldest first.

    ``history`` is the SKU's. ``orders`` are the orders of the SKU whose group formed: at least those that were open
    when the first application was filed, and those that formed later.
    """
    sku = fold(sku_id, history)
    counts = [(each.occurred_at, each.event.on_hand) for each in history if isinstance(each.event, StockCounted)]
    demand = _Demand(orders)
    computed: list[_Case] = []
    for application in sorted(applications, key=lambda each: (each.requested_at, each.position)):
        if not computed or not computed[-1].is_open(application.requested_at):
            computed.append(_Case(sku, counts, demand, application))
        computed[-1].add(application)
    return [case.result() for case in computed]


# ---- the pieces owed, and the restock that covers them ----------------------------------------------


class _Demand:
    """The orders of a SKU, and the number of pieces owed to open ones at any moment."""

    def __init__(self, orders: Sequence[SkuOrder]) -> None:
        self.orders = {order.order_sn: order for order in orders}
        formed = sorted((order.formed_at, order.quantity) for order in orders)
        ended = sorted((order.ended_at, order.quantity) for order in orders if order.ended_at is not None)
        self._formed = [at for at, _ in formed]
        self._ended = [at for at, _ in ended]
        self._pieces_formed = [0, *accumulate(quantity for _, quantity in formed)]
        self._pieces_ended = [0, *accumulate(quantity for _, quantity in ended)]

    def owed(self, at: datetime) -> int:
        formed = self._pieces_formed[bisect_right(self._formed, at)]
        return formed - self._pieces_ended[bisect_right(self._ended, at)]


def _restock(counts: Iterable[tuple[datetime, int]], demand: _Demand, opened_at: datetime) -> datetime | None:
    """The first count after the opening that covers the pieces owed. A count of no piece covers nothing."""
    covering = [at for at, on_hand in counts if at > opened_at and on_hand >= max(demand.owed(at), 1)]
    return min(covering, default=None)


# ---- the windows in which a case can close ----------------------------------------------------------


class _QuietWindow:
    """A time in which no order falls into the case; ``end`` is ``None`` while it lasts.

    ``wait_for`` gathers the orders that are in the case when the window begins, and those that apply later.
    """

    def __init__(self, begin: datetime, end: datetime | None = None) -> None:
        self.begin = begin
        self.end = end
        self._is_undecided = False
        self._last_decision = begin

    def has_formed(self, order: SkuOrder) -> bool:
        """Whether the order's group formed in the window. At its very begin and end the SKU was still for sale."""
        return self.begin < order.formed_at and (self.end is None or order.formed_at < self.end)

    def wait_for(self, order: SkuOrder) -> None:
        """Keep the case open until the order is decided. To wait for an order twice changes nothing."""
        if order.ended_at is None:
            self._is_undecided = True
        else:
            self._last_decision = max(self._last_decision, order.ended_at)

    @property
    def closes_at(self) -> datetime | None:
        """When the case closes in this window: when the last order is decided, if the window lasts until then."""
        if self._is_undecided or (self.end is not None and self._last_decision >= self.end):
            return None
        return self._last_decision


def _quiet_windows(
    delistings: Iterable[Delisting], restocked_at: datetime | None, opened_at: datetime
) -> list[_QuietWindow]:
    """The quiet windows of a case, in order: the delistings up to the restock, then all time after the restock."""
    windows = [
        _QuietWindow(max(delisting.delisted_at, opened_at), delisting.relisted_at)
        for delisting in delistings
        if delisting.relisted_at is None or delisting.relisted_at > opened_at
    ]
    if restocked_at is None:
        return windows
    windows = [window for window in windows if window.begin < restocked_at]
    if windows and (windows[-1].end is None or windows[-1].end >= restocked_at):
        windows[-1].end = None
    else:
        windows.append(_QuietWindow(restocked_at))
    return windows


# ---- a case, application by application -------------------------------------------------------------


class _Case:
    """A case while its applications are added, in the order in which they were filed.

    ``_members`` are the orders that were open when it opened, and those that applied. ``_fallen_in`` are the other
    orders whose group formed later, outside of the quiet windows.
    """

    def __init__(
        self, sku: Sku, counts: Iterable[tuple[datetime, int]], demand: _Demand, opener: Application
    ) -> None:
        opened_at = opener.requested_at
        self._sku = sku
        self._opener = opener
        self._orders = demand.orders
        self._number = opener.position
        self._applications: dict[str, Application] = {}
        self._applied_in_at = {opener.order_sn: opened_at}
        self._restocked_at = _restock(counts, demand, opened_at)
        self._windows = _quiet_windows(sku.delistings, self._restocked_at, opened_at)
        self._members = {order.order_sn: order for order in self._orders.values() if order.was_open(opened_at)}
        fallen_in = [order for order in self._orders.values() if order.formed_at > opened_at]
        for window in self._windows:
            fallen_in = [order for order in fallen_in if not window.has_formed(order)]
        self._fallen_in = {order.order_sn: order for order in fallen_in}
        for window in self._windows:
            for order in self._members.values():
                window.wait_for(order)
            for order in fallen_in:
                if order.formed_at <= window.begin:
                    window.wait_for(order)

    def add(self, application: Application) -> None:
        """Add an application that was filed while the case is open."""
        self._applications[application.order_sn] = application
        self._number = min(self._number, application.position)
        order = self._orders.get(application.order_sn)
        if order is None or order.order_sn in self._members:
            return
        self._members[order.order_sn] = order
        fell_in = self._fallen_in.pop(order.order_sn, None) is not None
        if not fell_in or order.formed_at > application.requested_at:
            self._applied_in_at[order.order_sn] = application.requested_at
        for window in self._windows:
            window.wait_for(order)

    def is_open(self, at: datetime) -> bool:
        """Whether the case is open at a moment, by the applications added so far."""
        closes_at = self._closes_at()
        return closes_at is None or at <= closes_at

    def result(self) -> StockoutCase:
        opener = self._orders.get(self._opener.order_sn)
        closing = self._closing_window()
        fallen_in = [
            order for order in self._fallen_in.values() if closing is None or order.formed_at <= closing.begin
        ]
        members = [self._member(order) for order in (*self._members.values(), *fallen_in)]
        return StockoutCase(
            sku_id=self._sku.sku_id,
            number=self._number,
            opened_at=self._opener.requested_at,
            opened_by=self._opener.order_sn,
            opened_by_formed_at=opener.formed_at if opener else self._opener.requested_at,
            time_known=self._opener.time_known,
            delisted_at=self._sku.off_sale_since(self._opener.requested_at),
            restocked_at=self._restocked_at,
            closed_at=self._closes_at(),
            orders=tuple(sorted(members, key=lambda member: (member.since, member.order_sn))),
        )

    def _closing_window(self) -> _QuietWindow | None:
        return next((window for window in self._windows if window.closes_at is not None), None)

    def _closes_at(self) -> datetime | None:
        window = self._closing_window()
        return window.closes_at if window else None

    def _member(self, order: SkuOrder) -> CaseMember:
        applied_in_at = self._applied_in_at.get(order.order_sn)
        since = applied_in_at or max(self._opener.requested_at, order.formed_at)
        contacted_at = order.contacted_at
        return CaseMember(
            order_sn=order.order_sn,
            quantity=order.quantity,
            formed_at=order.formed_at,
            since=since,
            standing=_standing(order, self._applications.get(order.order_sn)),
            contacted=contacted_at is not None and (applied_in_at is not None or contacted_at >= since),
            ship_by=order.ship_by,
            cost_fen=order.cost_fen,
            by_application=applied_in_at is not None,
        )


def _standing(order: SkuOrder, application: Application | None) -> Standing:
    outcome = application.outcome if application else None
    if order.ended_at is None:
        if application is None:
            return "at_risk"
        return "applied" if outcome is None else "rejected"
    if order.state == "shipped":
        return "shipped"
    if outcome == "approved":
        return "approved"
    return "cancelled" if order.state == "cancelled" else "refunded"
