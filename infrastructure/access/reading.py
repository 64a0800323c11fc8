"""Reading the installation: who is known, and what was done. Nobody sees a digest, or what another merchant has."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from domain.access.state import MERCHANT, SHOP, Principal, Registry
from infrastructure.access.installation import Installation
from infrastructure.access.names import Notes
from infrastructure.log.codec import decode_metadata

AT_ONCE = 500
"""Events that are searched at once for those that a reader may see."""

Sees = Callable[[Principal], bool]


class GrantView(msgspec.Struct, frozen=True):
    """A role on some shops; without ``shops`` on every shop of the merchant, or on the installation."""

    role: str
    shops: list[str] | None


class KeyView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A key by its public id; its text is shown only when it is made."""

    key_id: str
    issued_at: datetime
    ends_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None
    shops: list[str] | None = None
    scopes: list[str] | None = None
    networks: tuple[str, ...] = ()


class PrincipalView(msgspec.Struct, frozen=True):
    """A client or a person, with roles and keys."""

    principal_id: str
    kind: str
    name: str | None
    merchant_id: str | None
    disabled: bool
    grants: list[GrantView]
    keys: list[KeyView]


class EnrolledShop(msgspec.Struct, frozen=True):
    """An enrolled shop and its merchant."""

    shop_id: str
    merchant_id: str
    merchant: str | None


class AccessEventView(msgspec.Struct, frozen=True):
    """An event of the installation's log: of whom it tells (``of``), who did it, and with which key."""

    position: int
    type: str
    of: str
    recorded_at: datetime
    actor: str
    credential: str | None
    payload: dict[str, Any]


class LogPage(NamedTuple):
    """Some events, and the position behind which to go on; ``None`` at the end of the log."""

    events: list[AccessEventView]
    next_position: int | None


def principals(registry: Registry, notes: Notes, sees: Sees) -> list[PrincipalView]:
    """The clients and people that a reader may know of, by id."""
    return [
        PrincipalView(
            principal.principal_id,
            principal.kind,
            notes.names.get(principal.principal_id),
            principal.merchant_id,
            principal.is_disabled,
            [GrantView(grant.role, _sorted(grant.shops)) for grant in principal.grants],
            [
                KeyView(
                    key.key_id,
                    key.issued_at,
                    key.ends_at,
                    notes.last_uses.get(key.key_id),
                    key.revoked_at,
                    _sorted(key.shops),
                    _sorted(key.scopes),
                    key.networks,
                )
                for key in principal.keys.values()
            ],
        )
        for principal in sorted(registry.principals.values(), key=lambda each: each.principal_id)
        if not principal.is_removed and sees(principal)
    ]


def shops(registry: Registry, names: Mapping[str, str]) -> list[EnrolledShop]:
    """All enrolled shops, by id."""
    return [
        EnrolledShop(shop.shop_id, shop.merchant_id, names.get(shop.merchant_id))
        for shop in sorted(registry.shops.values(), key=lambda each: each.shop_id)
    ]


def log_page(
    installation: Installation, after: int, limit: int, sees: Sees, sees_shop: Callable[[str], bool], *, whole: bool
) -> LogPage:
    """What was done, in order, as far as a reader may know of it. A page may have fewer events than asked for."""
    registry = installation.registry()
    stored = installation.behind(after, AT_ONCE)
    found: list[AccessEventView] = []
    for event in stored:
        stream = str(event.originator_id)
        kind, _, of = stream.partition(":")
        if kind == MERCHANT.rstrip(":"):
            is_seen = whole
        elif kind == SHOP.rstrip(":"):
            is_seen = whole or sees_shop(of)
        else:
            principal = registry.principals.get(of)
            is_seen = whole or (principal is not None and sees(principal))
        if is_seen:
            metadata = decode_metadata(event.metadata)
            payload: dict[str, Any] = msgspec.json.decode(event.state)
            payload.pop("digest", None)
            found.append(
                AccessEventView(
                    event.position,
                    event.topic,
                    stream,
                    event.recorded_at,
                    metadata.actor,
                    metadata.credential,
                    payload,
                )
            )
            if len(found) == limit:
                return LogPage(found, event.position)
    return LogPage(found, stored[-1].position if len(stored) == AT_ONCE else None)


def _sorted(values: frozenset[Any] | None) -> list[Any] | None:
    return None if values is None else sorted(values)


def everybody(_: Principal) -> bool:
    """What the operating system's user sees."""
    return True
