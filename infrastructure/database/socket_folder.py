"""The folder of the embedded server's socket: closed to others, with a path that is valid for a socket."""

import hashlib
import os
import re
import stat
from pathlib import Path

from infrastructure.database.failure import EmbeddedServerFailed

SOCKET = ".s.PGSQL.5432"
LONGEST_SOCKET_PATH = 103
"""Bytes. This is the limit of macOS; that of Linux is 107."""


def socket_folder(data_dir: Path) -> Path:
    """``run`` in the data folder, or a folder in /tmp named by a hash if that path is invalid for a socket.

    A path is invalid if it is too long, or has a character that libpq takes for a separator. The result depends
    only on the data folder, never on TMPDIR or a login session: a service and a shell must get the same.
    """
    folder = data_dir / "run"
    path = str(folder / SOCKET)
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH and re.fullmatch(r"[\w/.+-]+", path, re.ASCII):
        return folder
    return Path("/tmp") / f"shiplock-{hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:24]}"


def make_private(folder: Path, *, like: Path) -> None:
    """Create a folder that is closed to everyone else, or close the existing one.

    The owner must be us or the owner of ``like``. Anyone may create names in /tmp. If someone else put the folder
    there, or a link to one, they would get our connections.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    status = os.lstat(folder)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid not in (os.geteuid(), like.stat().st_uid):
        raise EmbeddedServerFailed(
            f"{folder} was made by someone else, so no socket is put there: remove it, "
            f"or name another folder in SHIPLOCK_DATA_DIR."
        )
    if stat.S_IMODE(status.st_mode) != 0o700:
        folder.chmod(0o700)
