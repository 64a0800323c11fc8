"""Projections over HTTP and on the command line: watch, rebuild, activate, go back, and what is parked."""

import json
import os
import time
from typing import Any

import psycopg
import pytest

from infrastructure.projections.views import BY_NAME
from tests.api.command_line import CommandLine
from tests.api.conftest import SHOP, Api

NAMES = list(BY_NAME)


def overview(api: Api) -> dict[str, Any]:
    return {item["name"]: item for item in api.http.get("/v1/projections").json()["items"]}


def finished(api: Api, location: str) -> Any:
    """The rebuild when it is ready or has failed."""
    give_up = time.monotonic() + 60
    while True:
        build = api.http.get(location).json()
        if build["state"] in ("ready", "failed"):
            return build
        assert time.monotonic() < give_up, build
        time.sleep(0.05)


def rebuilt(api: Api, name: str, **body: Any) -> Any:
    started = api.http.post(f"/v1/projections/{name}/rebuilds", json=body)
    assert started.status_code == 202, started.text
    return finished(api, started.headers["location"])


def test_every_projection_says_which_build_answers_and_how_far_it_is(api: Api) -> None:
    projections = overview(api)
    assert list(projections) == NAMES
    for item in projections.values():
        assert item["active"] in [build["id"] for build in item["builds"]]
        assert item["previous"] is None
        assert item["parked"] == 0


def test_rebuild_activate_and_roll_back(api: Api) -> None:
    for n in range(5):
        api.placed(f"260302-{n}")
        api.done(f"260302-{n}", "form-group")
    before = overview(api)["orders"]["active"]
    build = rebuilt(api, "orders", views=["deadlines", "violations"])
    assert build["state"] == "ready", build
    assert build["verified"]
    assert build["done"] == build["total"] == 10 + api.events_of_access()
    assert build["verification"]["orders"] == 5
    assert build["verification"]["checksum"] == build["verification"]["expected"]
    assert overview(api)["orders"]["active"] == before

    activated = api.http.post(f"/v1/projections/orders/rebuilds/{build['id']}/activate")
    assert activated.status_code == 200, activated.text
    for name in ("orders", "deadlines", "violations"):
        assert overview(api)[name]["active"] == build["id"]
        assert overview(api)[name]["previous"] == before
    placed = api.placed("260302-9")
    listed = api.get("orders", min_position=placed["position"]).json()["items"]
    assert len(listed) == 6

    back = api.http.post("/v1/projections/orders/rollback")
    assert back.status_code == 200
    assert back.json()["id"] == before
    assert overview(api)["orders"]["active"] == before
    assert overview(api)["deadlines"]["active"] == build["id"]
    assert api.get("orders").json()["items"] == listed


def test_the_latest_ready_rebuild_is_activated_without_naming_it(api: Api) -> None:
    refused = api.http.post("/v1/projections/violations/activate")
    assert (refused.status_code, refused.json()["code"]) == (409, "not_possible")
    build = rebuilt(api, "violations")
    assert api.http.post("/v1/projections/violations/activate").json()["id"] == build["id"]
    assert overview(api)["violations"]["active"] == build["id"]


def test_a_rebuild_of_the_past_is_read_and_never_activated(api: Api) -> None:
    for n in range(3):
        api.placed(f"260302-{n}")
    build = rebuilt(api, "orders", shop_id=SHOP, to_position=2)
    assert build["state"] == "ready"
    assert build["verification"]["orders"] == 2
    assert not build["live"]
    refused = api.http.post(f"/v1/projections/orders/rebuilds/{build['id']}/activate")
    assert (refused.status_code, refused.json()["code"]) == (409, "not_possible")
    assert api.http.delete(f"/v1/projections/orders/rebuilds/{build['id']}").status_code == 204
    assert api.http.get(f"/v1/projections/orders/rebuilds/{build['id']}").json()["code"] == "unknown_rebuild"


