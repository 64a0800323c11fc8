"""The daily report over HTTP."""

from datetime import date, datetime, timedelta
from typing import Any

import pytest

from domain.calendar import BEIJING
from infrastructure.runtime import clock
from tests.api.conftest import SHOP, Api, ago
from tests.api.test_queries import caught_up, number

FIELDS = [
    "day",
    "orders_formed",
    "shipped_on_time",
    "late",
    "on_time_rate",
    "stockouts",
    "false_shipments",
    "fraudulent_shipments",
    "penalties_fen",
    "unknown_penalties",
]


def today() -> date:
    return clock.now().astimezone(BEIJING).date()


def day_of(at: datetime) -> str:
    return at.astimezone(BEIJING).date().isoformat()


def report(api: Api, **parameters: Any) -> Any:
    answer = api.get("reports/daily", **parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_last_seven_days_are_reported_the_empty_ones_too(api: Api) -> None:
    body = report(api)
    assert [day["day"] for day in body["items"]] == [
        (today() - timedelta(days=n)).isoformat() for n in range(6, -1, -1)
    ]
    assert all(list(day) == FIELDS for day in body["items"])
    assert body["items"][0] | {"day": None} == dict.fromkeys(FIELDS, 0) | {"day": None, "on_time_rate": None}
    assert (body["next_cursor"], body["unknown_penalties"]) == (None, 0)


def test_the_days_count_shipments_in_time_and_late_ones(api: Api) -> None:
    formed_at = ago(60)
    for n in range(3):
        api.formed(number(n), at=formed_at)
    api.done(number(0), "upload-tracking", carrier="SF", tracking_number="SF1", occurred_at=ago(59))
    api.done(number(0), "record-pickup", occurred_at=ago(58))
    api.formed("260302-000000000000009", at=formed_at)
    position = caught_up(api)

    days = {day["day"]: day for day in report(api, min_position=position)["items"]}
    formed = days[day_of(formed_at)]
    assert (formed["orders_formed"], formed["shipped_on_time"], formed["late"]) == (4, 1, 3)
    assert formed["on_time_rate"] == 0.25
    assert days[day_of(formed_at + timedelta(hours=48))]["penalties_fen"] == 900
    listed = api.get("violations").json()["items"]
    assert sum(day["penalties_fen"] for day in days.values()) == sum(v["penalty_fen"] for v in listed)
    assert report(api, from_=day_of(formed_at), to=day_of(formed_at))["items"] == [formed]


def test_a_report_waits_until_both_views_have_reached_a_position(api: Api, monkeypatch: Any) -> None:
    monkeypatch.setattr("infrastructure.queries.waiting.WAIT_SECONDS", 0.1)
    answer = api.get("reports/daily", min_position=99)
    assert (answer.status_code, answer.json()["code"]) == (503, "not_reached")
    assert answer.headers["retry-after"] == "1"

    waited: list[str] = []

    async def reached(connection: Any, shop_id: str, name: str) -> int:
        waited.append(name)
        return 99

    monkeypatch.setattr("infrastructure.queries.waiting.reached", reached)
    report(api, min_position=99)
    assert waited == ["orders", "violations"]


@pytest.mark.parametrize(
    ("parameters", "pointer", "detail"),
    [
        ({"from": "2026-03-03", "to": "2026-03-02"}, "#/from", "after 2026-03-02"),
        ({"from": "2025-01-01", "to": "2026-03-02"}, "#/from", "at most 92 days"),
        ({"from": "2099-01-01"}, "#/from", "is after"),
        ({"from": "2026-3-2"}, "#/from", "not a day such as 2026-03-02"),
        ({"to": "2026-02-30"}, "#/to", "not a day"),
        ({"to": "2026-03-02T09:00:00+08:00"}, "#/to", "not a day"),
        ({"to": "1999-12-31"}, "#/to", "between 2015 and 2100"),
        ({"to": ""}, "#/to", "not a day"),
        ({"limit": "3"}, "#/limit", ""),
        ({"min_position": "-1"}, "#/min_position", ""),
    ],
)
def test_an_invalid_parameter_is_named(api: Api, parameters: dict[str, str], pointer: str, detail: str) -> None:
    answer = api.http.get(f"/v1/shops/{SHOP}/reports/daily", params=parameters)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    (error,) = answer.json()["errors"]
    assert error["pointer"] == pointer
    assert detail in error["detail"]


def test_the_longest_report_is_a_quarter(api: Api) -> None:
    assert len(report(api, from_="2026-01-01", to="2026-04-02")["items"]) == 92


def test_the_document_describes_the_report_as_it_is(api: Api) -> None:
    document = api.http.get("/openapi.json").json()
    operation = document["paths"]["/v1/shops/{shop_id}/reports/daily"]["get"]
    assert {parameter["name"] for parameter in operation["parameters"]} == {
        "shop_id",
        "from",
        "to",
        "min_position",
        "as_of",
        "known_at",
    }
    answer = operation["responses"]["200"]["content"]["application/json"]["schema"]
    schemas = document["components"]["schemas"]
    described = schemas[answer["$ref"].rsplit("/", 1)[1]]["properties"]
    assert described.keys() == report(api).keys()
    assert list(schemas["ReportedDay"]["properties"]) == FIELDS
    assert "503" in operation["responses"]
