"""What depends on a fact may follow at the very moment of the fact, and not a microsecond before."""

import pytest

from domain.kernel import Command
from domain.order import commands as c
from tests.domain.vocabulary import (
    MICROSECOND,
    MONDAY_10,
    MONDAY_12,
    PLACE_HOLD,
    RELEASE_HOLD,
    REQUEST_STOCKOUT,
    THURSDAY_9,
    TUESDAY_9,
    Fact,
    awaiting_shipment,
    beijing,
    days,
    given,
    handed_to_supplier,
    hold_placed,
    hold_released,
    review_completed,
    stockout_requested,
    supplier_out_of_stock,
    violation_id,
)

HAND_OVER = c.HandToSupplier(supplier_id="S-18")


@pytest.mark.parametrize(
    ("facts", "command"),
    [
        pytest.param((hold_placed(at=TUESDAY_9),), RELEASE_HOLD, id="a hold and its release"),
        pytest.param(
            (hold_placed(at=TUESDAY_9), hold_released(at=TUESDAY_9)), PLACE_HOLD, id="a hold and the next one"
        ),
        pytest.param(
            (stockout_requested(at=MONDAY_12), review_completed("rejected", at=TUESDAY_9)),
            REQUEST_STOCKOUT,
            id="a decision and the next application",
        ),
        pytest.param(
            (handed_to_supplier(at=TUESDAY_9, expected=None),),
            c.RecordSupplierStockout(reason="sold out"),
            id="a hand-over and the supplier's stockout",
        ),
        pytest.param(
            (handed_to_supplier(at=MONDAY_10), supplier_out_of_stock(at=TUESDAY_9)),
            HAND_OVER,
            id="a supplier's stockout and the next hand-over",
        ),
    ],
)
def test_what_may_follow_at_once(facts: tuple[Fact, ...], command: Command) -> None:
    story = given(awaiting_shipment(), facts)
    at_once = story.when(command, at=TUESDAY_9)
    assert isinstance(at_once.decision, tuple)
    assert len(at_once.decision) == 1
    too_early = story.when(command, at=TUESDAY_9 - MICROSECOND, recorded_at=THURSDAY_9)
    assert not isinstance(too_early.decision, tuple) or too_early.decision == ()


def test_a_suppliers_number_is_expected_two_years_after_the_hand_over_at_most() -> None:
    story = given(awaiting_shipment())
    for expected, taken in ((MONDAY_12 + days(731), True), (MONDAY_12 + days(731) + MICROSECOND, False)):
        command = c.HandToSupplier(supplier_id="S-17", expected_tracking_at=expected)
        assert isinstance(story.when(command, at=MONDAY_12).decision, tuple) is taken


def test_the_platforms_last_moment_to_appeal_lies_in_its_own_time_and_two_years_ahead_at_most() -> None:
    story = given(awaiting_shipment())

    def appeal(until: object) -> c.AppealViolation:
        return c.AppealViolation(violation_id=violation_id("late_shipment"), appeal_by=until)  # type: ignore[arg-type]

    founded = beijing(2015, 1, 1)
    story.when(appeal(founded), at=THURSDAY_9).rejects("appeal_too_late")
    story.when(appeal(founded - MICROSECOND), at=THURSDAY_9).rejects("invalid_request", pointer="/appeal_by")
    last = THURSDAY_9 + days(731)
    assert isinstance(story.when(appeal(last), at=THURSDAY_9).decision, tuple)
    story.when(appeal(last + MICROSECOND), at=THURSDAY_9).rejects("invalid_request", pointer="/appeal_by")
