"""What an order is after what happened to it."""

import pytest

from domain.history import Metadata, Recorded
from domain.order import events as e
from domain.order.fold import evolve, fold
from domain.order.state import Order, Status
from tests.domain.vocabulary import (
    FRIDAY_9,
    MONDAY_8,
    MONDAY_9,
    MONDAY_10,
    MONDAY_11,
    MONDAY_12,
    MONDAY_13,
    MONDAY_14,
    MONDAY_15,
    ORDER_SN,
    SHIPPED,
    THURSDAY_9,
    TUESDAY_9,
    TWO_SKUS,
    WEDNESDAY_9,
    Fact,
    appeal_decided,
    appealed,
    awaiting_shipment,
    buyer_contacted,
    cancelled,
    delivered,
    given,
    given_nothing,
    group_failed,
    group_formed,
    handed_to_supplier,
    hold_placed,
    line,
    paid,
    picked_up,
    placed,
    receipt_confirmed,
    refunded,
    review_completed,
    ship_by_changed,
    stockout_requested,
    supplier_out_of_stock,
    taken_back_from_supplier,
    tracking_replaced,
    tracking_uploaded,
)


@pytest.mark.parametrize(
    ("facts", "status"),
    [
        ((placed(paid_fen=None),), "pending_payment"),
        ((placed(paid_fen=None), paid()), "pending_group"),
        ((placed(),), "pending_group"),
        (awaiting_shipment(), "awaiting_shipment"),
        ((placed(paid_fen=None), group_formed()), "awaiting_shipment"),
        ((placed(), group_failed()), "group_failed"),
        ((*awaiting_shipment(), stockout_requested()), "stockout_review"),
        ((*awaiting_shipment(), stockout_requested(), review_completed("approved", at=TUESDAY_9)), "stocked_out"),
        (
            (*awaiting_shipment(), stockout_requested(), review_completed("rejected", at=TUESDAY_9)),
            "awaiting_shipment",
        ),
        (SHIPPED, "shipped"),
        ((*SHIPPED, picked_up(at=MONDAY_13)), "shipped"),
        ((*SHIPPED, delivered(at=MONDAY_13)), "delivered"),
        ((*SHIPPED, delivered(at=MONDAY_13), receipt_confirmed(at=TUESDAY_9)), "received"),
        ((*SHIPPED, receipt_confirmed(at=TUESDAY_9)), "received"),
        ((*SHIPPED, tracking_replaced("SF1", "SF2", at=MONDAY_13), delivered("SF1", at=TUESDAY_9)), "shipped"),
        ((*SHIPPED, tracking_replaced("SF1", "SF2", at=MONDAY_13), delivered("SF2", at=TUESDAY_9)), "delivered"),
        ((*awaiting_shipment(), cancelled(at=MONDAY_10)), "cancelled"),
        ((*awaiting_shipment(), refunded(at=MONDAY_10)), "refunded"),
        ((*awaiting_shipment(), refunded(at=MONDAY_10, amount_fen=4_299)), "awaiting_shipment"),
        ((*awaiting_shipment(), refunded(at=MONDAY_10, amount_fen=4_300)), "refunded"),
        ((*awaiting_shipment(), cancelled(at=MONDAY_10), refunded(at=MONDAY_11)), "refunded"),
        ((*SHIPPED, receipt_confirmed(at=TUESDAY_9), refunded(at=WEDNESDAY_9)), "refunded"),
        (
            (
                *awaiting_shipment(),
                stockout_requested(),
                review_completed("approved", at=TUESDAY_9),
                refunded("platform", "out_of_stock", at=TUESDAY_9),
            ),
            "refunded",
        ),
    ],
)
def test_the_status_an_order_has(facts: tuple[Fact, ...], status: Status) -> None:
    given(facts).at(FRIDAY_9).shows(status=status)


def test_a_hold_is_no_status() -> None:
    given(awaiting_shipment(), hold_placed(at=MONDAY_10)).at(MONDAY_11).shows(
        status="awaiting_shipment"
    ).is_locked_by("manual")


def test_nothing_is_known_of_an_order_without_history() -> None:
    order = fold(ORDER_SN, ())
    assert order == Order(ORDER_SN)
    assert (order.version, order.position, order.status) == (0, 0, "pending_payment")


def test_an_order_keeps_its_place_in_the_log() -> None:
    event = Recorded(e.OrderPaid(1), version=3, position=77, occurred_at=MONDAY_9, recorded_at=MONDAY_10)
    order = evolve(Order(ORDER_SN), event)
    assert (order.version, order.position, order.last_occurred_at) == (3, 77, MONDAY_9)


