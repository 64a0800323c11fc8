"""The stockout case: from the first application for a SKU until nothing is left undecided (seed 2).

A stockout application on one order opens a case for each SKU it is about, unless one is open. Every order of
the SKU that was open then, or was formed later while the SKU could be bought and was not restocked, is in it,
and so is every order that applies while it lasts. It closes when all of them are shipped or ended and the SKU
is off the shelf or restocked. Nothing of this is stored: it follows from the applications, from what orders
want of the SKU, and from what was told of the SKU.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import accumulate
from typing import Literal, NamedTuple

import msgspec

from domain.history import Recorded
from domain.order.events import ReviewOutcome
from domain.order.reservations import ReservationState
from domain.sku.events import SkuEvent, StockCounted
from domain.sku.state import fold

Standing = Literal["at_risk", "applied", "rejected", "approved", "shipped", "refunded", "cancelled"]
"""How an order stands in a case. ``rejected``: the application was, and it is still to be shipped."""

STANDINGS: tuple[Standing, ...] = (
    "at_risk", "applied", "rejected", "approved", "shipped", "refunded", "cancelled",
)  # fmt: skip

_OPEN: frozenset[Standing] = frozenset(("at_risk", "applied", "rejected"))


class Application(msgspec.Struct, frozen=True, gc=False):
    """A stockout application on an order, as far as it is about one SKU; ``position`` is its place in the log."""

    order_sn: str
    position: int
    requested_at: datetime
    time_known: bool = True
    outcome: ReviewOutcome | None = None


class Wanted(msgspec.Struct, frozen=True, gc=False):
    """What one order wants of the SKU. ``state`` and ``ended_at`` are of its last piece to be settled.

    ``contacted_at`` is when its buyer was last spoken to, ``cost_fen`` what a stockout of the order would cost.
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


