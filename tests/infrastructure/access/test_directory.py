"""Whom the door lets in with which key, from where, and until when."""

from datetime import timedelta

import pytest

from domain.access import commands as c
from domain.access.scopes import INSTALLATION_SCOPES, SHOP_ROLES
from infrastructure.access.api_keys import ApiKey, new_key
from infrastructure.access.directory import Credential, Directory
from tests.domain.access.installation import (
    CLIENT,
    NOW,
    OPERATOR,
    OWN_SHOPS,
    Installation,
    installation,
)

HERE = "203.0.113.7"


def issued(known: Installation, principal_id: str = CLIENT, networks: tuple[str, ...] = ()) -> ApiKey:
    key = new_key()
    known.done(
        c.IssueKey(
            principal_id=principal_id,
            key_id=key.key_id,
            digest=key.digest,
            ends_at=NOW + timedelta(days=30),
            networks=networks,
        )
    )
    return key


def test_a_key_finds_its_client_and_what_it_may_do() -> None:
    known = installation()
    key = issued(known)
    found = Directory(known.registry).find(key.text, HERE, NOW)
    assert isinstance(found, Credential)
    assert (found.actor, found.key_id) == (f"client:{CLIENT}", key.key_id)
    assert found.shops == dict.fromkeys(OWN_SHOPS, SHOP_ROLES["integration"])
    assert found.installation == frozenset()
    operator = Directory(known.registry)
    key = issued(known, OPERATOR)
    assert operator.find(key.text, HERE, NOW) == "unknown_key", "a directory never changes"
    found = Directory(known.registry).find(key.text, HERE, NOW)
    assert isinstance(found, Credential)
    assert found.installation == INSTALLATION_SCOPES


def test_nothing_but_the_whole_key_is_known() -> None:
    known = installation()
    key, other = issued(known), new_key()
    directory = Directory(known.registry)
    for text in (
        "",
        key.key_id,
        key.text[:-1],
        key.text + "0",
        key.text[:20] + other.text[20:],
        other.text,
        key.text.swapcase(),
        "shiplock_",
        "é" * 69,
    ):
        assert directory.find(text, HERE, NOW) == "unknown_key", text


def test_a_key_ends_is_revoked_or_disabled_with_its_client() -> None:
    known = installation()
    key, other = issued(known), issued(known)
    directory = Directory(known.registry)
    last = NOW + timedelta(days=30) - timedelta(microseconds=1)
    assert isinstance(directory.find(key.text, HERE, last), Credential)
    assert directory.find(key.text, HERE, NOW + timedelta(days=30)) == "expired_key"
    known.done(c.RevokeKey(key_id=key.key_id))
    directory = Directory(known.registry)
    assert directory.find(key.text, HERE, NOW) == "revoked_key"
    assert isinstance(directory.find(other.text, HERE, NOW), Credential)
    known.done(c.Disable(principal_id=CLIENT))
    assert Directory(known.registry).find(other.text, HERE, NOW) == "disabled"


@pytest.mark.parametrize(
    ("address", "is_let_in"),
    [
        ("203.0.113.7", True),
        ("203.0.114.7", False),
        ("::ffff:203.0.113.7", True),
        ("2001:db8::1", True),
        ("2001:db9::1", False),
        (None, False),
        ("nonsense", False),
    ],
)
def test_a_key_may_be_of_some_networks_alone(address: str | None, is_let_in: bool) -> None:
    known = installation()
    key = issued(known, networks=("203.0.113.0/24", "2001:db8::/32"))
    found = Directory(known.registry).find(key.text, address, NOW)
    assert isinstance(found, Credential) if is_let_in else found == "foreign_network"


def test_a_well_written_unknown_key_may_be_a_new_one() -> None:
    known = installation()
    key = issued(known)
    directory = Directory(known.registry)
    assert directory.may_know(new_key().text)
    assert not directory.may_know(key.text)
    assert not directory.may_know(key.text[:-1] + ("0" if key.text[-1] != "0" else "1"))
    assert not directory.may_know("nonsense")
