"""A SKU sells beyond its stock, and how a shop gets out of it: the story of ``benchmarks/story.py``, as a test."""

from benchmarks.story import APPROVED, ON_HAND, ORDERS, REJECTED, SKU, Story, asking, number
from infrastructure.runtime import clock
from tests.api.conftest import Api


def test_a_sku_oversells_and_the_shop_gets_out_of_it(api: Api) -> None:
    outcome = Story(asking(api.http), clock.now()).run()

    assert outcome.board_before["sellable"] == ON_HAND
    assert outcome.board_oversold["sellable"] == 0
    assert outcome.board_oversold["oversold_by"] == ORDERS - ON_HAND
    assert [warning["code"] for warning in outcome.board_oversold["warnings"]] == ["oversold"]

    case = outcome.case_opened
    assert (case["sku_id"], case["opened_by"], case["state"]) == (SKU, number(1), "open")
    assert case["delist"]["state"] == "missed", "it is still for sale"
    assert case["delist"]["due_at"] == case["opened_at"]
    assert (case["orders"], case["counts"]["applied"], case["counts"]["at_risk"]) == (ORDERS, 1, ORDERS - 1)

    assert [order["order_sn"] for order in outcome.at_risk] == [number(n) for n in range(ORDERS, 1, -1)], (
        "dearest first"
    )
    assert all(order["stockout_fen"] > 0 for order in outcome.at_risk)
    for order in outcome.at_risk:
        prices = {way["way"]: way["penalty_fen"] for way in order["ways"]}
        assert prices["refund"] == order["stockout_fen"]
        assert order["ways"][0] == {"way": "ship_in_time", "possible": True, "penalty_fen": 0}
        assert order["ways"][-1]["way"] == "send_something_else"
        assert prices["send_something_else"] == order["paid_fen"]
    for order in outcome.at_risk:
        ways = {way["way"]: way["penalty_fen"] for way in order["ways"]}
        assert ways["apply_now"] >= order["stockout_fen"]
        assert ways["send_something_else"] >= order["paid_fen"], "fraud is the dearest"
    assert case["at_stake_fen"] == 500 + sum(order["stockout_fen"] for order in outcome.at_risk)
    assert outcome.board_delisted["sellable"] == 0
    assert outcome.board_delisted["delist_due_at"] is None
    assert outcome.board_delisted["case_id"] == case["case_id"]
    assert outcome.board_delisted["at_risk_orders"] == ORDERS - 1

    assert {message["order_sn"] for message in outcome.messages} == {number(n) for n in range(1, ORDERS + 1)}
    for message in outcome.messages:
        assert "泰国金枕榴莲" in message["text"]
        assert message["order_sn"] in message["text"]
        assert "{" not in message["text"]

    closed = outcome.case_closed
    assert (closed["state"], closed["decided"], closed["contacted"]) == ("closed", ORDERS, ORDERS)
    assert (closed["counts"]["approved"], closed["counts"]["shipped"]) == (3, ORDERS - 3)
    assert (closed["delist"]["state"], closed["delist"]["met_at"]) == ("met", closed["delist"]["due_at"])
    assert closed["at_stake_fen"] == 0

    of_kind = {
        kind: [deadline for deadline in outcome.deadlines if deadline["kind"] == kind]
        for kind in ("tracking_upload", "delist_sku", "contact_buyer", "carrier_pickup")
    }
    assert len(of_kind["delist_sku"]) == len(of_kind["contact_buyer"]) == len(APPROVED) + 1
    for kind in ("delist_sku", "carrier_pickup"):
        assert {deadline["state"] for deadline in of_kind[kind]} == {"met"}
    shipped = {number(n) for n in range(REJECTED, ORDERS + 1)}
    assert {f["order_sn"] for f in of_kind["tracking_upload"] if f["state"] == "met"} == shipped

    assert sorted(violation["order_sn"] for violation in outcome.violations) == [number(n) for n in APPROVED]
    assert {(violation["kind"], violation["cause"]) for violation in outcome.violations} == {
        ("stockout", "application_approved")
    }
    penalties = sum(violation["penalty_fen"] for violation in outcome.violations)
    assert penalties > 0
    assert sum(day["penalties_fen"] for day in outcome.report) == penalties
    assert sum(day["stockouts"] for day in outcome.report) == 3
