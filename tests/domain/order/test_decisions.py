"""Every action of the contract: what it does, when it is refused, and when it is so already."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest

from domain.kernel import CLOCK_SKEW, EARLIEST, FURTHEST_DEADLINE, Command
from domain.order import commands as c
from domain.order import events as e
from domain.order.decisions.table import ACTIONS, LONGEST_HISTORY
from tests.domain.vocabulary import (
    APPROVE,
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
    PLACE_HOLD,
    REJECT,
    RELEASE_HOLD,
    REQUEST_STOCKOUT,
    SHIP_BY,
    THURSDAY_9,
    TUESDAY_9,
    TWO_SKUS,
    UPLOAD_SF1,
    WEDNESDAY_9,
    Fact,
    appeal_decided,
    appealed,
    awaiting_shipment,
    cancelled,
    complaint_decided,
    complaint_filed,
    days,
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
    picked_up,
    placed,
    receipt_confirmed,
    refunded,
    review_completed,
    stockout_requested,
    tracking_replaced,
    tracking_uploaded,
    violation_id,
)

ORDERED = c.OrderedLine("SKU-1", "GOODS-1", "棉袜 Cotton socks", 1, 4_300)
PLACE = c.Place(lines=(ORDERED,), paid_fen=4_300)
SHIPPED = (*awaiting_shipment(), tracking_uploaded("SF1", at=MONDAY_12))
IN_REVIEW = (*awaiting_shipment(), stockout_requested(at=MONDAY_12))
LATE = (*awaiting_shipment(), tracking_uploaded("SF1", at=THURSDAY_9), picked_up("SF1", at=THURSDAY_9))


def upload(number: str, **contents: int) -> c.UploadTracking:
    """Hand over a parcel; ``SKU_1=2`` says that two pieces of ``SKU-1`` are in it."""
    lines = tuple(c.PackedLine(sku.replace("_", "-"), quantity) for sku, quantity in contents.items())
    return c.UploadTracking(carrier="SF", tracking_number=number, lines=lines)


def parcel(**contents: int) -> tuple[e.ParcelLine, ...]:
    return tuple(e.ParcelLine(sku.replace("_", "-"), quantity) for sku, quantity in contents.items())


# ---- place ------------------------------------------------------------------------------------------


def test_place_a_paid_order() -> None:
    given_nothing().when(PLACE, at=MONDAY_8).then(e.OrderPlaced((line(),), "ordinary", 4_300)).at(MONDAY_8).shows(
        status="pending_group", paid_fen=4_300, paid_at=MONDAY_8, placed_at=MONDAY_8
    )


def test_place_an_order_whose_payment_is_pending() -> None:
    given_nothing().when(c.Place(lines=(ORDERED,)), at=MONDAY_8).then(e.OrderPlaced((line(),))).at(MONDAY_8).shows(
        status="pending_payment", paid_fen=None, paid_at=None
    )


def test_place_the_same_order_again_changes_nothing() -> None:
    given_nothing().when(PLACE, at=MONDAY_8).then(e.OrderPlaced((line(),), "ordinary", 4_300)).when(
        PLACE, at=MONDAY_9
    ).then_nothing()


def test_place_again_without_the_payment_that_followed_changes_nothing() -> None:
    given(placed(paid_fen=None), paid(4_300)).when(c.Place(lines=(ORDERED,)), at=MONDAY_9).then_nothing()


@pytest.mark.parametrize(
    "other",
    [
        c.Place(lines=(msgspec.structs.replace(ORDERED, quantity=2),), paid_fen=4_300),
        c.Place(lines=(ORDERED,), paid_fen=4_301),
        c.Place(lines=(ORDERED,), paid_fen=4_300, goods_type="presale"),
        c.Place(lines=(ORDERED,), paid_fen=4_300, group_id="G7"),
    ],
)
def test_place_another_order_under_the_same_number_is_refused(other: c.Place) -> None:
    given(placed()).when(other, at=MONDAY_9).rejects("order_exists")


@pytest.mark.parametrize("name", [name for name in ACTIONS if name != "place"])
def test_an_unknown_order_can_only_be_placed(name: str) -> None:
    given_nothing().when(A_COMMAND_FOR[name], at=MONDAY_9).rejects("unknown_order")


# ---- pay, form-group, fail-group --------------------------------------------------------------------


def test_pay() -> None:
    given(placed(paid_fen=None)).when(c.Pay(paid_fen=4_300), at=MONDAY_9).then(e.OrderPaid(4_300)).at(
        MONDAY_9
    ).shows(status="pending_group", paid_fen=4_300, paid_at=MONDAY_9)


def test_pay_the_same_again_changes_nothing() -> None:
    given(placed(paid_fen=4_300)).when(c.Pay(paid_fen=4_300), at=MONDAY_9).then_nothing()


def test_pay_another_amount_is_refused() -> None:
    given(placed(paid_fen=4_300)).when(c.Pay(paid_fen=4_200), at=MONDAY_9).rejects("already_paid", because="4300")


def test_pay_for_a_cancelled_order_is_refused() -> None:
    given(placed(paid_fen=None), cancelled(at=MONDAY_9)).when(c.Pay(paid_fen=1), at=MONDAY_10).rejects(
        "order_closed", because="cancelled"
    )


def test_form_group_starts_the_clock() -> None:
    given(placed()).when(c.FormGroup(), at=MONDAY_9).then(e.GroupFormed()).at(MONDAY_9).shows(
        status="awaiting_shipment", group_formed_at=MONDAY_9, ship_by=WEDNESDAY_9
    )


def test_form_group_with_the_platforms_own_promise() -> None:
    given(placed()).when(c.FormGroup(ship_by=TUESDAY_9), at=MONDAY_9).then(e.GroupFormed(TUESDAY_9)).at(
        MONDAY_9
    ).shows(ship_by=TUESDAY_9)


def test_form_group_keeps_the_promise_in_utc() -> None:
    beijing_time = TUESDAY_9.astimezone(timezone(hours(8)))
    outcome = given(placed()).when(c.FormGroup(ship_by=beijing_time), at=MONDAY_9)
    assert isinstance(outcome.decision, tuple)
    (formed,) = outcome.decision
    assert isinstance(formed, e.GroupFormed)
    assert formed.ship_by == TUESDAY_9
    assert formed.ship_by.tzinfo is UTC


@pytest.mark.parametrize("again", [c.FormGroup(), c.FormGroup(ship_by=TUESDAY_9)])
def test_form_group_again_changes_nothing(again: c.FormGroup) -> None:
    given(placed(), group_formed(ship_by=TUESDAY_9)).when(again, at=MONDAY_10).then_nothing()


def test_form_group_again_with_another_promise_is_refused() -> None:
    given(awaiting_shipment()).when(c.FormGroup(ship_by=TUESDAY_9), at=MONDAY_10).rejects("group_already_formed")


def test_form_group_of_a_failed_group_is_refused() -> None:
    given(placed(), group_failed()).when(c.FormGroup(), at=MONDAY_10).rejects("order_closed", because="failed")


def test_fail_group_ends_the_order() -> None:
    given(placed()).when(c.FailGroup(), at=MONDAY_9).then(e.GroupFailed()).at(MONDAY_9).shows(
        status="group_failed"
    ).has_no_violations()


def test_fail_group_again_changes_nothing() -> None:
    given(placed(), group_failed()).when(c.FailGroup(), at=MONDAY_10).then_nothing()


def test_fail_group_after_it_formed_is_refused() -> None:
    given(awaiting_shipment()).when(c.FailGroup(), at=MONDAY_10).rejects("group_already_formed")


def test_fail_group_of_a_cancelled_order_is_refused() -> None:
    given(placed(), cancelled(at=MONDAY_9)).when(c.FailGroup(), at=MONDAY_10).rejects("order_closed")


# ---- change-ship-by ---------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["festival", "region", "buyer_agreed", "platform"])
def test_change_ship_by(reason: e.ShipByReason) -> None:
    given(awaiting_shipment()).when(c.ChangeShipBy(ship_by=FRIDAY_9, reason=reason), at=MONDAY_10).then(
        e.ShipByChanged(FRIDAY_9, reason)
    ).at(THURSDAY_9).shows(ship_by=FRIDAY_9).has_no_violations()


def test_change_ship_by_to_what_it_is_changes_nothing() -> None:
    given(placed(), group_formed(ship_by=FRIDAY_9)).when(
        c.ChangeShipBy(ship_by=FRIDAY_9, reason="platform"), at=MONDAY_10
    ).then_nothing()


def test_the_platform_may_move_a_ship_by_that_has_passed() -> None:
    given(awaiting_shipment()).when(c.ChangeShipBy(ship_by=FRIDAY_9, reason="platform"), at=THURSDAY_9).then(
        e.ShipByChanged(FRIDAY_9, "platform")
    ).at(THURSDAY_9).has_no_violations()


def test_a_buyer_may_agree_at_the_very_ship_by() -> None:
    given(awaiting_shipment()).when(c.ChangeShipBy(ship_by=FRIDAY_9, reason="buyer_agreed"), at=SHIP_BY).then(
        e.ShipByChanged(FRIDAY_9, "buyer_agreed")
    )


def test_a_buyer_cannot_agree_a_passed_ship_by_away() -> None:
    given(awaiting_shipment()).when(
        c.ChangeShipBy(ship_by=FRIDAY_9, reason="buyer_agreed"), at=SHIP_BY + MICROSECOND
    ).rejects("ship_by_passed")


def test_an_agreement_made_in_time_may_be_told_late() -> None:
    given(awaiting_shipment()).when(
        c.ChangeShipBy(ship_by=FRIDAY_9, reason="buyer_agreed"), at=TUESDAY_9, told_at=THURSDAY_9
    ).then(e.ShipByChanged(FRIDAY_9, "buyer_agreed"), occurred_at=TUESDAY_9)


def test_change_ship_by_before_the_group_formed_is_refused() -> None:
    given(placed()).when(c.ChangeShipBy(ship_by=FRIDAY_9, reason="platform"), at=MONDAY_9).rejects("not_shippable")


def test_change_ship_by_of_a_closed_order_is_refused() -> None:
    given(awaiting_shipment(), refunded(at=MONDAY_10)).when(
        c.ChangeShipBy(ship_by=FRIDAY_9, reason="platform"), at=MONDAY_11
    ).rejects("order_closed")


def test_the_promise_that_was_made_last_in_the_world_holds_whatever_is_told_first() -> None:
    given(awaiting_shipment()).when(c.ChangeShipBy(ship_by=FRIDAY_9, reason="festival"), at=MONDAY_12).then(
        e.ShipByChanged(FRIDAY_9, "festival")
    ).and_(Fact(e.ShipByChanged(THURSDAY_9, "region"), MONDAY_10), learned_at=MONDAY_13).at(MONDAY_13).shows(
        ship_by=FRIDAY_9
    )


ABSURD = [
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))),
    datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=-12))),
    datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=timezone(timedelta(hours=-12))),
    datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=timezone(timedelta(hours=14))),
    datetime(1970, 1, 1, tzinfo=UTC),
    FORMED - MICROSECOND,
    FORMED,
    FORMED + FURTHEST_DEADLINE + MICROSECOND,
]


@pytest.mark.parametrize("promise", ABSURD)
def test_a_ship_by_without_sense_is_refused_and_names_the_field(promise: datetime) -> None:
    given(placed()).when(c.FormGroup(ship_by=promise), at=FORMED).rejects("invalid_request", pointer="/ship_by")
    given(awaiting_shipment()).when(c.ChangeShipBy(ship_by=promise, reason="platform"), at=MONDAY_10).rejects(
        "invalid_request", pointer="/ship_by"
    )


@pytest.mark.parametrize("promise", [FORMED + MICROSECOND, FORMED + FURTHEST_DEADLINE])
def test_a_ship_by_at_the_bounds_is_taken(promise: datetime) -> None:
    given(placed()).when(c.FormGroup(ship_by=promise), at=FORMED).then(e.GroupFormed(promise))
    given(awaiting_shipment()).when(c.ChangeShipBy(ship_by=promise, reason="platform"), at=MONDAY_10).then(
        e.ShipByChanged(promise, "platform")
    )


# ---- upload-tracking --------------------------------------------------------------------------------


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
    given(awaiting_shipment()).when(UPLOAD_SF1, at=MONDAY_12, told_at=FRIDAY_9).then(
        e.TrackingUploaded("SF", "SF1"), occurred_at=MONDAY_12
    ).at(FRIDAY_9).has_deadline("tracking_upload", state="met", met_at=MONDAY_12)


# ---- several parcels --------------------------------------------------------------------------------

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


# ---- replace-tracking -------------------------------------------------------------------------------


def replace_with(number: str, replaces: str | None = None) -> c.ReplaceTracking:
    return c.ReplaceTracking(carrier="ZTO", tracking_number=number, reason="label was torn", replaces=replaces)


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
    given(SHIPPED).when(replace_with("SF1"), at=MONDAY_14).then_nothing()


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


# ---- pickup, delivery, receipt ----------------------------------------------------------------------


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


@pytest.mark.parametrize("command", [c.RecordPickup(), c.RecordDelivery(), c.ConfirmReceipt()])
def test_nothing_is_picked_up_delivered_or_received_before_it_is_shipped(command: Command) -> None:
    given(awaiting_shipment()).when(command, at=MONDAY_10).rejects("not_shipped")


@pytest.mark.parametrize(
    "command",
    [
        c.RecordPickup(tracking_number="SF9"),
        c.RecordDelivery(tracking_number="SF9"),
        c.ConfirmReceipt(tracking_number="SF9"),
    ],
)
def test_a_parcel_the_order_does_not_have_is_refused(command: Command) -> None:
    given(SHIPPED).when(command, at=MONDAY_13).rejects("unknown_parcel", because="SF9")


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


# ---- request-stockout, complete-review --------------------------------------------------------------


@pytest.mark.parametrize("reason", ["no_supply", "production_delay", "oversold", "other"])
def test_request_stockout_locks_the_order(reason: Any) -> None:
    given(awaiting_shipment()).when(c.RequestStockout(reason=reason), at=MONDAY_12).then(
        e.StockoutRequested(reason)
    ).at(MONDAY_12).shows(status="stockout_review").is_locked_by("stockout_review").forbids(
        "upload-tracking", because="stockout review"
    ).forbids("request-stockout", because="under review").allows("complete-review")


def test_request_stockout_for_some_skus() -> None:
    given(placed(lines=TWO_SKUS), group_formed()).when(
        c.RequestStockout(reason="oversold", sku_ids=("SKU-2",)), at=MONDAY_12
    ).then(e.StockoutRequested("oversold", ("SKU-2",)))


def test_request_stockout_for_a_strange_sku_is_refused() -> None:
    given(awaiting_shipment()).when(
        c.RequestStockout(reason="oversold", sku_ids=("SKU-1", "SKU-7")), at=MONDAY_12
    ).rejects("invalid_request", pointer="/sku_ids", because="SKU-7")


def test_a_second_application_is_refused_while_one_is_open() -> None:
    given(IN_REVIEW).when(REQUEST_STOCKOUT, at=MONDAY_13).rejects("review_already_open")


def test_a_second_application_may_follow_a_rejection() -> None:
    given(IN_REVIEW, review_completed("rejected", at=TUESDAY_9)).when(REQUEST_STOCKOUT, at=WEDNESDAY_9).then(
        e.StockoutRequested("no_supply")
    ).at(WEDNESDAY_9).shows(status="stockout_review").is_locked_by("stockout_review")


def test_a_shipped_order_is_not_out_of_stock() -> None:
    given(SHIPPED).when(REQUEST_STOCKOUT, at=MONDAY_13).rejects("already_shipped")


def test_no_stockout_before_the_group_has_formed() -> None:
    given(placed()).when(REQUEST_STOCKOUT, at=MONDAY_9).rejects("not_shippable", because="group")


@pytest.mark.parametrize("end", [cancelled(at=MONDAY_10), refunded(at=MONDAY_10)])
def test_no_stockout_of_a_closed_order(end: Fact) -> None:
    given(awaiting_shipment(), end).when(REQUEST_STOCKOUT, at=MONDAY_12).rejects("not_shippable")


def test_no_stockout_after_an_approved_one() -> None:
    given(IN_REVIEW, review_completed("approved", at=TUESDAY_9)).when(REQUEST_STOCKOUT, at=WEDNESDAY_9).rejects(
        "not_shippable"
    )


def test_complete_review_approved() -> None:
    given(IN_REVIEW).when(APPROVE, at=TUESDAY_9).then(e.ReviewCompleted("approved")).at(TUESDAY_9).shows(
        status="stocked_out"
    ).is_not_locked().has_violations("stockout/application_approved")


def test_complete_review_rejected() -> None:
    given(IN_REVIEW).when(REJECT, at=TUESDAY_9).then(e.ReviewCompleted("rejected")).at(TUESDAY_9).shows(
        status="awaiting_shipment"
    ).is_not_locked().has_no_violations()


def test_complete_review_without_an_application_is_refused() -> None:
    given(awaiting_shipment()).when(REJECT, at=MONDAY_12).rejects("no_open_review")


def test_complete_review_twice_is_refused() -> None:
    given(IN_REVIEW, review_completed("rejected", at=TUESDAY_9)).when(APPROVE, at=WEDNESDAY_9).rejects(
        "no_open_review"
    )


def test_complete_review_of_an_order_that_was_refunded_meanwhile_is_refused() -> None:
    given(IN_REVIEW, refunded(at=MONDAY_13)).when(APPROVE, at=TUESDAY_9).rejects("no_open_review")


# ---- refund, cancel ---------------------------------------------------------------------------------


def test_refund_all_closes_the_order() -> None:
    given(awaiting_shipment()).when(c.Refund(initiated_by="buyer", reason="changed_mind"), at=MONDAY_12).then(
        e.OrderRefunded("buyer", "changed_mind")
    ).at(MONDAY_12).shows(status="refunded", refunded_fen=4_300).has_no_violations()


def test_refund_again_changes_nothing() -> None:
    given(awaiting_shipment(), refunded(at=MONDAY_12)).when(
        c.Refund(initiated_by="merchant", reason="out_of_stock"), at=MONDAY_13
    ).then_nothing()


def test_part_refunds_close_the_order_when_they_add_up() -> None:
    part = c.Refund(initiated_by="buyer", reason="changed_mind", amount_fen=2_150)
    story = (
        given(awaiting_shipment()).when(part, at=MONDAY_12).then(e.OrderRefunded("buyer", "changed_mind", 2_150))
    )
    story.at(MONDAY_12).shows(status="awaiting_shipment", refunded_fen=2_150)
    story = story.when(part, at=MONDAY_13).then(e.OrderRefunded("buyer", "changed_mind", 2_150))
    story.at(MONDAY_13).shows(status="refunded", refunded_fen=4_300)


def test_no_more_is_refunded_than_was_paid() -> None:
    given(awaiting_shipment()).when(
        c.Refund(initiated_by="buyer", reason="changed_mind", amount_fen=4_301), at=MONDAY_12
    ).rejects("invalid_request", pointer="/amount_fen", because="4300 fen")
    given(awaiting_shipment(), refunded(at=MONDAY_10, amount_fen=4_000)).when(
        c.Refund(initiated_by="buyer", reason="changed_mind", amount_fen=301), at=MONDAY_12
    ).rejects("invalid_request", pointer="/amount_fen", because="300 fen")


def test_a_refund_before_any_payment_is_refused() -> None:
    given(placed(paid_fen=None)).when(c.Refund(initiated_by="buyer", reason="changed_mind"), at=MONDAY_9).rejects(
        "not_paid", because="cancel"
    )


def test_a_cancelled_order_may_still_be_refunded() -> None:
    given(awaiting_shipment(), cancelled(at=MONDAY_10)).when(
        c.Refund(initiated_by="platform", reason="cancelled"), at=MONDAY_12
    ).then(e.OrderRefunded("platform", "cancelled")).at(MONDAY_12).shows(status="refunded")


def test_a_shipped_order_may_be_refunded() -> None:
    given(SHIPPED).when(c.Refund(initiated_by="buyer", reason="damaged"), at=MONDAY_13).then(
        e.OrderRefunded("buyer", "damaged")
    )


def test_money_is_fully_back_only_with_the_last_part_in_the_worlds_order() -> None:
    """The order was open until three o'clock, so its ship-by at two was missed."""
    story = (
        given(placed(), group_formed(ship_by=MONDAY_14))
        .when(c.Refund(initiated_by="buyer", reason="damaged", amount_fen=300), at=MONDAY_15)
        .then(e.OrderRefunded("buyer", "damaged", 300))
        .when(c.Refund(initiated_by="buyer", reason="damaged", amount_fen=4_000), at=MONDAY_12, told_at=MONDAY_16)
        .then(e.OrderRefunded("buyer", "damaged", 4_000), occurred_at=MONDAY_12)
    )
    story.at(MONDAY_16).shows(status="refunded").has_violations("late_shipment")


