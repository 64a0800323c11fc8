"""SKUs over HTTP: commands like those of orders, and the quantity that may still be sold."""

from typing import Any
from urllib.parse import quote

from tests.api.conftest import LINE, SHOP, Api, ago

SKU = LINE["sku_id"]
ORDER = "260302-000000000000001"


def sku_command(
    api: Api, action: str, sku_id: str = str(SKU), headers: dict[str, str] | None = None, **body: Any
) -> Any:
    return api.http.post(f"/v1/shops/{SHOP}/skus/{sku_id}/{action}", json=body, headers=headers)


def test_a_command_answers_with_the_facts_its_version_and_its_position(api: Api) -> None:
    answer = sku_command(api, "count-stock", on_hand=12)
    assert answer.status_code == 200, answer.text
    assert answer.headers["etag"] == '"1"'
    assert answer.headers["shiplock-position"] == "1"
    body = answer.json()
    assert (body["sku_id"], body["version"], body["position"]) == (SKU, 1, 1)
    assert (body["counted_on_hand"], body["listed"], body["production_per_day"]) == (12, True, None)
    body = sku_command(api, "set-capacity", production_per_day=5, shipping_per_day=9).json()
    assert (body["version"], body["production_per_day"], body["shipping_per_day"]) == (2, 5, 9)
    assert sku_command(api, "delist", reason="no supply").json()["listed"] is False
    assert sku_command(api, "delist", reason="no supply").json()["version"] == 3
    assert sku_command(api, "relist").json()["listed"] is True


def test_an_invalid_request_is_refused_with_its_field(api: Api) -> None:
    for action, body, pointer in (
        ("count-stock", {}, "#/on_hand"),
        ("count-stock", {"on_hand": -1}, "#/on_hand"),
        ("set-capacity", {"production_per_day": 1, "shipping_per_day": "2"}, "#/shipping_per_day"),
        ("relist", {"reason": "x"}, "#/reason"),
    ):
        answer = sku_command(api, action, **body)
        assert answer.status_code == 422, answer.text
        assert answer.json()["errors"][0]["pointer"] == pointer
    assert sku_command(api, "nonsense").json()["code"] == "unknown_action"
    assert sku_command(api, "relist", sku_id="%07").json()["errors"][0]["pointer"] == "#/sku_id"


def test_a_stale_if_match_is_412(api: Api) -> None:
    sku_command(api, "count-stock", on_hand=12)
    stale = sku_command(api, "count-stock", headers={"If-Match": '"0"'}, on_hand=13)
    assert (stale.status_code, stale.json()["code"], stale.json()["version"]) == (412, "stale_version", 1)
    assert stale.json()["instance"] == f"/v1/shops/{SHOP}/skus/{SKU}"
    assert sku_command(api, "count-stock", headers={"If-Match": '"1"'}, on_hand=13).status_code == 200


def test_a_retry_with_a_key_is_answered_as_before(api: Api) -> None:
    key = {"Idempotency-Key": "count-1"}
    first = sku_command(api, "count-stock", headers=key, on_hand=12)
    sku_command(api, "count-stock", on_hand=1)
    again = sku_command(api, "count-stock", headers=key, on_hand=12)
    assert again.headers["idempotent-replayed"] == "true"
    assert (again.json(), again.headers["etag"]) == (first.json(), first.headers["etag"])
    assert again.headers["shiplock-position"] == first.headers["shiplock-position"]
    assert sku_command(api, "count-stock", headers=key, on_hand=99).json()["code"] == "idempotency_key_reused"
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
    sku_command(api, "count-stock", on_hand=12, note="盘点")
    events = api.get("events").json()["items"]
    assert [(event["position"], event["type"], event["stream"]) for event in events] == [
        (1, "OrderPlaced", f"order:{ORDER}"),
        (2, "StockCounted", f"sku:{SKU}"),
    ]
    assert events[1]["sku_id"] == SKU
    assert "order_sn" not in events[1]
    assert events[1]["payload"] == {"type": "StockCounted", "on_hand": 12}
    (only,) = api.get("events", types="StockCounted").json()["items"]
    assert only == events[1]


