"""Stored events as clients and auditors see them."""

from datetime import datetime
from typing import Self

import msgspec

from infrastructure.log.codec import decode_metadata
from infrastructure.log.log import StoredEvent
from infrastructure.log.streams import ORDER, SKU


class StoredEventView(msgspec.Struct, frozen=True, omit_defaults=True):
    """An event in its place. ``payload`` and ``metadata`` are the stored JSON, ``leaf_hash`` is hexadecimal."""

    position: int
    version: int
    type: str
    schema_version: int
    occurred_at: datetime
    recorded_at: datetime
    actor: str
    payload: msgspec.Raw
    metadata: msgspec.Raw
    event_id: str
    leaf_hash: str
    stream: str
    order_sn: str | None = None
    sku_id: str | None = None

    @classmethod
    def of(cls, stored: StoredEvent) -> Self:
        return cls(
            position=stored.position,
            version=stored.version,
            type=stored.type,
            schema_version=stored.schema_version,
            occurred_at=stored.occurred_at,
            recorded_at=stored.recorded_at,
            actor=decode_metadata(stored.metadata).actor,
            payload=msgspec.Raw(stored.payload),
            metadata=msgspec.Raw(stored.metadata),
            event_id=str(stored.event_id),
            leaf_hash=stored.leaf_hash.hex(),
            stream=stored.stream,
            order_sn=stored.stream.removeprefix(ORDER) if stored.stream.startswith(ORDER) else None,
            sku_id=stored.stream.removeprefix(SKU) if stored.stream.startswith(SKU) else None,
        )
