"""Backtests over HTTP: requested, watched, run as jobs, and separate for each shop."""

import time
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

import domain.rules
from infrastructure.jobs import backtests as backtest_jobs
from tests.api.conftest import SHOP, Api, ago

SETS = Path(domain.rules.__path__[0]) / "sets"
RULES = (SETS / "pinduoduo-2023-01.toml").read_text(encoding="utf-8")
DEARER = RULES.replace("flat_fen = 300", "flat_fen = 700").replace('name = "pinduoduo-2023-01"', 'name = "dearer"')
PATH = f"/v1/shops/{SHOP}/rules/backtests"


def requested(api: Api, shop: str = SHOP, **body: Any) -> Any:
    answer = api.http.post(f"/v1/shops/{shop}/rules/backtests", json={"rules": DEARER} | body)
    assert answer.status_code == 202, answer.text
    assert answer.headers["Location"] == f"/v1/shops/{shop}/rules/backtests/{answer.json()['id']}"
    return answer.json()


def finished(api: Api, location: str) -> Any:
    limit = time.monotonic() + 60
    while time.monotonic() < limit:
        job = api.http.get(location).json()
        if job["state"] in ("done", "failed"):
            return job
        time.sleep(0.05)
    raise AssertionError(f"not finished: {job}")


def test_what_other_rules_would_have_cost(api: Api) -> None:
    api.formed("260302-1", at=ago(60))
    api.formed("260302-2", at=ago(50))
    api.formed("260302-3", at=ago(10))
    begun = requested(api)
    assert (begun["rules"], begun["result"]) == ("dearer", None)
    job = finished(api, f"{PATH}/{begun['id']}")
    assert (job["state"], job["done"], job["total"], job["error"]) == ("done", 6, 6, None)
    result = job["result"]
    assert (result["shop_id"], result["orders"], result["differing"], result["position"]) == (SHOP, 3, 2, 6)
    late = result["kinds"][0]
    assert late == {
        "kind": "late_shipment",
        "now": {"violations": 2, "penalties_fen": 600, "unknown_penalties": 0},
        "then": {"violations": 2, "penalties_fen": 1400, "unknown_penalties": 0},
        "difference": {"violations": 0, "penalties_fen": 800, "unknown_penalties": 0},
        "orders_differing": 2,
    }
    assert [item["order_sn"] for item in result["items"]] == ["260302-1", "260302-2"]
    assert api.order("260302-1")["violations"][0]["penalty_fen"] == 300, "a backtest changes nothing"


def test_rules_may_be_json_and_the_orders_those_of_a_period(api: Api) -> None:
    api.formed("260302-1", at=ago(60))
    api.formed("260302-2", at=ago(50))
    newest = api.http.get("/v1/rules").json()["items"][-1]
    same = finished(api, f"{PATH}/{requested(api, rules=newest)['id']}")["result"]
    assert (same["orders"], same["differing"], same["items"]) == (2, 0, [])
    begun = requested(api, **{"from": ago(61).isoformat(), "to": ago(55).isoformat()})
    part = finished(api, f"{PATH}/{begun['id']}")["result"]
    assert (part["orders"], part["differing"]) == (1, 1)
    past = finished(api, f"{PATH}/{requested(api, as_of=ago(20).isoformat())['id']}")["result"]
    assert (past["orders"], past["differing"]) == (2, 0), "nothing was late then"


def test_a_shop_sees_only_its_own_backtests(api: Api) -> None:
    api.formed("260302-1", at=ago(60))
    job = finished(api, f"{PATH}/{requested(api)['id']}")
    assert [job["id"] for job in api.get("rules/backtests").json()["items"]] == [job["id"]]
    assert api.get("rules/backtests", shop="other").json()["items"] == []
    refused = api.get(f"rules/backtests/{job['id']}", shop="other")
    assert (refused.status_code, refused.json()["code"]) == (404, "unknown_backtest")
    assert (
        finished(api, f"/v1/shops/other/rules/backtests/{requested(api, shop='other')['id']}")["result"]["orders"]
        == 0
    )


@pytest.mark.parametrize(
    ("body", "pointer", "detail"),
    [
        (b"", "#/rules", "this field is missing"),
        (b'{"rules": 3}', "#/rules", "must be text or an object, not a whole number"),
        (b'{"rules": "name ="}', "#/rules", "the rule set: not valid TOML"),
        (msgspec.json.encode({"rules": {"name": "x"}}), "#/rules", "title is missing; it must be text"),
        (
            msgspec.json.encode({"rules": RULES.replace("\ndays = 3", "\ndays = -3")}),
            "#/rules",
            "the rule set: deemed_stockout.days is -3; it must be a whole number from 1 to 10000",
        ),
        (msgspec.json.encode({"rules": RULES, "unheard": 1}), "#/unheard", "there is no such field"),
        (msgspec.json.encode({"rules": RULES, "from": "yesterday"}), "#/from", "must be a time such as"),
        (
            msgspec.json.encode({"rules": RULES, "from": "2026-03-02T00:00:00Z", "to": "2026-03-01T00:00:00Z"}),
            "#",
            "`from` must be before `to`",
        ),
        *(
            (msgspec.json.encode({"rules": RULES, name: at}), "#", f"`{name}` must be a time between 2015 and 2100")
            for name, at in (
                ("from", "0001-01-01T00:00:00+08:00"),
                ("to", "2014-12-31T00:00:00Z"),
                ("as_of", "9999-12-31T23:59:59Z"),
            )
        ),
    ],
)
def test_an_invalid_request_is_refused_with_its_place(api: Api, body: bytes, pointer: str, detail: str) -> None:
    refused = api.http.post(PATH, content=body)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request"), refused.text
    (error,) = refused.json()["errors"]
    assert error["pointer"] == pointer
    assert detail in error["detail"]
    assert api.get("rules/backtests").json()["items"] == []


def test_the_unfinished_backtests_of_a_shop_are_limited(
    api: Api, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backtest_jobs, "KEPT", 4)
    with psycopg.connect(database_url, autocommit=True) as somebody:
        somebody.execute(
            """INSERT INTO job (kind, key, lane, arguments, state, priority, requested_at, due_at)
               VALUES ('another', '', 'backtest', '{}', 'running', 0, now(), now())"""
        )  # whose turn it is in the lane, and nobody works any off
        jobs = [requested(api) for _ in range(backtest_jobs.MOST_UNFINISHED)]
        refused = api.http.post(PATH, json={"rules": DEARER})
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_backtests")
        assert refused.headers["Retry-After"] == "5"
        assert api.http.get(f"{PATH}/{jobs[0]['id']}").json()["state"] == "waiting"
        requested(api, shop="other")
        somebody.execute("DELETE FROM job WHERE kind = 'another'")
    for job in jobs:
        finished(api, f"{PATH}/{job['id']}")
    last = [finished(api, f"{PATH}/{requested(api)['id']}")["id"] for _ in range(3)]
    listed = [job["id"] for job in api.get("rules/backtests").json()["items"]]
    assert listed == [*reversed(last), jobs[-1]["id"]], "the oldest go"
