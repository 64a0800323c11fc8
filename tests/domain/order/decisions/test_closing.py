"""An order ends early: refunded or cancelled."""

from domain.order import commands as c
from domain.order import events as e
from tests.domain.vocabulary import (
    IN_REVIEW,
    MONDAY_9,
    MONDAY_10,
    MONDAY_12,
    MONDAY_13,
    MONDAY_14,
    MONDAY_15,
    MONDAY_16,
    SHIPPED,
    TUESDAY_9,
    WEDNESDAY_9,
    awaiting_shipment,
    cancelled,
    given,
    group_formed,
    placed,
    refunded,
    review_completed,
)


def test_refund_all_closes_the_order() -> None:
    given(awaiting_shipment()).when(c.Refund(initiated_by="buyer", reason="changed_mind"), at=MONDAY_12).then(
        e.OrderRefunded("buyer", "changed_mind")
    ).at(MONDAY_12).shows(status="refunded", refunded_fen=4_300).has_no_violations()


def test_refund_again_changes_nothing() -> None:
    given(awaiting_shipment(), refunded(at=MONDAY_12)).when(
        c.Refund(initiated_by="buyer", reason="changed_mind"), at=MONDAY_13
    ).then_nothing()


def test_another_refund_of_what_was_refunded_is_refused_with_what_stands() -> None:
    given(awaiting_shipment(), refunded(at=MONDAY_12)).when(
        c.Refund(initiated_by="merchant", reason="out_of_stock"), at=MONDAY_13
    ).rejects("order_closed", because="by the buyer for 'changed_mind'")


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
        .when(
            c.Refund(initiated_by="buyer", reason="damaged", amount_fen=4_000), at=MONDAY_12, recorded_at=MONDAY_16
        )
        .then(e.OrderRefunded("buyer", "damaged", 4_000), occurred_at=MONDAY_12)
    )
    story.at(MONDAY_16).shows(status="refunded").has_violations("late_shipment")


def test_cancel() -> None:
    given(placed()).when(c.Cancel(reason="changed_mind"), at=MONDAY_9).then(e.OrderCancelled("changed_mind")).at(
        MONDAY_9
    ).shows(status="cancelled")


def test_cancel_again_changes_nothing() -> None:
    cancelled_order = given(placed(), cancelled(at=MONDAY_9))
    cancelled_order.when(c.Cancel(reason="changed_mind"), at=MONDAY_10).then_nothing()
    cancelled_order.when(c.Cancel(reason="other"), at=MONDAY_10).rejects("order_closed", because="'changed_mind'")


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
