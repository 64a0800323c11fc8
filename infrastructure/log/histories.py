"""Reading whole histories of many streams as quickly as possible, for rebuilds and replays.

The server joins the events of a stream to one row, so that all payloads are decoded in one call. Every event gets
the same checks as in ``codec.decode_event``. A history that fails any check is left to that function.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec
from psycopg import Connection
from psycopg.rows import TupleRow

from domain.history import Metadata, Recorded
from infrastructure.database.pool import ReadConnection
from infrastructure.log.codec import TYPES, UPCASTERS, AnyEvent
from infrastructure.log.columns import Bigints, Texts
from infrastructure.log.streams import STREAM_KINDS, AnyKind, patterns

_POSITIONS = "array_agg(e.position ORDER BY e.version)"
_RECORDED_AT = "array_agg(e.recorded_at ORDER BY e.version)"

# Versions are unique in a stream. If the largest is their count and none is less than 1, none is missing.
_WHOLE = """
    bool_and(e.schema_version = 1 AND e.version > 0) AND max(e.version) = count(*),
    {positions}, string_agg(e.type, ',' ORDER BY e.version),
    array_agg(e.occurred_at ORDER BY e.version), {recorded_at},
    string_agg(e.payload, ','::bytea ORDER BY e.version), string_agg(e.metadata, ','::bytea ORDER BY e.version)
"""

# A bound is compared in the order of the index, whatever the database's collation is. Without the sum, the planner
# may read a whole shop by position.
_RANGE = f"""
SELECT w.shop_id, h.* FROM unnest(%(shop_ids)b, %(up_to)b) AS w(shop_id, up_to)
CROSS JOIN LATERAL (
    SELECT e.stream, {_WHOLE.format(positions="{positions}", recorded_at="{recorded_at}")} FROM event e
    WHERE e.shop_id = w.shop_id AND e.position + 0 <= w.up_to AND e.stream LIKE ANY (%(patterns)b) {{bounds}}
    GROUP BY e.stream
) h
"""

_STREAMS = f"""
SELECT w.shop_id, w.stream, h.* FROM unnest(%b, %b, %b) AS w(shop_id, stream, up_to)
CROSS JOIN LATERAL (
    SELECT {_WHOLE.format(positions=_POSITIONS, recorded_at=_RECORDED_AT)} FROM event e
    WHERE e.shop_id = w.shop_id AND e.stream = w.stream AND e.position + 0 <= w.up_to
    HAVING count(*) > 0
) h
"""

_SAMPLES = 20
"""How many streams are sampled for each range of a shop, to get ranges of similar size."""

_BOUNDS = """
SELECT DISTINCT min(stream) FROM (
    SELECT stream, ntile(%s) OVER (ORDER BY stream) AS tile
    FROM unnest(%s::bigint[]) AS p(position) JOIN event e ON e.shop_id = %s AND e.position = p.position
    WHERE stream LIKE ANY (%s)
) t GROUP BY tile ORDER BY 1 OFFSET 1
"""

_events = msgspec.json.Decoder(list[AnyEvent]).decode
_metadata = msgspec.json.Decoder(list[Metadata]).decode


class Whole(NamedTuple):
    """A stream's history; ``None`` if it must be read event by event to see what is wrong with it."""

    shop_id: str
    stream: str
    history: list[Recorded[Any]] | None


class Range(NamedTuple):
    """The streams of a shop from ``since`` on and before ``until``, if given, with about so many events."""

    since: str | None
    until: str | None
    events: int


