"""The JSON bodies of requests about clients, roles and keys, and of what they are answered."""

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from domain.access.commands import Network
from domain.access.scopes import Role, Scope
from domain.kernel import ShopId

Name = Annotated[str, Meta(min_length=1, max_length=100)]


class Me(msgspec.Struct, frozen=True):
    """Who a key lets in, what may be done with it, and when it ends."""

    principal: str
    name: str | None
    key_id: str
    key_ends_at: datetime
    shops: dict[str, list[str]]
    installation: list[str]


class VisibleShop(msgspec.Struct, frozen=True):
    """A shop that the key may see, and what may be done with it."""

    shop_id: str
    scopes: list[str]


class NewClient(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A client to add, with a role on some shops; without ``shops`` on every shop of its merchant."""

    name: Name
    role: Role | None = None
    shops: Annotated[tuple[ShopId, ...], Meta(max_length=1_000)] = ()
    merchant: Name | None = None


class NewKeyRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key to make, perhaps narrower than its client."""

    days: Annotated[int, Meta(ge=1, le=731)] = 365
    shops: Annotated[tuple[ShopId, ...], Meta(max_length=1_000)] = ()
    scopes: tuple[Scope, ...] = ()
    networks: Annotated[tuple[Network, ...], Meta(max_length=100)] = ()


class RotationRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For how many hours the old key still works; 0 ends it now."""

    overlap_hours: Annotated[int, Meta(ge=0, le=24 * 90)] = 24


class GrantRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A role to give, on some shops or on every shop of the merchant."""

    role: Role
    shops: Annotated[tuple[ShopId, ...], Meta(max_length=1_000)] = ()


class ShopRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A shop to enrol, with the name of its merchant."""

    shop_id: ShopId
    merchant: Name | None = None


class IssuedKey(msgspec.Struct, frozen=True, omit_defaults=True):
    """A key that was just made. ``key`` is shown this once."""

    key_id: str
    key: str
    ends_at: datetime
    old_ends_at: datetime | None = None


class AddedClient(msgspec.Struct, frozen=True):
    client_id: str
