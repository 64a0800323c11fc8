"""Whom the door lets in: every API key with what it may do, in memory, made anew when the registry changes."""

import ipaddress
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from hmac import compare_digest
from typing import Literal, NamedTuple

from domain.access.scopes import Scope, ShopScope
from domain.access.state import Key, Limits, Principal, Registry
from infrastructure.access.api_keys import id_of

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

Unknown = Literal["unknown_key", "expired_key", "revoked_key", "disabled", "foreign_network"]
"""Why a key is not let in. Whoever holds the right secret is told which; for all others the key never was."""


class Credential(NamedTuple):
    """A key, whose it is, and what may be done with it."""

    key_id: str
    principal_id: str
    digest: bytes
    ends_at: datetime
    shops: Mapping[str, frozenset[ShopScope]]
    installation: frozenset[Scope]
    networks: tuple[Network, ...]
    limits: Limits
    is_revoked: bool
    is_disabled: bool

    @property
    def actor(self) -> str:
        """Who does what is done with the key, as events name it."""
        return f"client:{self.principal_id}"


class Directory:
    """The credentials of a registry, at a position of the installation's log. It never changes."""

    def __init__(self, registry: Registry) -> None:
        self.position = registry.position
        self._by_id = {
            key.key_id: _credential(registry, principal, key)
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

    def may_know(self, text: str) -> bool:
        """Whether an unknown key may be a new one: it is well written, and its checksum is right."""
        key_id = id_of(text)
        return key_id is not None and key_id not in self._by_id


def _credential(registry: Registry, principal: Principal, key: Key) -> Credential:
    rights = registry.rights_with(principal, key, key.issued_at)
    return Credential(
        key.key_id,
        principal.principal_id,
        bytes.fromhex(key.digest),
        key.ends_at,
        rights.shops,
        frozenset(rights.installation),
        tuple(ipaddress.ip_network(network) for network in key.networks),
        principal.limits,
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
