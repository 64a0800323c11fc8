"""What proof rests on and the database does not hold: the keys, and the checkpoints they signed."""

from typing import NamedTuple, Self

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infrastructure.audit import checkpoint
from infrastructure.audit.checkpoint import Signed
from infrastructure.audit.checkpoints import Checkpoints
from infrastructure.audit.keys import BadKey, Keys
from infrastructure.audit.note import BadNote
from infrastructure.runtime.settings import Settings


class LogDiffers(Exception):
    """The log is not the one that was signed; the message says where, and ``shiplock audit verify`` says more."""


class KeyInUse(msgspec.Struct, frozen=True):
    """A public key for a shop's checkpoints, and the sizes of the first and the last that it signed.

    ``current`` is the key that signs now. ``handover`` is the note by which the key before introduced it; the first
    has none, and neither has one that replaced a lost key.
    """

    verifier_key: str
    current: bool
    from_size: int | None
    until_size: int | None
    handover: str | None


class Archive(NamedTuple):
    """Two folders."""

    keys: Keys
    checkpoints: Checkpoints

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(
            Keys(settings.key_dir or settings.data_dir / "keys"),
            Checkpoints(settings.checkpoint_dir or settings.data_dir / "checkpoints"),
        )

    def signer(self) -> Ed25519PrivateKey:
        """The key that signs, made if there is none yet. Raises ``BadKey``, also where keys went missing."""
        if not self.keys.generations() and self.checkpoints.shops():
            raise BadKey(
                f"There are checkpoints in {self.checkpoints.folder}, and no keys that signed them in "
                f"{self.keys.folder}. Bring that folder back; to begin anew, move the checkpoints away."
            )
        return self.keys.signer()

    def newest(self, shop_id: str, size: int | None = None) -> Signed | None:
        """A shop's newest checkpoint, or the one of that size; raises ``LogDiffers`` if it isn't ours."""
        kept = self.checkpoints.find(shop_id, size)
        if kept is None:
            return None
        try:
            return checkpoint.opened(kept.note(), self.keys.verifiers(shop_id))
        except BadNote as error:
            raise LogDiffers(f"{kept.file.name} of shop {shop_id} is not ours: {error}.") from error

    def history(self, shop_id: str) -> list[KeyInUse]:
        """Every key of a shop's checkpoints, oldest first, and what it signed."""
        sizes: dict[str, list[int]] = {}
        for kept in self.checkpoints.of(shop_id):
            sizes.setdefault(kept.key_id, []).append(kept.size)
        generations = self.keys.generations()
        found = []
        for generation, key in zip(generations, self.keys.verifiers(shop_id), strict=True):
            signed = sizes.get(key.key_id.hex(), [])
            found.append(
                KeyInUse(
                    str(key),
                    generation is generations[-1],
                    min(signed, default=None),
                    max(signed, default=None),
                    generation.handover,
                )
            )
        return found