class InCase(msgspec.Struct, frozen=True, gc=False):
    """An order in a case: since when, how it stands, whether its buyer was spoken to, what is at stake.

    ``by_application`` says that its own application brought it in. Another fell in, and its buyer is to be spoken
    to since then, whether it applies later or not.
    """

    order_sn: str
    quantity: int
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
    """A case; ``time_known`` is false when the application was merely seen by ``opened_at``.

    ``delisted_at`` is when the SKU was first off the shelf, ``restocked_at`` when a count covered what was owed.
    While neither holds the case can't close, and every new order of the SKU falls into it: so it is again when
    the SKU is put back on the shelf without a restock.
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
    orders: tuple[InCase, ...]

    @property
    def case_id(self) -> str:
        """The SKU and the place in the log of the application that was told first."""
        return f"{self.sku_id}:{self.number}"

    def counts(self) -> dict[Standing, int]:
        """How many orders stand how."""
        found: dict[Standing, int] = dict.fromkeys(STANDINGS, 0)
        for order in self.orders:
            found[order.standing] += 1
        return found


def cases(
    sku_id: str,
    told: Sequence[Recorded[SkuEvent]],
    applications: Iterable[Application],
    wanted: Sequence[Wanted],
) -> list[StockoutCase]:
    """All cases of a SKU, the oldest first.

    ``told`` is the SKU's history, ``wanted`` are the orders of it whose group formed, at least those that were
    open when the first application was filed or formed later.
    """
    owed = _Owed(wanted)
    groups: list[_Group] = []
    for application in sorted(applications, key=lambda each: (each.requested_at, each.position)):
        if not groups or not groups[-1].takes(application):
            groups.append(_Group(sku_id, told, application, owed))
        groups[-1].add(application)
    return [group.case() for group in groups]


class _Owed:
    """Orders of a SKU, and how many pieces were owed to open ones at any moment."""

    def __init__(self, wanted: Sequence[Wanted]) -> None:
        self.by_order = {each.order_sn: each for each in wanted}
        formed = sorted((each.formed_at, each.quantity) for each in wanted)
        ended = sorted((each.ended_at, each.quantity) for each in wanted if each.ended_at is not None)
        self._formed = [at for at, _ in formed]
        self._ended = [at for at, _ in ended]
        self._came = [0, *accumulate(quantity for _, quantity in formed)]
        self._went = [0, *accumulate(quantity for _, quantity in ended)]

    def at(self, moment: datetime) -> int:
        return self._came[bisect_right(self._formed, moment)] - self._went[bisect_right(self._ended, moment)]


class _Lull(NamedTuple):
    """A time in which no order falls into a case: the SKU is off the shelf, or restocked, which has no end."""

    begin: datetime
    end: datetime | None

    def holds(self, at: datetime) -> bool:
        """An order that is formed at its very beginning or end was bought while the SKU was for sale."""
        return self.begin < at and (self.end is None or at < self.end)


class _Closing:
    """What stands against a case closing in a lull: orders in it by then that are undecided; and who was last."""

    def __init__(self, lull: _Lull, orders: Iterable[Wanted], bought_later: Iterable[Wanted]) -> None:
        self.lull = lull
        ends = [order.ended_at for order in orders]
        ends += [order.ended_at for order in bought_later if order.formed_at <= lull.begin]
        self._undecided = ends.count(None)
        self._last = max([lull.begin, *(end for end in ends if end is not None)])

    def add(self, order: Wanted) -> None:
        if order.ended_at is None:
            self._undecided += 1
        else:
            self._last = max(self._last, order.ended_at)

    @property
    def at(self) -> datetime | None:
        if self._undecided or (self.lull.end is not None and self._last >= self.lull.end):
            return None
        return self._last


class _Group:
    """The applications of one case, as they gather."""

    def __init__(self, sku_id: str, told: Sequence[Recorded[SkuEvent]], opener: Application, owed: _Owed) -> None:
        self._sku_id = sku_id
        self._opener = opener
        self._opened_at = opened_at = opener.requested_at
        self._owed = owed
        self._applications: dict[str, Application] = {}
        self._brought_in_at = {opener.order_sn: opened_at}
        self._number = 0
        sku = fold(sku_id, told)
        self._delisted_at = sku.off_sale_since(opened_at)
        self._restocked_at = min(
            (
                counted.occurred_at
                for counted in told
                if isinstance(counted.event, StockCounted)
                and counted.occurred_at > opened_at
                and counted.event.on_hand >= max(owed.at(counted.occurred_at), 1)
            ),
            default=None,
        )
        lulls = [
            _Lull(max(delisting.delisted_at, opened_at), delisting.relisted_at)
            for delisting in sku.delistings
            if delisting.relisted_at is None or delisting.relisted_at > opened_at
        ]
        if self._restocked_at is not None:
            lulls = [lull for lull in lulls if lull.begin < self._restocked_at]
            if lulls and (lulls[-1].end is None or lulls[-1].end >= self._restocked_at):
                lulls[-1] = _Lull(lulls[-1].begin, None)
            else:
                lulls.append(_Lull(self._restocked_at, None))
        orders = owed.by_order.values()
        self._orders = {each.order_sn: each for each in orders if each.was_open(opened_at)}
        later = [each for each in orders if each.formed_at > opened_at]
        for lull in lulls:
            later = [each for each in later if not lull.holds(each.formed_at)]
        self._bought_later = {each.order_sn: each for each in later}
        self._closings = [_Closing(lull, self._orders.values(), later) for lull in lulls]

    @property
    def _closing(self) -> _Closing | None:
        return next((closing for closing in self._closings if closing.at is not None), None)

    @property
    def _closed_at(self) -> datetime | None:
        closing = self._closing
        return closing.at if closing else None

    def takes(self, application: Application) -> bool:
        closed_at = self._closed_at
        return closed_at is None or application.requested_at <= closed_at

    def add(self, application: Application) -> None:
        self._applications[application.order_sn] = application
        self._number = min(self._number or application.position, application.position)
        order = self._owed.by_order.get(application.order_sn)
        if order is None or order.order_sn in self._orders:
            return
        self._orders[order.order_sn] = order
        later = self._bought_later.pop(order.order_sn, None)
        if later is None or later.formed_at > application.requested_at:
            self._brought_in_at.setdefault(order.order_sn, application.requested_at)
        for closing in self._closings:
            if later is None or later.formed_at > closing.lull.begin:
                closing.add(order)

    def _members(self) -> list[Wanted]:
        closing = self._closing
        later = [
            each for each in self._bought_later.values() if closing is None or each.formed_at <= closing.lull.begin
        ]
        return [*self._orders.values(), *later]

    def case(self) -> StockoutCase:
        opener = self._owed.by_order.get(self._opener.order_sn)
        orders = [self._in_case(order) for order in self._members()]
        return StockoutCase(
            sku_id=self._sku_id,
            number=self._number,
            opened_at=self._opened_at,
            opened_by=self._opener.order_sn,
            opened_by_formed_at=opener.formed_at if opener else self._opened_at,
            time_known=self._opener.time_known,
            delisted_at=self._delisted_at,
            restocked_at=self._restocked_at,
            closed_at=self._closed_at,
            orders=tuple(sorted(orders, key=lambda order: (order.since, order.order_sn))),
        )

    def _in_case(self, order: Wanted) -> InCase:
        standing = _standing(order, self._applications.get(order.order_sn))
        brought_in_at = self._brought_in_at.get(order.order_sn)
        since = brought_in_at or max(self._opened_at, order.formed_at)
        contacted = order.contacted_at is not None and (brought_in_at is not None or order.contacted_at >= since)
        return InCase(
            order_sn=order.order_sn,
            quantity=order.quantity,
            since=since,
            standing=standing,
            contacted=contacted,
            ship_by=order.ship_by,
            cost_fen=order.cost_fen,
            by_application=brought_in_at is not None,
        )


def _standing(order: Wanted, application: Application | None) -> Standing:
    outcome = application.outcome if application else None
    if order.ended_at is None:
        return "at_risk" if application is None else "applied" if outcome is None else "rejected"
    if order.state == "shipped":
        return "shipped"
    if outcome == "approved":
        return "approved"
    return "cancelled" if order.state == "cancelled" else "refunded"
