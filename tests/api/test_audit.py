"""Proof over HTTP and on the command line, as an auditor meets it."""

import base64
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from api.http.app import create_app
from infrastructure.audit import checkpoint, merkle
from infrastructure.audit.archive import Archive
from infrastructure.audit.checkpoint import Signed
from infrastructure.audit.note import VerifierKey
from infrastructure.audit.signing import make_checkpoint
from infrastructure.log.log import INSTALLATION
from infrastructure.runtime.settings import Settings
from tests.api.command_line import CommandLine
from tests.api.conftest import LINE, SHOP, Api, client_of
from tests.api.test_queries import number
from tests.infrastructure.audit.signed import SignedLog

ROOT = Path(__file__).parents[2]

Shiplock = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings(database_url, tmp_path, checkpoint_seconds=0)


@pytest.fixture
def api(settings: Settings) -> Iterator[Api]:
    """The API with an archive, and two orders."""
    app = create_app(settings.database_url, settings=settings)
    with client_of(app) as http:
        api = Api(http)
        for n in range(2):
            api.formed(number(n))
        yield api


def sign(settings: Settings, shop: str = SHOP) -> Signed:
    assert settings.database_url
    made = make_checkpoint(settings.database_url, shop, Archive.of(settings), whole=True)
    assert made
    return made.signed


def opened(api: Api, note: str) -> Signed:
    """The checkpoint, opened as a client does, with the keys that it has."""
    keys = [VerifierKey.parse(key["verifier_key"]) for key in api.get("audit/keys").json()["items"]]
    return checkpoint.opened(note, keys)


def hashes(answer: Any) -> list[bytes]:
    return [base64.b64decode(node) for node in answer["proof"]]


def test_before_the_first_checkpoint_there_is_none(api: Api) -> None:
    requests: list[tuple[str, dict[str, Any]]] = [
        ("checkpoint", {}),
        ("proofs/1", {}),
        ("consistency", {"from_": 1}),
    ]
    for path, query in requests:
        answer = api.get(f"audit/{path}", **query)
        assert (answer.status_code, answer.json()["code"]) == (404, "no_checkpoint"), path
    assert api.get("audit/keys").json() == {"items": [], "next_cursor": None, "previous_cursor": None}


def test_a_client_checks_an_event_of_an_orders_history_by_itself(api: Api, settings: Settings) -> None:
    sign(settings)
    answer = api.get("audit/checkpoint")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    signed = opened(api, answer.text)
    assert signed.checkpoint.size == 4
    for event in api.get(f"orders/{number(1)}/events").json()["items"]:
        proof = api.get(f"audit/proofs/{event['position']}").json()
        assert proof["leaf_hash"] == event["leaf_hash"]
        leaf, index = bytes.fromhex(event["leaf_hash"]), event["position"] - 1
        assert merkle.included(leaf, index, proof["size"], hashes(proof), signed.checkpoint.root)
        assert proof["checkpoint"] == answer.text


def test_checkpoints_of_two_days_are_proven_to_be_of_one_log(api: Api, settings: Settings) -> None:
    first = sign(settings).checkpoint
    api.done(number(0), "upload-tracking", carrier="SF", tracking_number="SF1")
    second = sign(settings).checkpoint
    requests: list[dict[str, Any]] = [{"from_": 4, "to": 5}, {"from_": 4}, {"from_": 5, "to": 4}]
    for query in requests:
        proof = api.get("audit/consistency", **query).json()
        assert (proof["from_size"], proof["to_size"]) == (4, 5)
        assert merkle.consistent(4, first.root, 5, second.root, hashes(proof))
        assert opened(api, proof["from_checkpoint"]).checkpoint == first
        assert opened(api, proof["to_checkpoint"]).checkpoint == second
    assert opened(api, api.get("audit/checkpoint", size=4).text).checkpoint == first
    assert api.get("audit/proofs/3", size=4).json()["size"] == 4


