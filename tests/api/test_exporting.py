"""``projections export`` as its users call it."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from pyarrow import parquet
from typer.testing import CliRunner

from api.cli.exporting import export
from api.cli.terminal import CommandFailed
from infrastructure.commands.committer import CommandPath
from infrastructure.database.pool import Pool
from tests.orders import SHOP, on_database, placed_and_formed

ANOTHER = "100000002"

app = typer.Typer(rich_markup_mode=None)
app.command()(export)

Export = Callable[..., Any]


@pytest.fixture
def run(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Export:
    """The command on a database with three orders in one shop and two in another; no worker has run."""
    monkeypatch.setenv("SHIPLOCK_DATABASE_URL", database_url)
    monkeypatch.setenv("SHIPLOCK_DATA_DIR", str(tmp_path / "data"))

    async def fill(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        await placed_and_formed(path, 2, ANOTHER)

    on_database(database_url, fill)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as text:
        return list(csv.DictReader(text))


def test_the_files_ending_says_the_format(run: Export, tmp_path: Path) -> None:
    done = run("orders", tmp_path / "orders.csv")
    assert done.exit_code == 0, done.output
    assert len(rows(tmp_path / "orders.csv")) == 5
    size = (tmp_path / "orders.csv").stat().st_size
    assert done.stdout.startswith("5 rows of orders, build ")
    assert f": {size:,} bytes in {tmp_path / 'orders.csv'}" in done.stdout

    run("deadlines", tmp_path / "deadlines.PARQUET", "--shop", SHOP)
    assert parquet.read_table(tmp_path / "deadlines.PARQUET").num_rows == 6


def test_one_shop_in_a_given_format_is_reported_as_json(run: Export, tmp_path: Path) -> None:
    file = tmp_path / "for_the_spreadsheet"
    done = run("violations", file, "--shop", ANOTHER, "--format", "csv", "--json")
    report = json.loads(done.stdout)
    assert {row["shop_id"] for row in rows(file)} == {ANOTHER}
    assert report.pop("build") > 0
    assert report == {
        "view": "violations",
        "file": str(file),
        "format": "csv",
        "rows": len(rows(file)),
        "bytes": file.stat().st_size,
    }


def test_a_wrong_argument_is_status_2_and_names_the_right_ones(run: Export, tmp_path: Path) -> None:
    for arguments, message in (
        (("stock", tmp_path / "stock.csv"), "there are orders, deadlines, violations"),
        (("orders", tmp_path / "orders.txt"), "--format"),
        (("orders", tmp_path), "directory"),
        (("orders", tmp_path / "orders.csv", "--shop", "a b"), "not an id"),
        (("orders", tmp_path / "orders.csv", "--format", "xlsx"), "'csv', 'parquet'"),
    ):
        refused = run(*arguments)
        assert refused.exit_code == 2, arguments
        assert message in " ".join(refused.stderr.split()), arguments
    assert not list(tmp_path.glob("*.*"))


def test_a_failure_gives_its_reason(run: Export, tmp_path: Path) -> None:
    for arguments, message in (
        (("orders", tmp_path / "orders.csv", "--build", "404"), "There is no build 404"),
        (("orders", tmp_path / "missing" / "orders.csv"), "orders.csv can't be written: No such file or directory"),
    ):
        failed = run(*arguments).exception
        assert isinstance(failed, CommandFailed), arguments
        assert message in str(failed)
    assert not list(tmp_path.glob("*.*"))


def test_commands_that_export_nothing_load_no_parquet() -> None:
    program = "import api.cli, api.cli.exporting, sys; sys.exit('pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
