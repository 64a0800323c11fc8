"""What the stockout guide says, line by line: what Shiplock exists for."""

import pytest

from domain.order.commands import (
    Cancel,
    CompleteReview,
    ContactBuyer,
    DecideComplaint,
    FileComplaint,
    FormGroup,
    OrderedLine,
    Place,
    Refund,
    ReplaceTracking,
    RequestStockout,
    UploadTracking,
)
from domain.order.events import (
    BuyerContacted,
    ComplaintFinding,
    GroupFormed,
    OrderPlaced,
    OrderRefunded,
    ParcelComplaintDecided,
    ParcelComplaintFiled,
    ReviewCompleted,
    StockoutRequested,
    TrackingUploaded,
)
from tests.domain.vocabulary import (
    DEEMED,
    FRIDAY_9,
    MICROSECOND,
    MONDAY_8,
    MONDAY_9,
    MONDAY_10,
    MONDAY_12,
    MONDAY_13,
    NEXT_MONDAY_9,
    NEXT_TUESDAY_9,
    SHIP_BY,
    THURSDAY_9,
    TUESDAY_9,
    WEDNESDAY_9,
    awaiting_shipment,
    beijing,
    complaint_decided,
    complaint_filed,
    given,
    given_nothing,
    group_formed,
    hours,
    line,
    picked_up,
    placed,
    refunded,
    review_completed,
    shown,
    stockout_requested,
    tracking_uploaded,
)

# ---- the lock. Source: stockout-lock, review-window. ------------------------------------------------


def test_once_a_stockout_is_applied_for_nothing_may_be_shipped_until_the_decision() -> None:
    given(placed(), group_formed(at=MONDAY_9)).when(RequestStockout(reason="no_supply"), at=MONDAY_12).then(
        StockoutRequested("no_supply")
    ).when(UploadTracking(carrier="SF", tracking_number="SF1"), at=MONDAY_13).rejects(
        "order_locked", hold="stockout_review"
    )


def test_once_a_stockout_is_applied_for_no_tracking_number_is_replaced_either() -> None:
    given(
        awaiting_shipment(),
        tracking_uploaded("SF1", at=MONDAY_10),
        stockout_requested(at=MONDAY_12).observed(),
    ).when(ReplaceTracking(carrier="SF", tracking_number="SF2", reason="label was torn"), at=MONDAY_13).rejects(
        "order_locked", hold="stockout_review"
    )


def test_the_lock_lasts_for_as_long_as_the_application_is_undecided() -> None:
    given(awaiting_shipment(), stockout_requested(at=MONDAY_12)).when(
        UploadTracking(carrier="SF", tracking_number="SF1"), at=beijing(2027, 3, 2, 9)
    ).rejects("order_locked", hold="stockout_review")


def test_once_the_application_is_rejected_the_order_may_ship() -> None:
    given(awaiting_shipment(), stockout_requested(at=MONDAY_12)).when(
        CompleteReview(outcome="rejected"), at=TUESDAY_9
    ).then(ReviewCompleted("rejected")).when(
        UploadTracking(carrier="SF", tracking_number="SF1"), at=TUESDAY_9 + hours(1)
    ).then(TrackingUploaded("SF", "SF1")).at(TUESDAY_9 + hours(1)).shows(
        status="shipped"
    ).is_not_locked().has_no_violations()


def test_once_the_application_is_approved_nothing_may_be_shipped_any_more() -> None:
    given(awaiting_shipment(), stockout_requested(at=MONDAY_12)).when(
        CompleteReview(outcome="approved"), at=TUESDAY_9
    ).then(ReviewCompleted("approved")).when(
        UploadTracking(carrier="SF", tracking_number="SF1"), at=TUESDAY_9 + hours(1)
    ).rejects("not_shippable", because="stocked out")


