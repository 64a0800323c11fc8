"""The checkpoints of all shops: files in a folder outside the database. Each is written once and never changed.

``<folder>/<shop>/<size>-<key id>.checkpoint`` holds one signed note. The size has twelve digits, so that the names
sort by size.
"""

import re
from pathlib import Path
from typing import NamedTuple

from domain.kernel import is_id
from infrastructure.audit.checkpoint import Signed
from infrastructure.log.log import INSTALLATION
from infrastructure.runtime import atomic_files

_FILE = re.compile(r"([0-9]{12,})-([0-9a-f]{8})\.checkpoint")
_LARGEST = 10_000
"""No more bytes of a note are read. A note with one signature has about two hundred."""


class CheckpointFile(NamedTuple):
    """A file of one checkpoint. ``size`` and ``key_id`` (hexadecimal) come from its name."""

    size: int
    key_id: str
    path: Path

    def note(self) -> str:
        """The file's text. Bytes that are no UTF-8 are replaced, so that the note is refused later."""
        with self.path.open("rb") as file:
            return file.read(_LARGEST).decode(errors="replace")


class Checkpoints:
    """The folder of checkpoints."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def shops(self) -> list[str]:
        """The shops that have a checkpoint."""
        if not self.folder.exists():
            return []
        return sorted(entry.name for entry in self.folder.iterdir() if entry.is_dir() and self.of(entry.name))

    def accepts(self, shop_id: str) -> bool:
        """Whether a shop, or the installation, can have checkpoints. An id that somebody put into the database by
        hand may be no valid name of a folder."""
        return is_id(shop_id) or shop_id == INSTALLATION

    def of(self, shop_id: str) -> list[CheckpointFile]:
        """A shop's checkpoints, by size."""
        folder = self.folder / shop_id
        if not self.accepts(shop_id) or not folder.is_dir():
            return []
        matches = ((_FILE.fullmatch(path.name), path) for path in folder.iterdir())
        return sorted(CheckpointFile(int(match[1]), match[2], path) for match, path in matches if match)

    def find(self, shop_id: str, size: int | None = None) -> CheckpointFile | None:
        """A shop's newest checkpoint, or the one of that size."""
        files = [file for file in self.of(shop_id) if size is None or file.size == size]
        return files[-1] if files else None

    def add(self, shop_id: str, signed: Signed) -> CheckpointFile:
        """Write a checkpoint. A file that exists stays; raises ``FileExistsError`` if it holds another note."""
        size, key_id = signed.checkpoint.size, signed.key.key_id.hex()
        file = CheckpointFile(size, key_id, self.folder / shop_id / f"{size:012d}-{key_id}.checkpoint")
        atomic_files.make_folder(file.path.parent)
        try:
            atomic_files.write(file.path, signed.note.encode(), mode=0o444)
        except FileExistsError:
            if file.note() != signed.note:
                raise
        return file
