"""Files as people really have them, and lives as orders really have them: what comes of each."""

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.api.command_line import CommandLine
from tests.api.conftest import Api

FILES = Path(__file__).with_name("real_files")
SHOP = "1"
EXPORTED = "2026-03-05 12:00:00"
LATER = "2026-03-20T00:00:00+08:00"

Shop = Callable[..., Any]


@pytest.fixture
def shiplock(
    command_line: CommandLine, database_url: str, tmp_path: Path
) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SHIPLOCK_")}
    environment |= {"SHIPLOCK_DATABASE_URL": database_url, "SHIPLOCK_DATA_DIR": str(tmp_path)}
    return lambda *arguments: command_line.run(*arguments, environment=environment)


@pytest.fixture
def shop(shiplock: Callable[..., "subprocess.CompletedProcess[str]"]) -> Shop:
    """Run a command that must succeed; its JSON."""

    def run(*arguments: object) -> Any:
        done = shiplock(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def imported(shop: Shop, name: str, exported_at: str = EXPORTED) -> Any:
    report = shop("import", FILES / name, "--shop", SHOP, "--exported-at", exported_at)
    accounted = sum(report[f"rows_{what}"] for what in ("new", "changed", "unchanged", "rejected"))
    assert report["rows_read"] == accounted
    return report


def order(shop: Shop, number: int, **parameters: str) -> Any:
    options = [part for name, value in parameters.items() for part in (f"--{name.replace('_', '-')}", value)]
    return shop("order", SHOP, f"260302-{number:015d}", *options)


def states(view: Any) -> dict[str, str]:
    return {deadline["kind"]: deadline["state"] for deadline in view["deadlines"]}


def test_the_words_of_today_are_known(shop: Shop) -> None:
    report = imported(shop, "orders_words_of_today.csv")
    assert (report["orders_new"], report["rows_rejected"], report["notes"]) == (4, 0, [])
    statuses = [order(shop, number)["status"] for number in (1, 2, 3, 4)]
    assert statuses == ["shipped", "pending_payment", "refunded", "delivered"]
    assert order(shop, 3, as_of=LATER)["violations"] == []


def test_a_word_that_nobody_knows_is_told_and_the_other_facts_count(shop: Shop, tmp_path: Path) -> None:
    known = (FILES / "orders_words_of_today.csv").read_text(encoding="gb18030")
    file = tmp_path / "new_words.csv"
    file.write_text(known.replace("已发货，待收货", "运输中").replace("已收货", "运输中"), encoding="gb18030")
    report = shop("import", file, "--shop", SHOP, "--exported-at", EXPORTED)
    assert (report["orders_new"], report["rows_rejected"]) == (4, 0)
    assert report["unknown_words"] == [{"column": "订单状态", "word": "运输中", "rows": 2}]
    assert [note["line"] for note in report["notes"]] == [2, 5]
    shipped = order(shop, 1)
    assert shipped["parcels"][0]["tracking_number"] == "731200000000001"
    assert shipped["violations"] == shipped["anomalies"] == []


def test_a_part_refund_closes_nothing(shop: Shop) -> None:
    imported(shop, "orders_part_refund.csv", "2026-03-03 12:00:00")
    view = order(shop, 11, as_of="2026-03-03T12:00:00+08:00")
    assert view["status"] == "awaiting_shipment"
    assert view["refunded_fen"] is None
    assert states(view) == {"tracking_upload": "pending", "deemed_stockout": "pending"}


def test_a_rounded_tracking_number_is_no_parcel(shop: Shop) -> None:
    report = imported(shop, "orders_damaged_tracking_number.csv")
    (note,) = report["notes"]
    assert (note["line"], note["column"]) == (2, "快递单号")
    (parcel,) = order(shop, 21)["parcels"]
    assert parcel["tracking_number"] == ""


def test_cells_that_were_protected_are_unwrapped(shop: Shop) -> None:
    imported(shop, "orders_formula_cells.csv")
    view = order(shop, 31)
    assert view["lines"][0]["sku_id"] == "52000101"
    assert view["parcels"][0]["tracking_number"] == "731200000000031"


def test_a_dash_is_nothing(shop: Shop) -> None:
    report = imported(shop, "orders_dashes.csv")
    assert (report["orders_new"], report["rows_rejected"], report["notes"]) == (3, 0, [])
    waiting, shipped = order(shop, 41), order(shop, 43)
    assert (waiting["status"], waiting["parcels"]) == ("awaiting_shipment", [])
    assert (shipped["status"], shipped["parcels"][0]["carrier"]) == ("shipped", "")


def test_pieces_and_amounts_are_read_as_people_write_them(shop: Shop) -> None:
    assert imported(shop, "orders_pieces_and_amounts.csv")["orders_new"] == 4
    assert [order(shop, number)["lines"][0]["quantity"] for number in (51, 52, 53, 54)] == [2, 1200, 2, 1]
    assert order(shop, 54)["paid_fen"] == 1980


def test_a_copy_without_seconds_says_nothing_new(shop: Shop) -> None:
    imported(shop, "orders_saved_1_as_exported.csv", "2026-03-04 12:00:00")
    before = order(shop, 61, as_of=LATER)
    copy = imported(shop, "orders_saved_2_by_a_spreadsheet.csv")
    again = imported(shop, "orders_saved_1_as_exported.csv", "2026-03-06 12:00:00")
    assert copy["events_appended"] == again["events_appended"] == 0
    after = order(shop, 61, as_of=LATER)
    assert after == before
    assert after["anomalies"] == after["violations"] == []


def test_a_time_without_seconds_is_not_late_within_its_minute(shop: Shop) -> None:
    """The copy alone: ship by 9:00 and shipped at 9:00, each within that minute."""
    imported(shop, "orders_saved_2_by_a_spreadsheet.csv")
    view = order(shop, 61, as_of=LATER)
    assert view["ship_by"] == "2026-03-04T01:00:00Z"
    assert states(view)["tracking_upload"] == "met"
    assert view["violations"] == []
    exact = imported(shop, "orders_saved_1_as_exported.csv", "2026-03-06 12:00:00")
    assert exact["events_appended"] == 1, "the exact times are learned once"
    assert imported(shop, "orders_saved_2_by_a_spreadsheet.csv")["events_appended"] == 0
    assert order(shop, 61, as_of=LATER)["violations"] == []


def test_a_quotation_mark_that_never_closes_swallows_nothing(shop: Shop) -> None:
    report = imported(shop, "orders_open_quote.csv")
    assert (report["rows_read"], report["orders_new"], report["rows_rejected"]) == (6, 6, 0)
    (note,) = report["notes"]
    assert note["line"] == 3
    assert "quotation mark" in note["reason"]


@pytest.mark.parametrize(
    ("name", "orders"),
    [
        ("orders_empty_fill.xlsx", 1),
        ("orders_two_sheets.xlsx", 2),
        ("orders_days_as_numbers.xlsx", 1),
        ("orders_number_by_another_name.csv", 1),
        ("orders_tabs.txt", 1),
        ("orders_packed.zip", 1),
    ],
)
def test_a_file_is_read_whatever_tool_wrote_it(shop: Shop, name: str, orders: int) -> None:
    report = imported(shop, name)
    assert (report["orders_new"], report["rows_rejected"], report["notes"]) == (orders, 0, [])


def test_days_as_numbers_are_times(shop: Shop) -> None:
    imported(shop, "orders_days_as_numbers.xlsx")
    assert order(shop, 111)["group_formed_at"] == "2026-03-02T01:00:00Z"


def test_a_web_page_is_told_what_it_is(shiplock: Callable[..., "subprocess.CompletedProcess[str]"]) -> None:
    done = shiplock("import", FILES / "orders_page.xls", "--shop", SHOP)
    assert done.returncode != 0
    assert "web page" in done.stderr
    assert "save it as .xlsx or .csv" in done.stderr


@pytest.mark.parametrize("name", ["scan_before_the_number", "part_delivered"])
def test_a_life_of_an_order(api: Api, name: str) -> None:
    life = json.loads((FILES / f"{name}.json").read_text(encoding="utf-8"))
    for step in life["steps"]:
        answer = api.do(life["order_sn"], step["action"], shop=SHOP, **step["body"])
        assert answer.status_code == step["status"], answer.text
        for what, expected in step.get("then", {}).items():
            view = api.get(f"orders/{life['order_sn']}", shop=SHOP, as_of=step["then"].get("as_of", LATER)).json()
            if what == "order_status":
                assert answer.json()["status"] == expected
            elif what == "violations":
                assert view["violations"] == expected
            elif what != "as_of":
                assert states(view)[what] == expected


@pytest.mark.parametrize("kind", ["gift", "resend"])
def test_a_parcel_besides_the_order_does_not_replace_its_number(api: Api, kind: str) -> None:
    life = json.loads((FILES / "resent_and_gift_parcels.json").read_text(encoding="utf-8"))
    *steps, extra = life["steps"]
    for step in steps:
        assert api.do(life["order_sn"], step["action"], shop=SHOP, **step["body"]).is_success
    sent = api.do(life["order_sn"], extra["action"], shop=SHOP, **extra["body"], kind=kind)
    assert sent.status_code == 200, sent.text
    parcels = [
        (parcel["tracking_number"], parcel["kind"], parcel["replaced_at"]) for parcel in sent.json()["parcels"]
    ]
    assert parcels == [("Z204", "order", None), ("Z205", kind, None)]
    view = api.get(f"orders/{life['order_sn']}", shop=SHOP, as_of=LATER).json()
    judged = [each["tracking_number"] for each in view["deadlines"] if each["kind"] == "carrier_pickup"]
    assert judged == ["Z204"]


def bill(shop: Shop, name: str) -> Any:
    report = shop("import-bill", FILES / name, "--shop", SHOP)
    accounted = sum(report[what] for what in ("charges", "returns", "known", "other", "rejected"))
    assert report["lines_read"] == accounted
    return report


def test_penalties_without_an_order_are_counted(shop: Shop) -> None:
    imported(shop, "orders_words_of_today.csv")
    report = bill(shop, "bill_without_order_numbers.csv")
    assert (report["charges"], report["unmatched"], report["returns"]) == (3, 2, 1)
    assert (report["charged_fen"], report["returned_fen"], report["rejected"]) == (1100, 500, 0)
    listed = shop("unmatched-charges", SHOP)["items"]
    assert [(line["order_sn"], line["kind"], line["amount_fen"], line["at"]) for line in listed] == [
        (None, "late_shipment", 300, "2026-03-10T02:00:27Z"),
        (None, "late_shipment", 300, "2026-03-10T02:00:28Z"),
    ]
    again = bill(shop, "bill_without_order_numbers.csv")
    assert (again["charges"], again["returns"], again["known"]) == (0, 0, 4)
    assert shop("unmatched-charges", SHOP)["items"] == listed


def test_a_bill_that_names_no_orders_does_not_say_that_nothing_was_taken(shop: Shop) -> None:
    imported(shop, "orders_part_refund.csv", "2026-03-03 12:00:00")
    late = order(shop, 11, as_of="2026-03-05T00:00:00+08:00")
    assert [violation["kind"] for violation in late["violations"]] == ["late_shipment"]
    before = shop("reconcile", SHOP)["items"]
    assert {each["difference"] for each in before} == {"expected_not_charged"}
    bill(shop, "bill_without_order_numbers.csv")
    after = {each["kind"]: each["difference"] for each in shop("reconcile", SHOP)["items"]}
    assert after["late_shipment"] == "cannot_tell"
    assert after["stockout"] == "expected_not_charged"


def test_a_line_finds_its_order_when_it_is_imported_later(shop: Shop) -> None:
    bill(shop, "bill_other_names.csv")
    (waiting,) = shop("unmatched-charges", SHOP)["items"]
    assert (waiting["order_sn"], waiting["amount_fen"]) == ("260302-000000000000002", 500)
    imported(shop, "orders_words_of_today.csv")
    assert shop("unmatched-charges", SHOP)["items"] == []
    (charge,) = order(shop, 2)["charges"]
    assert (charge["line_id"], charge["amount_fen"]) == (waiting["line_id"], 500)
    assert bill(shop, "bill_other_names.csv")["known"] == 1


def test_a_bill_that_a_spreadsheet_saved_says_nothing_new(shop: Shop, tmp_path: Path) -> None:
    first = bill(shop, "bill_without_order_numbers.csv")
    text = (FILES / "bill_without_order_numbers.csv").read_text(encoding="gb18030")
    copy = tmp_path / "saved.csv"
    copy.write_text(re.sub(r"2026-03-(\d\d) (\d\d:\d\d):\d\d", r"2026/3/\1 \2", text), encoding="utf-8")
    again = shop("import-bill", copy, "--shop", SHOP)
    assert (again["charges"], again["returns"], again["known"]) == (0, 0, 4)
    assert (again["charged_fen"], again["returned_fen"]) == (first["charged_fen"], first["returned_fen"])


@pytest.mark.parametrize("name", ["bill_tabs.txt", "bill_other_names.csv"])
def test_a_bill_is_read_whatever_its_columns_are_called(shop: Shop, name: str) -> None:
    report = bill(shop, name)
    assert report["charges"] + report["returns"] > 0
    assert report["rejected"] == 0


def test_the_views_are_rebuilt_also_with_lines_of_orders_that_nobody_knows(
    shop: Shop, shiplock: Callable[..., "subprocess.CompletedProcess[str]"]
) -> None:
    imported(shop, "orders_words_of_today.csv")
    bill(shop, "bill_without_order_numbers.csv")
    listed = shop("unmatched-charges", SHOP)["items"]
    rebuilt = shiplock("projections", "rebuild", "--all", "--activate")
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert shop("unmatched-charges", SHOP)["items"] == listed
