"""The clocks of an order, to the microsecond, and what a review, an end or a silence does to them."""

from datetime import datetime, timedelta

import pytest

from domain.history import Metadata
from domain.kernel import GoodsType
from domain.order.deadlines import DeadlineState, contact_since, delist_since
from domain.order.events import ParcelLine
from tests.domain.vocabulary import (
    DEEMED,
    FORMED,
    FRIDAY_9,
    MICROSECOND,
    MONDAY_8,
    MONDAY_9,
    MONDAY_10,
    MONDAY_12,
    MONDAY_13,
    NEXT_MONDAY_9,
    NEXT_TUESDAY_9,
    RULES,
    SHIP_BY,
    SUNDAY_9,
    THURSDAY_9,
    TUESDAY_9,
    TWO_SKUS,
    WEDNESDAY_9,
    Fact,
    awaiting_shipment,
    beijing,
    book_where,
    buyer_contacted,
    cancelled,
    days,
    delivered,
    given,
    group_failed,
    group_formed,
    handed_to_supplier,
    hours,
    picked_up,
    placed,
    receipt_confirmed,
    refunded,
    review_completed,
    ship_by_changed,
    stockout_requested,
    supplier_out_of_stock,
    tracking_replaced,
    tracking_uploaded,
)

FOREVER = beijing(2036, 1, 1)

# ---- ship-by: 48 hours to the microsecond -----------------------------------------------------------


@pytest.mark.parametrize(
    ("after", "state"),
    [
        (timedelta(0), "pending"),
        (timedelta(hours=47, minutes=59, seconds=59, microseconds=999_999), "pending"),
        (timedelta(hours=48), "pending"),
        (timedelta(hours=48, microseconds=1), "missed"),
    ],
)
def test_the_ship_by_of_an_untouched_order(after: timedelta, state: DeadlineState) -> None:
    given(awaiting_shipment()).at(FORMED + after).has_deadline("tracking_upload", state=state, due_at=SHIP_BY)


@pytest.mark.parametrize(
    ("after", "state"),
    [
        (timedelta(hours=47, minutes=59, seconds=59, microseconds=999_999), "met"),
        (timedelta(hours=48), "met"),
        (timedelta(hours=48, microseconds=1), "missed"),
    ],
)
def test_the_ship_by_of_an_order_shipped_at_the_edge(after: timedelta, state: DeadlineState) -> None:
    given(awaiting_shipment(), tracking_uploaded(at=FORMED + after)).at(FOREVER).has_deadline(
        "tracking_upload", state=state, met_at=FORMED + after
    )


@pytest.mark.parametrize(
    ("after", "state"),
    [
        (timedelta(hours=120) - MICROSECOND, "pending"),
        (timedelta(hours=120), "pending"),
        (timedelta(hours=120, microseconds=1), "missed"),
    ],
)
def test_three_more_days_to_the_deemed_stockout(after: timedelta, state: DeadlineState) -> None:
    given(awaiting_shipment()).at(FORMED + after).has_deadline("deemed_stockout", state=state, due_at=DEEMED)


@pytest.mark.parametrize(
    ("after", "state"),
    [(timedelta(hours=120), "met"), (timedelta(hours=120, microseconds=1), "missed")],
)
def test_the_deemed_stockout_of_an_order_shipped_at_the_edge(after: timedelta, state: DeadlineState) -> None:
    given(awaiting_shipment(), tracking_uploaded(at=FORMED + after)).at(FOREVER).has_deadline(
        "deemed_stockout", state=state
    )


def test_nothing_runs_before_the_group_has_formed() -> None:
    given(placed()).at(FOREVER).shows(deadlines=(), ship_by=None)


def test_nothing_runs_when_the_group_failed() -> None:
    given(placed(), group_failed()).at(FOREVER).shows(deadlines=())


# ---- whose hours ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("goods_type", "count"), [("ordinary", 48), ("direct_mail", 120), ("bonded", 168)])
def test_every_goods_type_has_its_own_hours(goods_type: GoodsType, count: int) -> None:
    given(placed(goods_type=goods_type), group_formed()).at(FORMED).shows(
        ship_by=FORMED + hours(count)
    ).has_deadline("deemed_stockout", due_at=FORMED + hours(count) + days(3))


@pytest.mark.parametrize("goods_type", ["presale", "virtual"])
def test_goods_whose_limit_only_the_platform_knows_are_unknown(goods_type: GoodsType) -> None:
    given(placed(goods_type=goods_type), group_formed()).at(FOREVER).shows(ship_by=None).has_deadline(
        "tracking_upload", state="unknown", due_at=None
    ).has_deadline("deemed_stockout", state="unknown", due_at=None).has_no_violations()


