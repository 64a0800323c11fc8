"""Data of an earlier version opens, verifies and goes on.

``before_the_rooms`` holds what the version of November 2026 left: a database with every kind of event, receipts,
two builds and a backtest (as SQL), a signed checkpoint with its public key, a bundle, and the answers of its API.
"""

import gzip
import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from starlette.testclient import TestClient

from api.http.app import create_app
from infrastructure.database.migrate import migrate
from tests.access import headers, prepare_access
from tests.api.conftest import LOCAL

LEFT = Path(__file__).parent / "before_the_rooms"
ANSWERS: Any = json.loads(gzip.decompress((LEFT / "answers.json.gz").read_bytes()))
ROOT = Path(__file__).parents[2]
SHOP = "100000009"
ORDERS = f"/v1/shops/{SHOP}/orders"
EVENTS = 101


@pytest.fixture
def url(server_url: str) -> Iterator[str]:
    """The earlier database, brought up to date."""
    name = f"shiplock_upgrade_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
        url = make_conninfo(server_url, dbname=name)
        with psycopg.connect(url, autocommit=True) as earlier:
            earlier.execute(gzip.decompress((LEFT / "database.sql.gz").read_bytes()))
        migrate(url)
        yield url
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def http(url: str) -> Iterator[TestClient]:
    prepare_access(url, (SHOP,))
    with TestClient(create_app(url), LOCAL, headers=headers()) as client:
        yield client


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data folder with the earlier checkpoint and the public key that verifies it."""
    for folder in ("checkpoints", "keys"):
        shutil.copytree(LEFT / folder, tmp_path / folder)
    return tmp_path


def shiplock(url: str, data_dir: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "api.cli", *arguments],
        cwd=ROOT,
        env=os.environ | {"SHIPLOCK_DATABASE_URL": url, "SHIPLOCK_DATA_DIR": str(data_dir)},
        capture_output=True,
        text=True,
        timeout=120,
    )


ANSWERED_ANEW = {"record-pickup", "record-delivery", "confirm-receipt", "withdraw-fact", "refund", "cancel"}
"""The reports are possible in any state now, one action is new, and two say more of what stands."""


@pytest.mark.parametrize("order_sn", ANSWERS["orders"])
def test_an_order_reads_as_it_did(http: TestClient, order_sn: str) -> None:
    now = http.get(f"{ORDERS}/{order_sn}", params={"as_of": ANSWERS["as_of"]}).json()
    earlier = ANSWERS["orders"][order_sn]
    assert {parcel.pop("kind") for parcel in now["parcels"]} <= {"order"}
    for answer in (now, earlier):
        actions = answer["allowed_actions"]
        answer["allowed_actions"] = [action for action in actions if action["action"] not in ANSWERED_ANEW]
    assert {name: now[name] for name in earlier} == earlier


def test_lists_read_as_they_did(http: TestClient) -> None:
    def items(path: str, **parameters: Any) -> Any:
        return http.get(f"/v1/shops/{SHOP}/{path}", params=parameters).json()["items"]

    assert items("events", limit=500) == ANSWERS["events"]["items"]
    assert items("violations", as_of=ANSWERS["as_of"]) == ANSWERS["violations"]["items"]
    assert [order["order_sn"] for order in items("orders", limit=500, min_position=EVENTS)] != []
    assert [sku["on_hand"] for sku in items("skus")] == [sku["on_hand"] for sku in ANSWERS["skus"]["items"]]
    assert [case["case_id"] for case in items("stockout-cases")] == [
        case["case_id"] for case in ANSWERS["cases"]["items"]
    ]


def test_a_backtest_is_still_there(http: TestClient) -> None:
    assert http.get(f"/v1/shops/{SHOP}/rules/backtests/1").json() == ANSWERS["backtest"]


def test_a_view_whose_rows_changed_is_built_anew(http: TestClient) -> None:
    orders = next(view for view in http.get("/v1/projections").json()["items"] if view["name"] == "orders")
    earlier = 2
    assert orders["active"] > earlier
    assert orders["previous"] == earlier
    refused = http.post("/v1/projections/orders/rollback")
    assert refused.status_code == 409, "the earlier build has rows that this version does not write"


def test_a_repeated_key_is_of_a_client_now_and_does_nothing_twice(url: str, http: TestClient) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE receipt SET recorded_at = now()")  # receipts expire after seven days
    uploaded = next(event for event in ANSWERS["events"]["items"] if event["type"] == "TrackingUploaded")
    command = {
        "carrier": "SF",
        "tracking_number": "SF7975425451911",
        "occurred_at": uploaded["occurred_at"].replace("Z", "+00:00"),
    }
    replay = http.post(
        f"{ORDERS}/261126-000000000000001/upload-tracking", json=command, headers={"Idempotency-Key": "k-1"}
    )
    assert (replay.status_code, replay.json()["code"]) == (409, "already_shipped"), replay.text


def test_the_log_verifies_and_goes_on(url: str, http: TestClient, data_dir: Path) -> None:
    verified = shiplock(url, data_dir, "audit", "verify", "--all", "--json")
    assert verified.returncode == 0, verified.stdout + verified.stderr

    shipped = http.post(
        f"{ORDERS}/261126-000000000000018/upload-tracking", json={"carrier": "SF", "tracking_number": "SF1"}
    )
    assert shipped.status_code == 200, shipped.text
    assert shipped.headers["shiplock-position"] == str(EVENTS + 1)
    reached = http.get(ORDERS, params={"status": "shipped", "min_position": EVENTS + 1}).json()["items"]
    assert "261126-000000000000018" in [order["order_sn"] for order in reached]

    for arguments in (("rotate-key", "--lost"), ("checkpoint", "--all"), ("verify", "--all")):
        done = shiplock(url, data_dir, "audit", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_rebuild_of_the_earlier_log_equals_what_is_live(url: str, data_dir: Path) -> None:
    rebuilt = shiplock(url, data_dir, "projections", "rebuild", "--all", "--activate", "--json")
    assert rebuilt.returncode == 0, rebuilt.stdout + rebuilt.stderr


def test_an_earlier_bundle_checks(url: str, data_dir: Path) -> None:
    checked = shiplock(url, data_dir, "audit", "check-bundle", str(LEFT / "bundle.json"), "--json")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert json.loads(checked.stdout)["events"] == 10
