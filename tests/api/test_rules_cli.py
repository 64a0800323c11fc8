"""``rules`` on the command line: sets of one's own, checked, put in force, and backtested."""

import csv
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import domain.rules
from api.cli import app
from api.cli.terminal import CommandFailed
from domain.order import commands as c
from domain.rules.reading import InvalidRuleSet
from infrastructure.commands.committer import CommandPath
from infrastructure.database.pool import Pool
from tests.orders import MONDAY_9, SHOP, done, on_database, order_command, order_sn, placed_and_formed

SETS = Path(domain.rules.__path__[0]) / "sets"
TODAY = (SETS / "pinduoduo-2023-01.toml").read_text(encoding="utf-8")
HASTY = (
    TODAY.replace("ordinary = 48", "ordinary = 4")
    .replace('name = "pinduoduo-2023-01"', 'name = "hasty"')
    .replace("effective_from = 2023-01-01", "effective_from = 2026-03-02")
)

Shiplock = Callable[..., Any]


@pytest.fixture
def shiplock(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shiplock:
    monkeypatch.setenv("SHIPLOCK_DATABASE_URL", database_url)
    monkeypatch.setenv("SHIPLOCK_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("SHIPLOCK_RULES_DIR", raising=False)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def shop(database_url: str) -> str:
    """A shop of three orders, each shipped in time, the last of them five hours after its group formed."""

    async def fill(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        for n, hours in ((0, 1), (1, 2), (2, 5)):
            at = MONDAY_9 + timedelta(hours=hours)
            upload = c.UploadTracking(carrier="SF", tracking_number=f"SF{n}", occurred_at=at)
            await done(
                path, order_command(order_sn(n), upload), order_command(order_sn(n), c.RecordPickup(occurred_at=at))
            )

    on_database(database_url, fill)
    return SHOP


@pytest.fixture
def hasty(tmp_path: Path) -> Path:
    """Rules that want everything shipped within four hours."""
    file = tmp_path / "hasty.toml"
    file.write_text(HASTY, encoding="utf-8")
    return file


def body(result: Any) -> Any:
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


def test_a_rule_set_is_checked_and_shown(shiplock: Shiplock, hasty: Path) -> None:
    assert body(shiplock("rules", "check", hasty, "--json"))["ship_by"]["hours"] == {
        "ordinary": 4,
        "direct_mail": 120,
        "bonded": 168,
    }
    shown = shiplock("rules", "check", hasty)
    assert "hasty" in shown.stdout
    assert "ordinary 4" in shown.stdout


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (HASTY.replace("\ndays = 3", "\ndays = 0").encode(), "deemed_stockout.days is 0; it must be a whole"),
        (HASTY.encode("utf-16"), "not text in UTF-8"),
        (b"#" * 1_000_001, "larger than 1,000,000 bytes"),
        (b"\x00", "not valid TOML"),
    ],
)
def test_an_invalid_rule_set_is_refused_with_its_file_name(
    shiplock: Shiplock, tmp_path: Path, content: bytes, complaint: str
) -> None:
    file = tmp_path / "mine.toml"
    file.write_bytes(content)
    for refused in (shiplock("rules", "check", file), shiplock("rules", "backtest", SHOP, "--rules", file)):
        assert isinstance(refused.exception, InvalidRuleSet | CommandFailed)
        assert str(refused.exception).startswith(f"{file}: {complaint}")


def test_a_missing_file_is_reported(shiplock: Shiplock, tmp_path: Path) -> None:
    refused = shiplock("rules", "check", tmp_path / "none.toml")
    assert str(refused.exception) == f"{tmp_path / 'none.toml'}: can't be read: No such file or directory"


def test_text_in_brackets_is_shown(shiplock: Shiplock, hasty: Path) -> None:
    hasty.write_text(
        HASTY.replace('"Pinduoduo', '"[/b] Pinduoduo').replace('"delist-at-once"', '"[a] page"'), "utf-8"
    )
    result = shiplock("rules", "check", hasty)
    assert result.exit_code == 0, result.exception
    assert "[/b] Pinduoduo" in result.output
    assert "[a] page" in result.output


def test_a_byte_order_mark_does_no_harm(shiplock: Shiplock, hasty: Path) -> None:
    hasty.write_bytes(b"\xef\xbb\xbf" + HASTY.encode())
    assert body(shiplock("rules", "check", hasty, "--json"))["name"] == "hasty"


def test_a_backtest_shows_what_would_differ(shiplock: Shiplock, shop: str, hasty: Path, tmp_path: Path) -> None:
    backtest = body(shiplock("rules", "backtest", shop, "--rules", hasty, "--json"))
    assert (backtest["rules"], backtest["orders"], backtest["differing"]) == ("hasty", 3, 1)
    assert backtest["total"]["difference"] == {"violations": 1, "penalties_fen": 300, "unknown_penalties": 0}
    (item,) = backtest["items"]
    assert (item["order_sn"], item["now"], item["difference_fen"]) == (order_sn(2), [], 300)
    assert item["then"] == [{"kind": "late_shipment", "penalty_fen": 300}]

    file = tmp_path / "orders.csv"
    result = shiplock("rules", "backtest", shop, "--rules", hasty, "--orders-to", file)
    assert "3 orders of shop 100000001" in result.stdout
    assert "1 fare otherwise" in result.stdout
    assert "+¥3.00" in result.stdout
    with file.open(encoding="utf-8", newline="") as text:
        assert list(csv.DictReader(text)) == [
            {
                "order_sn": order_sn(2),
                "since": "2026-03-02T01:00:00+00:00",
                "paid_fen": "12900",
                "now": "",
                "then": "late_shipment 300",
                "difference_fen": "300",
            }
        ]


def test_a_backtest_of_other_orders_or_of_an_earlier_moment(shiplock: Shiplock, shop: str, hasty: Path) -> None:
    before = body(shiplock("rules", "backtest", shop, "--rules", hasty, "--to", "2026-03-02 09:00", "--json"))
    assert (before["orders"], before["to"]) == (0, "2026-03-02T01:00:00Z")
    since = body(shiplock("rules", "backtest", shop, "--rules", hasty, "--from", "2026-03-02 09:00", "--json"))
    assert (since["orders"], since["differing"]) == (3, 1)
    past = body(shiplock("rules", "backtest", shop, "--rules", hasty, "--as-of", "2026-03-02 12:00", "--json"))
    assert (past["orders"], past["differing"], past["as_of"]) == (3, 0, "2026-03-02T04:00:00Z")


def test_a_backtest_with_invalid_times_is_status_2(shiplock: Shiplock, shop: str, hasty: Path) -> None:
    for detail, times in (
        ("'soon' is not a time", ("--from", "soon")),
        ("`from` must be before `to`", ("--from", "2026-03-03", "--to", "2026-03-02")),
        ("`from` must be before `to`", ("--from", "2026-03-02", "--to", "2026-03-02")),
        ("between 2015 and 2100", ("--as-of", "1999-01-01")),
    ):
        refused = shiplock("rules", "backtest", shop, "--rules", hasty, *times)
        assert refused.exit_code == 2, times
        assert detail in refused.output, times


def test_a_file_that_can_not_be_written_is_reported(
    shiplock: Shiplock, shop: str, hasty: Path, tmp_path: Path
) -> None:
    refused = shiplock("rules", "backtest", shop, "--rules", hasty, "--orders-to", tmp_path / "none" / "x.csv")
    assert "x.csv can't be written" in str(refused.exception)


def test_a_folder_of_rule_sets_is_in_force(
    shiplock: Shiplock, shop: str, hasty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The views are built anew, because the new set may change any row."""
    folder = tmp_path / "rules"
    folder.mkdir()
    hasty.rename(folder / "hasty.toml")
    (folder / "notes.txt").write_text("not a rule set")
    assert body(shiplock("violations", shop, "--json"))["items"] == []
    monkeypatch.setenv("SHIPLOCK_RULES_DIR", str(folder))
    assert [each["name"] for each in body(shiplock("rules", "list", "--json"))] == [
        "pinduoduo-2017-12",
        "pinduoduo-2022-08",
        "pinduoduo-2023-01",
        "hasty",
    ]
    (late,) = body(shiplock("violations", shop, "--json"))["items"]
    assert (late["order_sn"], late["rule"]) == (order_sn(2), "hasty/late_shipment")
    same = body(shiplock("rules", "backtest", shop, "--rules", folder / "hasty.toml", "--json"))
    assert same["differing"] == 0


def test_a_set_of_ones_own_replaces_a_shipped_one_of_the_same_name(
    shiplock: Shiplock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHIPLOCK_RULES_DIR", str(tmp_path))
    (tmp_path / "own.toml").write_text(
        TODAY.replace("rules, 2023-01 on", "rules as we read them"), encoding="utf-8"
    )
    sets = body(shiplock("rules", "list", "--json"))
    assert [each["title"] for each in sets][-1] == "Pinduoduo shipping rules as we read them"
    assert len(sets) == 3
    (tmp_path / "own.toml").write_text(
        TODAY.replace('name = "pinduoduo-2023-01"', 'name = "own"'), encoding="utf-8"
    )
    refused = shiplock("rules", "list")
    assert "own and pinduoduo-2023-01 are in force from the same moment" in str(refused.exception)


def test_a_missing_folder_is_an_error(shiplock: Shiplock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHIPLOCK_RULES_DIR", str(tmp_path / "none"))
    assert "can't be read: No such file or directory" in str(shiplock("rules", "list").exception)
    findings = json.loads(shiplock("doctor", "--json").stdout)["findings"]
    assert [finding["ok"] for finding in findings if finding["what"] == "rule sets"] == [False]
