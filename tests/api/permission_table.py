"""Makes the page of permissions from the code: ``python -m tests.api.permission_table``."""

from collections.abc import Mapping, Sequence, Set
from pathlib import Path

from api.http.app import ROUTERS
from api.http.commands import ORDERS, SKUS
from api.http.permissions import Everybody, GuardedRoute
from domain.access.permissions import ONE_OF
from domain.access.scopes import INSTALLATION_ROLES, INSTALLATION_SCOPES, SHOP_ROLES, SHOP_SCOPES, Role

PAGE = Path(__file__).parents[2] / "docs/reference/permissions.md"

HEAD = """# Permissions

What each role may do, and what each route and command needs. This page is made from the code. How access works
is told in [Access](../how-to/access.md).

A client holds its roles on some shops, or on all shops of its merchant. A key may be narrower. A shop that a key
may not see is answered like one that does not exist (404 `unknown_shop`); a missing scope is 403 `forbidden`.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD, "## Roles on shops", _roles(SHOP_ROLES, sorted(SHOP_SCOPES))]
    parts += [
        "## Roles of the installation",
        "An operator also has every scope on every enrolled shop.",
        _roles(INSTALLATION_ROLES, sorted(INSTALLATION_SCOPES)),
    ]
    parts += ["## Routes", _table(("route", "needs"), sorted(_routes()))]
    parts += [
        "## Commands",
        "The same in a bulk request, where each entry is judged by itself. Where there are two scopes, what the "
        "merchant does itself needs `orders:act`, and what the platform, a buyer or a carrier did needs "
        "`orders:record`: a refund by who initiated it, a hold by whether it is `manual`. With `occurred_at`, "
        "acting needs both.",
        _table(("action", "needs"), [(f"`{action}`", _words(scopes)) for action, scopes in ONE_OF.items()]),
    ]
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def _roles(held: Mapping[Role, Set[str]], scopes: list[str]) -> str:
    rows = [(f"`{scope}`", *("x" if scope in held[role] else "" for role in held)) for scope in scopes]
    return _table(("scope", *held), rows)


def _routes() -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for router in ROUTERS:
        for route in router.routes:
            if isinstance(route, GuardedRoute):
                words = " or ".join(
                    each.value if isinstance(each, Everybody) else f"`{each}`" for each in route.needed
                )
                path = route.path.replace(":path}", "}")
                rows += [(f"`{method} {path}`", words) for method in sorted(route.methods or ())]
    rows += [(f"`POST {target.path}/{{action}}`", "as the command") for target in (ORDERS, SKUS)]
    return rows


def _words(scopes: Set[str]) -> str:
    return " or ".join(f"`{scope}`" for scope in sorted(scopes))


def _table(heads: Sequence[str], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