@pytest.mark.parametrize("goods_type", ["ordinary", "presale", "direct_mail", "bonded", "virtual"])
@pytest.mark.parametrize("promise", [TUESDAY_9, NEXT_MONDAY_9])
def test_the_platforms_own_promise_wins_earlier_or_later(goods_type: GoodsType, promise: datetime) -> None:
    story = given(placed(goods_type=goods_type), group_formed(ship_by=promise))
    story.at(promise).shows(ship_by=promise).has_deadline("tracking_upload", state="pending", due_at=promise)
    story.at(promise + MICROSECOND).has_deadline("tracking_upload", state="missed").has_deadline(
        "deemed_stockout", due_at=promise + days(3)
    )


def test_the_last_promise_wins() -> None:
    given(
        placed(),
        group_formed(ship_by=TUESDAY_9),
        ship_by_changed(FRIDAY_9, at=MONDAY_10),
        ship_by_changed(THURSDAY_9, at=MONDAY_12),
    ).at(MONDAY_13).shows(ship_by=THURSDAY_9)


def test_a_presale_real_case() -> None:
    """Group formed 2018-08-10 19:29:58, last moment of 2018-08-18 promised, shipped within a quarter of an hour."""
    formed = beijing(2018, 8, 10, 19, 29) + timedelta(seconds=58)
    promise = beijing(2018, 8, 18, 23, 59) + timedelta(seconds=59)
    given(
        placed(at=formed, goods_type="presale"),
        group_formed(at=formed, ship_by=promise),
        tracking_uploaded(at=beijing(2018, 8, 10, 19, 43)),
    ).at(beijing(2018, 8, 11)).has_deadline("tracking_upload", state="met", due_at=promise)


def test_the_first_parcels_number_meets_the_deadline_of_the_whole_order() -> None:
    given(
        placed(lines=TWO_SKUS),
        group_formed(),
        tracking_uploaded("SF1", at=TUESDAY_9, lines=(ParcelLine("SKU-1", 2),)),
        tracking_uploaded("SF2", at=SUNDAY_9, lines=(ParcelLine("SKU-2", 1),)),
        picked_up("SF1", at=TUESDAY_9),
        picked_up("SF2", at=SUNDAY_9),
    ).at(FOREVER).has_deadline("tracking_upload", state="met", met_at=TUESDAY_9).has_no_violations()


def test_a_replacing_number_does_not_move_the_upload() -> None:
    given(
        awaiting_shipment(),
        tracking_uploaded("SF1", at=TUESDAY_9),
        tracking_replaced("SF1", "SF2", at=WEDNESDAY_9 - hours(1)),
    ).at(FRIDAY_9).has_deadline("tracking_upload", state="met", met_at=TUESDAY_9)


# ---- pickup -----------------------------------------------------------------------------------------

UPLOADED = MONDAY_12
PICKUP_BY = UPLOADED + hours(24)


@pytest.mark.parametrize(
    ("after", "state"),
    [(hours(24) - MICROSECOND, "pending"), (hours(24), "pending"), (hours(24) + MICROSECOND, "missed")],
)
def test_24_hours_to_the_first_scan(after: timedelta, state: DeadlineState) -> None:
    given(awaiting_shipment(), tracking_uploaded(at=UPLOADED)).at(UPLOADED + after).has_deadline(
        "carrier_pickup", state=state, due_at=PICKUP_BY, tracking_number="SF1"
    )


@pytest.mark.parametrize(
    ("scan", "state"), [(PICKUP_BY, "met"), (PICKUP_BY + MICROSECOND, "missed"), (UPLOADED, "met")]
)
def test_a_scan_at_the_edge(scan: datetime, state: DeadlineState) -> None:
    given(awaiting_shipment(), tracking_uploaded(at=UPLOADED), picked_up(at=scan)).at(FOREVER).has_deadline(
        "carrier_pickup", state=state, met_at=scan
    )


@pytest.mark.parametrize("goods_type", ["direct_mail", "bonded"])
def test_72_hours_to_the_first_scan_from_overseas(goods_type: GoodsType) -> None:
    story = given(placed(goods_type=goods_type), group_formed(), tracking_uploaded(at=UPLOADED))
    story.at(UPLOADED + hours(72)).has_deadline("carrier_pickup", state="pending", due_at=UPLOADED + hours(72))
    story.at(UPLOADED + hours(72) + MICROSECOND).has_deadline("carrier_pickup", state="missed")


