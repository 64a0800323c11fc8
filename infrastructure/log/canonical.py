"""The bytes of an event that its leaf hash covers.

They have all fields in the order of the ``event`` table. Each field is its length in four bytes (big endian) and
its value: a number in eight bytes, a time as microseconds since 1970 in eight bytes, the event id in sixteen bytes,
a text in UTF-8. ``event_leaf_hash`` in ``0001_log.sql`` computes the same inside PostgreSQL.
"""

import hashlib
import struct
from datetime import datetime, timedelta
from uuid import UUID

from infrastructure.runtime.clock import EPOCH

_MICROSECOND = timedelta(microseconds=1)


def canonical_bytes(
    shop_id: str,
    position: int,
    stream: str,
    version: int,
    event_id: UUID,
    event_type: str,
    schema_version: int,
    occurred_at: datetime,
    recorded_at: datetime,
    payload: bytes,
    metadata: bytes,
) -> bytes:
    fields = (
        shop_id.encode(),
        _number(position),
        stream.encode(),
        _number(version),
        event_id.bytes,
        event_type.encode(),
        _number(schema_version),
        _number((occurred_at - EPOCH) // _MICROSECOND),
        _number((recorded_at - EPOCH) // _MICROSECOND),
        payload,
        metadata,
    )
    return b"".join(struct.pack(">i", len(field)) + field for field in fields)


def leaf_hash(canonical: bytes) -> bytes:
    """SHA-256 of 0x00 and the canonical bytes: the leaf of RFC 9162's tree."""
    return hashlib.sha256(b"\x00" + canonical).digest()


def _number(value: int) -> bytes:
    return struct.pack(">q", value)