def test_the_review_takes_two_to_three_working_days() -> None:
    seen = given(awaiting_shipment(), stockout_requested(at=MONDAY_12)).at(MONDAY_13)
    seen.is_locked_by("stockout_review")
    expected = seen.view.shipment_lock.holds[0].expected_decision
    assert expected is not None
    assert (expected.earliest, expected.latest, expected.certain) == (
        beijing(2026, 3, 4, 12),
        beijing(2026, 3, 5, 12),
        True,
    )


def test_the_merchant_watches_the_orders_status() -> None:
    story = (
        given_nothing()
        .when(
            Place(
                lines=(OrderedLine("SKU-1", "GOODS-1", "棉袜 Cotton socks", 1, 4_300),),
                paid_fen=4_300,
            ),
            at=MONDAY_8,
        )
        .then(OrderPlaced((line(),), "ordinary", 4_300))
    )
    story.at(MONDAY_8).shows(status="pending_group")
    story = story.when(FormGroup(), at=MONDAY_9).then(GroupFormed())
    story.at(MONDAY_9).shows(status="awaiting_shipment")
    story = story.when(RequestStockout(reason="no_supply"), at=MONDAY_12).then(StockoutRequested("no_supply"))
    story.at(MONDAY_12).shows(status="stockout_review")
    story = story.when(CompleteReview(outcome="approved"), at=TUESDAY_9).then(ReviewCompleted("approved"))
    story.at(TUESDAY_9).shows(status="stocked_out")


# ---- what to do on stockout. Source: stockout-to-do, comfort-buyers. --------------------------------


def test_the_buyer_is_comforted_once_the_merchant_applied() -> None:
    applied = given(awaiting_shipment(), stockout_requested(at=MONDAY_12))
    applied.at(MONDAY_13).has_deadline("contact_buyer", state="pending")
    applied.when(ContactBuyer(channel="chat", message="We are sorry."), at=MONDAY_13).then(
        BuyerContacted("chat", "We are sorry.")
    ).at(MONDAY_13).has_deadline("contact_buyer", state="met", met_at=MONDAY_13)


def test_an_order_that_may_or_may_not_ship_is_applied_for_at_the_platform() -> None:
    given(awaiting_shipment()).at(MONDAY_12).allows("request-stockout", "upload-tracking")


# ---- what counts as stockout. Source: merchant-refund, deemed-stockout. -----------------------------


def test_a_merchant_without_supply_who_gets_the_buyer_to_refund_is_a_stockout_though_the_refund_succeeds() -> None:
    given(awaiting_shipment()).when(Refund(initiated_by="merchant", reason="out_of_stock"), at=MONDAY_12).then(
        OrderRefunded("merchant", "out_of_stock")
    ).at(MONDAY_12).shows(status="refunded").has_violations("stockout/merchant_refund").has_violation(
        "stockout", arose_at=MONDAY_12, penalty_fen=500
    )


def test_calling_the_order_off_for_want_of_supply_is_the_same_stockout() -> None:
    story = given(awaiting_shipment())
    outcome = story.when(Cancel(reason="out_of_stock"), at=MONDAY_12)
    assert isinstance(outcome.decision, tuple)
    outcome.then(*outcome.decision).at(MONDAY_12).has_violations("stockout/merchant_refund")


def test_a_buyer_who_changed_their_mind_is_no_stockout() -> None:
    given(awaiting_shipment(), refunded("buyer", "changed_mind", at=MONDAY_12)).at(
        NEXT_TUESDAY_9
    ).has_no_violations()


def test_no_tracking_number_within_48_hours_of_the_group_forming_and_none_three_days_later_is_a_stockout() -> None:
    untouched = given(awaiting_shipment())
    untouched.at(SHIP_BY).has_no_violations()
    untouched.at(SHIP_BY + MICROSECOND).has_violations("late_shipment")
    untouched.at(DEEMED).has_violations("late_shipment")
    untouched.at(DEEMED + MICROSECOND).has_violations("late_shipment", "stockout/deemed")


