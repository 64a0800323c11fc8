"""Queries over HTTP: moments, lists, paging, the feed, and the OpenAPI document."""

import json
import re
import threading
from datetime import datetime, timedelta
from typing import Any

import httpx2 as httpx
import psycopg
import pytest
from openapi_spec_validator import validate

from api.http.problems import PROBLEMS
from domain.order.decisions.table import ACTIONS
from tests.api.conftest import LINE, LOCAL, SHOP, Api, ago

ORDER = "260302-000000000000001"


def number(n: int) -> str:
    return f"260302-{n:015d}"


def caught_up(api: Api) -> int:
    """The shop's last position, once the lists show it."""
    page = api.get("events", limit=500)
    position: int = page.json()["items"][-1]["position"]
    assert api.get("orders", min_position=position).status_code == 200
    return position


def test_an_order_has_every_field_of_the_contract(api: Api) -> None:
    api.formed(ORDER)
    order = api.order(ORDER)
    assert order.keys() >= {
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
    assert order["lines"] == [LINE]
    assert order["shipment_lock"] == {"locked": False, "holds": []}
    assert order["rules"]["name"] == "pinduoduo-2023-01"
    assert [action["action"] for action in order["allowed_actions"]] == list(ACTIONS)
    assert all(action["allowed"] or action["because"] for action in order["allowed_actions"])


def test_if_none_match_spares_the_body(api: Api) -> None:
    api.formed(ORDER)
    tag = api.get(f"orders/{ORDER}").headers["etag"]
    same = api.http.get(f"/v1/shops/{SHOP}/orders/{ORDER}", headers={"If-None-Match": tag})
    assert (same.status_code, same.content) == (304, b"")
    api.done(ORDER, "contact-buyer", channel="chat", message="hi")
    assert api.http.get(f"/v1/shops/{SHOP}/orders/{ORDER}", headers={"If-None-Match": tag}).status_code == 200


def test_an_order_can_be_read_at_a_version_and_as_it_was_known(api: Api) -> None:
    api.formed(ORDER, at=ago(30))
    before = datetime.fromisoformat(api.get(f"orders/{ORDER}/events").json()["items"][-1]["recorded_at"])
    api.done(ORDER, "upload-tracking", carrier="SF", tracking_number="SF1", occurred_at=ago(20))
    assert api.order(ORDER, at_version=1)["status"] == "pending_group"
    assert api.order(ORDER, as_of=ago(25))["status"] == "awaiting_shipment"
    assert api.order(ORDER, as_of=ago(19))["status"] == "shipped"
    assert api.order(ORDER, known_at=before)["status"] == "awaiting_shipment"
    assert api.order(ORDER, as_of=ago(19), known_at=before)["status"] == "awaiting_shipment"
    assert api.get(f"orders/{ORDER}", as_of=ago(31)).status_code == 404


def test_a_diff_says_which_event_changed_which_field(api: Api) -> None:
    formed_at = ago(60)
    api.formed(ORDER, at=formed_at)
    api.done(ORDER, "upload-tracking", carrier="SF", tracking_number="SF1", occurred_at=ago(5))
    changes = api.get(f"orders/{ORDER}/diff", from_="2", to="3").json()["changes"]
    assert {change["field"]: change["event"] for change in changes}["status"] == "TrackingUploaded"
    status = next(change for change in changes if change["field"] == "status")
    assert (status["before"], status["after"], status["version"]) == ("awaiting_shipment", "shipped", 3)
    by_time = api.get(
        f"orders/{ORDER}/diff", from_=formed_at + timedelta(hours=47), to=formed_at + timedelta(hours=49)
    ).json()["changes"]
    late = next(change for change in by_time if change["field"] == "violations")
    assert late["version"] is None
    assert late["after"][0]["kind"] == "late_shipment"


def test_a_version_that_does_not_exist_yet_is_refused_with_the_last_one(api: Api) -> None:
    api.formed(ORDER)
    for path, query in (
        (f"orders/{ORDER}", {"at_version": "7"}),
        (f"orders/{ORDER}/diff", {"from_": "1", "to": "7"}),
    ):
        problem = api.get(path, **query).json()
        assert problem["code"] == "invalid_request"
        assert "no version 7; its last one is 2" in problem["detail"]
    assert api.get("orders/260302-404", at_version="7").json()["code"] == "unknown_order"


def test_time_passes_between_versions_too(api: Api) -> None:
    api.formed(ORDER, at=ago(100))
    api.done(ORDER, "contact-buyer", channel="chat", message="late", occurred_at=ago(10))
    changes = api.get(f"orders/{ORDER}/diff", from_="2", to="3").json()["changes"]
    assert {change["event"] for change in changes} == {None}
    for field in ("violations", "deadlines"):
        (change,) = (change for change in changes if change["field"] == field)
        assert change["before"] == api.order(ORDER, at_version=2)[field]
        assert change["after"] == api.order(ORDER, at_version=3)[field]


def test_the_history_pages_by_version(api: Api) -> None:
    api.formed(ORDER)
    for n in range(5):
        api.done(ORDER, "contact-buyer", channel="chat", message=str(n))
    versions = [event["version"] for event in api.every(f"orders/{ORDER}/events", limit=3)]
    assert versions == list(range(1, 8))
    assert api.get("orders/260302-404/events").status_code == 404


def test_lists_filter_sort_and_page(api: Api) -> None:
    for n in range(7):
        api.formed(number(n), at=ago(40 - n))
    api.placed(number(7), at=ago(2))
    api.done(number(0), "upload-tracking", carrier="SF", tracking_number="SF1")
    api.done(number(1), "request-stockout", reason="oversold")
    position = caught_up(api)

    by_ship_by = api.every("orders", limit=3, min_position=position)
    assert [order["order_sn"] for order in by_ship_by] == [number(n) for n in range(8)]
    newest = api.every("orders", limit=3, sort="-placed_at")
    assert [order["order_sn"] for order in newest] == [number(n) for n in (7, 6, 5, 4, 3, 2, 1, 0)]
    assert [o["order_sn"] for o in api.every("orders", status="shipped")] == [number(0)]
    assert [o["order_sn"] for o in api.every("orders", locked="true")] == [number(1)]
    assert len(api.every("orders", locked="false", limit=2)) == 7
    assert len(api.every("orders", sku_id=LINE["sku_id"], limit=2)) == 8
    assert api.every("orders", sku_id="404") == []
    due = api.every("orders", due_before=ago(40) + timedelta(hours=48 + 2.5), limit=1)
    assert [order["order_sn"] for order in due] == [number(1), number(2)]
    assert by_ship_by[1]["status"] == "stockout_review"
    assert by_ship_by[1]["shipment_lock"]["locked"] is True


def test_deadlines_list_by_kind_state_and_due(api: Api) -> None:
    api.formed(number(1), at=ago(60))
    api.formed(number(2), at=ago(10))
    api.formed(number(3), at=ago(10))
    api.done(number(3), "upload-tracking", carrier="SF", tracking_number="SF1")
    position = caught_up(api)

    def orders(**parameters: Any) -> list[str]:
        deadlines = api.every("deadlines", kind="tracking_upload", limit=1, **parameters)
        return [deadline["order_sn"] for deadline in deadlines]

    assert orders(min_position=position) == [number(1), number(2), number(3)]
    assert orders(state="missed") == [number(1)]
    assert orders(state="pending") == [number(2)]
    assert orders(state="met") == [number(3)]
    assert orders(due_before=ago(0)) == [number(1)]
    kinds = {deadline["kind"] for deadline in api.every("deadlines")}
    assert kinds == {"tracking_upload", "deemed_stockout", "carrier_pickup"}


def test_violations_list_now_and_as_they_stood(api: Api) -> None:
    api.formed(number(1), at=ago(200))
    api.formed(number(2), at=ago(100))
    api.formed(number(3), at=ago(1))
    api.done(number(2), "upload-tracking", carrier="SF", tracking_number="SF1", occurred_at=ago(10))
    position = caught_up(api)

    def violations(**parameters: Any) -> list[tuple[str, str]]:
        return [(v["order_sn"], v["kind"]) for v in api.every("violations", limit=1, **parameters)]

    assert violations(min_position=position) == [
        (number(1), "late_shipment"),
        (number(1), "stockout"),
        (number(2), "late_shipment"),
    ]
    assert violations(kind="stockout") == [(number(1), "stockout")]
    assert violations(from_=ago(60)) == [(number(2), "late_shipment")]
    assert violations(to=ago(60)) == [(number(1), "late_shipment"), (number(1), "stockout")]
    assert violations(as_of=ago(151)) == [(number(1), "late_shipment")]
    assert violations(as_of=ago(153)) == []
    in_sixty_hours = violations(as_of=ago(-60))
    assert (number(3), "late_shipment") in in_sixty_hours
    assert (number(2), "false_shipment") in in_sixty_hours
    assert [o["order_sn"] for o in api.every("orders", violation="stockout")] == [number(1)]


def test_a_list_that_can_not_reach_a_position_is_a_problem(api: Api, monkeypatch: Any) -> None:
    monkeypatch.setattr("infrastructure.queries.waiting.WAIT_SECONDS", 0.1)
    answer = api.get("orders", min_position=99)
    assert answer.status_code == 503
    assert answer.json()["code"] == "not_reached"
    assert answer.headers["retry-after"] == "1"


def test_the_feed_pages_gapless_and_filters_by_type(api: Api) -> None:
    for n in range(4):
        api.formed(number(n))
    positions: list[int] = []
    after = "0"
    while True:
        page = api.get("events", after=after, limit=3).json()
        positions += [event["position"] for event in page["items"]]
        if page["next_cursor"] is None:
            break
        after = page["next_cursor"]
    assert positions == list(range(1, 9))
    formed = api.get("events", types="GroupFormed").json()["items"]
    assert [event["position"] for event in formed] == [2, 4, 6, 8]
    assert {event["order_sn"] for event in formed} == {number(n) for n in range(4)}


def test_the_live_stream_sends_new_events_and_can_be_resumed(live: httpx.Client) -> None:
    base = f"/v1/shops/{SHOP}/orders/{ORDER}"
    live.post(f"{base}/place", json={"lines": [LINE], "paid_fen": 1}).raise_for_status()

    def ship() -> None:
        live.post(f"{base}/form-group", json={}).raise_for_status()

    events: list[tuple[str, str]] = []
    with live.stream("GET", f"/v1/shops/{SHOP}/events", headers={"Accept": "text/event-stream"}) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        for event in _sse(stream):
            events.append((event["id"], event["event"]))
            if len(events) == 1:
                threading.Thread(target=ship).start()
            else:
                break
    assert events == [("1", "OrderPlaced"), ("2", "GroupFormed")]
    headers = {"Accept": "text/event-stream", "Last-Event-ID": "1"}
    with live.stream("GET", f"/v1/shops/{SHOP}/events", headers=headers) as stream:
        first = next(_sse(stream))
    assert first["id"] == "2"
    assert json.loads(first["data"])["type"] == "GroupFormed"


def _sse(stream: httpx.Response) -> Any:
    fields: dict[str, str] = {}
    for line in stream.iter_lines():
        if line.startswith(":"):
            continue
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields:
            yield fields
            fields = {}


def test_the_openapi_document_is_valid_and_has_examples_for_everything(api: Api) -> None:
    document = api.http.get("/openapi.json").json()
    validate(document)
    shown: set[str] = set()
    for action in ACTIONS:
        operation = document["paths"][f"/v1/shops/{{shop_id}}/orders/{{order_sn}}/{action}"]["post"]
        body = operation["requestBody"]["content"]["application/json"]
        assert body["examples"], action
        name = body["schema"]["$ref"].rsplit("/", 1)[1]
        assert name in document["components"]["schemas"]
        for response in operation["responses"].values():
            problem = response["content"].get("application/problem+json", {})
            shown |= problem.get("examples", {}).keys()
    for path in document["paths"].values():
        for operation in path.values():
            for response in operation.get("responses", {}).values():
                problem = response.get("content", {}).get("application/problem+json", {})
                shown |= problem.get("examples", {}).keys()
            for status, response in operation["responses"].items():
                assert status < "400" or response["content"].keys() == {"application/problem+json"}, operation
    assert set(PROBLEMS) - shown == {"method_not_allowed", "unknown_action"}


def test_the_documented_example_of_every_command_is_a_valid_body(api: Api) -> None:
    document = api.http.get("/openapi.json").json()
    for action in ACTIONS:
        operation = document["paths"][f"/v1/shops/{{shop_id}}/orders/{{order_sn}}/{action}"]["post"]
        body = operation["requestBody"]["content"]["application/json"]["examples"][action]["value"]
        answer = api.do(f"260302-{action}", action, **body)
        assert answer.status_code == (201 if action == "place" else 404), (action, answer.text)


def test_health_readiness_and_metrics(api: Api) -> None:
    assert api.http.get("/healthz").json() == {"status": "ok"}
    assert api.http.get("/readyz").json() == {"status": "ready"}
    api.formed(ORDER)
    metrics = api.http.get("/metrics").text
    assert 'route="/v1/shops/{shop_id}/orders/{order_sn}/place"' in metrics


def test_the_documentation_page_brings_its_own_scripts(api: Api) -> None:
    page = api.http.get("/docs").text
    sources = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert sources
    for source in sources:
        assert source.startswith(f"{LOCAL}/"), source
        assert api.http.get(source).status_code == 200
    assert api.http.get("/").url.path == "/docs"


def test_if_match_takes_a_list_of_versions(api: Api) -> None:
    order_sn = "260302-000000000000901"
    version = api.placed(order_sn)["version"]

    def contact(*tags: str) -> int:
        headers = httpx.Headers([("If-Match", tag) for tag in tags])
        body = {"channel": "chat", "message": "您好"}
        sent = api.http.post(f"/v1/shops/{SHOP}/orders/{order_sn}/contact-buyer", json=body, headers=headers)
        return sent.status_code

    assert contact('"98", "99"') == 412
    assert contact(f'"98", W/"{version}"') == 200
    assert contact('"98"', f'"{version + 1}"') == 200
    assert contact('"98", *') == 200


def test_if_none_match_takes_a_list_of_versions(api: Api) -> None:
    order_sn = "260302-000000000000902"
    version = api.placed(order_sn)["version"]

    def read(*tags: str) -> int:
        headers = httpx.Headers([("If-None-Match", tag) for tag in tags])
        return api.http.get(f"/v1/shops/{SHOP}/orders/{order_sn}", headers=headers).status_code

    assert read('"98", "99"') == 200
    assert read(f'"98", W/"{version}"') == 304
    assert read('"98"', f'"{version}"') == 304
    assert read("*") == 304


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
def test_a_feed_beyond_the_head_is_told_so(api: Api, accept: str) -> None:
    head = api.placed("260302-000000000000903")["position"]
    beyond = api.http.get(f"/v1/shops/{SHOP}/events", params={"after": head + 1}, headers={"Accept": accept})
    assert (beyond.status_code, beyond.json()["code"]) == (409, "beyond_head")
    assert str(head) in beyond.json()["detail"]
    assert api.get("events", after=head).json()["items"] == []


@pytest.mark.parametrize("sku_id", ["A/events", "A/at-risk", "A/count-stock", "A/B"])
def test_a_sku_whose_id_ends_like_a_route_is_told_and_read(api: Api, sku_id: str) -> None:
    path = f"/v1/shops/{SHOP}/skus/{sku_id.replace('/', '%2F')}"
    counted = api.http.post(f"{path}/count-stock", json={"on_hand": 7})
    assert counted.status_code == 200, counted.text
    read = api.http.get(path)
    assert (read.status_code, read.json()["sku_id"], read.json()["on_hand"]) == (200, sku_id, 7)
    (event,) = api.http.get(f"{path}/events").json()["items"]
    assert event["type"] == "StockCounted"
    unknown = api.http.get(f"/v1/shops/{SHOP}/skus/nothing%2Fevents")
    assert (unknown.status_code, unknown.json()["instance"]) == (404, f"/v1/shops/{SHOP}/skus/nothing/events")


def test_the_service_is_ready_when_every_list_is_built(api: Api, database_url: str) -> None:
    assert api.http.get("/readyz").status_code == 200
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("DELETE FROM projection WHERE name = 'orders'")
    waiting = api.http.get("/readyz")
    assert waiting.status_code == 503
    assert "orders" in waiting.json()["detail"]


def test_orders_are_found_by_what_people_have_in_their_hands(api: Api) -> None:
    first, second = "260302-000000000000911", "260302-000000000000912"
    api.formed(first)
    api.placed(second, at=ago(1), lines=[LINE | {"sku_code": "durian 5-6 斤"}])
    api.done(second, "form-group", occurred_at=ago(1))
    api.done(first, "upload-tracking", carrier="SF", tracking_number="SF9110001")
    position = api.done(second, "hand-to-supplier", supplier_id="S-911")["position"]

    def found(**conditions: Any) -> list[str]:
        now = api.get("orders", min_position=position, **conditions).json()["items"]
        then = api.get("orders", as_of=ago(0), **conditions).json()["items"]
        assert {order["order_sn"] for order in now} == {order["order_sn"] for order in then}
        return [order["order_sn"] for order in now]

    assert found(tracking_number="sf9110001") == [first]
    assert found(supplier_id="S-911") == [second]
    assert set(found(goods_id=LINE["goods_id"])) == {first, second}
    assert found(goods_id="nothing") == []
    assert found(sku_code="durian 5-6 斤") == [second]
    assert found(sku_code="durian") == []
    assert set(found(order_sn=[first, second, "260302-9"])) == {first, second}
    assert found(order_sn=[first, second], status="shipped") == [first]
    too_many = api.get("orders", order_sn=[f"260302-{number}" for number in range(101)])
    assert too_many.status_code == 422
