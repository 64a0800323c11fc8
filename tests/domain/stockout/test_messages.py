"""What a buyer is told: a message that fits, filled with what is known."""

from domain.stockout.messages import Message, fill, fitting
from tests.domain.vocabulary import (
    MONDAY_12,
    ORDER_SN,
    SHIP_BY,
    TUESDAY_9,
    TWO_SKUS,
    awaiting_shipment,
    given,
    group_formed,
    placed,
    review_completed,
    stockout_requested,
)

SORRY = Message("applied", "Sorry", ("applied",), "{goods} of {order_sn} is out of stock.")
WAIT = Message("will_ship_late", "Wait", ("at_risk", "rejected"), "It ships by {ship_by}.", "Keep the promise.")
GONE = Message("approved", "Gone", ("approved",), "Money comes back. {name}")
MESSAGES = (SORRY, WAIT, GONE)


def test_a_message_is_filled_with_what_is_known() -> None:
    order = given(awaiting_shipment()).order
    filled = fill(SORRY, order, "SKU-1", SHIP_BY)
    assert filled.text == f"棉袜 Cotton socks of {ORDER_SN} is out of stock."
    assert fill(WAIT, order, "SKU-1", SHIP_BY).text == "It ships by 2026-03-04 09:00."
    assert (fill(WAIT, order, "SKU-1", SHIP_BY).caution, filled.caution) == ("Keep the promise.", None)


def test_what_is_not_known_stays_a_placeholder() -> None:
    order = given(awaiting_shipment()).order
    assert fill(SORRY, order, "SKU-9", SHIP_BY).text == f"{{goods}} of {ORDER_SN} is out of stock."
    assert fill(WAIT, order, "SKU-1", None).text == "It ships by {ship_by}."
    assert fill(GONE, order, "SKU-1", None).text == "Money comes back. {name}"


def test_a_buyer_gets_the_messages_of_how_the_order_stands() -> None:
    order = given(awaiting_shipment()).order
    assert [each.situation for each in fitting(MESSAGES, "at_risk", order, "SKU-1", SHIP_BY)] == ["will_ship_late"]
    assert [each.situation for each in fitting(MESSAGES, "approved", order, "SKU-1", SHIP_BY)] == ["approved"]
    assert fitting(MESSAGES, "shipped", order, "SKU-1", SHIP_BY) == []


def test_no_message_promises_to_ship_an_order_that_is_locked_for_other_skus() -> None:
    lines = (TWO_SKUS[0], TWO_SKUS[1].__class__("SKU-2", "GOODS-2", "帽子 Hat", 1, 4_300))
    applied = given(placed(lines=lines), group_formed(), stockout_requested(at=MONDAY_12))
    for standing in ("at_risk", "rejected"):
        (message,) = fitting(MESSAGES, standing, applied.order, "SKU-2", SHIP_BY)
        assert message.text == f"帽子 Hat of {ORDER_SN} is out of stock."
        (message,) = fitting(MESSAGES, standing, applied.order, "SKU-9", SHIP_BY)
        assert message.text == f"棉袜 Cotton socks of {ORDER_SN} is out of stock."
    (message,) = fitting(MESSAGES, "approved", applied.order, "SKU-2", SHIP_BY)
    assert message.situation == "approved"
    rejected = applied.and_(review_completed("rejected", at=TUESDAY_9))
    (message,) = fitting(MESSAGES, "rejected", rejected.order, "SKU-1", SHIP_BY)
    assert message.situation == "will_ship_late"