def test_an_event_that_no_checkpoint_covers_is_a_problem_of_its_own(api: Api, settings: Settings) -> None:
    sign(settings)
    requests: list[tuple[str, dict[str, Any], int, str]] = [
        ("proofs/5", {}, 404, "not_covered"),
        ("proofs/1", {"size": 3}, 404, "no_checkpoint"),
        ("proofs/0", {}, 422, "invalid_request"),
        ("checkpoint", {"sise": 3}, 422, "invalid_request"),
        ("consistency", {}, 422, "invalid_request"),
    ]
    for path, query, status, code in requests:
        answer = api.get(f"audit/{path}", **query)
        assert (answer.status_code, answer.json()["code"]) == (status, code), path
    assert api.get("audit/checkpoint", shop="another").status_code == 404, "nobody sees another shop's"


def test_a_log_that_was_changed_proves_nothing_over_http(api: Api, settings: Settings, tmp_path: Path) -> None:
    sign(settings)
    assert settings.database_url
    SignedLog(settings.database_url, tmp_path).tamper("UPDATE event SET leaf_hash = sha256('x') WHERE position = 2")
    answer = api.get("audit/proofs/2")
    assert (answer.status_code, answer.json()["code"]) == (500, "log_differs")
    assert "position 2" in answer.json()["detail"]


