"""Stock, cases, suppliers, bills and sorted lists as they stood, over HTTP and from the command line."""

from datetime import datetime
from typing import Any, NamedTuple

import pytest

from infrastructure.runtime import clock
from tests.api.conftest import SHOP, Api, ago
from tests.api.test_cli import Shiplock, body
from tests.api.test_cli import shiplock as shiplock

FIRST, SECOND = "260302-000000000000001", "260302-000000000000002"
SKU = "52000301"
PERIOD = {"from": "2026-01-01T00:00:00Z"}


class Past(NamedTuple):
    """A moment, and what every path answered then."""

    at: datetime
    answers: dict[str, Any]


def paths_of(api: Api) -> list[str]:
    (case,) = api.get("stockout-cases").json()["items"]
    return [
        "skus",
        f"skus/{SKU}",
        f"skus/{SKU}/at-risk",
        "stockout-cases",
        f"stockout-cases/{case['case_id']}",
        f"stockout-cases/{case['case_id']}/orders",
        f"stockout-cases/{case['case_id']}/messages",
        "suppliers",
        "suppliers/S-17",
        "suppliers/S-17/handovers",
        "reconciliation",
        "unmatched-charges",
        "orders?sort=ship_by",
        "orders?sort=-placed_at",
        "deadlines?sort=due_at",
        "violations?sort=arose_at",
    ]


def asked(api: Api, path: str, **parameters: Any) -> Any:
    path, _, given = path.partition("?")
    sort = dict([given.split("=")]) if given else {}
    answer = api.get(path, **sort, **parameters)
    assert answer.status_code == 200, answer.text
    return standing(answer.json())


def standing(answer: Any) -> Any:
    """An answer without what runs with the clock: until when an order of a SKU that came now would have to go."""
    for sku in answer.get("items", [answer]):
        if "sellable" in sku:
            del sku["ship_by"], sku["because"]
    return answer


@pytest.fixture
def past(api: Api) -> Past:
    """Much has happened in the shop since the moment."""
    for number in (FIRST, SECOND):
        api.formed(number, at=ago(50), ship_by=ago(2))
    api.http.post(f"/v1/shops/{SHOP}/skus/{SKU}/count-stock", json={"on_hand": 1})
    api.http.post(f"/v1/shops/{SHOP}/skus/{SKU}/delist", json={"reason": "oversold"})
    api.done(SECOND, "hand-to-supplier", supplier_id="S-17", expected_tracking_at=ago(-5))
    api.done(FIRST, "record-charge", kind="late_shipment", amount_fen=300, line_id="bill-1", occurred_at=ago(1))
    last = api.do(FIRST, "request-stockout", reason="oversold")
    position = int(last.headers["shiplock-position"])
    for path in ("skus", "suppliers", "reconciliation", "unmatched-charges", "orders", "deadlines", "violations"):
        asked(api, path, min_position=position)
    at = clock.now()
    answers = {path: asked(api, path) for path in paths_of(api)}
    api.http.post(f"/v1/shops/{SHOP}/skus/{SKU}/count-stock", json={"on_hand": 100})
    api.http.post(f"/v1/shops/{SHOP}/skus/{SKU}/relist", json={})
    api.done(SECOND, "record-supplier-tracking", carrier="SF", tracking_number="SF1")
    api.done(FIRST, "complete-review", outcome="rejected")
    api.done(FIRST, "record-charge", kind="late_shipment", amount_fen=900, line_id="bill-2", occurred_at=ago(0))
    api.formed("260302-000000000000003", at=ago(0))
    last = api.do(FIRST, "upload-tracking", carrier="SF", tracking_number="SF2")
    position = int(last.headers["shiplock-position"])
    for path in answers:
        assert asked(api, path, **({} if path == "suppliers/S-17" else {"min_position": position})) is not None
    return Past(at, answers)


def test_what_was_answered_is_answered_of_that_moment(api: Api, past: Past) -> None:
    for path, then in past.answers.items():
        assert asked(api, path, known_at=past.at) == then, path
        assert asked(api, path, as_of=past.at) == then, path
        if path not in ("unmatched-charges", "violations?sort=arose_at"):
            assert asked(api, path) != then, path


def test_lists_of_another_moment_go_both_ways_in_the_order_asked_for(api: Api, past: Past) -> None:
    for path, sort in (("orders", "ship_by"), ("orders", "-placed_at"), ("deadlines", "due_at")):
        items = api.every(path, known_at=past.at, sort=sort, limit=1)
        assert items == past.answers[f"{path}?sort={sort}"]["items"]
        assert len(items) > 1


def test_by_order_number_lists_come_from_the_log_at_every_moment(api: Api, past: Past) -> None:
    for path in ("orders", "deadlines", "violations"):
        numbers = [each["order_sn"] for each in asked(api, path, sort="order_sn")["items"]]
        assert numbers == sorted(numbers)
        assert asked(api, path, known_at=past.at) == asked(api, path, known_at=past.at, sort="order_sn")
    assert [each["order_sn"] for each in asked(api, "orders", sort="order_sn")["items"]][-1].endswith("3")


