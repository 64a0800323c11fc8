"""Which rules were broken, when, for what reason, and what that costs."""

from datetime import datetime

import pytest

from domain.kernel import Refusal
from domain.order import commands as c
from domain.order.events import ParcelLine, RefundInitiator, ViolationAppealed
from domain.order.violations import ladder, violations, went_well
from tests.domain.vocabulary import (
    DEEMED,
    FRIDAY_9,
    MICROSECOND,
    MONDAY_9,
    MONDAY_10,
    MONDAY_12,
    MONDAY_13,
    NEXT_MONDAY_9,
    NEXT_TUESDAY_9,
    ORDER_SN,
    SHIP_BY,
    THURSDAY_9,
    TUESDAY_9,
    TWO_SKUS,
    WEDNESDAY_9,
    Fact,
    appeal_decided,
    appealed,
    awaiting_shipment,
    beijing,
    cancelled,
    complaint_decided,
    complaint_filed,
    days,
    given,
    group_formed,
    hold_placed,
    hours,
    picked_up,
    placed,
    receipt_confirmed,
    refunded,
    review_completed,
    ship_by_changed,
    stockout_requested,
    tracking_replaced,
    tracking_uploaded,
    violation_id,
)

FOREVER = beijing(2036, 1, 1)
UPLOADED = MONDAY_12
PICKUP_BY = UPLOADED + hours(24)
REMEDY_BY = UPLOADED + days(5)

# ---- the ladder -------------------------------------------------------------------------------------


def test_an_untouched_order_climbs_the_ladder_without_any_event() -> None:
    story = given(awaiting_shipment())
    assert len(story.history) == 2
    story.at(SHIP_BY).has_no_violations()
    story.at(SHIP_BY + MICROSECOND).has_violations("late_shipment").has_violation(
        "late_shipment", arose_at=SHIP_BY, penalty_fen=300, rule="pinduoduo-2023-01/late_shipment", cause=None
    )
    story.at(DEEMED).has_violations("late_shipment")
    story.at(DEEMED + MICROSECOND).has_violations("late_shipment", "stockout/deemed").has_violation(
        "stockout", arose_at=DEEMED, penalty_fen=500, rule="pinduoduo-2023-01/stockout"
    )


def test_the_ladder_holds_what_will_come_and_a_moment_what_stands() -> None:
    story = given(awaiting_shipment())
    assert [found.kind for found in ladder(story.order, story.rules)] == ["late_shipment", "stockout"]
    assert violations(story.order, story.rules, MONDAY_9) == ()


def test_a_violation_is_named_after_the_order_and_the_rule() -> None:
    found = given(awaiting_shipment()).at(FOREVER).violation("late_shipment")
    assert found.violation_id == f"{ORDER_SN}:late_shipment"


def test_an_order_in_good_time_broke_nothing() -> None:
    given(
        awaiting_shipment(), tracking_uploaded(at=UPLOADED), picked_up(at=MONDAY_13), receipt_confirmed(at=FRIDAY_9)
    ).at(FOREVER).has_no_violations()


def test_a_hold_does_not_stop_the_clock() -> None:
    given(awaiting_shipment(), hold_placed("risk_control", at=MONDAY_10)).at(SHIP_BY + MICROSECOND).has_violations(
        "late_shipment"
    )


# ---- stockout ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("by", "reason", "expected"),
    [
        ("merchant", "out_of_stock", ["stockout/merchant_refund"]),
        ("merchant", " Out of stock", ["stockout/merchant_refund"]),
        ("merchant", "out-of-stock", ["stockout/merchant_refund"]),
        ("merchant", "缺货", ["stockout/merchant_refund"]),
        ("merchant", "not out of stock", []),
        ("merchant", "changed_mind", []),
        ("platform", "out_of_stock", []),
        ("buyer", "changed_mind", []),
        ("unknown", "unknown", []),
    ],
)
def test_which_refunds_are_a_stockout(by: RefundInitiator, reason: str, expected: list[str]) -> None:
    given(awaiting_shipment(), refunded(by, reason, at=MONDAY_12)).at(FOREVER).has_violations(*expected)


def test_a_refund_for_want_of_stock_is_one_from_its_very_moment() -> None:
    story = given(awaiting_shipment(), refunded("merchant", "out_of_stock", at=MONDAY_12))
    story.at(MONDAY_12 - MICROSECOND).has_no_violations()
    story.at(MONDAY_12).has_violation("stockout", arose_at=MONDAY_12, cause="merchant_refund")


