"""Folding: any event may follow any other, and the order before an event stays as it was."""

import pytest

from domain.order import events as e
from domain.order.fold import evolve
from tests.domain.vocabulary import (
    FRIDAY_9,
    MONDAY_9,
    TWO_SKUS,
    Fact,
    appeal_decided,
    appealed,
    buyer_contacted,
    cancelled,
    charged,
    complaint_decided,
    complaint_filed,
    delivered,
    given,
    given_back,
    group_failed,
    group_formed,
    handed_to_supplier,
    hold_placed,
    hold_released,
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

EVERY_KIND: tuple[Fact, ...] = (
    placed(),
    Fact(e.LinesCompleted(TWO_SKUS, 8_600), MONDAY_9),
    Fact(e.FactWithdrawn(1, "the export was another shop's"), MONDAY_9),
    paid(at=MONDAY_9),
    group_formed(at=MONDAY_9),
    group_failed(at=MONDAY_9),
    ship_by_changed(FRIDAY_9, at=MONDAY_9),
    tracking_uploaded(at=MONDAY_9),
    tracking_replaced("SF1", "SF2", at=MONDAY_9),
    picked_up(at=MONDAY_9),
    delivered(at=MONDAY_9),
    receipt_confirmed(at=MONDAY_9),
    stockout_requested(at=MONDAY_9),
    review_completed("rejected", at=MONDAY_9),
    refunded(at=MONDAY_9),
    cancelled(at=MONDAY_9),
    hold_placed(at=MONDAY_9),
    hold_released(at=MONDAY_9),
    buyer_contacted(at=MONDAY_9),
    complaint_filed(at=MONDAY_9),
    complaint_decided("upheld", at=MONDAY_9),
    appealed("late_shipment", at=MONDAY_9),
    appeal_decided("late_shipment", "upheld", at=MONDAY_9),
    charged("late_shipment", 300, at=MONDAY_9),
    given_back(300, at=MONDAY_9),
    handed_to_supplier(at=MONDAY_9),
    supplier_out_of_stock(at=MONDAY_9),
    taken_back_from_supplier(at=MONDAY_9),
    Fact(e.ContradictionObserved("code", "this", "that"), MONDAY_9),
)


def test_there_is_a_fact_of_every_kind() -> None:
    assert {type(fact.event) for fact in EVERY_KIND} == set(e.Event.__subclasses__())


@pytest.mark.parametrize("fact", EVERY_KIND, ids=lambda fact: type(fact.event).__name__)
def test_evolve_is_total_any_event_may_come_first(fact: Fact) -> None:
    story = given(fact)
    assert story.order.version == 1
    story.at(FRIDAY_9)


@pytest.mark.parametrize("first", EVERY_KIND, ids=lambda fact: type(fact.event).__name__)
@pytest.mark.parametrize("second", EVERY_KIND, ids=lambda fact: type(fact.event).__name__)
def test_evolve_is_total_any_event_may_follow_any_other(first: Fact, second: Fact) -> None:
    story = given(first, second)
    assert story.order.version == 2
    story.at(FRIDAY_9)


@pytest.mark.parametrize("fact", EVERY_KIND, ids=lambda fact: type(fact.event).__name__)
def test_the_order_before_an_event_stays_as_it_was(fact: Fact) -> None:
    story = given(EVERY_KIND)
    before = story.order
    after = evolve(before, story.and_(fact).history[-1])
    assert before == story.order
    assert after == story.and_(fact).order
