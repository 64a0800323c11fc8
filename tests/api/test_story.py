"""The issue's own walks through the program, over HTTP."""

from datetime import timedelta

from tests.api.conftest import Api, ago

ORDER = "260302-000000000000001"


def test_a_stockout_application_locks_shipping_until_it_is_decided(api: Api) -> None:
    api.formed(ORDER)
    locked = api.done(ORDER, "request-stockout", reason="oversold")
    assert locked["status"] == "stockout_review"

    refused = api.do(ORDER, "upload-tracking", carrier="SF", tracking_number="SF1")
    assert refused.status_code == 409
    assert refused.headers["content-type"] == "application/problem+json"
    problem = refused.json()
    assert problem["code"] == "order_locked"
    (hold,) = problem["holds"]
    assert hold["hold"] == "stockout_review"
    assert hold["expected_decision"]["earliest"] < hold["expected_decision"]["latest"]
    assert problem["order_status"] == "stockout_review"
    assert problem["version"] == 3

    assert api.done(ORDER, "complete-review", outcome="rejected")["status"] == "awaiting_shipment"
    shipped = api.done(ORDER, "upload-tracking", carrier="SF", tracking_number="SF1")
    assert shipped["status"] == "shipped"
    assert shipped["version"] == 5


def test_an_untouched_order_becomes_late_and_then_a_stockout_without_any_event(api: Api) -> None:
    formed_at = ago(150)
    api.formed(ORDER, at=formed_at)
    instant = timedelta(microseconds=1)

    def kinds(after: timedelta) -> list[tuple[str, str | None]]:
        order = api.order(ORDER, as_of=formed_at + after)
        assert order["version"] == 2
        return [(v["kind"], v["cause"]) for v in order["violations"]]

    assert kinds(timedelta(hours=48) - instant) == []
    assert kinds(timedelta(hours=48)) == []
    assert kinds(timedelta(hours=48) + instant) == [("late_shipment", None)]
    assert kinds(timedelta(hours=120)) == [("late_shipment", None)]
    assert kinds(timedelta(hours=120) + instant) == [("late_shipment", None), ("stockout", "deemed")]
    assert [event["type"] for event in api.get(f"orders/{ORDER}/events").json()["items"]] == [
        "OrderPlaced",
        "GroupFormed",
    ]
