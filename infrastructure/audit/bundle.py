"""Bundles: one file with some events and the proof that they are in a signed checkpoint. It needs nothing else.

A bundle is JSON lines in UTF-8. The first line says what the bundle covers, and holds the checkpoint and the public
key. Each other line is one event, with every field that its leaf hash covers, and its inclusion proof. The same
content has only one valid encoding. Every other is refused, so a change of any byte is noticed.
"""

import struct
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal
from uuid import UUID

import msgspec

from infrastructure.audit import checkpoint, merkle, note
from infrastructure.audit.archive import LogDiffers
from infrastructure.audit.checkpoint import Signed
from infrastructure.audit.note import BadNote, VerifierKey
from infrastructure.audit.proving import prove_inclusion
from infrastructure.database.pool import WriteConnection
from infrastructure.log.canonical import canonical_bytes, leaf_hash
from infrastructure.log.log import StoredEvent, read_feed, read_stream
from infrastructure.log.streams import ORDER
from infrastructure.runtime import atomic_files

_LARGEST_LINE = 16 << 20
_BATCH = 500


class BadBundle(Exception):
    """The bundle proves nothing; the message says what is wrong with it."""


class CannotBundle(Exception):
    """A bundle can't be made of these events; the message says why and what to do."""


AwareDatetime = Annotated[datetime, msgspec.Meta(tz=True)]


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What a bundle covers: an order from its first event on, or a range of positions without a gap."""

    shiplock_bundle: Literal[1]
    shop_id: str
    order_sn: str | None = None
    from_position: int | None = None
    to_position: int | None = None
    events: int
    key: str
    checkpoint: str


class BundledEvent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An event with the fields that its leaf hash covers. ``payload`` and ``metadata`` are its JSON, as text."""

    position: int
    stream: str
    version: int
    event_id: UUID
    type: str
    schema_version: int
    occurred_at: AwareDatetime
    recorded_at: AwareDatetime
    payload: str
    metadata: str
    proof: list[bytes]


class Checked(msgspec.Struct, frozen=True):
    """The content of a valid bundle. ``key_trusted``: the caller gave trusted keys, and one of them signed it."""

    shop_id: str
    order_sn: str | None
    from_position: int
    to_position: int
    events: int
    checkpoint_size: int
    checkpoint_root: str
    key: str
    key_trusted: bool
    first_recorded_at: datetime
    last_recorded_at: datetime


# ---- making one -------------------------------------------------------------------------------------


async def export_order(connection: WriteConnection, shop_id: str, order_sn: str, signed: Signed, file: Path) -> int:
    """Write the bundle of an order's events that a checkpoint covers. Returns how many they are.

    Raises ``CannotBundle``, ``LogDiffers``, and ``OSError`` if the file can't be written.
    """
    size = signed.checkpoint.size
    history = [
        event for event in await read_stream(connection, shop_id, ORDER + order_sn) if event.position <= size
    ]
    if not history:
        raise CannotBundle(f"Checkpoint {size} of shop {shop_id} covers no event of an order {order_sn}.")
    header = Header(
        shiplock_bundle=1,
        shop_id=shop_id,
        order_sn=order_sn,
        events=len(history),
        key=str(signed.key),
        checkpoint=signed.note,
    )

    async def batches() -> AsyncIterator[list[StoredEvent]]:
        for n in range(0, len(history), _BATCH):
            yield history[n : n + _BATCH]

    await _write(connection, header, batches(), signed, file)
    return len(history)


async def export_range(
    connection: WriteConnection, shop_id: str, since: int, until: int, signed: Signed, file: Path
) -> int:
    """Write the bundle of positions from ``since`` to ``until``, both included. Raises as ``export_order`` does."""
    size = signed.checkpoint.size
    if not 1 <= since <= until <= size:
        raise CannotBundle(f"Positions {since} to {until} are not among the {size} that checkpoint {size} covers.")
    header = Header(
        shiplock_bundle=1,
        shop_id=shop_id,
        from_position=since,
        to_position=until,
        events=until - since + 1,
        key=str(signed.key),
        checkpoint=signed.note,
    )

    async def batches() -> AsyncIterator[list[StoredEvent]]:
        after = since - 1
        while after < until:
            batch, _, _ = await read_feed(connection, shop_id, after, min(_BATCH, until - after))
            if [event.position for event in batch] != list(range(after + 1, after + 1 + len(batch))) or not batch:
                raise CannotBundle(f"Position {after + 1} is missing; look with: shiplock audit verify {shop_id}")
            yield batch
            after = batch[-1].position

    await _write(connection, header, batches(), signed, file)
    return header.events


async def _write(
    connection: WriteConnection,
    header: Header,
    batches: AsyncIterator[list[StoredEvent]],
    signed: Signed,
    file: Path,
) -> None:
    with atomic_files.replacing(file) as output:
        output.write(_line(header))
        async for batch in batches:
            proofs = await prove_inclusion(connection, header.shop_id, [event.position for event in batch], signed)
            for event, proven in zip(batch, proofs, strict=True):
                bundled = _bundled(event, proven.proof)
                if not _is_included(header.shop_id, bundled, signed):
                    raise LogDiffers(f"The event at position {event.position} is not the one that was signed.")
                output.write(_line(bundled))


