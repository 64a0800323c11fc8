"""Checkpoints (https://c2sp.org/tlog-checkpoint): so many events, and the root of the tree over them.

The text of a checkpoint is three lines: the origin, which names the log, the size, and the root in base64. A shop's
origin is the name of the keys and the shop's id, and its checkpoints are signed under that.
"""

import base64
import binascii
import re
from collections.abc import Sequence
from typing import NamedTuple, Self

from infrastructure.audit import note
from infrastructure.audit.merkle import HASH_BYTES
from infrastructure.audit.note import BadNote, VerifierKey

_TEXT = re.compile(r"([^\n]+)\n(0|[1-9][0-9]{0,18})\n([A-Za-z0-9+/=]+)\n")


class Checkpoint(NamedTuple):
    """What a log was at a size."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ``BadNote``; extension lines are not known here and refused."""
        match = _TEXT.fullmatch(text)
        try:
            root = base64.b64decode(match[3], validate=True) if match else b""
        except binascii.Error:
            root = b""
        if not match or len(root) != HASH_BYTES:
            raise BadNote("it is no checkpoint: an origin, a size, and a root")
        found = cls(match[1], int(match[2]), root)
        if found.text() != text:
            raise BadNote("its root is base64 with stray bits")
        return found


class Signed(NamedTuple):
    """A checkpoint whose signature was found right, the note it stands in, and who signed it."""

    checkpoint: Checkpoint
    note: str
    key: VerifierKey


def opened(text: str, keys: Sequence[VerifierKey]) -> Signed:
    """The checkpoint of a note that one of these keys has signed, under the checkpoint's own origin.

    Raises ``BadNote``.
    """
    body, key = note.opened(text, keys)
    found = Checkpoint.parse(body)
    if found.origin != key.name:
        raise BadNote(f"it is of {found.origin}, but signed by {key.name}")
    return Signed(found, text, key)
