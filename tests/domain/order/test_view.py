"""The order as a client gets it: every field of the contract, and a reason for each "no"."""

from typing import Any

import pytest

from domain.history import Metadata
from domain.kernel import Refusal
from domain.order import events as e
from domain.order.decisions.table import ACTIONS
from tests.domain.order.test_fold import EVERY_KIND
from tests.domain.vocabulary import (
    A_COMMAND_FOR,
    FRIDAY_9,
    MONDAY_8,
    MONDAY_9,
    MONDAY_12,
    MONDAY_13,
    MONDAY_15,
    ORDER_SN,
    SHIP_BY,
    THURSDAY_9,
    TUESDAY_9,
    WEDNESDAY_9,
    Fact,
    Story,
    appeal_decided,
    appealed,
    awaiting_shipment,
    beijing,
    cancelled,
    complaint_decided,
    complaint_filed,
    delivered,
    given,
    group_formed,
    handed_to_supplier,
    hold_placed,
    hours,
    picked_up,
    placed,
    receipt_confirmed,
    refunded,
    review_completed,
    shown,
    stockout_requested,
    tracking_replaced,
    tracking_uploaded,
)

ACTIONS_OF_THE_CONTRACT = [
    "place",
    "pay",
    "form-group",
    "fail-group",
    "change-ship-by",
    "upload-tracking",
    "replace-tracking",
    "record-pickup",
    "record-delivery",
    "confirm-receipt",
    "request-stockout",
    "complete-review",
    "refund",
    "cancel",
    "place-hold",
    "release-hold",
    "contact-buyer",
    "file-complaint",
    "decide-complaint",
    "appeal",
    "decide-appeal",
    "hand-to-supplier",
    "record-supplier-tracking",
    "record-supplier-stockout",
    "take-back-from-supplier",
    "record-charge",
    "record-return",
    "withdraw-fact",
]

A_WHOLE_LIFE = (
    *awaiting_shipment(),
    hold_placed("risk_control", at=MONDAY_12),
    stockout_requested(at=MONDAY_12),
    review_completed("rejected", at=THURSDAY_9),
    tracking_uploaded("SF1", at=THURSDAY_9),
    picked_up("SF1", at=THURSDAY_9 + hours(1)),
    appealed("late_shipment", at=FRIDAY_9),
)


def test_every_field_of_the_contract_is_there() -> None:
    body = given(A_WHOLE_LIFE).at(FRIDAY_9).json
    assert set(body) >= {
        "order_sn",
        "status",
        "version",
        "position",
        "lines",
        "paid_fen",
        "placed_at",
        "group_formed_at",
        "ship_by",
        "parcels",
        "shipment_lock",
        "deadlines",
        "violations",
        "anomalies",
        "allowed_actions",
        "rules",
    }
    assert body["order_sn"] == ORDER_SN
    assert (body["version"], body["position"]) == (8, 8)
    assert body["placed_at"] == "2026-03-02T00:00:00Z"
    assert body["lines"] == [
        {
            "sku_id": "SKU-1",
            "goods_id": "GOODS-1",
            "name": "棉袜 Cotton socks",
            "quantity": 1,
            "unit_price_fen": 4_300,
        }
    ]
    assert body["rules"] == {"name": "pinduoduo-2023-01", "effective_from": "2023-01-01T00:00:00+08:00"}


def test_a_parcel_as_a_client_gets_it() -> None:
    (parcel,) = given(A_WHOLE_LIFE).at(FRIDAY_9).json["parcels"]
    assert parcel == {
        "carrier": "SF",
        "tracking_number": "SF1",
        "uploaded_at": "2026-03-05T01:00:00Z",
        "picked_up_at": "2026-03-05T02:00:00Z",
        "delivered_at": None,
        "replaced_at": None,
        "lines": [],
        "kind": "order",
    }


def test_a_lock_as_a_client_gets_it() -> None:
    locked = given(awaiting_shipment(), stockout_requested(at=MONDAY_12), hold_placed(at=MONDAY_13)).at(MONDAY_13)
    assert locked.json["shipment_lock"] == {
        "locked": True,
        "holds": [
            {
                "hold": "stockout_review",
                "reason": "no_supply",
                "since": "2026-03-02T04:00:00Z",
                "expected_decision": {
                    "earliest": "2026-03-04T04:00:00Z",
                    "latest": "2026-03-05T04:00:00Z",
                    "certain": True,
                },
            },
            {"hold": "manual", "reason": "address looks wrong", "since": "2026-03-02T05:00:00Z"},
        ],
    }
    assert given(awaiting_shipment()).at(MONDAY_13).json["shipment_lock"] == {"locked": False, "holds": []}


