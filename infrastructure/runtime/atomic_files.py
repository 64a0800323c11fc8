"""Files that are there whole or not at all, and still there after the machine lost its power."""

import fcntl
import glob
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from infrastructure.runtime import clock

LEFT_SECONDS = 3600
"""A part that nobody has written to for so long is of a program that died."""


def write(file: Path, content: bytes, *, mode: int, replace: bool = False) -> None:
    """Raises ``FileExistsError`` where there is such a file already, unless it may be replaced."""
    part = _beside(file)
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as into:
            into.write(content)
            into.flush()
            os.fsync(into.fileno())
        if replace:
            part.replace(file)
        else:
            os.link(part, file)
    finally:
        part.unlink(missing_ok=True)
    _sync(file.parent)


@contextmanager
def replacing(file: Path) -> Iterator[BinaryIO]:
    """A new file beside ``file`` that takes its name in the end, and is gone if it does not come to that."""
    stated, file = file, file.resolve()
    part = _beside(file)
    try:
        try:
            into = part.open("xb")
        except OSError as error:
            error.filename = str(stated)  # the one that the reader asked for
            raise
        with into:
            yield into
        _sync(part)
        part.replace(file)
        _sync(file.parent)
    finally:
        part.unlink(missing_ok=True)


def make_folder(folder: Path, mode: int = 0o755) -> None:
    """A folder, with those above it that are missing."""
    if not folder.exists():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True, mode=mode)
        _sync(folder.parent)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Be the only program that works in a folder; others wait."""
    with (folder / ".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _beside(file: Path) -> Path:
    """A new name beside a file, for what is not whole yet; what was left there by programs that died is removed."""
    for part in file.parent.glob(f".{glob.escape(file.name)}.{'[0-9a-f]' * 8}"):
        with suppress(OSError):  # it is gone already, or another user's
            if part.stat().st_mtime < clock.now().timestamp() - LEFT_SECONDS:
                part.unlink()
    return file.with_name(f".{file.name}.{secrets.token_hex(4)}")


def _sync(place: Path) -> None:
    """Have the disk hold what a file or folder is now."""
    descriptor = os.open(place, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
