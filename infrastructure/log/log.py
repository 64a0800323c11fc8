"""The per-shop event log: append batches, read streams, read the feed.

A shop's events stand in gapless positions, given out under that shop's lock, so a reader that has seen
position n has seen everything up to n. Appending takes a list of streams with the version each is
expected to have and answers for each of them; a conflict on one does not stop the others.
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

APPEND_TOGETHER = "SELECT * FROM append_events_together(%b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b)"

_COLUMNS = """position, stream, version, event_id, type, schema_version,
    occurred_at, recorded_at, payload, metadata, leaf_hash"""

# The sum keeps the planner from walking a whole shop by position, which it may choose while the table is young.
_HISTORIES = """
SELECT w.n, e.position, e.version, e.type, e.schema_version, e.occurred_at, e.recorded_at, e.payload, e.metadata
FROM unnest(%b::text[], %b::text[], %b::bigint[]) WITH ORDINALITY AS w(shop_id, stream, up_to, n)
CROSS JOIN LATERAL (
    SELECT * FROM event e
    WHERE e.shop_id = w.shop_id AND e.stream = w.stream AND e.position + 0 <= w.up_to
    ORDER BY e.version
) e
"""

# A join, because the planner takes a constant shop that it has no statistics of for an empty one.
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

FEED_STRETCH = 20_000
"""How many positions one reading of the feed searches at most."""


def new_event(event: AnyEvent, occurred_at: datetime, metadata: Metadata) -> NewEvent:
    """A domain event ready to be appended."""
    name, version, payload = encode_event(event)
    return NewEvent(uuid4(), name, version, occurred_at, payload, encode_metadata(metadata))


def append_parameters(shop_id: str, recorded_at: datetime, appends: Sequence[Append]) -> tuple[object, ...]:
    """The arguments of ``APPEND``; streams must be distinct."""
    return (
        shop_id,
        recorded_at,
        Texts([append.stream for append in appends]),
        Integers([append.expected_version for append in appends]),
        *_flattened(appends),
    )


def parameters_together(recorded_at: datetime, appends: Sequence[tuple[str, Append]]) -> tuple[object, ...]:
    """The arguments of ``APPEND_TOGETHER``; pairs of shop and stream must be distinct."""
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

    The answer has an ``Appended`` for each ``Append``, in the same order. Shops are locked in order of
    their ids, so transactions over the same shops wait for each other and never deadlock.

    ``together`` takes all shops in one statement, which commits by itself unless the caller opened a
    transaction. Where the tables are distributed by ``shop_id`` a statement may concern one shop only;
    without ``together`` there is one for each, pipelined, in the caller's transaction or one of their own.
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
"""By shop and stream, in version order; empty where there is none. The stream's name says what events it holds."""


async def read_histories(
    connection: ReadConnection,
    streams: Iterable[tuple[str, str]],
    up_to: Mapping[str, int] | None = None,
    unreadable: dict[tuple[str, str], tuple[int, str]] | None = None,
) -> Histories:
    """The histories of (shop, stream) pairs in one query.

    ``up_to`` gives for a shop the last position that may be seen. An event that can't be read raises
    ``UnreadableEvent``; with ``unreadable`` its position and what is wrong with it are put there instead,
    and the history ends before it.
    """
    return await (await ask_histories(connection, streams, up_to, unreadable))()


async def ask_histories(
    connection: ReadConnection,
    streams: Iterable[tuple[str, str]],
    up_to: Mapping[str, int] | None = None,
    unreadable: dict[tuple[str, str], tuple[int, str]] | None = None,
) -> Callable[[], Awaitable[Histories]]:
    """Ask as ``read_histories`` does and return what gets the answer: a pipeline carries several questions."""
    wanted = list(dict.fromkeys(streams))
    parameters = (
        Texts([shop for shop, _ in wanted]),
        Texts([stream for _, stream in wanted]),
        Bigints([(up_to or {}).get(shop, _LAST_POSITION) for shop, _ in wanted]),
    )
    cursor = connection.cursor(binary=True)
    await cursor.execute(_HISTORIES, parameters)

    async def answer() -> Histories:
        histories: Histories = {pair: [] for pair in wanted}
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
            pair = wanted[n - 1]
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

    return answer


async def read_stream(connection: ReadConnection, shop_id: str, stream: str) -> list[StoredEvent]:
    """One stream as it is stored, in version order."""
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


async def read_head(connection: ReadConnection, shop_id: str) -> int:
    """The last position of a shop's log, 0 for a shop never heard of."""
    cursor = await connection.execute("SELECT position FROM shop_log WHERE shop_id = %s", (shop_id,))
    row = await cursor.fetchone()
    return row[0] if row else 0


def recorded(stored: StoredEvent) -> Recorded[Any]:
    """A stored event as the domain knows it; raises ``UnreadableEvent``."""
    return Recorded(
        decode_event(stored.type, stored.schema_version, stored.payload),
        stored.version,
        stored.position,
        stored.occurred_at,
        stored.recorded_at,
        decode_metadata(stored.metadata),
    )


async def read_heads(connection: ReadConnection) -> dict[str, int]:
    """The last position of every shop's log, by shop."""
    cursor = await connection.execute("SELECT shop_id, position FROM shop_log WHERE position > 0 ORDER BY shop_id")
    return dict(await cursor.fetchall())


async def positions_known_at(connection: ReadConnection, heads: Mapping[str, int], at: datetime) -> dict[str, int]:
    """The last position that each log had at a moment, 0 where it had none.

    ``recorded_at`` never decreases within a shop, so all shops are searched by halves, together.
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