def sku(api: Api, sku_id: str = str(SKU), **parameters: Any) -> Any:
    answer = api.get(f"skus/{sku_id}", **parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


def head(api: Api) -> int:
    """The last position of the shop's log, to wait for."""
    return int(api.get("events", limit=500).json()["items"][-1]["position"])


def test_a_sku_is_known_as_soon_as_an_order_names_it(api: Api) -> None:
    assert api.get(f"skus/{SKU}").json()["code"] == "unknown_sku"
    assert api.get(f"skus/{SKU}/events").json()["code"] == "unknown_sku"
    assert api.get(f"skus/{SKU}/at-risk").json()["code"] == "unknown_sku"
    placed = api.placed(ORDER)
    board = sku(api, min_position=placed["position"])
    assert (board["on_hand"], board["sellable"], board["listed"], board["version"]) == (None, None, True, 0)
    assert board["pending"] == 1
    assert [step["step"] for step in board["because"]] == ["not_counted"]
    assert [warning["code"] for warning in board["warnings"]] == ["not_counted"]
    assert api.get(f"skus/{SKU}/events").json() == {"items": [], "next_cursor": None, "previous_cursor": None}
    (listed,) = api.get("skus").json()["items"]
    assert listed["sku_id"] == SKU


def test_the_sellable_quantity_follows_the_orders(api: Api) -> None:
    sku_command(api, "count-stock", on_hand=10)
    sku_command(api, "set-capacity", production_per_day=2, shipping_per_day=6)
    for n in range(4):
        api.formed(f"{ORDER[:-1]}{n}")
    api.done(f"{ORDER[:-1]}3", "upload-tracking", carrier="SF", tracking_number="SF1")
    board = sku(api, min_position=head(api))
    # 10 - 1 shipped, 2 x 2 made, 2 x 6 can be shipped, of which 3 are owed.
    assert (board["on_hand"], board["counted_on_hand"], board["reserved"], board["open_orders"]) == (9, 10, 3, 3)
    assert [(step["step"], step["quantity"]) for step in board["because"]] == [
        ("counted", 10),
        ("shipped", -1),
        ("made", 4),
        ("shipping", -1),
        ("reserved", -3),
    ]
    assert (board["sellable"], board["suggested_stock"], board["oversold_by"]) == (9, 9, 0)
    (listed,) = api.get("skus").json()["items"]
    assert listed == board | {"ship_by": listed["ship_by"], "because": listed["because"]}
    sku_command(api, "delist", reason="no supply")
    assert sku(api)["sellable"] == 0


def test_the_board_is_paged_by_id_and_filtered(api: Api) -> None:
    for name, on_hand in (("a", 1), ("b", 0), ("c", 5), ("d", 0)):
        sku_command(api, "count-stock", sku_id=name, on_hand=on_hand)
        order_sn = f"{ORDER}-{name}"
        api.formed(order_sn)
        api.placed(f"{order_sn}-x", lines=[LINE | {"sku_id": name, "quantity": 2}], paid_fen=1)
        api.done(f"{order_sn}-x", "form-group")
    sku_command(api, "delist", sku_id="d", reason="x")
    position = head(api)

    def names(**parameters: Any) -> list[str]:
        return [
            item["sku_id"]
            for item in api.every("skus", running="ship_by", min_position=position, limit=1, **parameters)
        ]

    assert names() == [SKU, "a", "b", "c", "d"]
    assert names(oversold=True) == ["a", "b", "d"]
    assert names(oversold=False) == [SKU, "c"]
    assert names(listed=False) == ["d"]
    assert names(listed=True, oversold=True) == ["a", "b"]
    assert api.get("skus", cursor="nonsense").status_code == 422
    assert api.get("skus", shop="another").json() == {"items": [], "next_cursor": None, "previous_cursor": None}


def test_another_shops_orders_do_not_count(api: Api) -> None:
    api.done(ORDER, "place", shop="2", lines=[LINE])
    assert api.get(f"skus/{SKU}").status_code == 404
    sku_command(api, "count-stock", on_hand=3)
    assert sku(api)["pending"] == 0
    assert api.get(f"skus/{SKU}", shop="2", min_position=1).json()["on_hand"] is None


def test_a_skus_history_is_paged(api: Api) -> None:
    for n in range(3):
        sku_command(api, "count-stock", on_hand=n)
    page = api.get(f"skus/{SKU}/events", limit=2).json()
    assert [event["payload"]["on_hand"] for event in page["items"]] == [0, 1]
    (last,) = api.get(f"skus/{SKU}/events", limit=2, cursor=page["next_cursor"]).json()["items"]
    assert (last["version"], last["sku_id"]) == (3, SKU)


def test_an_order_under_review_shows_whether_its_sku_is_delisted(api: Api) -> None:
    """The same answer everywhere: the order, the command's own answer, the list of deadlines, and the SKU."""
    api.formed(ORDER)
    answer = api.done(ORDER, "request-stockout", reason="oversold")

    def everywhere() -> Any:
        order = api.order(ORDER)
        (of_order,) = [deadline for deadline in order["deadlines"] if deadline["kind"] == "delist_sku"]
        listed = api.get("deadlines", kind="delist_sku", min_position=head(api)).json()["items"]
        assert listed == [of_order | {"order_sn": ORDER}]
        for state in ("pending", "met", "missed", "waived", "unknown"):
            deadlines = api.get("deadlines", kind="delist_sku", state=state).json()["items"]
            assert deadlines == (listed if state == of_order["state"] else []), state
        return of_order

    assert [deadline["state"] for deadline in answer["deadlines"] if deadline["kind"] == "delist_sku"] in (
        ["missed"],
        ["pending"],
    )
    missed = everywhere()
    assert (missed["sku_id"], missed["state"], missed["met_at"]) == (SKU, "missed", None)
    assert sku(api)["delist_due_at"] == missed["due_at"]
    assert "delist" in [warning["code"] for warning in sku(api)["warnings"]]
    sku_command(api, "delist", reason="no supply")
    met = everywhere()
    assert (met["state"], met["due_at"]) == ("met", missed["due_at"])
    assert met["met_at"] is not None
    assert sku(api, min_position=head(api))["delist_due_at"] is None
    contacted = api.done(ORDER, "contact-buyer", channel="chat", message="您好")
    assert [deadline for deadline in contacted["deadlines"] if deadline["kind"] == "delist_sku"] == [met]
    sku_command(api, "relist")
    assert everywhere() == met
    before = api.order(ORDER, at_version=3)
    assert [deadline["state"] for deadline in before["deadlines"] if deadline["kind"] == "delist_sku"] == [
        "pending"
    ]
    long_ago = api.order(ORDER, known_at=answer["position"] and api.get("events").json()["items"][2]["recorded_at"])
    assert [deadline["met_at"] for deadline in long_ago["deadlines"] if deadline["kind"] == "delist_sku"] == [None]


def test_commands_of_one_batch_know_of_each_other(api: Api) -> None:
    """One batch: the SKU is delisted, then its order is placed and applied for. Each answer shows this."""
    sku_command(api, "delist", reason="no supply")
    commands = [
        {"order_sn": ORDER, "action": "place", "lines": [LINE], "paid_fen": 12900},
        {"order_sn": ORDER, "action": "form-group"},
        {"order_sn": ORDER, "action": "request-stockout", "reason": "oversold", "idempotency_key": "apply"},
    ]
    api.http.post(f"/v1/shops/{SHOP}/commands", json={"commands": commands})
    replayed = api.do(ORDER, "request-stockout", headers={"Idempotency-Key": "apply"}, reason="oversold")
    assert replayed.headers["idempotent-replayed"] == "true"
    assert replayed.json()["deadlines"] == api.order(ORDER)["deadlines"]
    (delisting,) = [deadline for deadline in api.order(ORDER)["deadlines"] if deadline["kind"] == "delist_sku"]
    assert delisting["state"] == "met"


def test_a_sku_a_case_and_a_supplier_may_have_a_slash_in_their_names(api: Api) -> None:
    sku = quote("榴莲/A 1", safe="")
    counted = api.http.post(f"/v1/shops/{SHOP}/skus/{sku}/count-stock", json={"on_hand": 1})
    assert counted.json()["sku_id"] == "榴莲/A 1"
    api.placed("o-1", lines=[LINE | {"sku_id": "榴莲/A 1"}])
    api.done("o-1", "form-group", occurred_at=ago(1))
    api.done("o-1", "hand-to-supplier", supplier_id="S/17")
    position = api.done("o-1", "request-stockout", reason="oversold")["position"]
    assert api.get(f"skus/{sku}", min_position=position).json()["reserved"] == 1
    assert [event["type"] for event in api.get(f"skus/{sku}/events").json()["items"]] == ["StockCounted"]
    assert api.get(f"skus/{sku}/at-risk").json()["items"] == []
    (case,) = api.get("stockout-cases").json()["items"]
    path = "stockout-cases/" + quote(case["case_id"], safe="")
    assert api.get(path).json() == case
    assert [order["order_sn"] for order in api.get(f"{path}/orders").json()["items"]] == ["o-1"]
    assert api.get(f"{path}/messages").json()["items"]
    assert api.get("suppliers/S%2F17").json()["open"] == 1
    assert [each["order_sn"] for each in api.get("suppliers/S%2F17/handovers").json()["items"]] == ["o-1"]
    assert api.http.post(f"/v1/shops/{SHOP}/skus//delist", json={"reason": "x"}).status_code == 422
