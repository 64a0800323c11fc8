"""Which orders, deadlines and violations a list shows: each condition by itself, and its edges."""

from datetime import datetime
from typing import Any

import pytest

from domain.order.deadlines import deadlines
from domain.order.filters import DeadlineFilter, OrderFilter, ViolationFilter
from domain.order.judged import Judged
from tests.domain.vocabulary import (
    DEEMED,
    FRIDAY_9,
    MICROSECOND,
    MONDAY_10,
    MONDAY_12,
    NEXT_MONDAY_9,
    ORDER_SN,
    SHIP_BY,
    THURSDAY_9,
    TUESDAY_9,
    TWO_SKUS,
    WEDNESDAY_9,
    Story,
    appeal_decided,
    appealed,
    awaiting_shipment,
    book_where,
    given,
    group_formed,
    handed_to_supplier,
    hold_placed,
    placed,
    review_completed,
    stockout_requested,
    tracking_replaced,
    tracking_uploaded,
)

WAITING = given(placed(lines=TWO_SKUS), group_formed())
LOCKED = WAITING.and_(hold_placed(at=MONDAY_10))
SHIPPED = WAITING.and_(tracking_uploaded(at=MONDAY_12))
UNLIMITED = given(placed(goods_type="presale"), group_formed())


def matches(story: Story, at: datetime = TUESDAY_9, **conditions: Any) -> bool:
    return OrderFilter(**conditions).matches(Judged.by(story.book, story.order), at)


# ---- orders -----------------------------------------------------------------------------------------


def test_without_a_condition_every_order_is_listed() -> None:
    assert all(matches(story) for story in (WAITING, LOCKED, SHIPPED, UNLIMITED, given(placed())))


def test_orders_of_a_status() -> None:
    assert matches(WAITING, status="awaiting_shipment")
    assert not matches(SHIPPED, status="awaiting_shipment")


def test_orders_that_are_locked_or_are_not() -> None:
    assert [matches(story, locked=True) for story in (WAITING, LOCKED)] == [False, True]
    assert [matches(story, locked=False) for story in (WAITING, LOCKED)] == [True, False]


def test_orders_with_a_sku_among_their_lines() -> None:
    assert [matches(WAITING, sku_id=sku_id) for sku_id in ("SKU-1", "SKU-2", "SKU-9")] == [True, True, False]


def test_orders_by_their_numbers() -> None:
    assert matches(WAITING, order_sns=frozenset({ORDER_SN, "260302-1"}))
    assert not matches(WAITING, order_sns=frozenset({"260302-1"}))
    assert not matches(WAITING, order_sns=frozenset())


def test_orders_by_a_tracking_number_however_it_is_typed() -> None:
    assert [matches(SHIPPED, tracking_number=number) for number in ("SF1", " sf1", "SF2")] == [True, True, False]
    replaced = SHIPPED.and_(tracking_replaced("SF1", "SF2", at=MONDAY_12))
    gift = SHIPPED.and_(tracking_uploaded("SF9", at=MONDAY_12, kind="gift"))
    assert matches(replaced, tracking_number="SF1")
    assert matches(gift, tracking_number="SF9")


def test_orders_by_their_supplier() -> None:
    handed = WAITING.and_(handed_to_supplier(at=MONDAY_12))
    supplier = handed.order.handovers[0].supplier_id
    assert matches(handed, supplier_id=supplier)
    assert not matches(handed, supplier_id="nobody")
    assert not matches(WAITING, supplier_id=supplier)


def test_orders_by_their_goods() -> None:
    assert matches(WAITING, goods_id=TWO_SKUS[1].goods_id)
    assert not matches(WAITING, goods_id="nothing")


def test_orders_that_must_be_shipped_before_a_moment_and_are_not() -> None:
    for limit, listed in ((SHIP_BY, False), (SHIP_BY + MICROSECOND, True)):
        assert matches(WAITING, due_before=limit) is listed
    reviewed = WAITING.and_(stockout_requested(at=MONDAY_12))
    assert matches(reviewed, due_before=SHIP_BY + MICROSECOND)
    assert not matches(SHIPPED, due_before=NEXT_MONDAY_9)
    assert not matches(UNLIMITED, due_before=NEXT_MONDAY_9)
    assert not matches(given(placed()), due_before=NEXT_MONDAY_9)


def test_an_order_whose_ship_by_was_paused_must_be_shipped_by_what_is_due_now() -> None:
    rejected = (stockout_requested(at=TUESDAY_9), review_completed("rejected", at=WEDNESDAY_9))
    paused = given(awaiting_shipment(), *rejected, under=book_where(pauses_ship_by=True))
    due = SHIP_BY + (WEDNESDAY_9 - TUESDAY_9)
    for limit, listed in ((SHIP_BY + MICROSECOND, False), (due, False), (due + MICROSECOND, True)):
        assert matches(paused, due_before=limit) is listed


