"""Who is known to the installation, folded from its log: merchants, shops, clients, people, roles and keys."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Literal, NamedTuple, assert_never

import msgspec
from msgspec.structs import replace

from domain.access import events as e
from domain.access.scopes import (
    INSTALLATION_ROLES,
    INSTALLATION_SCOPES,
    SHOP_ROLES,
    SHOP_SCOPES,
    InstallationScope,
    Role,
    Scope,
    ShopScope,
)
from domain.history import Recorded

Kind = Literal["client", "person"]

DEFAULT_PER_SECOND, DEFAULT_AT_ONCE = 1_000, 5_000
"""What a client, a person or a shop may ask for where nothing else was set."""


class Limits(NamedTuple):
    """Units a second, and how many at once. A command is one unit."""

    per_second: int = DEFAULT_PER_SECOND
    at_once: int = DEFAULT_AT_ONCE


class Grant(msgspec.Struct, frozen=True):
    """A role on some shops; ``None`` is every shop of the principal's merchant."""

    role: Role
    shops: frozenset[str] | None = None


class Key(msgspec.Struct, frozen=True):
    """A key of a client. ``shops`` and ``scopes`` narrow what the client may; ``None`` narrows nothing."""

    key_id: str
    digest: str
    issued_at: datetime
    ends_at: datetime
    shops: frozenset[str] | None = None
    scopes: frozenset[Scope] | None = None
    networks: tuple[str, ...] = ()
    revoked_at: datetime | None = None

    def is_valid(self, at: datetime) -> bool:
        return self.revoked_at is None and at < self.ends_at


class Principal(msgspec.Struct, frozen=True):
    """A client or a person. ``merchant_id`` is ``None`` for one of the installation itself."""

    principal_id: str
    kind: Kind
    merchant_id: str | None
    version: int = 1
    grants: tuple[Grant, ...] = ()
    keys: Mapping[str, Key] = {}
    limits: Limits = Limits()
    is_disabled: bool = False
    is_removed: bool = False

    @property
    def is_active(self) -> bool:
        return not (self.is_disabled or self.is_removed)

    @property
    def is_operator(self) -> bool:
        return any(grant.role == "operator" for grant in self.grants)


class Shop(msgspec.Struct, frozen=True):
    """An enrolled shop, and the merchant that it belongs to."""

    shop_id: str
    merchant_id: str
    version: int = 1
    limits: Limits = Limits()


class Rights(NamedTuple):
    """What somebody may do: scopes by shop, and those of the installation."""

    shops: Mapping[str, frozenset[ShopScope]]
    installation: frozenset[InstallationScope] = frozenset()

    def includes(self, scope: Scope, shop_id: str) -> bool:
        return scope in self.shops.get(shop_id, ())


NO_RIGHTS = Rights({})


class Registry(msgspec.Struct, frozen=True):
    """All of the installation's log up to a position."""

    position: int = 0
    merchants: Mapping[str, int] = {}
    """The version of each merchant."""
    shops: Mapping[str, Shop] = {}
    principals: Mapping[str, Principal] = {}

    def shops_of(self, merchant_id: str | None) -> frozenset[str]:
        """The shops of a merchant; those of the installation's own principals are all shops."""
        return frozenset(
            shop_id
            for shop_id, shop in self.shops.items()
            if merchant_id is None or shop.merchant_id == merchant_id
        )

    def rights_of(self, principal: Principal) -> Rights:
        """What a client or person may do, whichever key it uses."""
        if not principal.is_active:
            return NO_RIGHTS
        if principal.is_operator:
            return Rights(dict.fromkeys(self.shops, SHOP_SCOPES), INSTALLATION_SCOPES)
        own = self.shops_of(principal.merchant_id)
        by_shop: dict[str, frozenset[ShopScope]] = {}
        installation: frozenset[InstallationScope] = frozenset()
        for grant in principal.grants:
            if grant.role in INSTALLATION_ROLES:
                installation |= INSTALLATION_ROLES[grant.role]
                continue
            for shop_id in own if grant.shops is None else own & grant.shops:
                by_shop[shop_id] = by_shop.get(shop_id, frozenset()) | SHOP_ROLES[grant.role]
        return Rights(by_shop, installation)

    def rights_with(self, principal: Principal, key: Key, at: datetime) -> Rights:
        """What a client may do with a key: nothing that the client may not, and nothing that the key leaves out."""
        if not key.is_valid(at):
            return NO_RIGHTS
        rights = self.rights_of(principal)
        by_shop = {
            shop_id: held
            for shop_id, scopes in rights.shops.items()
            if key.shops is None or shop_id in key.shops
            if (held := scopes if key.scopes is None else frozenset(each for each in scopes if each in key.scopes))
        }
        installation = rights.installation
        if key.shops is not None:
            installation = frozenset()
        if key.scopes is not None:
            installation = frozenset(each for each in installation if each in key.scopes)
        return Rights(by_shop, installation)