def test_cancel() -> None:
    given(placed()).when(c.Cancel(reason="changed_mind"), at=MONDAY_9).then(e.OrderCancelled("changed_mind")).at(
        MONDAY_9
    ).shows(status="cancelled")


def test_cancel_again_changes_nothing() -> None:
    given(placed(), cancelled(at=MONDAY_9)).when(c.Cancel(reason="other"), at=MONDAY_10).then_nothing()


def test_a_shipped_order_is_refunded_not_cancelled() -> None:
    given(SHIPPED).when(c.Cancel(reason="changed_mind"), at=MONDAY_13).rejects(
        "already_shipped", because="refunded"
    )


def test_a_refunded_order_is_not_cancelled() -> None:
    given(awaiting_shipment(), refunded(at=MONDAY_10)).when(c.Cancel(reason="x"), at=MONDAY_12).rejects(
        "order_closed"
    )


def test_an_order_whose_stockout_was_approved_is_not_cancelled() -> None:
    given(IN_REVIEW, review_completed("approved", at=TUESDAY_9)).when(c.Cancel(reason="x"), at=WEDNESDAY_9).rejects(
        "order_closed", because="stockout"
    )


# ---- place-hold, release-hold, contact-buyer --------------------------------------------------------


def test_place_and_release_a_hold() -> None:
    story = (
        given(awaiting_shipment())
        .when(PLACE_HOLD, at=MONDAY_10)
        .then(e.HoldPlaced("manual", "address looks wrong"))
    )
    seen = story.at(MONDAY_10).is_locked_by("manual")
    (hold,) = seen.view.shipment_lock.holds
    assert (hold.reason, hold.since, hold.expected_decision) == ("address looks wrong", MONDAY_10, None)
    story.when(RELEASE_HOLD, at=MONDAY_11).then(e.HoldReleased("manual", "cleared up")).at(
        MONDAY_11
    ).is_not_locked()


