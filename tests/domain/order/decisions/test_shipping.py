"""An order is shipped: tracking numbers, parcels, and what the carrier and the buyer report."""

from collections.abc import Callable

import pytest

from domain.kernel import Command
from domain.order import commands as c
from domain.order import events as e
from tests.domain.vocabulary import (
    FRIDAY_9,
    IN_REVIEW,
    MONDAY_8,
    MONDAY_9,
    MONDAY_10,
    MONDAY_11,
    MONDAY_12,
    MONDAY_13,
    MONDAY_14,
    MONDAY_15,
    MONDAY_16,
    SHIPPED,
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
    group_failed,
    group_formed,
    hold_placed,
    hold_released,
    hours,
    parcel,
    picked_up,
    placed,
    receipt_confirmed,
    refunded,
    replace_with,
    review_completed,
    stockout_requested,
    tracking_replaced,
    tracking_uploaded,
    upload,
)

# ---- upload-tracking ------------------------------------------------------------------------------


def test_upload_tracking_ships_the_order() -> None:
    given(awaiting_shipment()).when(UPLOAD_SF1, at=MONDAY_12).then(e.TrackingUploaded("SF", "SF1")).at(
        MONDAY_12
    ).shows(status="shipped").has_deadline("tracking_upload", state="met", met_at=MONDAY_12)


def test_upload_the_same_number_again_changes_nothing() -> None:
    given(SHIPPED).when(UPLOAD_SF1, at=MONDAY_13).then_nothing()


def test_upload_another_number_is_refused_and_points_to_replacing() -> None:
    given(SHIPPED).when(upload("SF2"), at=MONDAY_13).rejects("already_shipped", because="replace")


def test_upload_the_same_number_of_another_carrier_is_refused() -> None:
    given(SHIPPED).when(c.UploadTracking(carrier="ZTO", tracking_number="SF1"), at=MONDAY_13).rejects(
        "already_shipped"
    )


def test_a_locked_order_refuses_tracking() -> None:
    given(placed(), group_formed(at=MONDAY_9), stockout_requested(at=MONDAY_12)).when(
        UPLOAD_SF1, at=MONDAY_13
    ).rejects("order_locked", hold="stockout_review")


@pytest.mark.parametrize("hold", ["risk_control", "refund_pending", "manual"])
def test_every_hold_locks_the_order(hold: e.HoldKind) -> None:
    held = given(awaiting_shipment(), hold_placed(hold, at=MONDAY_10))
    held.when(UPLOAD_SF1, at=MONDAY_11).rejects("order_locked", hold=hold).at(MONDAY_11).is_locked_by(hold).forbids(
        "upload-tracking", because="locked"
    )


def test_several_holds_are_all_named_and_all_must_go() -> None:
    given(IN_REVIEW, hold_placed("manual", at=MONDAY_13), hold_placed("risk_control", at=MONDAY_13)).when(
        UPLOAD_SF1, at=MONDAY_14
    ).rejects("order_locked", because="stockout review and manual and risk control").and_(
        review_completed("rejected", at=MONDAY_14), hold_released("manual", at=MONDAY_14)
    ).when(UPLOAD_SF1, at=MONDAY_15).rejects("order_locked", hold="risk_control").and_(
        hold_released("risk_control", at=MONDAY_15)
    ).when(UPLOAD_SF1, at=MONDAY_16).then(e.TrackingUploaded("SF", "SF1"))


def test_a_locked_order_is_refused_as_locked_whatever_else_is_wrong() -> None:
    given(placed(), hold_placed(at=MONDAY_9)).when(UPLOAD_SF1, at=MONDAY_10).rejects("order_locked", hold="manual")


@pytest.mark.parametrize(
    "end",
    [
        group_failed(at=MONDAY_9),
        cancelled(at=MONDAY_9),
        refunded(at=MONDAY_9),
    ],
)
def test_a_closed_order_ships_nothing(end: Fact) -> None:
    given(placed(), end).when(UPLOAD_SF1, at=MONDAY_10).rejects("not_shippable")


def test_a_part_refund_does_not_stop_the_rest_from_being_shipped() -> None:
    given(awaiting_shipment(), refunded(at=MONDAY_10, amount_fen=4_299)).when(UPLOAD_SF1, at=MONDAY_11).then(
        e.TrackingUploaded("SF", "SF1")
    )


