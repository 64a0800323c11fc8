"""Recomputing a stretch of a shop's log from its events: the work of one process of a verification.

Rows come by binary COPY with their columns in canonical order, so that behind the shop's id, which is the same in
all, a row *is* the canonical bytes of its event (``infrastructure.log.canonical``) and is hashed as it came. The
stored leaf hash is only compared. A stretch in which anything is odd is read again, row by row, to say what.
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
from infrastructure.log.streams import KINDS
from infrastructure.runtime.clock import EPOCH

STRETCH_EVENTS = 1 << 10
"""Events that are recomputed at once: a complete subtree of the log, and no more memory than stays at hand."""

MOST_FINDINGS = 20
"""So much of what is wrong with a stretch is told; the rest most likely has the same cause."""

# Times go from PostgreSQL's epoch to the canonical one by a sum in microseconds, which is exact.
_ROWS = """
COPY (
    SELECT position, stream, version::bigint, event_id, type, schema_version::bigint,
           occurred_at + interval '262968 hours', recorded_at + interval '262968 hours',
           payload, metadata, leaf_hash
    FROM event WHERE shop_id = {} AND position > {} AND position <= {} ORDER BY position
) TO STDOUT (FORMAT BINARY)
"""

# Times as their bytes: a row that was tampered with may hold one that is no datetime.
_ROWS_ONE_BY_ONE = """
SELECT position, stream, version, event_id, type, schema_version, timestamptz_send(occurred_at),
       timestamptz_send(recorded_at), payload, metadata, leaf_hash
FROM event WHERE shop_id = %s AND position > %s AND position <= %s ORDER BY position
"""

_POSTGRES_EPOCH = EPOCH + timedelta(days=10_957)
_SHIFT = 10_957 * 86_400 * 1_000_000
_COPY_HEAD = 19
_COPY_END = 2
_HASH_FIELD = 4 + HASH_BYTES
_STREAM_SIZE = 2 + (4 + 8) + 3
_TYPE_SIZE = _STREAM_SIZE + 1 + (4 + 8) + (4 + 16) + 3
"""Where in a row the last byte of a size stands; that of the type behind so many bytes of the stream's name."""

_CLASSES = {name.encode(): kind for name, kind in TYPES.items()}
_events = msgspec.json.Decoder(list[AnyEvent]).decode

Nodes = list[tuple[int, bytes]]
"""Complete subtrees from left to right, each as its level and hash."""


class Finding(NamedTuple):
    """Something that is wrong at a position, or from there on: events are missing up to ``missing_to``."""

    position: int
    detail: str
    missing_to: int | None = None


class Streams(NamedTuple):
    """What versions the streams of some stretches have, which follow one another.

    ``continued`` has each stream that does not begin there and the version it goes on with, ``last`` each stream
    and the version it ends with.
    """

    continued: dict[bytes, int]
    last: dict[bytes, int]


class Stretch(NamedTuple):
    """What events ``start + 1`` to ``end`` of a shop gave.

    ``nodes`` make up its part of the tree, and ``cuts`` its part up to the sizes asked for; there are none where an
    event is missing. ``recorded`` is the first and the last ``recorded_at`` in microseconds.
    """

    shop_id: str
    start: int
    end: int
    nodes: Nodes
    cuts: dict[int, Nodes]
    recorded: tuple[int, int]
    findings: list[Finding]


_Layout = tuple[Callable[[bytes], tuple[Any, ...]], int]
"""What takes a row apart, and where its payload begins. It gives position, stream, version, type, schema version,
recorded_at, and the size of the payload."""


class _Odd(Exception):
    """Something is wrong in the stretch."""


