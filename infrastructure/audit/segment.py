"""Recomputing a segment of a shop's log from its events: the unit of work of a verification.

A segment is a run of consecutive positions. Its rows come by binary COPY, with their columns in canonical order.
Behind the shop's id, which is the same in all rows, a row *is* the canonical bytes of its event
(``infrastructure.log.canonical``), so it is hashed as it came. The stored leaf hash is only compared. If anything
in a segment is unexpected, the segment is read again row by row, to name each problem and its position.
"""

import hashlib
import struct
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import repeat
from typing import Any, NamedTuple

import msgspec
import psycopg
from psycopg import Connection, pq, sql
from psycopg.rows import TupleRow

from infrastructure.audit.merkle import HASH_BYTES, complete, levels
from infrastructure.log.canonical import canonical_bytes, leaf_hash
from infrastructure.log.codec import (
    TYPES,
    UPCASTERS,
    AnyEvent,
    UnreadableEvent,
    decode_event,
    decode_metadata,
)
from infrastructure.log.columns import POSTGRES_EPOCH
from infrastructure.log.streams import STREAM_KINDS

SEGMENT_EVENTS = 1 << 10
"""Events of a segment. They make a complete subtree, and need so little memory that caches can hold it."""

MOST_FINDINGS = 20
"""No more problems of a segment are reported; the others most likely have the same cause."""

# The sum moves times from PostgreSQL's epoch to the canonical one, in microseconds, so it is exact.
_ROWS = """
COPY (
    SELECT position, stream, version::bigint, event_id, type, schema_version::bigint,
           occurred_at + interval '262968 hours', recorded_at + interval '262968 hours',
           payload, metadata, leaf_hash
    FROM event WHERE shop_id = {} AND position > {} AND position <= {} ORDER BY position
) TO STDOUT (FORMAT BINARY)
"""

# Times as their bytes: in a row that was tampered with a time may be no valid datetime.
_ROWS_ONE_BY_ONE = """
SELECT position, stream, version, event_id, type, schema_version, timestamptz_send(occurred_at),
       timestamptz_send(recorded_at), payload, metadata, leaf_hash
FROM event WHERE shop_id = %s AND position > %s AND position <= %s ORDER BY position
"""

_SHIFT = 10_957 * 86_400 * 1_000_000
_COPY_HEAD = 19
_COPY_END = 2
_HASH_FIELD = 4 + HASH_BYTES
_STREAM_SIZE = 2 + (4 + 8) + 3
_TYPE_SIZE = _STREAM_SIZE + 1 + (4 + 8) + (4 + 16) + 3
"""Offsets in a row of the last byte of a length: the length of the stream's name, and the length of the type.
The second offset grows by the length of the stream's name."""

_CLASSES = {name.encode(): kind for name, kind in TYPES.items()}
_events = msgspec.json.Decoder(list[AnyEvent]).decode

Nodes = list[tuple[int, bytes]]
"""Complete subtrees from left to right: the level and the hash of each."""


class LogFinding(NamedTuple):
    """A problem at a position. With ``missing_to``: all events from the position to that one are missing."""

    position: int
    detail: str
    missing_to: int | None = None


class Streams(NamedTuple):
    """The versions of streams in consecutive segments, by the streams' names.

    ``continued``: the first version in the segments, of the streams that began before them. ``last``: the last
    version in the segments, of all their streams.
    """

    continued: dict[bytes, int]
    last: dict[bytes, int]


class Segment(NamedTuple):
    """The result for events ``start + 1`` to ``end`` of a shop.

    ``nodes`` make up the segment's part of the tree, and ``cuts`` its part up to each requested size; both are
    empty if an event is missing. ``recorded`` is the first and the last ``recorded_at`` in microseconds.
    """

    shop_id: str
    start: int
    end: int
    nodes: Nodes
    cuts: dict[int, Nodes]
    recorded: tuple[int, int]
    findings: list[LogFinding]


_Layout = tuple[Callable[[bytes], tuple[Any, ...]], int]
"""The function that unpacks a row, and the offset of the row's payload. The function returns position, stream,
version, type, schema version, recorded_at, and the size of the payload."""


class _Unexpected(Exception):
    """The segment is not as it should be; reading it row by row will tell how."""