def test_a_server_signs_the_logs_that_grew(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHIPLOCK_DATA_DIR", str(settings.data_dir))
    monkeypatch.delenv("SHIPLOCK_DATABASE_URL", raising=False)
    often = Settings(settings.database_url, settings.data_dir, checkpoint_seconds=1)
    with client_of(create_app(often.database_url, settings=often)) as http:
        api = Api(http)
        api.formed(number(0))
        give_up = time.monotonic() + 60
        while (answer := api.get("audit/proofs/2")).status_code != 200:
            assert time.monotonic() < give_up, answer.text
            time.sleep(0.05)


# ---- on the command line ----------------------------------------------------------------------------


@pytest.fixture
def shiplock(command_line: CommandLine, settings: Settings, api: Api) -> Shiplock:
    """The command on the same database and archive."""
    environment = os.environ | {
        "SHIPLOCK_DATABASE_URL": str(settings.database_url),
        "SHIPLOCK_DATA_DIR": str(settings.data_dir),
    }

    def run(*arguments: object, **instead: str) -> "subprocess.CompletedProcess[str]":
        return command_line.run("audit", *arguments, environment=environment | instead)

    return run


def test_an_audit_from_end_to_end(shiplock: Shiplock, api: Api, tmp_path: Path) -> None:
    assert "no checkpoint yet" in shiplock("verify", SHOP).stdout
    made = json.loads(shiplock("checkpoint", "--all", "--json").stdout)["items"]
    assert [(each["shop_id"], each["size"], each["new"]) for each in made if each["shop_id"] == SHOP] == [
        (SHOP, 4, True)
    ]
    assert [each["shop_id"] for each in made] == [SHOP, INSTALLATION]
    assert made[0]["note"] == api.get("audit/checkpoint").text
    verified = json.loads(shiplock("verify", "--all", "--json").stdout)
    assert verified["intact"] is True
    assert verified["items"][0]["newest_checkpoint"] == 4

    proof = shiplock("prove", SHOP, 2).stdout
    assert proof.startswith("c2sp.org/tlog-proof@v1\nindex 1\n")
    assert proof.endswith("\n\n" + made[0]["note"])

    file = tmp_path / "order.jsonl"
    assert "2 events" in shiplock("export", SHOP, number(1), "-o", file).stdout
    key = json.loads(shiplock("keys", SHOP, "--json").stdout)["items"][0]["verifier_key"]
    # Nothing that could reach a database, and no place to make one.
    nowhere = {"SHIPLOCK_DATABASE_URL": "postgresql://127.0.0.1:1/none", "SHIPLOCK_DATA_DIR": "/proc/none"}
    checked = shiplock("check-bundle", file, "--key", key, **nowhere)
    assert checked.returncode == 0, checked.stderr
    assert "GroupFormed" in checked.stdout
    assert "on trust" not in checked.stdout
    assert "on trust" in shiplock("check-bundle", file, **nowhere).stdout

    assert shiplock("rotate-key").returncode == 0
    api.done(number(0), "upload-tracking", carrier="SF", tracking_number="SF1")
    assert "3 events" in shiplock("export", SHOP, number(0), "-o", tmp_path / "newer.jsonl").stdout, "signed first"
    refused = shiplock("check-bundle", tmp_path / "newer.jsonl", "--key", key)
    assert refused.returncode == 1
    assert "not a key you trust" in refused.stderr
    keys = tmp_path / "keys.json"
    keys.write_text(api.http.get(f"/v1/shops/{SHOP}/audit/keys").text, encoding="utf-8")
    followed = shiplock("check-bundle", tmp_path / "newer.jsonl", "--key", key, "--handovers", keys, **nowhere)
    assert followed.returncode == 0, followed.stderr
    assert "on trust" not in followed.stdout
    assert shiplock("check-bundle", file, "--key", key).returncode == 0
    assert shiplock("verify", SHOP).returncode == 0


@pytest.mark.parametrize(
    ("statement", "detail"),
    [
        ("UPDATE shop_log SET recorded_at = 'infinity'", "the head of the log says"),
        ("UPDATE shop_log SET recorded_at = '2000-01-01 BC'", "the head of the log says"),
        ("DELETE FROM shop_log", "behind the head of the log"),
        ("UPDATE event SET occurred_at = 'infinity'", "no event that was recorded"),
        ("UPDATE event SET recorded_at = '2000-01-01 BC'", "no event that was recorded"),
    ],
)
def test_a_tampered_shop_does_not_hide_the_others(
    shiplock: Shiplock, api: Api, settings: Settings, tmp_path: Path, statement: str, detail: str
) -> None:
    other = "100000002"
    for n in range(2):
        api.do(number(n), "place", shop=other, lines=[LINE], paid_fen=1)
    for shop, position in ((SHOP, 4), (other, 2)):
        api.get("orders", shop=shop, min_position=position)  # the worker reads them before they are changed
    assert settings.database_url
    SignedLog(settings.database_url, tmp_path).tamper(f"{statement} WHERE shop_id = '{SHOP}'")
    verified = shiplock("verify", "--all", "--json")
    assert verified.returncode == 1, verified.stderr
    bad, sound, installation = json.loads(verified.stdout)["items"]
    assert (installation["shop_id"], installation["intact"]) == (INSTALLATION, True)
    assert (bad["shop_id"], bad["intact"]) == (SHOP, False)
    assert detail in bad["problems"][0]["detail"]
    assert (sound["shop_id"], sound["intact"], sound["events"]) == (other, True, 2)
    for quick in ((), ("--quick",)):
        refused = shiplock("checkpoint", "--all", "--json", *quick)
        assert refused.returncode == 1
        assert f"The log of shop {SHOP} was tampered with" in refused.stderr
        assert detail in " ".join(refused.stderr.split())
        assert "Traceback" not in refused.stderr
        assert [each["shop_id"] for each in json.loads(refused.stdout)["items"]] == [other, INSTALLATION]


def test_an_unreadable_event_is_not_exported(
    shiplock: Shiplock, api: Api, settings: Settings, tmp_path: Path
) -> None:
    shiplock("checkpoint", SHOP)
    api.get("orders", min_position=4)
    assert settings.database_url
    SignedLog(settings.database_url, tmp_path).tamper("UPDATE event SET occurred_at = '2000-01-01 BC'")
    for what in ((number(1),), ("--from", 1, "--to", 2)):
        refused = shiplock("export", SHOP, *what, "-o", tmp_path / "bundle.jsonl")
        assert refused.returncode == 1
        assert "audit verify" in refused.stderr
        assert "Traceback" not in refused.stderr
    assert not list(tmp_path.glob("*bundle*"))


def test_a_log_that_was_changed_fails_loudly(shiplock: Shiplock, settings: Settings, tmp_path: Path) -> None:
    shiplock("checkpoint", SHOP)
    assert settings.database_url
    SignedLog(settings.database_url, tmp_path).tamper("UPDATE event SET payload = '{}' WHERE position = 3")
    verified = shiplock("verify", SHOP)
    assert verified.returncode == 1
    assert "position 3" in verified.stdout
    refused = shiplock("checkpoint", SHOP)
    assert refused.returncode == 1
    assert "position 3" in refused.stderr
    (item,) = json.loads(shiplock("verify", SHOP, "--json").stdout)["items"]
    assert item["first_bad_position"] == 3


def test_a_changed_log_can_not_send_control_characters_to_a_terminal(
    shiplock: Shiplock, settings: Settings, tmp_path: Path
) -> None:
    assert settings.database_url
    changed = r"UPDATE event SET type = E'Order\x1b[2J\x1b[HPlaced' WHERE position = 3"
    SignedLog(settings.database_url, tmp_path).tamper(changed)
    verified = shiplock("verify", SHOP)
    assert "position 3" in verified.stdout
    assert "Order\ufffd[2J" in verified.stdout
    assert "\x1b" not in verified.stdout + shiplock("checkpoint", SHOP).stderr


def test_a_wrong_argument_is_status_2_and_a_failure_gives_its_reason(shiplock: Shiplock, tmp_path: Path) -> None:
    no_handovers = tmp_path / "keys.json"
    no_handovers.write_text('{"items": []}', encoding="utf-8")
    for status, detail, arguments in (
        (2, "--all", ["verify"]),
        (2, "--all", ["checkpoint", SHOP, "--all"]),
        (2, "--from", ["export", SHOP]),
        (2, "--from", ["export", SHOP, "--from", "1"]),
        (2, "does not exist", ["check-bundle", tmp_path / "none"]),
        (2, "--key", ["check-bundle", __file__, "--key", "x"]),
        (2, "has no keys", ["check-bundle", __file__, "--handovers", __file__]),
        (2, "say it with --key", ["check-bundle", __file__, "--handovers", no_handovers]),
        (1, "proves nothing", ["check-bundle", __file__]),
        (1, "audit checkpoint", ["prove", SHOP, "1"]),
        (1, "Shop another has neither a log nor a checkpoint", ["verify", "another"]),
        (1, "Shop another has neither a log nor a checkpoint", ["checkpoint", "another"]),
        (
            1,
            f"shiplock: {tmp_path}/none/order.jsonl: No such",
            ["export", SHOP, number(1), "-o", tmp_path / "none/order.jsonl"],
        ),
    ):
        done = shiplock(*arguments)
        assert done.returncode == status, (arguments, done)
        assert detail in done.stderr, (arguments, done.stderr)


def test_a_program_can_read_whether_a_bundle_is_valid(shiplock: Shiplock, tmp_path: Path) -> None:
    file = tmp_path / "order.jsonl"
    shiplock("export", SHOP, number(1), "-o", file)
    held = json.loads(shiplock("check-bundle", file, "--json").stdout)
    assert (held["holds"], held["order_sn"], held["events"]) == (True, number(1), 2)
    file.write_bytes(file.read_bytes().replace(b"12900", b"12901"))
    done = shiplock("check-bundle", file, "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout) == {"holds": False, "detail": "the event at position 3 is not in the checkpoint"}


# ---- without our code -------------------------------------------------------------------------------


def test_the_script_in_the_documentation_needs_none_of_our_code(shiplock: Shiplock, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "auditors.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "check.py").write_text(script, encoding="utf-8")
    file = tmp_path / "order.jsonl"
    shiplock("export", SHOP, number(1), "-o", file)
    key = json.loads(shiplock("keys", SHOP, "--json").stdout)["items"][0]["verifier_key"]

    def run(bundle: Path, trusted: str = key) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "check.py", str(bundle), trusted]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)

    done = run(file)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "2 events hold"), done.stderr
    assert not re.search(r"(import|from) (api|domain|infrastructure)", script)
    other = tmp_path / "other.jsonl"
    for old, new in ((b"12900", b"100"), (b'"version":2', b'"version":3'), (b"checkpoint", b"checkpoin7")):
        other.write_bytes(file.read_bytes().replace(old, new))
        assert run(other).returncode != 0, old
    assert run(file, key[:-4] + "AAAA").returncode != 0
