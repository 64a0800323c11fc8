"""What may be asked of the installation about who may do what.

A principal is a client (a program) or a person. Ids are opaque and made by the caller; what people call somebody is
no part of the log. Shapes are checked when a command is decoded. ``decisions`` say whether it may be done.
"""

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from domain.access.scopes import Role, Scope
from domain.access.state import Kind
from domain.kernel import ShopId

PrincipalId = Annotated[str, Meta(pattern=r"^[0-9A-Za-z]{12}$(?!\n)")]
MerchantId = PrincipalId
KeyId = Annotated[str, Meta(pattern=r"^[0-9A-Za-z]{10}$(?!\n)")]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$(?!\n)")]
Network = Annotated[str, Meta(min_length=2, max_length=49)]
Units = Annotated[int, Meta(ge=1, le=1_000_000)]
Shops = Annotated[tuple[ShopId, ...], Meta(min_length=1, max_length=1_000)]
AwareTime = Annotated[datetime, Meta(tz=True)]


class Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Any command about who may do what."""


class AddMerchant(Command, frozen=True):
    """A group of shops that its own people manage."""

    merchant_id: MerchantId


class EnrolShop(Command, frozen=True):
    """The shop belongs to the merchant. Only enrolled shops can be written to."""

    shop_id: ShopId
    merchant_id: MerchantId


class AddPrincipal(Command, frozen=True):
    """A client or a person of a merchant; without one, of the installation itself."""

    principal_id: PrincipalId
    kind: Kind
    merchant_id: MerchantId | None = None


class RemovePerson(Command, frozen=True):
    """The person is gone for good."""

    principal_id: PrincipalId


class Disable(Command, frozen=True):
    """Let nothing in from this principal until it is enabled again."""

    principal_id: PrincipalId


class Enable(Command, frozen=True):
    """Let it in again, with the roles and keys that it had."""

    principal_id: PrincipalId


class Grant(Command, frozen=True):
    """Give a role on some shops; without ``shops`` on every shop of the principal's merchant, also later ones."""

    principal_id: PrincipalId
    role: Role
    shops: Shops | None = None


class Withdraw(Command, frozen=True):
    """Take a role back on some shops; without ``shops`` on all."""

    principal_id: PrincipalId
    role: Role
    shops: Shops | None = None


class IssueKey(Command, frozen=True):
    """Give a client a key, perhaps narrower than the client itself."""

    principal_id: PrincipalId
    key_id: KeyId
    digest: Digest
    ends_at: AwareTime
    shops: Shops | None = None
    scopes: Annotated[tuple[Scope, ...], Meta(min_length=1)] | None = None
    networks: Annotated[tuple[Network, ...], Meta(max_length=100)] = ()


class RotateKey(Command, frozen=True):
    """Give a client another key like one that it has. The old one ends at ``old_ends_at``; both work till then."""

    key_id: KeyId
    new_key_id: KeyId
    digest: Digest
    ends_at: AwareTime
    old_ends_at: AwareTime


class RevokeKey(Command, frozen=True):
    """Refuse a key from now on."""

    key_id: KeyId


class SetLimits(Command, frozen=True):
    """How much a client or person may ask for: units a second, and how many at once."""

    principal_id: PrincipalId
    per_second: Units
    at_once: Units


class SetLimitsOfShop(Command, frozen=True):
    """How much may be asked for of a shop, by all its principals together."""

    shop_id: ShopId
    per_second: Units
    at_once: Units
