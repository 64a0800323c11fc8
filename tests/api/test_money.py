"""Bills, reconciliation and penalties over HTTP and the command line, on a real database."""

import asyncio
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.reconciliation import SHOP, made_up, make_shop, reconciled
from infrastructure.runtime import clock
from tests.api.conftest import LINE, Api, ago
from tests.api.test_cli import Shiplock, body
from tests.api.test_cli import shiplock as shiplock

ORDER = "260302-00000000000000"
TWO = [LINE | {"unit_price_fen": 10_000}, LINE | {"sku_id": "52000302", "quantity": 2, "unit_price_fen": 2_500}]


@pytest.mark.parametrize("seed", [1, 2])
def test_reconciliation_finds_exactly_the_planted_differences(database_url: str, tmp_path: Path, seed: int) -> None:
    shop = made_up(seed, clock.now())
    assert len(shop.bill) == 1_000
    assert len(shop.planted) == 150
    asyncio.run(make_shop(database_url, shop.commands))
    report, differences = reconciled(database_url, tmp_path, shop.bill)
    assert (report["lines_read"], report["unmatched"], report["rejected"]) == (1_000, 0, 0)
    assert differences == shop.planted


def test_a_bill_is_previewed_first_and_its_unusual_lines_are_reported(
    shiplock: Shiplock, tmp_path: Path, api: Api
) -> None:
    api.formed(ORDER + "1", at=ago(100))
    on = ago(76)  # the bill's days are Beijing's, and none of them may lie before the order
    bill = tmp_path / "bill.csv"
    bill.write_text(
        "商户订单号,发生时间,支出金额（-元）,业务描述\n"
        f"{ORDER}1,{on:%Y-%m-%d} 23:59:59,3.00,售后费用-延迟发货\n"
        f"{ORDER}1,{on:%Y-%m-%d} 23:59:59,3.00,售后费用-延迟发货\n"
        f"{ORDER}9,{on:%Y-%m-%d} 23:59:59,3.00,售后费用-延迟发货\n"
        f"{ORDER}1,someday,3.00,售后费用-延迟发货\n"
        f"{ORDER}1,{on:%Y-%m-%d} 23:59:59,,售后费用-缺货\n"
        f"{ORDER}1,{on:%Y-%m-%d} 23:59:59,9.90,技术服务费\n",
        encoding="utf-8",
    )
    arguments = ("import-bill", str(bill), "--shop", SHOP, "--json")
    preview = body(shiplock(*arguments, "--dry-run"))
    report = body(shiplock(*arguments))
    for outcome in (preview, report):
        counts = {name: outcome[name] for name in ("lines_read", "charges", "other", "unmatched", "rejected")}
        assert counts == {"lines_read": 6, "charges": 3, "other": 1, "unmatched": 1, "rejected": 2}
        assert outcome["charged_fen"] == 900
        reasons = {line["line"]: line["reason"] for line in outcome["left_out"]}
        assert "'someday' is not a time" in reasons[5]
        assert "amount is missing" in reasons[6]
    again = body(shiplock(*arguments))
    assert (again["charges"], again["known"]) == (0, 3)
    assert len(api.order(ORDER + "1")["charges"]) == 2
    (waiting,) = api.get("unmatched-charges", min_position=again["position"] or report["position"]).json()["items"]
    assert waiting["order_sn"] == ORDER + "9"
    assert api.get(f"orders/{ORDER}9").status_code == 404


