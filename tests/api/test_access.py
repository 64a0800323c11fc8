"""Keys from the first start to their end: who is let in, what is told to others, and how fast a change counts."""

import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from freezegun import freeze_time
from starlette.testclient import TestClient

from api.http.app import create_app
from domain.access import commands as c
from domain.access.scopes import SHOP_ROLES
from infrastructure.access.administration import Administration
from infrastructure.access.api_keys import new_key
from infrastructure.access.doorkeeper import opened_installation
from infrastructure.runtime import clock
from infrastructure.runtime.settings import Settings
from tests.access import KEY, headers
from tests.api.command_line import CommandLine
from tests.api.conftest import LINE, LOCAL, SHOP, Api, client_of
from tests.databases import copied_database

NOT_FROZEN = ["psycopg_pool", "threading", "queue", "anyio", "infrastructure.access"]

Access = Callable[..., Any]


@pytest.fixture
def access(command_line: CommandLine, database_url: str, tmp_path: Path) -> Access:
    """``shiplock access`` on the test's database; its answer as JSON."""
    environment = os.environ | {"SHIPLOCK_DATABASE_URL": database_url, "SHIPLOCK_DATA_DIR": str(tmp_path)}

    def run(*arguments: object, fails: bool = False) -> Any:
        done = command_line.run("access", *arguments, "--json", environment=environment)
        if fails:
            assert done.returncode in (1, 2), done.stdout
            assert "Traceback" not in done.stderr
            return done.stderr
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture
def issued(access: Access) -> Any:
    """A viewer of one shop with a key: ``client_id``, ``key_id``, ``key``."""
    client = access("add-client", "viewer", "--role", "viewer", "--shop", SHOP)
    return client | access("issue-key", client["client_id"])


def status(api: Api, key: str, path: str = f"/v1/shops/{SHOP}/orders") -> tuple[int, str | None]:
    answer = api.http.get(path, headers=headers(key))
    return answer.status_code, answer.json().get("detail")


def until(condition: Callable[[], bool], within: float = 1.0) -> None:
    """Wait until something is so. A change of another process counts within a second."""
    deadline = time.monotonic() + within + 2  # the machine may be busy
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_key_lives_from_its_making_to_its_end(api: Api, access: Access, issued: dict[str, str]) -> None:
    key, key_id = issued["key"], issued["key_id"]
    assert status(api, key) == (200, None), "a key just made works at once"
    me = api.http.get("/v1/me", headers=headers(key)).json()
    assert (me["principal"], me["name"], me["key_id"]) == (f"client:{issued['client_id']}", "viewer", key_id)
    assert (me["shops"], me["installation"]) == ({SHOP: sorted(SHOP_ROLES["viewer"])}, [])

    rotated = access("rotate-key", key_id)
    assert status(api, rotated["key"]) == (200, None)
    assert status(api, key) == (200, None), "both work for a while"
    access("revoke-key", key_id)
    until(lambda: status(api, key)[0] == 401)
    assert status(api, key)[1] == "This key was revoked."
    assert status(api, key[:-1] + ("a" if key[-1] != "a" else "b"))[1] != "This key was revoked.", (
        "none of his business"
    )
    assert status(api, rotated["key"]) == (200, None)

    at_once = access("rotate-key", rotated["key_id"], "--overlap", 0)
    until(lambda: status(api, rotated["key"])[0] == 401)
    assert status(api, rotated["key"])[1] == "This key has ended. Ask for another one."
    assert status(api, at_once["key"]) == (200, None)

    access("disable", issued["client_id"])
    until(lambda: status(api, at_once["key"])[0] == 401)
    assert status(api, at_once["key"])[1] == "The client of this key is disabled."
    access("enable", issued["client_id"])
    until(lambda: status(api, at_once["key"])[0] == 200)