class Rows:
    """Rows of a log as COPY sends them. Each is hashed when it arrives.

    They are read from the connection without the driver's own loop, which would cost as much as the hashing.
    Nothing else can use the connection until ``close``.
    """

    def __init__(self, connection: Connection[TupleRow], shop_id: str, start: int, end: int) -> None:
        self._connection = connection.pgconn
        shop = shop_id.encode()
        self._new_leaf = hashlib.sha256(b"\x00" + struct.pack("!i", len(shop)) + shop).copy
        self.closed = False
        self._connection.send_query(sql.SQL(_ROWS).format(shop_id, start, end).as_bytes(connection))
        result = self._connection.get_result()
        if result is None or result.status != pq.ExecStatus.COPY_OUT:
            raise psycopg.OperationalError(result.get_error_message() if result else "the connection has no answer")
        self._next = bytes(self._connection.get_copy_data(0)[1])[_COPY_HEAD:]

    def take(self, count: int) -> tuple[list[bytes], list[bytes]]:
        """The next rows and their leaf hashes. Raises ``_Unexpected`` if there are fewer."""
        new_leaf, rows, leaves = self._new_leaf, [self._next], []
        self._next = b""
        try:
            rows += [bytes(row) for _, row in map(self._connection.get_copy_data, repeat(0, count))]
        except psycopg.OperationalError as error:  # the rows ended, or the connection is lost
            raise _Unexpected from error
        if len(rows[-2]) <= _COPY_END:
            raise _Unexpected
        self._next = rows.pop()
        for row in rows:
            leaf = new_leaf()
            leaf.update(row[2:-_HASH_FIELD])
            leaves.append(leaf.digest())
        return rows, leaves

    def close(self) -> None:
        """Read the remaining rows and drop them."""
        if self.closed:
            return
        self.closed = True
        while self._next:  # empty at the end of a COPY, whether it succeeded or failed
            self._next = bytes(self._connection.get_copy_data(0)[1])
        while self._connection.get_result():
            pass


def recompute(
    connection: Connection[TupleRow],
    shop_id: str,
    start: int,
    end: int,
    cuts: Sequence[int],
    streams: Streams,
    rows: Rows,
) -> Segment:
    """Hash and check the events after ``start`` up to ``end``; ``cuts`` are sizes of the log in between.

    The events come from ``rows``. If anything is unexpected, ``rows`` is closed and the events are read one by one.
    ``streams`` has the versions in the segments before this one; those of this one are added to it.
    """
    segment = Segment(shop_id, start, end, [], {}, (0, 0), [])
    try:
        taken, leaves = rows.take(end - start)
        recorded = _check(segment, taken, leaves, streams)
    except (_Unexpected, UnreadableEvent, psycopg.DataError, LookupError, ValueError, TypeError, struct.error):
        rows.close()
        return _one_by_one(connection, segment, cuts, streams)
    return _with_nodes(segment._replace(recorded=recorded), leaves, cuts)


def _with_nodes(segment: Segment, leaves: Sequence[bytes], cuts: Sequence[int]) -> Segment:
    rows = levels(leaves)

    def nodes(up_to: int) -> Nodes:
        # Numbers of subtrees count from the beginning of the log, indexes of a row from that of the segment.
        subtrees = complete((segment.start, up_to))
        return [(level, rows[level][number - (segment.start >> level)]) for level, number in subtrees]

    return segment._replace(nodes=nodes(segment.end), cuts={cut: nodes(cut) for cut in cuts})


def _check(segment: Segment, rows: Sequence[bytes], leaves: Sequence[bytes], streams: Streams) -> tuple[int, int]:
    """Check that these are the rows of the segment, in order and readable. Returns its ``recorded``.

    Raises ``_Unexpected``, or whatever reading unexpected bytes raises.
    """
    if not all(map(bytes.endswith, rows, leaves)):
        raise _Unexpected
    layouts = _Layouts()
    fields, payloads, metadata = [], [], set()
    for row in rows:
        # The last bytes of two lengths determine the row's layout. A name of 256 bytes or more gives a wrong layout
        # and so an unexpected row.
        stream_size = row[_STREAM_SIZE]
        unpack, payload_begins = layouts[stream_size << 8 | row[_TYPE_SIZE + stream_size]]
        values = unpack(row)
        payload_ends = payload_begins + values[6]
        fields.append(values)
        payloads.append(row[payload_begins:payload_ends])
        metadata.add(row[payload_ends:-_HASH_FIELD])
    positions, names, versions, types, schemas, recorded, _ = zip(*fields, strict=True)
    if positions != tuple(range(segment.start + 1, segment.end + 1)) or recorded != tuple(sorted(recorded)):
        raise _Unexpected
    _read(types, schemas, payloads, metadata)
    _follow(streams, names, versions)
    return recorded[0], recorded[-1]


def _follow(streams: Streams, names: Sequence[bytes], versions: Sequence[int]) -> None:
    """Add events to ``streams``. Raises ``_Unexpected`` if a version is not the next one, and then adds none."""
    known = streams.last
    remaining = zip(names, versions, strict=True)
    for name, version in remaining:
        before = known.get(name)
        if before is None:
            if version != 1:
                streams.continued[name] = version
        elif version != before + 1:
            index = len(names) - len(list(remaining)) - 1
            _forget(streams, names[:index], versions[:index])
            raise _Unexpected
        known[name] = version


