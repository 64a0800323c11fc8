"""What the platform shows has already happened: which events explain it, and what is never claimed from it.

Every ``.learns(...)`` also shows the same snapshot a second time and expects nothing new.
"""

from datetime import UTC, datetime
from typing import Any, Literal

import pytest
from msgspec.structs import replace

from domain.order import events as e
from domain.order.events import (
    ContradictionObserved,
    GroupFormed,
    HoldPlaced,
    HoldReleased,
    OrderCancelled,
    OrderPaid,
    OrderPlaced,
    OrderRefunded,
    ParcelDelivered,
    ReviewCompleted,
    ShipByChanged,
    StockoutRequested,
    TrackingReplaced,
    TrackingUploaded,
)
from domain.order.snapshot import Phase
from tests.domain.vocabulary import (
    DEEMED,
    FORMED,
    FRIDAY_9,
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
    NEXT_TUESDAY_9,
    SATURDAY_9,
    SECOND,
    SHIP_BY,
    SUNDAY_9,
    THURSDAY_9,
    TUESDAY_9,
    TWO_SKUS,
    UPLOAD_SF1,
    WEDNESDAY_9,
    Fact,
    awaiting_shipment,
    cancelled,
    delivered,
    given,
    given_nothing,
    group_failed,
    group_formed,
    hold_placed,
    hold_released,
    hours,
    line,
    paid,
    placed,
    receipt_confirmed,
    refunded,
    review_completed,
    ship_by_changed,
    shown,
    stockout_requested,
    tracking_replaced,
    tracking_uploaded,
)

SHIPPED_SF1: dict[str, Any] = {"shipped_at": MONDAY_12, "carrier": "SF", "tracking_number": "SF1"}


# ---- every phase is explained -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "more", "status"),
    [
        ("pending_payment", {"paid_fen": None, "paid_at": None, "group_formed_at": None}, "pending_payment"),
        ("pending_group", {"group_formed_at": None}, "pending_group"),
        ("awaiting_shipment", {}, "awaiting_shipment"),
        ("stockout_applied", {}, "stockout_review"),
        ("stockout_applied", {"refunded": True}, "refunded"),
        ("shipped", SHIPPED_SF1, "shipped"),
        ("shipped", {}, "shipped"),
        ("received", {**SHIPPED_SF1, "received_at": MONDAY_15}, "received"),
        ("received", SHIPPED_SF1, "delivered"),
        ("received", {}, "delivered"),
        ("cancelled", {}, "cancelled"),
        ("cancelled", {"paid_fen": None, "paid_at": None, "group_formed_at": None}, "cancelled"),
        ("awaiting_shipment", {"refunded": True}, "refunded"),
        ("shipped", {**SHIPPED_SF1, "refunded": True}, "refunded"),
        ("received", {**SHIPPED_SF1, "received_at": MONDAY_15, "refunded": True}, "refunded"),
    ],
)
@pytest.mark.parametrize("via", ["export", "poll", "push"])
def test_every_phase_is_explained_and_seeing_it_again_adds_nothing(
    phase: Phase, more: dict[str, Any], status: str, via: Literal["export", "poll", "push"]
) -> None:
    given_nothing().sees(shown(phase, via=via, **more)).story_after.at(TUESDAY_9).shows(
        status=status
    ).has_no_violations().has_anomalies()


def test_an_order_is_placed_by_the_earliest_time_the_platform_shows() -> None:
    given_nothing().sees(shown("awaiting_shipment")).learns_kinds(OrderPlaced, OrderPaid, GroupFormed).at(
        TUESDAY_9
    ).shows(placed_at=MONDAY_8, paid_at=MONDAY_8, group_formed_at=FORMED, paid_fen=4_300, ship_by=SHIP_BY)


def test_an_order_without_any_time_is_placed_by_the_sighting() -> None:
    given_nothing().sees(
        shown("pending_payment", paid_fen=None, paid_at=None, group_formed_at=None, seen_at=MONDAY_10)
    ).learns(OrderPlaced((line(),))).at(MONDAY_10).shows(placed_at=MONDAY_10)


def test_a_group_whose_time_is_not_shown_explains_the_phase_but_starts_no_clock() -> None:
    given_nothing().sees(shown("awaiting_shipment", group_formed_at=None)).story_after.at(NEXT_TUESDAY_9).shows(
        status="awaiting_shipment"
    ).has_no_violations()


def test_the_same_snapshot_again_adds_nothing_even_later() -> None:
    story = given_nothing().sees(shown("shipped", **SHIPPED_SF1)).story_after
    story.sees(shown("shipped", **SHIPPED_SF1, seen_at=FRIDAY_9)).learns_nothing()


def test_a_life_seen_step_by_step() -> None:
    story = given_nothing().sees(shown("awaiting_shipment", seen_at=MONDAY_10)).story_after
    story = story.sees(shown("awaiting_shipment", seen_at=MONDAY_11, refund_pending=True)).learns(
        HoldPlaced("refund_pending", "shown by the platform")
    )
    story.at(MONDAY_11).is_locked_by("refund_pending")
    story = story.sees(shown("awaiting_shipment", seen_at=MONDAY_12)).learns(
        HoldReleased("refund_pending", "no longer shown by the platform")
    )
    story = story.sees(shown("stockout_applied", seen_at=MONDAY_13)).learns(StockoutRequested("unknown"))
    story.at(MONDAY_13).shows(status="stockout_review").is_locked_by("stockout_review")
    story = story.sees(shown("awaiting_shipment", seen_at=MONDAY_14)).learns(ReviewCompleted("rejected"))
    story.at(MONDAY_14).shows(status="awaiting_shipment").is_not_locked()
    story = story.sees(
        shown("shipped", seen_at=MONDAY_16, shipped_at=MONDAY_15, carrier="SF", tracking_number="SF1")
    ).learns(tracking_uploaded("SF1", at=MONDAY_15))
    story = story.sees(
        shown("received", seen_at=FRIDAY_9, shipped_at=MONDAY_15, tracking_number="SF1", received_at=THURSDAY_9)
    ).learns(receipt_confirmed(at=THURSDAY_9))
    story.at(FRIDAY_9).shows(status="received").has_no_violations().has_anomalies()