def test_orders_on_which_a_violation_stands_and_counts() -> None:
    for at, late, stockout in (
        (SHIP_BY, False, False),
        (SHIP_BY + MICROSECOND, True, False),
        (DEEMED + MICROSECOND, True, True),
    ):
        assert matches(WAITING, at, violation="late_shipment") is late
        assert matches(WAITING, at, violation="stockout") is stockout
        assert not matches(WAITING, at, violation="false_shipment")
    overturned = WAITING.and_(
        appealed("late_shipment", at=THURSDAY_9), appeal_decided("late_shipment", "overturned", at=THURSDAY_9)
    )
    assert not matches(overturned, NEXT_MONDAY_9, violation="late_shipment")
    assert matches(overturned, NEXT_MONDAY_9, violation="stockout")


def test_an_order_is_listed_only_where_every_condition_is_met() -> None:
    met: dict[str, Any] = {
        "status": "awaiting_shipment",
        "locked": True,
        "sku_id": "SKU-1",
        "due_before": NEXT_MONDAY_9,
        "violation": "late_shipment",
    }
    unmet: dict[str, Any] = {
        "status": "shipped",
        "locked": False,
        "sku_id": "SKU-9",
        "due_before": SHIP_BY,
        "violation": "false_shipment",
    }
    assert matches(LOCKED, FRIDAY_9, **met)
    for name, value in unmet.items():
        assert not matches(LOCKED, FRIDAY_9, **met | {name: value})


# ---- deadlines --------------------------------------------------------------------------------------


def listed_deadlines(story: Story, at: datetime, **conditions: Any) -> list[str]:
    judged = Judged.by(story.book, story.order)
    found = deadlines(judged.order, judged.rules, judged.clocks)
    return [each.kind for each in found if DeadlineFilter(**conditions).matches(each, at)]


def test_deadlines_of_a_kind_or_in_a_state() -> None:
    assert listed_deadlines(WAITING, TUESDAY_9) == ["tracking_upload", "deemed_stockout"]
    assert listed_deadlines(WAITING, TUESDAY_9, kind="deemed_stockout") == ["deemed_stockout"]
    assert listed_deadlines(WAITING, FRIDAY_9, state="missed") == ["tracking_upload"]
    assert listed_deadlines(WAITING, FRIDAY_9, state="pending") == ["deemed_stockout"]
    assert listed_deadlines(WAITING, FRIDAY_9, state="pending", kind="tracking_upload") == []


def test_deadlines_due_before_a_moment_and_never_those_whose_time_is_not_known() -> None:
    assert listed_deadlines(WAITING, TUESDAY_9, due_before=SHIP_BY) == []
    assert listed_deadlines(WAITING, TUESDAY_9, due_before=SHIP_BY + MICROSECOND) == ["tracking_upload"]
    assert listed_deadlines(WAITING, TUESDAY_9, due_before=NEXT_MONDAY_9, kind="deemed_stockout") == [
        "deemed_stockout"
    ]
    assert listed_deadlines(UNLIMITED, TUESDAY_9) == ["tracking_upload", "deemed_stockout"]
    assert listed_deadlines(UNLIMITED, TUESDAY_9, due_before=NEXT_MONDAY_9) == []


# ---- violations -------------------------------------------------------------------------------------


def listed_violations(story: Story, at: datetime = NEXT_MONDAY_9, **conditions: Any) -> list[str]:
    found = Judged.by(story.book, story.order).violations
    return [each.kind for each in found if ViolationFilter(**conditions).matches(each, at)]


def test_violations_are_listed_from_the_moment_they_stand() -> None:
    assert listed_violations(WAITING, SHIP_BY) == []
    assert listed_violations(WAITING, SHIP_BY + MICROSECOND) == ["late_shipment"]
    assert listed_violations(WAITING) == ["late_shipment", "stockout"]


def test_violations_of_a_kind() -> None:
    assert listed_violations(WAITING, kind="stockout") == ["stockout"]
    assert listed_violations(WAITING, SHIP_BY, kind="late_shipment") == []


@pytest.mark.parametrize(
    ("since", "until", "kinds"),
    [
        (SHIP_BY, None, ["late_shipment", "stockout"]),
        (SHIP_BY + MICROSECOND, None, ["stockout"]),
        (None, DEEMED, ["late_shipment"]),
        (None, DEEMED + MICROSECOND, ["late_shipment", "stockout"]),
        (SHIP_BY + MICROSECOND, DEEMED, []),
    ],
)
def test_violations_that_arose_from_a_moment_on_and_before_another(
    since: datetime | None, until: datetime | None, kinds: list[str]
) -> None:
    assert listed_violations(WAITING, since=since, until=until) == kinds


def test_violations_by_how_far_their_appeal_is() -> None:
    story = WAITING.and_(appealed("late_shipment", at=THURSDAY_9))
    assert listed_violations(story, appeal="open") == ["late_shipment"]
    assert listed_violations(story, appeal="none") == ["stockout"]
    assert listed_violations(story, appeal="open", kind="stockout") == []
    assert listed_violations(story, appeal="open", until=SHIP_BY) == []
