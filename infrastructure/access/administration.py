"""What operators do with the installation: first start, enrolling shops, adding clients, keys and their rotation.

Ids and keys are made here; ``domain.access`` decides. A refusal is raised as ``NotDone``.
"""

import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import psycopg

from domain.access import commands as c
from domain.access.decisions import Denial
from domain.access.scopes import INSTALLATION_ROLES, Role, Scope
from domain.access.state import Principal
from infrastructure.access.api_keys import ApiKey, digest, id_of, new_key, random_text
from infrastructure.access.installation import Done, Installation
from infrastructure.access.names import Connection, named, set_name
from infrastructure.log.log import INSTALLATION
from infrastructure.runtime import atomic_files, clock

USUAL_LIFE = timedelta(days=365)
USUAL_OVERLAP = timedelta(hours=24)
ID_LENGTH = 12
DEFAULT_MERCHANT = "default"
OWNER = "owner"

_FIRST_START = "SELECT pg_advisory_lock(hashtextextended('first start of the installation', 0))"
_SHOPS = "SELECT shop_id FROM shop_log WHERE shop_id <> %s ORDER BY shop_id"


class NotDone(Exception):
    """The installation refuses, or can't do what is asked for."""

    def __init__(self, denial: Denial) -> None:
        super().__init__(denial.detail)
        self.denial = denial


class NewKey(NamedTuple):
    """A key that was just made; ``key`` is shown this once."""

    key_id: str
    key: str
    ends_at: datetime


