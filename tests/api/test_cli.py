"""The command line: its output and its exit status."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from domain.order import commands as c
from domain.sku import commands as s
from infrastructure.commands.committer import CommandPath
from infrastructure.commands.intents import SkuCommand
from infrastructure.database.pool import Pool
from tests.api.command_line import CommandLine
from tests.orders import done, on_database, order_command, order_sn

SHOP = "100000001"
SAMPLE = Path(__file__).parents[1] / "infrastructure/pinduoduo/samples/orders_export_2020.csv"

Shiplock = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def shiplock(command_line: CommandLine, database_url: str, tmp_path: Path) -> Shiplock:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SHIPLOCK_")}
    environment |= {"SHIPLOCK_DATABASE_URL": database_url, "SHIPLOCK_DATA_DIR": str(tmp_path)}

    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return command_line.run(*arguments, environment=environment | more)

    return run


def body(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_an_export_is_imported_read_and_judged(shiplock: Shiplock) -> None:
    arguments = ("import", str(SAMPLE), "--shop", SHOP, "--exported-at", "2026-03-20 18:00:00")
    preview = body(shiplock(*arguments, "--dry-run", "--json"))
    first = body(shiplock(*arguments, "--json"))
    assert preview["events_appended"] == first["events_appended"] > 400
    assert first["orders_new"] == 400
    assert body(shiplock(*arguments, "--json"))["events_appended"] == 0
    assert "events appended" in shiplock(*arguments).stdout

    violations = body(shiplock("violations", SHOP, "--as-of", "2026-03-20T18:00:00+08:00", "--json"))["items"]
    late = next(violation for violation in violations if violation["kind"] == "late_shipment")
    order = body(shiplock("order", SHOP, late["order_sn"], "--as-of", late["arose_at"], "--json"))
    assert order["violations"] == []
    now = body(shiplock("order", SHOP, late["order_sn"], "--json"))
    assert "late_shipment" in [violation["kind"] for violation in now["violations"]]
    assert late["order_sn"] in shiplock("order", SHOP, late["order_sn"]).stdout

    history = body(shiplock("history", SHOP, late["order_sn"], "--json"))
    assert [event["type"] for event in history][:3] == ["OrderPlaced", "OrderPaid", "GroupFormed"]
    assert history[0]["metadata"] == {"actor": "import", "via": "export", "observed": True}
    assert "GroupFormed" in shiplock("history", SHOP, late["order_sn"]).stdout


def test_now_without_a_worker_running_violations_are_current(shiplock: Shiplock) -> None:
    shiplock("import", str(SAMPLE), "--shop", SHOP)
    violations = body(shiplock("violations", SHOP, "--json"))["items"]
    assert {violation["kind"] for violation in violations} == {"late_shipment", "stockout"}
    assert str(len(violations)) in shiplock("violations", SHOP).stdout.splitlines()[-1]


def test_a_list_is_read_page_by_page_on_and_back(shiplock: Shiplock) -> None:
    body(shiplock("import", str(SAMPLE), "--shop", SHOP, "--json"))
    for moment in ([], ["--as-of", "2026-03-20T18:00:00+08:00"]):
        command = ["violations", SHOP, *moment, "--json"]
        whole = body(shiplock(*command))
        assert list(whole) == ["items"]
        first = body(shiplock(*command, "--limit", "2"))
        second = body(shiplock(*command, "--limit", "2", "--cursor", first["next_cursor"]))
        assert first["items"] + second["items"] == whole["items"][:4]
        assert "previous_cursor" not in first
        assert body(shiplock(*command, "--limit", "2", "--cursor", second["previous_cursor"])) == first
    printed = shiplock("violations", SHOP, "--limit", "2").stdout
    assert "2 violations on this page" in printed
    assert "next page: --cursor " in printed
    wrong = shiplock("violations", SHOP, "--cursor", "nonsense")
    assert wrong.returncode == 2
    assert "not a cursor of this list" in wrong.stderr


def test_something_unknown_is_status_1_and_a_wrong_argument_is_status_2(shiplock: Shiplock, tmp_path: Path) -> None:
    nothing = shiplock("order", SHOP, "260302-404")
    assert (nothing.returncode, nothing.stdout) == (1, "")
    assert "no order 260302-404" in nothing.stderr
    assert shiplock("history", SHOP, "260302-404").returncode == 1
    assert shiplock("rules", "show", "nonsense").returncode == 1
    text = tmp_path / "notes.txt"
    text.write_text("not an export", encoding="utf-8")
    unreadable = shiplock("import", str(text), "--shop", SHOP)
    assert unreadable.returncode == 1
    assert "订单号" in unreadable.stderr
    assert "Traceback" not in unreadable.stderr
    for usage in (
        ("order", SHOP),
        ("order", SHOP, "260302-1", "--as-of", "soon"),
        ("order", "a b", "260302-1"),
        ("import", str(tmp_path / "missing.csv"), "--shop", SHOP),
        ("import", str(text)),
        ("fly",),
    ):
        assert shiplock(*usage).returncode == 2, usage


def test_the_ways_out_of_an_order_are_priced(shiplock: Shiplock) -> None:
    body(shiplock("import", str(SAMPLE), "--shop", SHOP, "--exported-at", "2026-03-20 18:00:00", "--json"))
    numbers = [violation["order_sn"] for violation in body(shiplock("violations", SHOP, "--json"))["items"]]
    ways_out = [body(shiplock("way-out", SHOP, number, "--json")) for number in numbers[:1]]
    assert [way["order_sn"] for way in ways_out] == numbers[:1]
    assert "stands already" in shiplock("way-out", SHOP, numbers[0]).stdout
    missing = shiplock("way-out", SHOP, "none")
    assert missing.returncode == 1
    assert "no order none" in missing.stderr


def test_text_in_brackets_is_printed_as_text(shiplock: Shiplock, database_url: str) -> None:
    bracketed = "[/b] [red]gone [link=x]"

    async def fill(pool: Pool, path: CommandPath) -> None:
        line = c.OrderedLine(bracketed, "520003", bracketed, 1, 12900)
        await done(
            path,
            order_command(order_sn(1), c.Place(lines=(line,), paid_fen=12900, note=bracketed)),
            order_command(order_sn(1), c.FormGroup()),
            order_command(order_sn(1), c.PlaceHold(hold="manual", reason=bracketed)),
            SkuCommand(SHOP, bracketed, s.CountStock(on_hand=1), "test"),
        )

    on_database(database_url, fill)
    for arguments in (
        ("history", SHOP, order_sn(1)),
        ("order", SHOP, order_sn(1)),
        ("diff", SHOP, order_sn(1), "0", "3"),
        ("skus", SHOP),
        ("sku", SHOP, bracketed),
    ):
        result = shiplock(*arguments)
        assert result.returncode == 0, (arguments, result.stderr)
        assert "[/b]" in result.stdout, arguments


def test_a_missing_database_is_reported_in_one_sentence(shiplock: Shiplock) -> None:
    gone = shiplock("order", SHOP, "260302-1", SHIPLOCK_DATABASE_URL="postgresql://127.0.0.1:1/nothing")
    assert gone.returncode == 1
    assert "can't be reached" in gone.stderr
    assert "Traceback" not in gone.stderr


def test_a_mistyped_setting_is_named(shiplock: Shiplock) -> None:
    wrong = shiplock("order", SHOP, "260302-1", SHIPLOCK_DATABASE="x")
    assert wrong.returncode == 1
    assert "SHIPLOCK_DATABASE is not a setting" in wrong.stderr


def test_the_program_does_not_start_with_invalid_rules(shiplock: Shiplock, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('name = "mine"\ntitle = 3\n', encoding="utf-8")
    for arguments in (("serve", "--port", "0"), ("worker",), ("violations", SHOP)):
        refused = shiplock(*arguments, SHIPLOCK_RULES_DIR=str(tmp_path))
        assert refused.returncode == 1, arguments
        assert refused.stderr.startswith("shiplock: mine.toml: title is 3; it must be text"), arguments
        assert len(refused.stderr.splitlines()) == 1, arguments


def test_rules_are_shown_with_their_sources(shiplock: Shiplock) -> None:
    sets = body(shiplock("rules", "list", "--json"))
    assert [listed["name"] for listed in sets] == ["pinduoduo-2017-12", "pinduoduo-2022-08", "pinduoduo-2023-01"]
    shown = body(shiplock("rules", "show", sets[0]["name"], "--json"))
    assert shown["ship_by"]["hours"]["ordinary"] == 48
    assert shown["ship_by"]["source"] == "ship-by-ordinary, ship-by-overseas"
    assert "pickup-scan" in shiplock("rules", "show").stdout
    assert "Spring Festival 2023" in shiplock("rules", "show").stdout
    assert sets[0]["name"] in shiplock("rules", "list").stdout


def test_doctor_reports_that_everything_is_in_place_or_what_is_not(shiplock: Shiplock) -> None:
    assert body(shiplock("doctor", "--json"))["ok"] is True
    gone = shiplock("doctor", SHIPLOCK_DATABASE_URL="postgresql://127.0.0.1:1/nothing")
    assert gone.returncode == 1


def test_doctor_misses_the_keys_of_checkpoints(shiplock: Shiplock, tmp_path: Path) -> None:
    shiplock("import", str(SAMPLE), "--shop", SHOP)
    assert shiplock("audit", "checkpoint", SHOP).returncode == 0
    (tmp_path / "keys").rename(tmp_path / "elsewhere")
    doctor = shiplock("doctor", "--json")
    assert doctor.returncode == 1
    (bad,) = [each for each in json.loads(doctor.stdout)["findings"] if not each["ok"]]
    assert "Bring that folder back" in bad["found"]
    assert not (tmp_path / "keys").exists(), "looking makes none"


def test_migrating_again_does_nothing(shiplock: Shiplock) -> None:
    assert body(shiplock("db", "migrate", "--json"))["applied"] == []
    assert "Nothing to do" in shiplock("db", "migrate").stderr


def test_the_demo_runs_and_can_be_run_again(shiplock: Shiplock) -> None:
    for _ in range(2):
        result = shiplock("demo")
        assert result.returncode == 0, result.stderr
        assert "409 order_locked" in result.stdout
        assert "200 shipped" in result.stdout
    assert "0 events appended" in result.stdout


def test_a_shops_days_are_reported(shiplock: Shiplock) -> None:
    shiplock("import", str(SAMPLE), "--shop", SHOP)
    violations = body(shiplock("violations", SHOP, "--json"))["items"]
    first, last = "2026-03-01", "2026-05-31"
    assert all(first < violation["arose_at"] < last for violation in violations)
    report = body(shiplock("report", SHOP, "--from", first, "--to", last, "--json"))
    assert report["items"][0]["day"] == first
    assert sum(day["stockouts"] for day in report["items"]) > 0
    assert sum(day["penalties_fen"] for day in report["items"]) == sum(v["penalty_fen"] or 0 for v in violations)

    assert len(body(shiplock("report", SHOP, "--json"))["items"]) == 7
    printed = shiplock("report", SHOP, "--from", first, "--to", first)
    assert first in printed.stdout
    assert "orders formed, penalties of ¥" in printed.stdout.splitlines()[-1]


def test_penalties_of_another_moment_are_those_of_the_report(shiplock: Shiplock) -> None:
    shiplock("import", str(SAMPLE), "--shop", SHOP)
    period = ("--from", "2026-03-01", "--to", "2026-03-31")
    for as_of in ("2026-03-05 12:00", "2026-03-31"):
        report = body(shiplock("report", SHOP, *period, "--as-of", as_of, "--json"))["items"]
        for by in ("order", "sku", "day"):
            penalties = body(shiplock("penalties", SHOP, "--by", by, *period, "--as-of", as_of, "--json"))["items"]
            assert (
                sum(each["penalties_fen"] for each in penalties) == sum(day["penalties_fen"] for day in report) > 0
            )
    assert body(shiplock("penalties", SHOP, *period, "--known-at", "2026-03-31", "--json"))["items"] == []


def test_a_report_of_invalid_days_is_status_2(shiplock: Shiplock) -> None:
    for period in (("--from", "soon"), ("--from", "2026-03-02", "--to", "2026-03-01"), ("--to", "2026-3-1")):
        refused = shiplock("report", SHOP, *period)
        assert refused.returncode == 2, period
        assert "2026-03-0" in refused.stderr
        assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("exported_at", ["2015-01-01 00:00:00+09:00", "2090-01-01 00:00:00"])
def test_an_export_is_made_neither_before_the_platform_nor_later_than_now(
    shiplock: Shiplock, exported_at: str
) -> None:
    done = shiplock("import", str(SAMPLE), "--shop", SHOP, "--exported-at", exported_at)
    assert done.returncode == 2
    assert "between 2015" in done.stderr