# ---- payment and group ------------------------------------------------------------------------------


def test_a_payment_is_learned_with_its_time() -> None:
    given(placed(paid_fen=None)).sees(shown("pending_group", group_formed_at=None, paid_at=MONDAY_9)).learns(
        paid(4_300, at=MONDAY_9)
    )


def test_another_payment_than_ours_is_an_anomaly_and_ours_stays() -> None:
    given(awaiting_shipment()).sees(shown("awaiting_shipment", paid_fen=4_200)).learns(
        ContradictionObserved("paid_differs", "4300 fen", "4200 fen")
    ).at(TUESDAY_9).shows(paid_fen=4_300).has_anomalies("paid_differs")


def test_other_lines_than_ours_are_an_anomaly() -> None:
    given(awaiting_shipment()).sees(shown("awaiting_shipment", lines=TWO_SKUS)).learns(
        ContradictionObserved("lines_differ", "1 x SKU-1", "1 x SKU-2, 2 x SKU-1")
    ).at(TUESDAY_9).shows(lines=(line(),)).has_anomalies("lines_differ")


def test_the_same_contradiction_is_kept_once_another_one_beside_it() -> None:
    story = given(awaiting_shipment()).sees(shown("awaiting_shipment", paid_fen=4_200)).story_after
    story.sees(shown("awaiting_shipment", paid_fen=4_200, seen_at=WEDNESDAY_9)).learns_nothing()
    story.sees(shown("awaiting_shipment", paid_fen=4_100, seen_at=WEDNESDAY_9)).story_after.at(
        WEDNESDAY_9
    ).has_anomalies("paid_differs", "paid_differs")


def test_the_platforms_own_group_time_starts_the_clock_even_where_we_were_told_another() -> None:
    given(placed(), group_formed(at=MONDAY_10)).sees(shown("awaiting_shipment")).learns_kinds(
        ContradictionObserved, GroupFormed
    ).at(TUESDAY_9).shows(group_formed_at=FORMED, ship_by=SHIP_BY).has_anomalies("group_formed_at_differs")


def test_a_group_time_within_the_same_second_is_the_same() -> None:
    given(placed(), group_formed(at=FORMED + SECOND - MICROSECOND)).sees(
        shown("awaiting_shipment")
    ).learns_nothing()


def test_a_group_time_that_was_not_known_is_learned_though_it_is_the_same() -> None:
    given(placed(), group_formed(at=FORMED).observed()).sees(shown("awaiting_shipment")).learns(
        group_formed(at=FORMED)
    )


def test_the_platforms_ship_by_wins() -> None:
    given_nothing().sees(shown("awaiting_shipment", ship_by=THURSDAY_9)).story_after.at(THURSDAY_9).shows(
        ship_by=THURSDAY_9
    ).has_no_violations()


def test_a_ship_by_that_only_repeats_the_rule_is_no_news() -> None:
    given(awaiting_shipment()).sees(shown("awaiting_shipment", ship_by=SHIP_BY)).learns_nothing()


def test_a_moved_ship_by_is_learned() -> None:
    given(awaiting_shipment()).sees(shown("awaiting_shipment", ship_by=FRIDAY_9)).learns(
        ShipByChanged(FRIDAY_9, "platform")
    ).at(THURSDAY_9).shows(ship_by=FRIDAY_9).has_no_violations()


# ---- times that are not carried ---------------------------------------------------------------------


@pytest.mark.parametrize("seen_at", [TUESDAY_9, THURSDAY_9, NEXT_TUESDAY_9])
def test_an_unshipped_order_whose_refund_was_observed_has_no_violation(seen_at: datetime) -> None:
    given_nothing().sees(shown("awaiting_shipment", refunded=True, seen_at=seen_at)).story_after.at(
        NEXT_TUESDAY_9
    ).shows(status="refunded").has_no_violations()


def test_its_clocks_are_waived_where_it_surely_ended_in_time_and_unknown_where_not() -> None:
    given_nothing().sees(shown("awaiting_shipment", refunded=True, seen_at=TUESDAY_9)).story_after.at(
        NEXT_TUESDAY_9
    ).has_deadline("tracking_upload", state="waived").has_deadline("deemed_stockout", state="waived")
    given_nothing().sees(shown("awaiting_shipment", refunded=True, seen_at=THURSDAY_9)).story_after.at(
        NEXT_TUESDAY_9
    ).has_deadline("tracking_upload", state="unknown").has_deadline("deemed_stockout", state="waived")
    given_nothing().sees(shown("awaiting_shipment", refunded=True, seen_at=NEXT_TUESDAY_9)).story_after.at(
        NEXT_TUESDAY_9
    ).has_deadline("tracking_upload", state="unknown").has_deadline("deemed_stockout", state="unknown")


def test_a_cancellation_observed_has_no_violation() -> None:
    given_nothing().sees(shown("cancelled", seen_at=NEXT_TUESDAY_9)).story_after.at(NEXT_TUESDAY_9).shows(
        status="cancelled"
    ).has_no_violations()