def test_an_end_that_is_near_is_told(api: Api, access: Access, issued: dict[str, str]) -> None:
    soon = access("issue-key", issued["client_id"], "--days", 29)
    told = api.http.get(f"/v1/shops/{SHOP}/orders", headers=headers(soon["key"])).headers["shiplock-key-expires"]
    assert told.startswith(soon["ends_at"][:19])
    assert "shiplock-key-expires" not in api.http.get("/v1/me", headers=headers(issued["key"])).headers
    with freeze_time(clock.now() + timedelta(days=29, minutes=1), real_asyncio=True, ignore=NOT_FROZEN):
        assert status(api, soon["key"])[0] == 401


def test_a_key_may_be_narrower_than_its_client(api: Api, access: Access) -> None:
    client_id = access("add-client", "erp", "--role", "manager")["client_id"]
    narrow = access("issue-key", client_id, "--shop", SHOP, "--scope", "orders:read")["key"]
    assert api.http.get("/v1/me", headers=headers(narrow)).json()["shops"] == {SHOP: ["orders:read"]}
    assert status(api, narrow)[0] == 200
    assert status(api, narrow, f"/v1/shops/{SHOP}/skus")[0] == 403
    assert status(api, narrow, "/v1/shops/100000002/orders")[0] == 404
    elsewhere = access("issue-key", client_id, "--network", "203.0.113.0/24")["key"]
    assert status(api, elsewhere)[1] == "This key may not be used from this network."


def test_a_narrow_key_gives_no_more_than_it_has(api: Api, access: Access) -> None:
    client_id = access("add-client", "manager", "--role", "manager")["client_id"]
    wide = access("issue-key", client_id)
    narrow = access("issue-key", client_id, "--shop", SHOP, "--scope", "access:manage", "--scope", "orders:read")[
        "key"
    ]

    def post(path: str, key: str = narrow, **body: Any) -> Any:
        return api.http.post(f"/v1/access/{path}", json=body, headers=headers(key))

    assert post("clients", name="more", role="viewer", shops=[SHOP]).status_code == 403
    assert post("clients", name="more", role="viewer").status_code == 403
    assert post(f"keys/{wide['key_id']}/rotate").status_code == 403, "it would get a wider key"
    assert post(f"clients/{client_id}/keys").status_code == 403
    added = post("clients", wide["key"], name="viewer", role="viewer", shops=[SHOP])
    assert added.status_code == 201, added.text
    rotated = post(f"keys/{wide['key_id']}/rotate", wide["key"])
    assert rotated.status_code == 201, rotated.text
    assert status(api, rotated.json()["key"])[0] == 200


def test_a_manager_sees_and_manages_its_own_merchant_alone(api: Api, access: Access) -> None:
    access("enrol", "900000009", "--merchant", "another")
    stranger = access("add-client", "stranger", "--role", "manager", "--shop", "900000009")["client_id"]
    theirs = access("issue-key", stranger)
    own = access("add-client", "own", "--role", "manager", "--shop", SHOP)["client_id"]
    key = access("issue-key", own)["key"]
    until(lambda: status(api, key)[0] == 200)

    seen = api.http.get("/v1/access/clients", headers=headers(key)).json()["items"]
    assert {each["principal_id"] for each in seen} == {own}
    log = api.http.get("/v1/access/log?limit=500", headers=headers(key)).text
    assert own in log
    assert stranger not in log
    assert "digest" not in log
    for method, path in (
        ("POST", f"clients/{stranger}/keys"),
        ("POST", f"clients/{stranger}/disable"),
        ("DELETE", f"keys/{theirs['key_id']}"),
        ("POST", f"keys/{theirs['key_id']}/rotate"),
    ):
        answer = api.http.request(method, f"/v1/access/{path}", headers=headers(key))
        assert answer.status_code == 404, (path, answer.text)
    foreign = {"name": "x", "role": "viewer", "shops": ["900000009"]}
    assert api.http.post("/v1/access/clients", json=foreign, headers=headers(key)).status_code in (403, 404)
    assert status(api, theirs["key"], "/v1/shops/900000009/orders")[0] == 200


