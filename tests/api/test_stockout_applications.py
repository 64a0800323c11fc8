"""Applying for stockout of many orders, over HTTP and from the command line."""

import csv
import gzip
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from api.http import openapi
from tests.api.conftest import SHOP, Api
from tests.api.test_cli import Shiplock, body
from tests.api.test_cli import shiplock as shiplock

PATH = f"/v1/shops/{SHOP}/stockout-applications"
ORDERS = [f"260302-00000000000000{n}" for n in range(4)]


def apply(api: Api, **sent: Any) -> Any:
    return api.http.post(PATH, json=sent)


def test_every_row_of_a_list_is_applied_for_and_answered(api: Api) -> None:
    for number in ORDERS[:2]:
        api.formed(number)
    sent = {"reason": "oversold", "order_sns": [*ORDERS[:3], "a b"]}
    planned = apply(api, **sent, dry_run=True)
    assert planned.json()["applied"] == 2
    assert api.order(ORDERS[0])["status"] == "awaiting_shipment"
    answer = apply(api, **sent)
    assert answer.status_code == 200, answer.text
    assert answer.headers["shiplock-position"] == "6"
    report = answer.json()
    assert [report[name] for name in ("rows_read", "applied", "refused", "rejected")] == [4, 2, 1, 1]
    assert [row["line"] for row in report["rows"]] == [1, 2, 3, 4]
    order = api.order(ORDERS[0])
    assert order["shipment_lock"]["holds"][0]["expected_decision"] == report["rows"][0]["expected_decision"]
    assert apply(api, **sent).json()["already_under_review"] == 2


def test_a_csv_file_may_give_its_own_reasons(api: Api) -> None:
    for number in ORDERS[:3]:
        api.formed(number)
    lines = f"订单号,缺货原因\n{ORDERS[0]},无货\n{ORDERS[1]},\n{ORDERS[2]},飞走了\n"
    headers = {"Content-Type": "text/csv; charset=gb18030"}
    answer = api.http.post(PATH, params={"reason": "oversold"}, content=lines.encode("gb18030"), headers=headers)
    assert [row["outcome"] for row in answer.json()["rows"]] == ["applied", "applied", "rejected"]
    reasons = [api.order(number)["shipment_lock"]["holds"][0]["reason"] for number in ORDERS[:2]]
    assert reasons == ["no_supply", "oversold"]


@pytest.mark.parametrize(
    ("sent", "pointer"),
    [
        ({"order_sns": ["1"]}, "#/reason"),
        ({"reason": "unknown", "order_sns": ["1"]}, "#/reason"),
        ({"reason": "other", "order_sns": []}, "#/order_sns"),
        ({"reason": "other", "order_sns": ["1"] * 1001}, "#/order_sns"),
        ({"reason": "other", "order_sns": [7]}, "#/order_sns/0"),
        ({"reason": "other", "orders": ["1"]}, "#/orders"),
    ],
)
def test_an_invalid_request_is_refused_with_its_field(api: Api, sent: dict[str, Any], pointer: str) -> None:
    answer = apply(api, **sent)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"] == pointer


def test_a_file_that_is_no_list_is_refused_whole(api: Api) -> None:
    for content in (b"", b"a,b\nc,d", b"PK\x03\x04", b"1\n" * 1001):
        answer = api.http.post(PATH, content=content, headers={"Content-Type": "text/csv"})
        assert answer.status_code == 422, content
        assert answer.json()["code"] == "invalid_request"
    assert api.http.post(PATH, content=b"x" * (1 << 20) + b"y").status_code == 413
    misplaced = api.http.post(PATH, params={"dry_run": "true"}, json={"reason": "other", "order_sns": ["1"]})
    assert misplaced.json()["errors"][0] == {
        "pointer": "#/dry_run",
        "detail": "with a JSON body this is a field of it; send text/csv to give it here",
        "in": "query",
    }


@pytest.mark.parametrize("content_type", sorted(openapi.FILES))
def test_a_workbook_or_an_archive_is_read_like_a_csv_file(api: Api, content_type: str) -> None:
    api.formed(ORDERS[0])
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(["样式ID", "订单号"])
    sheet.append([None, ORDERS[0]])
    workbook, archive = io.BytesIO(), io.BytesIO()
    book.save(workbook)
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("缺货.csv", f"订单编号\t备注\n{ORDERS[0]}\t-\n".encode("gb18030"))
    for content in (workbook.getvalue(), archive.getvalue()):
        answer = api.http.post(
            PATH,
            params={"reason": "oversold", "dry_run": "true"},
            content=content,
            headers={"Content-Type": content_type},
        )
        assert (answer.status_code, answer.json()["applied"]) == (200, 1), answer.text


def test_the_command_line_reads_a_file_and_writes_a_file_of_answers(
    api: Api, shiplock: Shiplock, tmp_path: Path
) -> None:
    for number in ORDERS[:2]:
        api.formed(number)
    file, results = tmp_path / "list.csv", tmp_path / "answers.csv"
    file.write_text("\n".join([*ORDERS[:3], "2.60302E+20"]), encoding="utf-8")
    arguments = ("request-stockouts", str(file), "--shop", SHOP, "--reason", "oversold")
    planned = body(shiplock(*arguments, "--dry-run", "--json"))
    result = shiplock(*arguments, "--results", str(results))
    assert result.returncode == 0, result.stderr
    assert f"line 3: {ORDERS[2]} unknown_order" in result.stdout
    assert "line 4:  invalid_request" in result.stdout
    with results.open(encoding="utf-8-sig", newline="") as written:
        rows = list(csv.DictReader(written))
    assert [row["outcome"] for row in rows] == ["applied", "applied", "refused", "rejected"]
    assert [row["outcome"] for row in planned["rows"]] == [row["outcome"] for row in rows]
    assert rows[0]["decision_latest"] > rows[0]["decision_earliest"] > "2026"
    assert json.loads(shiplock(*arguments, "--json").stdout)["already_under_review"] == 2


def test_the_command_line_reports_a_failure_in_one_sentence(shiplock: Shiplock, tmp_path: Path) -> None:
    file = tmp_path / "notes.csv"
    file.write_text("a,b\nc,d", encoding="utf-8")
    failed = shiplock("request-stockouts", str(file), "--shop", SHOP, "--reason", "other")
    assert (failed.returncode, "订单号" in failed.stderr) == (1, True)
    file.write_text(ORDERS[0], encoding="utf-8")
    nowhere = str(tmp_path / "no" / "answers.csv")
    failed = shiplock("request-stockouts", str(file), "--shop", SHOP, "--reason", "other", "--results", nowhere)
    assert (failed.returncode, "Traceback" in failed.stderr) == (1, False)
    assert shiplock("request-stockouts", str(file), "--shop", SHOP, "--reason", "hunger").returncode == 2


def test_a_list_that_unpacks_without_end_is_refused(api: Api) -> None:
    bomb = gzip.compress(b"260302-1\n" * 4_000_000)
    assert len(bomb) < 1 << 20
    answer = api.http.post(PATH, params={"reason": "oversold"}, content=bomb, headers={"Content-Type": "text/csv"})
    assert answer.status_code == 422
    assert "unpacks to more" in answer.json()["detail"]
