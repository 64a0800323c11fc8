"""A stockout case as the outside sees it: how far it is, what is at stake, and who is to be spoken to by when."""

from datetime import datetime

from domain.order.reservations import ReservationState
from domain.order.warnings import NO_RELATED_FACTS
from domain.stockout.case import Application, CaseMember, SkuOrder, StockoutCase, cases
from domain.stockout.case_view import case_view, contact, order_in_case
from tests.domain.sku_vocabulary import SKU_ID, SkuFact, delisted, history_of
from tests.domain.vocabulary import (
    BOOK,
    MONDAY_9,
    MONDAY_10,
    MONDAY_11,
    MONDAY_12,
    MONDAY_13,
    SHIP_BY,
    Fact,
    Story,
    awaiting_shipment,
    buyer_contacted,
    given,
    hours,
    stockout_requested,
)


def sku_order(
    number: int,
    cost_fen: int,
    *,
    ended: datetime | None = None,
    contacted: datetime | None = None,
    state: ReservationState = "reserved",
) -> SkuOrder:
    return SkuOrder(f"o{number}", 1, state, MONDAY_9, ended, contacted, SHIP_BY, cost_fen)


def case(*facts: SkuFact, orders: tuple[SkuOrder, ...] = (), time_known: bool = True) -> StockoutCase:
    """Order o1 applied on Monday at ten."""
    orders = orders or (sku_order(1, 500), sku_order(2, 700))
    (opened,) = cases(SKU_ID, history_of(*facts), [Application("o1", 101, MONDAY_10, time_known)], orders)
    return opened


def test_how_far_a_case_is_and_what_is_at_stake() -> None:
    orders = (
        sku_order(1, 500, contacted=MONDAY_9),
        sku_order(2, 700),
        sku_order(3, 900, ended=MONDAY_11, state="shipped", contacted=MONDAY_11),
        sku_order(4, 1_100, ended=MONDAY_11, state="refunded"),
        sku_order(5, 0),
    )
    shown = case_view(case(orders=orders), BOOK, MONDAY_13)
    assert (shown.state, shown.closed_at, shown.orders, shown.decided, shown.contacted) == ("open", None, 5, 2, 2)
    assert shown.at_stake_fen == 1_200
    assert (shown.counts["applied"], shown.counts["at_risk"], shown.counts["rejected"]) == (1, 2, 0)


def test_a_case_is_closed_when_all_is_settled_off_the_shelf() -> None:
    settled = (sku_order(1, 500, ended=MONDAY_12, state="shipped"),)
    shown = case_view(case(delisted(at=MONDAY_11), orders=settled), BOOK, MONDAY_13)
    assert (shown.state, shown.closed_at, shown.at_stake_fen) == ("closed", MONDAY_12, 0)


def test_the_sku_is_to_be_off_the_shelf_since_the_case_opened() -> None:
    assert case_view(case(), BOOK, MONDAY_10).delist.state == "pending"
    late = case_view(case(), BOOK, MONDAY_13).delist
    assert (late.state, late.due_at) == ("missed", MONDAY_10)
    unknown = case_view(case(time_known=False), BOOK, MONDAY_13).delist
    assert (unknown.state, unknown.due_at) == ("unknown", None)
    assert case_view(case(delisted(at=MONDAY_11)), BOOK, MONDAY_13).delist.state == "met"


def in_case(opened: StockoutCase, order_sn: str) -> CaseMember:
    return next(each for each in opened.orders if each.order_sn == order_sn)


def story(*facts: Fact) -> Story:
    return given(awaiting_shipment(), *facts)


def test_who_applied_is_to_be_spoken_to_since_then_and_what_was_said_before_counts() -> None:
    opened = case()
    order = story(buyer_contacted(at=MONDAY_9), stockout_requested(at=MONDAY_10)).order
    mine = contact(opened, in_case(opened, "o1"), order, BOOK)
    assert (mine.due_at, mine.met_at) == (MONDAY_10 + hours(24), MONDAY_9)


def test_who_fell_in_is_to_be_spoken_to_since_then_whether_it_applies_later_or_not() -> None:
    opened = case()
    for facts in ((), (stockout_requested(at=MONDAY_12),)):
        order = story(buyer_contacted(at=MONDAY_9), *facts).order
        mine = contact(opened, in_case(opened, "o2"), order, BOOK)
        assert (mine.due_at, mine.met_at) == (MONDAY_10 + hours(24), None)


def test_an_order_shown_without_the_application_that_brought_it_in_is_judged_by_the_case() -> None:
    opened = case()
    mine = contact(opened, in_case(opened, "o1"), story(buyer_contacted(at=MONDAY_9)).order, BOOK)
    assert (mine.due_at, mine.met_at) == (MONDAY_10 + hours(24), None)


def test_an_order_of_a_case_has_its_price_and_its_ways_out() -> None:
    opened = case()
    shown = order_in_case(opened, in_case(opened, "o2"), story().order, BOOK, MONDAY_13, NO_RELATED_FACTS)
    assert (shown.standing, shown.status, shown.since) == ("at_risk", "awaiting_shipment", MONDAY_10)
    assert (shown.ship_by, shown.paid_fen, shown.stockout_fen) == (SHIP_BY, 4_300, 500)
    assert [(way.way, way.possible, way.penalty_fen) for way in shown.ways] == [
        ("ship_in_time", True, 0),
        ("ship_late", True, 300),
        ("refund", True, 500),
        ("apply_now", True, 800),
        ("apply_late", True, 800),
        ("send_something_else", False, 4_300),
    ]
    assert shown.contact.state == "pending"
