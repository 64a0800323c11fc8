"""API keys: how they are made, written, and known again.

A key is ``shiplock_``, a public id, ``_``, a secret of 256 random bits, and a checksum. Prefix and checksum let
secret scanners find a real one without asking anybody. Only the hash of a key is stored. A plain hash is enough,
because nobody can guess 256 bits.
"""

import re
import secrets
import zlib
from hashlib import sha256
from typing import NamedTuple

PREFIX = "shiplock_"
ID_LENGTH, SECRET_LENGTH, CHECK_LENGTH = 10, 43, 6
DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
PATTERN = rf"{PREFIX}[0-9A-Za-z]{{{ID_LENGTH}}}_[0-9A-Za-z]{{{SECRET_LENGTH + CHECK_LENGTH}}}"
"""The regular expression for secret scanners."""

_KEY = re.compile(PATTERN)
_ID = slice(len(PREFIX), len(PREFIX) + ID_LENGTH)


class ApiKey(NamedTuple):
    """A new key. ``text`` is shown once; ``digest`` is what is stored."""

    key_id: str
    text: str
    digest: str

    def __repr__(self) -> str:
        return f"ApiKey({self.key_id}, ***)"


def new_key() -> ApiKey:
    """A key that nobody has seen."""
    key_id = random_text(ID_LENGTH)
    start = f"{PREFIX}{key_id}_{random_text(SECRET_LENGTH)}"
    text = start + _checksum(start)
    return ApiKey(key_id, text, digest(text))


def random_text(length: int) -> str:
    """So many letters and digits; 43 of them have 256 bits."""
    return "".join(secrets.choice(DIGITS) for _ in range(length))


def digest(text: str) -> str:
    """What is stored of a key: its SHA-256, in hexadecimal."""
    return sha256(text.encode()).hexdigest()


def id_of(text: str) -> str | None:
    """The public id of what may be a key; ``None`` if it is none, or was copied wrongly."""
    if _KEY.fullmatch(text) is None or _checksum(text[:-CHECK_LENGTH]) != text[-CHECK_LENGTH:]:
        return None
    return text[_ID]


def _checksum(start: str) -> str:
    """The CRC-32 of all before it, in base 62."""
    rest, digits = zlib.crc32(start.encode()), ""
    for _ in range(CHECK_LENGTH):
        rest, digit = divmod(rest, len(DIGITS))
        digits = DIGITS[digit] + digits
    return digits
