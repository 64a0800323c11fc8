"""``access``: shops, clients, roles and keys. It asks for no key: whoever runs it holds the database."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated, Any, TypeVar, cast

import typer

from api.cli.terminal import (
    CommandFailed,
    Json,
    ShopArgument,
    identifier,
    out,
    print_json,
    print_table,
    settings,
    shown,
)
from api.program import database, prepare_owner
from domain.access import commands as c
from domain.access.scopes import INSTALLATION_ROLES, INSTALLATION_SCOPES, SHOP_ROLES, SHOP_SCOPES, Role, Scope
from infrastructure.access import reading
from infrastructure.access.administration import Administration, NewKey, NotDone
from infrastructure.access.doorkeeper import opened_installation
from infrastructure.access.installation import Installation
from infrastructure.access.names import read_notes

T = TypeVar("T")

app = typer.Typer(help="Who may do what: shops, clients, roles and keys.", no_args_is_help=True)

ROLES: tuple[str, ...] = (*SHOP_ROLES, *INSTALLATION_ROLES)
SCOPES: frozenset[str] = SHOP_SCOPES | INSTALLATION_SCOPES


def one_of_roles(given: str) -> str:
    if given in ROLES:
        return given
    raise typer.BadParameter(f"{given!r} is no role; the roles are {', '.join(ROLES)}")


def one_of_scopes(given: str) -> str:
    if given in SCOPES:
        return given
    raise typer.BadParameter(f"{given!r} is no scope; the scopes are {', '.join(sorted(SCOPES))}")


ClientArgument = Annotated[str, typer.Argument(metavar="CLIENT_ID", help="The client's id, as add-client told it.")]
KeyArgument = Annotated[str, typer.Argument(metavar="KEY_ID", help="The key's public id.")]
RoleOption = Annotated[str, typer.Option("--role", metavar="ROLE", parser=one_of_roles, help=", ".join(ROLES))]
Shops = Annotated[
    list[str] | None,
    typer.Option("--shop", metavar="SHOP", parser=identifier, help="Only on this shop; may be repeated."),
]
Scopes = Annotated[
    list[str] | None,
    typer.Option("--scope", metavar="SCOPE", parser=one_of_scopes, help="Only this scope; may be repeated."),
]
Networks = Annotated[
    list[str] | None,
    typer.Option("--network", metavar="CIDR", help="Only from this network, such as 10.0.0.0/8; may be repeated."),
]
Merchant = Annotated[str | None, typer.Option(metavar="NAME", help="The merchant's name.")]
Days = Annotated[int, typer.Option(min=1, max=731, help="Days until the key ends.")]


@app.command()
def enrol(shop: ShopArgument, merchant: Merchant = None, as_json: Json = False) -> None:
    """Enrol a shop, so that it can be written to and read. Its merchant is added if it is new."""

    def do(administration: Administration) -> str:
        return administration.enrol(shop, merchant)

    merchant_id = administer(do)
    if as_json:
        print_json({"shop_id": shop, "merchant_id": merchant_id})
    else:
        out.print(f"Shop {shop} is enrolled.")


@app.command("add-client")
def add_client(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What people call the client.")],
    role: RoleOption,
    shop: Shops = None,
    merchant: Merchant = None,
    as_json: Json = False,
) -> None:
    """Add a client, a program that uses the API, with a role on some shops or on all of its merchant."""
    client_id = administer(lambda each: each.add_client(name, cast(Role, role), shop or (), merchant))
    if as_json:
        print_json({"client_id": client_id})
    else:
        out.print(f"Client {client_id}. Give it a key: shiplock access issue-key {client_id}")


@app.command("issue-key")
def issue_key(
    client_id: ClientArgument,
    days: Days = 365,
    shop: Shops = None,
    scope: Scopes = None,
    network: Networks = None,
    as_json: Json = False,
) -> None:
    """Give a client a key, perhaps narrower than the client. The key is shown this once."""
    scopes = cast(list[Scope], scope or [])
    key = administer(
        lambda each: each.issue_key(client_id, timedelta(days=days), shop or (), scopes, network or ())
    )
    print_key(key, as_json)


@app.command("rotate-key")
def rotate_key(
    key_id: KeyArgument,
    overlap: Annotated[int, typer.Option(min=0, max=24 * 90, help="Hours for which the old key still works.")] = 24,
    as_json: Json = False,
) -> None:
    """Give the client of a key another one like it; the old one ends a day later, or at once with --overlap 0."""
    key, old_ends_at = administer(lambda each: each.rotate_key(key_id, timedelta(hours=overlap)))
    print_key(key, as_json, old_ends_at)


@app.command("revoke-key")
def revoke_key(key_id: KeyArgument, as_json: Json = False) -> None:
    """Refuse a key from now on. Every server stops taking it within a second."""
    administer(lambda each: each.do(c.RevokeKey(key_id=key_id)))
    say(as_json, {"key_id": key_id, "revoked": True}, f"Key {key_id} is revoked.")


@app.command("owner-key")
def owner_key(as_json: Json = False) -> None:
    """Make a new key for the owner and write it to the file of the first one: the way back in."""
    file = settings().owner_key_file
    key = administer(lambda each: each.new_owner_key(file))
    told = {"key_id": key.key_id, "file": str(file), "ends_at": key.ends_at}
    say(as_json, told, f"The owner's new key is in {file}. Revoke the old one if it leaked.")


@app.command()
def grant(client_id: ClientArgument, role: RoleOption, shop: Shops = None, as_json: Json = False) -> None:
    """Give a client or person a role on some shops, or on all of its merchant."""
    command = c.Grant(principal_id=client_id, role=cast(Role, role), shops=tuple(shop or ()) or None)
    administer(lambda each: each.do(command))
    say(as_json, {"client_id": client_id, "role": role, "shops": shop}, f"{client_id} is {role} now.")


@app.command()
def withdraw(client_id: ClientArgument, role: RoleOption, shop: Shops = None, as_json: Json = False) -> None:
    """Take a role back on some shops, or on all."""
    command = c.Withdraw(principal_id=client_id, role=cast(Role, role), shops=tuple(shop or ()) or None)
    administer(lambda each: each.do(command))
    say(as_json, {"client_id": client_id, "role": role, "shops": shop}, f"{client_id} is no {role} there now.")


@app.command()
def disable(client_id: ClientArgument, as_json: Json = False) -> None:
    """Let nothing in from a client or person until it is enabled again."""
    administer(lambda each: each.do(c.Disable(principal_id=client_id)))
    say(as_json, {"client_id": client_id, "disabled": True}, f"{client_id} is disabled.")


@app.command()
def enable(client_id: ClientArgument, as_json: Json = False) -> None:
    """Let a client or person in again, with the roles and keys that it had."""
    administer(lambda each: each.do(c.Enable(principal_id=client_id)))
    say(as_json, {"client_id": client_id, "disabled": False}, f"{client_id} is enabled.")


@app.command()
def limits(
    per_second: Annotated[int, typer.Option(min=1, max=1_000_000, help="Units a second; a command is one.")],
    at_once: Annotated[int, typer.Option(min=1, max=1_000_000, help="Units at once.")],
    client: Annotated[str | None, typer.Option(metavar="CLIENT_ID", help="Of this client or person.")] = None,
    shop: Annotated[str | None, typer.Option(metavar="SHOP", parser=identifier, help="Of this shop.")] = None,
    as_json: Json = False,
) -> None:
    """Set how much a client may ask for, or all clients of a shop together."""
    if (client is None) == (shop is None):
        raise typer.BadParameter("give either --client or --shop")
    command: c.Command
    if client is not None:
        command = c.SetLimits(principal_id=client, per_second=per_second, at_once=at_once)
    else:
        assert shop is not None
        command = c.SetLimitsOfShop(shop_id=shop, per_second=per_second, at_once=at_once)
    administer(lambda each: each.do(command))
    told = {"client_id": client, "shop_id": shop, "per_second": per_second, "at_once": at_once}
    say(as_json, told, f"{per_second:,} units a second, {at_once:,} at once.")


@app.command("list")
def list_access(as_json: Json = False) -> None:
    """The enrolled shops, and the clients and people with their roles and keys."""

    def read(
        installation: Installation, url: str
    ) -> tuple[list[reading.EnrolledShop], list[reading.PrincipalView]]:
        registry = installation.registry()
        known = read_notes(url)
        return reading.shops(registry, known.names), reading.principals(registry, known, reading.everybody)

    shops, principals = on_installation(read)
    if as_json:
        print_json({"shops": shops, "principals": principals})
        return
    print_table(shops, ("shop", lambda s: s.shop_id), ("merchant", lambda s: s.merchant or s.merchant_id))
    print_table(
        principals,
        ("id", lambda p: p.principal_id),
        ("name", lambda p: p.name or "-"),
        ("kind", lambda p: p.kind + (", disabled" if p.disabled else "")),
        ("roles", lambda p: "\n".join(f"{g.role} on {', '.join(g.shops) if g.shops else 'all'}" for g in p.grants)),
        ("keys", lambda p: "\n".join(_key_in_words(key) for key in p.keys)),
    )


def _key_in_words(key: reading.KeyView) -> str:
    state = f"revoked {shown(key.revoked_at)}" if key.revoked_at else f"until {shown(key.ends_at)}"
    return f"{key.key_id} {state}, last used {shown(key.last_used_at)}"


@app.command("log")
def log_of_access(as_json: Json = False) -> None:
    """What was done to shops, clients, roles and keys, in order."""

    def read(installation: Installation, url: str) -> list[reading.AccessEventView]:
        events: list[reading.AccessEventView] = []
        after: int | None = 0
        while after is not None:
            page = reading.log_page(
                installation, after, reading.AT_ONCE, reading.everybody, lambda _: True, whole=True
            )
            events += page.events
            after = page.next_position
        return events

    events = on_installation(read)
    if as_json:
        print_json({"items": events})
        return
    print_table(
        events,
        ("position", lambda e: str(e.position)),
        ("when", lambda e: shown(e.recorded_at)),
        ("what", lambda e: e.type),
        ("of", lambda e: e.of),
        ("by", lambda e: e.actor),
    )


def print_key(key: NewKey, as_json: bool, old_ends_at: datetime | None = None) -> None:
    if as_json:
        told: dict[str, Any] = {"key_id": key.key_id, "key": key.key, "ends_at": key.ends_at}
        print_json(told | ({"old_ends_at": old_ends_at} if old_ends_at else {}))
        return
    out.print(key.key, soft_wrap=True)
    out.print(f"Key {key.key_id} works until {shown(key.ends_at)}. It is not shown again.")
    if old_ends_at:
        out.print(f"The old key works until {shown(old_ends_at)}.")


def say(as_json: bool, told: dict[str, Any], words: str) -> None:
    if as_json:
        print_json(told)
    else:
        out.print(words)


def on_installation(work: Callable[[Installation, str], T]) -> T:
    """Work with the installation's log. On an empty one the owner is made first."""
    known = settings()
    with database(known) as url:
        prepare_owner(url, known)
        with opened_installation(url) as installation:
            return work(installation, url)


def administer(work: Callable[[Administration], T]) -> T:
    """Have something done. Raises ``CommandFailed`` with the reason where it is refused."""
    try:
        return on_installation(lambda installation, url: work(Administration(installation, url)))
    except NotDone as error:
        raise CommandFailed(error.denial.detail) from error