def test_presale_goods_are_picked_up_in_24_hours_too() -> None:
    given(placed(goods_type="presale"), group_formed(), tracking_uploaded(at=UPLOADED)).at(UPLOADED).has_deadline(
        "carrier_pickup", due_at=PICKUP_BY
    )


def test_virtual_goods_travel_by_no_carrier() -> None:
    given(placed(goods_type="virtual"), group_formed(ship_by=TUESDAY_9), tracking_uploaded(at=UPLOADED)).at(
        FOREVER
    ).has_no_deadline("carrier_pickup").has_no_violations()


@pytest.mark.parametrize("sign", [delivered(at=PICKUP_BY), receipt_confirmed(at=PICKUP_BY)])
def test_a_delivery_or_a_receipt_shows_that_the_carrier_had_the_parcel(sign: Fact) -> None:
    given(awaiting_shipment(), tracking_uploaded(at=UPLOADED), sign).at(FOREVER).has_deadline(
        "carrier_pickup", state="met", met_at=PICKUP_BY
    )


@pytest.mark.parametrize(("replaced_at", "state"), [(PICKUP_BY, "waived"), (PICKUP_BY + MICROSECOND, "missed")])
def test_a_number_replaced_in_time_is_not_judged_the_newest_is(replaced_at: datetime, state: DeadlineState) -> None:
    given(
        awaiting_shipment(), tracking_uploaded("SF1", at=UPLOADED), tracking_replaced("SF1", "SF2", at=replaced_at)
    ).at(replaced_at).has_deadline("carrier_pickup", tracking_number="SF1", state=state).has_deadline(
        "carrier_pickup", tracking_number="SF2", state="pending", due_at=replaced_at + hours(24)
    )


def test_a_number_scanned_before_it_was_replaced_is_met() -> None:
    given(
        awaiting_shipment(),
        tracking_uploaded("SF1", at=UPLOADED),
        picked_up("SF1", at=UPLOADED + hours(1)),
        tracking_replaced("SF1", "SF2", at=UPLOADED + hours(2)),
    ).at(TUESDAY_9).has_deadline("carrier_pickup", tracking_number="SF1", state="met")


def test_a_receipt_says_nothing_of_a_number_that_was_replaced() -> None:
    given(
        awaiting_shipment(),
        tracking_uploaded("SF1", at=UPLOADED),
        tracking_replaced("SF1", "SF2", at=PICKUP_BY + hours(1)),
        receipt_confirmed(at=PICKUP_BY + hours(2)),
    ).at(FRIDAY_9).has_deadline("carrier_pickup", tracking_number="SF1", state="missed").has_deadline(
        "carrier_pickup", tracking_number="SF2", state="met"
    )


def test_a_receipt_shows_that_the_carrier_had_a_number_that_is_replaced_only_later() -> None:
    received = (awaiting_shipment(), tracking_uploaded("SF1", at=UPLOADED), receipt_confirmed(at=PICKUP_BY))
    given(*received, tracking_replaced("SF1", "SF2", at=PICKUP_BY + hours(1))).at(FRIDAY_9).has_deadline(
        "carrier_pickup", tracking_number="SF1", state="met", met_at=PICKUP_BY
    ).has_no_violations()
    given(*received, tracking_replaced("SF1", "SF2", at=PICKUP_BY)).at(FRIDAY_9).has_deadline(
        "carrier_pickup", tracking_number="SF1", state="waived", met_at=None
    )


# ---- what a review does to the ship-by --------------------------------------------------------------

FILED = TUESDAY_9
"""Twenty-four hours after the group formed, with as much left."""


def test_by_default_a_pending_review_does_not_stop_the_ship_by() -> None:
    given(awaiting_shipment(), stockout_requested(at=FILED)).at(SHIP_BY + MICROSECOND).has_deadline(
        "tracking_upload", state="missed", due_at=SHIP_BY
    )


def test_where_the_rules_say_so_a_pending_review_stops_the_ship_by() -> None:
    given(awaiting_shipment(), stockout_requested(at=FILED), under=book_where(pauses_ship_by=True)).at(
        FOREVER
    ).has_deadline("tracking_upload", state="pending").has_deadline(
        "deemed_stockout", state="pending"
    ).has_no_violations()


def test_where_the_rules_say_so_the_time_in_review_is_added() -> None:
    story = given(
        awaiting_shipment(),
        stockout_requested(at=FILED),
        review_completed("rejected", at=FILED + hours(30)),
        under=book_where(pauses_ship_by=True),
    )
    due = SHIP_BY + hours(30)
    story.at(due).has_deadline("tracking_upload", state="pending", due_at=due)
    story.at(due + MICROSECOND).has_deadline("tracking_upload", state="missed").has_violations("late_shipment")
    story.at(due + days(3)).has_deadline("deemed_stockout", state="pending", due_at=due + days(3))
    story.at(due + days(3) + MICROSECOND).has_violations("late_shipment", "stockout/deemed")