def test_an_operator_manages_over_http_and_this_server_knows_at_once(api: Api) -> None:
    assert api.http.post("/v1/access/shops", json={"shop_id": "700", "merchant": "new"}).status_code == 201
    assert api.do("260302-1", "place", shop="700", lines=[LINE]).status_code == 201
    added = api.http.post("/v1/access/clients", json={"name": "erp", "role": "operations", "shops": ["700"]})
    client_id = added.json()["client_id"]
    issued = api.http.post(f"/v1/access/clients/{client_id}/keys", json={"days": 90}).json()
    assert status(api, issued["key"], "/v1/shops/700/orders")[0] == 200
    grants = f"/v1/access/clients/{client_id}/grants"
    assert api.http.delete(f"{grants}/operations?shop=700").status_code == 204
    assert status(api, issued["key"], "/v1/shops/700/orders")[0] == 404
    assert api.http.post(grants, json={"role": "viewer", "shops": ["700"]}).status_code == 204
    assert status(api, issued["key"], "/v1/shops/700/orders")[0] == 200
    assert api.http.delete(f"/v1/access/keys/{issued['key_id']}").status_code == 204
    assert status(api, issued["key"], "/v1/shops/700/orders")[0] == 401
    listed = api.http.get("/v1/access/clients").json()["items"]
    mine = next(each for each in listed if each["principal_id"] == client_id)
    assert mine["grants"] == [{"role": "viewer", "shops": ["700"]}]
    assert mine["keys"][0]["revoked_at"]
    events = api.http.get("/v1/access/log?limit=500").json()["items"]
    assert [e["type"] for e in events if e["of"] == f"client:{client_id}"] == [
        "ClientAdded",
        "RoleGranted",
        "KeyIssued",
        "RoleWithdrawn",
        "RoleGranted",
        "KeyRevoked",
    ]
    assert {(e["actor"], e["credential"]) for e in events if e["of"] == f"client:{client_id}"} == {
        ("client:testclient00", "testkey000")
    }


def test_shops_are_listed_page_by_page(api: Api) -> None:
    whole = api.http.get("/v1/shops?limit=500").json()["items"]
    found: list[Any] = []
    page = api.http.get("/v1/shops?limit=2").json()
    while True:
        found += page["items"]
        if page["next_cursor"] is None:
            break
        page = api.http.get("/v1/shops", params={"limit": 2, "cursor": page["next_cursor"]}).json()
    assert found == whole
    assert [each["shop_id"] for each in whole] == sorted(each["shop_id"] for each in whole)


def test_two_keys_in_one_request_are_one_too_many(api: Api) -> None:
    answer = TestClient(api.http.app, LOCAL).get(
        "/v1/me", headers=[("Authorization", f"Bearer {KEY}"), ("Authorization", f"Bearer {KEY}")]
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "ambiguous_request")


def test_a_key_is_read_from_its_header_alone(api: Api) -> None:
    stranger = TestClient(api.http.app, LOCAL, cookies={"key": KEY, "Authorization": f"Bearer {KEY}"})
    for path in (f"/v1/me?access_token={KEY}", f"/v1/me?key={KEY}"):
        assert stranger.get(path).status_code == 401
    assert stranger.get("/v1/me", headers={"Authorization": KEY}).status_code == 401
    assert stranger.get("/v1/me", headers={"X-Api-Key": KEY}).status_code == 401
    assert stranger.get("/v1/me", headers={"Authorization": f"bearer   {KEY}  "}).status_code == 200


def test_two_clients_never_meet_each_others_receipts(api: Api, access: Access) -> None:
    client_id = access("add-client", "erp", "--role", "integration")["client_id"]
    first, second = access("issue-key", client_id), access("issue-key", client_id)
    path, body = f"/v1/shops/{SHOP}/orders/260302-1/place", {"lines": [LINE]}

    def place(key: str) -> Any:
        return api.http.post(path, json=body, headers=headers(key) | {"Idempotency-Key": "k"})

    assert place(first["key"]).status_code == 201
    again = place(second["key"])
    assert (again.status_code, again.headers.get("idempotent-replayed")) == (201, "true"), (
        "another key, same client"
    )
    other = place(KEY)
    assert (other.status_code, other.headers.get("idempotent-replayed")) == (200, None), (
        "the order is placed already"
    )