class Rows:
    """Rows of a log as COPY sends them, each hashed as it comes.

    They are taken from the connection without the driver's own loop, which would cost as much as hashing. Nothing
    else can use the connection before this is closed.
    """

    def __init__(self, connection: Connection[TupleRow], shop_id: str, start: int, end: int) -> None:
        self._connection = connection.pgconn
        shop = shop_id.encode()
        self._begun_leaf = hashlib.sha256(b"\x00" + struct.pack("!i", len(shop)) + shop).copy
        self.closed = False
        self._connection.send_query(sql.SQL(_ROWS).format(shop_id, start, end).as_bytes(connection))
        result = self._connection.get_result()
        if result is None or result.status != pq.ExecStatus.COPY_OUT:
            raise psycopg.OperationalError(result.get_error_message() if result else "the connection has no answer")
        self._next = bytes(self._connection.get_copy_data(0)[1])[_COPY_HEAD:]

    def take(self, count: int) -> tuple[list[bytes], list[bytes]]:
        """The next rows and their leaf hashes. Raises ``_Odd`` where there are fewer."""
        begun_leaf, rows, leaves = self._begun_leaf, [self._next], []
        self._next = b""
        try:
            rows += [bytes(row) for _, row in map(self._connection.get_copy_data, repeat(0, count))]
        except psycopg.OperationalError as error:  # nothing comes behind the end, and if the connection is lost
            raise _Odd from error
        if len(rows[-2]) <= _COPY_END:
            raise _Odd
        self._next = rows.pop()
        for row in rows:
            leaf = begun_leaf()
            leaf.update(row[2:-_HASH_FIELD])
            leaves.append(leaf.digest())
        return rows, leaves

    def close(self) -> None:
        """Read what is left and forget it."""
        if self.closed:
            return
        self.closed = True
        while self._next:  # there is nothing behind what ends a COPY, well or not
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
) -> Stretch:
    """Hash and check the events after ``start`` up to ``end``; ``cuts`` are sizes of the log in between.

    They come from ``rows``, unless anything is odd: those are closed then, and the events read one by one.
    ``streams`` knows the stretches before this one, and this one afterwards.
    """
    stretch = Stretch(shop_id, start, end, [], {}, (0, 0), [])
    try:
        taken, leaves = rows.take(end - start)
        recorded = _check(stretch, taken, leaves, streams)
    except (_Odd, UnreadableEvent, psycopg.DataError, LookupError, ValueError, TypeError, struct.error):
        rows.close()
        return _one_by_one(connection, stretch, cuts, streams)
    return _with_nodes(stretch._replace(recorded=recorded), leaves, cuts)


def _with_nodes(stretch: Stretch, leaves: Sequence[bytes], cuts: Sequence[int]) -> Stretch:
    rows = levels(leaves)

    def nodes(up_to: int) -> Nodes:
        # A subtree's number counts from the log's beginning, a row of this stretch from the stretch's.
        found = complete((stretch.start, up_to))
        return [(level, rows[level][number - (stretch.start >> level)]) for level, number in found]

    return stretch._replace(nodes=nodes(stretch.end), cuts={cut: nodes(cut) for cut in cuts})


def _check(stretch: Stretch, rows: Sequence[bytes], leaves: Sequence[bytes], streams: Streams) -> tuple[int, int]:
    """Whether rows are those of the stretch, in order, and can be read; when the first and last were recorded.

    Raises whatever odd bytes lead to.
    """
    if not all(map(bytes.endswith, rows, leaves)):
        raise _Odd
    layouts = _Layouts()
    fields, payloads, origins = [], [], set()
    for row in rows:
        # The last bytes of two sizes say how the row is laid out. Names of 256 bytes and more make it look odd.
        stream_size = row[_STREAM_SIZE]
        unpack, payload_begins = layouts[stream_size << 8 | row[_TYPE_SIZE + stream_size]]
        found = unpack(row)
        payload_ends = payload_begins + found[6]
        fields.append(found)
        payloads.append(row[payload_begins:payload_ends])
        origins.add(row[payload_ends:-_HASH_FIELD])
    positions, names, versions, types, schemas, recorded, _ = zip(*fields, strict=True)
    if positions != tuple(range(stretch.start + 1, stretch.end + 1)) or recorded != tuple(sorted(recorded)):
        raise _Odd
    _read(types, schemas, payloads, origins)
    _follow(streams, names, versions)
    return recorded[0], recorded[-1]


def _follow(streams: Streams, names: Sequence[bytes], versions: Sequence[int]) -> None:
    """Add events to what is known of streams. Raises ``_Odd`` where a version is not the next, and adds none."""
    known = streams.last
    left = zip(names, versions, strict=True)
    for name, version in left:
        before = known.get(name)
        if before is None:
            if version != 1:
                streams.continued[name] = version
        elif version != before + 1:
            place = len(names) - len(list(left)) - 1
            _forget(streams, names[:place], versions[:place])
            raise _Odd
        known[name] = version


def _forget(streams: Streams, names: Sequence[bytes], versions: Sequence[int]) -> None:
    """Take events back that ``_follow`` added, the last first."""
    for name, version in zip(reversed(names), reversed(versions), strict=True):
        if version == 1 or streams.continued.get(name) == version:
            del streams.last[name]
            streams.continued.pop(name, None)
        else:
            streams.last[name] = version - 1


