"""Whole histories of many streams, as quickly as they can be read: what a rebuild folds.

The server joins a stream's events to one row, so that its payloads are decoded in one go. Each event is
checked as ``codec.decode_event`` checks it; a history that is not plainly right is left to that.
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
from infrastructure.log.streams import KINDS, AnyKind, patterns

_PLACED = "array_agg(e.position ORDER BY e.version)"
_LEARNED = "array_agg(e.recorded_at ORDER BY e.version)"

# Versions are unique in a stream: if the largest is their count and none is less than 1, all are there.
_WHOLE = """
    bool_and(e.schema_version = 1 AND e.version > 0) AND max(e.version) = count(*),
    {placed}, string_agg(e.type, ',' ORDER BY e.version),
    array_agg(e.occurred_at ORDER BY e.version), {learned},
    string_agg(e.payload, ','::bytea ORDER BY e.version), string_agg(e.metadata, ','::bytea ORDER BY e.version)
"""

# A bound is compared as the index is sorted, whatever the database's collation. The sum keeps the planner from
# walking a shop by position.
_RANGE = f"""
SELECT w.shop_id, h.* FROM unnest(%(shop_ids)b, %(up_to)b) AS w(shop_id, up_to)
CROSS JOIN LATERAL (
    SELECT e.stream, {_WHOLE.format(placed="{placed}", learned="{learned}")} FROM event e
    WHERE e.shop_id = w.shop_id AND e.position + 0 <= w.up_to AND e.stream LIKE ANY (%(patterns)b) {{bounds}}
    GROUP BY e.stream
) h
"""

_STREAMS = f"""
SELECT w.shop_id, w.stream, h.* FROM unnest(%b, %b, %b) AS w(shop_id, stream, up_to)
CROSS JOIN LATERAL (
    SELECT {_WHOLE.format(placed=_PLACED, learned=_LEARNED)} FROM event e
    WHERE e.shop_id = w.shop_id AND e.stream = w.stream AND e.position + 0 <= w.up_to
    HAVING count(*) > 0
) h
"""

_SAMPLES = 20
"""Streams looked at for each range of a shop, to cut it into ranges of like size."""

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
    """A stream's history; ``None`` where it has to be read event by event to learn what is wrong with it."""

    shop_id: str
    stream: str
    history: list[Recorded[Any]] | None


class Range(NamedTuple):
    """The streams of a shop from ``since`` on and before ``until``, where given: about so many events."""

    since: str | None
    until: str | None
    events: int


async def cut(
    connection: ReadConnection, shop_id: str, up_to: int, each: int, kinds: Sequence[AnyKind] = KINDS
) -> list[Range]:
    """A shop's log up to a position in ranges of about ``each`` events, in the order of streams."""
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
    kinds: Sequence[AnyKind] = KINDS,
    *,
    learned: bool = True,
    placed: bool = True,
) -> Iterator[Whole]:
    """The orders and SKUs of some shops, each up to a position; ``since`` and before ``until``, where given.

    ``kinds`` leaves out the others. Without ``learned`` it is not read when each event was recorded, which takes
    a tenth of the time and no fold asks for: ``recorded_at`` is then the moment it occurred. Without ``placed``
    neither that nor where in the log each stands is read, which no rule asks for: its position is its version.

    Whoever needs this has nothing else to do meanwhile: it waits in C, which costs less than an event loop.
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
            placed=_PLACED if placed else "NULL::bigint[]",
            learned=_LEARNED if learned and placed else "NULL::timestamptz[]",
        ),
        {
            "shop_ids": Texts(list(up_to)),
            "up_to": Bigints(list(up_to.values())),
            "patterns": Texts(patterns(kinds)),
            "since": since,
            "until": until,
        },
    )
    for shop_id, stream, *rest in cursor:  # one after another: memory that is at hand serves again
        yield Whole(shop_id, stream, _history(*rest))


async def read_streams(
    connection: ReadConnection, streams: Sequence[tuple[str, str]], up_to: Mapping[str, int]
) -> list[Whole]:
    """These streams, each a shop and a name, as far as its shop's position; without those that have no events."""
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
    """``is_plain`` says that no version is missing and no schema but the first occurs."""
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
    """Most orders come through the same few doors."""
    return tuple(_metadata(b"[" + metadata + b"]"))


@lru_cache(maxsize=10_000)
def _classes(types: str) -> tuple[type, ...]:
    return tuple(TYPES[name] for name in types.split(","))