def test_a_live_stream_ends_when_its_key_is_revoked(live: Any, access: Access) -> None:
    client_id = access("add-client", "reporting", "--role", "reporting")["client_id"]
    issued = access("issue-key", client_id)
    sent = headers(issued["key"]) | {"Accept": "text/event-stream"}
    with live.stream("GET", f"/v1/shops/{SHOP}/events", headers=sent) as stream:
        chunks = stream.iter_text()
        assert "begins" in next(chunks)
        access("revoke-key", issued["key_id"])
        began = time.monotonic()
        assert "".join(chunks).strip() == ""
        assert time.monotonic() - began < 5


def test_too_much_is_refused_with_when_to_come_back(api: Api, access: Access, issued: dict[str, str]) -> None:
    access("limits", "--per-second", 1, "--at-once", 3, "--client", issued["client_id"])
    time.sleep(1.2)
    answers = [api.http.get(f"/v1/shops/{SHOP}/orders", headers=headers(issued["key"])) for _ in range(3)]
    refused = answers[-1]
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
    assert 1 <= int(refused.headers["retry-after"]) <= 3
    assert api.get("orders").status_code == 200, "others go on"


def test_a_bulk_request_costs_as_much_as_its_commands(api: Api, access: Access) -> None:
    client_id = access("add-client", "erp", "--role", "integration")["client_id"]
    key = access("issue-key", client_id)["key"]
    access("limits", "--per-second", 1, "--at-once", 50, "--client", client_id)
    time.sleep(1.2)
    commands = [{"order_sn": f"260302-{n}", "action": "place", "lines": [LINE]} for n in range(40)]
    path = f"/v1/shops/{SHOP}/commands"
    assert api.http.post(path, json={"commands": commands}, headers=headers(key)).status_code == 200
    assert api.http.post(path, json={"commands": commands}, headers=headers(key)).status_code == 429


def test_the_claim_is_kept_apart_and_bounded(api: Api) -> None:
    for claim in (b"a b", b"x" * 65, "李".encode(), b"a\tb"):
        sent = {b"Shiplock-Actor": claim}
        answer = api.http.post(f"/v1/shops/{SHOP}/orders/260302-1/place", json={"lines": [LINE]}, headers=sent)
        assert answer.status_code == 422, claim


# ---- the first start --------------------------------------------------------------------------------


@pytest.fixture
def empty(server_url: str, template: str, tmp_path: Path) -> Iterator[Settings]:
    """A database on which nobody has done anything, and a data folder."""
    with copied_database(server_url, template) as url:
        yield Settings(url, tmp_path / "data", checkpoint_seconds=0)


def owner_of(settings: Settings) -> TestClient:
    assert settings.database_url
    return client_of(create_app(settings.database_url, settings=settings))


def test_the_first_start_makes_an_owner_and_writes_its_key(empty: Settings) -> None:
    with owner_of(empty) as http:
        file = empty.owner_key_file
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        key = file.read_text().strip()
        assert http.get("/v1/me", headers=headers(key)).json()["installation"]
        assert http.get(f"/v1/shops/{SHOP}/orders", headers=headers(key)).status_code == 404, "no shop is enrolled"
    with owner_of(empty) as http:
        assert file.read_text().strip() == key, "a second start changes nothing"
        assert http.get("/v1/me", headers=headers(key)).status_code == 200


def test_a_shop_with_a_log_is_enrolled_by_the_first_start(empty: Settings, server_url: str) -> None:
    assert empty.database_url
    with psycopg.connect(empty.database_url) as connection:
        connection.execute("INSERT INTO shop_log (shop_id, position, recorded_at) VALUES ('300', 0, now())")
    with owner_of(empty) as http:
        key = empty.owner_key_file.read_text().strip()
        assert http.get("/v1/shops/300/orders", headers=headers(key)).status_code == 200


