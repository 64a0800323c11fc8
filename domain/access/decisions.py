"""May this be done? One small function for each command about who may do what.

Nobody gives what he does not hold himself, on shops where he does not hold it, and nobody gives himself anything.
The people of a merchant manage its own clients and people, and are told of no others: for them a stranger's does
not exist. The last operator stays. A command that changes nothing leads to no event.
"""

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

import msgspec

from domain.access import commands as c
from domain.access import events as e
from domain.access.scopes import INSTALLATION_ROLES, SHOP_ROLES, Role
from domain.access.state import CLIENT, MERCHANT, PERSON, SHOP, Key, Principal, Registry, Rights

LONGEST_LIFE = timedelta(days=731)
"""A key lives two years at most."""

MOST_KEYS = 100
"""How many keys a client may have at a time; those that ended or were revoked don't count."""

DenialCode = Literal[
    "invalid_request", "not_permitted", "unknown_shop", "unknown_principal", "unknown_key", "exists"
]


class Denial(msgspec.Struct, frozen=True):
    """Why a command is refused: a code for programs, and a sentence."""

    code: DenialCode
    detail: str


class Change(NamedTuple):
    """An event for the stream that it is of, which must have this version."""

    stream: str
    version: int
    event: e.AccessEvent


Decision = tuple[Change, ...] | Denial


class Giver(NamedTuple):
    """Who gives a command. Without a ``principal`` it is whoever holds the database, and may do everything.

    ``key_id`` is the key that he uses. Who comes with a narrower key (``is_narrowed``) has only the ``rights`` that
    the key leaves him.
    """

    principal: Principal | None
    rights: Rights
    is_narrowed: bool = False
    key_id: str | None = None

    @property
    def is_operator(self) -> bool:
        return self.principal is None or (self.principal.is_operator and not self.is_narrowed)

    def sees(self, principal: Principal) -> bool:
        """Whether the giver may know of a principal: one of his own merchant."""
        if self.is_operator:
            return True
        assert self.principal is not None
        return principal.merchant_id is not None and principal.merchant_id == self.principal.merchant_id

    def manages(self, shops: Iterable[str]) -> bool:
        return all(self.rights.includes("access:manage", shop_id) for shop_id in shops)


OPERATING_SYSTEM = Giver(None, Rights({}))
"""Whoever holds the database or the data folder: the command line."""

_NOT_YOURS = Denial("not_permitted", "You may give only what you hold yourself, on shops where you hold it.")


def giver_of(registry: Registry, principal: Principal, key: Key | None = None, at: datetime | None = None) -> Giver:
    """A client or person as the giver of a command, with the rights that its key has at a moment."""
    if key is None or at is None:
        return Giver(principal, registry.rights_of(principal))
    is_narrowed = key.shops is not None or key.scopes is not None
    return Giver(principal, registry.rights_with(principal, key, at), is_narrowed, key.key_id)


# ---- merchants and shops ----------------------------------------------------------------------------


def add_merchant(command: c.AddMerchant, registry: Registry, giver: Giver, now: datetime) -> Decision:
    if not giver.is_operator:
        return Denial("not_permitted", "Only an operator adds merchants.")
    if command.merchant_id in registry.merchants:
        return ()
    return (Change(MERCHANT + command.merchant_id, 0, e.MerchantAdded()),)


def enrol_shop(command: c.EnrolShop, registry: Registry, giver: Giver, now: datetime) -> Decision:
    """A shop may change its merchant; its people then see it no more."""
    if not giver.is_operator:
        return Denial("not_permitted", "Only an operator enrols shops.")
    if command.merchant_id not in registry.merchants:
        return Denial("invalid_request", f"There is no merchant {command.merchant_id}.")
    shop = registry.shops.get(command.shop_id)
    if shop and shop.merchant_id == command.merchant_id:
        return ()
    enrolled = e.ShopEnrolled(command.merchant_id)
    return (Change(SHOP + command.shop_id, shop.version if shop else 0, enrolled),)


