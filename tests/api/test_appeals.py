"""Appeals over HTTP and from the command line: the window, the outcome, and what no longer counts."""

from datetime import timedelta
from typing import Any

import pytest

from infrastructure.runtime import clock
from tests.api.conftest import SHOP, Api, ago
from tests.api.test_cli import Shiplock, body
from tests.api.test_cli import shiplock as shiplock

ORDER = "260302-000000000000001"
OTHER = "260302-000000000000002"
LATE = f"{ORDER}:late_shipment"


def shipped_late(api: Api, number: str = ORDER, hours_ago: float = 100) -> None:
    """An order shipped two hours after its ship-by: late, and no stockout."""
    api.formed(number, at=ago(hours_ago))
    shipped_at = ago(hours_ago - 50)
    api.done(
        number,
        "upload-tracking",
        carrier="SF",
        tracking_number=f"SF{number[-1]}",
        occurred_at=shipped_at,
    )
    api.done(number, "record-pickup", occurred_at=shipped_at + timedelta(hours=1))


def listed(api: Api, position: int, **parameters: Any) -> list[str]:
    answer = api.get("violations", min_position=position, **parameters)
    assert answer.status_code == 200, answer.text
    return [each["violation_id"] for each in answer.json()["items"]]


def test_an_overturned_violation_stays_in_history_and_leaves_every_count(api: Api) -> None:
    shipped_late(api)
    shipped_late(api, OTHER)
    api.done(ORDER, "appeal", violation_id=LATE, evidence="the carrier's slip")
    before = clock.now()
    answer = api.do(ORDER, "decide-appeal", violation_id=LATE, outcome="overturned")
    position = int(answer.headers["shiplock-position"])

    (violation,) = answer.json()["violations"]
    assert violation["violation_id"] == LATE
    assert (violation["appeal"]["evidence"], violation["appeal"]["outcome"]) == ("the carrier's slip", "overturned")
    kinds = [event["type"] for event in api.get(f"orders/{ORDER}/events").json()["items"]]
    assert kinds[-2:] == ["ViolationAppealed", "AppealDecided"]

    assert set(listed(api, position)) == {LATE, f"{OTHER}:late_shipment"}
    orders = api.get("orders", min_position=position, violation="late_shipment").json()["items"]
    assert [order["order_sn"] for order in orders] == [OTHER]
    reported = api.get("reports/daily", min_position=position).json()["items"]
    assert sum(day["penalties_fen"] for day in reported) == 300
    for by in ("order", "day", "sku"):
        priced = api.get("reports/penalties", min_position=position, by=by).json()["items"]
        assert sum(each["penalties_fen"] for each in priced) == 300, by
    known_before = api.get("reports/daily", known_at=before).json()["items"]
    assert sum(day["penalties_fen"] for day in known_before) == 600


def test_violations_are_filtered_by_the_state_of_their_appeal(api: Api) -> None:
    numbers = [f"{ORDER[:-1]}{n}" for n in range(4)]
    ids = {number: f"{number}:late_shipment" for number in numbers}
    for number in numbers:
        shipped_late(api, number)
    undisputed, disputed, lost, won = numbers
    for number in (disputed, lost, won):
        api.done(number, "appeal", violation_id=ids[number])
    api.done(lost, "decide-appeal", violation_id=ids[lost], outcome="upheld")
    answer = api.do(won, "decide-appeal", violation_id=ids[won], outcome="overturned")
    position = int(answer.headers["shiplock-position"])
    for state, number in {"none": undisputed, "open": disputed, "upheld": lost, "overturned": won}.items():
        assert listed(api, position, appeal=state) == [ids[number]]
        past = api.get("violations", as_of=clock.now(), appeal=state).json()["items"]
        assert [each["violation_id"] for each in past] == [ids[number]]
    assert api.get("violations", appeal="lost").status_code == 422


def test_an_appeal_that_comes_too_late_is_refused_unless_the_platform_still_takes_it(api: Api) -> None:
    shipped_late(api, hours_ago=24 * 10)
    (violation,) = api.order(ORDER)["violations"]
    due = api.order(ORDER)["ship_by"]
    assert violation["appeal_by"] > due
    refused = api.do(ORDER, "appeal", violation_id=LATE)
    assert (refused.status_code, refused.json()["code"]) == (409, "appeal_too_late")
    assert "An appeal was taken until" in refused.json()["detail"]
    (action,) = [each for each in api.order(ORDER)["allowed_actions"] if each["action"] == "appeal"]
    assert not action["allowed"]

    too_late = api.do(ORDER, "appeal", violation_id=LATE, appeal_by=ago(1))
    assert too_late.json()["code"] == "appeal_too_late"
    shown = clock.now() + timedelta(days=2)
    order = api.done(ORDER, "appeal", violation_id=LATE, appeal_by=shown)
    assert order["violations"][0]["appeal_by"] == shown.isoformat().replace("+00:00", "Z")
    again = api.do(ORDER, "appeal", violation_id=LATE, appeal_by=shown)
    assert again.json()["code"] == "already_appealed"


@pytest.mark.parametrize("senseless", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "soon", 7])
def test_an_invalid_last_moment_is_refused(api: Api, senseless: object) -> None:
    shipped_late(api)
    answer = api.do(ORDER, "appeal", violation_id=LATE, appeal_by=senseless)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"] == "#/appeal_by"


def test_appeals_are_printed(api: Api, shiplock: Shiplock) -> None:
    shipped_late(api)
    shipped_late(api, OTHER)
    api.done(ORDER, "appeal", violation_id=LATE, evidence="slip")
    (violation,) = body(shiplock("violations", SHOP, "--appeal", "open", "--json"))["items"]
    assert (violation["violation_id"], violation["appeal"]["evidence"]) == (LATE, "slip")
    undisputed = shiplock("violations", SHOP, "--appeal", "none").stdout
    assert "1 violations" in undisputed
    assert "by 20" in undisputed
    assert "appeal open" in shiplock("order", SHOP, ORDER).stdout
    assert shiplock("violations", SHOP, "--appeal", "lost").returncode == 2