def test_a_shipment_seen_in_an_export_starts_no_pickup_clock() -> None:
    given_nothing().sees(shown("shipped", **SHIPPED_SF1)).story_after.at(NEXT_TUESDAY_9).has_deadline(
        "carrier_pickup", state="unknown", due_at=None, tracking_number="SF1"
    ).has_no_violations()


def test_a_shipment_seen_in_an_export_was_picked_up_once_it_is_received() -> None:
    given_nothing().sees(shown("received", **SHIPPED_SF1, received_at=THURSDAY_9)).story_after.at(
        NEXT_TUESDAY_9
    ).has_deadline("carrier_pickup", state="met", due_at=None)


def test_a_shipment_of_unknown_time_is_not_late_though_it_is_seen_after_the_ship_by() -> None:
    given_nothing().sees(shown("shipped", tracking_number="SF1", seen_at=NEXT_TUESDAY_9)).story_after.at(
        NEXT_TUESDAY_9
    ).has_no_violations().has_deadline("tracking_upload", state="unknown").has_deadline(
        "deemed_stockout", state="unknown"
    ).has_deadline("carrier_pickup", state="unknown")


def test_a_shipment_of_unknown_time_seen_before_the_ship_by_was_in_time() -> None:
    given_nothing().sees(shown("shipped", tracking_number="SF1", seen_at=SHIP_BY)).story_after.at(
        NEXT_TUESDAY_9
    ).has_deadline("tracking_upload", state="met").has_no_violations()


def test_a_shipment_the_export_dates_after_the_ship_by_is_late() -> None:
    given_nothing().sees(
        shown("shipped", shipped_at=SHIP_BY + SECOND, tracking_number="SF1", seen_at=FRIDAY_9)
    ).story_after.at(FRIDAY_9).has_violations("late_shipment")


def test_an_unshipped_order_in_an_export_after_the_ship_by_is_late_and_then_a_stockout() -> None:
    story = given_nothing().sees(shown("awaiting_shipment", seen_at=NEXT_TUESDAY_9)).story_after
    story.at(NEXT_TUESDAY_9).has_violations("late_shipment", "stockout/deemed")


def test_an_application_still_pending_when_the_ship_by_passes_is_late_whenever_it_was_filed() -> None:
    for seen_at in (TUESDAY_9, THURSDAY_9, NEXT_TUESDAY_9):
        story = given_nothing().sees(shown("stockout_applied", seen_at=seen_at)).story_after
        story.at(SHIP_BY).has_no_violations()
        story.at(NEXT_TUESDAY_9).has_violations("late_shipment").has_deadline(
            "deemed_stockout", state="pending"
        ).has_deadline("review_decision", state="unknown", due_at=None)


def test_an_application_pending_after_the_ship_by_stays_late_though_a_refund_is_seen_later() -> None:
    """A refund undoes nothing that arose before it, and it can't have come before the application was seen."""
    given_nothing().sees(shown("stockout_applied", seen_at=THURSDAY_9)).story_after.sees(
        shown("stockout_applied", refunded=True, seen_at=NEXT_MONDAY_9)
    ).learns(ReviewCompleted("approved"), OrderRefunded("unknown", "unknown")).at(NEXT_TUESDAY_9).has_violations(
        "late_shipment"
    )


def test_an_application_filed_after_the_ship_by_stays_late_though_a_refund_is_seen_later() -> None:
    given(awaiting_shipment(), stockout_requested(at=THURSDAY_9)).sees(
        shown("awaiting_shipment", refunded=True, seen_at=NEXT_MONDAY_9)
    ).story_after.at(NEXT_TUESDAY_9).has_violations("late_shipment")


def test_an_application_pending_after_the_ship_by_stays_late_though_a_shipment_is_seen_later() -> None:
    given_nothing().sees(shown("stockout_applied", seen_at=THURSDAY_9)).story_after.sees(
        shown("shipped", tracking_number="SF1", seen_at=NEXT_MONDAY_9)
    ).story_after.at(NEXT_TUESDAY_9).has_violations("late_shipment")


def test_an_application_seen_before_the_ship_by_and_granted_by_an_unknown_time_has_no_violation() -> None:
    given_nothing().sees(shown("stockout_applied", seen_at=TUESDAY_9)).story_after.sees(
        shown("stockout_applied", refunded=True, seen_at=NEXT_MONDAY_9)
    ).story_after.at(NEXT_TUESDAY_9).shows(status="refunded").has_no_violations()


@pytest.mark.parametrize("seen_at", [TUESDAY_9, THURSDAY_9, NEXT_TUESDAY_9])
def test_an_application_and_its_refund_first_seen_together_have_no_violation(seen_at: datetime) -> None:
    """Nothing shows that the order was still open at the ship-by."""
    given_nothing().sees(shown("stockout_applied", refunded=True, seen_at=seen_at)).story_after.at(
        NEXT_TUESDAY_9
    ).shows(status="refunded").has_no_violations()


def test_the_expected_decision_of_an_application_of_unknown_time_is_not_made_up() -> None:
    seen = given_nothing().sees(shown("stockout_applied")).story_after.at(TUESDAY_9)
    (hold,) = seen.view.shipment_lock.holds
    assert (hold.hold, hold.since, hold.expected_decision) == ("stockout_review", TUESDAY_9, None)


