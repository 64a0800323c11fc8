"""Bad input gets a 4xx problem that names the field, and changes nothing."""

import itertools
import json
import socket
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import httpx2 as httpx
import pytest

from infrastructure.queries.paging import Cursor, encode_cursor
from tests.access import KEY
from tests.api.conftest import LINE, SHOP, Api, ago

ORDER = "260302-000000000000001"
PLACE = {"lines": [LINE], "paid_fen": 12900}


@pytest.fixture
def untouched(api: Api) -> Iterator[Api]:
    """A shop with one order, whose log must not have grown when the test is over."""
    api.formed(ORDER)
    yield api
    events = api.get("events").json()["items"]
    assert [event["type"] for event in events] == ["OrderPlaced", "GroupFormed"]


def refused(answer: Any, status: int, code: str, pointer: str | None = None) -> Any:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == code
    assert problem["status"] == status
    assert problem["type"] == f"/problems/{code}"
    assert {"title", "detail", "instance"} <= problem.keys()
    assert "Traceback" not in answer.text
    assert "SELECT" not in answer.text
    if pointer is not None:
        assert pointer in [error["pointer"] for error in problem["errors"]]
    return problem


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b"{", "#"),
        (b"\xff\xfe", "#"),
        (b"[]", "#"),
        (b'"text"', "#"),
        (b'{"lines": []}', "#/lines"),
        (b"{}", "#/lines"),
        (json.dumps(PLACE | {"colour": "red"}).encode(), "#/colour"),
        (json.dumps(PLACE | {"paid_fen": "12"}).encode(), "#/paid_fen"),
        (json.dumps(PLACE | {"paid_fen": -1}).encode(), "#/paid_fen"),
        (json.dumps(PLACE | {"paid_fen": 1.5}).encode(), "#/paid_fen"),
        (json.dumps(PLACE | {"paid_fen": 10**30}).encode(), "#/paid_fen"),
        (json.dumps(PLACE | {"goods_type": "cheap"}).encode(), "#/goods_type"),
        (json.dumps(PLACE | {"group_id": "a\x00b"}).encode(), "#/group_id"),
        (json.dumps(PLACE | {"lines": [LINE | {"quantity": 0}]}).encode(), "#/lines/0/quantity"),
        (json.dumps(PLACE | {"lines": [LINE, LINE | {"sku_id": 7}]}).encode(), "#/lines/1/sku_id"),
        (json.dumps(PLACE | {"lines": [{"sku_id": "1"}]}).encode(), "#/lines/0/goods_id"),
        (json.dumps(PLACE | {"occurred_at": "yesterday"}).encode(), "#/occurred_at"),
        (json.dumps(PLACE | {"occurred_at": "2026-03-02T09:00:00"}).encode(), "#/occurred_at"),
        (json.dumps(PLACE | {"occurred_at": "2014-12-31T23:59:59+08:00"}).encode(), "#/occurred_at"),
        (json.dumps(PLACE | {"occurred_at": "2999-01-01T00:00:00Z"}).encode(), "#/occurred_at"),
        (json.dumps(PLACE | {"occurred_at": "0001-01-01T00:00:00+14:00"}).encode(), "#/occurred_at"),
        (json.dumps(PLACE | {"occurred_at": 1772413200}).encode(), "#/occurred_at"),
        (json.dumps(PLACE | {"note": "x" * 2001}).encode(), "#/note"),
        (b"[" * 100_000, "#"),
        (b'{"note": "\\ud800", "lines": []}', "#"),
    ],
)
def test_an_invalid_body_is_refused(untouched: Api, body: bytes, pointer: str) -> None:
    answer = untouched.http.post(f"/v1/shops/{SHOP}/orders/260302-9/place", content=body)
    refused(answer, 422, "invalid_request", pointer)


@pytest.mark.parametrize(
    "ship_by", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "2015-01-01T00:00:00Z"]
)
def test_an_impossible_ship_by_is_refused(untouched: Api, ship_by: str) -> None:
    answer = untouched.do(ORDER, "change-ship-by", ship_by=ship_by, reason="platform")
    refused(answer, 422, "invalid_request", "#/ship_by")


def test_ten_megabytes_are_refused_unread(untouched: Api) -> None:
    body = json.dumps(PLACE | {"note": "x" * 10_000_000})
    refused(untouched.http.post(f"/v1/shops/{SHOP}/orders/260302-9/place", content=body), 413, "too_large")


