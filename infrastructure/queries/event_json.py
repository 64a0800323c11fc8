"""Stored events as clients and auditors see them: of one order or SKU, and of a whole shop in its feed."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Self

import msgspec

from infrastructure.database.pool import ReadConnection
from infrastructure.log.codec import decode_metadata
from infrastructure.log.log import StoredEvent, read_feed
from infrastructure.log.streams import ORDER, SKU
from infrastructure.queries.paging import Cursor, Page, page_of_sorted

VersionKey = tuple[int]
"""The key of a history: an event's version."""


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
    credential: str | None = None
    on_behalf_of: str | None = None

    @classmethod
    def of(cls, event: StoredEvent) -> Self:
        metadata = decode_metadata(event.metadata)
        return cls(
            position=event.position,
            version=event.version,
            type=event.type,
            schema_version=event.schema_version,
            occurred_at=event.occurred_at,
            recorded_at=event.recorded_at,
            actor=metadata.actor,
            credential=metadata.credential,
            on_behalf_of=metadata.on_behalf_of,
            payload=msgspec.Raw(event.payload),
            metadata=msgspec.Raw(event.metadata),
            event_id=str(event.event_id),
            leaf_hash=event.leaf_hash.hex(),
            stream=event.stream,
            order_sn=event.stream.removeprefix(ORDER) if event.stream.startswith(ORDER) else None,
            sku_id=event.stream.removeprefix(SKU) if event.stream.startswith(SKU) else None,
        )


def page_of_history(
    history: Sequence[StoredEvent], limit: int | None, cursor: Cursor[VersionKey] | None
) -> Page[StoredEventView, VersionKey]:
    """Some events of an order or SKU behind a cursor; without a limit all of them."""
    page = page_of_sorted(history, limit, cursor, lambda event: (event.version,))
    return page.of([StoredEventView.of(event) for event in page.items])


class FeedPage(NamedTuple):
    """Events behind a position. ``searched`` is the position to go on behind, ``has_more`` whether to do so now."""

    events: list[StoredEventView]
    searched: int
    has_more: bool


async def feed(
    connection: ReadConnection, shop_id: str, after: int, limit: int, types: Sequence[str] | None
) -> FeedPage:
    """The shop's next events, of some types or of all, in the order they were recorded.

    The work of a page is bounded: one that looks for a rare type may hold nothing and still have a next one.
    """
    events, searched, has_more = await read_feed(connection, shop_id, after, limit, types)
    return FeedPage([StoredEventView.of(event) for event in events], searched, has_more)