def test_a_deadline_as_a_client_gets_it() -> None:
    deadlines = given(A_WHOLE_LIFE).at(FRIDAY_9).json["deadlines"]
    assert all({"kind", "due_at", "met_at", "state"} <= set(deadline) for deadline in deadlines)
    assert deadlines[0] == {
        "kind": "tracking_upload",
        "due_at": "2026-03-04T01:00:00Z",
        "met_at": "2026-03-05T01:00:00Z",
        "state": "missed",
    }
    assert [deadline["kind"] for deadline in deadlines] == [
        "tracking_upload",
        "deemed_stockout",
        "review_decision",
        "delist_sku",
        "contact_buyer",
        "carrier_pickup",
    ]


def test_a_violation_as_a_client_gets_it() -> None:
    (late,) = given(A_WHOLE_LIFE).at(FRIDAY_9).json["violations"]
    assert late == {
        "violation_id": f"{ORDER_SN}:late_shipment",
        "kind": "late_shipment",
        "cause": None,
        "arose_at": "2026-03-04T01:00:00Z",
        "penalty_fen": 300,
        "rule": "pinduoduo-2023-01/late_shipment",
        "appeal_by": "2026-03-11T01:00:00Z",
        "appeal": {
            "appealed_at": "2026-03-06T01:00:00Z",
            "evidence": None,
            "outcome": None,
            "decided_at": None,
        },
    }


def test_an_anomaly_as_a_client_gets_it() -> None:
    seen = given(awaiting_shipment()).sees(shown("awaiting_shipment", paid_fen=1)).story_after.at(TUESDAY_9)
    assert seen.json["anomalies"] == [
        {"code": "paid_differs", "expected": "4300 fen", "seen": "1 fen", "seen_at": "2026-03-03T01:00:00Z"}
    ]


def test_every_action_is_answered_each_no_with_its_reason() -> None:
    for story in STORIES.values():
        allowed = story.at(FRIDAY_9).view.allowed_actions
        assert [found.action for found in allowed] == ACTIONS_OF_THE_CONTRACT
        assert all(found.allowed is (found.because is None) for found in allowed)
        assert all(found.because for found in allowed if not found.allowed)


LATE = given(awaiting_shipment(), tracking_uploaded("SF1", at=THURSDAY_9))

STORIES: dict[str, Story] = {
    "refunded in an export": given(
        awaiting_shipment(),
        Fact(e.OrderRefunded("unknown", "unknown"), TUESDAY_9, Metadata(via="export", observed=True)),
    ),
    "placed": given(placed(paid_fen=None)),
    "paid": given(placed()),
    "awaiting shipment": given(awaiting_shipment()),
    "in review": given(awaiting_shipment(), stockout_requested(at=MONDAY_12)),
    "stocked out": given(
        awaiting_shipment(), stockout_requested(at=MONDAY_12), review_completed("approved", at=MONDAY_13)
    ),
    "rejected": given(
        awaiting_shipment(), stockout_requested(at=MONDAY_12), review_completed("rejected", at=MONDAY_13)
    ),
    "with a supplier": given(awaiting_shipment(), handed_to_supplier(at=MONDAY_12)),
    "held": given(awaiting_shipment(), hold_placed(at=MONDAY_12)),
    "shipped": given(awaiting_shipment(), tracking_uploaded("SF1", at=MONDAY_12)),
    "shipped and held": given(
        awaiting_shipment(), tracking_uploaded("SF1", at=MONDAY_12), hold_placed(at=MONDAY_13)
    ),
    "replaced": given(
        awaiting_shipment(), tracking_uploaded("SF1", at=MONDAY_12), tracking_replaced("SF1", "SF2", at=MONDAY_13)
    ),
    "delivered": given(awaiting_shipment(), tracking_uploaded("SF1", at=MONDAY_12), delivered("SF1", at=MONDAY_15)),
    "received": given(awaiting_shipment(), tracking_uploaded("SF1", at=MONDAY_12), receipt_confirmed(at=MONDAY_15)),
    "late": LATE,
    "appealed": LATE.and_(appealed("late_shipment", at=FRIDAY_9)),
    "appeal decided": LATE.and_(
        appealed("late_shipment", at=FRIDAY_9), appeal_decided("late_shipment", "upheld", at=FRIDAY_9)
    ),
    "complained of": LATE.and_(complaint_filed(at=FRIDAY_9)),
    "convicted": LATE.and_(complaint_filed(at=FRIDAY_9), complaint_decided("upheld", at=FRIDAY_9)),
    "cancelled": given(awaiting_shipment(), cancelled(at=MONDAY_12)),
    "refunded": given(awaiting_shipment(), refunded(at=MONDAY_12)),
    "refunded in part": given(awaiting_shipment(), refunded(at=MONDAY_12, amount_fen=100)),
}


