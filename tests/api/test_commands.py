"""Commands over HTTP: versions, retries, batches, and the clock's edges."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from freezegun import freeze_time

from domain.order.decisions.table import ACTIONS
from tests.api.conftest import LINE, SHOP, Api, ago

ORDER = "260302-000000000000001"
TRACKING: dict[str, Any] = {"carrier": "SF", "tracking_number": "SF1"}


def events(api: Api, order_sn: str = ORDER) -> list[str]:
    return [event["type"] for event in api.get(f"orders/{order_sn}/events", limit=500).json()["items"]]


def test_placing_answers_201_with_the_order_as_get_gives_it(api: Api) -> None:
    answer = api.do(ORDER, "place", lines=[LINE], paid_fen=12900)
    assert answer.status_code == 201
    assert answer.headers["etag"] == '"1"'
    assert answer.headers["shiplock-position"] == "1"
    assert answer.json() == api.order(ORDER)
    assert api.do(ORDER, "place", lines=[LINE], paid_fen=12900).status_code == 200


def test_every_action_of_the_contract_has_a_route_that_knows_its_body(api: Api) -> None:
    for action in ACTIONS:
        answer = api.do("260302-404", action, nonsense=1)
        assert answer.status_code == 422, action
        assert answer.json()["errors"][0]["pointer"] == "#/nonsense"


def test_a_whole_life_goes_through(api: Api) -> None:
    steps: list[tuple[str, dict[str, Any]]] = [
        ("pay", {"paid_fen": 12900}),
        ("form-group", {}),
        ("change-ship-by", {"ship_by": datetime.now(UTC) + timedelta(days=3), "reason": "region"}),
        ("place-hold", {"hold": "manual", "reason": "check the address"}),
        ("release-hold", {"hold": "manual", "reason": "checked"}),
        ("request-stockout", {"reason": "no_supply"}),
        ("contact-buyer", {"channel": "chat", "message": "请稍等"}),
        ("complete-review", {"outcome": "rejected"}),
        ("upload-tracking", TRACKING),
        ("replace-tracking", {"carrier": "YTO", "tracking_number": "Y1", "reason": "lost"}),
        ("record-pickup", {}),
        ("record-delivery", {}),
        ("confirm-receipt", {}),
        ("file-complaint", {"finding": "different_goods", "evidence": "photo"}),
        ("decide-complaint", {"outcome": "upheld"}),
        ("appeal", {"violation_id": f"{ORDER}:fraudulent_shipment"}),
        ("decide-appeal", {"violation_id": f"{ORDER}:fraudulent_shipment", "outcome": "overturned"}),
        ("refund", {"initiated_by": "buyer", "reason": "changed_mind"}),
    ]
    api.done(ORDER, "place", lines=[LINE])
    for action, body in steps:
        order = api.done(ORDER, action, **body)
    assert order["version"] == len(steps) + 1
    assert order["status"] == "refunded"
    (fraud,) = order["violations"]
    assert fraud["kind"] == "fraudulent_shipment"
    assert fraud["penalty_fen"] == 12900
    assert fraud["appeal"]["outcome"] == "overturned"


def test_a_stale_if_match_is_412_and_a_current_one_goes_through(api: Api) -> None:
    api.formed(ORDER)
    stale = api.do(ORDER, "upload-tracking", headers={"If-Match": '"1"'}, **TRACKING)
    assert stale.status_code == 412
    assert stale.json()["code"] == "stale_version"
    assert stale.json()["version"] == 2
    assert api.do(ORDER, "upload-tracking", headers={"If-Match": "nonsense"}, **TRACKING).status_code == 412
    unknown = api.do("260302-0", "upload-tracking", headers={"If-Match": '"2"'}, **TRACKING)
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_order")
    assert api.do("260302-0", "place", headers={"If-Match": '"2"'}, lines=[LINE]).status_code == 412
    assert api.do(ORDER, "upload-tracking", headers={"If-Match": '"2"'}, **TRACKING).status_code == 200
    assert events(api) == ["OrderPlaced", "GroupFormed", "TrackingUploaded"]


def test_a_key_used_again_gives_the_same_answer_and_no_second_event(api: Api) -> None:
    api.formed(ORDER)
    headers = {"Idempotency-Key": '"print-7"'}
    first = api.do(ORDER, "contact-buyer", headers=headers, channel="chat", message="您好")
    again = api.do(ORDER, "contact-buyer", headers={"Idempotency-Key": "print-7"}, channel="chat", message="您好")
    assert again.status_code == first.status_code == 200
    assert again.content == first.content
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert again.headers["shiplock-position"] == first.headers["shiplock-position"]
    assert events(api).count("BuyerContacted") == 1


def test_a_refusal_is_stored_under_its_key_as_well(api: Api) -> None:
    api.formed(ORDER)
    headers = {"Idempotency-Key": "k"}
    first = api.do(ORDER, "complete-review", headers=headers, outcome="rejected")
    api.done(ORDER, "request-stockout", reason="oversold")
    again = api.do(ORDER, "complete-review", headers=headers, outcome="rejected")
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["content-type"] == "application/problem+json"


def test_a_key_used_for_something_else_is_422(api: Api) -> None:
    api.formed(ORDER)
    api.do(ORDER, "contact-buyer", headers={"Idempotency-Key": "k"}, channel="chat", message="one")
    other = api.do(ORDER, "contact-buyer", headers={"Idempotency-Key": "k"}, channel="chat", message="two")
    assert other.status_code == 422
    assert other.json()["code"] == "idempotency_key_reused"
    assert api.do(ORDER, "pay", headers={"Idempotency-Key": "x" * 256}, paid_fen=1).status_code == 422


def test_many_clients_with_one_key_at_once_do_it_once(api: Api) -> None:
    api.formed(ORDER)

    def contact(_: int) -> int:
        headers = {"Idempotency-Key": "k"}
        status: int = api.do(ORDER, "contact-buyer", headers=headers, channel="chat", message="hi").status_code
        return status

    with ThreadPoolExecutor(8) as pool:
        statuses = set(pool.map(contact, range(24)))
    assert statuses <= {200, 409}
    assert events(api).count("BuyerContacted") == 1


def test_one_of_two_clients_wins_when_ship_races_refund(api: Api) -> None:
    numbers = [f"260302-{n:015d}" for n in range(12)]
    for number in numbers:
        api.formed(number)

    def ship(number: str) -> Any:
        return api.do(number, "upload-tracking", **TRACKING)

    def stockout(number: str) -> Any:
        return api.do(number, "request-stockout", reason="no_supply")

    with ThreadPoolExecutor(8) as pool:
        shipped = [pool.submit(ship, number) for number in numbers]
        applied = [pool.submit(stockout, number) for number in numbers]
    for one, other in zip(shipped, applied, strict=True):
        answers = (one.result(), other.result())
        assert sorted(answer.status_code for answer in answers) == [200, 409]
        (lost,) = [answer for answer in answers if answer.status_code == 409]
        assert lost.json()["code"] in ("order_locked", "already_shipped")


def test_a_batch_answers_in_order_and_one_refusal_stops_nothing(api: Api) -> None:
    commands = [
        {"order_sn": ORDER, "action": "place", "lines": [LINE], "paid_fen": 12900},
        {"order_sn": ORDER, "action": "upload-tracking", **TRACKING},
        {"order_sn": ORDER, "action": "form-group"},
        {"order_sn": ORDER, "action": "explode"},
        {"order_sn": ORDER, "action": "upload-tracking", **TRACKING, "colour": "red"},
        {"order_sn": ORDER, "action": "upload-tracking", **TRACKING, "idempotency_key": "k"},
        {"order_sn": "260302-404", "action": "pay", "paid_fen": 1},
    ]
    answer = api.http.post(f"/v1/shops/{SHOP}/commands", json={"commands": commands})
    assert answer.status_code == 200
    outcomes = answer.json()["outcomes"]
    assert [outcome["status"] for outcome in outcomes] == [201, 409, 200, 422, 422, 200, 404]
    assert outcomes[1]["problem"]["code"] == "not_shippable"
    assert outcomes[3]["problem"]["errors"][0]["pointer"] == "#/commands/3/action"
    assert outcomes[4]["problem"]["errors"][0]["pointer"] == "#/commands/4/colour"
    assert outcomes[5]["order_status"] == "shipped"
    assert outcomes[5]["version"] == 3
    assert answer.json()["position"] == 3
    assert events(api) == ["OrderPlaced", "GroupFormed", "TrackingUploaded"]


def test_a_key_in_a_batch_belongs_to_one_command(api: Api) -> None:
    place = {"order_sn": ORDER, "action": "place", "lines": [LINE], "idempotency_key": "k"}
    path = f"/v1/shops/{SHOP}/commands"
    outcomes = api.http.post(path, json={"commands": [place] * 3 + [place | {"paid_fen": 1}]}).json()["outcomes"]
    assert [outcome["status"] for outcome in outcomes] == [201, 201, 201, 422]
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert outcomes[3]["problem"]["code"] == "idempotency_key_reused"
    assert events(api) == ["OrderPlaced"]
    for_all = api.http.post(path, json={"commands": [place]}, headers={"Idempotency-Key": "k"})
    assert for_all.status_code == 422
    assert for_all.json()["errors"][0]["pointer"] == "#/Idempotency-Key"


def test_the_size_of_a_batch_is_limited(api: Api) -> None:
    entry = {"order_sn": ORDER, "action": "form-group"}
    too_many = api.http.post(f"/v1/shops/{SHOP}/commands", json={"commands": [entry] * 1001})
    assert too_many.status_code == 422
    assert too_many.json()["errors"][0]["pointer"] == "#/commands"
    assert api.http.post(f"/v1/shops/{SHOP}/commands", json={"commands": []}).status_code == 422


def test_note_and_actor_are_stored_with_the_event(api: Api) -> None:
    api.formed(ORDER)
    api.do(
        ORDER, "place-hold", headers={"Shiplock-Actor": "li"}, hold="manual", reason="x", note="requested by phone"
    )
    last = api.get(f"orders/{ORDER}/events").json()["items"][-1]
    assert (last["actor"], last["credential"], last["on_behalf_of"]) == ("client:testclient00", "testkey000", "li")
    assert last["metadata"] == {
        "actor": "client:testclient00",
        "note": "requested by phone",
        "credential": "testkey000",
        "on_behalf_of": "li",
    }
    assert last["payload"] == {"type": "HoldPlaced", "hold": "manual", "reason": "x"}
    assert len(last["leaf_hash"]) == 64


FORMED = datetime(2026, 3, 2, 1, tzinfo=UTC)
INSTANT = timedelta(microseconds=1)


@pytest.fixture
def frozen(api: Api) -> Iterator[Any]:
    """The program's clock, standing still at the group's forming; threads and sockets keep real time."""
    with freeze_time(
        FORMED, real_asyncio=True, ignore=["psycopg_pool", "threading", "queue", "anyio", "infrastructure.access"]
    ) as clock:
        api.formed(ORDER, at=FORMED)
        yield clock


@pytest.mark.parametrize(
    ("after", "state", "late"),
    [
        (timedelta(hours=48) - INSTANT, "met", []),
        (timedelta(hours=48), "met", []),
        (timedelta(hours=48) + INSTANT, "missed", ["late_shipment"]),
    ],
)
def test_an_upload_is_in_time_up_to_the_very_48th_hour(
    api: Api, frozen: Any, after: timedelta, state: str, late: list[str]
) -> None:
    frozen.move_to(FORMED + after)
    order = api.done(ORDER, "upload-tracking", **TRACKING)
    assert order["deadlines"][0]["kind"] == "tracking_upload"
    assert order["deadlines"][0]["state"] == state
    assert [violation["kind"] for violation in order["violations"]] == late


@pytest.mark.parametrize(
    ("after", "state", "late"),
    [
        (timedelta(hours=48) - INSTANT, "pending", []),
        (timedelta(hours=48), "pending", []),
        (timedelta(hours=48) + INSTANT, "missed", ["late_shipment"]),
    ],
)
def test_an_untouched_order_is_late_right_after_the_48th_hour(
    api: Api, frozen: Any, after: timedelta, state: str, late: list[str]
) -> None:
    frozen.move_to(FORMED + after)
    order = api.order(ORDER)
    assert order["deadlines"][0]["state"] == state
    assert [violation["kind"] for violation in order["violations"]] == late
    assert order["version"] == 2


def test_a_fact_recorded_late_counts_from_when_it_happened(api: Api) -> None:
    formed_at = ago(50)
    api.formed(ORDER, at=formed_at)
    api.done(ORDER, "contact-buyer", channel="chat", message="on its way")
    uploaded_at = formed_at + timedelta(hours=47)
    order = api.done(ORDER, "upload-tracking", **TRACKING, occurred_at=uploaded_at)
    assert order["violations"] == []
    known_then = api.order(ORDER, at_version=3)
    assert known_then["status"] == "awaiting_shipment"
    assert [violation["kind"] for violation in known_then["violations"]] == ["late_shipment"]


def test_a_lock_of_the_past_can_not_be_passed_by_choosing_a_time(api: Api) -> None:
    api.formed(ORDER, at=ago(20))
    api.done(ORDER, "request-stockout", reason="oversold", occurred_at=ago(15))
    api.done(ORDER, "complete-review", outcome="rejected", occurred_at=ago(5))
    refused = api.do(ORDER, "upload-tracking", **TRACKING, occurred_at=ago(10))
    assert refused.status_code == 409
    assert refused.json()["code"] == "order_locked"
    assert api.do(ORDER, "upload-tracking", **TRACKING, occurred_at=ago(4)).status_code == 200