def test_an_order_of_a_future_no_calendar_reaches_is_shown_all_the_same() -> None:
    """The platform's nonsense is kept; it must not make the order unreadable."""
    end_of_time = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    given_nothing().sees(shown("awaiting_shipment", ship_by=end_of_time)).story_after.at(NEXT_TUESDAY_9).shows(
        status="awaiting_shipment", ship_by=end_of_time
    ).has_no_violations()
    given_nothing().sees(shown("awaiting_shipment", group_formed_at=end_of_time)).story_after.at(
        NEXT_TUESDAY_9
    ).shows(status="awaiting_shipment").has_no_violations()
    given(awaiting_shipment(), Fact(TrackingUploaded("SF", "SF1"), end_of_time)).at(NEXT_TUESDAY_9).shows(
        status="shipped"
    )


# ---- stockout ---------------------------------------------------------------------------------------


def test_an_application_seen_and_then_shipped_was_rejected_by_the_shipment() -> None:
    given(awaiting_shipment(), stockout_requested(at=MONDAY_12).observed()).sees(
        shown("shipped", shipped_at=MONDAY_15, carrier="SF", tracking_number="SF1", via="poll")
    ).learns_kinds(ReviewCompleted, TrackingUploaded).at(TUESDAY_9).shows(status="shipped").is_not_locked()


def test_the_merchants_own_application_seen_shipped_was_rejected_too() -> None:
    given(awaiting_shipment(), stockout_requested(at=MONDAY_12)).sees(
        shown("shipped", shipped_at=MONDAY_15, carrier="SF", tracking_number="SF1", via="poll")
    ).learns_kinds(ReviewCompleted, TrackingUploaded).at(TUESDAY_9).shows(status="shipped").is_not_locked()


def test_an_application_seen_and_then_gone_was_rejected() -> None:
    given(awaiting_shipment(), stockout_requested(at=MONDAY_12).observed()).sees(shown("awaiting_shipment")).learns(
        ReviewCompleted("rejected")
    ).at(TUESDAY_9).shows(status="awaiting_shipment").is_not_locked()


def test_the_merchants_own_application_that_the_platform_does_not_show_keeps_its_lock() -> None:
    given(awaiting_shipment(), stockout_requested(at=MONDAY_12)).sees(shown("awaiting_shipment")).learns(
        ContradictionObserved("application_not_seen", "stockout applied for", "awaiting_shipment")
    ).at(TUESDAY_9).is_locked_by("stockout_review").has_anomalies("application_not_seen")


def test_the_merchants_own_application_seen_pending_is_no_news() -> None:
    given(awaiting_shipment(), stockout_requested(at=MONDAY_12)).sees(shown("stockout_applied")).learns_nothing()


def test_an_application_seen_refunded_was_granted() -> None:
    given(awaiting_shipment(), stockout_requested(at=MONDAY_12)).sees(
        shown("stockout_applied", refunded=True)
    ).learns(ReviewCompleted("approved"), OrderRefunded("unknown", "unknown")).at(TUESDAY_9).shows(
        status="refunded"
    )


def test_an_application_seen_after_a_rejection_is_another_one() -> None:
    given(awaiting_shipment(), stockout_requested(at=MONDAY_10), review_completed("rejected", at=MONDAY_12)).sees(
        shown("stockout_applied")
    ).learns(StockoutRequested("unknown")).at(TUESDAY_9).is_locked_by("stockout_review")


def test_an_application_seen_before_its_rejection_is_the_one_rejected() -> None:
    given(awaiting_shipment(), stockout_requested(at=MONDAY_10), review_completed("rejected", at=MONDAY_12)).sees(
        shown("stockout_applied", seen_at=MONDAY_11)
    ).learns_nothing()


def test_an_application_seen_on_a_shipped_order_is_an_anomaly_and_locks() -> None:
    given(awaiting_shipment(), tracking_uploaded(at=MONDAY_12)).sees(shown("stockout_applied")).learns(
        ContradictionObserved("stockout_after_shipment", "shipped", "stockout applied for"),
        StockoutRequested("unknown"),
    ).at(TUESDAY_9).is_locked_by("stockout_review").has_anomalies("stockout_after_shipment")


def test_an_application_seen_at_the_very_moment_of_its_decision_is_the_one_decided() -> None:
    given(awaiting_shipment(), stockout_requested(at=MONDAY_10), review_completed("rejected", at=MONDAY_12)).sees(
        shown("stockout_applied", seen_at=MONDAY_12)
    ).learns_nothing()


def test_an_open_application_ended_otherwise_is_neither_granted_nor_rejected() -> None:
    applied = given(awaiting_shipment(), stockout_requested(at=MONDAY_12).observed())
    applied.sees(shown("awaiting_shipment", refunded=True)).learns(OrderRefunded("unknown", "unknown"))
    applied.sees(shown("cancelled")).learns(OrderCancelled("unknown"))


# ---- holds ------------------------------------------------------------------------------------------


def test_risk_control_and_a_pending_refund_lock_the_parcel() -> None:
    given(awaiting_shipment()).sees(
        shown("awaiting_shipment", under_review=True, refund_pending=True, seen_at=MONDAY_12)
    ).learns(
        HoldPlaced("risk_control", "shown by the platform"), HoldPlaced("refund_pending", "shown by the platform")
    ).when(UPLOAD_SF1, at=MONDAY_13).rejects("order_locked", because="risk control and refund pending")


def test_a_hold_seen_is_lifted_when_it_is_seen_no_more() -> None:
    given(awaiting_shipment(), hold_placed("risk_control", at=MONDAY_12).observed()).sees(
        shown("awaiting_shipment")
    ).learns(HoldReleased("risk_control", "no longer shown by the platform")).at(TUESDAY_9).is_not_locked()


