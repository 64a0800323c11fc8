"""A shop's log at the seams of the ``eventsourcing`` library.

The library's applications, projections and its own test suites can work on a shop's log through these
recorders. They append through ``append_events`` like everything else; the library's way of inserting,
which locks a whole table or lets readers skip events, is not used.

An originator's id is the name of its stream: a ``str`` as it stands, so orders are found as
``order:<order_sn>``, a ``UUID`` with ``uuid:`` before it. ``topic`` is the type, ``state`` the payload.

The library's ``Application`` and ``Repository`` open an order's history with ``ShopOrderRecorder``,
``OrderMapper`` and ``project_order``.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from threading import Event, Lock
from typing import Any
from uuid import UUID, uuid4

import msgspec
import psycopg
from eventsourcing import persistence
from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    IntegrityError,
    JSONTranscoder,
    Mapper,
    MapperDeserialisationError,
    Notification,
    NotSupportedError,
    ProcessRecorder,
    StoredEvent,
    Subscription,
    Tracking,
    TrackingRecorder,
)
from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool, PoolTimeout

from domain.history import Recorded
from domain.order.fold import evolve
from domain.order.state import Order
from infrastructure.log.codec import UnreadableEvent, decode_event, decode_metadata
from infrastructure.log.log import APPEND, ORDER, Append, NewEvent, append_parameters
from infrastructure.runtime import clock

RecorderPool = ConnectionPool[Connection[TupleRow]]

MAX_TOGETHER = 512
"""How many insertions of different threads go into one transaction at most."""

SUBSCRIPTION_BATCH = 500
SUBSCRIPTION_POLL_SECONDS = 0.1

_UUID = "uuid:"
_READER = "tracking:"

_SELECT = """
SELECT version, type, payload, position, schema_version, occurred_at, recorded_at, metadata FROM event
WHERE shop_id = %(shop_id)s AND stream = %(stream)s
  AND version > coalesce(%(gt)s, -1) AND version <= coalesce(%(lte)s, 2147483647)
ORDER BY version {direction} LIMIT %(limit)s
"""

_NOTIFICATIONS = """
SELECT position, stream, version, type, payload FROM event
WHERE shop_id = %(shop_id)s AND position >= %(first)s AND position <= coalesce(%(stop)s, 9223372036854775807)
  AND (%(topics)s::text[] IS NULL OR type = ANY(%(topics)s))
ORDER BY position LIMIT %(limit)s
"""

_TRACK = """
INSERT INTO checkpoint AS c (shop_id, reader, position) VALUES (%s, %s, %s)
ON CONFLICT (shop_id, reader) DO UPDATE SET position = excluded.position WHERE c.position < excluded.position
"""


_ERRORS: Sequence[tuple[type[psycopg.Error], type[persistence.PersistenceError]]] = (
    (PoolTimeout, persistence.ConnectionUnavailableError),
    (psycopg.InterfaceError, persistence.InterfaceError),
    (psycopg.OperationalError, persistence.OperationalError),
    (psycopg.DataError, persistence.DataError),
    (psycopg.IntegrityError, persistence.IntegrityError),
    (psycopg.InternalError, persistence.InternalError),
    (psycopg.ProgrammingError, persistence.ProgrammingError),
    (psycopg.NotSupportedError, persistence.NotSupportedError),
    (psycopg.DatabaseError, persistence.DatabaseError),
    (psycopg.Error, persistence.PersistenceError),
)
"""The driver's errors and what the library calls them; the first that fits."""


