"""Stockout cases over HTTP and on the command line."""

import json
import os
from typing import Any

from domain.stockout.messages import Situation
from tests.api.command_line import CommandLine
from tests.api.conftest import LINE, SHOP, Api, ago


def sold(api: Api, *sku_ids: str, each: int = 2, hours_ago: float = 5) -> None:
    for sku_id in sku_ids:
        for n in range(each):
            order_sn = f"o-{sku_id}-{n}"
            api.placed(order_sn, at=ago(hours_ago), lines=[LINE | {"sku_id": sku_id}])
            api.done(order_sn, "form-group", occurred_at=ago(hours_ago))


def sku_command(api: Api, sku_id: str, action: str, **body: Any) -> Any:
    answer = api.http.post(f"/v1/shops/{SHOP}/skus/{sku_id}/{action}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def every(api: Api, path: str, **parameters: Any) -> list[Any]:
    """All pages of a list, one item at a time."""
    head = api.get("events", limit=500).json()["items"][-1]["position"]
    return api.every(path, limit=1, min_position=head, **parameters)


def test_cases_are_listed_page_by_page_open_ones_first(api: Api) -> None:
    sold(api, "a", "b", "c", "d")
    for sku_id in "abc":
        api.done(f"o-{sku_id}-0", "request-stockout", reason="oversold")
        sku_command(api, sku_id, "delist", reason="x")
    api.done("o-a-0", "complete-review", outcome="approved")
    api.done("o-a-1", "upload-tracking", carrier="SF", tracking_number="SF1")
    cases = every(api, "stockout-cases")
    assert [(case["sku_id"], case["state"]) for case in cases] == [("b", "open"), ("c", "open"), ("a", "closed")]
    assert [case["sku_id"] for case in every(api, "stockout-cases", state="closed")] == ["a"]
    assert [case["sku_id"] for case in every(api, "stockout-cases", state="open")] == ["b", "c"]
    for case in cases:
        assert api.get(f"stockout-cases/{case['case_id']}").json() == case
    assert api.get("stockout-cases", shop="another").json()["items"] == []
    assert api.get(f"stockout-cases/{cases[0]['case_id']}", shop="another").json()["code"] == "unknown_case"
    for case_id in ("b:1", "b:999999", "nonsense:1"):
        assert api.get(f"stockout-cases/{case_id}").json()["code"] == "unknown_case"
    assert api.get("stockout-cases/nonsense").status_code == 422
    assert api.get("stockout-cases", cursor="x").status_code == 422


def test_the_deadline_to_speak_to_the_buyer_of_an_order_at_risk_is_among_the_deadlines(api: Api) -> None:
    sold(api, "a", "b", each=3)
    sold(api, "c")
    api.done("o-a-0", "request-stockout", reason="oversold")
    api.done("o-b-0", "request-stockout", reason="oversold")

    def contacts(**filters: Any) -> list[tuple[str, str, str | None]]:
        deadlines = every(api, "deadlines", kind="contact_buyer", **filters)
        return sorted((each["order_sn"], each["state"], each.get("sku_id")) for each in deadlines)

    at_risk: list[tuple[str, str, str | None]] = [(f"o-{sku}-{n}", "pending", sku) for sku in "ab" for n in (1, 2)]
    own: list[tuple[str, str, str | None]] = [("o-a-0", "pending", None), ("o-b-0", "pending", None)]
    assert contacts() == contacts(state="pending") == sorted(at_risk + own)
    assert contacts(state="missed") == contacts(due_before=ago(5)) == []
    api.done("o-a-1", "contact-buyer", channel="chat", message="We are on it.")
    assert contacts(state="met") == [("o-a-1", "met", "a")]
    api.done("o-a-1", "upload-tracking", carrier="SF", tracking_number="SF1")
    api.done("o-a-2", "request-stockout", reason="oversold")
    assert [each for each in contacts() if each[0].startswith("o-a")] == [
        ("o-a-0", "pending", None),
        ("o-a-2", "pending", None),
    ]
    (case,) = [case for case in every(api, "stockout-cases") if case["sku_id"] == "b"]
    (_, second, third) = every(api, f"stockout-cases/{case['case_id']}/orders")
    listed = [each for each in every(api, "deadlines", kind="contact_buyer") if each.get("sku_id") == "b"]
    assert [each["due_at"] for each in listed] == [second["contact"]["due_at"], third["contact"]["due_at"]]
    everything = api.every("deadlines", kind="contact_buyer", limit=1)
    assert len(everything) == len(api.get("deadlines", kind="contact_buyer", limit=500).json()["items"]) == 5
    assert not [
        each for each in api.every("deadlines", limit=500) if each["kind"] == "contact_buyer" and "sku_id" in each
    ]
    tomorrow = contacts(state="missed", sort="due_at", as_of=ago(-48))
    assert [each for each in tomorrow if each[2]] == [("o-b-1", "missed", "b"), ("o-b-2", "missed", "b")]


def test_a_case_lists_its_orders_with_prices_and_the_deadlines_to_contact_the_buyers(api: Api) -> None:
    sold(api, "a", each=3)
    api.done("o-a-0", "request-stockout", reason="oversold")
    (case,) = every(api, "stockout-cases")
    orders = every(api, f"stockout-cases/{case['case_id']}/orders")
    assert [(order["order_sn"], order["standing"]) for order in orders] == [
        ("o-a-0", "applied"),
        ("o-a-1", "at_risk"),
        ("o-a-2", "at_risk"),
    ]
    own = [deadline for deadline in api.order("o-a-0")["deadlines"] if deadline["kind"] == "contact_buyer"]
    assert [orders[0]["contact"]] == own
    for order in orders:
        assert order["contact"]["due_at"] == own[0]["due_at"], "of the orders at risk from the same moment on"
        assert order["stockout_fen"] == 600
        assert order["ways"]
    assert [order["order_sn"] for order in every(api, "skus/a/at-risk")] == ["o-a-1", "o-a-2"]
    api.done("o-a-2", "contact-buyer", channel="chat", message="您好")
    orders = every(api, f"stockout-cases/{case['case_id']}/orders")
    assert [order["contact"]["state"] for order in orders] == ["pending", "pending", "met"]
    (case,) = every(api, "stockout-cases")
    assert (case["contacted"], case["orders"], case["decided"]) == (1, 3, 0)


def test_a_contact_or_a_missed_one_from_before_the_application_stays(api: Api) -> None:
    sold(api, "a", each=3, hours_ago=60)
    api.done("o-a-0", "request-stockout", reason="oversold", occurred_at=ago(40))
    api.done("o-a-1", "contact-buyer", channel="chat", message="您好", occurred_at=ago(35))
    (case,) = every(api, "stockout-cases")
    before = every(api, f"stockout-cases/{case['case_id']}/orders")
    for number in (1, 2):
        api.done(f"o-a-{number}", "request-stockout", reason="oversold")
    after = every(api, f"stockout-cases/{case['case_id']}/orders")
    assert [order["contact"]["state"] for order in before] == ["missed", "met", "missed"]
    assert [(order["standing"], order["since"], order["contact"]) for order in after] == [
        ("applied", order["since"], order["contact"]) for order in before
    ]
    (case,) = every(api, "stockout-cases")
    assert case["contacted"] == 1
    own = [deadline for deadline in api.order("o-a-1")["deadlines"] if deadline["kind"] == "contact_buyer"]
    assert [deadline["state"] for deadline in own] == ["met"], "a word before the application counts"


def test_messages_fit_the_standing_of_an_order(api: Api) -> None:
    sold(api, "a", each=2)
    api.done("o-a-0", "request-stockout", reason="oversold")
    (case,) = every(api, "stockout-cases")
    texts = every(api, f"stockout-cases/{case['case_id']}/messages")
    situations = {(text["order_sn"], text["situation"]) for text in texts}
    assert ("o-a-0", "applied") in situations
    assert ("o-a-1", "at_risk") in situations
    assert ("o-a-1", "applied") not in situations
    templates = api.http.get("/v1/messages").json()["items"]
    assert {template["situation"] for template in templates} == set(Situation.__args__)  # type: ignore[attr-defined]
    assert all("{order_sn}" in template["text"] for template in templates)


def test_no_message_promises_to_ship_an_order_that_is_under_review_for_another_sku(api: Api) -> None:
    goods = [LINE | {"sku_id": sku_id, "name": f"goods {sku_id}"} for sku_id in "ab"]
    for order_sn in ("both", "other"):
        api.placed(order_sn, at=ago(5), lines=goods)
        api.done(order_sn, "form-group", occurred_at=ago(5))
    api.done("other", "request-stockout", reason="oversold", sku_ids=["b"])
    api.done("both", "request-stockout", reason="oversold", sku_ids=["a"])

    def messages_for_both() -> dict[str, list[tuple[str, str]]]:
        return {
            case["sku_id"]: [
                (text["situation"], text["text"])
                for text in every(api, f"stockout-cases/{case['case_id']}/messages")
                if text["order_sn"] == "both"
            ]
            for case in every(api, "stockout-cases")
        }

    locked = messages_for_both()
    assert [situation for situation, _ in locked["b"]] == ["applied"]
    assert "goods a" in locked["b"][0][1], "it says what was applied for"
    assert locked["a"] == locked["b"]
    api.done("both", "complete-review", outcome="rejected")
    assert "at_risk" in dict(messages_for_both()["b"])
    api.done("both", "request-stockout", reason="oversold", sku_ids=["b"])
    assert [situation for situation, _ in messages_for_both()["a"]] == ["applied"]


def test_the_command_line_shows_what_the_api_shows(api: Api, command_line: CommandLine, database_url: str) -> None:
    sold(api, "a", each=2)
    sku_command(api, "a", "count-stock", on_hand=1)
    api.done("o-a-0", "request-stockout", reason="oversold")
    (case,) = every(api, "stockout-cases")

    def shiplock(*arguments: str, status: int = 0) -> str:
        done = command_line.run(*arguments, environment=os.environ | {"SHIPLOCK_DATABASE_URL": database_url})
        assert done.returncode == status, done.stderr
        return done.stdout + done.stderr

    (shown,) = json.loads(shiplock("cases", SHOP, "--json"))["items"]
    assert shown == case
    whole = json.loads(shiplock("case", SHOP, case["case_id"], "--json"))
    assert whole["case"] == case
    assert [order["standing"] for order in whole["orders"]] == ["applied", "at_risk"]
    assert whole["messages"]
    (board,) = json.loads(shiplock("skus", SHOP, "--oversold", "--json"))["items"]
    assert (board["sku_id"], board["oversold_by"], board["case_id"]) == ("a", 1, case["case_id"])
    assert json.loads(shiplock("sku", SHOP, "a", "--json"))["sellable"] == 0
    assert "can't be shipped by then" in shiplock("sku", SHOP, "a")
    assert case["case_id"] in shiplock("cases", SHOP, "--open")
    assert "正在备货" in shiplock("case", SHOP, case["case_id"])
    assert "1" in shiplock("skus", SHOP)
    assert "no SKU nobody" in shiplock("sku", SHOP, "nobody", status=1)
    assert "no stockout case" in shiplock("case", SHOP, "a:1", status=1)


def test_a_sku_that_is_relisted_without_a_restock_must_be_delisted_again(api: Api) -> None:
    sold(api, "a", each=1)
    position = api.done("o-a-0", "request-stockout", reason="oversold")["position"]

    def board() -> tuple[bool, list[str], str]:
        sku = api.get("skus/a", min_position=position).json()
        (case,) = api.get("stockout-cases", min_position=position).json()["items"]
        return sku["delist_due_at"] is not None, [each["code"] for each in sku["warnings"]], case["state"]

    assert board() == (True, ["not_counted", "delist"], "open")
    position = sku_command(api, "a", "delist", reason="out of stock")["position"]
    assert board() == (False, [], "open")
    sku_command(api, "a", "relist")
    api.done("o-a-0", "complete-review", outcome="rejected")
    position = api.done("o-a-0", "upload-tracking", carrier="SF", tracking_number="SF1")["position"]
    assert board() == (True, ["delist"], "open"), "all is decided, but it can be bought again"
    position = sku_command(api, "a", "delist", reason="out of stock")["position"]
    assert board() == (False, [], "closed")
