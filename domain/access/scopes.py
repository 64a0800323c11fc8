"""What may be done, and the roles that people and programs are given: the table of permissions.

A scope is a noun and a verb. Most scopes hold on a shop; those of the installation hold on what all shops share.
Who ships may act. What the platform, a buyer or a carrier did is recorded with another scope, or a lock would mean
nothing.
"""

from collections.abc import Mapping
from typing import Literal, get_args

ShopScope = Literal[
    "orders:read",
    "orders:act",
    "orders:record",
    "money:read",
    "money:write",
    "stock:read",
    "stock:write",
    "reports:read",
    "events:read",
    "rules:read",
    "rules:backtest",
    "audit:read",
    "access:read",
    "access:manage",
    "secrets:write",
]
"""What may be done with a shop."""

InstallationScope = Literal["projections:read", "projections:manage", "rules:read", "service:read", "shops:manage"]
"""What may be done with that which all shops share. The rules are the same for all shops, so they are here too."""

Scope = ShopScope | InstallationScope

SHOP_SCOPES: frozenset[ShopScope] = frozenset(get_args(ShopScope))
INSTALLATION_SCOPES: frozenset[InstallationScope] = frozenset(get_args(InstallationScope))

ShopRole = Literal["viewer", "operations", "integration", "reporting", "auditor", "manager"]
"""A role on some shops of a merchant, or on all of them."""

InstallationRole = Literal["builder", "monitor", "operator"]
"""A role that no merchant gives. An operator may do everything with every shop."""

Role = ShopRole | InstallationRole

_VIEWER: frozenset[ShopScope] = frozenset({"orders:read", "stock:read", "reports:read", "rules:read"})
_OPERATIONS: frozenset[ShopScope] = _VIEWER | {"orders:act", "stock:write", "money:read"}
_INTEGRATION: frozenset[ShopScope] = _OPERATIONS | {"orders:record", "money:write", "events:read"}
_REPORTING: frozenset[ShopScope] = frozenset(
    {"orders:read", "money:read", "reports:read", "events:read", "rules:read", "rules:backtest"}
)
_AUDITOR: frozenset[ShopScope] = frozenset(
    {
        "orders:read",
        "stock:read",
        "money:read",
        "reports:read",
        "events:read",
        "rules:read",
        "audit:read",
        "access:read",
    }
)

SHOP_ROLES: Mapping[Role, frozenset[ShopScope]] = {
    "viewer": _VIEWER,
    "operations": _OPERATIONS,
    "integration": _INTEGRATION,
    "reporting": _REPORTING,
    "auditor": _AUDITOR,
    "manager": _INTEGRATION | _REPORTING | _AUDITOR | {"access:manage", "secrets:write"},
}
"""The scopes of each role on its shops."""

INSTALLATION_ROLES: Mapping[Role, frozenset[InstallationScope]] = {
    "builder": frozenset({"projections:read", "projections:manage", "rules:read"}),
    "monitor": frozenset({"service:read"}),
    "operator": INSTALLATION_SCOPES,
}
"""The scopes of each role of the installation. An operator also has all scopes on every shop."""