def test_a_tracking_number_told_late_counts_from_when_it_went_up() -> None:
    given(awaiting_shipment()).when(UPLOAD_SF1, at=MONDAY_12, recorded_at=FRIDAY_9).then(
        e.TrackingUploaded("SF", "SF1"), occurred_at=MONDAY_12
    ).at(FRIDAY_9).has_deadline("tracking_upload", state="met", met_at=MONDAY_12)


# ---- several parcels ------------------------------------------------------------------------------


TWO_PARCELS_TO_COME = (placed(lines=TWO_SKUS, paid_fen=12_900), group_formed())


def test_an_order_may_travel_in_several_parcels() -> None:
    story = (
        given(TWO_PARCELS_TO_COME)
        .when(upload("SF1", SKU_1=1), at=MONDAY_10)
        .then(e.TrackingUploaded("SF", "SF1", parcel(SKU_1=1)))
        .when(upload("SF2", SKU_1=1, SKU_2=1), at=THURSDAY_9)
        .then(e.TrackingUploaded("SF", "SF2", parcel(SKU_1=1, SKU_2=1)))
    )
    seen = (
        story.at(THURSDAY_9).shows(status="shipped").has_deadline("tracking_upload", state="met", met_at=MONDAY_10)
    )
    assert [shown.tracking_number for shown in seen.view.parcels] == ["SF1", "SF2"]


def test_the_same_parcel_again_changes_nothing() -> None:
    given(TWO_PARCELS_TO_COME, tracking_uploaded("SF1", at=MONDAY_10, lines=parcel(SKU_1=1))).when(
        upload("SF1", SKU_1=1), at=MONDAY_11
    ).then_nothing()


def test_the_same_number_with_other_contents_is_refused() -> None:
    given(TWO_PARCELS_TO_COME, tracking_uploaded("SF1", at=MONDAY_10, lines=parcel(SKU_1=1))).when(
        upload("SF1", SKU_1=2), at=MONDAY_11
    ).rejects("already_shipped", because="other contents")


def test_a_further_parcel_must_say_what_is_in_it() -> None:
    given(TWO_PARCELS_TO_COME, tracking_uploaded("SF1", at=MONDAY_10, lines=parcel(SKU_1=1))).when(
        upload("SF2"), at=MONDAY_11
    ).rejects("already_shipped", because="lines")


def test_a_parcel_beside_a_whole_one_is_refused() -> None:
    given(TWO_PARCELS_TO_COME, tracking_uploaded("SF1", at=MONDAY_10)).when(
        upload("SF2", SKU_1=1), at=MONDAY_11
    ).rejects("already_shipped")


def test_a_parcel_holds_no_more_than_was_bought() -> None:
    given(TWO_PARCELS_TO_COME).when(upload("SF1", SKU_1=3), at=MONDAY_10).rejects(
        "invalid_request", pointer="/lines"
    )
    given(TWO_PARCELS_TO_COME, tracking_uploaded("SF1", at=MONDAY_10, lines=parcel(SKU_1=2))).when(
        upload("SF2", SKU_1=1), at=MONDAY_11
    ).rejects("invalid_request", pointer="/lines")


def test_a_parcel_holds_nothing_that_was_not_bought() -> None:
    given(TWO_PARCELS_TO_COME).when(upload("SF1", SKU_9=1), at=MONDAY_10).rejects(
        "invalid_request", pointer="/lines"
    )


def test_lines_of_the_same_sku_count_together() -> None:
    twice = c.UploadTracking(
        carrier="SF", tracking_number="SF1", lines=(c.PackedLine("SKU-2", 1), c.PackedLine("SKU-2", 1))
    )
    given(TWO_PARCELS_TO_COME).when(twice, at=MONDAY_10).rejects("invalid_request", pointer="/lines")


def test_when_everything_is_packed_no_further_parcel_is_offered() -> None:
    given(
        TWO_PARCELS_TO_COME,
        tracking_uploaded("SF1", at=MONDAY_10, lines=parcel(SKU_1=2)),
        tracking_uploaded("SF2", at=MONDAY_11, lines=parcel(SKU_2=1)),
    ).when(upload("SF3", SKU_1=1), at=MONDAY_12).rejects("already_shipped").at(MONDAY_12).forbids(
        "upload-tracking", because="replace"
    )


# ---- replace-tracking -----------------------------------------------------------------------------


