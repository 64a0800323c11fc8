"""Every route, every role, a shop of one's own and a foreign one: all is as the table says."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from starlette.testclient import TestClient

from api.http.app import ROUTERS, create_app
from api.http.commands import ORDERS, SKUS
from api.http.permissions import OPEN, Everybody, GuardedRoute
from domain.access import commands as c
from domain.access.permissions import ONE_OF
from domain.access.scopes import INSTALLATION_ROLES, SHOP_ROLES, Role
from domain.order.decisions.table import ACTIONS
from domain.sku.decisions import ACTIONS as SKU_ACTIONS
from infrastructure.access.administration import Administration
from infrastructure.access.doorkeeper import opened_installation
from tests.access import ENOUGH, headers
from tests.api.conftest import LOCAL, SHOP, client_of
from tests.api.permission_table import PAGE, page

FOREIGN, NOWHERE = "900000009", "900000008"
"""A shop of another merchant, and one that is not enrolled."""

ROLES: tuple[Role, ...] = (*SHOP_ROLES, *INSTALLATION_ROLES)

TABLE: dict[str, str] = {
    "GET /": "open",
    "GET /healthz": "open",
    "GET /readyz": "open",
    "GET /problems/{code}": "open",
    "GET /metrics": "service:read",
    "GET /v1/me": "any principal",
    "GET /v1/shops": "any principal",
    "GET /v1/messages": "any principal",
    "GET /v1/rules": "rules:read",
    "GET /v1/jobs": "projections:read",
    "GET /v1/jobs/{job_id}": "projections:read",
    "GET /v1/projections": "projections:read",
    "GET /v1/projections/{name}/rebuilds/{build_id}": "projections:read",
    "GET /v1/projections/{name}/parked": "projections:read",
    "POST /v1/projections/{name}/rebuilds": "projections:manage",
    "POST /v1/projections/{name}/rebuilds/{build_id}/activate": "projections:manage",
    "POST /v1/projections/{name}/rebuilds/{build_id}/rollback": "projections:manage",
    "POST /v1/projections/{name}/activate": "projections:manage",
    "POST /v1/projections/{name}/rollback": "projections:manage",
    "DELETE /v1/projections/{name}/rebuilds/{build_id}": "projections:manage",
    "POST /v1/projections/{name}/parked/{shop_id}/{of}/retry": "projections:manage",
    "POST /v1/projections/{name}/parked/{shop_id}/{of}/discard": "projections:manage",
    "GET /v1/access/clients": "access:read or shops:manage",
    "GET /v1/access/log": "access:read or shops:manage",
    "POST /v1/access/clients": "access:manage or shops:manage",
    "POST /v1/access/clients/{principal_id}/keys": "access:manage or shops:manage",
    "POST /v1/access/clients/{principal_id}/grants": "access:manage or shops:manage",
    "DELETE /v1/access/clients/{principal_id}/grants/{role}": "access:manage or shops:manage",
    "POST /v1/access/clients/{principal_id}/disable": "access:manage or shops:manage",
    "POST /v1/access/clients/{principal_id}/enable": "access:manage or shops:manage",
    "POST /v1/access/keys/{key_id}/rotate": "any principal",
    "DELETE /v1/access/keys/{key_id}": "access:manage or shops:manage",
    "POST /v1/access/shops": "shops:manage",
    "POST /v1/shops/{shop_id}/commands": "any principal",
    "POST /v1/shops/{shop_id}/stockout-applications": "orders:act",
    "POST /v1/shops/{shop_id}/bills": "money:write",
    "POST /v1/shops/{shop_id}/rules/backtests": "rules:backtest",
    "GET /v1/shops/{shop_id}/rules/backtests": "rules:read",
    "GET /v1/shops/{shop_id}/rules/backtests/{backtest_id}": "rules:read",
    **dict.fromkeys(
        (
            f"GET /v1/shops/{{shop_id}}/{path}"
            for path in (
                "orders",
                "orders/{order_sn}",
                "orders/{order_sn}/events",
                "orders/{order_sn}/diff",
                "orders/{order_sn}/way-out",
                "deadlines",
                "violations",
                "doubtful-shipments",
                "suppliers",
                "suppliers/{supplier_id:path}",
                "suppliers/{supplier_id:path}/handovers",
            )
        ),
        "orders:read",
    ),
    **dict.fromkeys(
        (
            f"GET /v1/shops/{{shop_id}}/{path}"
            for path in (
                "skus",
                "skus/{sku_id:path}",
                "skus/{sku_id:path}/events",
                "skus/{sku_id:path}/at-risk",
                "stockout-cases",
                "stockout-cases/{case_id:path}",
                "stockout-cases/{case_id:path}/orders",
                "stockout-cases/{case_id:path}/messages",
            )
        ),
        "stock:read",
    ),
    **dict.fromkeys(
        (
            f"GET /v1/shops/{{shop_id}}/{path}"
            for path in ("reconciliation", "unmatched-charges", "reports/penalties")
        ),
        "money:read",
    ),
    "GET /v1/shops/{shop_id}/reports/daily": "reports:read",
    "GET /v1/shops/{shop_id}/events": "events:read",
    **dict.fromkeys(
        (
            f"GET /v1/shops/{{shop_id}}/audit/{path}"
            for path in ("checkpoint", "keys", "proofs/{position}", "consistency")
        ),
        "audit:read",
    ),
}
"""What each route needs, as it was decided. A route that is not here fails the test, and so does one too many."""

ACTING = {
    "upload-tracking",
    "replace-tracking",
    "request-stockout",
    "cancel",
    "contact-buyer",
    "appeal",
    "hand-to-supplier",
    "record-supplier-tracking",
    "record-supplier-stockout",
    "take-back-from-supplier",
}
RECORDING = {
    "place",
    "pay",
    "form-group",
    "fail-group",
    "change-ship-by",
    "record-pickup",
    "record-delivery",
    "confirm-receipt",
    "complete-review",
    "file-complaint",
    "decide-complaint",
    "decide-appeal",
    "withdraw-fact",
}
BY_THE_BODY = {"refund", "place-hold", "release-hold"}
MONEY = {"record-charge", "record-return"}

ACTORS, RECORDERS = {"operations", "integration", "manager"}, {"integration", "manager"}


def routes() -> Iterator[tuple[str, GuardedRoute]]:
    for router in ROUTERS:
        for route in router.routes:
            if isinstance(route, GuardedRoute):
                for method in sorted(route.methods or ()):
                    yield f"{method} {route.path}", route


def in_words(needed: tuple[str | Everybody, ...]) -> str:
    return " or ".join(each.value if isinstance(each, Everybody) else each for each in needed)


def test_every_route_needs_what_the_table_says() -> None:
    assert {name: in_words(route.needed) for name, route in routes()} == TABLE


def test_every_command_needs_what_the_table_says() -> None:
    expected: dict[str, set[str]] = {
        **{action: {"orders:act"} for action in ACTING},
        **{action: {"orders:record"} for action in RECORDING},
        **{action: {"orders:act", "orders:record"} for action in BY_THE_BODY},
        **{action: {"money:write"} for action in MONEY},
        **{action: {"stock:write"} for action in SKU_ACTIONS},
    }
    assert {action: set(scopes) for action, scopes in ONE_OF.items()} == expected
    assert set(ONE_OF) == {*ACTIONS, *SKU_ACTIONS}


def test_the_page_of_permissions_is_the_one_of_the_code() -> None:
    assert Path(PAGE).read_text(encoding="utf-8") == page(), "python -m tests.api.permission_table makes it anew"


@pytest.fixture
def http(database_url: str) -> Iterator[TestClient]:
    with client_of(create_app(database_url)) as client:
        yield client


def key_of(url: str, role: Role) -> str:
    """The key of a client that has only this role, on one shop if it is a role on shops."""
    with opened_installation(url) as installation:
        administration = Administration(installation, url)
        administration.enrol(FOREIGN, "another merchant")
        client_id = administration.add_client(role, role, () if role in INSTALLATION_ROLES else (SHOP,))
        administration.do(c.SetLimits(principal_id=client_id, per_second=ENOUGH, at_once=ENOUGH))
        return administration.issue_key(client_id).key


FILLED = {
    "order_sn": "260302-1",
    "sku_id": "52000301",
    "sku_id:path": "52000301",
    "supplier_id:path": "S-17",
    "case_id:path": "52000301:1",
    "position": "1",
    "backtest_id": "1",
    "job_id": "1",
    "name": "orders",
    "build_id": "1",
    "of": "260302-1",
    "code": "forbidden",
    "principal_id": "nobody000000",
    "key_id": "nokey00000",
    "role": "viewer",
}


def filled(path: str, shop_id: str) -> str:
    for name, value in (FILLED | {"shop_id": shop_id}).items():
        path = path.replace(f"{{{name}}}", value)
    return path


def bodies() -> dict[str, Any]:
    """A valid body for every route that takes one, and for every command."""
    line = {"sku_id": "52000301", "goods_id": "520003", "name": "durian", "quantity": 1, "unit_price_fen": 100}
    known: dict[str, Any] = {
        "POST /v1/shops/{shop_id}/commands": {"commands": [{"order_sn": "260302-1", "action": "place"}]},
        "POST /v1/shops/{shop_id}/stockout-applications": {"order_sns": ["260302-1"], "reason": "oversold"},
        "POST /v1/shops/{shop_id}/rules/backtests": {"rules": "x"},
        "POST /v1/access/clients": {"name": "x"},
        "POST /v1/access/clients/{principal_id}/grants": {"role": "viewer"},
        "POST /v1/access/shops": {"shop_id": SHOP},
    }
    for target, table in ((ORDERS, ACTIONS), (SKUS, SKU_ACTIONS)):
        for action, row in table.items():
            known[f"POST {target.path}/{action}"] = dict(row.example)
    known[f"POST {ORDERS.path}/place"] = {"lines": [line], "paid_fen": 100}
    return known


def all_requests() -> list[tuple[str, str, frozenset[str] | None]]:
    """Every route and command with what it needs at least one of; ``None`` needs no scope."""
    found: list[tuple[str, str, frozenset[str] | None]] = []
    for name, route in routes():
        method, _, path = name.partition(" ")
        if OPEN not in route.needed:
            scopes = frozenset(each for each in route.needed if isinstance(each, str))
            found.append((method, path, scopes or None))
    for target in (ORDERS, SKUS):
        found += [("POST", f"{target.path}/{action}", frozenset(ONE_OF[action])) for action in target.actions]
    return found


def contents(url: str) -> dict[str, str]:
    """A digest of every table's rows, but for notes of when keys were used and what work is under way."""
    with psycopg.connect(url) as connection:
        tables = connection.execute(
            "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        found = {}
        for (table,) in tables:
            if table in ("key_use", "job", "checkpoint"):
                continue
            query = f"SELECT coalesce(string_agg(t::text, E'\\n' ORDER BY t::text), '') FROM {table} t"
            row = connection.execute(query.encode()).fetchone()
            assert row
            found[table] = hashlib.sha256(row[0].encode()).hexdigest()
        return found


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_do_what_the_table_says_and_nothing_else(
    role: Role, database_url: str, http: TestClient
) -> None:
    key = key_of(database_url, role)
    me = http.get("/v1/me", headers=headers(key)).json()
    of_shop, of_installation = set(me["shops"].get(SHOP, ())), set(me["installation"])
    if role in SHOP_ROLES:
        assert (me["shops"], of_installation) == ({SHOP: sorted(SHOP_ROLES[role])}, set())
    sent = bodies()
    before = contents(database_url)
    allowed: list[tuple[str, str, int, str]] = []
    for method, path, scopes in all_requests():
        is_of_a_shop = path.startswith("/v1/shops/{shop_id}")
        held = of_shop if is_of_a_shop else of_shop | of_installation
        sees = not is_of_a_shop or SHOP in me["shops"]
        may = sees and (scopes is None or bool(scopes & held))
        body = sent.get(f"{method} {path}", {})
        if is_of_a_shop:
            for shop_id in (FOREIGN, NOWHERE) if role != "operator" else (NOWHERE,):
                answer = http.request(method, filled(path, shop_id), json=body, headers=headers(key))
                assert (answer.status_code, answer.json()["code"]) == (404, "unknown_shop"), (method, path)
        if may:
            allowed.append((method, path, 0, ""))
            continue
        answer = http.request(method, filled(path, SHOP), json=body, headers=headers(key))
        expected = (403, "forbidden") if sees else (404, "unknown_shop")
        assert (answer.status_code, answer.json()["code"]) == expected, (method, path, answer.text)
    assert contents(database_url) == before, "a refusal has changed something"
    for method, path, _, _ in allowed:
        answer = http.request(
            method, filled(path, SHOP), json=sent.get(f"{method} {path}", {}), headers=headers(key)
        )
        code = answer.json().get("code") if answer.headers["content-type"].startswith("application/p") else None
        assert (answer.status_code, code) not in ((401, "unauthenticated"), (404, "unknown_shop")), (method, path)
        if path.rpartition("/")[2] not in BY_THE_BODY and method != "DELETE":
            assert code != "forbidden" or path.startswith("/v1/access/"), (method, path, answer.text)


def test_nothing_is_answered_without_a_key(database_url: str, http: TestClient) -> None:
    before = contents(database_url)
    stranger = TestClient(http.app, LOCAL)
    for method, path, _ in all_requests():
        for shop_id in (SHOP, NOWHERE):
            for sent in ({}, headers("nonsense"), {"Authorization": "Basic eDp5"}):
                answer = stranger.request(method, filled(path, shop_id), headers=sent)
                assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), (method, path)
                assert answer.headers["www-authenticate"].startswith("Bearer")
    for path in ("/nowhere", "/v1/nowhere", "/v1/shops", "/v1/shops/", "/metrics"):
        assert stranger.get(path).status_code == 401
    assert contents(database_url) == before