@pytest.mark.parametrize("hold", ["manual", "risk_control", "refund_pending"])
def test_the_merchants_own_lock_is_not_lifted_by_a_snapshot(hold: e.HoldKind) -> None:
    given(awaiting_shipment(), hold_placed(hold, at=MONDAY_12)).sees(
        shown("awaiting_shipment")
    ).learns_nothing().at(TUESDAY_9).is_locked_by(hold)


def test_a_hold_on_an_order_that_ended_is_no_news() -> None:
    given(awaiting_shipment(), refunded(at=MONDAY_12)).sees(
        shown("awaiting_shipment", refunded=True, under_review=True)
    ).learns_nothing()


def test_what_ends_in_the_same_look_needs_no_lock() -> None:
    given(awaiting_shipment()).sees(
        shown("awaiting_shipment", refunded=True, under_review=True, refund_pending=True)
    ).learns(OrderRefunded("unknown", "unknown"))


# ---- shipment ---------------------------------------------------------------------------------------


def test_a_shipment_is_learned_with_its_time() -> None:
    given(awaiting_shipment()).sees(shown("shipped", **SHIPPED_SF1, via="poll")).learns(
        tracking_uploaded("SF1", at=MONDAY_12)
    )


def test_another_number_takes_the_place_of_ours() -> None:
    given(awaiting_shipment(), tracking_uploaded("SF1", at=MONDAY_12)).sees(
        shown("shipped", shipped_at=MONDAY_12, carrier="ZTO", tracking_number="ZT9", via="poll")
    ).learns(TrackingReplaced("ZTO", "ZT9", "SF1", "shown by the platform"))


def test_a_shipment_without_a_number_gets_it_when_it_is_shown() -> None:
    given_nothing().sees(shown("shipped", shipped_at=MONDAY_12)).story_after.sees(
        shown("shipped", **SHIPPED_SF1, seen_at=WEDNESDAY_9)
    ).story_after.at(WEDNESDAY_9).shows(status="shipped").has_deadline("tracking_upload", met_at=MONDAY_12)


def test_a_receipt_without_a_time_is_a_delivery_by_the_sighting() -> None:
    given(awaiting_shipment(), tracking_uploaded("SF1", at=MONDAY_12)).sees(
        shown("received", **SHIPPED_SF1)
    ).learns(ParcelDelivered("SF1")).at(TUESDAY_9).shows(status="delivered")


def test_a_delivery_seen_without_a_number_is_the_delivery_of_our_parcel() -> None:
    given(awaiting_shipment(), tracking_uploaded("SF1", at=MONDAY_12)).sees(shown("received")).story_after.at(
        TUESDAY_9
    ).shows(status="delivered")


def test_a_new_number_and_its_delivery_seen_at_once_deliver_the_new_number() -> None:
    story = (
        given(awaiting_shipment(), tracking_uploaded("SF1", at=MONDAY_12))
        .sees(shown("received", shipped_at=MONDAY_12, carrier="ZTO", tracking_number="ZT9"))
        .learns(TrackingReplaced("ZTO", "ZT9", "SF1", "shown by the platform"), ParcelDelivered("ZT9"))
    )
    story.at(TUESDAY_9).shows(status="delivered")


def test_a_delivery_seen_without_a_number_is_the_delivery_of_the_number_seen_later() -> None:
    story = given(awaiting_shipment()).sees(shown("received", seen_at=TUESDAY_9)).story_after
    after = story.sees(shown("received", tracking_number="SF1", seen_at=WEDNESDAY_9)).story_after
    after.at(WEDNESDAY_9).shows(status="delivered")


def test_a_delivery_seen_for_the_number_we_replaced_delivers_the_order() -> None:
    given(
        awaiting_shipment(),
        tracking_uploaded("SF1", at=MONDAY_12),
        tracking_replaced("SF1", "SF2", at=MONDAY_13),
    ).sees(shown("received", **SHIPPED_SF1)).story_after.at(TUESDAY_9).shows(status="delivered")


def test_a_shipment_in_spite_of_the_merchants_own_lock_is_kept_and_is_an_anomaly() -> None:
    given(awaiting_shipment(), hold_placed("manual", at=MONDAY_11)).sees(
        shown("shipped", **SHIPPED_SF1)
    ).story_after.at(TUESDAY_9).shows(status="shipped").has_anomalies("shipped_while_locked")


def test_a_shipment_after_an_approved_stockout_is_kept_and_is_an_anomaly() -> None:
    given(awaiting_shipment(), stockout_requested(at=MONDAY_10), review_completed("approved", at=MONDAY_11)).sees(
        shown("shipped", **SHIPPED_SF1)
    ).story_after.at(TUESDAY_9).has_anomalies("shipped_after_stockout")


def test_a_shipment_before_the_lock_is_no_anomaly() -> None:
    given(awaiting_shipment(), hold_placed("manual", at=MONDAY_13)).sees(
        shown("shipped", **SHIPPED_SF1)
    ).story_after.at(TUESDAY_9).shows(status="shipped").has_anomalies()


# ---- ends and contradictions ------------------------------------------------------------------------


def test_a_refund_is_learned_by_the_sighting() -> None:
    given(awaiting_shipment()).sees(shown("awaiting_shipment", refunded=True)).learns(
        OrderRefunded("unknown", "unknown")
    )


def test_a_cancellation_is_learned_by_the_sighting() -> None:
    given(placed(paid_fen=None)).sees(shown("cancelled", paid_fen=None, paid_at=None, group_formed_at=None)).learns(
        OrderCancelled("unknown")
    ).at(TUESDAY_9).shows(status="cancelled")


