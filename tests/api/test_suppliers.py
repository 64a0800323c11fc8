"""Dropshipping over HTTP and from the command line."""

from datetime import timedelta

from infrastructure.runtime import clock
from tests.api.conftest import SHOP, Api, ago
from tests.api.test_cli import Shiplock, body
from tests.api.test_cli import shiplock as shiplock

ORDER = "260302-000000000000001"
OTHER = "260302-000000000000002"


def handed(api: Api, number: str = ORDER, supplier_id: str = "S-17", hours: float = 1) -> None:
    api.formed(number)
    due = clock.now() + timedelta(hours=hours)
    api.done(number, "hand-to-supplier", supplier_id=supplier_id, expected_tracking_at=due)


def test_an_order_goes_to_a_supplier_and_comes_back_with_a_number(api: Api) -> None:
    handed(api)
    order = api.order(ORDER)
    assert order["handovers"][0]["supplier_id"] == "S-17"
    (deadline,) = [each for each in order["deadlines"] if each["kind"] == "supplier_tracking"]
    assert (deadline["state"], deadline["supplier_id"]) == ("pending", "S-17")
    refused = api.do(ORDER, "hand-to-supplier", supplier_id="S-18")
    assert (refused.status_code, refused.json()["code"]) == (409, "with_supplier")
    shipped = api.done(ORDER, "record-supplier-tracking", carrier="SF", tracking_number="SF1")
    assert shipped["status"] == "shipped"
    events = api.get(f"orders/{ORDER}/events").json()["items"]
    assert [event["type"] for event in events[-2:]] == ["HandedToSupplier", "TrackingUploaded"]
    assert events[-1]["payload"]["supplier_id"] == "S-17"


def test_a_locked_order_takes_no_suppliers_number(api: Api) -> None:
    handed(api)
    api.done(ORDER, "request-stockout", reason="oversold")
    refused = api.do(ORDER, "record-supplier-tracking", carrier="SF", tracking_number="SF1")
    assert (refused.status_code, refused.json()["code"]) == (409, "order_locked")
    assert refused.json()["holds"][0]["hold"] == "stockout_review"


def test_a_supplier_without_stock_points_to_the_ways_out(api: Api) -> None:
    handed(api)
    order = api.done(ORDER, "record-supplier-stockout", reason="sold out")
    called_for = {each["action"]: each.get("because") for each in order["allowed_actions"] if each["allowed"]}
    assert called_for["request-stockout"] == called_for["hand-to-supplier"] == "Supplier S-17 has no stock."
    assert (
        api.do(ORDER, "record-supplier-tracking", carrier="SF", tracking_number="1").json()["code"] == "no_supplier"
    )
    assert api.done(ORDER, "request-stockout", reason="no_supply")["status"] == "stockout_review"


def test_suppliers_and_their_open_orders_are_listed(api: Api) -> None:
    handed(api)
    api.done(ORDER, "record-supplier-tracking", carrier="SF", tracking_number="SF1")
    handed(api, OTHER)
    position = int(api.do(OTHER, "contact-buyer", channel="chat", message="x").headers["shiplock-position"])
    (supplier,) = api.get("suppliers", min_position=position).json()["items"]
    assert [supplier[name] for name in ("supplier_id", "handovers", "tracked", "on_time", "open")] == [
        "S-17",
        2,
        1,
        1,
        1,
    ]
    assert api.get("suppliers/S-17").json() == supplier
    assert api.get("suppliers/S-17", to=ago(1)).json()["handovers"] == 0
    (waiting,) = api.get("suppliers/S-17/handovers").json()["items"]
    assert (waiting["order_sn"], waiting["overdue"]) == (OTHER, False)
    (deadline,) = api.get("deadlines", kind="supplier_tracking", state="pending").json()["items"]
    assert (deadline["order_sn"], deadline["supplier_id"]) == (OTHER, "S-17")
    (met,) = api.get("deadlines", kind="supplier_tracking", state="met").json()["items"]
    assert met["order_sn"] == ORDER


def test_an_unknown_supplier_or_an_invalid_request_is_a_problem(api: Api) -> None:
    assert api.get("suppliers/S-17").json()["code"] == "unknown_supplier"
    assert api.get("suppliers").json() == {"items": [], "next_cursor": None, "previous_cursor": None}
    assert api.get("suppliers/S-17/handovers").json()["code"] == "unknown_supplier"
    assert api.get("suppliers", form="2026-03-01").status_code == 422
    assert api.get("suppliers", cursor="x").status_code == 422
    api.formed(ORDER)
    past = api.do(ORDER, "hand-to-supplier", supplier_id="S-17", expected_tracking_at=ago(1))
    assert past.json()["errors"][0]["pointer"] == "#/expected_tracking_at"


def test_suppliers_are_printed(api: Api, shiplock: Shiplock) -> None:
    handed(api, supplier_id="供货商 17")
    (supplier,) = body(shiplock("suppliers", SHOP, "--json"))["items"]
    assert (supplier["supplier_id"], supplier["open"]) == ("供货商 17", 1)
    assert "供货商 17" in shiplock("suppliers", SHOP, "--from", "2026-01-01").stdout
    assert shiplock("suppliers", SHOP, "--from", "soon").returncode == 2
