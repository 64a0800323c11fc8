"""Doubtful tracking numbers and doubtful applications, over HTTP and on the command line."""

import csv
from collections.abc import Iterator
from datetime import datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from api.http.app import create_app
from domain.calendar import BEIJING
from infrastructure.runtime import clock
from infrastructure.runtime.settings import Settings
from tests.api.conftest import LINE, SHOP, Api, ago, client_of
from tests.api.test_cli import Shiplock, body
from tests.api.test_cli import shiplock as shiplock

SKU = LINE["sku_id"]


def order_sn(n: int) -> str:
    return f"260302-{n:015d}"


def codes(answer: Any) -> list[str]:
    return [warning["code"] for warning in answer["warnings"]]


def ship(api: Api, n: int, number: str = "SF1", **body: Any) -> Any:
    return api.done(order_sn(n), "upload-tracking", carrier="SF", tracking_number=number, **body)


def delist(api: Api, at: datetime | None = None) -> None:
    sent = {"reason": "out of stock", "occurred_at": (at or ago(30)).isoformat()}
    assert api.http.post(f"/v1/shops/{SHOP}/skus/{SKU}/delist", json=sent).status_code == 200


# ---- tracking numbers --------------------------------------------------------------------------------


def test_a_number_of_another_order_is_flagged_in_the_answer_to_its_upload_and_ever_after(api: Api) -> None:
    for n in (1, 2, 3):
        api.formed(order_sn(n))
    assert codes(ship(api, 1)) == []
    order = ship(api, 2)
    (warning,) = order["warnings"]
    assert (warning["code"], warning["order_sn"], warning["tracking_number"]) == (
        "number_used_before",
        order_sn(1),
        "SF1",
    )
    assert api.order(order_sn(2)) == order
    assert api.done(order_sn(2), "record-pickup")["warnings"] == [warning]
    assert codes(api.order(order_sn(1))) == []
    assert codes(api.order(order_sn(3))) == []
    api.do(order_sn(1), "place", shop="100000002", lines=[LINE], paid_fen=1, occurred_at=ago(1))
    api.do(order_sn(1), "form-group", shop="100000002", occurred_at=ago(1))
    elsewhere = api.do(order_sn(1), "upload-tracking", shop="100000002", carrier="SF", tracking_number="SF1")
    assert codes(elsewhere.json()) == []


def test_a_number_is_flagged_in_any_spelling(api: Api) -> None:
    for n in (1, 2, 3):
        api.formed(order_sn(n))
    shown = ship(api, 1, "sf 1")
    assert shown["parcels"][0]["tracking_number"] == "sf 1"
    assert codes(ship(api, 2, "SF1")) == ["number_used_before"]
    reached = ship(api, 3, "ＳＦ１")["position"]
    doubtful = api.get("doubtful-shipments", min_position=reached).json()["items"]
    assert [item["order_sn"] for item in doubtful] == [order_sn(2), order_sn(3)]


def test_a_number_is_flagged_within_one_bulk_request(api: Api) -> None:
    for n in range(4):
        api.formed(order_sn(n))
    upload = {"action": "upload-tracking", "carrier": "SF"}
    commands = [
        {"order_sn": order_sn(0), "tracking_number": "SF1", "idempotency_key": "a", **upload},
        {"order_sn": order_sn(1), "tracking_number": "SF2", **upload},
        {"order_sn": order_sn(2), "tracking_number": "SF1", **upload},
        {"order_sn": order_sn(3), "tracking_number": "SF2", "idempotency_key": "b", **upload},
    ]
    outcomes = api.http.post(f"/v1/shops/{SHOP}/commands", json={"commands": commands}).json()["outcomes"]
    assert [[w["order_sn"] for w in outcome.get("warnings", [])] for outcome in outcomes] == [
        [],
        [],
        [order_sn(0)],
        [order_sn(1)],
    ]


def test_a_replacement_and_a_suppliers_number_are_checked_too(api: Api) -> None:
    for n in (1, 2, 3):
        api.formed(order_sn(n))
    ship(api, 1)
    ship(api, 2, "SF2")
    replaced = api.done(order_sn(2), "replace-tracking", carrier="SF", tracking_number="SF1", reason="mistyped")
    assert codes(replaced) == ["number_used_before"]
    api.done(order_sn(3), "hand-to-supplier", supplier_id="S-17")
    sent = api.done(order_sn(3), "record-supplier-tracking", carrier="SF", tracking_number="SF1")
    assert codes(sent) == ["number_used_before"]