def test_before_anything_happened_nothing_is_known(api: Api, past: Past) -> None:
    long_ago = "2020-01-01T00:00:00Z"
    for path in past.answers:
        name, _, sort = path.partition("?")
        answer = api.get(name, as_of=long_ago, **(dict([sort.split("=")]) if sort else {}))
        if answer.status_code == 404:
            assert answer.json()["code"] in ("unknown_sku", "unknown_case", "unknown_supplier")
        else:
            assert answer.json()["items"] == []


def test_a_large_shop_at_another_moment_needs_the_command_line(
    api: Api, past: Past, shiplock: Shiplock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command that an answer names is there."""
    monkeypatch.setattr("infrastructure.queries.whole_shop.MOST_EVENTS", 1)
    for path in past.answers:
        name, _, sort = path.partition("?")
        answer = api.get(name, as_of=past.at, **(dict([sort.split("=")]) if sort else {}))
        assert answer.status_code == 422
        command = answer.json()["detail"].partition("`shiplock ")[2].split()[0]
        assert shiplock(command, "--help").returncode == 0
    assert asked(api, "orders", as_of=past.at)["items"] != []


def test_orders_are_found_by_a_list_of_numbers_separated_by_commas(api: Api) -> None:
    for number in (FIRST, SECOND):
        last = api.formed(number)
    found = api.get("orders", order_sn=f"{FIRST},{SECOND}", min_position=last["position"]).json()["items"]
    assert [order["order_sn"] for order in found] == [FIRST, SECOND]
    found = api.get("orders", order_sn=[f"{FIRST},260302-9", SECOND]).json()["items"]
    assert [order["order_sn"] for order in found] == [FIRST, SECOND]
    many = ",".join(f"260302-{number}" for number in range(100))
    assert api.get("orders", order_sn=many).json()["items"] == []
    for refused in (f"{many},260302-100", f"{FIRST},,{SECOND}", ""):
        assert api.get("orders", order_sn=refused).status_code == 422


def test_the_command_line_answers_at_every_moment_as_http_does(api: Api, past: Past, shiplock: Shiplock) -> None:
    (case,) = past.answers["stockout-cases"]["items"]
    moment = ("--known-at", past.at.isoformat(), "--json")
    for path, arguments in {
        "skus": ("skus", SHOP),
        f"skus/{SKU}": ("sku", SHOP, SKU),
        f"skus/{SKU}/at-risk": ("at-risk", SHOP, SKU),
        "stockout-cases": ("cases", SHOP),
        "suppliers": ("suppliers", SHOP),
        "suppliers/S-17/handovers": ("handovers", SHOP, "S-17"),
        "reconciliation": ("reconcile", SHOP),
        "unmatched-charges": ("unmatched-charges", SHOP),
        "orders?sort=ship_by": ("orders", SHOP, "--sort", "ship_by"),
        "orders?sort=-placed_at": ("orders", SHOP, "--sort=-placed_at"),
        "deadlines?sort=due_at": ("deadlines", SHOP, "--sort", "due_at"),
        "violations?sort=arose_at": ("violations", SHOP, "--sort", "arose_at"),
    }.items():
        told = standing(body(shiplock(*arguments, *moment)))
        then = past.answers[path]
        assert told.get("items", told) == then.get("items", then), path
    told = body(shiplock("case", SHOP, case["case_id"], *moment))
    assert told["case"] == case
    assert told["orders"] == past.answers[f"stockout-cases/{case['case_id']}/orders"]["items"]


def test_the_command_line_lists_orders_by_every_filter(api: Api, past: Past, shiplock: Shiplock) -> None:
    def found(*filters: str) -> list[str]:
        return [order["order_sn"] for order in body(shiplock("orders", SHOP, *filters, "--json"))["items"]]

    everything = found()
    assert len(everything) == 3
    assert found("--order", FIRST, "--order", SECOND) == [FIRST, SECOND]
    assert found("--tracking-number", "SF2") == [FIRST]
    assert found("--supplier", "S-17") == [SECOND]
    assert found("--status", "awaiting_shipment") == ["260302-000000000000003"]
    assert found("--goods", "520003") == found("--sku", SKU) == everything
    assert found("--locked") == []
    assert found("--violation", "late_shipment", "--limit", "1") == [FIRST]
    assert found("--due-before", ago(10).isoformat()) == []
    assert FIRST in shiplock("orders", SHOP).stdout
    assert "tracking_upload" in shiplock("deadlines", SHOP, "--kind", "tracking_upload").stdout
    assert body(shiplock("deadlines", SHOP, "--state", "pending", "--kind", "tracking_upload", "--json"))["items"]
    assert shiplock("orders", SHOP, "--status", "nonsense").returncode == 2