def test_where_the_rules_say_so_two_reviews_are_both_added() -> None:
    given(
        awaiting_shipment(),
        stockout_requested(at=FILED),
        review_completed("rejected", at=FILED + hours(30)),
        stockout_requested(at=SHIP_BY + hours(29)),
        review_completed("rejected", at=SHIP_BY + hours(39)),
        under=book_where(pauses_ship_by=True),
    ).at(FOREVER).has_deadline("tracking_upload", due_at=SHIP_BY + hours(40))


def test_where_the_rules_say_so_a_rejection_starts_the_ship_by_anew() -> None:
    anew = book_where(pauses_ship_by=True, ship_by_after_rejection="starts_anew")
    rejected = FILED + hours(30)
    story = (awaiting_shipment(), stockout_requested(at=FILED), review_completed("rejected", at=rejected))
    due = rejected + hours(48)
    given(*story, under=anew).at(due).has_deadline("tracking_upload", state="pending", due_at=due)
    given(*story, under=anew).at(due + MICROSECOND).has_violations("late_shipment")
    given(*story, under=anew).at(FOREVER).has_deadline("deemed_stockout", state="missed", due_at=due + days(3))
    approved = (*story[:2], review_completed("approved", at=rejected))
    given(*approved, under=anew).at(FOREVER).has_deadline("tracking_upload", due_at=SHIP_BY + hours(30))


def test_a_ship_by_that_starts_anew_is_as_long_as_the_platforms_own_was() -> None:
    given(
        placed(),
        group_formed(ship_by=FORMED + hours(24)),
        stockout_requested(at=FORMED + hours(23)),
        review_completed("rejected", at=FORMED + hours(60)),
        under=book_where(pauses_ship_by=True, ship_by_after_rejection="starts_anew"),
    ).at(FOREVER).has_deadline("tracking_upload", due_at=FORMED + hours(60 + 24))


def test_a_review_filed_after_the_ship_by_pauses_nothing() -> None:
    given(
        awaiting_shipment(),
        stockout_requested(at=SHIP_BY + MICROSECOND),
        under=book_where(pauses_ship_by=True),
    ).at(SHIP_BY + hours(1)).has_deadline("tracking_upload", state="missed", due_at=SHIP_BY)


def test_a_paused_clock_stands_until_the_buyers_refund_ends_it() -> None:
    given(
        awaiting_shipment(),
        stockout_requested(at=FILED),
        refunded("buyer", at=THURSDAY_9),
        under=book_where(pauses_ship_by=True),
    ).at(FOREVER).has_deadline("tracking_upload", state="waived").has_no_violations()


# ---- what a review does to the deemed stockout ------------------------------------------------------


def test_the_deemed_stockout_cannot_fall_while_a_review_is_open() -> None:
    given(awaiting_shipment(), stockout_requested(at=FILED)).at(FOREVER).has_deadline(
        "deemed_stockout", state="pending", due_at=DEEMED
    ).has_violations("late_shipment")


def test_where_the_rules_say_so_it_falls_all_the_same() -> None:
    given(awaiting_shipment(), stockout_requested(at=FILED), under=book_where(defers_deemed_stockout=False)).at(
        DEEMED + MICROSECOND
    ).has_deadline("deemed_stockout", state="missed").has_violations("late_shipment", "stockout/deemed")


@pytest.mark.parametrize("filed_at", [DEEMED, DEEMED + MICROSECOND])
def test_only_a_review_filed_by_then_defers_it(filed_at: datetime) -> None:
    expected: DeadlineState = "pending" if filed_at <= DEEMED else "missed"
    given(awaiting_shipment(), stockout_requested(at=filed_at)).at(NEXT_TUESDAY_9).has_deadline(
        "deemed_stockout", state=expected
    )


def test_after_a_rejection_in_time_it_arises_at_its_due_time() -> None:
    given(awaiting_shipment(), stockout_requested(at=FILED), review_completed("rejected", at=DEEMED)).at(
        DEEMED + MICROSECOND
    ).has_deadline("deemed_stockout", state="missed", due_at=DEEMED)


