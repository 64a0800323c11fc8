"""Stockout applications, their decisions, and the buyers to contact."""

from typing import Any

import pytest

from domain.order import commands as c
from domain.order import events as e
from tests.domain.vocabulary import (
    APPROVE,
    IN_REVIEW,
    MONDAY_9,
    MONDAY_10,
    MONDAY_12,
    MONDAY_13,
    MONDAY_14,
    REJECT,
    REQUEST_STOCKOUT,
    SHIPPED,
    TUESDAY_9,
    TWO_SKUS,
    WEDNESDAY_9,
    Fact,
    awaiting_shipment,
    cancelled,
    given,
    group_formed,
    placed,
    refunded,
    review_completed,
)


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


def test_contact_buyer_may_be_done_any_number_of_times() -> None:
    say = c.ContactBuyer(channel="chat", message="We are on it.")
    story = given(IN_REVIEW).when(say, at=MONDAY_13).then(e.BuyerContacted("chat", "We are on it."))
    story.when(say, at=MONDAY_14).then(e.BuyerContacted("chat", "We are on it.")).at(MONDAY_14).has_deadline(
        "contact_buyer", state="met", met_at=MONDAY_13
    )
