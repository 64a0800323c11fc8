"""Signed notes (https://c2sp.org/signed-note): a text and the Ed25519 signatures of named keys.

The note's text ends in a newline. An empty line separates it from the signature lines::

    — <name> <base64 of key id and signature>

A public key travels as a *verifier key*: ``<name>+<key id>+<base64 of 0x01 and the key>``.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from typing import NamedTuple, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_ED25519 = b"\x01"
_KEY_BYTES = 32
_MOST_SIGNATURES = 100
_NAME = re.compile(r"[^\s+]+")
_SIGNATURE = re.compile(r"— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})")
_UNPRINTABLE = re.compile(r"[\x00-\x09\x0b-\x1f]")


class BadNote(ValueError):
    """A malformed note or key, or a note that no known key has signed; the message says what is wrong."""


class VerifierKey(NamedTuple):
    """A public key and the name it signs under."""

    name: str
    public: bytes

    @property
    def key_id(self) -> bytes:
        """Four bytes that distinguish keys of the same name."""
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(_ED25519 + self.public).decode()}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ``BadNote``."""
        name, _, rest = text.partition("+")
        _, _, encoded = rest.partition("+")
        key = _decoded(encoded)
        if len(key) != 1 + _KEY_BYTES or key[:1] != _ED25519:
            raise BadNote("a verifier key is NAME+KEY ID+BASE64 of an Ed25519 key")
        verifier_key = cls(name, key[1:])
        if not _NAME.fullmatch(name) or str(verifier_key) != text:
            raise BadNote("the parts of the verifier key do not belong together")
        return verifier_key

    @classmethod
    def of(cls, name: str, key: Ed25519PrivateKey) -> Self:
        return cls(name, key.public_key().public_bytes_raw())


def sign(text: str, name: str, key: Ed25519PrivateKey) -> str:
    """The note of a text, signed under a name."""
    if not text.endswith("\n") or _UNPRINTABLE.search(text):
        raise BadNote("a note's text ends in a newline and has no control characters")
    signature = VerifierKey.of(name, key).key_id + key.sign(text.encode())
    return f"{text}\n— {name} {base64.b64encode(signature).decode()}\n"


def opened(note: str, keys: Sequence[VerifierKey]) -> tuple[str, VerifierKey]:
    """A note's text, and the first known key that signed it. Raises ``BadNote``.

    Signatures of unknown keys are ignored. A wrong signature of a known key makes the whole note bad.
    """
    text, signatures = split(note)
    known = {(key.name, key.key_id): key for key in keys}
    signers = []
    for name, signature in signatures:
        if key := known.get((name, signature[:4])):
            try:
                Ed25519PublicKey.from_public_bytes(key.public).verify(signature[4:], text.encode())
            except (InvalidSignature, ValueError) as error:
                raise BadNote(f"the signature of {name} is wrong") from error
            signers.append(key)
    if not signers:
        raise BadNote("no key that is known has signed it")
    return text, signers[0]


def split(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    """A note's text and its signatures: the signer's name, and the key id with the signature. None is verified.

    Raises ``BadNote``.
    """
    text, empty_line, rest = note.rpartition("\n\n")
    lines = rest.split("\n")
    if not empty_line or lines.pop() != "" or not 1 <= len(lines) <= _MOST_SIGNATURES:
        raise BadNote("it is no signed note: a text, an empty line, and signatures")
    if _UNPRINTABLE.search(note):
        raise BadNote("it has control characters")
    signatures = []
    for line in lines:
        match = _SIGNATURE.fullmatch(line)
        if not match:
            raise BadNote("a signature line is not one")
        signatures.append((match[1], _decoded(match[2])))
    return text + "\n", signatures


def _decoded(encoded: str) -> bytes:
    try:
        decoded = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadNote("it has something that is no base64") from error
    if base64.b64encode(decoded).decode() != encoded:
        raise BadNote("it has base64 with stray bits")
    return decoded