@pytest.mark.parametrize("name", ACTIONS_OF_THE_CONTRACT)
@pytest.mark.parametrize("stage", STORIES)
def test_what_is_called_forbidden_is_never_done(stage: str, name: str) -> None:
    """A forbidden action is refused with the same reason, or is so already."""
    story = STORIES[stage]
    answer = story.at(FRIDAY_9).action(name)
    decision = story.when(A_COMMAND_FOR[name], at=FRIDAY_9).decision
    if answer.allowed:
        return
    if isinstance(decision, Refusal):
        assert name == "place" or name in NAMED_BY_BODY or decision.detail == answer.because
    else:
        assert decision == ()


NAMED_BY_BODY = {"appeal", "decide-appeal", "release-hold"}
"""Their reason names what the body asked for."""


ALWAYS_POSSIBLE = {
    "contact-buyer",
    "record-charge",
    "record-return",
    "record-pickup",
    "record-delivery",
    "confirm-receipt",
}


@pytest.mark.parametrize("name", ACTIONS_OF_THE_CONTRACT)
def test_every_action_is_allowed_somewhere_and_forbidden_somewhere(name: str) -> None:
    answers = {story.at(FRIDAY_9).action(name).allowed for story in STORIES.values()}
    if name == "place":
        assert answers == {False}
    elif name in ALWAYS_POSSIBLE:
        assert answers == {True}
    else:
        assert answers == {True, False}


@pytest.mark.parametrize(
    ("stage", "name"),
    [
        ("placed", "pay"),
        ("paid", "form-group"),
        ("paid", "fail-group"),
        ("awaiting shipment", "upload-tracking"),
        ("awaiting shipment", "request-stockout"),
        ("in review", "complete-review"),
        ("rejected", "upload-tracking"),
        ("held", "release-hold"),
        ("shipped", "replace-tracking"),
        ("shipped", "record-pickup"),
        ("complained of", "decide-complaint"),
        ("late", "appeal"),
        ("appealed", "decide-appeal"),
        ("refunded in part", "upload-tracking"),
    ],
)
def test_what_is_called_allowed_is_done(stage: str, name: str) -> None:
    story = STORIES[stage]
    assert story.at(FRIDAY_9).action(name).allowed
    decision = story.when(A_COMMAND_FOR[name], at=FRIDAY_9).decision
    assert isinstance(decision, tuple)
    assert decision


def test_the_view_of_a_moment_is_asked_for_not_kept() -> None:
    story = given(awaiting_shipment())
    assert story.at(SHIP_BY).view.violations == ()
    assert len(story.at(FRIDAY_9).view.violations) == 1
    assert story.at(SHIP_BY).view.violations == ()


def test_times_are_shown_in_utc() -> None:
    body = given(placed(), group_formed(ship_by=WEDNESDAY_9)).at(MONDAY_9).json
    assert body["ship_by"] == "2026-03-04T01:00:00Z"


@pytest.mark.parametrize("fact", EVERY_KIND, ids=lambda fact: type(fact.event).__name__)
@pytest.mark.parametrize("moment", [MONDAY_8, SHIP_BY, beijing(2126, 1, 1), beijing(1970, 1, 1)])
def test_an_order_can_be_shown_at_any_moment(fact: Fact, moment: Any) -> None:
    assert given(awaiting_shipment(), fact).at(moment).json["order_sn"] == ORDER_SN


def test_the_table_of_actions_stands_in_the_contracts_order() -> None:
    assert list(ACTIONS) == ACTIONS_OF_THE_CONTRACT
