"""The ways out over HTTP and on the command line."""

from tests.api.conftest import SHOP, Api, ago

ORDER = "260302-000000000000001"


def test_the_ways_out_of_an_order_are_priced_the_cheapest_first(api: Api) -> None:
    api.formed(ORDER)
    answer = api.http.get(f"/v1/shops/{SHOP}/orders/{ORDER}/way-out")
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["standing_fen"] == 0
    assert body["options"][0]["way"] == "ship_in_time"
    assert body["options"][0]["penalty_fen"] == 0
    fraud = body["options"][-1]
    assert (fraud["way"], fraud["possible"], fraud["never"]) == ("send_something_else", False, True)
    assert {v["kind"] for v in fraud["violations"]} >= {"fraudulent_shipment"}
    costs = [option["penalty_fen"] for option in body["options"] if option["possible"]]
    assert costs == sorted(costs)


def test_a_future_moment_can_be_queried(api: Api) -> None:
    api.formed(ORDER)
    later = api.get(f"orders/{ORDER}/way-out", at=ago(-60)).json()
    assert "ship_in_time" not in {option["way"] for option in later["options"]}
    assert later["standing_fen"] == 300
    earlier = api.get(f"orders/{ORDER}/way-out", at=ago(600)).json()
    assert earlier["at"] == api.order(ORDER)["group_formed_at"]


def test_a_finished_order_has_no_way_out_and_gives_the_reason(api: Api) -> None:
    api.formed(ORDER)
    api.done(ORDER, "upload-tracking", carrier="SF", tracking_number="SF1")
    body = api.get(f"orders/{ORDER}/way-out").json()
    assert (body["options"], body["because"]) == ([], "A tracking number is up.")


def test_an_order_of_another_shop_is_unknown(api: Api) -> None:
    api.formed(ORDER)
    answer = api.get(f"orders/{ORDER}/way-out", shop="100000002")
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_order")
    assert api.get(f"orders/{ORDER}/way-out", at="tomorrow").status_code == 422