def test_a_tracking_number_within_the_three_days_is_late_but_no_stockout() -> None:
    given(awaiting_shipment(), tracking_uploaded(at=THURSDAY_9), picked_up(at=THURSDAY_9 + hours(2))).at(
        NEXT_TUESDAY_9
    ).has_violations("late_shipment")


# ---- fraudulent shipping. Source: fraudulent-shipment, fraud-is-no-way-out. -------------------------


@pytest.mark.parametrize(
    ("finding", "what_came"),
    [
        ("empty_parcel", "an empty parcel"),
        ("different_goods", "a short-sleeved shirt for a jacket"),
        ("different_goods", "a data cable for a durian"),
    ],
)
def test_an_empty_parcel_or_something_else_than_was_bought_is_fraud(
    finding: ComplaintFinding, what_came: str
) -> None:
    given(awaiting_shipment(), tracking_uploaded(at=MONDAY_12), picked_up(at=MONDAY_13)).when(
        FileComplaint(finding=finding, evidence=what_came), at=WEDNESDAY_9
    ).then(ParcelComplaintFiled(finding, what_came)).when(DecideComplaint(outcome="upheld"), at=FRIDAY_9).then(
        ParcelComplaintDecided("upheld")
    ).at(FRIDAY_9).has_violations("fraudulent_shipment")


def test_a_complaint_that_is_dismissed_is_no_fraud() -> None:
    given(
        awaiting_shipment(),
        tracking_uploaded(at=MONDAY_12),
        picked_up(at=MONDAY_13),
        complaint_filed(at=WEDNESDAY_9),
        complaint_decided("dismissed", at=FRIDAY_9),
    ).at(NEXT_TUESDAY_9).has_no_violations()


@pytest.mark.parametrize("paid_fen", [1_000, 4_300, 43_000, 1_000_000])
def test_fraud_is_punished_far_harder_than_stockout(paid_fen: int) -> None:
    stockout = given(placed(paid_fen=paid_fen), group_formed()).at(NEXT_MONDAY_9).violation("stockout")
    fraud = (
        given(
            placed(paid_fen=paid_fen),
            group_formed(),
            tracking_uploaded(at=MONDAY_12),
            picked_up(at=MONDAY_13),
            complaint_filed("different_goods", at=WEDNESDAY_9),
            complaint_decided("upheld", at=FRIDAY_9),
        )
        .at(NEXT_MONDAY_9)
        .violation("fraudulent_shipment")
    )
    assert stockout.penalty_fen is not None
    assert fraud.penalty_fen is not None
    assert fraud.penalty_fen >= 2 * stockout.penalty_fen


def test_sending_something_else_does_not_escape_the_stockout_fine() -> None:
    locked = given(awaiting_shipment(), stockout_requested(at=MONDAY_12))
    locked.when(UploadTracking(carrier="SF", tracking_number="SF1"), at=MONDAY_13).rejects("order_locked")
    given(awaiting_shipment(), stockout_requested(at=MONDAY_12), review_completed("approved", at=TUESDAY_9)).at(
        TUESDAY_9
    ).has_violations("stockout/application_approved")


# ---- around it. Source: group-buying, dropshipping. -------------------------------------------------


def test_group_buying_nothing_runs_before_the_group_has_formed() -> None:
    given(placed(paid_fen=4_300)).when(UploadTracking(carrier="SF", tracking_number="SF1"), at=MONDAY_10).rejects(
        "not_shippable", because="group has not formed"
    ).at(NEXT_TUESDAY_9).shows(status="pending_group", deadlines=(), ship_by=None).has_no_violations()


def test_dropshipping_a_shipment_made_elsewhere_is_known_once_the_platform_shows_it() -> None:
    given(awaiting_shipment()).sees(
        shown("shipped", shipped_at=MONDAY_12, carrier="ZTO", tracking_number="ZT9", via="poll")
    ).learns(tracking_uploaded("ZT9", at=MONDAY_12, carrier="ZTO")).at(TUESDAY_9).shows(
        status="shipped"
    ).has_deadline("tracking_upload", state="met", met_at=MONDAY_12)