def test_after_a_rejection_past_its_due_time_it_arises_at_the_rejection() -> None:
    rejected_at = DEEMED + days(1)
    story = given(awaiting_shipment(), stockout_requested(at=FILED), review_completed("rejected", at=rejected_at))
    story.as_of(rejected_at - MICROSECOND).has_deadline("deemed_stockout", state="pending")
    story.at(rejected_at).has_deadline("deemed_stockout", state="pending", due_at=rejected_at)
    story.at(rejected_at + MICROSECOND).has_deadline("deemed_stockout", state="missed").has_violations(
        "late_shipment", "stockout/deemed"
    ).has_violation("stockout", arose_at=rejected_at)


def test_where_the_rules_say_so_it_arises_at_its_due_time_after_any_rejection() -> None:
    given(
        awaiting_shipment(),
        stockout_requested(at=FILED),
        review_completed("rejected", at=DEEMED + days(1)),
        under=book_where(deemed_after_rejection="at_due_time"),
    ).at(DEEMED + days(1)).has_deadline("deemed_stockout", state="missed", due_at=DEEMED).has_violation(
        "stockout", arose_at=DEEMED
    )


def test_a_second_review_open_at_the_rejection_defers_it_again() -> None:
    rejected_at = DEEMED + days(1)
    given(
        awaiting_shipment(),
        stockout_requested(at=FILED),
        review_completed("rejected", at=rejected_at),
        stockout_requested(at=rejected_at),
    ).at(FOREVER).has_deadline("deemed_stockout", state="pending").has_violations("late_shipment")


@pytest.mark.parametrize("approved_at", [DEEMED + MICROSECOND, DEEMED + days(2)])
def test_a_review_open_at_its_due_time_and_then_approved_leaves_no_deemed_stockout(approved_at: datetime) -> None:
    """It could not fall while the review was open, and the approval is the stockout."""
    given(awaiting_shipment(), stockout_requested(at=FILED), review_completed("approved", at=approved_at)).at(
        FOREVER
    ).has_deadline("deemed_stockout", state="waived").has_violations(
        "late_shipment", "stockout/application_approved"
    ).has_violation("stockout", arose_at=approved_at)


@pytest.mark.parametrize(
    "end", [refunded("buyer", at=DEEMED + days(1)), cancelled("changed_mind", at=DEEMED + days(1))]
)
def test_a_review_open_at_its_due_time_and_then_ended_by_the_buyer_leaves_no_deemed_stockout(end: Fact) -> None:
    given(awaiting_shipment(), stockout_requested(at=FILED), end).at(FOREVER).has_deadline(
        "deemed_stockout", state="waived"
    ).has_violations("late_shipment")


# ---- late approval ----------------------------------------------------------------------------------


def test_an_approval_before_the_ship_by_waives_it() -> None:
    given(awaiting_shipment(), stockout_requested(at=FILED), review_completed("approved", at=SHIP_BY)).at(
        FOREVER
    ).has_deadline("tracking_upload", state="waived").has_deadline(
        "deemed_stockout", state="waived"
    ).has_violations("stockout/application_approved")


def test_an_approval_after_the_ship_by_leaves_the_late_shipment_standing_beside_the_stockout() -> None:
    given(
        awaiting_shipment(), stockout_requested(at=FILED), review_completed("approved", at=SHIP_BY + MICROSECOND)
    ).at(FOREVER).has_deadline("tracking_upload", state="missed").has_violations(
        "late_shipment", "stockout/application_approved"
    )


def test_where_the_rules_say_so_a_late_approval_lets_the_late_shipment_lapse() -> None:
    story = given(
        awaiting_shipment(),
        stockout_requested(at=FILED),
        review_completed("approved", at=THURSDAY_9),
        under=book_where(late_shipment_after_late_approval="lapses"),
    )
    story.as_of(THURSDAY_9 - MICROSECOND).has_violations("late_shipment")
    story.at(THURSDAY_9).has_deadline("tracking_upload", state="waived").has_violations(
        "stockout/application_approved"
    )


def test_a_late_shipment_of_an_order_never_approved_does_not_lapse() -> None:
    given(
        awaiting_shipment(),
        stockout_requested(at=FILED),
        review_completed("rejected", at=THURSDAY_9),
        under=book_where(late_shipment_after_late_approval="lapses"),
    ).at(FRIDAY_9).has_violations("late_shipment")


# ---- ends -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [refunded("buyer", at=SHIP_BY), cancelled("changed_mind", at=SHIP_BY)])
def test_an_end_at_the_very_ship_by_waives_every_open_clock(end: Fact) -> None:
    given(awaiting_shipment(), end).at(FOREVER).has_deadline("tracking_upload", state="waived").has_deadline(
        "deemed_stockout", state="waived"
    ).has_no_violations()


