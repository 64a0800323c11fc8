"""The event log of each shop: append batches, read streams, read the feed.

A shop's events have gapless positions, which are assigned under that shop's lock. So a reader that has read
position n has read everything up to n. An append call has several streams, each with its expected version, and
returns an outcome for each. A conflict on one stream does not stop the others.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from domain.history import Metadata, Recorded
from infrastructure.database.pool import ReadConnection, WriteConnection
from infrastructure.log.codec import (
    AnyEvent,
    UnreadableEvent,
    decode_event,
    decode_metadata,
    encode_event,
    encode_metadata,
)
from infrastructure.log.columns import Bigints, Blobs, Column, Integers, Smallints, Texts, Times, Uuids
from infrastructure.log.streams import ORDER as ORDER

INSTALLATION = "_installation"
"""The id of the log that says who may do what. A shop's id begins with a letter or a digit."""


class NewEvent(NamedTuple):
    """An event to append, encoded for storage."""

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
    """The outcome of an ``Append``.

    If accepted, ``version`` and ``position`` are those of its last event. If not, ``version`` is the version that
    the stream really has. ``recorded_at`` is the time that the log gave to the batch.
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

APPEND_TOGETHER = "SELECT * FROM append_events_together(%b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b)"

_COLUMNS = """position, stream, version, event_id, type, schema_version,
    occurred_at, recorded_at, payload, metadata, leaf_hash"""

# Without the sum, the planner may read a whole shop by position while the table is new.
_HISTORIES = """
SELECT w.n, e.position, e.version, e.type, e.schema_version, e.occurred_at, e.recorded_at, e.payload, e.metadata
FROM unnest(%b::text[], %b::text[], %b::bigint[]) WITH ORDINALITY AS w(shop_id, stream, up_to, n)
CROSS JOIN LATERAL (
    SELECT * FROM event e
    WHERE e.shop_id = w.shop_id AND e.stream = w.stream AND e.position + 0 <= w.up_to
    ORDER BY e.version
) e
"""

# A join, because the planner assumes that a constant shop without statistics is empty.
_STREAM = f"""
SELECT {_COLUMNS} FROM unnest(%s::text[], %s::text[]) AS w(shop_id, stream) JOIN event USING (shop_id, stream)
ORDER BY version
"""

_FEED = f"""
SELECT {_COLUMNS} FROM event
WHERE shop_id = %(shop_id)s AND position > %(after)s AND position <= %(until)s
  AND (%(types)s::text[] IS NULL OR type = ANY(%(types)s))
