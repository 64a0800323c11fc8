"""Bear another user number in a user namespace of our own, then run a program: on Linux.

PostgreSQL refuses to run as root, and ``initdb`` as a user that has no name. Within the new namespace we
have the number of some user that is named, and no power over files that aren't ours; outside nothing
changes: files stay ours, and no account is made.

Run as a script, ``python -I -S rootless.py UID PROGRAM ARGUMENT...``: a namespace can only be entered by
a process with one thread, which the program itself is not.
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