def test_a_part_refund_for_want_of_stock_is_one_too() -> None:
    given(awaiting_shipment(), refunded("merchant", "out_of_stock", at=MONDAY_12, amount_fen=1)).at(
        MONDAY_12
    ).has_violations("stockout/merchant_refund")


def test_a_refund_for_want_of_stock_of_unknown_time_is_not_claimed() -> None:
    given(awaiting_shipment(), refunded("merchant", "out_of_stock", at=MONDAY_12).observed()).at(
        FOREVER
    ).has_no_violations()


def test_a_cancellation_for_want_of_stock_counts_once_the_group_had_formed() -> None:
    given(awaiting_shipment(), cancelled("out_of_stock", at=MONDAY_12)).at(MONDAY_12).has_violations(
        "stockout/merchant_refund"
    )
    given(placed(), cancelled("out_of_stock", at=MONDAY_12)).at(FOREVER).has_no_violations()
    given(awaiting_shipment(), cancelled("out_of_stock", at=MONDAY_12).observed()).at(FOREVER).has_no_violations()


def test_an_approved_application_is_one() -> None:
    given(awaiting_shipment(), stockout_requested(at=MONDAY_12), review_completed("approved", at=TUESDAY_9)).at(
        TUESDAY_9
    ).has_violations("stockout/application_approved").has_violation("stockout", arose_at=TUESDAY_9)


def test_an_application_approved_at_an_unknown_time_is_not_claimed() -> None:
    given(
        awaiting_shipment(),
        stockout_requested(at=MONDAY_12),
        review_completed("approved", at=TUESDAY_9).observed(),
    ).at(FOREVER).has_no_violations()


def test_a_stockout_counts_once_by_what_came_first() -> None:
    given(
        awaiting_shipment(),
        stockout_requested(at=MONDAY_12),
        review_completed("approved", at=TUESDAY_9),
        refunded("merchant", "out_of_stock", at=WEDNESDAY_9),
    ).at(FOREVER).has_violations("stockout/application_approved")
    given(awaiting_shipment(), refunded("merchant", "out_of_stock", at=DEEMED + hours(1))).at(
        FOREVER
    ).has_violations("late_shipment", "stockout/deemed")


# ---- false shipment ---------------------------------------------------------------------------------


def test_no_scan_within_24_hours_is_a_false_shipment() -> None:
    story = given(awaiting_shipment(), tracking_uploaded(at=UPLOADED))
    story.at(PICKUP_BY).has_no_violations()
    story.at(PICKUP_BY + MICROSECOND).has_violations("false_shipment").has_violation(
        "false_shipment", arose_at=PICKUP_BY, penalty_fen=1_000, cause=None
    )


def test_a_scan_that_came_too_late_does_not_undo_it() -> None:
    given(awaiting_shipment(), tracking_uploaded(at=UPLOADED), picked_up(at=PICKUP_BY + MICROSECOND)).at(
        FOREVER
    ).has_violations("false_shipment")


@pytest.mark.parametrize(
    ("scan", "expected"),
    [
        (REMEDY_BY, ["false_shipment"]),
        (REMEDY_BY + MICROSECOND, ["false_shipment", "stockout/false_shipment_unremedied"]),
    ],
)
def test_a_false_shipment_is_remedied_by_a_scan_within_five_days_of_the_upload(
    scan: datetime, expected: list[str]
) -> None:
    given(awaiting_shipment(), tracking_uploaded(at=UPLOADED), picked_up(at=scan)).at(FOREVER).has_violations(
        *expected
    )


def test_a_false_shipment_never_remedied_is_a_stockout_as_well() -> None:
    story = given(awaiting_shipment(), tracking_uploaded(at=UPLOADED))
    story.at(REMEDY_BY).has_violations("false_shipment")
    story.at(REMEDY_BY + MICROSECOND).has_violations(
        "false_shipment", "stockout/false_shipment_unremedied"
    ).has_violation("stockout", arose_at=REMEDY_BY)


def test_the_scan_of_another_number_remedies_it() -> None:
    given(
        awaiting_shipment(),
        tracking_uploaded("SF1", at=UPLOADED),
        tracking_replaced("SF1", "SF2", at=PICKUP_BY + hours(1)),
        picked_up("SF2", at=PICKUP_BY + hours(5)),
    ).at(FOREVER).has_violations("false_shipment")