@pytest.mark.parametrize(
    "end",
    [
        refunded("buyer", at=SHIP_BY + MICROSECOND),
        refunded("platform", "late", at=SHIP_BY + MICROSECOND),
        cancelled("changed_mind", at=SHIP_BY + MICROSECOND),
    ],
)
def test_an_end_after_the_ship_by_undoes_nothing_but_ends_what_is_still_open(end: Fact) -> None:
    given(awaiting_shipment(), end).at(FOREVER).has_deadline("tracking_upload", state="missed").has_deadline(
        "deemed_stockout", state="waived"
    ).has_violations("late_shipment")


def test_a_refund_after_the_three_days_undoes_neither() -> None:
    given(awaiting_shipment(), refunded("buyer", at=DEEMED + MICROSECOND)).at(FOREVER).has_violations(
        "late_shipment", "stockout/deemed"
    )


def test_a_part_refund_ends_no_clock() -> None:
    given(awaiting_shipment(), refunded("buyer", at=MONDAY_12, amount_fen=4_299)).at(FOREVER).has_violations(
        "late_shipment", "stockout/deemed"
    )


def test_a_refund_ends_the_pickup_clock_too() -> None:
    given(awaiting_shipment(), tracking_uploaded(at=UPLOADED), refunded("buyer", at=PICKUP_BY)).at(
        FOREVER
    ).has_deadline("carrier_pickup", state="waived").has_no_violations()
    given(awaiting_shipment(), tracking_uploaded(at=UPLOADED), refunded("buyer", at=PICKUP_BY + MICROSECOND)).at(
        FOREVER
    ).has_deadline("carrier_pickup", state="missed").has_violations("false_shipment")


# ---- the platform's own deadline, and the buyer's comfort -------------------------------------------


def test_the_review_is_to_be_decided_by_the_later_end_of_its_window() -> None:
    due = beijing(2026, 3, 5, 12)
    story = given(awaiting_shipment(), stockout_requested(at=MONDAY_12))
    story.at(due).has_deadline("review_decision", state="pending", due_at=due)
    story.at(due + MICROSECOND).has_deadline("review_decision", state="missed")
    story.and_(review_completed("rejected", at=due)).at(FOREVER).has_deadline("review_decision", state="met")
    story.and_(review_completed("rejected", at=due + MICROSECOND)).at(FOREVER).has_deadline(
        "review_decision", state="missed"
    )


@pytest.mark.parametrize(
    ("ended_at", "state"), [(beijing(2026, 3, 5, 12), "waived"), (beijing(2026, 3, 5, 13), "missed")]
)
def test_an_end_undoes_no_review_that_was_overdue_already(ended_at: datetime, state: DeadlineState) -> None:
    given(awaiting_shipment(), stockout_requested(at=MONDAY_12), refunded("buyer", at=ended_at)).at(
        FOREVER
    ).has_deadline("review_decision", state=state)


def test_every_review_has_its_own_deadline() -> None:
    seen = given(
        awaiting_shipment(),
        stockout_requested(at=MONDAY_12),
        review_completed("rejected", at=TUESDAY_9),
        stockout_requested(at=WEDNESDAY_9),
    ).at(WEDNESDAY_9)
    decisions = [found for found in seen.view.deadlines if found.kind == "review_decision"]
    assert [(found.state, found.met_at) for found in decisions] == [("met", TUESDAY_9), ("pending", None)]


def test_the_buyer_is_to_be_contacted_within_the_hours_of_the_rules() -> None:
    due = MONDAY_12 + hours(24)
    story = given(awaiting_shipment(), stockout_requested(at=MONDAY_12))
    story.at(due).has_deadline("contact_buyer", state="pending", due_at=due)
    story.at(due + MICROSECOND).has_deadline("contact_buyer", state="missed").has_no_violations()
    story.and_(buyer_contacted(at=due)).at(FOREVER).has_deadline("contact_buyer", state="met", met_at=due)
    story.and_(buyer_contacted(at=due + MICROSECOND)).at(FOREVER).has_deadline("contact_buyer", state="missed")


def test_a_contact_told_late_counts_from_when_it_was_made() -> None:
    given(awaiting_shipment(), stockout_requested(at=MONDAY_12), buyer_contacted(at=THURSDAY_9)).and_(
        buyer_contacted(at=MONDAY_13), learned_at=FRIDAY_9
    ).at(FRIDAY_9).has_deadline("contact_buyer", state="met", met_at=MONDAY_13)


