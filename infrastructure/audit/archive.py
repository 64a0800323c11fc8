"""The signing keys and the signed checkpoints. Every proof rests on them, and both lie outside the database."""

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
    """The log is not the one that was signed. The message says where; ``shiplock audit verify`` says more."""


class KeyInUse(msgspec.Struct, frozen=True):
    """A public key for a shop's checkpoints, and the sizes of the first and the last checkpoint that it signed.

    ``current``: it signs now. ``handover``: the note in which the previous key signed this one. The first key has
    no handover, and a key that replaced a lost key has none either.
    """

    verifier_key: str
    current: bool
    from_size: int | None
    until_size: int | None
    handover: str | None


class Archive(NamedTuple):
    """The folder of keys and the folder of checkpoints."""

    keys: Keys
    checkpoints: Checkpoints

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(
            Keys(settings.key_dir or settings.data_dir / "keys"),
            Checkpoints(settings.checkpoint_dir or settings.data_dir / "checkpoints"),
        )

    def signer(self) -> Ed25519PrivateKey:
        """The key that signs now. The first call makes it. Raises ``BadKey``, also if the keys are lost."""
        if not self.keys.generations() and self.checkpoints.shops():
            raise BadKey(
                f"There are checkpoints in {self.checkpoints.folder}, and no keys that signed them in "
                f"{self.keys.folder}. Bring that folder back; to begin anew, move the checkpoints away."
            )
        return self.keys.signer()

    def newest(self, shop_id: str, size: int | None = None) -> Signed | None:
        """A shop's newest checkpoint, or the one of that size. Raises ``LogDiffers`` if we did not sign it."""
        file = self.checkpoints.find(shop_id, size)
        if file is None:
            return None
        try:
            return checkpoint.opened(file.note(), self.keys.verifiers(shop_id))
        except BadNote as error:
            raise LogDiffers(f"{file.path.name} of shop {shop_id} is not ours: {error}.") from error

    def history(self, shop_id: str) -> list[KeyInUse]:
        """Every key that a shop's checkpoints were signed with, oldest first."""
        sizes: dict[str, list[int]] = {}
        for file in self.checkpoints.of(shop_id):
            sizes.setdefault(file.key_id, []).append(file.size)
        generations = self.keys.generations()
        history = []
        for generation, key in zip(generations, self.keys.verifiers(shop_id), strict=True):
            signed = sizes.get(key.key_id.hex(), [])
            history.append(
                KeyInUse(
                    str(key),
                    generation is generations[-1],
                    min(signed, default=None),
                    max(signed, default=None),
                    generation.handover,
                )
            )
        return history