MERCHANT, SHOP, CLIENT, PERSON = "merchant:", "shop:", "client:", "person:"
"""What the names of the streams begin with; an id follows."""


def fold(history: Iterable[tuple[str, Recorded[e.AccessEvent]]]) -> Registry:
    """The registry that a log leads to: events with the names of their streams, in the order of positions."""
    return evolve(Registry(), history)


def evolve(registry: Registry, news: Iterable[tuple[str, Recorded[e.AccessEvent]]]) -> Registry:
    """The registry after more events; the one before stays as it was."""
    draft = _Draft(registry)
    for stream, recorded in news:
        draft.apply(stream, recorded)
    return draft.registry()


class _Draft:
    """A registry while events are applied to it. Total: any event may follow any other."""

    def __init__(self, registry: Registry) -> None:
        self._position = registry.position
        self._merchants = dict(registry.merchants)
        self._shops = dict(registry.shops)
        self._principals = dict(registry.principals)

    def registry(self) -> Registry:
        return Registry(self._position, self._merchants, self._shops, self._principals)

    def apply(self, stream: str, recorded: Recorded[e.AccessEvent]) -> None:
        self._position = max(self._position, recorded.position)
        event, at, version = recorded.event, recorded.occurred_at, recorded.version
        of = stream.partition(":")[2]
        match event:
            case e.MerchantAdded():
                self._merchants[of] = version
            case e.ShopEnrolled():
                limits = self._shops[of].limits if of in self._shops else Limits()
                self._shops[of] = Shop(of, event.merchant_id, version, limits)
            case e.LimitsSet() if stream.startswith(SHOP):
                if shop := self._shops.get(of):
                    limits = Limits(event.per_second, event.at_once)
                    self._shops[of] = replace(shop, version=version, limits=limits)
            case e.ClientAdded():
                self._principals[of] = Principal(of, "client", event.merchant_id, version)
            case e.PersonAdded():
                self._principals[of] = Principal(of, "person", event.merchant_id, version)
            case _:
                if principal := self._principals.get(of):
                    self._principals[of] = replace(_changed(principal, event, at), version=version)


def _changed(principal: Principal, event: e.AccessEvent, at: datetime) -> Principal:
    match event:
        case e.PersonRemoved():
            return replace(principal, is_removed=True, grants=(), keys={})
        case e.PrincipalDisabled():
            return replace(principal, is_disabled=True)
        case e.PrincipalEnabled():
            return replace(principal, is_disabled=False)
        case e.RoleGranted():
            grant = Grant(event.role, None if event.shops is None else frozenset(event.shops))
            return replace(principal, grants=_with(principal.grants, grant))
        case e.RoleWithdrawn():
            shops = None if event.shops is None else frozenset(event.shops)
            return replace(principal, grants=_without(principal.grants, event.role, shops))
        case e.KeyIssued():
            key = Key(
                event.key_id,
                event.digest,
                at,
                event.ends_at,
                None if event.shops is None else frozenset(event.shops),
                None if event.scopes is None else frozenset(event.scopes),
                event.networks,
            )
            return replace(principal, keys={**principal.keys, event.key_id: key})
        case e.KeyEndSet():
            return _with_key(principal, event.key_id, ends_at=event.ends_at)
        case e.KeyRevoked():
            return _with_key(principal, event.key_id, revoked_at=at)
        case e.LimitsSet():
            return replace(principal, limits=Limits(event.per_second, event.at_once))
        case e.MerchantAdded() | e.ShopEnrolled() | e.ClientAdded() | e.PersonAdded():
            return principal
        case _:
            assert_never(event)


def _with_key(principal: Principal, key_id: str, **changes: datetime) -> Principal:
    key = principal.keys.get(key_id)
    if key is None:
        return principal
    return replace(principal, keys={**principal.keys, key_id: replace(key, **changes)})


def _with(grants: tuple[Grant, ...], new: Grant) -> tuple[Grant, ...]:
    """The grants and one more. One role has at most one grant: on some shops, or on all."""
    before = next((grant for grant in grants if grant.role == new.role), None)
    if before is not None:
        shops = None if before.shops is None or new.shops is None else before.shops | new.shops
        new = Grant(new.role, shops)
    return (*(grant for grant in grants if grant.role != new.role), new)


def _without(grants: tuple[Grant, ...], role: Role, shops: frozenset[str] | None) -> tuple[Grant, ...]:
    """The grants without a role on some shops. One that holds on every shop is withdrawn only as a whole."""
    left: list[Grant] = []
    for grant in grants:
        if grant.role != role or (shops is not None and grant.shops is None):
            left.append(grant)
        elif shops and grant.shops and (rest := grant.shops - shops):
            left.append(Grant(role, rest))
    return tuple(left)