class Administration:
    """Commands of a principal, or of whoever holds the database (``by`` is ``None``)."""

    def __init__(
        self, installation: Installation, url: str, by: str | None = None, key_id: str | None = None
    ) -> None:
        self._installation = installation
        self._url = url
        self._by = by
        self._key_id = key_id

    def do(self, command: c.Command) -> Done:
        done = self._installation.do(command, by=self._by, key_id=self._key_id)
        if done.denial:
            raise NotDone(done.denial)
        return done

    # ---- merchants and shops ----------------------------------------------------------------------------

    def enrol(self, shop_id: str, merchant: str | None = None) -> str:
        """Enrol a shop with the merchant of a name, which is added if it is new. Returns the merchant's id.

        Without a name a shop stays with its merchant, and a new one goes to the default merchant.
        """
        shop = self._installation.registry().shops.get(shop_id)
        if shop and merchant is None:
            return shop.merchant_id
        merchant_id = self.merchant(merchant or DEFAULT_MERCHANT)
        self.do(c.EnrolShop(shop_id=shop_id, merchant_id=merchant_id))
        return merchant_id

    def merchant(self, name: str) -> str:
        """The id of the merchant of a name, which is added if there is none."""
        with self._connection() as connection, connection.transaction():
            connection.execute("LOCK TABLE access_name IN SHARE ROW EXCLUSIVE MODE")
            if known := named(connection, "merchant", name):
                return known[0]
            merchant_id = random_text(ID_LENGTH)
            self.do(c.AddMerchant(merchant_id=merchant_id))
            set_name(connection, merchant_id, "merchant", name)
            return merchant_id

    # ---- clients and keys -------------------------------------------------------------------------------

    def add_client(
        self, name: str, role: Role | None = None, shops: Sequence[str] = (), merchant: str | None = None
    ) -> str:
        """Add a client with a role on some shops, or on all of its merchant. Returns its id."""
        merchant_id = None if role in INSTALLATION_ROLES else self._merchant_of(shops, merchant)
        client_id = random_text(ID_LENGTH)
        self.do(c.AddPrincipal(principal_id=client_id, kind="client", merchant_id=merchant_id))
        with self._connection() as connection:
            set_name(connection, client_id, "client", name)
        if role:
            try:
                self.do(c.Grant(principal_id=client_id, role=role, shops=tuple(shops) or None))
            except NotDone:
                self.do(c.Disable(principal_id=client_id))
                raise
        return client_id

    def _merchant_of(self, shops: Sequence[str], merchant: str | None) -> str:
        registry = self._installation.registry()
        unknown = [shop_id for shop_id in shops if shop_id not in registry.shops]
        if unknown:
            raise NotDone(Denial("unknown_shop", f"Shop {unknown[0]} is not enrolled."))
        if merchant is not None:
            with self._connection() as connection:
                known = named(connection, "merchant", merchant)
            if not known:
                raise NotDone(Denial("invalid_request", f"There is no merchant {merchant}."))
            return known[0]
        merchants = {registry.shops[shop_id].merchant_id for shop_id in shops} or set(registry.merchants)
        if len(merchants) == 1:
            return merchants.pop()
        which = "the shops are of several merchants" if shops else "there are several merchants, or none"
        raise NotDone(Denial("invalid_request", f"Say of which merchant the client is: {which}."))

    def issue_key(
        self,
        client_id: str,
        life: timedelta = USUAL_LIFE,
        shops: Sequence[str] = (),
        scopes: Sequence[Scope] = (),
        networks: Sequence[str] = (),
    ) -> NewKey:
        """Give a client a key."""
        key, ends_at = new_key(), clock.now() + life
        self.do(_issue(client_id, key, ends_at, shops, scopes, networks))
        return NewKey(key.key_id, key.text, ends_at)

    def rotate_key(
        self, key_id: str, overlap: timedelta = USUAL_OVERLAP, life: timedelta = USUAL_LIFE
    ) -> tuple[NewKey, datetime]:
        """Give the client of a key another one like it. Returns it, and when the old one ends."""
        key, now = new_key(), clock.now()
        rotate = c.RotateKey(
            key_id=key_id,
            new_key_id=key.key_id,
            digest=key.digest,
            ends_at=now + life,
            old_ends_at=now + overlap,
        )
        self.do(rotate)
        return NewKey(key.key_id, key.text, now + life), now + overlap

    # ---- the owner --------------------------------------------------------------------------------------

    def prepare(self, key_file: Path) -> bool:
        """On an installation without a key of an operator, make the owner and write its key to a file.

        The shops that have a log already are enrolled, so that nothing is lost by an upgrade. Programs that start
        at the same time do it once. Returns whether there was anything to do. Raises ``OSError``.
        """
        if self._owner_has_key():
            return False
        with self._connection() as connection:
            connection.execute(_FIRST_START)
            if self._owner_has_key():
                return False
            for (shop_id,) in connection.execute(_SHOPS, (INSTALLATION,)).fetchall():
                self.enrol(shop_id)
            owner = self._owner()
            key = _written(key_file) or _write(key_file, new_key())
            self.do(_issue(owner, key, clock.now() + USUAL_LIFE))
        return True

    def new_owner_key(self, key_file: Path) -> NewKey:
        """Another key for the owner, which replaces the one in the file: the way back in."""
        owner, key, ends_at = self._owner(), new_key(), clock.now() + USUAL_LIFE
        _write(key_file, key, replace=True)
        self.do(_issue(owner, key, ends_at))
        return NewKey(key.key_id, key.text, ends_at)

    def _owner_has_key(self) -> bool:
        principals = self._installation.registry().principals.values()
        return any(principal.is_operator and principal.keys for principal in principals)

    def _owner(self) -> str:
        """The client called owner; it is made an operator if it is none."""
        with self._connection() as connection:
            known = named(connection, "client", OWNER)
        registry = self._installation.registry()
        for client_id in known:
            principal: Principal | None = registry.principals.get(client_id)
            if principal and principal.is_active and principal.is_operator:
                return client_id
        return self.add_client(OWNER, "operator")

    def _connection(self) -> Connection:
        return psycopg.connect(self._url, autocommit=True)


def _issue(
    client_id: str,
    key: ApiKey,
    ends_at: datetime,
    shops: Sequence[str] = (),
    scopes: Sequence[Scope] = (),
    networks: Sequence[str] = (),
) -> c.IssueKey:
    return c.IssueKey(
        principal_id=client_id,
        key_id=key.key_id,
        digest=key.digest,
        ends_at=ends_at,
        shops=tuple(shops) or None,
        scopes=tuple(scopes) or None,
        networks=tuple(networks),
    )


def _write(file: Path, key: ApiKey, *, replace: bool = False) -> ApiKey:
    """Write a key to a file that only its owner may read, before the key is let in anywhere."""
    atomic_files.make_folder(file.parent, 0o700)
    atomic_files.write(file, f"{key.text}\n".encode(), mode=0o600, replace=replace)
    return key


def _written(file: Path) -> ApiKey | None:
    """The key that an earlier start wrote before it was stopped, or that another installation left here."""
    if not file.exists():
        return None
    text = file.read_text().strip()
    key_id = id_of(text)
    if key_id is None:
        raise FileExistsError(f"{file} exists and holds no key; remove it")
    os.chmod(file, 0o600)
    return ApiKey(key_id, text, digest(text))
