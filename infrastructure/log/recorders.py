"""A shop's log behind the interfaces of the ``eventsourcing`` library.

This module is for users of the library, as the guide in docs/how-to/read-the-log.md shows, for the tests, and for
the installation's own log (``infrastructure/access``). The program itself does not use it for shops.

With these recorders the library's applications, projections and test suites can work on a shop's log. The recorders
append through ``append_events`` like everything else. The library's own way of inserting locks a whole table or
lets readers skip events, so it is not used.

An originator's id is the name of its stream. A ``str`` is the name itself, such as ``order:<order_sn>``; a ``UUID``
gets the prefix ``uuid:``. ``topic`` is the type, ``state`` the payload.

The library's ``Application`` and ``Repository`` read an order's history with ``ShopOrderRecorder``, ``OrderMapper``
and ``project_order``.
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
"""At most so many insertions of different threads go into one transaction."""

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
"""The driver's errors and the library's. The first match counts."""


class _ShopRecorder:
    """The base of a shop's recorders: its id, its connections, and the translation of errors."""

    def __init__(self, pool: RecorderPool, shop_id: str) -> None:
        self._pool = pool
        self.shop_id = shop_id
        self._waiting: deque[_Insertion] = deque()
        self._leading = Lock()

    @contextmanager
    def _connection(self, *, pipelined: bool = False) -> Iterator[Connection[TupleRow]]:
        """A connection in a transaction. If ``pipelined``, all is sent together; results exist only at the end."""
        try:
            with (
                self._pool.connection() as connection,
                connection.pipeline() if pipelined else nullcontext(),
                connection.transaction(),
            ):
                yield connection
        except psycopg.Error as error:
            name = next(ours for theirs, ours in _ERRORS if isinstance(error, theirs))
            raise name(error) from error

    def _insert(self, stored_events: Sequence[StoredEvent]) -> list[int]:
        """Append in a new transaction, which other threads that insert at the same time share.

        The first thread to get the lock appends all waiting insertions. The others then see that theirs are done.
        Only calls for a single stream share a transaction, because a call for several streams is all or nothing.
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
            with self._connection(pipelined=True) as connection:
                cursor = connection.execute(APPEND, append_parameters(self.shop_id, clock.now(), appends))
            outcomes = cursor.fetchall()
        except BaseException as error:
            failure = error if isinstance(error, Exception) else persistence.OperationalError("interrupted")
            for insertion in together.values():
                insertion.result = failure
            if failure is not error:
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
        """Append the events of all originators, or none. Returns their positions, in the order of the events."""
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
    """Group the events by stream, in as many calls as the given order of the events needs.

    One call puts the events of a stream next to each other. So a stream that comes again begins the next call.
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
    """The events that a thread appends, and the result: positions, or an error."""

    def __init__(self, append: Append) -> None:
        self.append = append
        self.result: list[int] | Exception | None = None


def _conflict(append: Append, version: int) -> IntegrityError:
    return IntegrityError(f"{append.stream} is at version {version}, not at {max(append.expected_version, 0)}.")


def _append_of(stream: str, events: Sequence[StoredEvent], now: datetime) -> Append:
    first = events[0].originator_version
    if first < 0 or [event.originator_version for event in events] != list(range(first, first + len(events))):
        raise IntegrityError(f"The versions given for {stream} do not follow each other from 0 or 1 on.")
    return Append(stream, first - 1, [_new(event, now) for event in events])


def _new(event: StoredEvent, now: datetime) -> NewEvent:
    metadata = event.metadata if isinstance(event, OriginatedEvent) else b"{}"
    return NewEvent(uuid4(), event.topic, 1, now, event.state, metadata)


@dataclass(frozen=True)
class OriginatedEvent(StoredEvent):
    """An event to store, with its origin."""

    metadata: bytes


class ShopAggregateRecorder(_ShopRecorder, AggregateRecorder):
    """Inserts and selects the events of originators."""

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        """Raises ``IntegrityError`` and inserts nothing if any version exists already."""
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
        """Returns the positions of the events. Raises ``IntegrityError`` and inserts nothing."""
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
    """Every event after a position, and then every new one, until ``stop``. It polls, so it can't miss a signal."""

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
            notifications = self._recorder.select_notifications(
                self._after, SUBSCRIPTION_BATCH, head, self._topics, inclusive_of_start=False
            )
            self._ready.extend(notifications)
            self._after = notifications[-1].id if len(notifications) == SUBSCRIPTION_BATCH else head
        raise StopIteration


class ShopTrackingRecorder(_ShopRecorder, TrackingRecorder):
    """The positions of readers in other sequences. They are stored with those of the shop's own readers."""

    def insert_tracking(self, tracking: Tracking) -> None:
        """Raises ``IntegrityError`` unless the position increases."""
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
    """Inserts events and the position that they were made from, in one transaction."""

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        tracking: Tracking | None = kwargs.get("tracking")
        with self._connection() as connection:
            if tracking is not None:
                self._track(connection, tracking)
            return self._append(connection, stored_events)


@dataclass(frozen=True)
class LoggedEvent(StoredEvent):
    """A stored event with its envelope. Folding an order needs the envelope."""

    position: int
    schema_version: int
    occurred_at: datetime
    recorded_at: datetime
    metadata: bytes


class ShopOrderRecorder(ShopApplicationRecorder):
    """Selects a shop's events with their envelopes, to read its orders."""

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


class EventOfStream(msgspec.Struct, frozen=True):
    """An event in the form that the library's event store returns."""

    originator_id: str
    recorded: Recorded[Any]

    @property
    def originator_version(self) -> int:
        return self.recorded.version


class LogMapper(Mapper[str]):
    """Decodes events with their envelopes. A subclass encodes those that it may store."""

    def __init__(self) -> None:
        super().__init__(JSONTranscoder())

    def to_domain_event(self, stored_event: StoredEvent) -> EventOfStream:
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
        return EventOfStream(str(stored_event.originator_id), recorded)


class OrderMapper(LogMapper):
    """Decodes an order's events. It encodes none, because only commands and observations change orders."""

    def to_stored_event(self, domain_event: DomainEventProtocol[str]) -> StoredEvent:
        raise NotSupportedError("Orders are changed by commands and observations, not by saving events.")


class FoldedOrder(msgspec.Struct, frozen=True):
    """An order in the form that the library's repository needs: with the id of its stream."""

    id: str
    order: Order

    @property
    def version(self) -> int:
        return self.order.version


def project_order(folded: FoldedOrder | None, events: Iterable[EventOfStream]) -> FoldedOrder | None:
    """The ``projector_func`` of orders: our own ``evolve``, from the beginning or from an earlier state."""
    for event in events:
        order = folded.order if folded else Order(event.originator_id.removeprefix(ORDER))
        folded = FoldedOrder(event.originator_id, evolve(order, event.recorded))
    return folded


def _stream(originator_id: UUID | str) -> str:
    """Raises ``ValueError`` for a ``str`` that looks like the stream of a ``UUID``."""
    if isinstance(originator_id, UUID):
        return f"{_UUID}{originator_id}"
    if originator_id.startswith(_UUID):
        raise ValueError(f"{originator_id!r} names the stream of a UUID: give the UUID itself.")
    return originator_id


def _originator(stream: str) -> UUID | str:
    return UUID(stream.removeprefix(_UUID)) if stream.startswith(_UUID) else stream