def test_the_last_moment_is_the_latest_not_the_last_told() -> None:
    order = given(placed(at=MONDAY_8)).and_(group_formed(at=MONDAY_12), buyer_contacted(at=MONDAY_9)).order
    assert order.last_occurred_at == MONDAY_12


def test_paying_in_the_same_breath_and_paying_later_are_the_same_but_for_the_moment() -> None:
    at_once = given(placed(at=MONDAY_8, paid_fen=4_300)).order
    later = given(placed(at=MONDAY_8, paid_fen=None), paid(4_300, at=MONDAY_9)).order
    assert (at_once.paid_at, at_once.paid_fen) == (MONDAY_8, 4_300)
    assert (later.paid_at, later.paid_fen) == (MONDAY_9, 4_300)


def test_a_free_order_is_paid() -> None:
    given(placed(paid_fen=0)).at(MONDAY_9).shows(status="pending_group", paid_fen=0)


def test_a_parcel_keeps_what_happened_to_it() -> None:
    (parcel,) = given(SHIPPED, picked_up(at=MONDAY_13), delivered(at=TUESDAY_9)).order.parcels
    assert (parcel.carrier, parcel.tracking_number) == ("SF", "SF1")
    assert (parcel.uploaded_at, parcel.picked_up_at, parcel.delivered_at) == (MONDAY_12, MONDAY_13, TUESDAY_9)
    assert (parcel.time_known, parcel.scans_followed) == (True, True)


def test_a_parcel_of_an_export_has_no_scans() -> None:
    (parcel,) = given(awaiting_shipment(), tracking_uploaded().reported_by("export")).order.parcels
    assert (parcel.time_known, parcel.scans_followed) == (True, False)
    (parcel,) = given(awaiting_shipment(), tracking_uploaded().observed()).order.parcels
    assert (parcel.time_known, parcel.scans_followed) == (False, False)


def test_a_replaced_parcel_hands_its_contents_on() -> None:
    packed = (e.ParcelLine("SKU-1", 2),)
    order = given(
        placed(lines=TWO_SKUS),
        group_formed(),
        tracking_uploaded("SF1", at=MONDAY_10, lines=packed),
        tracking_replaced("SF1", "SF2", at=MONDAY_11),
    ).order
    (current,) = order.current_parcels
    assert (current.tracking_number, current.lines, current.uploaded_at) == ("SF2", packed, MONDAY_11)
    assert order.shipped_at == MONDAY_10


def test_what_is_said_of_an_unknown_parcel_changes_no_other() -> None:
    given(SHIPPED, picked_up("SF9", at=MONDAY_13), delivered("SF9", at=MONDAY_14)).at(TUESDAY_9).shows(
        status="shipped"
    )


def test_holds_are_several_at_once_each_with_its_reason() -> None:
    seen = given(
        awaiting_shipment(),
        stockout_requested(at=MONDAY_10),
        hold_placed("risk_control", at=MONDAY_11, reason="looks like a bot"),
        hold_placed("manual", at=MONDAY_12, reason="address looks wrong"),
    ).at(MONDAY_13)
    assert [(h.hold, h.reason, h.since) for h in seen.view.shipment_lock.holds] == [
        ("stockout_review", "no_supply", MONDAY_10),
        ("risk_control", "looks like a bot", MONDAY_11),
        ("manual", "address looks wrong", MONDAY_12),
    ]


@pytest.mark.parametrize("end", [refunded(at=MONDAY_14), cancelled(at=MONDAY_14), group_failed(at=MONDAY_14)])
def test_a_closed_order_has_nothing_to_lock(end: Fact) -> None:
    given(awaiting_shipment(), stockout_requested(at=MONDAY_10), hold_placed(at=MONDAY_11), end).at(
        MONDAY_15
    ).is_not_locked()


def test_a_review_decided_without_an_application_changes_nothing_but_the_version() -> None:
    before = given(awaiting_shipment())
    after = before.and_(review_completed("approved", at=MONDAY_10))
    assert after.order.reviews == ()
    after.at(MONDAY_11).shows(status="awaiting_shipment", version=3)


def test_the_money_that_went_back() -> None:
    assert given(awaiting_shipment()).order.refunded_fen == 0
    some = given(awaiting_shipment(), refunded(at=MONDAY_10, amount_fen=300), refunded(at=MONDAY_11, amount_fen=50))
    assert some.order.refunded_fen == 350
    assert some.and_(refunded(at=MONDAY_12)).order.refunded_fen == 4_300
    assert given(placed(paid_fen=None), refunded(at=MONDAY_12)).order.refunded_fen is None