class _ShopRecorder:
    """What the recorders of one shop share: its id, its connections, and the library's errors."""

    def __init__(self, pool: RecorderPool, shop_id: str) -> None:
        self._pool = pool
        self.shop_id = shop_id
        self._waiting: deque[_Insertion] = deque()
        self._leading = Lock()

    @contextmanager
    def _connection(self, *, in_one_go: bool = False) -> Iterator[Connection[TupleRow]]:
        """A connection in a transaction; ``in_one_go`` sends it all at once, and results are there at the end."""
        try:
            with (
                self._pool.connection() as connection,
                connection.pipeline() if in_one_go else nullcontext(),
                connection.transaction(),
            ):
                yield connection
        except psycopg.Error as error:
            name = next(ours for theirs, ours in _ERRORS if isinstance(error, theirs))
            raise name(error) from error

    def _insert(self, stored_events: Sequence[StoredEvent]) -> list[int]:
        """Append in a transaction of its own, shared with other threads that insert at the same moment.

        Whoever finds the way free goes ahead with all that waits; the others find theirs done. Only calls
        for one stream are shared, because those for several are all or nothing.
        """
        calls = list(_calls(stored_events))
        if len(calls) != 1 or len(calls[0]) != 1:
            with self._connection() as connection:
                return self._append(connection, stored_events)
        ((stream, events),) = calls[0].items()
        insertion = _Insertion(_append_of(stream, events, clock.now()))
        self._waiting.append(insertion)
        with self._leading:
            while insertion.result is None:
                self._lead()
        if isinstance(insertion.result, Exception):
            raise insertion.result
        return insertion.result

    def _lead(self) -> None:
        together: dict[str, _Insertion] = {}
        while self._waiting and len(together) < MAX_TOGETHER and self._waiting[0].append.stream not in together:
            insertion = self._waiting.popleft()
            together[insertion.append.stream] = insertion
        appends = [insertion.append for insertion in together.values()]
        try:
            with self._connection(in_one_go=True) as connection:
                cursor = connection.execute(APPEND, append_parameters(self.shop_id, clock.now(), appends))
            outcomes = cursor.fetchall()
        except BaseException as error:
            told = error if isinstance(error, Exception) else persistence.OperationalError("interrupted")
            for insertion in together.values():
                insertion.result = told
            if told is not error:
                raise
            return
        for insertion, (accepted, version, position, _) in zip(together.values(), outcomes, strict=True):
            count = len(insertion.append.events)
            insertion.result = (
                list(range(position - count + 1, position + 1))
                if accepted
                else _conflict(insertion.append, version)
            )

    def _append(self, connection: Connection[TupleRow], stored_events: Sequence[StoredEvent]) -> list[int]:
        """All or nothing, over all originators; the positions, which follow the order of the events."""
        now = clock.now()
        positions: list[int] = []
        for call in _calls(stored_events):
            appends = [_append_of(stream, events, now) for stream, events in call.items()]
            outcomes = connection.execute(APPEND, append_parameters(self.shop_id, now, appends)).fetchall()
            for append, (accepted, version, position, _) in zip(appends, outcomes, strict=True):
                if not accepted:
                    raise _conflict(append, version)
                positions += range(position - len(append.events) + 1, position + 1)
        return positions


def _calls(stored_events: Iterable[StoredEvent]) -> Iterator[dict[str, list[StoredEvent]]]:
    """The events by stream, in as many calls as it takes for each to stand where it was given.

    One call places a stream's events side by side, so a stream that comes back begins the next call.
    """
    call: dict[str, list[StoredEvent]] = {}
    last = None
    for stored in stored_events:
        stream = _stream(stored.originator_id)
        if stream in call and stream != last:
            yield call
            call = {}
        call.setdefault(stream, []).append(stored)
        last = stream
    if call:
        yield call


class _Insertion:
    """What a thread wants appended, and what became of it: positions, or an error."""

    def __init__(self, append: Append) -> None:
        self.append = append
        self.result: list[int] | Exception | None = None


def _conflict(append: Append, version: int) -> IntegrityError:
    return IntegrityError(f"{append.stream} is at version {version}, not at {max(append.expected_version, 0)}.")


