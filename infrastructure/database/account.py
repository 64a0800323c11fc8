"""The account that the server's programs run under.

PostgreSQL refuses to run as root, and its files must belong to the account it runs under. That account needs a name
(as in /etc/passwd), which the arbitrary user of a container does not have.
"""

import os
import pwd
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from infrastructure.database.failure import EmbeddedServerFailed
from infrastructure.runtime import processes

NOBODY = 65534


@dataclass(frozen=True, slots=True)
class Account:
    """How to start a program so that it runs under the right account."""

    prefix: tuple[str, ...]
    """The words before the program on the command line."""

    uid: int
    gid: int
    """The owner of the cluster's files, as seen outside any namespace."""


def account_for(cluster: Path, *, program: Path) -> Account:
    """The account for a cluster, which need not exist yet.

    Ordinary users keep their own account; a user without a name gets the number of a named one in a user namespace.
    Root uses the account that the files belong to. For files that belong to root, and for new ones, root uses a
    namespace. Where namespaces are forbidden (as in most containers) it becomes nobody, with the capability to pass
    closed folders on the way to the files. No folder's permissions are changed and no account is made.
    """
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0 and cluster.exists() and (owner := cluster.stat()).st_uid != 0:
        return _as_user(owner.st_uid, owner.st_gid)
    if uid != 0 and _is_named(uid):
        return Account((), uid, gid)
    in_namespace = (sys.executable, "-I", "-S", str(Path(__file__).with_name("rootless.py")), str(_named_user()))
    # In a namespace root can't enter other users' folders, so check that it can reach the files.
    check = ("/bin/sh", "-c", 'test -w "$0" && test -x "$1"', str(cluster.parent), str(program))
    if processes.run([*in_namespace, *check]).returncode == 0:
        return Account(in_namespace, uid, gid)
    return _as_user(NOBODY, NOBODY) if uid == 0 else Account((), uid, gid)


def _is_named(uid: int) -> bool:
    try:
        return bool(pwd.getpwuid(uid).pw_name)
    except KeyError:
        return False


def _named_user() -> int:
    """Any user that has a name and isn't root."""
    return next((entry.pw_uid for entry in pwd.getpwall() if entry.pw_uid != 0), NOBODY)


def _as_user(uid: int, gid: int) -> Account:
    if shutil.which("setpriv") is None:
        raise EmbeddedServerFailed(
            "PostgreSQL does not run as root, and there are neither user namespaces nor the program setpriv "
            "to change that: run as an ordinary user, or name a PostgreSQL of your own in SHIPLOCK_DATABASE_URL."
        )
    change = ("setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups")
    keep = ("--inh-caps=-all,+dac_override", "--ambient-caps=-all,+dac_override")
    return Account((*change, *keep), uid, gid)