def _bundled(event: StoredEvent, proof: list[bytes]) -> BundledEvent:
    try:
        payload, metadata = event.payload.decode(), event.metadata.decode()
    except UnicodeDecodeError as error:
        raise CannotBundle(f"The event at position {event.position} is no text: {error}.") from error
    return BundledEvent(
        event.position,
        event.stream,
        event.version,
        event.event_id,
        event.type,
        event.schema_version,
        event.occurred_at,
        event.recorded_at,
        payload,
        metadata,
        proof,
    )


def _line(part: Header | BundledEvent) -> bytes:
    return msgspec.json.encode(part) + b"\n"


# ---- checking one -----------------------------------------------------------------------------------

_header = msgspec.json.Decoder(Header)
_event = msgspec.json.Decoder(BundledEvent)


def check(file: BinaryIO, trusted: Sequence[VerifierKey] = ()) -> Checked:
    """Check that a bundle is valid; this needs only the file. Raises ``BadBundle``.

    One of the ``trusted`` keys must have signed it. Without any, the key in the bundle is taken on trust: the
    bundle is then consistent in itself, but anybody could have made it.
    """
    header = _validated(_read(file, _header))
    signed = _signed(header, trusted)
    first: BundledEvent | None = None
    last: BundledEvent | None = None
    for n in range(header.events):
        event = _read(file, _event)
        if not _is_included(header.shop_id, event, signed):
            raise BadBundle(f"the event at position {event.position} is not in the checkpoint")
        if not _is_next(header, event, n, last):
            raise BadBundle(f"the event at position {event.position} is not the one that comes next")
        first, last = first or event, event
    if first is None or last is None:
        raise BadBundle("it has no events")
    if file.read(1):
        raise BadBundle("there is something behind its last event")
    return Checked(
        shop_id=header.shop_id,
        order_sn=header.order_sn,
        from_position=first.position,
        to_position=last.position,
        events=header.events,
        checkpoint_size=signed.checkpoint.size,
        checkpoint_root=signed.checkpoint.root.hex(),
        key=header.key,
        key_trusted=bool(trusted),
        first_recorded_at=first.recorded_at,
        last_recorded_at=last.recorded_at,
    )


def events(file: BinaryIO) -> Iterable[BundledEvent]:
    """The events of a bundle that was checked."""
    header = _read(file, _header)
    return (_read(file, _event) for _ in range(header.events))


def _signed(header: Header, trusted: Sequence[VerifierKey]) -> Signed:
    try:
        key = VerifierKey.parse(header.key)
        signed = checkpoint.opened(header.checkpoint, [key])
        _, signatures = note.split(header.checkpoint)
    except BadNote as error:
        raise BadBundle(f"its checkpoint does not hold: {error}") from error
    if len(signatures) != 1:
        raise BadBundle("its checkpoint has other signatures than that of its key")
    if not signed.checkpoint.origin.endswith(f"/{header.shop_id}"):
        raise BadBundle(f"its checkpoint is of {signed.checkpoint.origin}, not of shop {header.shop_id}")
    if trusted and key not in trusted:
        raise BadBundle(
            f"it is signed by {header.key}, which is not a key you trust; where the operator changed keys since, "
            "say with --handovers how yours leads there"
        )
    return signed


def _validated(header: Header) -> Header:
    """Raises ``BadBundle`` for a header that is neither of an order nor of a range."""
    if header.order_sn is not None:
        expected: tuple[int | None, int | None] = (None, None)
    else:
        since = header.from_position or 0
        expected = since, since + header.events - 1
    if header.events < 1 or (header.from_position, header.to_position) != expected:
        raise BadBundle("its first line says neither an order nor positions that it has")
    return header


def _is_included(shop_id: str, event: BundledEvent, signed: Signed) -> bool:
    try:
        leaf = leaf_hash(
            canonical_bytes(
                shop_id,
                event.position,
                event.stream,
                event.version,
                event.event_id,
                event.type,
                event.schema_version,
                event.occurred_at,
                event.recorded_at,
                event.payload.encode(),
                event.metadata.encode(),
            )
        )
    except (struct.error, OverflowError):
        return False
    return merkle.included(leaf, event.position - 1, signed.checkpoint.size, event.proof, signed.checkpoint.root)


def _is_next(header: Header, event: BundledEvent, n: int, last: BundledEvent | None) -> bool:
    """Whether an event may follow the last one; ``n`` events came before it."""
    if last and (event.position <= last.position or event.recorded_at < last.recorded_at):
        return False
    if header.order_sn is not None:
        return event.stream == ORDER + header.order_sn and event.version == n + 1
    return event.position == (header.from_position or 0) + n


def _read(file: BinaryIO, decoder: Any) -> Any:
    """The next line. Raises ``BadBundle``, also for a line that says the same in other bytes than we write."""
    line = file.readline(_LARGEST_LINE)
    try:
        part = decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise BadBundle(f"a line can't be read: {error}" if line else "it ends too early") from error
    if _line(part) != line:
        raise BadBundle("a line is not written as bundles are")
    return part
