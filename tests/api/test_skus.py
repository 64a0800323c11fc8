"""SKUs over HTTP: told like orders, read with what may still be sold."""

from typing import Any

from tests.api.conftest import LINE, SHOP, Api

SKU = LINE["sku_id"]
ORDER = "260302-000000000000001"


def tell(api: Api, action: str, sku_id: str = str(SKU), headers: dict[str, str] | None = None, **body: Any) -> Any:
    return api.http.post(f"/v1/shops/{SHOP}/skus/{sku_id}/{action}", json=body, headers=headers)


def test_a_command_answers_with_the_facts_its_version_and_its_position(api: Api) -> None:
    answer = tell(api, "count-stock", on_hand=12)
    assert answer.status_code == 200, answer.text
    assert answer.headers["etag"] == '"1"'
    assert answer.headers["shiplock-position"] == "1"
    body = answer.json()
    assert (body["sku_id"], body["version"], body["position"]) == (SKU, 1, 1)
    assert (body["counted_on_hand"], body["listed"], body["production_per_day"]) == (12, True, None)
    body = tell(api, "set-capacity", production_per_day=5, shipping_per_day=9).json()
    assert (body["version"], body["production_per_day"], body["shipping_per_day"]) == (2, 5, 9)
    assert tell(api, "delist", reason="no supply").json()["listed"] is False
    assert tell(api, "delist", reason="no supply").json()["version"] == 3
    assert tell(api, "relist").json()["listed"] is True


def test_what_makes_no_sense_is_refused_with_the_field(api: Api) -> None:
    for action, body, pointer in (
        ("count-stock", {}, "#/on_hand"),
        ("count-stock", {"on_hand": -1}, "#/on_hand"),
        ("set-capacity", {"production_per_day": 1, "shipping_per_day": "2"}, "#/shipping_per_day"),
        ("relist", {"reason": "x"}, "#/reason"),
    ):
        answer = tell(api, action, **body)
        assert answer.status_code == 422, answer.text
        assert answer.json()["errors"][0]["pointer"] == pointer
    assert tell(api, "nonsense").json()["code"] == "unknown_action"
    assert tell(api, "relist", sku_id="%07").json()["errors"][0]["pointer"] == "#/sku_id"


def test_a_stale_if_match_is_412(api: Api) -> None:
    tell(api, "count-stock", on_hand=12)
    stale = tell(api, "count-stock", headers={"If-Match": '"0"'}, on_hand=13)
    assert (stale.status_code, stale.json()["code"], stale.json()["version"]) == (412, "stale_version", 1)
    assert stale.json()["instance"] == f"/v1/shops/{SHOP}/skus/{SKU}"
    assert tell(api, "count-stock", headers={"If-Match": '"1"'}, on_hand=13).status_code == 200


def test_a_retry_with_a_key_is_answered_as_before(api: Api) -> None:
    key = {"Idempotency-Key": "count-1"}
    first = tell(api, "count-stock", headers=key, on_hand=12)
    tell(api, "count-stock", on_hand=1)
    again = tell(api, "count-stock", headers=key, on_hand=12)
    assert again.headers["idempotent-replayed"] == "true"
    assert (again.json(), again.headers["etag"]) == (first.json(), first.headers["etag"])
    assert again.headers["shiplock-position"] == first.headers["shiplock-position"]
    assert tell(api, "count-stock", headers=key, on_hand=99).json()["code"] == "idempotency_key_reused"
    # An order of the same name is another request.
    assert api.do(str(SKU), "place", headers=key, lines=[LINE]).json()["code"] == "idempotency_key_reused"


def test_orders_and_skus_share_a_bulk_request(api: Api) -> None:
    commands = [
        {"order_sn": ORDER, "action": "place", "lines": [LINE], "paid_fen": 12900},
        {"sku_id": "编码 A:1", "action": "count-stock", "on_hand": 5, "idempotency_key": "k"},
        {"sku_id": "编码 A:1", "action": "count-stock", "on_hand": -5},
        {"sku_id": SKU, "action": "place", "lines": [LINE]},
        {"order_sn": ORDER, "sku_id": SKU, "action": "relist"},
        {"action": "relist"},
        {"order_sn": ORDER, "action": "delist", "reason": "x"},
        {"sku_id": "编码 A:1", "action": "delist", "reason": "no supply"},
    ]
    answer = api.http.post(f"/v1/shops/{SHOP}/commands", json={"commands": commands})
    outcomes = answer.json()["outcomes"]
    assert [outcome["status"] for outcome in outcomes] == [201, 200, 422, 422, 422, 422, 422, 200]
    assert outcomes[1] == {"status": 200, "version": 1}
    assert outcomes[7] == {"status": 200, "version": 2}
    assert answer.json()["position"] == 3


def test_the_feed_holds_the_events_of_skus_in_their_places(api: Api) -> None:
    api.placed(ORDER)
    tell(api, "count-stock", on_hand=12, note="盘点")
    found = api.get("events").json()["items"]
    assert [(event["position"], event["type"], event["stream"]) for event in found] == [
        (1, "OrderPlaced", f"order:{ORDER}"),
        (2, "StockCounted", f"sku:{SKU}"),
    ]
    assert found[1]["sku_id"] == SKU
    assert "order_sn" not in found[1]
    assert found[1]["payload"] == {"type": "StockCounted", "on_hand": 12}
    (only,) = api.get("events", types="StockCounted").json()["items"]
    assert only == found[1]