def set_limits_of_shop(command: c.SetLimitsOfShop, registry: Registry, giver: Giver, now: datetime) -> Decision:
    if not giver.is_operator:
        return Denial("not_permitted", "Only an operator sets limits.")
    shop = registry.shops.get(command.shop_id)
    if shop is None:
        return Denial("unknown_shop", f"Shop {command.shop_id} is not enrolled.")
    if tuple(shop.limits) == (command.per_second, command.at_once):
        return ()
    return (Change(SHOP + shop.shop_id, shop.version, e.LimitsSet(command.per_second, command.at_once)),)


# ---- clients and people -----------------------------------------------------------------------------


def add_principal(command: c.AddPrincipal, registry: Registry, giver: Giver, now: datetime) -> Decision:
    if not giver.is_operator:
        assert giver.principal is not None
        of_own = command.merchant_id is not None and command.merchant_id == giver.principal.merchant_id
        if not of_own or not any("access:manage" in held for held in giver.rights.shops.values()):
            return Denial("not_permitted", "You may add clients and people of your own merchant, as its manager.")
    if command.merchant_id is not None and command.merchant_id not in registry.merchants:
        return Denial("invalid_request", f"There is no merchant {command.merchant_id}.")
    if known := registry.principals.get(command.principal_id):
        is_same = (known.kind, known.merchant_id) == (command.kind, command.merchant_id)
        return () if is_same and not known.is_removed else Denial("exists", "The id is another one's.")
    added = e.ClientAdded if command.kind == "client" else e.PersonAdded
    prefix = CLIENT if command.kind == "client" else PERSON
    return (Change(prefix + command.principal_id, 0, added(command.merchant_id)),)


def remove_person(command: c.RemovePerson, registry: Registry, giver: Giver, now: datetime) -> Decision:
    found = _managed(registry, giver, command.principal_id)
    if isinstance(found, Denial):
        return found
    if found.kind != "person":
        return Denial("invalid_request", "A client is disabled, not removed: its name stays with what it did.")
    if _is_last_operator(registry, found):
        return _LAST_OPERATOR
    return () if found.is_removed else (_change(found, e.PersonRemoved()),)


def disable(command: c.Disable, registry: Registry, giver: Giver, now: datetime) -> Decision:
    found = _managed(registry, giver, command.principal_id)
    if isinstance(found, Denial):
        return found
    if found.is_disabled:
        return ()
    return _LAST_OPERATOR if _is_last_operator(registry, found) else (_change(found, e.PrincipalDisabled()),)


def enable(command: c.Enable, registry: Registry, giver: Giver, now: datetime) -> Decision:
    """Who enables somebody gives him back what he had."""
    found = _managed(registry, giver, command.principal_id)
    if isinstance(found, Denial):
        return found
    return (_change(found, e.PrincipalEnabled()),) if found.is_disabled else ()


def set_limits(command: c.SetLimits, registry: Registry, giver: Giver, now: datetime) -> Decision:
    if not giver.is_operator:
        return Denial("not_permitted", "Only an operator sets limits.")
    found = _managed(registry, giver, command.principal_id)
    if isinstance(found, Denial):
        return found
    if tuple(found.limits) == (command.per_second, command.at_once):
        return ()
    return (_change(found, e.LimitsSet(command.per_second, command.at_once)),)


_LAST_OPERATOR = Denial("not_permitted", "It is the last operator; make another one first.")


def _is_last_operator(registry: Registry, principal: Principal) -> bool:
    others = (each for each in registry.principals.values() if each.principal_id != principal.principal_id)
    return principal.is_operator and principal.is_active and not any(o.is_operator and o.is_active for o in others)


def _managed(registry: Registry, giver: Giver, principal_id: str) -> Principal | Denial:
    """A principal whom the giver may change: somebody else, with no more rights than his own."""
    principal = registry.principals.get(principal_id)
    if principal is None or not giver.sees(principal):
        return Denial("unknown_principal", f"There is no client or person {principal_id}.")
    if giver.principal is not None and giver.principal.principal_id == principal_id:
        return Denial("not_permitted", "Nobody changes his own rights.")
    if giver.is_operator:
        return principal
    if any(grant.role in INSTALLATION_ROLES for grant in principal.grants):
        return Denial("not_permitted", "It has a role of the installation; an operator changes it.")
    concerned = {shop_id for grant in principal.grants for shop_id in _shops_of(registry, principal, grant.shops)}
    return principal if giver.manages(concerned) and giver.rights.shops else _NOT_YOURS