def test_the_active_build_is_not_dropped(api: Api) -> None:
    active = overview(api)["orders"]["active"]
    refused = api.http.delete(f"/v1/projections/orders/rebuilds/{active}")
    assert (refused.status_code, refused.json()["code"]) == (409, "not_possible")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "nothing/rebuilds", {}, 404, "unknown_projection"),
        ("POST", "orders/rebuilds", {"views": ["nothing"]}, 404, "unknown_projection"),
        ("POST", "orders/rebuilds", {"to_position": 3}, 422, "invalid_request"),
        ("POST", "orders/rebuilds", {"known_at": "yesterday"}, 422, "invalid_request"),
        ("POST", "orders/rebuilds", {"rules": "name = 3"}, 422, "invalid_request"),
        ("POST", "orders/rebuilds", {"unheard": 1}, 422, "invalid_request"),
        ("GET", "orders/rebuilds/999", None, 404, "unknown_rebuild"),
        ("POST", "orders/rebuilds/999/activate", None, 404, "unknown_rebuild"),
        ("POST", "orders/rollback", None, 409, "not_possible"),
        ("GET", "nothing/parked", None, 404, "unknown_projection"),
        ("POST", f"orders/parked/{SHOP}/260302-1/retry", None, 404, "not_parked"),
        ("POST", f"orders/parked/{SHOP}/260302-1/discard", None, 404, "not_parked"),
    ],
)
def test_an_invalid_request_is_refused(api: Api, method: str, path: str, body: Any, status: int, code: str) -> None:
    answer = api.http.request(method, f"/v1/projections/{path}", json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


def test_an_event_that_can_not_be_applied_is_listed_retried_and_discarded(api: Api, database_url: str) -> None:
    for n in range(2):
        api.placed(f"260302-{n}")
    with psycopg.connect(database_url) as connection:
        connection.execute("ALTER TABLE event DISABLE TRIGGER event_is_immutable")
        connection.execute(
            "UPDATE event SET type = 'NeverHeardOf' WHERE stream = 'order:260302-1'",
        )
    build = rebuilt(api, "orders")
    assert build["state"] == "failed"
    assert "260302-1" in build["error"]
    assert "position 2" in build["error"]

    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE checkpoint SET position = 0")
    give_up = time.monotonic() + 60
    while not (items := api.http.get("/v1/projections/orders/parked").json()["items"]):
        api.placed(f"260303-{time.monotonic_ns()}")
        assert time.monotonic() < give_up
    (parked,) = items
    assert (parked["shop_id"], parked["order_sn"], parked["position"]) == (SHOP, "260302-1", 2)
    assert "NeverHeardOf" in parked["error"]

    assert api.http.post(f"/v1/projections/orders/parked/{SHOP}/260302-1/discard").status_code == 204
    (parked,) = api.http.get("/v1/projections/orders/parked").json()["items"]
    assert parked["state"] == "discarded"
    build = rebuilt(api, "orders")
    assert build["state"] == "ready", build


def test_the_command_line_rebuilds_activates_and_goes_back(
    api: Api, command_line: CommandLine, database_url: str
) -> None:
    environment = os.environ | {"SHIPLOCK_DATABASE_URL": database_url}

    def shiplock(*arguments: str, status: int = 0) -> Any:
        done = command_line.run(*arguments, environment=environment)
        assert done.returncode == status, done.stderr + done.stdout
        return json.loads(done.stdout) if "--json" in arguments else done.stdout + done.stderr

    api.placed("260302-1")
    (before,) = {item["active"] for item in shiplock("projections", "list", "--json")["items"]}
    output = shiplock("projections", "rebuild", "--all", "--activate")
    assert "Verified: 1 orders are listed, 1 orders and SKUs were compared row by row." in output
    assert "It is active." in output
    now = overview(api)["orders"]["active"]
    assert now != before
    assert shiplock("projections", "verify", str(now), "--everything", "--json")["differences"] == []
    assert shiplock("projections", "rollback", "orders", "--json") == {
        "name": "orders",
        "active": before,
    }
    output = shiplock("projections", "rebuild", "violations")
    assert "Verified: 1 orders and SKUs were compared row by row." in output
    past = shiplock("projections", "rebuild", "orders", "--shop", SHOP, "--to-position", "1", "--json")
    assert past["state"] == "ready"
    assert "can't be activated" not in shiplock("projections", "drop", str(past["id"]))
    assert "active for orders" in shiplock("projections", "drop", str(before), status=1)
    assert "no projection is called" in shiplock("projections", "rebuild", "nothing", status=2)
    assert shiplock("projections", "parked", "orders", "--json") == {"items": []}
    assert "is not parked" in shiplock("projections", "retry", SHOP, "260302-1", status=1)