def test_place_a_hold_that_is_in_force_changes_nothing() -> None:
    given(awaiting_shipment(), hold_placed(at=MONDAY_10)).when(PLACE_HOLD, at=MONDAY_11).then_nothing()


def test_place_a_hold_on_a_closed_order_is_refused() -> None:
    given(placed(), cancelled(at=MONDAY_9)).when(PLACE_HOLD, at=MONDAY_10).rejects("order_closed")


def test_release_a_hold_that_is_not_in_force_is_refused() -> None:
    given(awaiting_shipment()).when(RELEASE_HOLD, at=MONDAY_11).rejects("no_such_hold")
    given(awaiting_shipment(), hold_placed("risk_control", at=MONDAY_10)).when(RELEASE_HOLD, at=MONDAY_11).rejects(
        "no_such_hold", because="manual"
    )


def test_releasing_one_hold_leaves_the_others() -> None:
    given(awaiting_shipment(), hold_placed("risk_control", at=MONDAY_10), hold_placed("manual", at=MONDAY_10)).when(
        RELEASE_HOLD, at=MONDAY_11
    ).then(e.HoldReleased("manual", "cleared up")).at(MONDAY_11).is_locked_by("risk_control")


def test_contact_buyer_may_be_done_any_number_of_times() -> None:
    say = c.ContactBuyer(channel="chat", message="We are on it.")
    story = given(IN_REVIEW).when(say, at=MONDAY_13).then(e.BuyerContacted("chat", "We are on it."))
    story.when(say, at=MONDAY_14).then(e.BuyerContacted("chat", "We are on it.")).at(MONDAY_14).has_deadline(
        "contact_buyer", state="met", met_at=MONDAY_13
    )