def _append_of(stream: str, events: Sequence[StoredEvent], now: datetime) -> Append:
    first = events[0].originator_version
    if first < 0 or [event.originator_version for event in events] != list(range(first, first + len(events))):
        raise IntegrityError(f"The versions given for {stream} do not follow each other from 0 or 1 on.")
    return Append(stream, first - 1, [NewEvent(uuid4(), e.topic, 1, now, e.state, b"{}") for e in events])


class ShopAggregateRecorder(_ShopRecorder, AggregateRecorder):
    """Inserts and selects the events of originators."""

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        """Raises ``IntegrityError``, with nothing inserted, when any version is taken."""
        self._insert(stored_events)
        return None

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        rows = self._rows(originator_id, gt, lte, desc, limit)
        return [StoredEvent(originator_id, version, topic, state) for version, topic, state, *_ in rows]

    def _rows(
        self, originator_id: UUID | str, gt: int | None, lte: int | None, desc: bool, limit: int | None
    ) -> list[TupleRow]:
        query = _SELECT.format(direction="DESC" if desc else "ASC")
        parameters = {
            "shop_id": self.shop_id,
            "stream": _stream(originator_id),
            "gt": gt,
            "lte": lte,
            "limit": limit,
        }
        with self._connection() as connection:
            return connection.execute(query, parameters).fetchall()


class ShopApplicationRecorder(ShopAggregateRecorder, ApplicationRecorder):
    """The shop's log as an application sequence: notification ids are its gapless positions."""

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        """The positions of the events; raises ``IntegrityError`` with nothing inserted."""
        return self._insert(stored_events)

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        first = 0 if start is None else start + (not inclusive_of_start)
        parameters = {
            "shop_id": self.shop_id,
            "first": first,
            "stop": stop,
            "topics": list(topics) or None,
            "limit": limit,
        }
        with self._connection() as connection:
            rows = connection.execute(_NOTIFICATIONS, parameters).fetchall()
        return [
            Notification(
                id=position,
                originator_id=_originator(stream),
                originator_version=version,
                topic=topic,
                state=state,
            )
            for position, stream, version, topic, state in rows
        ]

    def max_notification_id(self) -> int | None:
        with self._connection() as connection:
            row = connection.execute(
                "SELECT position FROM shop_log WHERE shop_id = %s AND position > 0", (self.shop_id,)
            ).fetchone()
        return row[0] if row else None

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> "Subscription[ApplicationRecorder]":
        return ShopSubscription(self, gt, topics)


class ShopSubscription(Subscription[ApplicationRecorder]):
    """Every event behind a position, then every new one, until stopped; by polling, so it can't oversleep."""

    def __init__(self, recorder: ApplicationRecorder, gt: int | None, topics: Sequence[str]) -> None:
        super().__init__(recorder=recorder, gt=gt, topics=topics)
        self._after = gt or 0
        self._ready: deque[Notification] = deque()
        self._stopped = Event()

    def stop(self) -> None:
        self._stopped.set()
        super().stop()

    def __next__(self) -> Notification:
        while not self._stopped.is_set():
            if self._ready:
                return self._ready.popleft()
            head = self._recorder.max_notification_id() or 0
            if head <= self._after:
                self._stopped.wait(SUBSCRIPTION_POLL_SECONDS)
                continue
            found = self._recorder.select_notifications(
                self._after, SUBSCRIPTION_BATCH, head, self._topics, inclusive_of_start=False
            )
            self._ready.extend(found)
            self._after = found[-1].id if len(found) == SUBSCRIPTION_BATCH else head
        raise StopIteration


class ShopTrackingRecorder(_ShopRecorder, TrackingRecorder):
    """How far readers of other sequences have come, kept beside the shop's own checkpoints."""

    def insert_tracking(self, tracking: Tracking) -> None:
        """Raises ``IntegrityError`` unless it moves forward."""
        with self._connection() as connection:
            self._track(connection, tracking)

    def _track(self, connection: Connection[TupleRow], tracking: Tracking) -> None:
        reader = _READER + tracking.application_name
        moved = connection.execute(_TRACK, (self.shop_id, reader, tracking.notification_id))
        if moved.rowcount == 0:
            raise IntegrityError(
                f"{tracking.application_name} was followed beyond {tracking.notification_id} already."
            )

    def max_tracking_id(self, application_name: str) -> int | None:
        with self._connection() as connection:
            row = connection.execute(
                "SELECT position FROM checkpoint WHERE shop_id = %s AND reader = %s",
                (self.shop_id, _READER + application_name),
            ).fetchone()
        return row[0] if row else None