def test_a_shipment_the_platform_does_not_show_is_an_anomaly_and_stays() -> None:
    given(awaiting_shipment(), tracking_uploaded(at=MONDAY_12)).sees(shown("awaiting_shipment")).learns(
        ContradictionObserved("shipment_not_seen", "shipped", "awaiting_shipment")
    ).at(TUESDAY_9).shows(status="shipped")


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (cancelled(at=MONDAY_12), "cancelled"),
        (refunded(at=MONDAY_12), "refunded"),
        (group_failed(at=MONDAY_12), None),
    ],
)
def test_a_closed_order_the_platform_shows_alive_is_an_anomaly_and_stays_closed(
    end: Fact, status: str | None
) -> None:
    story = given(awaiting_shipment(), end)
    seen = story.sees(shown("awaiting_shipment")).learns_kinds(ContradictionObserved).at(TUESDAY_9)
    seen.has_anomalies("closed_order_alive").shows(status=status or "group_failed")


def test_a_cancelled_order_seen_shipped_keeps_both_facts() -> None:
    given(awaiting_shipment(), cancelled(at=MONDAY_10)).sees(shown("shipped", **SHIPPED_SF1)).learns_kinds(
        ContradictionObserved, TrackingUploaded
    ).at(TUESDAY_9).shows(status="cancelled").has_anomalies("closed_order_alive")


def test_a_shipped_order_seen_cancelled_keeps_both_facts() -> None:
    given(awaiting_shipment(), tracking_uploaded(at=MONDAY_12)).sees(shown("cancelled")).learns_kinds(
        ContradictionObserved, OrderCancelled
    ).at(TUESDAY_9).shows(status="cancelled").has_anomalies("cancelled_after_shipment")


def test_an_anomaly_says_when_it_was_seen() -> None:
    (anomaly,) = (
        given(awaiting_shipment())
        .sees(shown("awaiting_shipment", paid_fen=1))
        .story_after.at(TUESDAY_9)
        .view.anomalies
    )
    assert (anomaly.code, anomaly.expected, anomaly.seen, anomaly.seen_at) == (
        "paid_differs",
        "4300 fen",
        "1 fen",
        TUESDAY_9,
    )


# ---- an older view proves nothing -------------------------------------------------------------------


def test_a_stale_snapshot_does_not_unship() -> None:
    given(awaiting_shipment(), tracking_uploaded(at=MONDAY_12)).sees(
        shown("awaiting_shipment", seen_at=MONDAY_11)
    ).learns_nothing()


def test_a_stale_snapshot_does_not_revive_a_refunded_order() -> None:
    given(awaiting_shipment(), refunded(at=MONDAY_12)).sees(
        shown("awaiting_shipment", seen_at=MONDAY_11)
    ).learns_nothing()


def test_a_stale_snapshot_does_not_end_an_application_filed_after_it() -> None:
    given(awaiting_shipment(), stockout_requested(at=MONDAY_12).observed()).sees(
        shown("awaiting_shipment", seen_at=MONDAY_11)
    ).learns_nothing().at(MONDAY_13).is_locked_by("stockout_review")


def test_a_stale_snapshot_does_not_lift_a_hold_placed_after_it() -> None:
    given(awaiting_shipment(), hold_placed("risk_control", at=MONDAY_12).observed()).sees(
        shown("awaiting_shipment", seen_at=MONDAY_11)
    ).learns_nothing()


def test_a_stale_snapshot_does_not_lock_again_what_was_seen_unlocked_since() -> None:
    early = shown("awaiting_shipment", under_review=True, seen_at=MONDAY_10)
    late = shown("awaiting_shipment", seen_at=MONDAY_12)
    story = given(awaiting_shipment()).sees(early).story_after.sees(late).story_after
    story.sees(early).learns_nothing().sees(late).learns_nothing().at(MONDAY_12).is_not_locked()


def test_a_stale_snapshot_does_not_move_the_ship_by_back() -> None:
    early = shown("awaiting_shipment", ship_by=THURSDAY_9, seen_at=MONDAY_10)
    late = shown("awaiting_shipment", ship_by=FRIDAY_9, seen_at=MONDAY_12)
    story = given_nothing().sees(early).story_after.sees(late).story_after
    story.sees(early).learns_nothing().sees(late).learns_nothing().at(MONDAY_12).shows(ship_by=FRIDAY_9)


def test_a_stale_snapshot_does_not_lock_an_order_that_shipped_since() -> None:
    story = given(awaiting_shipment(), tracking_uploaded(at=MONDAY_15)).sees(
        shown("stockout_applied", seen_at=MONDAY_12)
    )
    story.story_after.at(MONDAY_16).shows(status="shipped").is_not_locked().has_anomalies()


def test_a_stale_snapshot_does_not_replace_the_number_that_was_seen_since() -> None:
    story = given(awaiting_shipment(), tracking_uploaded("SF2", at=MONDAY_15).observed("poll"))
    after = story.sees(
        shown("shipped", carrier="SF", tracking_number="SF1", seen_at=MONDAY_12, via="poll")
    ).story_after
    assert [parcel.tracking_number for parcel in after.order.current_parcels] == ["SF2"]


def test_a_stale_snapshot_still_brings_the_facts_that_were_missing() -> None:
    given(placed(paid_fen=None), group_formed()).sees(
        shown("awaiting_shipment", seen_at=MONDAY_9, paid_at=MONDAY_8)
    ).learns(paid(4_300, at=MONDAY_8))


# ---- the doors differ only in what they know --------------------------------------------------------