def test_an_anomaly_is_kept() -> None:
    seen = given(awaiting_shipment(), Fact(e.ContradictionObserved("paid_differs", "1 fen", "2 fen"), MONDAY_10))
    seen.at(MONDAY_11).has_anomalies("paid_differs")


def test_the_end_is_the_first_of_several() -> None:
    order = given(awaiting_shipment(), refunded(at=THURSDAY_9)).and_(cancelled(at=TUESDAY_9)).order
    assert order.ending is not None
    assert (order.ending.at, order.ending.time_known) == (TUESDAY_9, True)
    assert given_nothing().order.ending is None


def test_a_moment_observed_is_marked_so() -> None:
    recorded = Recorded(e.StockoutRequested("unknown"), 1, 1, MONDAY_9, MONDAY_9, Metadata(observed=True))
    (review,) = evolve(Order(ORDER_SN), recorded).reviews
    assert review.time_known is False


def test_of_two_promises_of_one_moment_the_one_told_last_holds() -> None:
    order = given(
        awaiting_shipment(), ship_by_changed(THURSDAY_9, at=MONDAY_12), ship_by_changed(FRIDAY_9, at=MONDAY_12)
    ).order
    assert (order.promised_ship_by, order.promised_at) == (FRIDAY_9, MONDAY_12)


def test_a_promise_told_late_does_not_take_the_place_of_a_later_one() -> None:
    order = (
        given(awaiting_shipment(), ship_by_changed(FRIDAY_9, at=MONDAY_12))
        .and_(ship_by_changed(THURSDAY_9, at=MONDAY_11), learned_at=MONDAY_13)
        .order
    )
    assert (order.promised_ship_by, order.promised_at) == (FRIDAY_9, MONDAY_12)


def test_what_is_left_to_pack() -> None:
    lines = (line("SKU-1", 2), line("SKU-2", 1), line("SKU-1", 3))
    story = given(placed(lines=lines), group_formed())
    assert (story.order.left_to_pack(), story.order.is_packed) == ({"SKU-1": 5, "SKU-2": 1}, False)
    packed = story.and_(
        tracking_uploaded("SF1", at=MONDAY_10, lines=(e.ParcelLine("SKU-1", 4), e.ParcelLine("SKU-2", 1)))
    )
    assert (packed.order.left_to_pack(), packed.order.is_packed) == ({"SKU-1": 1, "SKU-2": 0}, False)
    packed = packed.and_(tracking_uploaded("SF2", at=MONDAY_11, lines=(e.ParcelLine("SKU-1", 1),)))
    assert (packed.order.left_to_pack(), packed.order.is_packed) == ({"SKU-1": 0, "SKU-2": 0}, True)
    too_much = packed.and_(tracking_uploaded("SF3", at=MONDAY_12, lines=(e.ParcelLine("SKU-9", 1),)))
    assert (too_much.order.left_to_pack()["SKU-9"], too_much.order.is_packed) == (-1, True)


def test_a_parcel_that_does_not_say_what_is_in_it_holds_everything() -> None:
    story = given(placed(lines=TWO_SKUS), group_formed())
    some = story.and_(tracking_uploaded("SF1", at=MONDAY_10, lines=(e.ParcelLine("SKU-1", 1),)))
    assert not some.order.is_packed
    assert some.and_(tracking_uploaded("SF2", at=MONDAY_11)).order.is_packed


def test_the_first_parcel_is_the_one_that_went_up_first_whichever_was_told_first() -> None:
    order = (
        given(awaiting_shipment(), tracking_uploaded("SF2", at=MONDAY_13))
        .and_(tracking_uploaded("SF1", at=MONDAY_12), learned_at=MONDAY_14)
        .order
    )
    assert order.first_parcel is not None
    assert (order.first_parcel.tracking_number, order.shipped_at) == ("SF1", MONDAY_12)


def test_parts_of_the_money_end_an_order_once_they_are_all_of_it_in_the_order_of_the_world() -> None:
    parts = given(awaiting_shipment(), refunded(at=TUESDAY_9, amount_fen=4_299)).and_(
        refunded(at=MONDAY_12, amount_fen=1), learned_at=WEDNESDAY_9
    )
    assert parts.order.full_refund is not None
    assert (parts.order.full_refund.at, parts.order.is_closed) == (TUESDAY_9, True)
    one_fen_less = given(awaiting_shipment(), refunded(at=MONDAY_12, amount_fen=1)).and_(
        refunded(at=TUESDAY_9, amount_fen=4_298)
    )
    assert (one_fen_less.order.full_refund, one_fen_less.order.is_closed) == (None, False)