def test_a_number_replaced_in_time_is_judged_by_its_successor() -> None:
    given(
        awaiting_shipment(),
        tracking_uploaded("SF1", at=UPLOADED),
        tracking_replaced("SF1", "SF2", at=PICKUP_BY - hours(1)),
        picked_up("SF2", at=PICKUP_BY + hours(5)),
    ).at(FOREVER).has_no_violations()


def test_two_numbers_without_a_scan_are_charged_once() -> None:
    given(
        awaiting_shipment(),
        tracking_uploaded("SF1", at=UPLOADED),
        tracking_replaced("SF1", "SF2", at=PICKUP_BY + hours(1)),
        picked_up("SF2", at=PICKUP_BY + hours(30)),
    ).at(FOREVER).has_violations("false_shipment").has_violation("false_shipment", arose_at=PICKUP_BY)


def test_a_refund_within_the_five_days_ends_the_remedy() -> None:
    given(awaiting_shipment(), tracking_uploaded(at=UPLOADED), refunded(at=REMEDY_BY)).at(FOREVER).has_violations(
        "false_shipment"
    )
    given(awaiting_shipment(), tracking_uploaded(at=UPLOADED), refunded(at=REMEDY_BY + MICROSECOND)).at(
        FOREVER
    ).has_violations("false_shipment", "stockout/false_shipment_unremedied")


def test_an_end_observed_may_have_come_within_the_five_days() -> None:
    too_late = given(awaiting_shipment(), tracking_uploaded(at=UPLOADED), picked_up(at=REMEDY_BY + MICROSECOND))
    end = refunded(at=NEXT_TUESDAY_9)
    too_late.and_(end.observed()).at(FOREVER).has_violations("false_shipment")
    too_late.and_(end).at(FOREVER).has_violations("false_shipment", "stockout/false_shipment_unremedied")


def test_of_several_parcels_the_first_that_nobody_remedied_makes_the_stockout() -> None:
    """A scan of any number within the five days of a parcel's upload remedies that parcel."""
    parcels = (
        tracking_uploaded("SF1", at=UPLOADED, lines=(ParcelLine("SKU-1", 2),)),
        tracking_uploaded("SF2", at=TUESDAY_9, lines=(ParcelLine("SKU-2", 1),)),
    )
    story = given(placed(lines=TWO_SKUS), group_formed(), *parcels)
    story.at(FOREVER).has_violations("false_shipment", "stockout/false_shipment_unremedied").has_violation(
        "false_shipment", arose_at=PICKUP_BY
    ).has_violation("stockout", arose_at=REMEDY_BY)
    between = REMEDY_BY + hours(1)
    story.and_(picked_up("SF2", at=between)).at(FOREVER).has_violation("stockout", arose_at=REMEDY_BY)
    story.and_(picked_up("SF2", at=REMEDY_BY)).at(FOREVER).has_violations("false_shipment")


def test_a_parcel_scanned_in_time_does_not_excuse_the_other() -> None:
    given(
        placed(lines=TWO_SKUS),
        group_formed(),
        tracking_uploaded("SF1", at=UPLOADED, lines=(ParcelLine("SKU-1", 2),)),
        tracking_uploaded("SF2", at=TUESDAY_9, lines=(ParcelLine("SKU-2", 1),)),
        picked_up("SF1", at=MONDAY_13),
    ).at(FOREVER).has_violations("false_shipment").has_violation("false_shipment", arose_at=TUESDAY_9 + hours(24))


def test_an_order_that_was_shipped_and_scanned_in_time_to_the_last_moment_broke_nothing() -> None:
    last = SHIP_BY + hours(24)
    in_time = given(awaiting_shipment(), tracking_uploaded(at=SHIP_BY), picked_up(at=last))
    assert went_well(in_time.order, in_time.rules)
    for late in (
        given(awaiting_shipment(), tracking_uploaded(at=SHIP_BY + MICROSECOND), picked_up(at=last)),
        given(awaiting_shipment(), tracking_uploaded(at=SHIP_BY), picked_up(at=last + MICROSECOND)),
    ):
        assert not went_well(late.order, late.rules)


