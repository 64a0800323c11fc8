"""When a command may have occurred, how far ahead it may set a deadline, and how many an order takes."""

from datetime import datetime

import pytest

from domain.kernel import Command, Refusal, occurrence
from domain.order.commands import ChangeShipBy, ContactBuyer
from domain.order.decisions.table import decide
from domain.order.events import ShipByChanged
from domain.order.state import Order
from tests.domain.vocabulary import (
    BOOK,
    MICROSECOND,
    MONDAY_9,
    MONDAY_10,
    ORDER_SN,
    TUESDAY_9,
    awaiting_shipment,
    beijing,
    days,
    given,
    hours,
)

NOW = MONDAY_10
TEN_MINUTES = hours(1) / 6


@pytest.mark.parametrize("moment", [beijing(2015, 1, 1), MONDAY_9, NOW, NOW + TEN_MINUTES])
def test_a_fact_is_as_old_as_the_platform_at_most_and_ten_minutes_ahead_of_our_clock(moment: datetime) -> None:
    assert occurrence(Command(occurred_at=moment), TUESDAY_9, NOW) == moment


@pytest.mark.parametrize("moment", [beijing(2015, 1, 1) - MICROSECOND, NOW + TEN_MINUTES + MICROSECOND])
def test_what_is_older_or_further_ahead_is_refused(moment: datetime) -> None:
    refused = occurrence(Command(occurred_at=moment), None, NOW)
    assert isinstance(refused, Refusal)
    assert (refused.code, refused.pointer) == ("invalid_request", "/occurred_at")


def test_without_a_time_it_is_now_but_not_before_the_last_event() -> None:
    assert occurrence(Command(), None, NOW) == NOW
    assert occurrence(Command(), MONDAY_9, NOW) == NOW
    assert occurrence(Command(), NOW + MICROSECOND, NOW) == NOW + MICROSECOND


def test_an_event_that_lies_far_ahead_takes_no_command_with_it() -> None:
    assert occurrence(Command(), TUESDAY_9, NOW) == NOW + TEN_MINUTES


def test_a_deadline_lies_two_years_ahead_at_most() -> None:
    story = given(awaiting_shipment())
    two_years = MONDAY_9 + days(731)
    story.when(ChangeShipBy(ship_by=two_years, reason="platform"), at=MONDAY_10).then(
        ShipByChanged(two_years, "platform")
    )
    later = ChangeShipBy(ship_by=two_years + MICROSECOND, reason="platform")
    story.when(later, at=MONDAY_10).rejects("invalid_request", pointer="/ship_by")


def test_an_order_takes_five_thousand_events() -> None:
    command = ContactBuyer(channel="chat", message="Sorry.")
    for version, taken in ((4_999, True), (5_000, False)):
        order = Order(ORDER_SN, version=version, placed_at=MONDAY_9, group_formed_at=MONDAY_9)
        decision, _ = decide((), order, command, BOOK, MONDAY_10)
        assert isinstance(decision, Refusal) is not taken