def test_a_foreign_shop_is_answered_like_one_that_does_not_exist(database_url: str, http: TestClient) -> None:
    key = key_of(database_url, "manager")
    for method, path, _ in all_requests():
        if path.startswith("/v1/shops/{shop_id}"):
            answers = [
                http.request(method, filled(path, shop_id), headers=headers(key)) for shop_id in (FOREIGN, NOWHERE)
            ]
            foreign, nowhere = answers
            assert foreign.text.replace(FOREIGN, NOWHERE) == nowhere.text
            assert dict(foreign.headers) == dict(nowhere.headers)
    assert FOREIGN not in http.get("/v1/shops", headers=headers(key)).text


@pytest.mark.parametrize(
    ("action", "body", "roles"),
    [
        (
            "refund",
            {"initiated_by": "merchant", "reason": "out_of_stock"},
            ACTORS,
        ),
        ("refund", {"initiated_by": "buyer", "reason": "changed_mind"}, RECORDERS),
        ("refund", {"initiated_by": "platform", "reason": "other"}, RECORDERS),
        ("place-hold", {"hold": "manual", "reason": "x"}, ACTORS),
        ("place-hold", {"hold": "risk_control", "reason": "x"}, RECORDERS),
        ("release-hold", {"hold": "manual", "reason": "x"}, ACTORS),
        ("release-hold", {"hold": "refund_pending", "reason": "x"}, RECORDERS),
        ("cancel", {"reason": "x"}, ACTORS),
        ("cancel", {"reason": "x", "occurred_at": "2026-03-01T00:00:00Z"}, RECORDERS),
    ],
)
def test_whose_word_a_command_is_decides_who_may_give_it(
    database_url: str, http: TestClient, action: str, body: dict[str, str], roles: set[str]
) -> None:
    entry = {"order_sn": "260302-1", "action": action, **body}
    for role in SHOP_ROLES:
        key = key_of(database_url, role)
        path = f"/v1/shops/{SHOP}/orders/260302-1/{action}"
        single = http.post(path, json=body, headers=headers(key))
        many = http.post(f"/v1/shops/{SHOP}/commands", json={"commands": [entry]}, headers=headers(key))
        assert many.status_code == 200, many.text
        outcome = many.json()["outcomes"][0]
        expected = 404 if role in roles else 403
        assert (single.status_code, outcome["status"]) == (expected, expected), (role, single.text, many.text)
