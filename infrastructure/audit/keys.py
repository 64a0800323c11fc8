"""The keys that sign checkpoints: files in a folder outside the database.

The first key is made when it is first needed. A rotation makes the next key and removes the private part of the
previous one. Public keys stay, so every old signature can still be verified. Before its private part is removed,
the old key signs the new one in a *handover*. Whoever trusts the first key can follow the handovers to the present
one.
"""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from infrastructure.audit import note
from infrastructure.audit.note import BadNote, VerifierKey
from infrastructure.runtime import atomic_files

_PRIVATE = ".private.pem"
_PUBLIC = ".public.pem"
_HANDOVER = ".handover"


class BadKey(Exception):
    """A key is missing or unusable; the message says which file and what to do."""


def followed(trusted: VerifierKey, handovers: Iterable[str]) -> list[VerifierKey]:
    """The chain of keys that starts at a trusted key of a shop: each key has signed the next.

    A handover that the last key of the chain did not sign is ignored.
    """
    name, _, _ = trusted.name.rpartition("/")
    chain = [trusted]
    for handover in handovers:
        with suppress(BadNote):
            text, _ = note.opened(handover, [VerifierKey(name, chain[-1].public)])
            chain.append(VerifierKey(trusted.name, VerifierKey.parse(text.removesuffix("\n")).public))
    return chain


class Generation(NamedTuple):
    """One key: its number, counted from 1, its public part, and the handover that the previous key signed."""

    number: int
    public: bytes
    handover: str | None


class Keys:
    """The keys of an installation. They all sign under one name, which comes from the first key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def generations(self) -> list[Generation]:
        """All keys, oldest first; the last one signs. Empty before the first signature. Raises ``BadKey``."""
        numbers = sorted(int(path.name.removesuffix(_PUBLIC)) for path in self.folder.glob("[0-9]*" + _PUBLIC))
        return [Generation(number, self._public(number), self._handover(number)) for number in numbers]

    @property
    def name(self) -> str:
        """The first part of every checkpoint's origin. Raises ``BadKey``."""
        first = self.generations()[:1]
        if not first:
            raise BadKey(f"There is no key in {self.folder} yet; `shiplock audit checkpoint` makes one.")
        return "shiplock-" + VerifierKey("shiplock", first[0].public).key_id.hex()

    def origin(self, shop_id: str) -> str:
        """The name of a shop's log. Its checkpoints are signed under this name. Raises ``BadKey``."""
        return f"{self.name}/{shop_id}"

    def verifiers(self, shop_id: str) -> list[VerifierKey]:
        """The public keys for a shop's checkpoints, oldest first. Empty before the first signature."""
        generations = self.generations()
        return [VerifierKey(self.origin(shop_id), generation.public) for generation in generations]

    def signer(self) -> Ed25519PrivateKey:
        """The key that signs now. The first call makes it. Raises ``BadKey``."""
        generations = self.generations()
        if not generations:
            self._make(1, Ed25519PrivateKey.generate(), handover=None)
            generations = self.generations()
        file = self._file(generations[-1].number, _PRIVATE)
        try:
            key = load_pem_private_key(file.read_bytes(), password=None)
        except (OSError, ValueError, TypeError) as error:
            raise BadKey(
                f"The signing key {file} can't be read ({error}). Bring it back, or sign on with a new one: "
                "shiplock audit rotate-key --lost"
            ) from error
        if not isinstance(key, Ed25519PrivateKey) or key.public_key().public_bytes_raw() != generations[-1].public:
            raise BadKey(f"{file} is not the private part of {self._file(generations[-1].number, _PUBLIC)}.")
        return key

    def rotate(self, *, lost: bool = False) -> Generation:
        """Sign with a new key from now on. The old key signs the handover, and its private part is removed.

        With ``lost`` there is no handover, for the old private key is gone. Raises ``BadKey``.
        """
        old = None if lost and self.generations() else self.signer()
        last = self.generations()[-1].number
        new = Ed25519PrivateKey.generate()
        handover = note.sign(str(VerifierKey.of(self.name, new)) + "\n", self.name, old) if old else None
        self._make(last + 1, new, handover)
        self._file(last, _PRIVATE).unlink(missing_ok=True)
        return self.generations()[-1]

    def _make(self, number: int, key: Ed25519PrivateKey, handover: str | None) -> None:
        """Write the files of a key, the public one last. Without it a half-made key does not count."""
        atomic_files.make_folder(self.folder, mode=0o700)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        with atomic_files.locked(self.folder):
            if self._file(number, _PUBLIC).exists():
                return
            atomic_files.write(self._file(number, _PRIVATE), private, mode=0o600, replace=True)
            if handover:
                atomic_files.write(self._file(number, _HANDOVER), handover.encode(), mode=0o644, replace=True)
            atomic_files.write(self._file(number, _PUBLIC), public, mode=0o644)

    def _public(self, number: int) -> bytes:
        file = self._file(number, _PUBLIC)
        try:
            key = load_pem_public_key(file.read_bytes())
        except (OSError, ValueError) as error:
            raise BadKey(f"The public key {file} can't be read: {error}") from error
        if not isinstance(key, Ed25519PublicKey):
            raise BadKey(f"{file} is no Ed25519 key.")
        return key.public_bytes_raw()

    def _handover(self, number: int) -> str | None:
        file = self._file(number, _HANDOVER)
        return file.read_text(encoding="utf-8") if file.exists() else None

    def _file(self, number: int, ending: str) -> Path:
        return self.folder / f"{number:04d}{ending}"