@pytest.mark.parametrize(
    "facts",
    [
        (tracking_uploaded(at=UPLOADED),),
        (tracking_uploaded(at=UPLOADED), picked_up(at=MONDAY_13), tracking_uploaded("SF2", at=MONDAY_13)),
        (tracking_uploaded(at=UPLOADED), picked_up(at=MONDAY_13), complaint_filed(at=TUESDAY_9)),
        (tracking_uploaded(at=UPLOADED), picked_up(at=MONDAY_13), refunded(at=TUESDAY_9)),
        (tracking_uploaded(at=UPLOADED), picked_up(at=MONDAY_13), cancelled(at=TUESDAY_9)),
        (stockout_requested(at=MONDAY_10), tracking_uploaded(at=UPLOADED), picked_up(at=MONDAY_13)),
    ],
)
def test_only_of_an_order_with_which_nothing_else_happened_is_it_plain_that_it_went_well(
    facts: tuple[Fact, ...],
) -> None:
    story = given(awaiting_shipment(), *facts)
    assert not went_well(story.order, story.rules)


def test_of_an_order_without_a_known_limit_it_is_not_plain_that_it_went_well() -> None:
    shipped = (tracking_uploaded(at=UPLOADED), picked_up(at=MONDAY_13))
    for story in (
        given(placed(goods_type="presale"), group_formed(), *shipped),
        given(placed(goods_type="virtual"), group_formed(ship_by=SHIP_BY), *shipped),
        given(placed(), ship_by_changed(SHIP_BY, at=MONDAY_9), *shipped),
    ):
        assert not went_well(story.order, story.rules)


def test_complaints_told_before_they_had_numbers_are_two_frauds_all_the_same() -> None:
    seen = given(
        SHIPPED,
        complaint_filed("empty_parcel", at=TUESDAY_9),
        complaint_decided("upheld", at=WEDNESDAY_9),
        complaint_filed("empty_parcel", at=THURSDAY_9),
        complaint_decided("upheld", at=FRIDAY_9),
        complaint_filed("empty_parcel", at=FRIDAY_9),
        complaint_decided("upheld", at=NEXT_MONDAY_9),
    ).at(FOREVER)
    fraud = f"{ORDER_SN}:fraudulent_shipment"
    assert [found.violation_id for found in seen.view.violations] == [fraud, f"{fraud}:2", f"{fraud}:3"]


def test_an_appeal_is_due_in_the_days_of_the_rules_or_by_the_platforms_own_moment() -> None:
    story = given(awaiting_shipment())
    (late,) = violations(story.order, story.rules, THURSDAY_9)
    assert late.appeal_by == story.rules.appeal.after(SHIP_BY)
    appeal = Fact(ViolationAppealed(violation_id("late_shipment"), None, NEXT_MONDAY_9), THURSDAY_9)
    story = story.and_(appeal)
    (late,) = violations(story.order, story.rules, THURSDAY_9)
    assert (late.appeal_by, late.appeal_state, late.counts) == (NEXT_MONDAY_9, "open", True)


def test_an_upload_of_unknown_time_is_no_false_shipment() -> None:
    given(awaiting_shipment(), tracking_uploaded(at=UPLOADED).observed("poll")).at(FOREVER).has_no_violations()


def test_late_and_false_are_both_charged() -> None:
    given(awaiting_shipment(), tracking_uploaded(at=THURSDAY_9), picked_up(at=NEXT_MONDAY_9)).at(
        FOREVER
    ).has_violations("late_shipment", "false_shipment")


# ---- fraud ------------------------------------------------------------------------------------------

SHIPPED = (*awaiting_shipment(), tracking_uploaded(at=UPLOADED), picked_up(at=MONDAY_13))


def test_an_upheld_complaint_is_fraud_from_its_decision_and_costs_the_order() -> None:
    story = given(
        SHIPPED, complaint_filed("empty_parcel", at=WEDNESDAY_9), complaint_decided("upheld", at=FRIDAY_9)
    )
    story.at(FRIDAY_9 - MICROSECOND).has_no_violations()
    story.at(FRIDAY_9).has_violation("fraudulent_shipment", arose_at=FRIDAY_9, penalty_fen=4_300, cause=None)


@pytest.mark.parametrize(
    "facts",
    [
        (complaint_filed("empty_parcel", at=WEDNESDAY_9),),
        (complaint_filed("empty_parcel", at=WEDNESDAY_9), complaint_decided("dismissed", at=FRIDAY_9)),
        (complaint_filed("other", at=WEDNESDAY_9), complaint_decided("upheld", at=FRIDAY_9)),
    ],
)
def test_what_is_no_fraud(facts: tuple[Fact, ...]) -> None:
    given(SHIPPED, facts).at(FOREVER).has_no_violations()


