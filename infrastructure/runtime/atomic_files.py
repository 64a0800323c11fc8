"""Files that exist as a whole or not at all, also after a loss of power."""

import fcntl
import glob
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from infrastructure.runtime import clock

STALE_SECONDS = 3600
"""The program that wrote a part is dead if the part has not changed for so long."""


def write(file: Path, content: bytes, *, mode: int, replace: bool = False) -> None:
    """Write a file. Raises ``FileExistsError`` if it exists already, unless ``replace``."""
    part = _part_of(file)
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as output:
            output.write(content)
            output.flush()
            os.fsync(output.fileno())
        if replace:
            part.replace(file)
        else:
            os.link(part, file)
    finally:
        part.unlink(missing_ok=True)
    _sync(file.parent)


@contextmanager
def replacing(file: Path) -> Iterator[BinaryIO]:
    """A new file that replaces ``file`` at the end of the block. If the block fails, nothing is replaced."""
    named, file = file, file.resolve()
    part = _part_of(file)
    try:
        try:
            output = part.open("xb")
        except OSError as error:
            error.filename = str(named)  # the name that the user knows, not that of the part
            raise
        with output:
            yield output
        _sync(part)
        part.replace(file)
        _sync(file.parent)
    finally:
        part.unlink(missing_ok=True)


def make_folder(folder: Path, mode: int = 0o755) -> None:
    """Make a folder, and those above it that are missing."""
    if not folder.exists():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True, mode=mode)
        _sync(folder.parent)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Be the only program that works in a folder. Others that call this wait."""
    with (folder / ".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _part_of(file: Path) -> Path:
    """A new name in the file's folder, for the unfinished file. Removes parts that dead programs left there."""
    for part in file.parent.glob(f".{glob.escape(file.name)}.{'[0-9a-f]' * 8}"):
        with suppress(OSError):  # it is gone already, or belongs to another user
            if part.stat().st_mtime < clock.now().timestamp() - STALE_SECONDS:
                part.unlink()
    return file.with_name(f".{file.name}.{secrets.token_hex(4)}")


def _sync(path: Path) -> None:
    """Wait until the disk has the content of a file or folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