def test_ten_megabytes_without_a_content_length_are_refused_too(untouched: Api) -> None:
    pieces = (b" " * 100_000 for _ in range(100))
    answer = untouched.http.post(f"/v1/shops/{SHOP}/orders/260302-9/place", content=pieces)
    refused(answer, 413, "too_large")


@pytest.mark.parametrize("path", ["orders/a%00b", "orders/%2e%2e", "orders/" + "9" * 65, "orders/a b"])
def test_an_invalid_order_number_is_refused(untouched: Api, path: str) -> None:
    refused(untouched.get(path), 422, "invalid_request", "#/order_sn")


def test_an_unknown_action_is_refused_by_name(untouched: Api) -> None:
    problem = refused(untouched.do(ORDER, "explode"), 404, "unknown_action", "#/action")
    assert "upload-tracking" in problem["detail"]


def test_an_order_of_another_shop_is_unknown(untouched: Api) -> None:
    refused(untouched.get(f"orders/{ORDER}", shop="200000002"), 404, "unknown_order")
    refused(untouched.get(f"orders/{ORDER}/events", shop="200000002"), 404, "unknown_order")
    answer = untouched.do(ORDER, "upload-tracking", shop="200000002", carrier="SF", tracking_number="1")
    refused(answer, 404, "unknown_order")
    assert untouched.get("orders", shop="200000002").json()["items"] == []


@pytest.mark.parametrize(
    ("path", "parameters", "pointer"),
    [
        ("orders", {"limit": "0"}, "#/limit"),
        ("orders", {"limit": "501"}, "#/limit"),
        ("orders", {"limit": "many"}, "#/limit"),
        ("orders", {"cursor": "!"}, "#/cursor"),
        ("orders", {"cursor": "AAAA"}, "#/cursor"),
        ("orders", {"status": "lost"}, "#/status"),
        ("orders", {"sort": "random()"}, "#/sort"),
        ("orders", {"statsu": "shipped"}, "#/statsu"),
        ("orders", {"sku_id": "a\x00b"}, "#/sku_id"),
        ("orders", {"due_before": "soon"}, "#/due_before"),
        (f"orders/{ORDER}", {"as_of": "2026-03-02"}, "#/as_of"),
        (f"orders/{ORDER}", {"as_of": "9999-12-31T23:59:59-12:00"}, "#/as_of"),
        (f"orders/{ORDER}", {"at_version": "0"}, "#/at_version"),
        (f"orders/{ORDER}", {"at_version": "3"}, "#/at_version"),
        (f"orders/{ORDER}", {"at_version": "1000", "as_of": "2015-03-02T09:00:00Z"}, "#/at_version"),
        (f"orders/{ORDER}/diff", {"from": "3", "to": "4"}, "#/from"),
        (f"orders/{ORDER}/diff", {"from": "1", "to": "3"}, "#/to"),
        (f"orders/{ORDER}/diff", {"from": "9" * 50, "to": "9" * 51}, "#/from"),
        (f"orders/{ORDER}/diff", {"from": "１", "to": "２"}, "#/from"),
        (f"orders/{ORDER}/diff", {"from": "-1", "to": "2"}, "#/from"),
        (f"orders/{ORDER}/diff", {"from": "1", "to": "soon"}, "#/to"),
        (f"orders/{ORDER}/diff", {"from": "1"}, "#/to"),
        (f"orders/{ORDER}/diff", {"from": "2", "to": "1"}, "#/to"),
        (f"orders/{ORDER}/diff", {"from": "1", "to": "2", "known_at": "2026-03-03T09:00:00Z"}, "#/known_at"),
        (
            f"orders/{ORDER}/diff",
            {"from": "2026-03-02T09:00:00Z", "to": "2026-03-03T09:00:00Z", "as_of": "2026-03-03T09:00:00Z"},
            "#/as_of",
        ),
        (f"orders/{ORDER}/diff", {"from": "2026-03-03T09:00:00Z", "to": "2026-03-02T09:00:00Z"}, "#/to"),
        ("violations", {"kind": "theft"}, "#/kind"),
        ("deadlines", {"state": "gone"}, "#/state"),
        ("rules/backtests", {"limit": "1"}, "#/limit"),
        ("audit/keys", {"size": "1"}, "#/size"),
        ("events", {"after": "-1"}, "#/after"),
        ("events", {"types": "a;b"}, "#/types"),
    ],
)
def test_an_invalid_query_is_refused(untouched: Api, path: str, parameters: dict[str, str], pointer: str) -> None:
    refused(untouched.get(path, **parameters), 422, "invalid_request", pointer)