def test_a_buyer_who_was_comforted_before_the_merchant_applied_need_not_be_again() -> None:
    story = given(awaiting_shipment(), buyer_contacted(at=MONDAY_10), stockout_requested(at=MONDAY_12))
    story.at(MONDAY_12).has_deadline("contact_buyer", state="met", met_at=MONDAY_10, due_at=MONDAY_12 + hours(24))
    story.and_(buyer_contacted(at=MONDAY_13)).at(FOREVER).has_deadline(
        "contact_buyer", state="met", met_at=MONDAY_10
    )


def test_no_one_is_to_be_contacted_where_nothing_was_applied_for() -> None:
    given(awaiting_shipment()).at(FOREVER).has_no_deadline("contact_buyer").has_no_deadline("review_decision")


# ---- told late --------------------------------------------------------------------------------------


def test_a_group_told_late_had_its_clock_running_since() -> None:
    given(placed(at=MONDAY_8)).and_(group_formed(at=MONDAY_9), learned_at=NEXT_MONDAY_9).at(
        NEXT_MONDAY_9
    ).has_violations("late_shipment", "stockout/deemed")


# ---- the very moment, and times that are only upper bounds ------------------------------------------


def test_a_review_filed_at_the_very_ship_by_pauses_it() -> None:
    given(awaiting_shipment(), stockout_requested(at=SHIP_BY), under=book_where(pauses_ship_by=True)).at(
        FOREVER
    ).has_deadline("tracking_upload", state="pending")


def test_a_review_of_unknown_beginning_pauses_no_ship_by() -> None:
    given(awaiting_shipment(), stockout_requested(at=FILED).observed(), under=book_where(pauses_ship_by=True)).at(
        SHIP_BY + MICROSECOND
    ).has_deadline("tracking_upload", state="missed", due_at=SHIP_BY)


def test_a_ship_by_that_starts_anew_never_ends_earlier_than_before() -> None:
    anew = book_where(pauses_ship_by=True, ship_by_after_rejection="starts_anew")
    promised = (placed(), group_formed(ship_by=FORMED + hours(24)), ship_by_changed(NEXT_MONDAY_9, at=MONDAY_10))
    rejected = (stockout_requested(at=MONDAY_12), review_completed("rejected", at=MONDAY_13))
    given(*promised, *rejected, under=anew).at(MONDAY_13).has_deadline(
        "tracking_upload", due_at=MONDAY_13 + (NEXT_MONDAY_9 - FORMED)
    )


def test_where_the_groups_time_is_unknown_a_rejection_adds_the_time_in_review() -> None:
    given(
        placed(),
        group_formed(ship_by=SHIP_BY).observed(),
        stockout_requested(at=FILED),
        review_completed("rejected", at=FILED + hours(30)),
        under=book_where(pauses_ship_by=True, ship_by_after_rejection="starts_anew"),
    ).at(FOREVER).has_deadline("tracking_upload", due_at=SHIP_BY + hours(30))


@pytest.mark.parametrize(
    ("filed_at", "state"),
    [
        (SHIP_BY, "unknown"),
        (SHIP_BY + MICROSECOND, "missed"),
        (FRIDAY_9 - MICROSECOND, "missed"),
        (FRIDAY_9, "unknown"),
    ],
)
def test_an_application_between_the_ship_by_and_a_shipment_observed_proves_that_it_was_late(
    filed_at: datetime, state: DeadlineState
) -> None:
    given(awaiting_shipment(), stockout_requested(at=filed_at), review_completed("rejected", at=FRIDAY_9)).and_(
        tracking_uploaded(at=FRIDAY_9).observed()
    ).at(FOREVER).has_deadline("tracking_upload", state=state)


@pytest.mark.parametrize(
    ("refunded_at", "state"),
    [(FRIDAY_9 - MICROSECOND, "waived"), (FRIDAY_9, "unknown"), (FRIDAY_9 + MICROSECOND, "unknown")],
)
def test_where_the_limit_is_unknown_only_an_end_before_the_shipment_waives_it(
    refunded_at: datetime, state: DeadlineState
) -> None:
    given(
        placed(goods_type="presale"), group_formed(), refunded(at=refunded_at), tracking_uploaded(at=FRIDAY_9)
    ).at(FOREVER).has_deadline("tracking_upload", state=state, due_at=None)


def test_where_the_limit_is_unknown_an_end_without_a_shipment_waives_it() -> None:
    given(placed(goods_type="presale"), group_formed(), refunded(at=FRIDAY_9)).at(FOREVER).has_deadline(
        "tracking_upload", state="waived"
    ).has_deadline("deemed_stockout", state="waived")


def test_a_review_of_unknown_beginning_defers_the_deemed_stockout() -> None:
    given(awaiting_shipment(), stockout_requested(at=NEXT_MONDAY_9).observed()).at(NEXT_TUESDAY_9).has_deadline(
        "deemed_stockout", state="pending"
    )