def _forget(streams: Streams, names: Sequence[bytes], versions: Sequence[int]) -> None:
    """Remove events that ``_follow`` added, the last first."""
    for name, version in zip(reversed(names), reversed(versions), strict=True):
        if version == 1 or streams.continued.get(name) == version:
            del streams.last[name]
            streams.continued.pop(name, None)
        else:
            streams.last[name] = version - 1


def _read(types: Sequence[bytes], schemas: Sequence[int], payloads: Sequence[bytes], metadata: set[bytes]) -> None:
    """Check that events can be decoded; raises what decoding raises. ``metadata`` come with their size."""
    for each in metadata:
        decode_metadata(each[4:])
    if UPCASTERS or set(schemas) != {1}:
        for kind, schema, payload in zip(types, schemas, payloads, strict=True):
            decode_event(kind.decode(), schema, payload)
    elif list(map(type, _events(b"[" + b",".join(payloads) + b"]"))) != list(map(_CLASSES.get, types)):
        raise _Unexpected


class _Layouts(dict[int, _Layout]):
    """Layouts by two lengths, each one byte of the key: of the stream's name, and of the type."""

    def __missing__(self, sizes: int) -> _Layout:
        stream_size, type_size = divmod(sizes, 256)
        layout = struct.Struct(f"!6xq4x{stream_size}s4xq24x{type_size}s4xq4x8x4xqi")
        self[sizes] = layout.unpack_from, layout.size
        return self[sizes]


# ---- row by row -------------------------------------------------------------------------------------


def _one_by_one(
    connection: Connection[TupleRow], segment: Segment, cuts: Sequence[int], streams: Streams
) -> Segment:
    """Read the segment again, event by event, and note each problem with its position.

    There may be no problem: the quick way also fails at events of other programs. Here those are not decoded.
    """
    findings: list[LogFinding] = []
    leaves: list[bytes] = []
    expected, is_whole = segment.start + 1, True
    first, latest = (1 << 63) - 1, -(1 << 63)
    cursor = connection.cursor(binary=True)
    cursor.execute(_ROWS_ONE_BY_ONE, (segment.shop_id, segment.start, segment.end))
    for (
        position,
        stream,
        version,
        event_id,
        kind,
        schema,
        occurred,
        recorded,
        payload,
        metadata,
        stored_hash,
    ) in cursor:
        if position != expected:
            is_whole = False
            findings.append(
                missing(expected, position - 1)
                if position > expected
                else LogFinding(position, "the position occurs twice")
            )
        expected = position + 1
        try:
            leaf = leaf_hash(
                canonical_bytes(
                    segment.shop_id,
                    position,
                    stream,
                    version,
                    event_id,
                    kind,
                    schema,
                    _datetime(occurred),
                    _datetime(recorded),
                    payload,
                    metadata,
                )
            )
        except (TypeError, AttributeError, OverflowError, struct.error, UnicodeError) as error:
            findings.append(LogFinding(position, f"it is no event that was recorded: {error}"))
            leaves.append(b"")
            continue
        leaves.append(leaf)
        if leaf != stored_hash:
            findings.append(LogFinding(position, "its leaf hash is not that of what is stored"))
        name = stream.encode()
        before = streams.last.get(name)
        if before is None and version != 1:
            streams.continued[name] = version
        elif before is not None and version != before + 1:
            findings.append(LogFinding(position, f"it is version {version} of {stream}, after version {before}"))
        streams.last[name] = version
        micros_recorded = micros(recorded)
        if micros_recorded < latest:
            findings.append(LogFinding(position, "it says it was recorded before the event that precedes it"))
        first, latest = micros_recorded if latest == -(1 << 63) else first, micros_recorded
        try:
            if stream.startswith(tuple(kind.prefix for kind in STREAM_KINDS)):
                decode_event(kind, schema, payload)
                decode_metadata(metadata)
        except UnreadableEvent as error:
            findings.append(LogFinding(position, f"it can't be read: {error}"))
    if expected <= segment.end:
        is_whole = False
        findings.append(missing(expected, segment.end))
    segment = segment._replace(findings=findings[:MOST_FINDINGS], recorded=(first, latest))
    return _with_nodes(segment, leaves, cuts) if is_whole else segment


def missing(since: int, until: int) -> LogFinding:
    """The finding that there are no events from one position to another."""
    others = "" if since == until else f", and so is every event to position {until}"
    return LogFinding(since, f"it is missing{others}", until)


def micros(sent: bytes) -> int:
    """A time in PostgreSQL's binary format, in microseconds since 1970; it need not be a valid datetime."""
    return int(struct.unpack("!q", sent)[0]) + _SHIFT


def _datetime(sent: bytes) -> datetime:
    """A time in PostgreSQL's binary format. Raises ``OverflowError`` if it is no valid datetime."""
    return POSTGRES_EPOCH + timedelta(microseconds=struct.unpack("!q", sent)[0])