FORGED = ["a\x00b", -1, 2**64 - 1, "0001-01-01T00:00:00+14:00", datetime.min]  # noqa: DTZ901
WAYS = ((False, False), (True, False), (False, True), (True, True))


def test_a_forged_cursor_gets_an_answer_or_a_problem_in_every_list(untouched: Api) -> None:
    untouched.get("orders", min_position=2)
    keys = [key for length in (1, 2, 3) for key in itertools.product(FORGED, repeat=length)]
    names = {"shop_id": SHOP, "order_sn": ORDER, "sku_id": "52000301", "supplier_id": "S-17", "name": "orders"}
    lists = [
        path.format_map(names | {"case_id": "52000301:1"})
        for path, methods in untouched.http.get("/openapi.json").json()["paths"].items()
        if any(each.get("name") == "cursor" for each in methods.get("get", {}).get("parameters", ()))
    ]
    assert len(lists) > 12
    for path in lists:
        moments: list[dict[str, str]] = [{}]
        if path.endswith(("/orders", "/violations", "/deadlines")):
            moments.append({"as_of": "2026-03-02T09:00:00Z"})
        for (key, ways), moment in itertools.product(zip(keys, itertools.cycle(WAYS)), moments):
            answer = untouched.http.get(path, params={"cursor": encode_cursor(Cursor(key, *ways)), **moment})
            assert answer.status_code in (200, 404, 422), (path, key, ways, answer.text)


def test_an_id_with_a_line_break_is_not_the_one_without(api: Api) -> None:
    position = api.formed("260302-1")["position"]
    for path in ("orders", "orders/260302-1", "skus/52000301", "skus/52000301/at-risk"):
        reached = {} if path == "orders/260302-1" else {"min_position": position}
        assert api.get(path, **reached).status_code == 200
        assert api.get(f"{path}%0A").json()["code"] == "not_found"
    assert api.http.post(f"/v1/shops/{SHOP}/orders/260302-1/contact-buyer%0A").json()["code"] == "not_found"


def test_a_problem_names_its_place_as_a_uri_does(untouched: Api) -> None:
    for path, instance in (
        ("orders/a b", "orders/a%20b"),
        ("orders/a%25", "orders/a%25"),
        ("skus/货/1", "skus/%E8%B4%A7/1"),
    ):
        assert untouched.get(path).json()["instance"] == f"/v1/shops/{SHOP}/{instance}"


def test_the_frameworks_own_errors_are_problems(untouched: Api) -> None:
    refused(untouched.http.get("/v1/nowhere"), 404, "not_found")
    refused(untouched.http.delete(f"/v1/shops/{SHOP}/orders"), 405, "method_not_allowed")
    refused(untouched.http.get("/problems/nonsense"), 404, "not_found")


def test_every_problem_type_resolves(api: Api) -> None:
    api.formed(ORDER)
    problem = api.do(ORDER, "complete-review", outcome="rejected").json()
    page = api.http.get(problem["type"])
    assert page.status_code == 200
    assert "no_open_review" in page.text


def test_a_time_with_a_plus_that_was_not_encoded_is_understood(api: Api) -> None:
    api.formed(ORDER, at=ago(50))
    late = api.http.get(f"/v1/shops/{SHOP}/orders/{ORDER}?as_of=2026-03-02T09:00:00+08:00")
    assert late.status_code == 404
    assert "by then" in late.json()["detail"]


@pytest.mark.parametrize("path", ["orders/260302-9/place", "commands", "bills"])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_client_that_is_still_sending_a_body_too_large_gets_its_answer(
    live: httpx.Client, chunked: bool, path: str
) -> None:
    url = live.base_url
    block = b"x" * 65_536
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(block) * 512}"
    head = (
        f"POST /v1/shops/{SHOP}/{path} HTTP/1.1\r\nHost: {url.host}\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Type: text/csv\r\n{length}\r\n\r\n"
    )
    with socket.create_connection((url.host, url.port or 80), timeout=30) as client:
        client.sendall(head.encode())
        for _ in range(512):
            client.sendall(b"10000\r\n" + block + b"\r\n" if chunked else block)
        if chunked:
            client.sendall(b"0\r\n\r\n")
        answer = client.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"too_large" in answer