def _read(types: Sequence[bytes], schemas: Sequence[int], payloads: Sequence[bytes], origins: set[bytes]) -> None:
    """See whether events can be read; raises what reading raises. ``origins`` are metadata with their size."""
    for origin in origins:
        decode_metadata(origin[4:])
    if UPCASTERS or set(schemas) != {1}:
        for kind, schema, payload in zip(types, schemas, payloads, strict=True):
            decode_event(kind.decode(), schema, payload)
    elif list(map(type, _events(b"[" + b",".join(payloads) + b"]"))) != list(map(_CLASSES.get, types)):
        raise _Odd


class _Layouts(dict[int, _Layout]):
    """By the sizes of the names of stream and type, each a byte."""

    def __missing__(self, sizes: int) -> _Layout:
        stream_size, type_size = divmod(sizes, 256)
        layout = struct.Struct(f"!6xq4x{stream_size}s4xq24x{type_size}s4xq4x8x4xqi")
        self[sizes] = layout.unpack_from, layout.size
        return self[sizes]


# ---- looking closer ---------------------------------------------------------------------------------


def _one_by_one(
    connection: Connection[TupleRow], stretch: Stretch, cuts: Sequence[int], streams: Streams
) -> Stretch:
    """The stretch once more, event by event, with what is wrong at which position.

    Nothing may be: the quick way also stumbles over events of other programs, which are not read here.
    """
    findings: list[Finding] = []
    leaves: list[bytes] = []
    expected, whole = stretch.start + 1, True
    first, latest = (1 << 63) - 1, -(1 << 63)
    cursor = connection.cursor(binary=True)
    cursor.execute(_ROWS_ONE_BY_ONE, (stretch.shop_id, stretch.start, stretch.end))
    for position, stream, version, event_id, kind, schema, occurred, recorded, payload, metadata, stored in cursor:
        if position != expected:
            whole = False
            findings.append(
                missing(expected, position - 1)
                if position > expected
                else Finding(position, "the position occurs twice")
            )
        expected = position + 1
        try:
            leaf = leaf_hash(
                canonical_bytes(
                    stretch.shop_id,
                    position,
                    stream,
                    version,
                    event_id,
                    kind,
                    schema,
                    _moment(occurred),
                    _moment(recorded),
                    payload,
                    metadata,
                )
            )
        except (TypeError, AttributeError, OverflowError, struct.error, UnicodeError) as error:
            findings.append(Finding(position, f"it is no event that was recorded: {error}"))
            leaves.append(b"")
            continue
        leaves.append(leaf)
        if leaf != stored:
            findings.append(Finding(position, "its leaf hash is not that of what is stored"))
        name = stream.encode()
        before = streams.last.get(name)
        if before is None and version != 1:
            streams.continued[name] = version
        elif before is not None and version != before + 1:
            findings.append(Finding(position, f"it is version {version} of {stream}, after version {before}"))
        streams.last[name] = version
        moment = micros(recorded)
        if moment < latest:
            findings.append(Finding(position, "it says it was recorded before the event that precedes it"))
        first, latest = moment if latest == -(1 << 63) else first, moment
        try:
            if stream.startswith(tuple(kind.prefix for kind in KINDS)):
                decode_event(kind, schema, payload)
                decode_metadata(metadata)
        except UnreadableEvent as error:
            findings.append(Finding(position, f"it can't be read: {error}"))
    if expected <= stretch.end:
        whole = False
        findings.append(missing(expected, stretch.end))
    stretch = stretch._replace(findings=findings[:MOST_FINDINGS], recorded=(first, latest))
    return _with_nodes(stretch, leaves, cuts) if whole else stretch


def missing(since: int, until: int) -> Finding:
    """That there are no events from one position to another."""
    others = "" if since == until else f", and so is every event to position {until}"
    return Finding(since, f"it is missing{others}", until)


def micros(sent: bytes) -> int:
    """A time as PostgreSQL sends it, whatever it is, in microseconds."""
    return int(struct.unpack("!q", sent)[0]) + _SHIFT


def _moment(sent: bytes) -> datetime:
    """A time as PostgreSQL sends it. Raises ``OverflowError`` for one that is no datetime."""
    return _POSTGRES_EPOCH + timedelta(microseconds=struct.unpack("!q", sent)[0])