def _shops_of(registry: Registry, principal: Principal, shops: Iterable[str] | None) -> frozenset[str]:
    own = registry.shops_of(principal.merchant_id)
    return own if shops is None else own.intersection(shops)


def _change(principal: Principal, event: e.AccessEvent) -> Change:
    prefix = CLIENT if principal.kind == "client" else PERSON
    return Change(prefix + principal.principal_id, principal.version, event)


# ---- roles ------------------------------------------------------------------------------------------


def grant(command: c.Grant, registry: Registry, giver: Giver, now: datetime) -> Decision:
    found = _managed(registry, giver, command.principal_id)
    if isinstance(found, Denial):
        return found
    if found.is_removed:
        return Denial("unknown_principal", f"There is no client or person {command.principal_id}.")
    if command.role in INSTALLATION_ROLES:
        denial = _no_role_of_installation(command, giver, found)
    else:
        denial = _no_role_on_shops(command, registry, giver, found)
    if denial:
        return denial
    shops = None if command.shops is None else tuple(sorted(set(command.shops)))
    if _has(found, command.role, shops):
        return ()
    return (_change(found, e.RoleGranted(command.role, shops)),)


def _no_role_of_installation(command: c.Grant, giver: Giver, principal: Principal) -> Denial | None:
    if not giver.is_operator:
        return _NOT_YOURS
    if principal.merchant_id is not None:
        return Denial("invalid_request", "Roles of the installation are for its own clients and people.")
    if command.shops is not None:
        return Denial("invalid_request", f"The role {command.role} is of the installation, and not of some shops.")
    return None


def _no_role_on_shops(command: c.Grant, registry: Registry, giver: Giver, principal: Principal) -> Denial | None:
    own = registry.shops_of(principal.merchant_id)
    foreign = sorted(set(command.shops or ()) - own)
    if foreign:
        return Denial("unknown_shop", f"There is no shop {foreign[0]}, or it is another merchant's.")
    if giver.is_operator:
        return None
    concerned = own if command.shops is None else own.intersection(command.shops)
    holds = all(SHOP_ROLES[command.role] <= giver.rights.shops.get(shop_id, frozenset()) for shop_id in concerned)
    return None if holds and concerned and giver.manages(concerned) else _NOT_YOURS


def _has(principal: Principal, role: Role, shops: tuple[str, ...] | None) -> bool:
    held = next((each for each in principal.grants if each.role == role), None)
    if held is None:
        return False
    return held.shops is None or (shops is not None and held.shops.issuperset(shops))


def withdraw(command: c.Withdraw, registry: Registry, giver: Giver, now: datetime) -> Decision:
    found = _managed(registry, giver, command.principal_id)
    if isinstance(found, Denial):
        return found
    held = next((each for each in found.grants if each.role == command.role), None)
    if held is None or (command.shops and held.shops is not None and not held.shops.intersection(command.shops)):
        return ()
    if command.shops and held.shops is None:
        return Denial(
            "invalid_request",
            f"It is {command.role} on every shop of its merchant. Take the role back as a whole, and give it on "
            "those shops where it shall stay.",
        )
    if command.role == "operator" and _is_last_operator(registry, found):
        return _LAST_OPERATOR
    shops = None if command.shops is None else tuple(sorted(set(command.shops)))
    return (_change(found, e.RoleWithdrawn(command.role, shops)),)


# ---- keys -------------------------------------------------------------------------------------------


def issue_key(command: c.IssueKey, registry: Registry, giver: Giver, now: datetime) -> Decision:
    found = _managed(registry, giver, command.principal_id)
    if isinstance(found, Denial):
        return found
    if found.kind != "client":
        return Denial("invalid_request", "Keys are for clients; people sign in.")
    if _key(registry, command.key_id):
        return Denial("exists", "The id is another key's.")
    if denial := _no_such_end(command.ends_at, now) or _no_such_networks(command.networks):
        return denial
    if sum(key.is_valid(now) for key in found.keys.values()) >= MOST_KEYS:
        return Denial("invalid_request", f"The client has {MOST_KEYS} keys already; revoke some first.")
    foreign = sorted(set(command.shops or ()) - registry.shops_of(found.merchant_id))
    if foreign:
        return Denial("unknown_shop", f"There is no shop {foreign[0]}, or it is another merchant's.")
    issued = e.KeyIssued(
        command.key_id,
        command.digest,
        command.ends_at,
        None if command.shops is None else tuple(sorted(set(command.shops))),
        None if command.scopes is None else tuple(sorted(set(command.scopes))),
        command.networks,
    )
    return (_change(found, issued),)