# ---- complaints and appeals -------------------------------------------------------------------------


def test_file_and_decide_a_complaint() -> None:
    given(SHIPPED, picked_up(at=MONDAY_13)).when(c.FileComplaint(finding="different_goods"), at=THURSDAY_9).then(
        e.ParcelComplaintFiled("different_goods")
    ).when(c.DecideComplaint(outcome="upheld"), at=FRIDAY_9).then(e.ParcelComplaintDecided("upheld")).at(
        FRIDAY_9
    ).has_violations("fraudulent_shipment").has_violation("fraudulent_shipment", arose_at=FRIDAY_9)


def test_a_complaint_needs_a_parcel() -> None:
    given(awaiting_shipment()).when(c.FileComplaint(finding="empty_parcel"), at=MONDAY_10).rejects("not_shipped")


def test_a_second_complaint_waits_for_the_first() -> None:
    given(SHIPPED, complaint_filed(at=TUESDAY_9)).when(c.FileComplaint(finding="other"), at=WEDNESDAY_9).rejects(
        "complaint_already_open"
    )


def test_decide_a_complaint_that_is_not_open_is_refused() -> None:
    given(SHIPPED).when(c.DecideComplaint(outcome="upheld"), at=TUESDAY_9).rejects("no_open_complaint")
    given(SHIPPED, complaint_filed(at=TUESDAY_9), complaint_decided("dismissed", at=WEDNESDAY_9)).when(
        c.DecideComplaint(outcome="upheld"), at=THURSDAY_9
    ).rejects("no_open_complaint")


