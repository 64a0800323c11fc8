"""Holds lock an order."""

from domain.order import commands as c
from domain.order import events as e
from tests.domain.vocabulary import (
    MONDAY_9,
    MONDAY_10,
    MONDAY_11,
    PLACE_HOLD,
    RELEASE_HOLD,
    awaiting_shipment,
    cancelled,
    given,
    hold_placed,
    placed,
)


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
    held = given(awaiting_shipment(), hold_placed(at=MONDAY_10))
    held.when(PLACE_HOLD, at=MONDAY_11).then_nothing()
    held.when(c.PlaceHold(hold="manual", reason="fraud"), at=MONDAY_11).rejects(
        "order_locked", because="address looks wrong"
    )


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