ORDER BY position LIMIT %(limit)s
"""

_LAST_POSITION = 2**62

FEED_WINDOW = 20_000
"""One call of ``read_feed`` searches at most so many positions."""


def new_event(event: AnyEvent, occurred_at: datetime, metadata: Metadata) -> NewEvent:
    """Encode a domain event for appending."""
    name, version, payload = encode_event(event)
    return NewEvent(uuid4(), name, version, occurred_at, payload, encode_metadata(metadata))


def append_parameters(shop_id: str, recorded_at: datetime, appends: Sequence[Append]) -> tuple[object, ...]:
    """The arguments of ``APPEND``. Streams must be distinct."""
    return (
        shop_id,
        recorded_at,
        Texts([append.stream for append in appends]),
        Integers([append.expected_version for append in appends]),
        *_flattened(appends),
    )


def parameters_together(recorded_at: datetime, appends: Sequence[tuple[str, Append]]) -> tuple[object, ...]:
    """The arguments of ``APPEND_TOGETHER``. Pairs of shop and stream must be distinct."""
    return (
        recorded_at,
        Texts([shop_id for shop_id, _ in appends]),
        Texts([append.stream for _, append in appends]),
        Integers([append.expected_version for _, append in appends]),
        *_flattened([append for _, append in appends]),
    )


def _flattened(appends: Sequence[Append]) -> tuple[Column, ...]:
    """The events column by column, each event with the number (from 1) of its append."""
    events = [event for append in appends for event in append.events]
    return (
        Integers([n for n, append in enumerate(appends, start=1) for _ in append.events]),
        Uuids([event.event_id for event in events]),
        Texts([event.type for event in events]),
        Smallints([event.schema_version for event in events]),
        Times([event.occurred_at for event in events]),
        Blobs([event.payload for event in events]),
        Blobs([event.metadata for event in events]),
    )


async def append(
    connection: WriteConnection,
    recorded_at: datetime,
    shops: Mapping[str, Sequence[Append]],
    *,
    together: bool = True,
) -> dict[str, list[Appended]]:
    """Append to several shops' logs, in one round trip and in shop order.

    Returns an ``Appended`` for each ``Append``, in the same order. Shops are locked in the order of their ids, so
    transactions over the same shops wait for each other and never deadlock.

    With ``together``, one statement appends to all shops. It commits by itself unless the caller opened a
    transaction. Where the tables are distributed by ``shop_id``, a statement may concern only one shop. Without
    ``together`` there is a statement for each shop; they are pipelined, in the caller's transaction or a new one.
    """
    if len(shops) == 1:
        ((shop_id, appends),) = shops.items()
        cursor = await connection.execute(APPEND, append_parameters(shop_id, recorded_at, appends), binary=True)
        return {shop_id: [Appended(*row) for row in await cursor.fetchall()]}
    if not together:
        return await _append_by_shop(connection, recorded_at, shops)
    flat = [(shop_id, append) for shop_id, appends in shops.items() for append in appends]
    cursor = await connection.execute(APPEND_TOGETHER, parameters_together(recorded_at, flat), binary=True)
    outcomes: dict[str, list[Appended]] = {shop_id: [] for shop_id in shops}
    for (shop_id, _), (_, *row) in zip(flat, await cursor.fetchall(), strict=True):
        outcomes[shop_id].append(Appended(*row))
    return outcomes


async def _append_by_shop(
    connection: WriteConnection, recorded_at: datetime, shops: Mapping[str, Sequence[Append]]
) -> dict[str, list[Appended]]:
    async with connection.pipeline(), connection.transaction():
        cursors = {
            shop_id: await connection.execute(APPEND, append_parameters(shop_id, recorded_at, shops[shop_id]))
            for shop_id in sorted(shops)
        }
    return {shop_id: [Appended(*row) async for row in cursor] for shop_id, cursor in cursors.items()}


async def is_distributed(connection: ReadConnection) -> bool:
    """Whether the database spreads its tables over several servers."""
    cursor = await connection.execute("SELECT FROM pg_extension WHERE extname = 'citus'")
    return await cursor.fetchone() is not None


Histories = dict[tuple[str, str], list[Recorded[Any]]]
"""Histories by shop and stream, in version order, empty for unknown streams. The stream's name says which type of
events it has."""


async def read_histories(
    connection: ReadConnection,
    streams: Iterable[tuple[str, str]],
    up_to: Mapping[str, int] | None = None,
    unreadable: dict[tuple[str, str], tuple[int, str]] | None = None,
) -> Histories:
    """The histories of (shop, stream) pairs in one query.

    ``up_to`` has the last position to read of each shop. An event that can't be read raises ``UnreadableEvent``.
    With ``unreadable``, the event's position and the error are put there instead, and the history ends before it.
    """
    return await (await ask_histories(connection, streams, up_to, unreadable))()


async def ask_histories(
    connection: ReadConnection,
    streams: Iterable[tuple[str, str]],
    up_to: Mapping[str, int] | None = None,
    unreadable: dict[tuple[str, str], tuple[int, str]] | None = None,
) -> Callable[[], Awaitable[Histories]]:
    """Send the query of ``read_histories``. The returned function reads the result.

    So one pipeline can carry several queries.
    """
    pairs = list(dict.fromkeys(streams))
    parameters = (
        Texts([shop for shop, _ in pairs]),
        Texts([stream for _, stream in pairs]),
        Bigints([(up_to or {}).get(shop, _LAST_POSITION) for shop, _ in pairs]),
    )
    cursor = connection.cursor(binary=True)
    await cursor.execute(_HISTORIES, parameters)

    async def read_result() -> Histories:
        histories: Histories = {pair: [] for pair in pairs}
        for (
            n,
            position,
            version,
            kind,
            schema,
            occurred_at,
            recorded_at,
            payload,
            metadata,
        ) in await cursor.fetchall():
            pair = pairs[n - 1]
            if unreadable and pair in unreadable:
                continue
            try:
                event, origin = decode_event(kind, schema, payload), decode_metadata(metadata)
            except UnreadableEvent as error:
                if unreadable is None:
                    raise
                unreadable[pair] = (position, str(error))
                continue
            histories[pair].append(Recorded(event, version, position, occurred_at, recorded_at, origin))
        return histories

    return read_result


async def read_stream(connection: ReadConnection, shop_id: str, stream: str) -> list[StoredEvent]:
    """The stored events of one stream, in version order."""
    cursor = connection.cursor(binary=True)
    await cursor.execute(_STREAM, (Texts([shop_id]), Texts([stream])))
    return [StoredEvent(*row) for row in await cursor.fetchall()]


async def read_feed(
    connection: ReadConnection,
    shop_id: str,
    after: int,
    limit: int,
    types: Sequence[str] | None = None,
) -> tuple[list[StoredEvent], int, bool]:
    """The shop's next events after a position, of these types or of all, in the order of recording.

    Also returns the position up to which the log was searched, from which the next call continues, and whether
    there is more. One call searches at most ``FEED_WINDOW`` positions. So a search for a rare type may take several
    calls that return no events.
    """
    head = await read_head(connection, shop_id)
    until = min(after + FEED_WINDOW, head)
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
    events = [StoredEvent(*row) for row in await cursor.fetchall()]
    searched = events[-1].position if len(events) == limit else max(after, until)
    return events, searched, searched < head


async def read_head(connection: ReadConnection, shop_id: str) -> int:
    """The last position of a shop's log, 0 for an unknown shop."""
    cursor = await connection.execute("SELECT position FROM shop_log WHERE shop_id = %s", (shop_id,))
    row = await cursor.fetchone()
    return row[0] if row else 0


