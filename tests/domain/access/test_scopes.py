"""The table of permissions, spelled out."""

from domain.access.scopes import INSTALLATION_ROLES, INSTALLATION_SCOPES, SHOP_ROLES, SHOP_SCOPES

TABLE = {
    "viewer": "orders:read stock:read reports:read rules:read",
    "operations": "orders:read stock:read reports:read rules:read orders:act stock:write money:read",
    "integration": (
        "orders:read stock:read reports:read rules:read orders:act stock:write money:read orders:record "
        "money:write events:read"
    ),
    "reporting": "orders:read money:read reports:read events:read rules:read rules:backtest",
    "auditor": "orders:read stock:read money:read reports:read events:read rules:read audit:read access:read",
    "manager": (
        "orders:read stock:read reports:read rules:read orders:act stock:write money:read orders:record "
        "money:write events:read rules:backtest audit:read access:read access:manage secrets:write"
    ),
}


def test_each_role_has_these_scopes() -> None:
    assert {role: set(scopes) for role, scopes in SHOP_ROLES.items()} == {
        role: set(scopes.split()) for role, scopes in TABLE.items()
    }
    assert {
        "builder": {"projections:read", "projections:manage", "rules:read"},
        "monitor": {"service:read"},
        "operator": INSTALLATION_SCOPES,
    } == INSTALLATION_ROLES


def test_every_scope_is_some_roles_and_no_role_of_a_shop_has_all_but_the_manager() -> None:
    assert frozenset().union(*SHOP_ROLES.values()) == SHOP_SCOPES
    assert [role for role, scopes in SHOP_ROLES.items() if scopes == SHOP_SCOPES] == ["manager"]


def test_who_ships_can_not_also_record_what_the_platform_decided() -> None:
    assert "orders:act" in SHOP_ROLES["operations"]
    assert "orders:record" not in SHOP_ROLES["operations"]
