"""The checkpoints of all shops: files in a folder outside the database, each written once and never changed.

``<folder>/<shop>/<size>-<key id>.checkpoint`` holds one signed note. The size has twelve digits, so the files sort
as the log grew.
"""

import re
from pathlib import Path
from typing import NamedTuple

from domain.kernel import is_id
from infrastructure.audit.checkpoint import Signed
from infrastructure.runtime import atomic_files

_FILE = re.compile(r"([0-9]{12,})-([0-9a-f]{8})\.checkpoint")
_LARGEST = 10_000
"""Bytes of a note that is read; one with a signature has some two hundred."""


class Kept(NamedTuple):
    """A checkpoint that is kept, as the name of its file tells it."""

    size: int
    key_id: str
    file: Path

    def note(self) -> str:
        """What the file holds; bytes that are no text are shown as such."""
        with self.file.open("rb") as stored:
            return stored.read(_LARGEST).decode(errors="replace")


class Checkpoints:
    """The folder of checkpoints."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def shops(self) -> list[str]:
        """The shops that have any."""
        if not self.folder.exists():
            return []
        return sorted(place.name for place in self.folder.iterdir() if place.is_dir() and self.of(place.name))

    def takes(self, shop_id: str) -> bool:
        """Whether a shop can have any: an id that was put into the database by hand may be no name of a folder."""
        return is_id(shop_id)

    def of(self, shop_id: str) -> list[Kept]:
        """A shop's checkpoints, by size."""
        place = self.folder / shop_id
        if not self.takes(shop_id) or not place.is_dir():
            return []
        found = ((_FILE.fullmatch(file.name), file) for file in place.iterdir())
        return sorted(Kept(int(match[1]), match[2], file) for match, file in found if match)

    def find(self, shop_id: str, size: int | None = None) -> Kept | None:
        """A shop's newest checkpoint, or the one of that size."""
        fitting = [kept for kept in self.of(shop_id) if size is None or kept.size == size]
        return fitting[-1] if fitting else None

    def keep(self, shop_id: str, signed: Signed) -> Kept:
        """Keep one more. One that is there already stays; raises ``FileExistsError`` if it says something else."""
        size, key_id = signed.checkpoint.size, signed.key.key_id.hex()
        kept = Kept(size, key_id, self.folder / shop_id / f"{size:012d}-{key_id}.checkpoint")
        atomic_files.make_folder(kept.file.parent)
        try:
            atomic_files.write(kept.file, signed.note.encode(), mode=0o444)
        except FileExistsError:
            if kept.note() != signed.note:
                raise
        return kept