def recorded(stored: StoredEvent) -> Recorded[Any]:
    """A stored event in the domain's form. Raises ``UnreadableEvent``."""
    return Recorded(
        decode_event(stored.type, stored.schema_version, stored.payload),
        stored.version,
        stored.position,
        stored.occurred_at,
        stored.recorded_at,
        decode_metadata(stored.metadata),
    )


async def read_heads_of_shops(connection: ReadConnection) -> dict[str, int]:
    """The last position of every shop's log, by shop."""
    heads = await read_heads(connection)
    heads.pop(INSTALLATION, None)
    return heads


async def read_heads(connection: ReadConnection) -> dict[str, int]:
    """The last position of every log, by shop; the installation's own log is one of them."""
    cursor = await connection.execute("SELECT shop_id, position FROM shop_log WHERE position > 0 ORDER BY shop_id")
    return dict(await cursor.fetchall())


async def positions_known_at(connection: ReadConnection, heads: Mapping[str, int], at: datetime) -> dict[str, int]:
    """The last position that each log had at a time, 0 if it had none.

    ``recorded_at`` never decreases within a shop, so this is a binary search, for all shops together.
    """
    low = dict.fromkeys(heads, 0)
    high = dict(heads)
    while searched := [shop for shop in heads if low[shop] < high[shop]]:
        middle = {shop: (low[shop] + high[shop] + 1) // 2 for shop in searched}
        cursor = await connection.execute(
            """SELECT w.shop_id, e.recorded_at <= %s FROM unnest(%s, %s) AS w(shop_id, position)
               JOIN event e USING (shop_id, position)""",
            (at, Texts(searched), Bigints(list(middle.values()))),
        )
        for shop, known in await cursor.fetchall():
            if known:
                low[shop] = middle[shop]
            else:
                high[shop] = middle[shop] - 1
    return low
