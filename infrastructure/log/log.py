"""The per-shop event log: append batches, read streams, read the feed.

A shop's events stand in gapless positions, given out under that shop's lock, so a reader that has seen
position n has seen everything up to n. Appending takes a list of streams with the version each is
expected to have and answers for each of them; a conflict on one does not stop the others.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID, uuid4

from psycopg import AsyncConnection, AsyncCursor
from psycopg.rows import TupleRow

from domain.history import Metadata, Recorded
from domain.order.events import OrderEvent
from infrastructure.log.codec import decode_event, decode_metadata, encode_event, encode_metadata

ORDER = "order:"
"""What the name of an order's stream begins with; the order's number follows."""


class NewEvent(NamedTuple):
    """An event to append, as it will be stored."""

    event_id: UUID
    type: str
    schema_version: int
    occurred_at: datetime
    payload: bytes
    metadata: bytes


class Append(NamedTuple):
    """Events for one stream, which must now have ``expected_version`` (0: must not exist)."""

    stream: str
    expected_version: int
    events: Sequence[NewEvent]


class Appended(NamedTuple):
    """What became of an ``Append``.

    When accepted, ``version`` and ``position`` are those of its last event; when not, ``version`` is
    what the stream really has. ``recorded_at`` is the time the log gave the batch.
    """

    accepted: bool
    version: int
    position: int
    recorded_at: datetime


class StoredEvent(NamedTuple):
    """A row of the log."""

    position: int
    stream: str
    version: int
    event_id: UUID
    type: str
    schema_version: int
    occurred_at: datetime
    recorded_at: datetime
    payload: bytes
    metadata: bytes
    leaf_hash: bytes


APPEND = """
SELECT accepted, stream_version, last_position, at FROM append_events(
    %b::text, %b::timestamptz, %b::text[], %b::integer[],
    %b::integer[], %b::uuid[], %b::text[], %b::smallint[], %b::timestamptz[], %b::bytea[], %b::bytea[])
"""

_COLUMNS = """position, stream, version, event_id, type, schema_version,
    occurred_at, recorded_at, payload, metadata, leaf_hash"""

_HISTORIES = """
SELECT w.n, e.position, e.version, e.type, e.schema_version, e.occurred_at, e.recorded_at, e.payload, e.metadata
FROM unnest(%b::text[], %b::text[]) WITH ORDINALITY AS w(shop_id, stream, n)
CROSS JOIN LATERAL (
    SELECT * FROM event e
    WHERE e.shop_id = w.shop_id AND e.stream = w.stream AND e.position <= %b::bigint
    ORDER BY e.version
) e
"""

_STREAM = f"SELECT {_COLUMNS} FROM event WHERE shop_id = %s AND stream = %s ORDER BY version"

_FEED = f"""
SELECT {_COLUMNS} FROM event
WHERE shop_id = %(shop_id)s AND position > %(after)s AND position <= %(until)s
  AND (%(types)s::text[] IS NULL OR type = ANY(%(types)s))