class ShopProcessRecorder(ShopTrackingRecorder, ShopApplicationRecorder, ProcessRecorder):
    """Events and the tracking of what they were made from, in one transaction."""

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        tracking: Tracking | None = kwargs.get("tracking")
        with self._connection() as connection:
            if tracking is not None:
                self._track(connection, tracking)
            return self._append(connection, stored_events)


@dataclass(frozen=True)
class LoggedEvent(StoredEvent):
    """A stored event with its envelope, without which an order can't be folded."""

    position: int
    schema_version: int
    occurred_at: datetime
    recorded_at: datetime
    metadata: bytes


class ShopOrderRecorder(ShopApplicationRecorder):
    """The shop's log for reading its orders: selects events with their envelopes."""

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[LoggedEvent]:
        return [LoggedEvent(originator_id, *row) for row in self._rows(originator_id, gt, lte, desc, limit)]


class OrderRecorded(msgspec.Struct, frozen=True):
    """An order's event as the library's event store hands it out."""

    originator_id: str
    recorded: Recorded[Any]

    @property
    def originator_version(self) -> int:
        return self.recorded.version


class OrderMapper(Mapper[str]):
    """Reads an order's events. Orders are written by commands and observations alone, so it maps none back."""

    def __init__(self) -> None:
        super().__init__(JSONTranscoder())

    def to_domain_event(self, stored_event: StoredEvent) -> OrderRecorded:
        """Raises ``MapperDeserialisationError``."""
        name = f"{stored_event.originator_id} version {stored_event.originator_version}"
        if not isinstance(stored_event, LoggedEvent):
            raise MapperDeserialisationError(f"{name} came without its envelope: select it by ShopOrderRecorder.")
        try:
            recorded = Recorded(
                decode_event(stored_event.topic, stored_event.schema_version, stored_event.state),
                stored_event.originator_version,
                stored_event.position,
                stored_event.occurred_at,
                stored_event.recorded_at,
                decode_metadata(stored_event.metadata),
            )
        except UnreadableEvent as error:
            raise MapperDeserialisationError(f"{name}: {error}") from error
        return OrderRecorded(str(stored_event.originator_id), recorded)

    def to_stored_event(self, domain_event: DomainEventProtocol[str]) -> StoredEvent:
        raise NotSupportedError("Orders are changed by commands and observations, not by saving events.")


class FoldedOrder(msgspec.Struct, frozen=True):
    """An order as the library's repository takes it: with the id of its stream."""

    id: str
    order: Order

    @property
    def version(self) -> int:
        return self.order.version


def project_order(folded: FoldedOrder | None, events: Iterable[OrderRecorded]) -> FoldedOrder | None:
    """The ``projector_func`` of orders: our own ``evolve``, from the beginning or from where it was left."""
    for event in events:
        order = folded.order if folded else Order(event.originator_id.removeprefix(ORDER))
        folded = FoldedOrder(event.originator_id, evolve(order, event.recorded))
    return folded


def _stream(originator_id: UUID | str) -> str:
    """Raises ``ValueError`` for a ``str`` that reads like the stream of a ``UUID``."""
    if isinstance(originator_id, UUID):
        return f"{_UUID}{originator_id}"
    if originator_id.startswith(_UUID):
        raise ValueError(f"{originator_id!r} names the stream of a UUID: give the UUID itself.")
    return originator_id


def _originator(stream: str) -> UUID | str:
    return UUID(stream.removeprefix(_UUID)) if stream.startswith(_UUID) else stream