def test_replace_tracking() -> None:
    seen = (
        given(SHIPPED)
        .when(replace_with("ZT9"), at=MONDAY_14)
        .then(e.TrackingReplaced("ZTO", "ZT9", "SF1", "label was torn"))
        .at(MONDAY_14)
    )
    old, new = seen.view.parcels
    assert (old.tracking_number, old.replaced_at) == ("SF1", MONDAY_14)
    assert (new.tracking_number, new.carrier, new.replaced_at) == ("ZT9", "ZTO", None)


def test_replace_with_the_number_that_is_up_changes_nothing() -> None:
    same = c.ReplaceTracking(carrier="SF", tracking_number="SF1", reason="label was torn")
    given(SHIPPED).when(same, at=MONDAY_14).then_nothing()
    given(SHIPPED).when(replace_with("SF1"), at=MONDAY_14).rejects("already_shipped", because="with SF")


def test_a_replaced_number_cannot_come_back() -> None:
    given(SHIPPED, tracking_replaced("SF1", "SF2", at=MONDAY_13)).when(replace_with("SF1"), at=MONDAY_14).rejects(
        "already_replaced"
    )


def test_replace_before_anything_was_shipped_is_refused() -> None:
    given(awaiting_shipment()).when(replace_with("ZT9"), at=MONDAY_10).rejects("not_shipped")


def test_a_locked_order_replaces_no_number() -> None:
    given(SHIPPED, hold_placed("risk_control", at=MONDAY_13)).when(replace_with("ZT9"), at=MONDAY_14).rejects(
        "order_locked", hold="risk_control"
    )


def test_replace_on_a_refunded_order_is_refused() -> None:
    given(SHIPPED, refunded(at=MONDAY_13)).when(replace_with("ZT9"), at=MONDAY_14).rejects("order_closed")


def test_a_delivered_parcel_needs_no_other_number() -> None:
    given(SHIPPED, delivered(at=TUESDAY_9)).when(replace_with("ZT9"), at=WEDNESDAY_9).rejects("already_delivered")


def test_replace_one_of_several_parcels_must_name_it() -> None:
    several = given(
        TWO_PARCELS_TO_COME,
        tracking_uploaded("SF1", at=MONDAY_10, lines=parcel(SKU_1=2)),
        tracking_uploaded("SF2", at=MONDAY_11, lines=parcel(SKU_2=1)),
    )
    several.when(replace_with("ZT9"), at=MONDAY_12).rejects("which_parcel", because="2 parcels")
    several.when(replace_with("ZT9", "SF7"), at=MONDAY_12).rejects("unknown_parcel", because="SF7")
    seen = (
        several.when(replace_with("ZT9", "SF1"), at=MONDAY_12)
        .then(e.TrackingReplaced("ZTO", "ZT9", "SF1", "label was torn"))
        .at(MONDAY_12)
    )
    assert [(p.tracking_number, p.lines) for p in seen.view.parcels if p.replaced_at is None] == [
        ("SF2", parcel(SKU_2=1)),
        ("ZT9", parcel(SKU_1=2)),
    ]


# ---- pickup, delivery, receipt --------------------------------------------------------------------


def test_record_pickup_delivery_and_receipt() -> None:
    story = given(SHIPPED).when(c.RecordPickup(), at=MONDAY_13).then(e.ParcelPickedUp("SF1"))
    story.at(MONDAY_13).shows(status="shipped").has_deadline("carrier_pickup", state="met", met_at=MONDAY_13)
    story = story.when(c.RecordDelivery(), at=TUESDAY_9).then(e.ParcelDelivered("SF1"))
    story.at(TUESDAY_9).shows(status="delivered")
    story = story.when(c.ConfirmReceipt(), at=WEDNESDAY_9).then(e.ReceiptConfirmed())
    story.at(WEDNESDAY_9).shows(status="received", received_at=WEDNESDAY_9)


@pytest.mark.parametrize(
    ("fact", "command"),
    [
        (picked_up(at=MONDAY_13), c.RecordPickup()),
        (delivered(at=MONDAY_13), c.RecordDelivery(tracking_number="SF1")),
        (receipt_confirmed(at=MONDAY_13), c.ConfirmReceipt()),
    ],
)
def test_what_is_recorded_already_changes_nothing(fact: Fact, command: Command) -> None:
    given(SHIPPED, fact).when(command, at=MONDAY_14).then_nothing()