ORDER BY position LIMIT %(limit)s
"""

_LAST_POSITION = 2**62

FEED_STRETCH = 20_000
"""How many positions one reading of the feed searches at most."""


def new_event(event: OrderEvent, occurred_at: datetime, metadata: Metadata) -> NewEvent:
    """A domain event ready to be appended."""
    name, version, payload = encode_event(event)
    return NewEvent(uuid4(), name, version, occurred_at, payload, encode_metadata(metadata))


def append_parameters(shop_id: str, recorded_at: datetime, appends: Sequence[Append]) -> tuple[object, ...]:
    """The arguments of ``APPEND``; streams must be distinct."""
    flat = [(n, event) for n, append in enumerate(appends, start=1) for event in append.events]
    return (
        shop_id,
        recorded_at,
        [append.stream for append in appends],
        [append.expected_version for append in appends],
        [n for n, _ in flat],
        [event.event_id for _, event in flat],
        [event.type for _, event in flat],
        [event.schema_version for _, event in flat],
        [event.occurred_at for _, event in flat],
        [event.payload for _, event in flat],
        [event.metadata for _, event in flat],
    )


async def append(
    connection: AsyncConnection[TupleRow],
    recorded_at: datetime,
    shops: Mapping[str, Sequence[Append]],
) -> dict[str, list[Appended]]:
    """Append to several shops' logs, in one round trip and in shop order, inside the caller's transaction.

    The answer has an ``Appended`` for each ``Append``, in the same order. Shops are locked in order of
    their ids, so transactions over the same shops wait for each other and never deadlock.
    """
    async with connection.pipeline():
        cursors = await _send_appends(connection, recorded_at, shops)
    return await _outcomes(cursors)


async def append_and_commit(
    connection: AsyncConnection[TupleRow],
    recorded_at: datetime,
    shops: Mapping[str, Sequence[Append]],
) -> dict[str, list[Appended]]:
    """As ``append``, in a transaction of its own that takes one round trip from beginning to commit."""
    async with connection.pipeline(), connection.transaction():
        cursors = await _send_appends(connection, recorded_at, shops)
    return await _outcomes(cursors)


async def _send_appends(
    connection: AsyncConnection[TupleRow],
    recorded_at: datetime,
    shops: Mapping[str, Sequence[Append]],
) -> dict[str, AsyncCursor[TupleRow]]:
    return {
        shop_id: await connection.execute(APPEND, append_parameters(shop_id, recorded_at, shops[shop_id]))
        for shop_id in sorted(shops)
    }


async def _outcomes(cursors: Mapping[str, AsyncCursor[TupleRow]]) -> dict[str, list[Appended]]:
    return {shop_id: [Appended(*row) async for row in cursor] for shop_id, cursor in cursors.items()}


async def read_histories(
    connection: AsyncConnection[TupleRow],
    streams: Iterable[tuple[str, str]],
    up_to: int = _LAST_POSITION,
) -> dict[tuple[str, str], list[Recorded]]:
    """The histories of (shop, stream) pairs in one query, each in version order; empty where there is none.

    Raises ``UnreadableEvent``.
    """
    wanted = list(dict.fromkeys(streams))
    histories: dict[tuple[str, str], list[Recorded]] = {pair: [] for pair in wanted}
    if not wanted:
        return histories
    cursor = connection.cursor(binary=True)
    await cursor.execute(_HISTORIES, ([shop for shop, _ in wanted], [stream for _, stream in wanted], up_to))
    async for n, position, version, kind, schema, occurred_at, recorded_at, payload, metadata in cursor:
        event = decode_event(kind, schema, payload)
        recorded = Recorded(event, version, position, occurred_at, recorded_at, decode_metadata(metadata))
        histories[wanted[n - 1]].append(recorded)
    return histories


async def read_stream(connection: AsyncConnection[TupleRow], shop_id: str, stream: str) -> list[StoredEvent]:
    """One stream as it is stored, in version order."""
    cursor = connection.cursor(binary=True)
    await cursor.execute(_STREAM, (shop_id, stream))
    return [StoredEvent(*row) for row in await cursor.fetchall()]


async def read_feed(
    connection: AsyncConnection[TupleRow],
    shop_id: str,
    after: int,
    limit: int,
    types: Sequence[str] | None = None,
) -> tuple[list[StoredEvent], int, bool]:
    """The shop's next events after a position, of some types or of all, in the order they were recorded.

    Also the position up to which the log has now been searched, which is where to go on, and whether
    there is more. One call searches a bounded stretch of the log, so looking for a rare type may take
    several that find nothing.
    """
    head = await read_head(connection, shop_id)
    until = min(after + FEED_STRETCH, head)
    cursor = connection.cursor(binary=True)
    await cursor.execute(
        _FEED,
        {
            "shop_id": shop_id,
            "after": after,
            "until": until,
            "limit": limit,
            "types": list(types) if types else None,
        },
    )
    found = [StoredEvent(*row) for row in await cursor.fetchall()]
    searched = found[-1].position if len(found) == limit else max(after, until)
    return found, searched, searched < head


async def read_head(connection: AsyncConnection[TupleRow], shop_id: str) -> int:
    """The last position of a shop's log, 0 for a shop never heard of."""
    cursor = await connection.execute("SELECT position FROM shop_log WHERE shop_id = %s", (shop_id,))
    row = await cursor.fetchone()
    return row[0] if row else 0


def recorded(stored: StoredEvent) -> Recorded:
    """A stored order event as the domain knows it; raises ``UnreadableEvent``."""
    return Recorded(
        decode_event(stored.type, stored.schema_version, stored.payload),
        stored.version,
        stored.position,
        stored.occurred_at,
        stored.recorded_at,
        decode_metadata(stored.metadata),
    )
