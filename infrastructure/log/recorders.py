"""A shop's log at the seams of the ``eventsourcing`` library.

The library's applications, projections and its own test suites can work on a shop's log through these
recorders. They append through ``append_events`` like everything else; the library's way of inserting,
which locks a whole table or lets readers skip events, is not used.

An originator's id is the name of its stream: a ``str`` as it stands, so orders are found as
``order:<order_sn>``, a ``UUID`` with ``uuid:`` before it. ``topic`` is the type, ``state`` the payload.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Event
from typing import Any
from uuid import UUID, uuid4

import psycopg
from eventsourcing import persistence
from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    IntegrityError,
    Notification,
    ProcessRecorder,
    StoredEvent,
    Subscription,
    Tracking,
    TrackingRecorder,
)
from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool, PoolTimeout

from infrastructure import clock
from infrastructure.log.log import APPEND, Append, NewEvent, append_parameters

RecorderPool = ConnectionPool[Connection[TupleRow]]

SUBSCRIPTION_BATCH = 500
SUBSCRIPTION_POLL_SECONDS = 0.1

_UUID = "uuid:"
_READER = "tracking:"

_SELECT = """
SELECT version, type, payload FROM event
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


class _ShopRecorder:
    """What the recorders of one shop share: its id, its connections, and the library's errors."""

    def __init__(self, pool: RecorderPool, shop_id: str) -> None:
        self._pool = pool
        self.shop_id = shop_id

    @contextmanager
    def _connection(self) -> Iterator[Connection[TupleRow]]:
        try:
            with self._pool.connection() as connection, connection.transaction():
                yield connection
        except psycopg.errors.IntegrityError as error:
            raise IntegrityError(error) from error
        except (psycopg.OperationalError, PoolTimeout) as error:
            raise persistence.OperationalError(error) from error
        except psycopg.InterfaceError as error:
            raise persistence.InterfaceError(error) from error
        except psycopg.DatabaseError as error:
            raise persistence.DatabaseError(error) from error

    def _append(self, connection: Connection[TupleRow], stored_events: Sequence[StoredEvent]) -> list[int]:
        """All or nothing, over all originators; the positions in the order of the events."""
        if not stored_events:
            return []
        now = clock.now()
        streams: dict[str, list[StoredEvent]] = {}
        for stored in stored_events:
            streams.setdefault(_stream(stored.originator_id), []).append(stored)
        appends = []
        for stream, events in streams.items():
            first = events[0].originator_version
            if [event.originator_version for event in events] != list(range(first, first + len(events))):
                raise IntegrityError(f"The versions given for {stream} do not follow each other.")
            new = [NewEvent(uuid4(), event.topic, 1, now, event.state, b"{}") for event in events]
            appends.append(Append(stream, first - 1, new))
        outcomes = connection.execute(APPEND, append_parameters(self.shop_id, now, appends)).fetchall()
        places = {}
        for (stream, events), (accepted, version, position, _) in zip(streams.items(), outcomes, strict=True):
            if not accepted:
                raise IntegrityError(f"{stream} is at version {version} already.")
            places[stream] = iter(range(position - len(events) + 1, position + 1))
        return [next(places[_stream(stored.originator_id)]) for stored in stored_events]


class ShopAggregateRecorder(_ShopRecorder, AggregateRecorder):
    """Inserts and selects the events of originators."""

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        """Raises ``IntegrityError``, with nothing inserted, when any version is taken."""
        with self._connection() as connection:
            self._append(connection, stored_events)
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
        query = _SELECT.format(direction="DESC" if desc else "ASC")
        parameters = {
            "shop_id": self.shop_id,
            "stream": _stream(originator_id),
            "gt": gt,
            "lte": lte,
            "limit": limit,
        }
        with self._connection() as connection:
            rows = connection.execute(query, parameters).fetchall()
        return [StoredEvent(originator_id, version, topic, bytes(state)) for version, topic, state in rows]


class ShopApplicationRecorder(ShopAggregateRecorder, ApplicationRecorder):
    """The shop's log as an application sequence: notification ids are its gapless positions."""

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        """The positions of the events; raises ``IntegrityError`` with nothing inserted."""
        with self._connection() as connection:
            return self._append(connection, stored_events)

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
                state=bytes(state),
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
        self._ready: list[Notification] = []
        self._stopped = Event()

    def stop(self) -> None:
        self._stopped.set()
        super().stop()

    def __next__(self) -> Notification:
        while not self._stopped.is_set():
            if self._ready:
                return self._ready.pop(0)
            head = self._recorder.max_notification_id() or 0
            found = self._recorder.select_notifications(
                self._after, SUBSCRIPTION_BATCH, head, self._topics, inclusive_of_start=False
            )
            self._ready = list(found)
            self._after = found[-1].id if len(found) == SUBSCRIPTION_BATCH else max(head, self._after)
            if not found:
                self._stopped.wait(SUBSCRIPTION_POLL_SECONDS)
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


def _stream(originator_id: UUID | str) -> str:
    return f"{_UUID}{originator_id}" if isinstance(originator_id, UUID) else originator_id


def _originator(stream: str) -> UUID | str:
    return UUID(stream.removeprefix(_UUID)) if stream.startswith(_UUID) else stream
