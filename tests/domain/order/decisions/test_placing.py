"""An order begins: placed, paid, its group formed or failed, its ship-by moved."""

from datetime import UTC, datetime, timezone

import msgspec
import pytest

from domain.kernel import FURTHEST_DEADLINE
from domain.order import commands as c
from domain.order import events as e
from tests.domain.vocabulary import (
    ABSURD,
    FORMED,
    FRIDAY_9,
    MICROSECOND,
    MONDAY_8,
    MONDAY_9,
    MONDAY_10,
    MONDAY_11,
    MONDAY_12,
    MONDAY_13,
    ORDERED,
    PLACE,
    SHIP_BY,
    THURSDAY_9,
    TUESDAY_9,
    WEDNESDAY_9,
    Fact,
    awaiting_shipment,
    cancelled,
    given,
    given_nothing,
    group_failed,
    group_formed,
    hours,
    line,
    paid,
    placed,
    refunded,
)

# ---- place ----------------------------------------------------------------------------------------


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


# ---- pay, form-group, fail-group ------------------------------------------------------------------


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


# ---- change-ship-by -------------------------------------------------------------------------------


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
        c.ChangeShipBy(ship_by=FRIDAY_9, reason="buyer_agreed"), at=TUESDAY_9, recorded_at=THURSDAY_9
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
