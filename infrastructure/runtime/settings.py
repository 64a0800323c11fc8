"""The program's settings, from the environment."""

import os
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
)

_NOT_OURS = ("SHIPLOCK_TEST_", "SHIPLOCK_SERVICE_", "SHIPLOCK_PORT")
"""The test suite's, and those that Kubernetes puts beside a service called shiplock."""


class UnknownSetting(ValueError):
    """A ``SHIPLOCK_`` variable that means nothing.

    Most likely a typing error, and ignoring one in the database's URL would write to another database.
    """


class BadSetting(ValueError):
    """A setting whose value makes no sense."""


CHECKPOINT_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the data is.

    ``database_url`` names a PostgreSQL 15 or later; without it an embedded PostgreSQL keeps its data
    under ``data_dir``. ``rules_dir`` holds rule sets beside those that ship with the program.

    Checkpoints are signed with the keys in ``key_dir`` (default: ``data_dir/keys``), go to ``checkpoint_dir``
    (``data_dir/checkpoints``), and while the program serves are made every ``checkpoint_seconds``; never where
    that is 0.
    """

    database_url: str | None
    data_dir: Path
    rules_dir: Path | None = None
    key_dir: Path | None = None
    checkpoint_dir: Path | None = None
    checkpoint_seconds: int = CHECKPOINT_SECONDS

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
        )


def _folder(stated: str | None) -> Path | None:
    return Path(os.path.expanduser(stated)).absolute() if stated else None


def _seconds(stated: str | None) -> int:
    if not stated:
        return CHECKPOINT_SECONDS
    if not stated.isdecimal() or len(stated) > 8:
        raise BadSetting(f"SHIPLOCK_CHECKPOINT_SECONDS is {stated!r}, not a number of seconds; 0 is never")
    return int(stated)


def _default_data_dir() -> Path:
    """The user's data folder; where there is no home to write to, a folder beside the work at hand.

    Accounts made for services have a home that does not exist, a container's arbitrary user has ``/``.
    A folder that is there already is taken even if it can't be used: going elsewhere would silently
    show an empty log.
    """
    beside = Path(".shiplock").absolute()
    try:
        found = platformdirs.user_data_path("shiplock")
    except (RuntimeError, KeyError):
        return beside
    if not found.is_absolute():
        return beside
    there = next(folder for folder in (found, *found.parents) if folder.exists())
    return found if there == found or os.access(there, os.W_OK | os.X_OK) else beside
