"""The folder of the embedded server's socket: only ours, and with a path a socket can have."""

import hashlib
import os
import re
import stat
from pathlib import Path

from infrastructure.database.failure import EmbeddedServerFailed

SOCKET = ".s.PGSQL.5432"
LONGEST_SOCKET_PATH = 103
"""Bytes; macOS has the least room (Linux takes 107)."""


def socket_folder(data_dir: Path) -> Path:
    """``run`` in the data folder, or one named by its hash under /tmp where that path can't be a socket's.

    That is when it is too long, or has a character that libpq takes for a separator. It depends on the
    data folder alone, never on TMPDIR or a login session: a service and a shell must come to the same.
    """
    folder = data_dir / "run"
    path = str(folder / SOCKET)
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH and re.fullmatch(r"[\w/.+-]+", path, re.ASCII):
        return folder
    return Path("/tmp") / f"shiplock-{hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:24]}"


def make_private(folder: Path, *, like: Path) -> None:
    """Create a folder closed to everyone else, or make sure that the one there is.

    Its owner must be us or the owner of ``like``. Anyone may create names in /tmp: a folder, or a link
    to one, that someone else put there would hand them our connections.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (os.geteuid(), like.stat().st_uid):
        raise EmbeddedServerFailed(
            f"{folder} was made by someone else, so no socket is put there: remove it, "
            f"or name another folder in SHIPLOCK_DATA_DIR."
        )
    if stat.S_IMODE(found.st_mode) != 0o700:
        folder.chmod(0o700)