def test_a_number_is_checked_as_of_any_moment(api: Api) -> None:
    for n in (1, 2):
        api.formed(order_sn(n), at=ago(30))
    before = ship(api, 2, occurred_at=ago(10))
    assert codes(before) == []
    between = clock.now()
    ship(api, 1, occurred_at=ago(20))
    assert codes(api.order(order_sn(2))) == ["number_used_before"]
    assert codes(api.order(order_sn(2), as_of=ago(5))) == ["number_used_before"]
    assert codes(api.order(order_sn(2), known_at=between)) == []
    assert codes(api.order(order_sn(2), at_version=before["version"])) == []


def test_a_diff_shows_that_another_order_had_the_number(api: Api) -> None:
    for n in (1, 2):
        api.formed(order_sn(n), at=ago(30))
    ship(api, 1, occurred_at=ago(20))
    warned = ship(api, 2, occurred_at=ago(10))["warnings"]
    path = f"orders/{order_sn(2)}/diff"
    queries: list[dict[str, Any]] = [
        {"from_": "2", "to": "3"},
        {"from_": ago(25), "to": ago(5)},
        {"from_": ago(15), "to": clock.now()},
        {"from_": ago(1), "to": clock.now(), "by": "known_at"},
    ]
    for query in queries:
        *_, change = (each for each in api.get(path, **query).json()["changes"] if each["field"] == "warnings")
        assert change["event"] == "TrackingUploaded", query
        assert change["after"] == warned
    late = api.get(path, from_=ago(9), to=ago(8)).json()["changes"]
    assert "warnings" not in {change["field"] for change in late}


def test_doubtful_shipments_are_listed_also_those_of_an_export(
    api: Api, shiplock: Shiplock, tmp_path: Path
) -> None:
    sample = files("infrastructure.pinduoduo.sample") / "orders_export_2023.csv"
    rows = list(csv.DictReader(sample.read_text(encoding="gb18030").splitlines()))
    shipped = [row for row in rows if row["快递单号"].strip()][:3]
    day = (clock.now() - timedelta(days=3)).astimezone(BEIJING).strftime("%Y-%m-%d %H:%M:%S")
    for row in shipped:
        row["发货时间"] = day
    shipped[1]["快递单号"] = shipped[0]["快递单号"]
    export = tmp_path / "export.csv"
    with export.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(shipped)
    assert shiplock("import", str(export), "--shop", SHOP).returncode == 0
    twice = {row["订单号"].strip() for row in shipped[:2]}
    api.formed(order_sn(1))
    position = ship(api, 1, shipped[2]["快递单号"].strip())["position"]
    page = api.get("doubtful-shipments", min_position=position).json()
    of_order = {each["order_sn"]: codes(each) for each in page["items"]}
    assert set(of_order) == {*twice, order_sn(1)}
    assert all(each == ["number_used_before"] for each in of_order.values())
    doubtful = body(shiplock("doubtful", SHOP, "--json"))["items"]
    assert [each["order_sn"] for each in doubtful] == sorted(of_order)
    assert api.get("doubtful-shipments", to=ago(24 * 10), from_=ago(24 * 20)).json()["items"] == []


def test_an_order_replaced_again_and_again_is_listed_and_pages_hold_each_once(api: Api) -> None:
    position = 0
    for n in range(4):
        api.formed(order_sn(n))
        ship(api, n, f"SF{n}-0")
        for turn in range(1, 4 if n else 3):
            order = api.done(
                order_sn(n), "replace-tracking", carrier="SF", tracking_number=f"SF{n}-{turn}", reason="again"
            )
            position = order["position"]
        assert codes(order) == (["frequent_replacements"] if n else [])
    listed = api.every("doubtful-shipments", limit=2, min_position=position)
    numbers = [each["order_sn"] for each in listed]
    assert numbers == [order_sn(1), order_sn(2), order_sn(3)]


@pytest.mark.parametrize(
    "period",
    [
        {"from_": "2026-03-01T00:00:00Z", "to": "2026-03-01T00:00:00Z"},
        {"from_": "2026-01-01T00:00:00Z", "to": "2026-03-01T00:00:00Z"},
        {"from_": "yesterday"},
        {"form": "2026-03-01T00:00:00Z"},
    ],
)
def test_an_invalid_period_is_refused(api: Api, period: dict[str, str]) -> None:
    assert api.get("doubtful-shipments", **period).status_code == 422


# ---- applications ------------------------------------------------------------------------------------


def test_an_application_shows_which_conditions_of_the_platform_it_misses(api: Api) -> None:
    at = ago(20)
    api.placed(order_sn(1), at=at, activity=True)
    api.done(order_sn(1), "form-group", occurred_at=at)
    order = api.done(order_sn(1), "request-stockout", reason="oversold")
    assert order["status"] == "stockout_review", "by default it is only warned of: the platform has the last word"
    assert codes(order) == ["activity_order", "on_sale"]
    assert order["warnings"][1]["sku_id"] == SKU
    assert api.order(order_sn(1))["warnings"] == order["warnings"]
    delist(api, ago(0))
    assert codes(api.order(order_sn(1))) == ["activity_order"]
    api.done(order_sn(1), "complete-review", outcome="rejected")
    assert codes(api.order(order_sn(1))) == []