BILL_HEADER = "商户订单号,发生时间,收入金额（+元）,支出金额（-元）,业务描述,流水号"
AS_CSV = {"Content-Type": "text/csv; charset=utf-8"}
AS_XLSX = {"Content-Type": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"}


def bill_of(*lines: str) -> bytes:
    return "\n".join([BILL_HEADER, *lines]).encode()


def test_a_bill_sent_over_http_is_answered_as_the_command_line_does(
    shiplock: Shiplock, tmp_path: Path, api: Api
) -> None:
    api.formed(ORDER + "1", at=ago(100))
    on = ago(76)
    bill = bill_of(
        f"{ORDER}1,{on:%Y-%m-%d} 23:59:59,,-3.00,售后费用-延迟发货,L1",
        f"{ORDER}1,{on:%Y-%m-%d} 23:59:59,,-3.00,售后费用-延迟发货,L1",
        f"{ORDER}9,{on:%Y-%m-%d} 23:59:59,,-3.00,售后费用-延迟发货,L2",
        f"{ORDER}1,someday,,-3.00,售后费用-延迟发货,L3",
        f"{ORDER}1,{on:%Y-%m-%d} 23:59:59,9.90,,交易收入,L4",
    )
    path = f"/v1/shops/{SHOP}/bills"
    preview = api.http.post(path, params={"dry_run": "true"}, content=bill, headers=AS_CSV)
    assert preview.status_code == 200, preview.text
    assert "shiplock-position" not in preview.headers
    assert api.order(ORDER + "1")["charges"] == []
    answer = api.http.post(path, content=bill, headers=AS_CSV | {"Shiplock-Actor": "anna"})
    assert answer.status_code == 200, answer.text
    report = answer.json()
    assert report | {"position": 0} == preview.json()
    assert answer.headers["shiplock-position"] == str(report["position"])
    names = ("lines_read", "charges", "known", "other", "unmatched", "rejected")
    assert [report[name] for name in names] == [5, 2, 1, 1, 1, 1]
    assert {line["line"]: line["code"] for line in report["left_out"]} == {5: None}
    events = api.get(f"orders/{ORDER}1/events").json()["items"]
    assert (events[-1]["type"], events[-1]["on_behalf_of"]) == ("PenaltyCharged", "anna")
    file = tmp_path / "bill.csv"
    file.write_bytes(bill)
    by_command_line = body(shiplock("import-bill", str(file), "--shop", SHOP, "--json"))
    again = api.http.post(path, content=bill, headers=AS_CSV).json()
    assert again == by_command_line
    assert (again["charges"], again["known"]) == (0, 3)


def test_a_bill_in_an_archive_is_read_under_any_name_of_a_file(api: Api) -> None:
    api.formed(ORDER + "1", at=ago(100))
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("账单.csv", bill_of(f"{ORDER}1,{ago(76):%Y-%m-%d} 23:59:59,,-3.00,延迟发货,"))
    for content_type in ("application/zip", "application/x-zip-compressed", "application/octet-stream"):
        answer = api.http.post(
            f"/v1/shops/{SHOP}/bills", content=packed.getvalue(), headers={"Content-Type": content_type}
        )
        assert answer.status_code == 200, answer.text
    assert (answer.json()["charges"], answer.json()["known"]) == (0, 1)
    for content_type in ("text/plain", "multipart/form-data; boundary=x", "application/json", ""):
        answer = api.http.post(
            f"/v1/shops/{SHOP}/bills", content=packed.getvalue(), headers={"Content-Type": content_type}
        )
        assert (answer.status_code, answer.json()["errors"][0]["in"]) == (422, "header")


def test_a_bill_sent_as_a_workbook_is_read_like_one_sent_as_csv(api: Api) -> None:
    api.formed(ORDER + "1", at=ago(100))
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(["orderNo", "billTime", "amount", "deductReason"])
    sheet.append([f"{ORDER}1", f"{ago(76):%Y-%m-%d} 23:59:59", 3, "延迟发货_扣款"])
    file = BytesIO()
    book.save(file)
    answer = api.http.post(f"/v1/shops/{SHOP}/bills", content=file.getvalue(), headers=AS_XLSX)
    assert (answer.status_code, answer.json()["charges"]) == (200, 1), answer.text


def test_a_file_that_is_no_bill_is_refused_whole(api: Api) -> None:
    path = f"/v1/shops/{SHOP}/bills"
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", b" " * (17 << 20))
    line = f"{ORDER}1,2026-03-06 03:00:00,,-3.00,延迟发货,"
    for content, detail in (
        (b"", "the file is empty"),
        (b"a,b\nc,d", "no header of a bill was found"),
        (b"PK\x03\x04", "not a whole one"),
        (packed.getvalue(), "unpacks to more than can be read"),
        (bill_of(*["1,,,,," for _ in range(10_001)]), "more than 10,000 lines"),
    ):
        answer = api.http.post(path, content=content, headers=AS_CSV)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request"), content[:20]
        assert detail in answer.json()["errors"][0]["detail"]
    assert api.http.post(path, content=b"x" * ((1 << 20) + 1), headers=AS_CSV).status_code == 413
    others: list[dict[str, Any]] = [{"files": {"file": bill_of(line)}}, {"json": {}}, {"content": bill_of(line)}]
    for sent in others:
        answer = api.http.post(path, **sent)
        assert answer.status_code == 422, sent
        assert answer.json()["errors"][0]["pointer"] == "#/Content-Type"
    mistyped = api.http.post(path, params={"dryrun": "true"}, content=bill_of(line), headers=AS_CSV)
    assert mistyped.json()["errors"][0]["pointer"] == "#/dryrun"
    assert api.http.post("/v1/shops/a b/bills", content=bill_of(line), headers=AS_CSV).status_code == 404


def differences(api: Api, **parameters: Any) -> list[Any]:
    """Every difference, page by page."""
    return api.every("reconciliation", **parameters)


def test_pages_of_any_size_show_every_difference_once(api: Api) -> None:
    position = 0
    for n in range(1, 6):
        api.formed(ORDER + str(n), at=ago(200))
        for kind, fen in (("late_shipment", 999), ("false_shipment", 500), ("fraudulent_shipment", 7)):
            order = api.done(ORDER + str(n), "record-charge", kind=kind, amount_fen=fen, line_id=kind)
            position = order["position"]
        position = api.done(ORDER + str(n), "record-return", amount_fen=1, line_id="back")["position"]
    whole = differences(api, min_position=position)
    assert len(whole) == 5 * 5
    assert whole == sorted(whole, key=lambda each: each["order_sn"])
    for limit in (1, 2, 3, 7):
        assert differences(api, limit=limit) == whole
    late = differences(api, limit=2, difference="amount_differs")
    assert late == [each for each in whole if each["difference"] == "amount_differs"]
    assert api.get("reconciliation", shop="100000002").json()["items"] == []


def test_a_period_includes_an_order_with_all_its_lines(api: Api) -> None:
    api.formed(ORDER + "1", at=ago(24 * 20))
    order = api.done(
        ORDER + "1", "record-charge", kind="late_shipment", amount_fen=100, line_id="1", occurred_at=ago(24)
    )
    position = order["position"]
    for parameters in (
        {"from_": ago(48)},
        {"to": ago(24 * 10)},
        {},
    ):
        kinds = {each["kind"] for each in differences(api, min_position=position, **parameters)}
        assert kinds == {"late_shipment", "stockout"}, parameters
    assert differences(api, from_=ago(24 * 10), to=ago(48)) == []


def test_the_bill_of_an_order_is_shown_with_it_and_a_line_has_one_meaning(api: Api) -> None:
    api.formed(ORDER + "1", at=ago(100))
    charge: dict[str, Any] = {"kind": "late_shipment", "amount_fen": 300, "line_id": "17", "occurred_at": ago(1)}
    order = api.done(ORDER + "1", "record-charge", **charge)
    assert [(charge["kind"], charge["amount_fen"], charge["line_id"]) for charge in order["charges"]] == [
        ("late_shipment", 300, "17")
    ]
    assert api.done(ORDER + "1", "record-charge", **charge)["version"] == order["version"]
    refused = api.do(ORDER + "1", "record-charge", **(charge | {"amount_fen": 301}))
    assert (refused.status_code, refused.json()["code"]) == (409, "line_already_told")


def penalties(api: Api, by: str, **parameters: Any) -> dict[str, tuple[int, int]]:
    page = api.get("reports/penalties", by=by, **parameters)
    assert page.status_code == 200, page.text
    return {item["key"]: (item["violations"], item["penalties_fen"]) for item in page.json()["items"]}


def test_penalties_are_summed_by_order_by_sku_and_by_day(api: Api) -> None:
    api.placed(ORDER + "1", lines=TWO, paid_fen=15_000, at=ago(60))
    api.done(ORDER + "1", "form-group", occurred_at=ago(60))
    api.formed(ORDER + "2", at=ago(60))
    refund = {"initiated_by": "merchant", "reason": "out_of_stock"}
    position = api.done(ORDER + "1", "refund", occurred_at=ago(59), **refund)["position"]
    at = {"min_position": position}
    assert penalties(api, "order", **at) == {ORDER + "1": (1, 700), ORDER + "2": (1, 300)}
    assert penalties(api, "sku", **at) == {"52000301": (2, 300 + 466), "52000302": (1, 234)}
    assert sum(fen for _, fen in penalties(api, "day", **at).values()) == 1_000
    daily = api.get("reports/daily").json()["items"]
    by_day = penalties(api, "day", **at)
    for day in daily:
        assert by_day.get(day["day"], (0, 0))[1] == day["penalties_fen"]
    first = api.get("reports/penalties", by="order", limit=1).json()
    second = api.get("reports/penalties", by="order", limit=1, cursor=first["next_cursor"]).json()
    assert [first["items"][0]["key"], second["items"][0]["key"]] == [ORDER + "1", ORDER + "2"]
    assert second["next_cursor"] is None
    soon = ago(-1)
    for by in ("order", "sku", "day"):
        assert penalties(api, by, as_of=soon) == penalties(api, by, known_at=soon) == penalties(api, by), by
    again = api.get("reports/penalties", by="order", limit=1, as_of=soon).json()
    assert again["items"] == first["items"]
    rest = api.get("reports/penalties", by="order", limit=1, as_of=soon, cursor=again["next_cursor"]).json()
    assert (rest["items"], rest["next_cursor"]) == (second["items"], None)
    assert penalties(api, "order", as_of=ago(59.5)) == {}, "nothing was refunded yet"
    assert penalties(api, "order", known_at=ago(1)) == {}, "nothing was recorded yet"
    assert api.get("reports/penalties", from_="2026-01-01", to="2026-12-31").status_code == 422


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9_999)), min_size=1, max_size=4), st.integers(100, 99_999)
)
def test_the_shares_of_skus_add_up_to_the_cost_of_the_order(
    api: Api, lines: list[tuple[int, int]], paid: int
) -> None:
    shop = f"shop-{clock.now():%H%M%S%f}"
    api.enrol(shop)
    sent = [
        LINE | {"sku_id": f"SKU-{n}", "quantity": quantity, "unit_price_fen": price}
        for n, (quantity, price) in enumerate(lines)
    ]
    at = ago(20)
    api.do(ORDER, "place", shop=shop, lines=sent, paid_fen=paid, occurred_at=at)
    api.do(ORDER, "form-group", shop=shop, occurred_at=at)
    order = api.do(
        ORDER, "refund", shop=shop, initiated_by="merchant", reason="out_of_stock", occurred_at=ago(1)
    ).json()
    (violation,) = order["violations"]
    items = api.get("reports/penalties", shop=shop, by="sku", min_position=order["position"]).json()["items"]
    assert sum(item["penalties_fen"] for item in items) == violation["penalty_fen"]
    assert {item["key"] for item in items} == {line["sku_id"] for line in sent}
    assert all(item["penalties_fen"] >= 0 for item in items)
    assert items == api.get("reports/penalties", shop=shop, by="sku", as_of=ago(-1)).json()["items"]
