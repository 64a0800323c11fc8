"""Files that are there whole or not at all, and still there after the machine lost its power."""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def write(file: Path, content: bytes, *, mode: int, replace: bool = False) -> None:
    """Raises ``FileExistsError`` where there is such a file already, unless it may be replaced."""
    part = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
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
    part = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
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


def _sync(place: Path) -> None:
    """Have the disk hold what a file or folder is now."""
    descriptor = os.open(place, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