@pytest.mark.parametrize("via", ["export", "poll", "push"])
def test_a_shipment_seen_through_any_door_starts_no_pickup_clock_as_none_shows_scans(
    via: Literal["export", "poll", "push"],
) -> None:
    given_nothing().sees(shown("shipped", **SHIPPED_SF1, via=via)).story_after.at(NEXT_TUESDAY_9).has_deadline(
        "carrier_pickup", state="unknown", due_at=None
    ).has_no_violations()


def test_a_rejection_of_unknown_time_defers_the_deemed_stockout_to_its_sighting() -> None:
    given_nothing().sees(shown("stockout_applied", seen_at=FRIDAY_9)).story_after.sees(
        shown("awaiting_shipment", seen_at=SUNDAY_9)
    ).learns(ReviewCompleted("rejected")).at(SUNDAY_9).has_violations("late_shipment")


def test_what_was_shipped_before_the_three_days_is_no_stockout_though_seen_after_them() -> None:
    given_nothing().sees(shown("stockout_applied", seen_at=TUESDAY_9)).story_after.sees(
        shown("shipped", shipped_at=DEEMED - hours(1), tracking_number="SF1", seen_at=NEXT_MONDAY_9)
    ).story_after.at(NEXT_TUESDAY_9).has_violations("late_shipment").has_deadline("deemed_stockout", state="met")


def test_a_review_whose_end_is_observed_may_have_been_decided_in_time() -> None:
    given(awaiting_shipment(), stockout_requested(at=MONDAY_12)).and_(
        review_completed("rejected", at=SATURDAY_9).observed()
    ).at(NEXT_MONDAY_9).has_deadline("review_decision", state="unknown")


def test_a_ship_by_changed_by_command_gives_way_to_the_platforms() -> None:
    given(awaiting_shipment(), ship_by_changed(THURSDAY_9, at=MONDAY_10, reason="buyer_agreed")).sees(
        shown("awaiting_shipment", ship_by=FRIDAY_9)
    ).learns(ShipByChanged(FRIDAY_9, "platform"))


def test_a_source_that_does_not_tell_of_holds_lifts_none() -> None:
    given(awaiting_shipment()).sees(
        shown("awaiting_shipment", under_review=True, seen_at=MONDAY_12)
    ).story_after.sees(
        shown("awaiting_shipment", under_review=None, refund_pending=None, seen_at=TUESDAY_9)
    ).learns_nothing().at(TUESDAY_9).is_locked_by("risk_control")


# ---- a view of the very moment ----------------------------------------------------------------------

JUST_BEFORE = TUESDAY_9 - MICROSECOND
JUST_AFTER = TUESDAY_9 + MICROSECOND


def test_a_ship_by_seen_at_the_moment_of_the_last_promise_is_news() -> None:
    story = given(awaiting_shipment(), ship_by_changed(THURSDAY_9, at=TUESDAY_9))
    moved = shown("awaiting_shipment", ship_by=FRIDAY_9, seen_at=TUESDAY_9)
    story.sees(moved).learns(ShipByChanged(FRIDAY_9, "platform"))
    story.sees(replace(moved, seen_at=JUST_BEFORE)).learns_nothing()


def test_a_group_that_formed_at_the_moment_of_a_promise_brings_the_promise_seen_with_it() -> None:
    story = given(placed(), ship_by_changed(THURSDAY_9, at=MONDAY_9))
    formed = shown("awaiting_shipment", ship_by=FRIDAY_9)
    story.sees(replace(formed, group_formed_at=MONDAY_9)).learns(group_formed(at=MONDAY_9, ship_by=FRIDAY_9))
    story.sees(replace(formed, group_formed_at=MONDAY_9 - SECOND)).learns(
        group_formed(at=MONDAY_9 - SECOND), ShipByChanged(FRIDAY_9, "platform")
    )


def test_a_view_of_the_moment_of_the_last_event_contradicts_nothing() -> None:
    story = given(awaiting_shipment(), tracking_uploaded(at=TUESDAY_9))
    story.sees(shown("awaiting_shipment", seen_at=TUESDAY_9)).learns_nothing()
    story.sees(shown("awaiting_shipment", seen_at=JUST_AFTER)).learns_kinds(ContradictionObserved)


def test_a_hold_seen_at_the_moment_a_lock_was_lifted_is_another_one() -> None:
    story = given(awaiting_shipment(), hold_placed(at=MONDAY_12), hold_released(at=TUESDAY_9))
    locked = shown("awaiting_shipment", refund_pending=True, seen_at=TUESDAY_9)
    story.sees(locked).learns(HoldPlaced("refund_pending", "shown by the platform"))
    story.sees(replace(locked, seen_at=JUST_BEFORE)).learns_nothing()


def test_a_hold_is_not_lifted_by_a_view_of_the_moment_it_was_seen() -> None:
    story = given(awaiting_shipment(), hold_placed("risk_control", at=TUESDAY_9).observed())
    story.sees(shown("awaiting_shipment", seen_at=TUESDAY_9)).learns_nothing()
    story.sees(shown("awaiting_shipment", seen_at=JUST_AFTER)).learns_kinds(HoldReleased)


def test_an_application_is_not_ended_by_a_view_of_its_own_moment() -> None:
    for applied, end in (
        (stockout_requested(at=TUESDAY_9), ContradictionObserved),
        (stockout_requested(at=TUESDAY_9).observed(), ReviewCompleted),
    ):
        story = given(awaiting_shipment(), applied)
        story.sees(shown("awaiting_shipment", seen_at=TUESDAY_9)).learns_nothing()
        story.sees(shown("awaiting_shipment", seen_at=JUST_AFTER)).learns_kinds(end)


