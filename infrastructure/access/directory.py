"""Whom the door lets in: every API key with what it may do, in memory, made anew when the registry changes."""

import ipaddress
from collections.abc import Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from hmac import compare_digest
from typing import Literal, NamedTuple

from domain.access.scopes import Scope, ShopScope
from domain.access.state import Key, Principal, Registry
from infrastructure.access.api_keys import id_of
from infrastructure.access.buckets import Bucket, Buckets

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

WARNING = timedelta(days=30)
"""So long before its end whoever uses a key is told of it."""

Unknown = Literal["unknown_key", "expired_key", "revoked_key", "disabled", "foreign_network"]
"""Why a key is not let in. Whoever holds the right secret is told which; for all others the key never was."""


class Credential(NamedTuple):
    """A key, whose it is, and what may be done with it.

    ``anywhere`` has every scope that it holds on some shop, or on the installation.
    """

    key_id: str
    principal_id: str
    digest: bytes
    ends_at: datetime
    warned_from: datetime
    shops: Mapping[str, frozenset[ShopScope]]
    installation: frozenset[Scope]
    anywhere: frozenset[Scope]
    networks: tuple[Network, ...]
    bucket: Bucket
    is_revoked: bool
    is_disabled: bool

    @property
    def actor(self) -> str:
        """Who does what is done with the key, as events name it."""
        return f"client:{self.principal_id}"


class Directory:
    """The credentials of a registry, at a position of the installation's log. It never changes."""

    def __init__(self, registry: Registry, buckets: Buckets | None = None) -> None:
        buckets = buckets or Buckets()
        self.position = registry.position
        self.buckets_of_shops: Mapping[str, Bucket] = {
            shop_id: buckets.of(f"shop:{shop_id}", shop.limits) for shop_id, shop in registry.shops.items()
        }
        self._by_id = {
            key.key_id: _credential(registry, principal, key, buckets)
            for principal in registry.principals.values()
            for key in principal.keys.values()
        }

    def find(self, text: str, address: str | None, now: datetime) -> Credential | Unknown:
        """The credential of a key as a client sends it, from an address.

        The id finds the entry; the hashes are compared in constant time. So timing tells something of the hash of
        a guess, which leads nowhere.
        """
        credential = self._by_id.get(text[9:19])
        if credential is None or not compare_digest(sha256(text.encode()).digest(), credential.digest):
            return "unknown_key"
        if credential.is_revoked:
            return "revoked_key"
        if credential.is_disabled:
            return "disabled"
        if now >= credential.ends_at:
            return "expired_key"
        if credential.networks and not _is_in(address, credential.networks):
            return "foreign_network"
        return credential

    def still_admits(self, credential: Credential, scope: Scope, shop_id: str, now: datetime) -> bool:
        """Whether a key that was let in before still may do something with a shop: a live stream asks this."""
        known = self._by_id.get(credential.key_id)
        if known is None or known.is_revoked or known.is_disabled or now >= known.ends_at:
            return False
        return scope in known.shops.get(shop_id, ())

    def may_know(self, text: str) -> bool:
        """Whether an unknown key may be a new one: it is well written, and its checksum is right."""
        key_id = id_of(text)
        return key_id is not None and key_id not in self._by_id


def _credential(registry: Registry, principal: Principal, key: Key, buckets: Buckets) -> Credential:
    rights = registry.rights_with(principal, key, key.issued_at)
    installation = frozenset[Scope](rights.installation)
    return Credential(
        key.key_id,
        principal.principal_id,
        bytes.fromhex(key.digest),
        key.ends_at,
        key.ends_at - WARNING,
        rights.shops,
        installation,
        installation.union(*set(rights.shops.values())),
        tuple(ipaddress.ip_network(network) for network in key.networks),
        buckets.of(principal.principal_id, principal.limits),
        key.revoked_at is not None,
        not principal.is_active,
    )


def _is_in(address: str | None, networks: tuple[Network, ...]) -> bool:
    if address is None:
        return False
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    return any(ip in network for network in networks)
