"""What happened to those who may ask something of this program, in the past tense.

The class names are the storage format, as those of orders are. The log of the installation never shrinks, so its
events have opaque ids only: no name, no mail address, and of a key only the hash of its secret. Who gave the
command stands in the event's metadata.
"""

from datetime import datetime
from typing import final

import msgspec

from domain.access.scopes import Role, Scope


class Event(msgspec.Struct, frozen=True, tag=True, tag_field="type", omit_defaults=True, gc=False):
    """Any event of the installation's log. The tag, which is the class name, is stored beside the payload."""


@final
class MerchantAdded(Event, frozen=True):
    """A merchant is a group of shops, which its own people manage."""


@final
class ShopEnrolled(Event, frozen=True):
    """The shop belongs to a merchant. Before, nobody can write to it."""

    merchant_id: str


@final
class ClientAdded(Event, frozen=True):
    """A program of a merchant; ``None`` is one of the installation's own."""

    merchant_id: str | None = None


@final
class PersonAdded(Event, frozen=True):
    """Somebody of a merchant; ``None`` is one of the installation's own."""

    merchant_id: str | None = None


@final
class PersonRemoved(Event, frozen=True):
    """The person is gone for good, with all roles and keys."""


@final
class PrincipalDisabled(Event, frozen=True):
    """Nothing is let in from the client or person until it is enabled again."""


@final
class PrincipalEnabled(Event, frozen=True):
    """It is as it was before it was disabled."""


@final
class RoleGranted(Event, frozen=True):
    """The client or person has a role on these shops; ``None`` is every shop of its merchant, also later ones."""

    role: Role
    shops: tuple[str, ...] | None = None


@final
class RoleWithdrawn(Event, frozen=True):
    """The role is gone on these shops; ``None`` is on all of them."""

    role: Role
    shops: tuple[str, ...] | None = None


@final
class KeyIssued(Event, frozen=True):
    """A key of the client, known by its public id. ``digest`` is the SHA-256 of the whole key, in hexadecimal.

    A key may be narrower than its client: only on some ``shops``, with some ``scopes``, from some ``networks``.
    """

    key_id: str
    digest: str
    ends_at: datetime
    shops: tuple[str, ...] | None = None
    scopes: tuple[Scope, ...] | None = None
    networks: tuple[str, ...] = ()


@final
class KeyEndSet(Event, frozen=True):
    """The key ends at another time: earlier, because another one takes its place."""

    key_id: str
    ends_at: datetime


@final
class KeyRevoked(Event, frozen=True):
    """The key is refused from now on."""

    key_id: str


@final
class LimitsSet(Event, frozen=True):
    """How much the client, the person or the shop may ask for: units a second, and at once."""

    per_second: int
    at_once: int


AccessEvent = (
    MerchantAdded
    | ShopEnrolled
    | ClientAdded
    | PersonAdded
    | PersonRemoved
    | PrincipalDisabled
    | PrincipalEnabled
    | RoleGranted
    | RoleWithdrawn
    | KeyIssued
    | KeyEndSet
    | KeyRevoked
    | LimitsSet
)