@pytest.mark.parametrize("command", [c.RecordPickup(), c.RecordDelivery()])
def test_a_scan_of_an_order_without_parcels_must_name_its_number(command: Command) -> None:
    given(awaiting_shipment()).when(command, at=MONDAY_10).rejects("which_parcel", because="no parcels")


def test_a_scan_may_come_before_its_number_is_up() -> None:
    scanned = given(awaiting_shipment()).when(c.RecordPickup(tracking_number="SF1"), at=MONDAY_11)
    scanned.then(e.ParcelPickedUp("SF1")).at(MONDAY_11).shows(status="awaiting_shipment")
    given(awaiting_shipment(), picked_up(at=MONDAY_11), tracking_uploaded(at=MONDAY_12)).at(FRIDAY_9).has_deadline(
        "carrier_pickup", state="met", met_at=MONDAY_11
    ).has_no_violations()


def test_a_scan_before_the_upload_may_be_reported_after_it() -> None:
    given(SHIPPED).when(c.RecordPickup(), at=MONDAY_11, recorded_at=MONDAY_13).then(e.ParcelPickedUp("SF1"))
    given(SHIPPED, picked_up(at=MONDAY_11)).at(FRIDAY_9).has_deadline(
        "carrier_pickup", state="met", met_at=MONDAY_11
    ).has_no_violations()


@pytest.mark.parametrize(
    ("known", "report", "event"),
    [
        (picked_up, c.RecordPickup(), e.ParcelPickedUp("SF1")),
        (delivered, c.RecordDelivery(), e.ParcelDelivered("SF1")),
    ],
)
def test_the_earliest_scan_counts(known: Callable[..., Fact], report: Command, event: e.OrderEvent) -> None:
    scanned = given(SHIPPED, known(at=MONDAY_15))
    scanned.when(report, at=MONDAY_15, recorded_at=MONDAY_16).then_nothing()
    scanned.when(report, at=MONDAY_14, recorded_at=MONDAY_16).then(event)
    earlier = given(SHIPPED, known(at=MONDAY_15), known(at=MONDAY_14))
    earlier.at(FRIDAY_9).has_deadline("carrier_pickup", state="met", met_at=MONDAY_14)


def test_a_scan_of_a_replaced_number_is_a_fact() -> None:
    replaced = given(SHIPPED, tracking_replaced("SF1", "SF2", at=MONDAY_13))
    replaced.when(c.RecordPickup(tracking_number="SF1"), at=MONDAY_14).then(e.ParcelPickedUp("SF1"))


@pytest.mark.parametrize("proof", [delivered, receipt_confirmed])
def test_what_arrives_unscanned_was_picked_up_at_an_unknown_time(proof: Callable[..., Fact]) -> None:
    """The scan is missing, not the parcel: nobody knows that it was late."""
    unscanned = given(SHIPPED)
    unscanned.at(WEDNESDAY_9).has_violations("false_shipment")
    arrived = given(SHIPPED, proof(at=THURSDAY_9))
    arrived.at(FRIDAY_9).has_deadline("carrier_pickup", state="unknown").has_no_violations()


def test_a_scan_that_is_known_to_be_late_is_late_though_the_parcel_arrived() -> None:
    late = given(SHIPPED, picked_up(at=WEDNESDAY_9), delivered(at=THURSDAY_9))
    late.at(FRIDAY_9).has_deadline("carrier_pickup", state="missed").has_violations("false_shipment")


def test_a_receipt_proves_that_the_order_was_shipped() -> None:
    received = given(awaiting_shipment()).when(c.ConfirmReceipt(), at=TUESDAY_9)
    received.then(e.ReceiptConfirmed())
    known = given(awaiting_shipment(), receipt_confirmed(at=TUESDAY_9)).at(FRIDAY_9)
    known.shows(status="received").has_deadline("tracking_upload", state="met").has_no_violations()
    late = given(awaiting_shipment(), receipt_confirmed(at=THURSDAY_9)).at(FRIDAY_9)
    late.has_deadline("tracking_upload", state="unknown").has_no_violations()


def test_nothing_is_picked_up_before_the_order_is_placed() -> None:
    given(SHIPPED).when(c.RecordPickup(), at=MONDAY_8 - hours(1), recorded_at=MONDAY_13).rejects(
        "invalid_request", pointer="/occurred_at"
    )