def test_appeal_a_violation_and_win() -> None:
    late = violation_id("late_shipment")
    story = (
        given(LATE)
        .when(c.AppealViolation(violation_id=late, evidence="slip"), at=FRIDAY_9)
        .then(e.ViolationAppealed(late, "slip"))
    )
    pending = story.at(FRIDAY_9).violation("late_shipment").appeal
    assert pending is not None
    assert (pending.appealed_at, pending.outcome, pending.decided_at) == (FRIDAY_9, None, None)
    story = story.when(c.DecideAppeal(violation_id=late, outcome="overturned"), at=NEXT_MONDAY_9).then(
        e.AppealDecided(late, "overturned")
    )
    won = story.at(NEXT_MONDAY_9).has_violations("late_shipment").violation("late_shipment").appeal
    assert won is not None
    assert (won.outcome, won.decided_at) == ("overturned", NEXT_MONDAY_9)


def test_an_appeal_is_taken_until_its_last_moment_and_not_after() -> None:
    appeal_it = c.AppealViolation(violation_id=violation_id("late_shipment"))
    last = SHIP_BY + timedelta(days=7)
    assert given(LATE).at(FRIDAY_9).violation("late_shipment").appeal_by == last
    given(LATE).when(appeal_it, at=last).then(e.ViolationAppealed(appeal_it.violation_id))
    given(LATE).when(appeal_it, at=last + MICROSECOND).rejects("appeal_too_late")


@pytest.mark.parametrize("shown", [THURSDAY_9 + timedelta(hours=1), FRIDAY_9 + timedelta(days=30)])
def test_the_platforms_own_last_moment_to_appeal_wins_over_the_rule_sets(shown: datetime) -> None:
    appeal_it = c.AppealViolation(violation_id=violation_id("late_shipment"), appeal_by=shown)
    story = given(LATE).when(appeal_it, at=shown).then(e.ViolationAppealed(appeal_it.violation_id, None, shown))
    assert story.at(shown).violation("late_shipment").appeal_by == shown
    given(LATE).when(appeal_it, at=shown + MICROSECOND).rejects("appeal_too_late")