async def cut(
    connection: ReadConnection, shop_id: str, up_to: int, each: int, kinds: Sequence[AnyKind] = STREAM_KINDS
) -> list[Range]:
    """Divide a shop's log up to a position into ranges of about ``each`` events, in the order of streams."""
    parts = max(-(-up_to // each), 1)
    bounds: list[str] = []
    if parts > 1:
        step = max(up_to // (parts * _SAMPLES), 1)
        sampled = list(range(1, up_to + 1, step))
        cursor = await connection.execute(_BOUNDS, (parts, sampled, shop_id, patterns(kinds)))
        bounds = [bound for (bound,) in await cursor.fetchall()]
    count = len(bounds) + 1
    return [
        Range(since, until, up_to * (n + 1) // count - up_to * n // count)
        for n, (since, until) in enumerate(pairwise([None, *bounds, None]))
    ]


def read_range(
    connection: Connection[TupleRow],
    up_to: Mapping[str, int],
    since: str | None = None,
    until: str | None = None,
    kinds: Sequence[AnyKind] = STREAM_KINDS,
    *,
    with_recorded_at: bool = True,
    with_position: bool = True,
) -> Iterator[Whole]:
    """The streams of some shops, each up to a position, from ``since`` on and before ``until``, if given.

    Only streams of these ``kinds`` are read. Without ``with_recorded_at`` that column is not read, which saves a
    tenth of the time; ``recorded_at`` is then ``occurred_at``. No fold needs it. Without ``with_position`` neither
    it nor the position is read, which no rule needs; the position is then the version.

    This is not async, because the caller has nothing else to do, and waiting in C costs less than an event loop.
    """
    bounds = " ".join(
        condition
        for condition, bound in (("AND e.stream >= %(since)b", since), ("AND e.stream < %(until)b", until))
        if bound is not None
    )
    cursor = connection.cursor(binary=True)
    cursor.execute(
        _RANGE.format(
            bounds=bounds,
            positions=_POSITIONS if with_position else "NULL::bigint[]",
            recorded_at=_RECORDED_AT if with_recorded_at and with_position else "NULL::timestamptz[]",
        ),
        {
            "shop_ids": Texts(list(up_to)),
            "up_to": Bigints(list(up_to.values())),
            "patterns": Texts(patterns(kinds)),
            "since": since,
            "until": until,
        },
    )
    for shop_id, stream, *rest in cursor:  # row by row, so that the same memory is used again
        yield Whole(shop_id, stream, _history(*rest))


async def read_streams(
    connection: ReadConnection, streams: Sequence[tuple[str, str]], up_to: Mapping[str, int]
) -> list[Whole]:
    """These streams, each a shop and a name, up to their shop's position. Streams without events are left out."""
    cursor = connection.cursor(binary=True)
    await cursor.execute(
        _STREAMS,
        (
            Texts([shop_id for shop_id, _ in streams]),
            Texts([stream for _, stream in streams]),
            Bigints([up_to[shop_id] for shop_id, _ in streams]),
        ),
    )
    return [Whole(shop_id, stream, _history(*rest)) for shop_id, stream, *rest in await cursor.fetchall()]


def _history(
    is_plain: bool,
    positions: list[int] | None,
    types: str,
    occurred_at: list[Any],
    recorded_at: list[Any] | None,
    payloads: bytes,
    metadata: bytes,
) -> list[Recorded[Any]] | None:
    """``is_plain``: no version is missing, and all events have the first schema."""
    if not is_plain or UPCASTERS:
        return None
    versions = range(1, len(occurred_at) + 1)
    try:
        decoded = _events(b"[" + payloads + b"]")
        origins = _origins(metadata)
        if tuple(map(type, decoded)) != _classes(types) or len(origins) != len(versions):
            return None
    except Exception:
        return None
    return list(
        map(Recorded, decoded, versions, positions or versions, occurred_at, recorded_at or occurred_at, origins)
    )


@lru_cache(maxsize=10_000)
def _origins(metadata: bytes) -> tuple[Metadata, ...]:
    """Cached, because most orders have the same few sequences of metadata."""
    return tuple(_metadata(b"[" + metadata + b"]"))


@lru_cache(maxsize=10_000)
def _classes(types: str) -> tuple[type, ...]:
    return tuple(TYPES[name] for name in types.split(","))