# ---- gifts and what is sent again -----------------------------------------------------------------


GIFT = c.UploadTracking(carrier="SF", tracking_number="SF9", kind="gift")
RESEND = c.UploadTracking(carrier="SF", tracking_number="SF9", kind="resend")


@pytest.mark.parametrize("extra", [GIFT, RESEND])
def test_a_gift_travels_besides_the_order(extra: c.UploadTracking) -> None:
    shipped = given(SHIPPED, picked_up(at=MONDAY_13))
    sent = shipped.when(extra, at=TUESDAY_9).then(e.TrackingUploaded("SF", "SF9", kind=extra.kind_of_parcel))
    later = sent.at(FRIDAY_9).has_no_violations()
    assert [(p["tracking_number"], p["kind"]) for p in later.json["parcels"]] == [
        ("SF1", "order"),
        ("SF9", extra.kind),
    ]
    later.has_deadline("carrier_pickup", state="met")
    sent.when(extra, at=FRIDAY_9).then_nothing()


def test_a_gift_does_not_ship_the_order() -> None:
    sent = given(awaiting_shipment(), tracking_uploaded("SF9", at=MONDAY_12, kind="gift"))
    sent.at(MONDAY_12).shows(status="awaiting_shipment")
    sent.at(FRIDAY_9).has_violations("late_shipment")


def test_a_gift_is_scanned_and_delivered_like_any_parcel() -> None:
    sent = given(SHIPPED, picked_up(at=MONDAY_13), tracking_uploaded("SF9", at=MONDAY_13, kind="gift"))
    sent.when(c.RecordDelivery(tracking_number="SF9"), at=TUESDAY_9).then(e.ParcelDelivered("SF9"))
    arrived = given(SHIPPED, tracking_uploaded("SF9", at=MONDAY_13, kind="gift"), delivered("SF9", at=TUESDAY_9))
    arrived.at(FRIDAY_9).shows(status="shipped")


def test_a_locked_order_sends_no_gift() -> None:
    given(IN_REVIEW).when(GIFT, at=TUESDAY_9).rejects("order_locked")


def test_no_gift_goes_before_the_group_forms() -> None:
    given(placed()).when(GIFT, at=MONDAY_10).rejects("not_shippable")


def test_a_number_that_is_up_for_the_order_is_no_gift() -> None:
    given(SHIPPED).when(c.UploadTracking(carrier="SF", tracking_number="SF1", kind="gift"), at=TUESDAY_9).rejects(
        "already_shipped", because="kind"
    )


# ---- several parcels ------------------------------------------------------------------------------


def test_an_order_of_which_a_part_was_not_sent_is_not_delivered() -> None:
    part = given(TWO_PARCELS_TO_COME, tracking_uploaded("SF1", at=MONDAY_10, lines=parcel(SKU_1=2)))
    arrived = part.when(c.RecordDelivery(), at=TUESDAY_9).then(e.ParcelDelivered("SF1"))
    arrived.at(TUESDAY_9).shows(status="shipped")


@pytest.mark.parametrize("command", [c.RecordPickup(), c.RecordDelivery()])
def test_one_of_several_parcels_must_be_named(command: Command) -> None:
    given(
        TWO_PARCELS_TO_COME,
        tracking_uploaded("SF1", at=MONDAY_10, lines=parcel(SKU_1=2)),
        tracking_uploaded("SF2", at=MONDAY_11, lines=parcel(SKU_2=1)),
    ).when(command, at=MONDAY_12).rejects("which_parcel")


def test_an_order_is_delivered_when_all_its_parcels_are() -> None:
    several = given(
        TWO_PARCELS_TO_COME,
        tracking_uploaded("SF1", at=MONDAY_10, lines=parcel(SKU_1=2)),
        tracking_uploaded("SF2", at=MONDAY_11, lines=parcel(SKU_2=1)),
    )
    one = several.when(c.RecordDelivery(tracking_number="SF1"), at=TUESDAY_9).then(e.ParcelDelivered("SF1"))
    one.at(TUESDAY_9).shows(status="shipped")
    one.when(c.RecordDelivery(tracking_number="SF2"), at=WEDNESDAY_9).then(e.ParcelDelivered("SF2")).at(
        WEDNESDAY_9
    ).shows(status="delivered")
