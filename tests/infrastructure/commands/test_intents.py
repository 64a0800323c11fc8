"""Outcomes that are known without deciding anything: a replay, and a key of another request."""

from datetime import timedelta

import pytest

from domain.order.snapshot import Snapshot
from domain.order.state import Order
from domain.sku import commands as s
from domain.sku.state import Sku
from infrastructure.commands.intents import (
    OrderIntent,
    OrderOutcome,
    SkuCommand,
    SkuOutcome,
    SnapshotIntent,
)
from infrastructure.commands.receipts import key_reused, replay
from tests.infrastructure.commands.keyed import CONTACT
from tests.orders import MONDAY_9, SHOP, order_command, order_sn

SNAPSHOT = SnapshotIntent(
    SHOP, Snapshot(order_sn=order_sn(0), seen_at=MONDAY_9, via="export", phase="shipped", lines=()), "import"
)
SKU = SkuCommand(SHOP, "52000301", s.CountStock(on_hand=1), "test")


def test_an_intent_names_its_stream() -> None:
    assert order_command(order_sn(0), CONTACT).stream == SNAPSHOT.stream == f"order:{order_sn(0)}"
    assert SKU.stream == "sku:52000301"
    assert (order_command(order_sn(0), CONTACT).order_sn, SNAPSHOT.order_sn, SKU.sku_id) == (
        order_sn(0),
        order_sn(0),
        "52000301",
    )
    assert SNAPSHOT.idempotency is None


@pytest.mark.parametrize("intent", [order_command(order_sn(0), CONTACT), SNAPSHOT])
def test_a_replay_has_the_response_and_its_position_alone(intent: OrderIntent) -> None:
    again = replay(intent, b"response", 7, MONDAY_9)
    assert again == OrderOutcome(Order(order_sn(0)), 0, 7, MONDAY_9, response=b"response", replayed=True)
    refused = key_reused(intent, MONDAY_9)
    assert isinstance(refused, OrderOutcome)
    assert refused.refusal is not None
    assert (refused.refusal.code, refused.position, refused.replayed) == ("idempotency_key_reused", 0, False)


def test_outcomes_of_skus_are_their_own() -> None:
    assert replay(SKU, b"response", 7, MONDAY_9) == SkuOutcome(
        Sku("52000301"), 0, 7, MONDAY_9, response=b"response", replayed=True
    )
    refused = key_reused(SKU, MONDAY_9)
    assert isinstance(refused, SkuOutcome)
    assert refused.refusal is not None


def test_an_order_is_shown_no_earlier_than_its_last_event() -> None:
    later = MONDAY_9 + timedelta(hours=1)
    assert OrderOutcome(Order(order_sn(0)), 0, 0, MONDAY_9).shown_at == MONDAY_9
    assert OrderOutcome(Order(order_sn(0), last_occurred_at=later), 0, 0, MONDAY_9).shown_at == later
    assert OrderOutcome(Order(order_sn(0), last_occurred_at=MONDAY_9), 0, 0, later).shown_at == later
