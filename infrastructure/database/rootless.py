"""Run a program under another user number, in a new user namespace of Linux.

PostgreSQL refuses to run as root, and ``initdb`` refuses a user without a name. In the new namespace we have the
number of a named user, and no power over files that aren't ours. Outside nothing changes: the files stay ours, and
no account is made.

Run it as a script: ``python -I -S rootless.py UID PROGRAM ARGUMENT...``. Only a process with a single thread can
enter a namespace, and the program itself has several.
"""

import ctypes
import os
import sys
from pathlib import Path

CLONE_NEWUSER = 0x10000000


def enter_namespace(number: int) -> None:
    """Raises OSError where the kernel, a container or a policy forbids namespaces."""
    uid, gid = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "a user namespace is refused")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{number} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{number} {gid} 1")


if __name__ == "__main__":
    enter_namespace(int(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])