def test_what_was_shipped_in_time_is_met_whatever_a_review_pauses_or_defers() -> None:
    shipped = (
        awaiting_shipment(), tracking_uploaded(at=MONDAY_12), stockout_requested(at=MONDAY_13).observed()
    )  # fmt: skip
    for rules in (book_where(), book_where(pauses_ship_by=True)):
        given(*shipped, under=rules).at(FOREVER).has_deadline("tracking_upload", state="met").has_deadline(
            "deemed_stockout", state="met"
        )


def test_a_number_of_unknown_time_has_no_pickup_clock_but_its_scan_meets_it() -> None:
    story = given(awaiting_shipment(), tracking_uploaded(at=UPLOADED)._replace(metadata=Metadata(observed=True)))
    story.at(FOREVER).has_deadline("carrier_pickup", state="unknown", due_at=None)
    story.and_(picked_up(at=NEXT_MONDAY_9)).at(FOREVER).has_deadline("carrier_pickup", state="met", due_at=None)


def test_the_first_sign_of_the_carrier_counts() -> None:
    signs = (picked_up(at=TUESDAY_9), delivered(at=MONDAY_13), receipt_confirmed(at=WEDNESDAY_9))
    given(awaiting_shipment(), tracking_uploaded(at=UPLOADED), *signs).at(FOREVER).has_deadline(
        "carrier_pickup", met_at=MONDAY_13
    )


def test_a_contact_merely_told_before_a_review_of_unknown_beginning_meets_it() -> None:
    story = given(awaiting_shipment(), stockout_requested(at=MONDAY_12).observed())
    story.at(FOREVER).has_deadline("contact_buyer", state="unknown", due_at=None)
    story.and_(buyer_contacted(at=MONDAY_13)).at(FOREVER).has_deadline(
        "contact_buyer", state="met", met_at=MONDAY_13
    )
    story.at(FOREVER).has_deadline("review_decision", state="unknown")
    story.and_(review_completed("rejected", at=MONDAY_13)).at(FOREVER).has_deadline("review_decision", state="met")


def test_of_a_case_only_what_was_said_since_counts_as_a_contact() -> None:
    order = given(awaiting_shipment(), buyer_contacted(at=MONDAY_12)).order
    for since, met_at in (
        (MONDAY_12 - MICROSECOND, MONDAY_12), (MONDAY_12, MONDAY_12), (MONDAY_12 + MICROSECOND, None),
    ):  # fmt: skip
        assert contact_since(order, since, True, RULES, None).met_at == met_at
    assert contact_since(order, MONDAY_13, False, RULES, None).settled == "met"
    due = contact_since(order, MONDAY_13, True, RULES, None).due_at
    assert due == MONDAY_13 + hours(24)


def test_a_sku_is_to_be_off_the_shelf_when_the_application_is_filed() -> None:
    since = delist_since(MONDAY_12, True, "SKU-1", None, RULES)
    assert (since.state(MONDAY_12), since.state(MONDAY_12 + MICROSECOND)) == ("pending", "missed")
    assert delist_since(MONDAY_12, True, "SKU-1", FRIDAY_9, RULES).state(FOREVER) == "met"
    unknown = delist_since(MONDAY_12, False, "SKU-1", None, RULES)
    assert (unknown.due_at, unknown.state(FOREVER)) == (None, "unknown")
    assert delist_since(MONDAY_12, False, "SKU-1", FRIDAY_9, RULES).state(FOREVER) == "met"


def test_an_order_that_came_back_with_its_end_is_judged_by_the_time_that_is_known() -> None:
    """The refund was merely seen by then; when the supplier had nothing is known, and it was too late."""
    given(
        awaiting_shipment(),
        handed_to_supplier(expected=TUESDAY_9),
        supplier_out_of_stock(at=WEDNESDAY_9),
        refunded(at=WEDNESDAY_9).observed(),
    ).at(FOREVER).has_deadline("supplier_tracking", state="missed")


@pytest.mark.parametrize(("back_at", "state"), [(TUESDAY_9, "waived"), (TUESDAY_9 + MICROSECOND, "missed")])
def test_an_order_that_came_back_from_the_supplier_in_time_owes_no_number(
    back_at: datetime, state: DeadlineState
) -> None:
    given(
        awaiting_shipment(),
        handed_to_supplier(expected=TUESDAY_9),
        supplier_out_of_stock(at=back_at),
        refunded(at=FRIDAY_9),
    ).at(FOREVER).has_deadline("supplier_tracking", state=state)