def test_an_application_seen_at_the_moment_of_the_shipment_is_news() -> None:
    story = given(awaiting_shipment(), tracking_uploaded(at=TUESDAY_9))
    story.sees(shown("stockout_applied", seen_at=TUESDAY_9)).learns_kinds(ContradictionObserved, StockoutRequested)
    story.sees(shown("stockout_applied", seen_at=JUST_BEFORE)).learns_nothing()


def test_an_application_seen_just_after_the_decision_is_another_one() -> None:
    story = given(awaiting_shipment(), stockout_requested(at=MONDAY_12), review_completed("rejected", at=TUESDAY_9))
    story.sees(shown("stockout_applied", seen_at=TUESDAY_9)).learns_nothing()
    story.sees(shown("stockout_applied", seen_at=JUST_AFTER)).learns(StockoutRequested("unknown"))


def test_an_application_granted_was_granted_and_is_not_seen_again() -> None:
    given(awaiting_shipment(), stockout_requested(at=MONDAY_12), review_completed("approved", at=MONDAY_13)).sees(
        shown("stockout_applied")
    ).learns_nothing()


def test_an_application_on_an_order_that_ended_is_no_application() -> None:
    given(awaiting_shipment(), refunded(at=MONDAY_12)).sees(
        shown("stockout_applied", refunded=True)
    ).learns_nothing()


def test_another_number_seen_at_the_moment_of_ours_takes_its_place() -> None:
    story = given(awaiting_shipment(), tracking_uploaded("SF1", at=TUESDAY_9))
    other = shown("shipped", carrier="SF", tracking_number="SF2", seen_at=TUESDAY_9)
    story.sees(other).learns(TrackingReplaced("SF", "SF2", "SF1", "shown by the platform"))
    story.sees(replace(other, seen_at=JUST_BEFORE)).learns(
        ContradictionObserved("tracking_number_differs", "SF1", "SF2")
    )


def test_another_number_takes_the_place_of_the_newest_parcel_and_the_others_are_delivered_too() -> None:
    given(
        placed(lines=TWO_SKUS),
        group_formed(),
        tracking_uploaded("SF1", at=MONDAY_13, lines=(e.ParcelLine("SKU-1", 2),)),
        tracking_uploaded("SF2", at=MONDAY_12, lines=(e.ParcelLine("SKU-2", 1),)),
    ).sees(shown("received", carrier="SF", tracking_number="SF3", lines=TWO_SKUS)).learns(
        TrackingReplaced("SF", "SF3", "SF1", "shown by the platform"),
        ParcelDelivered("SF2"),
        ParcelDelivered("SF3"),
    )


def test_a_parcel_that_is_delivered_already_is_not_delivered_again() -> None:
    given(
        placed(lines=TWO_SKUS),
        group_formed(),
        tracking_uploaded("SF1", at=MONDAY_12, lines=(e.ParcelLine("SKU-1", 2),)),
        tracking_uploaded("SF2", at=MONDAY_12, lines=(e.ParcelLine("SKU-2", 1),)),
        delivered("SF1", at=MONDAY_16),
    ).sees(shown("received", tracking_number="SF1", lines=TWO_SKUS)).learns(ParcelDelivered("SF2"))


def test_a_shipment_at_the_moment_of_the_lock_is_no_anomaly() -> None:
    for held_at, anomalies in ((MONDAY_12, ()), (MONDAY_12 - MICROSECOND, ("shipped_while_locked",))):
        given(awaiting_shipment(), hold_placed("manual", at=held_at)).sees(
            shown("shipped", **SHIPPED_SF1)
        ).story_after.at(TUESDAY_9).has_anomalies(*anomalies)


def test_a_hold_observed_may_be_younger_than_the_shipment() -> None:
    given(awaiting_shipment(), hold_placed("manual", at=MONDAY_11).observed()).sees(
        shown("shipped", **SHIPPED_SF1)
    ).story_after.at(TUESDAY_9).has_anomalies()


def test_a_shipment_of_a_closed_order_is_one_anomaly_though_a_lock_was_on_it() -> None:
    given(awaiting_shipment(), hold_placed("manual", at=MONDAY_10), cancelled(at=MONDAY_11)).sees(
        shown("shipped", **SHIPPED_SF1)
    ).story_after.at(TUESDAY_9).has_anomalies("closed_order_alive")


def test_an_application_seen_shipped_was_rejected_when_it_was_shipped_but_not_before_it_was_filed() -> None:
    story = given(awaiting_shipment(), stockout_requested(at=MONDAY_12))
    for shipped_at, decided_at in ((MONDAY_15, MONDAY_15), (MONDAY_10, MONDAY_12)):
        (decision, _) = story.sees(shown("shipped", shipped_at=shipped_at, tracking_number="SF1")).observations
        assert (decision.event, decision.occurred_at, decision.observed) == (
            ReviewCompleted("rejected"),
            decided_at,
            True,
        )


def test_a_refunded_order_may_be_seen_received_or_applied_for_but_not_waiting() -> None:
    story = given(awaiting_shipment(), tracking_uploaded("SF1", at=MONDAY_12), refunded(at=MONDAY_13))
    story.sees(shown("received", tracking_number="SF1")).story_after.at(TUESDAY_9).has_anomalies()
    story.sees(shown("stockout_applied")).story_after.at(TUESDAY_9).has_anomalies()
    story.sees(shown("awaiting_shipment")).story_after.at(TUESDAY_9).has_anomalies("closed_order_alive")
    gone = given(awaiting_shipment(), tracking_uploaded("SF1", at=MONDAY_12), cancelled(at=MONDAY_13))
    gone.sees(shown("received", tracking_number="SF1")).story_after.at(TUESDAY_9).has_anomalies(
        "closed_order_alive"
    )