@pytest.mark.parametrize("senseless", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_last_moment_to_appeal_out_of_all_bounds_is_refused(senseless: str) -> None:
    shown = datetime.fromisoformat(senseless)
    appeal_it = c.AppealViolation(violation_id=violation_id("late_shipment"), appeal_by=shown)
    given(LATE).when(appeal_it, at=FRIDAY_9).rejects("invalid_request", pointer="/appeal_by")


def test_what_may_be_appealed_may_no_longer_be_when_its_time_is_over() -> None:
    last = SHIP_BY + timedelta(days=7)
    given(LATE).at(last).allows("appeal")
    given(LATE).at(last + MICROSECOND).forbids("appeal", because="An appeal was taken until")


def test_an_appeal_is_not_decided_before_it_was_made() -> None:
    decide_it = c.DecideAppeal(violation_id=violation_id("late_shipment"), outcome="upheld")
    story = given(LATE, appealed("late_shipment", at=FRIDAY_9))
    too_early = story.when(decide_it, at=FRIDAY_9 - MICROSECOND, told_at=NEXT_MONDAY_9)
    too_early.rejects("invalid_request", pointer="/occurred_at")
    story.when(decide_it, at=FRIDAY_9, told_at=NEXT_MONDAY_9).then(
        e.AppealDecided(decide_it.violation_id, "upheld")
    )


def test_an_order_shows_what_was_complained_of_with_the_evidence() -> None:
    story = given(SHIPPED).when(c.FileComplaint(finding="empty_parcel", evidence="photo 1"), at=WEDNESDAY_9)
    complained = story.then(e.ParcelComplaintFiled("empty_parcel", "photo 1"))
    (undecided,) = complained.at(WEDNESDAY_9).view.complaints
    assert (undecided.finding, undecided.evidence, undecided.outcome) == ("empty_parcel", "photo 1", None)
    dismissed = complained.and_(complaint_decided("dismissed", at=FRIDAY_9))
    (decided,) = dismissed.at(FRIDAY_9).view.complaints
    assert (decided.evidence, decided.outcome, decided.decided_at) == ("photo 1", "dismissed", FRIDAY_9)


def test_appeal_something_that_is_no_violation_is_refused() -> None:
    given(LATE).when(c.AppealViolation(violation_id="nonsense"), at=FRIDAY_9).rejects("unknown_violation")


def test_appeal_before_the_violation_stands_is_refused() -> None:
    appeal_it = c.AppealViolation(violation_id=violation_id("late_shipment"))
    given(awaiting_shipment()).when(appeal_it, at=SHIP_BY).rejects("unknown_violation")
    given(awaiting_shipment()).when(appeal_it, at=SHIP_BY + MICROSECOND).then(
        e.ViolationAppealed(violation_id("late_shipment"))
    )


def test_appeal_twice_is_refused() -> None:
    given(LATE, appealed("late_shipment", at=FRIDAY_9)).when(
        c.AppealViolation(violation_id=violation_id("late_shipment")), at=NEXT_MONDAY_9
    ).rejects("already_appealed")


def test_decide_an_appeal_that_is_not_open_is_refused() -> None:
    settle = c.DecideAppeal(violation_id=violation_id("late_shipment"), outcome="upheld")
    given(LATE).when(settle, at=FRIDAY_9).rejects("no_open_appeal")
    given(
        LATE,
        appealed("late_shipment", at=FRIDAY_9),
        appeal_decided("late_shipment", "upheld", at=FRIDAY_9 + hours(1)),
    ).when(settle, at=NEXT_MONDAY_9).rejects("no_open_appeal")


# ---- commands told late -----------------------------------------------------------------------------


def test_a_lock_that_was_in_force_then_cannot_be_passed_by_choosing_a_time() -> None:
    given(IN_REVIEW, review_completed("rejected", at=MONDAY_15)).when(
        UPLOAD_SF1, at=MONDAY_13, told_at=MONDAY_16
    ).rejects("order_locked", hold="stockout_review", because="At 2026-03-02T05:00:00+00:00")


def test_a_lock_that_is_in_force_now_cannot_be_passed_by_choosing_a_time() -> None:
    given(IN_REVIEW).when(UPLOAD_SF1, at=MONDAY_10, told_at=MONDAY_13).rejects(
        "order_locked", hold="stockout_review"
    )


def test_a_hold_that_was_in_force_then_cannot_be_passed_by_choosing_a_time() -> None:
    given(awaiting_shipment(), hold_placed(at=MONDAY_12), hold_released(at=MONDAY_15)).when(
        UPLOAD_SF1, at=MONDAY_13, told_at=MONDAY_16
    ).rejects("order_locked", hold="manual")


def test_a_lock_of_merely_seen_beginning_counts_as_in_force_before() -> None:
    given(
        awaiting_shipment(),
        stockout_requested(at=MONDAY_12).merely_seen(),
    ).when(UPLOAD_SF1, at=MONDAY_10, told_at=MONDAY_13).rejects("order_locked", hold="stockout_review")


def test_a_lock_of_merely_seen_end_counts_as_in_force_until_it_was_seen_lifted() -> None:
    given(
        awaiting_shipment(),
        stockout_requested(at=MONDAY_12).merely_seen(),
        review_completed("rejected", at=MONDAY_15).merely_seen(),
    ).when(UPLOAD_SF1, at=MONDAY_13, told_at=MONDAY_16).rejects("order_locked", hold="stockout_review")


def test_a_hold_of_merely_seen_end_counts_as_in_force_until_it_was_seen_lifted() -> None:
    given(
        awaiting_shipment(),
        hold_placed("risk_control", at=MONDAY_12).merely_seen(),
        hold_released("risk_control", at=MONDAY_15).merely_seen(),
    ).when(UPLOAD_SF1, at=MONDAY_13, told_at=MONDAY_16).rejects("order_locked", hold="risk_control")


def test_between_two_locks_a_shipment_told_late_is_taken() -> None:
    given(IN_REVIEW, review_completed("rejected", at=MONDAY_14)).when(
        UPLOAD_SF1, at=MONDAY_11, told_at=MONDAY_16
    ).then(e.TrackingUploaded("SF", "SF1"), occurred_at=MONDAY_11)


def test_a_decision_told_late_does_not_end_an_application_filed_after_it() -> None:
    """Choosing the time of an earlier review must not open the lock of the later one."""
    given(
        IN_REVIEW,
        review_completed("rejected", at=MONDAY_14),
        stockout_requested(at=MONDAY_15),
    ).when(REJECT, at=MONDAY_13, told_at=MONDAY_16).rejects("invalid_request", pointer="/occurred_at").when(
        UPLOAD_SF1, at=MONDAY_16
    ).rejects("order_locked", hold="stockout_review")


def test_a_release_told_late_does_not_lift_a_hold_placed_after_it() -> None:
    given(
        awaiting_shipment(),
        hold_placed(at=MONDAY_11),
        hold_released(at=MONDAY_13),
        hold_placed(at=MONDAY_15),
    ).when(RELEASE_HOLD, at=MONDAY_12, told_at=MONDAY_16).rejects("invalid_request", pointer="/occurred_at").when(
        UPLOAD_SF1, at=MONDAY_16
    ).rejects("order_locked", hold="manual")


def test_a_complaints_decision_told_late_does_not_settle_a_complaint_filed_after_it() -> None:
    given(
        SHIPPED,
        complaint_filed(at=TUESDAY_9),
        complaint_decided("dismissed", at=THURSDAY_9),
        complaint_filed(at=FRIDAY_9),
    ).when(c.DecideComplaint(outcome="upheld"), at=WEDNESDAY_9, told_at=NEXT_MONDAY_9).rejects(
        "invalid_request", pointer="/occurred_at"
    )


def test_an_application_told_late_cannot_hide_the_one_known_already() -> None:
    """Two reviews that overlap would leave the time between their ends unlocked."""
    given(IN_REVIEW, review_completed("rejected", at=MONDAY_15)).when(
        REQUEST_STOCKOUT, at=MONDAY_11, told_at=MONDAY_16
    ).rejects("invalid_request", pointer="/occurred_at")


def test_a_hold_told_late_cannot_hide_the_one_known_already() -> None:
    """Lifting the one would lift the other for the time between their ends."""
    given(awaiting_shipment(), hold_placed(at=MONDAY_12), hold_released(at=MONDAY_15)).when(
        PLACE_HOLD, at=MONDAY_11, told_at=MONDAY_16
    ).rejects("invalid_request", pointer="/occurred_at").when(
        c.PlaceHold(hold="risk_control", reason="bot"), at=MONDAY_11, told_at=MONDAY_16
    ).then(e.HoldPlaced("risk_control", "bot"), occurred_at=MONDAY_11)


def test_a_hold_told_late_for_a_time_when_it_was_in_force_changes_nothing() -> None:
    given(awaiting_shipment(), hold_placed(at=MONDAY_11), hold_released(at=MONDAY_13)).when(
        PLACE_HOLD, at=MONDAY_12, told_at=MONDAY_14
    ).then_nothing()


def test_what_the_order_was_not_ready_for_then_is_refused_now() -> None:
    given(awaiting_shipment()).when(UPLOAD_SF1, at=MONDAY_8, told_at=MONDAY_12).rejects(
        "not_shippable", because="group has not formed"
    )
    given(SHIPPED).when(c.RecordPickup(), at=MONDAY_11, told_at=MONDAY_13).rejects("not_shipped")


def test_nothing_happens_to_an_order_before_it_is_placed() -> None:
    given(placed()).when(c.FormGroup(), at=MONDAY_8 - MICROSECOND, told_at=MONDAY_9).rejects(
        "invalid_request", pointer="/occurred_at"
    )


def test_a_cancellation_told_late_cannot_pass_a_shipment() -> None:
    given(SHIPPED).when(c.Cancel(reason="changed_mind"), at=MONDAY_10, told_at=MONDAY_13).rejects("already_shipped")


def test_a_group_that_failed_cannot_have_formed_before() -> None:
    given(placed(), group_failed(at=MONDAY_10)).when(c.FormGroup(), at=MONDAY_9, told_at=MONDAY_12).rejects(
        "order_closed"
    )


# ---- when it occurred -------------------------------------------------------------------------------


def test_what_says_no_time_occurred_now() -> None:
    given(awaiting_shipment()).when(UPLOAD_SF1, at=MONDAY_12).then(
        e.TrackingUploaded("SF", "SF1"), occurred_at=MONDAY_12
    )


def test_what_says_no_time_comes_after_a_fact_of_a_clock_that_is_ahead() -> None:
    given(awaiting_shipment()).when(REQUEST_STOCKOUT, at=MONDAY_12 + timedelta(minutes=9), told_at=MONDAY_12).then(
        e.StockoutRequested("no_supply"), occurred_at=MONDAY_12 + timedelta(minutes=9)
    ).when(REJECT, at=MONDAY_12 + timedelta(minutes=1)).then(
        e.ReviewCompleted("rejected"), occurred_at=MONDAY_12 + timedelta(minutes=9)
    )


def test_what_says_no_time_is_not_dragged_into_a_future_the_platform_showed_by_mistake() -> None:
    far = datetime(2099, 1, 1, tzinfo=UTC)
    outcome = given(SHIPPED, receipt_confirmed(at=far).seen_in("export")).when(
        c.FileComplaint(finding="empty_parcel"), at=TUESDAY_9
    )
    outcome.then(e.ParcelComplaintFiled("empty_parcel"))
    assert outcome.occurred_at <= TUESDAY_9 + CLOCK_SKEW


def test_the_earliest_and_the_latest_time_that_make_sense() -> None:
    given_nothing().when(PLACE, at=EARLIEST, told_at=MONDAY_8).then(
        e.OrderPlaced((line(),), "ordinary", 4_300), occurred_at=EARLIEST
    )
    given(awaiting_shipment()).when(UPLOAD_SF1, at=MONDAY_12 + CLOCK_SKEW, told_at=MONDAY_12).then(
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
            given(awaiting_shipment()).when(command, at=moment, told_at=MONDAY_12).rejects(
                "invalid_request", pointer="/occurred_at"
            )
    given_nothing().when(PLACE, at=moment, told_at=MONDAY_12).rejects("invalid_request", pointer="/occurred_at")


def test_occurred_at_is_kept_in_utc() -> None:
    local = MONDAY_12.astimezone(timezone(hours(8)))
    outcome = given(awaiting_shipment()).when(UPLOAD_SF1, at=local, told_at=MONDAY_13)
    assert outcome.occurred_at == MONDAY_12
    assert outcome.occurred_at.tzinfo is UTC


# ---- the bodies -------------------------------------------------------------------------------------

A_COMMAND_FOR: dict[str, Command] = {
    "place": PLACE,
    "pay": c.Pay(paid_fen=4_300),
    "form-group": c.FormGroup(),
    "fail-group": c.FailGroup(),
    "change-ship-by": c.ChangeShipBy(ship_by=FRIDAY_9, reason="platform"),
    "upload-tracking": UPLOAD_SF1,
    "replace-tracking": replace_with("ZT9"),
    "record-pickup": c.RecordPickup(),
    "record-delivery": c.RecordDelivery(),
    "confirm-receipt": c.ConfirmReceipt(),
    "request-stockout": REQUEST_STOCKOUT,
    "complete-review": REJECT,
    "refund": c.Refund(initiated_by="buyer", reason="changed_mind"),
    "cancel": c.Cancel(reason="changed_mind"),
    "place-hold": PLACE_HOLD,
    "release-hold": RELEASE_HOLD,
    "contact-buyer": c.ContactBuyer(channel="chat", message="We are on it."),
    "hand-to-supplier": c.HandToSupplier(supplier_id="S-17", expected_tracking_at=TUESDAY_9),
    "record-supplier-tracking": c.RecordSupplierTracking(carrier="SF", tracking_number="SF1"),
    "record-supplier-stockout": c.RecordSupplierStockout(reason="sold out"),
    "take-back-from-supplier": c.TakeBackFromSupplier(reason="too slow"),
    "file-complaint": c.FileComplaint(finding="empty_parcel"),
    "decide-complaint": c.DecideComplaint(outcome="upheld"),
    "appeal": c.AppealViolation(violation_id=violation_id("late_shipment")),
    "decide-appeal": c.DecideAppeal(violation_id=violation_id("late_shipment"), outcome="upheld"),
    "record-charge": c.RecordCharge(kind="late_shipment", amount_fen=300, line_id="bill-1"),
    "record-return": c.RecordReturn(amount_fen=300, line_id="bill-2"),
}


def test_every_action_of_the_contract_is_there() -> None:
    assert set(A_COMMAND_FOR) == set(ACTIONS)
    assert len(ACTIONS) == 27
    assert {name: ACTIONS[name].command for name in ACTIONS} == {
        name: type(command) for name, command in A_COMMAND_FOR.items()
    }


@pytest.mark.parametrize("name", list(ACTIONS))
def test_a_body_travels_as_json_and_back(name: str) -> None:
    command = A_COMMAND_FOR[name]
    told = msgspec.structs.replace(command, occurred_at=MONDAY_12, note="by phone")
    for body in (command, told):
        assert msgspec.json.decode(msgspec.json.encode(body), type=type(command)) == body


@pytest.mark.parametrize("name", list(ACTIONS))
def test_a_field_that_does_not_exist_is_refused(name: str) -> None:
    body = {**msgspec.to_builtins(A_COMMAND_FOR[name]), "colour": "red"}
    with pytest.raises(msgspec.ValidationError, match="colour"):
        msgspec.convert(body, type(A_COMMAND_FOR[name]))


@pytest.mark.parametrize(
    ("action", "field", "value"),
    [
        ("place", "lines", []),
        ("place", "paid_fen", -1),
        ("place", "paid_fen", 10**12 + 1),
        ("place", "goods_type", "livestock"),
        ("place", "group_id", ""),
        ("pay", "paid_fen", 1.5),
        ("pay", "paid_fen", "100"),
        ("change-ship-by", "ship_by", "2026-03-06T09:00:00"),
        ("change-ship-by", "ship_by", "soon"),
        ("change-ship-by", "reason", "weather"),
        ("upload-tracking", "tracking_number", ""),
        ("upload-tracking", "tracking_number", "SF1\x00"),
        ("upload-tracking", "tracking_number", "SF1\n"),
        ("upload-tracking", "tracking_number", "SF\t1"),
        ("upload-tracking", "tracking_number", "S" * 65),
        ("upload-tracking", "carrier", ""),
        ("upload-tracking", "carrier", "SF\n"),
        ("upload-tracking", "lines", [{"sku_id": "SKU-1", "quantity": 0}]),
        ("hand-to-supplier", "supplier_id", ""),
        ("hand-to-supplier", "supplier_id", "S\n17"),
        ("hand-to-supplier", "expected_tracking_at", "2026-03-02T09:00:00"),
        ("record-supplier-tracking", "tracking_number", ""),
        ("record-supplier-stockout", "reason", ""),
        ("request-stockout", "reason", "unknown"),
        ("complete-review", "outcome", "maybe"),
        ("refund", "amount_fen", 0),
        ("refund", "amount_fen", -5),
        ("refund", "initiated_by", "unknown"),
        ("place-hold", "hold", "stockout_review"),
        ("contact-buyer", "message", "a\x00b"),
        ("contact-buyer", "message", "x" * 2_001),
        ("file-complaint", "finding", "late"),
        ("appeal", "violation_id", "x" * 201),
        ("form-group", "occurred_at", "2026-03-02T09:00:00"),
        ("form-group", "note", ""),
    ],
)
def test_a_value_without_meaning_is_refused_and_the_field_is_named(action: str, field: str, value: object) -> None:
    command = A_COMMAND_FOR[action]
    body = {**msgspec.to_builtins(command), field: value}
    with pytest.raises(msgspec.ValidationError, match=field):
        msgspec.json.decode(msgspec.json.encode(body), type=type(command))


def test_a_history_does_not_grow_without_end() -> None:
    story = given(awaiting_shipment(), [hold_placed(at=MONDAY_10)] * (LONGEST_HISTORY - 3))
    say = c.ContactBuyer(channel="chat", message="We are on it.")
    story.when(say, at=MONDAY_11).then(e.BuyerContacted("chat", "We are on it.")).when(say, at=MONDAY_12).rejects(
        "history_full"
    )


def test_days_and_deadlines_of_the_story_fit_together() -> None:
    """The vocabulary's own constants, so that no test stands on a wrong one."""
    assert hours(48) == SHIP_BY - FORMED
    assert days(3) == DEEMED - SHIP_BY
