"""The program's settings, from the environment."""

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import platformdirs

_PREFIX = "SHIPLOCK_"
KNOWN = (
    "SHIPLOCK_DATABASE_URL",
    "SHIPLOCK_DATA_DIR",
    "SHIPLOCK_RULES_DIR",
    "SHIPLOCK_KEY_DIR",
    "SHIPLOCK_CHECKPOINT_DIR",
    "SHIPLOCK_CHECKPOINT_SECONDS",
    "SHIPLOCK_HOSTS",
    "SHIPLOCK_WORKERS",
    "SHIPLOCK_TRUSTED_PROXIES",
)

_NOT_OURS = ("SHIPLOCK_TEST_", "SHIPLOCK_SERVICE_", "SHIPLOCK_PORT")
"""Variables of the test suite, and those that Kubernetes sets for a service called shiplock."""


class UnknownSetting(ValueError):
    """A ``SHIPLOCK_`` variable that is not a setting.

    Most likely it is a typing error. If one in the name of the database's URL were ignored, we would write to
    another database.
    """


class BadSetting(ValueError):
    """A setting with an invalid value."""


CHECKPOINT_SECONDS = 300
MOST_WORKERS = 64


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of the program.

    ``database_url`` names a PostgreSQL 15 or later. Without it an embedded PostgreSQL keeps its data under
    ``data_dir``. ``rules_dir`` holds rule sets in addition to those that ship with the program.

    Checkpoints are signed with the keys in ``key_dir`` (default: ``data_dir/keys``) and written to
    ``checkpoint_dir`` (default: ``data_dir/checkpoints``). A serving program makes them every
    ``checkpoint_seconds``; 0 means never.

    ``hosts`` are the names under which clients reach the server, beside those of the machine itself.
    Only the proxies at the addresses ``trusted_proxies`` are believed when they say whose request they pass on.
    ``workers`` processes serve requests, each with its share of the limits. The first start writes the owner's
    key to ``owner_key_file``.
    """

    database_url: str | None
    data_dir: Path
    rules_dir: Path | None = None
    key_dir: Path | None = None
    checkpoint_dir: Path | None = None
    checkpoint_seconds: int = CHECKPOINT_SECONDS
    hosts: tuple[str, ...] = ()
    workers: int = 1
    trusted_proxies: tuple[str, ...] = ()

    @property
    def owner_key_file(self) -> Path:
        return self.data_dir / "owner.key"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Raises ``UnknownSetting`` for a variable with our prefix that is not a setting, and ``BadSetting``."""
        ours = {name for name in environment if name.startswith(_PREFIX)}
        for name in sorted(ours - set(KNOWN)):
            if not name.startswith(_NOT_OURS):
                raise UnknownSetting(f"{name} is not a setting; the settings are {', '.join(KNOWN)}")
        return cls(
            database_url=environment.get("SHIPLOCK_DATABASE_URL") or None,
            data_dir=_folder(environment.get("SHIPLOCK_DATA_DIR")) or _default_data_dir(),
            rules_dir=_folder(environment.get("SHIPLOCK_RULES_DIR")),
            key_dir=_folder(environment.get("SHIPLOCK_KEY_DIR")),
            checkpoint_dir=_folder(environment.get("SHIPLOCK_CHECKPOINT_DIR")),
            checkpoint_seconds=_seconds(environment.get("SHIPLOCK_CHECKPOINT_SECONDS")),
            hosts=_hosts(environment.get("SHIPLOCK_HOSTS")),
            trusted_proxies=_networks(environment.get("SHIPLOCK_TRUSTED_PROXIES")),
            workers=_workers(environment.get("SHIPLOCK_WORKERS")),
        )


def _folder(value: str | None) -> Path | None:
    return Path(os.path.expanduser(value)).absolute() if value else None


def _seconds(value: str | None) -> int:
    if not value:
        return CHECKPOINT_SECONDS
    if not value.isdecimal() or len(value) > 8:
        raise BadSetting(f"SHIPLOCK_CHECKPOINT_SECONDS is {value!r}, not a number of seconds; 0 is never")
    return int(value)


def _networks(value: str | None) -> tuple[str, ...]:
    """Addresses or networks, separated by commas."""
    networks = tuple(each.strip() for each in (value or "").split(",") if each.strip())
    for network in networks:
        try:
            ipaddress.ip_network(network)
        except ValueError:
            raise BadSetting(
                f"SHIPLOCK_TRUSTED_PROXIES has {network!r}, not an address such as 10.0.0.7 or a network such as "
                "10.0.0.0/24"
            ) from None
    return networks


def _workers(value: str | None) -> int:
    if not value:
        return 1
    if not value.isdecimal() or not 1 <= int(value[:8]) <= MOST_WORKERS:
        raise BadSetting(f"SHIPLOCK_WORKERS is {value!r}, not a number of processes from 1 to {MOST_WORKERS}")
    return int(value)


def _hosts(value: str | None) -> tuple[str, ...]:
    """Names or addresses, separated by commas, without ports; an IPv6 address stands in brackets."""
    hosts = tuple(host.strip() for host in (value or "").split(",") if host.strip())
    for host in hosts:
        if not _HOST.fullmatch(host):
            raise BadSetting(f"SHIPLOCK_HOSTS has {host!r}, not a name such as shiplock.example.com without a port")
    return hosts


_HOST = re.compile(r"[0-9A-Za-z._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]")


def _default_data_dir() -> Path:
    """The user's data folder. Without a home that we can write to, it is ``.shiplock`` in the working folder.

    The home of a service's account may not exist, and that of a container's arbitrary user is ``/``. A user's data
    folder that exists is used even if we can't write to it: another folder would silently show an empty log.
    """
    working_folder = Path(".shiplock").absolute()
    try:
        user_folder = platformdirs.user_data_path("shiplock")
    except (RuntimeError, KeyError):
        return working_folder
    if not user_folder.is_absolute():
        return working_folder
    existing = next(folder for folder in (user_folder, *user_folder.parents) if folder.exists())
    usable = existing == user_folder or os.access(existing, os.W_OK | os.X_OK)
    return user_folder if usable else working_folder