def rotate_key(command: c.RotateKey, registry: Registry, giver: Giver, now: datetime) -> Decision:
    """A client may rotate the key that it uses: the new one can do no more than the old one."""
    found = _key(registry, command.key_id)
    if found is None or not giver.sees(found[0]):
        return _unknown_key(command.key_id)
    principal, old = found
    is_own = giver.principal is not None and giver.principal.principal_id == principal.principal_id
    uses_it = is_own and giver.key_id in (None, old.key_id)
    managed = principal if uses_it else _managed(registry, giver, principal.principal_id)
    if isinstance(managed, Denial):
        return managed
    if not old.is_valid(now):
        return Denial("invalid_request", "The key has ended or was revoked; issue a new one.")
    if _key(registry, command.new_key_id):
        return Denial("exists", "The id is another key's.")
    if denial := _no_such_end(command.ends_at, now):
        return denial
    issued = e.KeyIssued(
        command.new_key_id,
        command.digest,
        command.ends_at,
        None if old.shops is None else tuple(sorted(old.shops)),
        None if old.scopes is None else tuple(sorted(old.scopes)),
        old.networks,
    )
    ended = e.KeyEndSet(old.key_id, min(old.ends_at, max(command.old_ends_at, now)))
    first = _change(principal, issued)
    return (first, first._replace(version=first.version + 1, event=ended))


def revoke_key(command: c.RevokeKey, registry: Registry, giver: Giver, now: datetime) -> Decision:
    """A client may revoke a key of its own."""
    found = _key(registry, command.key_id)
    if found is None or not giver.sees(found[0]):
        return _unknown_key(command.key_id)
    principal, key = found
    is_own = giver.principal is not None and giver.principal.principal_id == principal.principal_id
    managed = principal if is_own else _managed(registry, giver, principal.principal_id)
    if isinstance(managed, Denial):
        return managed
    return () if key.revoked_at else (_change(principal, e.KeyRevoked(key.key_id)),)


def _key(registry: Registry, key_id: str) -> tuple[Principal, Key] | None:
    for principal in registry.principals.values():
        if key := principal.keys.get(key_id):
            return principal, key
    return None


def _unknown_key(key_id: str) -> Denial:
    return Denial("unknown_key", f"There is no key {key_id}.")


def _no_such_end(ends_at: datetime, now: datetime) -> Denial | None:
    if now < ends_at <= now + LONGEST_LIFE:
        return None
    return Denial("invalid_request", f"A key ends in the future, within {LONGEST_LIFE.days} days.")


def _no_such_networks(networks: Iterable[str]) -> Denial | None:
    for network in networks:
        try:
            ipaddress.ip_network(network)
        except ValueError:
            return Denial("invalid_request", f"{network!r} is not a network such as 203.0.113.0/24.")
    return None


# ---- every command ----------------------------------------------------------------------------------

_DECISIONS: Mapping[type[c.Command], Callable[[Any, Registry, Giver, datetime], Decision]] = {
    c.AddMerchant: add_merchant,
    c.EnrolShop: enrol_shop,
    c.SetLimitsOfShop: set_limits_of_shop,
    c.AddPrincipal: add_principal,
    c.RemovePerson: remove_person,
    c.Disable: disable,
    c.Enable: enable,
    c.SetLimits: set_limits,
    c.Grant: grant,
    c.Withdraw: withdraw,
    c.IssueKey: issue_key,
    c.RotateKey: rotate_key,
    c.RevokeKey: revoke_key,
}
"""The decision of each command. ``Any`` stands for the command's own type."""


def decide(registry: Registry, command: c.Command, giver: Giver, now: datetime) -> Decision:
    """The events that a command leads to, none if all is so already; or why it is refused."""
    if giver.principal is not None and not giver.principal.is_active:
        return Denial("not_permitted", "The giver is disabled.")
    return _DECISIONS[type(command)](command, registry, giver, now)