def test_who_cheats_twice_is_charged_twice_under_two_names() -> None:
    seen = given(
        SHIPPED,
        complaint_filed("empty_parcel", at=TUESDAY_9),
        complaint_decided("upheld", at=WEDNESDAY_9),
        complaint_filed("different_goods", at=THURSDAY_9),
        complaint_decided("upheld", at=FRIDAY_9),
    ).at(FOREVER)
    assert [found.violation_id for found in seen.view.violations] == [
        f"{ORDER_SN}:fraudulent_shipment",
        f"{ORDER_SN}:fraudulent_shipment:2",
    ]


def test_a_fraud_that_is_told_late_has_one_name_from_whatever_moment_it_is_seen() -> None:
    story = given(SHIPPED, complaint_filed(at=THURSDAY_9), complaint_decided("upheld", at=FRIDAY_9))
    for command, at in (
        (c.FileComplaint(finding="different_goods"), TUESDAY_9),
        (c.DecideComplaint(outcome="upheld"), WEDNESDAY_9),
    ):
        came = story.when(command, at=at, recorded_at=NEXT_MONDAY_9)
        assert not isinstance(came.decision, Refusal)
        story = came.then(*came.decision, occurred_at=at)
    first, second = f"{ORDER_SN}:fraudulent_shipment", f"{ORDER_SN}:fraudulent_shipment:2"
    for moment, expected in (
        (WEDNESDAY_9 - MICROSECOND, {}),
        (WEDNESDAY_9, {second: WEDNESDAY_9}),
        (FRIDAY_9, {second: WEDNESDAY_9, first: FRIDAY_9}),
    ):
        seen = story.as_of(moment).view.violations
        assert {each.violation_id: each.arose_at for each in seen} == expected
    appeal = c.AppealViolation(violation_id=second, evidence="film of the packing")
    came = story.when(appeal, at=WEDNESDAY_9 + MICROSECOND, recorded_at=NEXT_MONDAY_9)
    assert came.decision == (ViolationAppealed(second, "film of the packing"),)


def test_a_refund_does_not_undo_fraud() -> None:
    given(
        SHIPPED,
        complaint_filed("empty_parcel", at=TUESDAY_9),
        refunded(at=WEDNESDAY_9),
        complaint_decided("upheld", at=FRIDAY_9),
    ).at(FOREVER).has_violations("fraudulent_shipment")


# ---- money, appeals, moves --------------------------------------------------------------------------


def test_a_penalty_that_depends_on_an_unknown_payment_is_unknown() -> None:
    seen = given(placed(paid_fen=None), group_formed()).at(FOREVER)
    assert seen.violation("late_shipment").penalty_fen == 300
    assert seen.violation("stockout").penalty_fen is None


def test_an_overturned_violation_stays_with_its_appeal_but_does_not_count() -> None:
    story = given(
        awaiting_shipment(),
        appealed("late_shipment", at=THURSDAY_9),
        appeal_decided("late_shipment", "overturned", at=FRIDAY_9),
    )
    (late,) = violations(story.order, story.rules, FRIDAY_9)
    assert late.appeal is not None
    assert (late.appeal.outcome, late.counts) == ("overturned", False)


@pytest.mark.parametrize("outcome", [None, "upheld"])
def test_an_appeal_does_not_suspend_the_violation(outcome: str | None) -> None:
    story = given(awaiting_shipment(), appealed("late_shipment", at=THURSDAY_9))
    if outcome:
        story = story.and_(appeal_decided("late_shipment", "upheld", at=FRIDAY_9))
    (late,) = violations(story.order, story.rules, FRIDAY_9)
    assert late.counts


def test_a_ship_by_the_platform_moved_after_it_passed_takes_the_late_shipment_away() -> None:
    story = given(awaiting_shipment(), ship_by_changed(FRIDAY_9, at=THURSDAY_9, reason="platform"))
    story.as_of(THURSDAY_9 - MICROSECOND).has_violations("late_shipment")
    story.at(THURSDAY_9).has_no_violations()
    story.at(FRIDAY_9 + MICROSECOND).has_violations("late_shipment")


def test_a_shipment_told_late_takes_the_stockout_away() -> None:
    story = given(awaiting_shipment())
    story.at(NEXT_TUESDAY_9).has_violations("late_shipment", "stockout/deemed")
    story.and_(tracking_uploaded(at=MONDAY_12), picked_up(at=MONDAY_13), learned_at=NEXT_TUESDAY_9).at(
        NEXT_TUESDAY_9
    ).has_no_violations()
