"""Festivals, regions, suspended penalties: rules of a time, for those orders alone that it is about."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from domain.order import events as e
from domain.rules.ruleset import GoodsHours, Period, RuleBook
from tests.domain.rules.test_shipped import SHIPPED
from tests.domain.vocabulary import (
    FORMED,
    MICROSECOND,
    MONDAY_8,
    MONDAY_9,
    RULES,
    Fact,
    OrderAt,
    beijing,
    days,
    given,
    group_formed,
    hours,
    line,
    tracking_uploaded,
)


def an_order(at: datetime, **placed: Any) -> Fact:
    return Fact(e.OrderPlaced((line(),), paid_fen=4_300, **placed), at - hours(1))


def formed(at: datetime, later: timedelta = timedelta(days=90), **placed: Any) -> OrderAt:
    """An order whose group formed then, as it looks ``later``, by the shipped sets."""
    return given(an_order(at, **placed), group_formed(at=at), under=SHIPPED).at(at + later)


def book_with(*periods: dict[str, Any]) -> RuleBook:
    """The shipped rules and nothing but these periods, of the week the stories are told in, unless they say."""
    usual: dict[str, Any] = {
        "formed_from": MONDAY_9,
        "formed_before": MONDAY_9 + days(7),
        "source": "here",
        "confidence": "house",
    }
    found = [Period(**{"name": f"period {n}"} | usual | period) for n, period in enumerate(periods)]
    return RuleBook([replace(RULES, periods=tuple(found))])


def due(at: datetime, under: RuleBook, **placed: Any) -> timedelta | None:
    """How long after its group formed an order is to be shipped."""
    ship_by = given(an_order(at, **placed), group_formed(at=at), under=under).at(at).view.ship_by
    return ship_by - at if ship_by else None


# ---- the shipped ones -------------------------------------------------------------------------------

FIRST_OF_FEBRUARY_2023 = beijing(2023, 2, 1, 23, 59) + timedelta(seconds=59)


@pytest.mark.parametrize(
    ("at", "placed", "ship_by"),
    [
        # Spring Festival 2021
        (beijing(2021, 2, 3, 23, 59), {}, beijing(2021, 2, 5, 23, 59)),
        (beijing(2021, 2, 4), {}, beijing(2021, 2, 22)),
        (beijing(2021, 2, 4), {"open_in_festival": False}, beijing(2021, 2, 22)),
        (beijing(2021, 2, 4), {"open_in_festival": True}, beijing(2021, 2, 6)),
        (beijing(2021, 2, 20, 23, 59), {}, beijing(2021, 2, 22)),
        (beijing(2021, 2, 21), {}, beijing(2021, 2, 23)),
        (beijing(2021, 2, 10), {"goods_type": "bonded", "open_in_festival": True}, beijing(2021, 2, 14)),
        (beijing(2021, 2, 10), {"goods_type": "bonded"}, beijing(2021, 2, 22)),
        (beijing(2021, 2, 19), {"goods_type": "bonded"}, beijing(2021, 2, 26)),
        (beijing(2021, 2, 10), {"goods_type": "direct_mail", "open_in_festival": True}, beijing(2021, 2, 15)),
        (beijing(2021, 2, 18), {"goods_type": "direct_mail"}, beijing(2021, 2, 23)),
        (beijing(2021, 2, 10), {"goods_type": "virtual"}, None),
        (beijing(2021, 2, 10), {"goods_type": "presale"}, None),
        # Spring Festival 2022
        (beijing(2022, 1, 28), {}, beijing(2022, 2, 15)),
        (beijing(2022, 1, 28), {"open_in_festival": True}, beijing(2022, 1, 31)),
        (
            beijing(2022, 1, 28),
            {"goods_type": "bonded", "open_in_festival": True},
            beijing(2022, 2, 3),
        ),
        (beijing(2022, 2, 14), {}, beijing(2022, 2, 16)),
        # Spring Festival 2023
        (beijing(2023, 1, 13, 23, 59), {}, beijing(2023, 1, 15, 23, 59)),
        (beijing(2023, 1, 14), {}, FIRST_OF_FEBRUARY_2023),
        (beijing(2023, 1, 30, 23, 59), {"open_in_festival": True}, FIRST_OF_FEBRUARY_2023),
        (beijing(2023, 1, 31), {}, beijing(2023, 2, 2)),
        (beijing(2023, 1, 28), {"goods_type": "direct_mail"}, beijing(2023, 2, 2)),
        # no festival
        (beijing(2026, 2, 16), {}, beijing(2026, 2, 18)),
    ],
)
def test_the_ship_by_of_a_festival(at: datetime, placed: dict[str, Any], ship_by: datetime | None) -> None:
    assert formed(at, **placed).view.ship_by == ship_by


def test_a_scan_may_come_later_in_the_festival_of_2023() -> None:
    for at, allowed in ((beijing(2023, 1, 16), 72), (beijing(2023, 2, 6), 24)):
        story = given(an_order(at), group_formed(at=at), tracking_uploaded(at=at + hours(1)), under=SHIPPED)
        story.at(at + days(9)).has_deadline("carrier_pickup", due_at=at + hours(1 + allowed), state="missed")


def test_late_shipments_of_december_2022_cost_nothing_and_are_late_all_the_same() -> None:
    formed(beijing(2022, 12, 9) - MICROSECOND, days(3)).has_violation("late_shipment", penalty_fen=300)
    formed(beijing(2022, 12, 9), days(3)).has_violation("late_shipment", penalty_fen=0)
    formed(beijing(2022, 12, 31), days(9)).has_violation("late_shipment", penalty_fen=0).has_violation(
        "stockout", penalty_fen=500
    )
    formed(beijing(2023, 1, 1), days(3)).has_violation("late_shipment", penalty_fen=300)


def test_the_platforms_own_promise_wins_over_a_festival() -> None:
    at = beijing(2023, 1, 16)
    story = given(an_order(at), group_formed(at=at, ship_by=at + hours(24)), under=SHIPPED)
    assert story.at(at).view.ship_by == at + hours(24)


# ---- how periods are chosen -------------------------------------------------------------------------


def test_a_period_holds_from_its_very_beginning_until_just_before_its_end() -> None:
    book = book_with({"ship_by_hours": GoodsHours(ordinary=72)})
    assert due(MONDAY_9 - MICROSECOND, book) == hours(48)
    assert due(MONDAY_9, book) == hours(72)
    assert due(MONDAY_9 + days(7) - MICROSECOND, book) == hours(72)
    assert due(MONDAY_9 + days(7), book) == hours(48)


def test_a_period_is_over_at_its_very_end_whichever_set_is_asked() -> None:
    (rules,) = book_with({"suspends": ("late_shipment",)}).sets
    for at, fen in ((MONDAY_9 + days(7) - MICROSECOND, 0), (MONDAY_9 + days(7), 300)):
        order = given(an_order(at), group_formed(at=at)).order
        assert rules.penalty_fen("late_shipment", order) == fen


def test_a_period_for_some_regions_is_for_orders_that_are_known_to_go_there() -> None:
    book = book_with({"regions": ("上海市", "吉林省"), "ship_by_hours": GoodsHours(ordinary=96)})
    assert due(MONDAY_9, book, region="吉林省") == hours(96)
    assert due(MONDAY_9, book, region="广东省") == hours(48)
    assert due(MONDAY_9, book) == hours(48)


def test_the_first_period_that_says_something_of_a_matter_decides_it() -> None:
    book = book_with(
        {"pickup_hours": GoodsHours(ordinary=48)},
        {"ship_by_hours": GoodsHours(bonded=1)},
        {"ship_by_hours": GoodsHours(ordinary=72), "pickup_hours": GoodsHours(ordinary=96)},
        {"ship_before": MONDAY_9 + days(30)},
    )
    assert due(MONDAY_9, book) == hours(72)
    story = given(an_order(FORMED), group_formed(), tracking_uploaded(at=FORMED), under=book)
    story.at(FORMED).has_deadline("carrier_pickup", due_at=FORMED + hours(48))


def test_a_set_in_force_later_does_not_know_the_periods_of_the_one_before() -> None:
    (first,) = book_with({"ship_by_hours": GoodsHours(ordinary=72)}).sets
    after = replace(RULES, name="after", effective_from=MONDAY_9 + days(1), periods=())
    book = RuleBook([first, after])
    assert due(MONDAY_9 + days(1) - MICROSECOND, book) == hours(72)
    assert due(MONDAY_9 + days(1), book) == hours(48)


def test_an_order_may_tell_where_it_goes_and_asks_for_no_more() -> None:
    placed = given(an_order(MONDAY_8, region="吉林省", open_in_festival=True)).order
    assert (placed.region, placed.open_in_festival) == ("吉林省", True)