def test_a_start_that_was_stopped_in_between_is_gone_on_with(empty: Settings) -> None:
    """The key is in the file before it is in the log, so a start can be killed between the two."""
    assert empty.database_url
    key = new_key()
    empty.data_dir.mkdir(mode=0o700)
    empty.owner_key_file.write_text(key.text + "\n")
    with opened_installation(empty.database_url) as installation:
        Administration(installation, empty.database_url).add_client("owner", "operator")
    with owner_of(empty) as http:
        assert http.get("/v1/me", headers=headers(key.text)).status_code == 200
        assert len(http.get("/v1/access/clients", headers=headers(key.text)).json()["items"]) == 1


def test_a_new_owners_key_is_the_way_back_in(empty: Settings, command_line: CommandLine) -> None:
    assert empty.database_url
    environment = os.environ | {
        "SHIPLOCK_DATABASE_URL": empty.database_url,
        "SHIPLOCK_DATA_DIR": str(empty.data_dir),
    }
    with owner_of(empty) as http:
        old = empty.owner_key_file.read_text().strip()
        empty.owner_key_file.unlink()
        done = command_line.run("access", "owner-key", environment=environment)
        assert done.returncode == 0, done.stderr
        new = empty.owner_key_file.read_text().strip()
        assert new != old
        assert new not in done.stdout + done.stderr
        assert http.get("/v1/me", headers=headers(new)).status_code == 200


def test_nothing_starts_where_the_key_cant_be_written(empty: Settings, command_line: CommandLine) -> None:
    assert empty.database_url
    empty.data_dir.write_text("a file where the folder should be")
    environment = os.environ | {
        "SHIPLOCK_DATABASE_URL": empty.database_url,
        "SHIPLOCK_DATA_DIR": str(empty.data_dir),
    }
    done = command_line.run("access", "list", environment=environment)
    assert done.returncode == 1
    assert "owner's key can't be written" in " ".join(done.stderr.split())
    with opened_installation(empty.database_url) as installation:
        assert not any(each.keys for each in installation.registry().principals.values())


# ---- the command line -------------------------------------------------------------------------------


def test_what_makes_no_sense_is_said_in_a_sentence(access: Access, issued: dict[str, str]) -> None:
    assert "no role" in access("add-client", "x", "--role", "king", fails=True)
    assert "no scope" in access("issue-key", issued["client_id"], "--scope", "all", fails=True)
    assert "not enrolled" in access("add-client", "x", "--role", "viewer", "--shop", "987", fails=True)
    assert "no key" in access("revoke-key", "nokey00000", fails=True)
    assert "no client" in access("issue-key", "nobody000000", fails=True)
    assert "network" in access("issue-key", issued["client_id"], "--network", "x" * 5, fails=True)


def test_the_list_and_the_log_hold_no_key(access: Access, issued: dict[str, str], api: Api) -> None:
    status(api, issued["key"])
    text = json.dumps([access("list"), access("log")])
    assert issued["key_id"] in text
    assert issued["key"] not in text
    assert issued["key"][20:] not in text


def test_an_import_enrols_its_shop(
    command_line: CommandLine, api: Api, database_url: str, tmp_path: Path, access: Access
) -> None:
    environment = os.environ | {"SHIPLOCK_DATABASE_URL": database_url, "SHIPLOCK_DATA_DIR": str(tmp_path)}
    file = tmp_path / "orders.csv"
    file.write_text("订单号,订单状态\n")
    assert "555" not in json.dumps(access("list"))
    command_line.run("import", file, "--shop", "555", environment=environment)
    assert "555" in {each["shop_id"] for each in access("list")["shops"]}


def test_when_a_key_was_last_used_is_noted(database_url: str, access: Access) -> None:
    with client_of(create_app(database_url)) as http:
        assert http.get("/v1/me").status_code == 200
    principal = next(each for each in access("list")["principals"] if each["principal_id"] == "testclient00")
    assert principal["keys"][0]["last_used_at"]


def test_limits_of_a_shop_hold_for_all_its_clients(api: Api, database_url: str) -> None:
    with opened_installation(database_url) as installation:
        Administration(installation, database_url).do(c.SetLimitsOfShop(shop_id="1", per_second=1, at_once=4))
    until(lambda: api.get("orders", shop="1").status_code == 429, 3)
    assert api.get("orders").status_code == 200