def noon() -> datetime:
    """The last noon in Beijing that is over."""
    today = clock.now().astimezone(BEIJING).replace(hour=12, minute=0, second=0, microsecond=0)
    return today if today < clock.now() - timedelta(minutes=1) else today - timedelta(days=1)


def test_the_eleventh_application_of_a_day_is_warned_of_alone_in_bulk_and_by_list(api: Api) -> None:
    delist(api, ago(90))
    at = noon()
    for n in range(1, 14):
        api.formed(order_sn(n), at=at - timedelta(hours=30))
    sent = {"reason": "oversold", "order_sns": [order_sn(n) for n in range(1, 12)], "occurred_at": at.isoformat()}
    path = f"/v1/shops/{SHOP}/stockout-applications"
    for dry_run in (True, False):
        rows = api.http.post(path, json=sent | {"dry_run": dry_run}).json()["rows"]
        assert [codes({"warnings": []} | row) for row in rows] == [[]] * 10 + [["daily_limit"]]
    single = api.done(order_sn(12), "request-stockout", reason="oversold", occurred_at=at)
    assert codes(single) == ["daily_limit"]
    assert "11 applications were filed that day before" in single["warnings"][0]["detail"]
    assert api.order(order_sn(12))["warnings"] == single["warnings"]
    assert codes(api.order(order_sn(10))) == []
    earlier = api.done(order_sn(13), "request-stockout", reason="oversold", occurred_at=at - timedelta(days=1))
    assert codes(earlier) == []


def applying(api: Api, number: str, at: datetime) -> Any:
    """The way out of applying at that moment."""
    options = api.get(f"orders/{number}/way-out", at=at).json()["options"]
    return next(option for option in options if option["way"] == "apply_now")


@pytest.fixture
def strict(database_url: str, tmp_path: Path) -> Iterator[Api]:
    """The API under rules that refuse an application which misses a condition of the platform."""
    shipped = files("domain.rules") / "sets" / "pinduoduo-2023-01.toml"
    rules = shipped.read_text(encoding="utf-8")
    assert 'conditions = "warn"' in rules
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "strict.toml").write_text(rules.replace('conditions = "warn"', 'conditions = "refuse"'), "utf-8")
    settings = Settings(database_url=database_url, data_dir=tmp_path, rules_dir=folder)
    with client_of(create_app(database_url, settings=settings)) as http:
        yield Api(http)


def test_a_rule_set_may_refuse_what_the_platform_would(strict: Api) -> None:
    at = noon()
    for n in range(1, 13):
        strict.formed(order_sn(n), at=at - timedelta(hours=30))
    refused = strict.do(order_sn(1), "request-stockout", reason="oversold", occurred_at=at)
    assert (refused.status_code, refused.json()["code"]) == (409, "conditions_not_met")
    assert f"SKU {SKU} can still be bought" in refused.json()["detail"]
    assert refused.json()["order_status"] == "awaiting_shipment"
    assert not applying(strict, order_sn(1), at)["possible"]
    delist(strict, at)
    assert applying(strict, order_sn(1), at) == applying(strict, order_sn(1), at) | {
        "possible": True,
        "warnings": [],
    }
    commands = [
        {
            "order_sn": order_sn(n),
            "action": "request-stockout",
            "reason": "oversold",
            "occurred_at": at.isoformat(),
        }
        for n in range(1, 13)
    ]
    outcomes = strict.http.post(f"/v1/shops/{SHOP}/commands", json={"commands": commands}).json()["outcomes"]
    assert [outcome["status"] for outcome in outcomes] == [200] * 10 + [409] * 2
    assert outcomes[-1]["problem"]["code"] == "conditions_not_met"
    assert "10 a day" in outcomes[-1]["problem"]["detail"]
    assert codes(applying(strict, order_sn(11), at)) == ["daily_limit"]
    assert applying(strict, order_sn(11), at)["because"] == outcomes[-1]["problem"]["detail"]
    assert applying(strict, order_sn(11), at + timedelta(days=1))["possible"]
    at_risk = strict.get(f"skus/{SKU}/at-risk", min_position=strict.order(order_sn(10))["position"]).json()["items"]
    ways = {way["way"]: way["possible"] for order in at_risk for way in order["ways"]}
    assert len(at_risk) == 2
    assert (ways["apply_now"], ways["refund"]) == (
        clock.now().astimezone(BEIJING).date() != at.astimezone(BEIJING).date(),
        True,
    )
