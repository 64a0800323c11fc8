"""Checkpoints (https://c2sp.org/tlog-checkpoint): the size of a log, and the root of the tree over its events.

The text of a checkpoint has three lines: the origin, which names the log; the size; and the root in base64. A
shop's origin is the name of the keys and the shop's id. Its checkpoints are signed under that name.
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
    """A log's root when it had ``size`` events."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ``BadNote``, also for extension lines: this program knows none."""
        match = _TEXT.fullmatch(text)
        try:
            root = base64.b64decode(match[3], validate=True) if match else b""
        except binascii.Error:
            root = b""
        if not match or len(root) != HASH_BYTES:
            raise BadNote("it is no checkpoint: an origin, a size, and a root")
        checkpoint = cls(match[1], int(match[2]), root)
        if checkpoint.text() != text:
            raise BadNote("its root is base64 with stray bits")
        return checkpoint


class Signed(NamedTuple):
    """A checkpoint whose signature is valid, the note that holds it, and the key that signed it."""

    checkpoint: Checkpoint
    note: str
    key: VerifierKey


def opened(text: str, keys: Sequence[VerifierKey]) -> Signed:
    """The checkpoint in a note that one of these keys has signed. The key's name must be the checkpoint's origin.

    Raises ``BadNote``.
    """
    body, key = note.opened(text, keys)
    checkpoint = Checkpoint.parse(body)
    if checkpoint.origin != key.name:
        raise BadNote(f"it is of {checkpoint.origin}, but signed by {key.name}")
    return Signed(checkpoint, text, key)
