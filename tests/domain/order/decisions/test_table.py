"""The table of actions, and the laws that hold for every command: when it occurred, and what was so then."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from domain.kernel import CLOCK_SKEW, EARLIEST
from domain.order import commands as c
from domain.order import events as e
from domain.order.decisions.table import ACTIONS, LONGEST_HISTORY
from tests.domain.vocabulary import (
    A_COMMAND_FOR,
    ABSURD,
    FRIDAY_9,
    IN_REVIEW,
    MICROSECOND,
    MONDAY_8,
    MONDAY_9,
    MONDAY_10,
    MONDAY_11,
    MONDAY_12,
    MONDAY_13,
    MONDAY_14,
    MONDAY_15,
    MONDAY_16,
    NEXT_MONDAY_9,
    PLACE,
    PLACE_HOLD,
    REJECT,
    RELEASE_HOLD,
    REQUEST_STOCKOUT,
    SHIPPED,
    THURSDAY_9,
    TUESDAY_9,
    UPLOAD_SF1,
    WEDNESDAY_9,
    awaiting_shipment,
    complaint_decided,
    complaint_filed,
    given,
    given_nothing,
    group_failed,
    hold_placed,
    hold_released,
    hours,
    line,
    placed,
    receipt_confirmed,
    review_completed,
    stockout_requested,
)


@pytest.mark.parametrize("name", [name for name in ACTIONS if name != "place"])
def test_an_unknown_order_can_only_be_placed(name: str) -> None:
    given_nothing().when(A_COMMAND_FOR[name], at=MONDAY_9).rejects("unknown_order")


def test_a_history_does_not_grow_without_end() -> None:
    story = given(awaiting_shipment(), [hold_placed(at=MONDAY_10)] * (LONGEST_HISTORY - 3))
    say = c.ContactBuyer(channel="chat", message="We are on it.")
    story.when(say, at=MONDAY_11).then(e.BuyerContacted("chat", "We are on it.")).when(say, at=MONDAY_12).rejects(
        "history_full"
    )


# ---- backdated commands ---------------------------------------------------------------------------


def test_a_lock_that_was_in_force_then_cannot_be_passed_by_choosing_a_time() -> None:
    given(IN_REVIEW, review_completed("rejected", at=MONDAY_15)).when(
        UPLOAD_SF1, at=MONDAY_13, recorded_at=MONDAY_16
    ).rejects("order_locked", hold="stockout_review", because="At 2026-03-02T05:00:00+00:00")


def test_a_lock_that_is_in_force_now_cannot_be_passed_by_choosing_a_time() -> None:
    given(IN_REVIEW).when(UPLOAD_SF1, at=MONDAY_10, recorded_at=MONDAY_13).rejects(
        "order_locked", hold="stockout_review"
    )


def test_a_hold_that_was_in_force_then_cannot_be_passed_by_choosing_a_time() -> None:
    given(awaiting_shipment(), hold_placed(at=MONDAY_12), hold_released(at=MONDAY_15)).when(
        UPLOAD_SF1, at=MONDAY_13, recorded_at=MONDAY_16
    ).rejects("order_locked", hold="manual")


def test_a_lock_of_observed_beginning_counts_as_in_force_before() -> None:
    given(
        awaiting_shipment(),
        stockout_requested(at=MONDAY_12).observed(),
    ).when(UPLOAD_SF1, at=MONDAY_10, recorded_at=MONDAY_13).rejects("order_locked", hold="stockout_review")


def test_a_lock_of_observed_end_counts_as_in_force_until_it_was_seen_lifted() -> None:
    given(
        awaiting_shipment(),
        stockout_requested(at=MONDAY_12).observed(),
        review_completed("rejected", at=MONDAY_15).observed(),
    ).when(UPLOAD_SF1, at=MONDAY_13, recorded_at=MONDAY_16).rejects("order_locked", hold="stockout_review")


def test_a_hold_of_observed_end_counts_as_in_force_until_it_was_seen_lifted() -> None:
    given(
        awaiting_shipment(),
        hold_placed("risk_control", at=MONDAY_12).observed(),
        hold_released("risk_control", at=MONDAY_15).observed(),
    ).when(UPLOAD_SF1, at=MONDAY_13, recorded_at=MONDAY_16).rejects("order_locked", hold="risk_control")


def test_between_two_locks_a_shipment_told_late_is_taken() -> None:
    given(IN_REVIEW, review_completed("rejected", at=MONDAY_14)).when(
        UPLOAD_SF1, at=MONDAY_11, recorded_at=MONDAY_16
    ).then(e.TrackingUploaded("SF", "SF1"), occurred_at=MONDAY_11)


def test_a_decision_told_late_does_not_end_an_application_filed_after_it() -> None:
    """Choosing the time of an earlier review must not open the lock of the later one."""
    given(
        IN_REVIEW,
        review_completed("rejected", at=MONDAY_14),
        stockout_requested(at=MONDAY_15),
    ).when(REJECT, at=MONDAY_13, recorded_at=MONDAY_16).rejects("invalid_request", pointer="/occurred_at").when(
        UPLOAD_SF1, at=MONDAY_16
    ).rejects("order_locked", hold="stockout_review")


def test_a_release_told_late_does_not_lift_a_hold_placed_after_it() -> None:
    given(
        awaiting_shipment(),
        hold_placed(at=MONDAY_11),
        hold_released(at=MONDAY_13),
        hold_placed(at=MONDAY_15),
    ).when(RELEASE_HOLD, at=MONDAY_12, recorded_at=MONDAY_16).rejects(
        "invalid_request", pointer="/occurred_at"
    ).when(UPLOAD_SF1, at=MONDAY_16).rejects("order_locked", hold="manual")


def test_a_complaints_decision_told_late_does_not_settle_a_complaint_filed_after_it() -> None:
    given(
        SHIPPED,
        complaint_filed(at=TUESDAY_9),
        complaint_decided("dismissed", at=THURSDAY_9),
        complaint_filed(at=FRIDAY_9),
    ).when(c.DecideComplaint(outcome="upheld"), at=WEDNESDAY_9, recorded_at=NEXT_MONDAY_9).rejects(
        "invalid_request", pointer="/occurred_at"
    )


def test_an_application_told_late_cannot_hide_the_one_known_already() -> None:
    """Two reviews that overlap would leave the time between their ends unlocked."""
    given(IN_REVIEW, review_completed("rejected", at=MONDAY_15)).when(
        REQUEST_STOCKOUT, at=MONDAY_11, recorded_at=MONDAY_16
    ).rejects("invalid_request", pointer="/occurred_at")


def test_a_hold_told_late_cannot_hide_the_one_known_already() -> None:
    """Lifting the one would lift the other for the time between their ends."""
    given(awaiting_shipment(), hold_placed(at=MONDAY_12), hold_released(at=MONDAY_15)).when(
        PLACE_HOLD, at=MONDAY_11, recorded_at=MONDAY_16
    ).rejects("invalid_request", pointer="/occurred_at").when(
        c.PlaceHold(hold="risk_control", reason="bot"), at=MONDAY_11, recorded_at=MONDAY_16
    ).then(e.HoldPlaced("risk_control", "bot"), occurred_at=MONDAY_11)


def test_a_hold_told_late_for_a_time_when_it_was_in_force_changes_nothing() -> None:
    given(awaiting_shipment(), hold_placed(at=MONDAY_11), hold_released(at=MONDAY_13)).when(
        PLACE_HOLD, at=MONDAY_12, recorded_at=MONDAY_14
    ).then_nothing()


def test_what_the_order_was_not_ready_for_then_is_refused_now() -> None:
    given(awaiting_shipment()).when(UPLOAD_SF1, at=MONDAY_8, recorded_at=MONDAY_12).rejects(
        "not_shippable", because="group has not formed"
    )


def test_a_report_may_come_in_any_order() -> None:
    given(SHIPPED).when(c.RecordPickup(), at=MONDAY_11, recorded_at=MONDAY_13).then(e.ParcelPickedUp("SF1"))


def test_nothing_happens_to_an_order_before_it_is_placed() -> None:
    given(placed()).when(c.FormGroup(), at=MONDAY_8 - MICROSECOND, recorded_at=MONDAY_9).rejects(
        "invalid_request", pointer="/occurred_at"
    )


def test_a_cancellation_told_late_cannot_pass_a_shipment() -> None:
    given(SHIPPED).when(c.Cancel(reason="changed_mind"), at=MONDAY_10, recorded_at=MONDAY_13).rejects(
        "already_shipped"
    )


def test_a_group_that_failed_cannot_have_formed_before() -> None:
    given(placed(), group_failed(at=MONDAY_10)).when(c.FormGroup(), at=MONDAY_9, recorded_at=MONDAY_12).rejects(
        "order_closed"
    )


# ---- when it occurred -----------------------------------------------------------------------------


def test_what_says_no_time_occurred_now() -> None:
    given(awaiting_shipment()).when(UPLOAD_SF1, at=MONDAY_12).then(
        e.TrackingUploaded("SF", "SF1"), occurred_at=MONDAY_12
    )


def test_what_says_no_time_comes_after_a_fact_of_a_clock_that_is_ahead() -> None:
    given(awaiting_shipment()).when(
        REQUEST_STOCKOUT, at=MONDAY_12 + timedelta(minutes=9), recorded_at=MONDAY_12
    ).then(e.StockoutRequested("no_supply"), occurred_at=MONDAY_12 + timedelta(minutes=9)).when(
        REJECT, at=MONDAY_12 + timedelta(minutes=1)
    ).then(e.ReviewCompleted("rejected"), occurred_at=MONDAY_12 + timedelta(minutes=9))


def test_what_says_no_time_is_not_dragged_into_a_future_the_platform_showed_by_mistake() -> None:
    far = datetime(2099, 1, 1, tzinfo=UTC)
    outcome = given(SHIPPED, receipt_confirmed(at=far).reported_by("export")).when(
        c.FileComplaint(finding="empty_parcel"), at=TUESDAY_9
    )
    outcome.then(e.ParcelComplaintFiled("empty_parcel"))
    assert outcome.occurred_at <= TUESDAY_9 + CLOCK_SKEW


def test_the_earliest_and_the_latest_time_that_make_sense() -> None:
    given_nothing().when(PLACE, at=EARLIEST, recorded_at=MONDAY_8).then(
        e.OrderPlaced((line(),), "ordinary", 4_300), occurred_at=EARLIEST
    )
    given(awaiting_shipment()).when(UPLOAD_SF1, at=MONDAY_12 + CLOCK_SKEW, recorded_at=MONDAY_12).then(
        e.TrackingUploaded("SF", "SF1"), occurred_at=MONDAY_12 + CLOCK_SKEW
    )


@pytest.mark.parametrize(
    "moment",
    [
        EARLIEST - MICROSECOND,
        MONDAY_12 + CLOCK_SKEW + MICROSECOND,
        *(absurd for absurd in ABSURD if not EARLIEST < absurd < MONDAY_12),
    ],
)
def test_a_time_without_sense_is_refused_and_names_the_field(moment: datetime) -> None:
    for name, command in A_COMMAND_FOR.items():
        if name != "place":
            given(awaiting_shipment()).when(command, at=moment, recorded_at=MONDAY_12).rejects(
                "invalid_request", pointer="/occurred_at"
            )
    given_nothing().when(PLACE, at=moment, recorded_at=MONDAY_12).rejects("invalid_request", pointer="/occurred_at")


def test_occurred_at_is_kept_in_utc() -> None:
    local = MONDAY_12.astimezone(timezone(hours(8)))
    outcome = given(awaiting_shipment()).when(UPLOAD_SF1, at=local, recorded_at=MONDAY_13)
    assert outcome.occurred_at == MONDAY_12
    assert outcome.occurred_at.tzinfo is UTC