def test_no_part_of_an_unknown_payment_ends_an_order() -> None:
    order = given(placed(paid_fen=None), group_formed(), refunded(at=MONDAY_12, amount_fen=10_000)).order
    assert (order.full_refund, order.is_closed, order.refunded_fen) == (None, False, 10_000)


def test_the_last_change_of_a_lock_is_the_latest_not_the_last_told() -> None:
    story = given(awaiting_shipment(), hold_placed("manual", at=MONDAY_12)).and_(
        hold_placed("manual", at=MONDAY_10), learned_at=MONDAY_13
    )
    assert (story.order.lock_changed_at, story.order.last_held) == (MONDAY_12, {"manual": MONDAY_12})
    story = story.and_(hold_placed("manual", at=MONDAY_14))
    assert (story.order.lock_changed_at, story.order.last_held) == (MONDAY_14, {"manual": MONDAY_14})


def test_another_number_in_the_place_of_one_that_is_not_known_is_a_parcel_of_its_own() -> None:
    order = given(SHIPPED, tracking_replaced("SF9", "SF2", at=MONDAY_13)).order
    assert [parcel.tracking_number for parcel in order.current_parcels] == ["SF1", "SF2"]


def test_an_appeal_is_decided_and_no_other() -> None:
    order = given(
        awaiting_shipment(),
        appealed("late_shipment", at=MONDAY_12),
        appealed("stockout", at=MONDAY_13),
        appeal_decided("stockout", "overturned", at=TUESDAY_9),
    ).order
    assert [(each.outcome, each.decided_at) for each in order.appeals] == [(None, None), ("overturned", TUESDAY_9)]


def test_of_two_numbers_of_a_supplier_at_one_moment_the_one_whose_time_is_known_counts() -> None:
    def number(name: str) -> Fact:
        return Fact(e.TrackingUploaded("SF", name, (), "S-17"), TUESDAY_9)

    order = given(
        awaiting_shipment(), handed_to_supplier(at=MONDAY_10), number("SF1"), number("SF2").observed()
    ).order
    (handover,) = order.handovers
    assert (handover.tracking_at, handover.tracking_time_known) == (TUESDAY_9, True)


def test_a_supplier_is_waited_for_no_longer_when_other_numbers_carry_all_of_the_order() -> None:
    def shipped_otherwise(*facts: Fact) -> tuple[object, bool]:
        order = given(placed(lines=TWO_SKUS), group_formed(), handed_to_supplier(at=MONDAY_10), *facts).order
        (handover,) = order.handovers
        return handover.shipped_otherwise_at, handover.tracking_time_known

    one = tracking_uploaded("SF1", at=MONDAY_12, lines=(e.ParcelLine("SKU-1", 2),))
    other = tracking_uploaded("SF2", at=MONDAY_11, lines=(e.ParcelLine("SKU-2", 1),))
    assert shipped_otherwise(one) == (None, True)
    assert shipped_otherwise(one, other) == (MONDAY_12, True)
    assert shipped_otherwise(other, one) == (MONDAY_12, True)
    assert shipped_otherwise(one.observed(), other) == (MONDAY_12, False)
    more = tracking_uploaded("SF3", at=MONDAY_13)
    assert shipped_otherwise(one, other, more) == (MONDAY_12, True)
    same_moment = tracking_uploaded("SF3", at=MONDAY_12).observed()
    assert shipped_otherwise(one, other, same_moment) == (MONDAY_12, True)
    in_its_place = tracking_replaced("SF1", "SF4", at=MONDAY_12).observed()
    assert shipped_otherwise(one, other, in_its_place) == (MONDAY_12, True)


def test_an_order_that_was_with_two_suppliers_keeps_both_in_history() -> None:
    story = given(
        awaiting_shipment(),
        handed_to_supplier("S-17", at=MONDAY_10),
        supplier_out_of_stock("S-17", at=MONDAY_11),
        handed_to_supplier("S-18", at=MONDAY_12),
    )
    shipped = story.and_(Fact(e.TrackingUploaded("SF", "SF1", (), "S-18"), MONDAY_13)).order
    assert [(each.supplier_id, each.tracking_at) for each in shipped.handovers] == [
        ("S-17", None),
        ("S-18", MONDAY_13),
    ]
    back = story.and_(taken_back_from_supplier("S-18", at=MONDAY_14)).order
    assert [(each.supplier_id, each.came_back_at, each.reason) for each in back.handovers] == [
        ("S-17", MONDAY_11, "sold out"),
        ("S-18", MONDAY_14, "too slow"),
    ]
