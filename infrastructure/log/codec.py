"""Encoding events to stored bytes, and decoding them.

A stored event is JSON in UTF-8. Its ``type`` is the event's class name, which is also in a column of its own.
``schema_version`` counts the shapes that a type has had. Upcasters, pure functions on the raw dict, convert an old
shape to the current one, one version at a time. Each historic shape has a golden file in
``tests/infrastructure/log/golden``.
"""

from collections.abc import Callable, Mapping
from typing import Any, get_args

import msgspec

from domain.access.events import AccessEvent
from domain.history import Metadata
from domain.order.events import OrderEvent
from domain.sku.events import SkuEvent

AnyEvent = OrderEvent | SkuEvent | AccessEvent

TYPES: Mapping[str, type] = {kind.__name__: kind for kind in get_args(AnyEvent)}
"""Every type of event, by its stored name."""

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]

UPCASTERS: Mapping[tuple[str, int], Upcaster] = {}
"""(type, version) -> the function that converts this version to the next one."""

_events = msgspec.json.Decoder(AnyEvent)
_dicts = msgspec.json.Decoder(dict[str, Any])
_metadata = msgspec.json.Decoder(Metadata)
_encoder = msgspec.json.Encoder()

_DAMAGE = (
    msgspec.MsgspecError,
    UnicodeDecodeError,  # bytes that are no UTF-8 are not among msgspec's own errors
    RecursionError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
)
"""The errors that damaged bytes may cause. The last ones come from upcasters that meet something unexpected."""


class UnreadableEvent(Exception):
    """An event that this program can't read: its type is unknown, its schema is newer, or its bytes are damaged."""


def schema_version(event_type: str) -> int:
    """The current version of a type's shape."""
    return 1 + max((version for name, version in UPCASTERS if name == event_type), default=0)


def encode_event(event: AnyEvent) -> tuple[str, int, bytes]:
    """The type, schema version and payload to store."""
    name = type(event).__name__
    return name, schema_version(name) if UPCASTERS else 1, _encoder.encode(event)


def decode_event(event_type: str, version: int, payload: bytes) -> AnyEvent:
    """The event of a stored row. Raises ``UnreadableEvent``."""
    current = schema_version(event_type) if UPCASTERS else 1
    try:
        event: AnyEvent = (
            _events.decode(payload) if version == current else _upcast(event_type, version, current, payload)
        )
    except _DAMAGE as error:
        raise UnreadableEvent(f"{event_type} version {version}: {error}") from error
    if type(event).__name__ != event_type:
        raise UnreadableEvent(f"{event_type} version {version}: the payload is that of {type(event).__name__}")
    return event


def _upcast(event_type: str, version: int, current: int, payload: bytes) -> AnyEvent:
    if not 1 <= version < current:
        raise UnreadableEvent(f"{event_type} has schema version {version}; this program knows 1 to {current}")
    raw = _dicts.decode(payload)
    for step in range(version, current):
        raw = UPCASTERS[event_type, step](raw)
    event: AnyEvent = msgspec.convert(raw, AnyEvent)
    return event


def encode_metadata(metadata: Metadata) -> bytes:
    return _encoder.encode(metadata)


def decode_metadata(stored: bytes) -> Metadata:
    """The metadata of a stored row. Raises ``UnreadableEvent``."""
    try:
        return _metadata.decode(stored)
    except _DAMAGE as error:
        raise UnreadableEvent(f"metadata: {error}") from error
