"""The stockout case as the outside sees it: its deadlines, how far it is, and what is at stake."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

import msgspec

from domain.order.deadlines import Deadline, contact_buyer, contact_not_made, contact_since, delist_since, ship_by
from domain.order.state import Order, Status
from domain.order.view import DeadlineView, deadline_view
from domain.order.warnings import RelatedFacts
from domain.rules.ruleset import RuleBook
from domain.stockout.case import CaseMember, Standing, StockoutCase
from domain.stockout.way_out import PricedWay, prices

CaseState = Literal["open", "closed"]


class CaseView(msgspec.Struct, frozen=True):
    """A stockout case at a moment.

    ``counts`` says how many of its ``orders`` stand how; ``decided`` are those that are shipped or ended,
    ``contacted`` those whose buyer was spoken to since the order fell into the case, or at all if its own
    application brought it in. ``at_stake_fen`` is what stockouts of those still open would cost.
    """

    case_id: str
    sku_id: str
    state: CaseState
    opened_at: datetime
    opened_by: str
    delist: DeadlineView
    restocked_at: datetime | None
    orders: int
    decided: int
    contacted: int
    counts: Mapping[Standing, int]
    at_stake_fen: int
    closed_at: datetime | None


class OrderInCase(msgspec.Struct, frozen=True):
    """An order of a case at a moment.

    ``stockout_fen`` is what its stockout would cost, null where not known. ``ways`` are the ways out of an order
    that is still to be shipped, the cheapest first (``domain.stockout.way_out``).
    """

    order_sn: str
    quantity: int
    standing: Standing
    status: Status
    since: datetime
    ship_by: datetime | None
    paid_fen: int | None
    stockout_fen: int | None
    contact: DeadlineView
    ways: tuple[PricedWay, ...]


def delisting(case: StockoutCase, book: RuleBook) -> Deadline:
    """The case's ``delist_sku``, which is that of the order that opened it."""
    rules = book.in_force(case.opened_by_formed_at)
    return delist_since(case.opened_at, case.time_known, case.sku_id, case.delisted_at, rules)


def case_view(case: StockoutCase, book: RuleBook, at: datetime) -> CaseView:
    return CaseView(
        case_id=case.case_id,
        sku_id=case.sku_id,
        state="open" if case.closed_at is None else "closed",
        opened_at=case.opened_at,
        opened_by=case.opened_by,
        delist=deadline_view(delisting(case, book), at),
        restocked_at=case.restocked_at,
        orders=len(case.orders),
        decided=sum(1 for order in case.orders if not order.is_open),
        contacted=sum(1 for order in case.orders if order.contacted),
        counts=case.counts(),
        at_stake_fen=sum(order.cost_fen for order in case.orders if order.is_open),
        closed_at=case.closed_at,
    )


def contact(case: StockoutCase, in_case: CaseMember, order: Order, book: RuleBook) -> Deadline:
    """When the buyer is to be spoken to: since the order fell in, or since it applied if that brought it in."""
    rules = book.governing(order)
    if in_case.by_application and order.reviews:
        return contact_buyer(order, rules, order.ending)
    return contact_since(order, in_case.since, case.time_known, rules, order.ending)


def contact_owed(case: StockoutCase, in_case: CaseMember, book: RuleBook) -> Deadline:
    """The ``contact`` of an open order that fell in, and whose buyer was not spoken to since."""
    return contact_not_made(in_case.since, case.time_known, book.in_force(in_case.formed_at))


def order_in_case(
    case: StockoutCase, in_case: CaseMember, order: Order, book: RuleBook, at: datetime, related_facts: RelatedFacts
) -> OrderInCase:
    rules = book.governing(order)
    return OrderInCase(
        order_sn=in_case.order_sn,
        quantity=in_case.quantity,
        standing=in_case.standing,
        status=order.status,
        since=in_case.since,
        ship_by=ship_by(order, rules),
        paid_fen=order.paid_fen,
        stockout_fen=rules.penalty_fen("stockout", order),
        contact=deadline_view(contact(case, in_case, order, book), at),
        ways=prices(order, rules, at, related_facts),
    )
