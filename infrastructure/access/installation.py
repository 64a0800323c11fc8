"""The installation's own log: who may do what, decided by ``domain.access`` and stored by the event library.

The log stands in the tables of the shops' logs, under an id that no shop can have. So it has positions, hashes and
checkpoints like any of them.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from threading import Lock
from typing import NamedTuple

import msgspec
from eventsourcing.application import Application
from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import Mapper, StoredEvent

from domain.access.commands import Command
from domain.access.decisions import OPERATING_SYSTEM, Denial, Giver, decide, giver_of
from domain.access.events import AccessEvent
from domain.access.state import Registry, evolve
from domain.history import Metadata, Recorded
from infrastructure.log.codec import encode_event, encode_metadata
from infrastructure.log.log import INSTALLATION
from infrastructure.log.recorders import (
    EventOfStream,
    LoggedEvent,
    LogMapper,
    OriginatedEvent,
    RecorderPool,
    ShopOrderRecorder,
)
from infrastructure.runtime import clock

BY_THE_OPERATING_SYSTEM = "cli"
"""The actor of what is done by whoever holds the database."""

_TAKE_TURN = "SELECT pg_advisory_xact_lock(hashtextextended('commands to the installation', 0))"

_NEWS = """
SELECT stream, version, type, payload, position, schema_version, occurred_at, recorded_at, metadata FROM event
WHERE shop_id = %s AND position > %s ORDER BY position LIMIT %s
"""

AT_ONCE = 10_000
"""Events that are read at once."""


class NewFact(msgspec.Struct, frozen=True):
    """An event to save, in the form that the library's application takes."""

    originator_id: str
    originator_version: int
    event: AccessEvent
    metadata: Metadata


class AccessMapper(LogMapper):
    """Encodes new facts with their origin."""

    def to_stored_event(self, domain_event: DomainEventProtocol[str]) -> StoredEvent:
        assert isinstance(domain_event, NewFact)
        name, _, payload = encode_event(domain_event.event)
        metadata = encode_metadata(domain_event.metadata)
        return OriginatedEvent(domain_event.originator_id, domain_event.originator_version, name, payload, metadata)


class InstallationRecorder(ShopOrderRecorder):
    """Selects the whole log with the envelopes of its events."""

    def __init__(self, pool: RecorderPool) -> None:
        super().__init__(pool, INSTALLATION)

    def select_news(self, after: int) -> Sequence[LoggedEvent]:
        """The next events behind a position, in the order of the log."""
        return self.select_behind(after, AT_ONCE)

    def select_behind(self, after: int, limit: int) -> Sequence[LoggedEvent]:
        """Some events behind a position."""
        with self._connection() as connection:
            rows = connection.execute(_NEWS, (INSTALLATION, after, limit)).fetchall()
        return [LoggedEvent(*row) for row in rows]

    @contextmanager
    def turn(self) -> Iterator[None]:
        """A time in which no other process decides about the installation."""
        with self._connection() as connection:
            connection.execute(_TAKE_TURN)
            yield


class Done(NamedTuple):
    """What came of a command: the facts that are in the log now, or why it was refused."""

    facts: Sequence[AccessEvent]
    denial: Denial | None = None


class Installation(Application[str]):
    """Who may do what: takes commands, keeps what they lead to, and folds the log into a registry.

    A decision may depend on anything in the log, so commands are decided one after another, over all processes.
    There are few of them.
    """

    def __init__(self, pool: RecorderPool) -> None:
        self._pool = pool
        super().__init__()
        self._registry = Registry()
        self._folding = Lock()

    def construct_recorder(self) -> InstallationRecorder:
        return InstallationRecorder(self._pool)

    def construct_mapper(self) -> Mapper[str]:
        return AccessMapper()

    def registry(self) -> Registry:
        """The registry up to the end of the log. Threads fold it one after another, so it never goes back."""
        with self._folding:
            return self._folded()

    def _folded(self) -> Registry:
        recorder = self.recorder
        assert isinstance(recorder, InstallationRecorder)
        while stored := recorder.select_news(self._registry.position):
            news: list[tuple[str, Recorded[AccessEvent]]] = []
            for each in stored:
                event = self.mapper.to_domain_event(each)
                assert isinstance(event, EventOfStream)
                news.append((event.originator_id, event.recorded))
            self._registry = evolve(self._registry, news)
            if len(stored) < AT_ONCE:
                break
        return self._registry

    def behind(self, after: int, limit: int) -> Sequence[LoggedEvent]:
        """Some events of the log behind a position, as they are stored."""
        recorder = self.recorder
        assert isinstance(recorder, InstallationRecorder)
        return recorder.select_behind(after, limit)

    def do(
        self, command: Command, *, by: str | None = None, key_id: str | None = None, now: datetime | None = None
    ) -> Done:
        """Decide a command of a client or person, by its id and that of its key, and save what it leads to.

        Without ``by`` it is of whoever holds the database.
        """
        recorder = self.recorder
        assert isinstance(recorder, InstallationRecorder)
        with recorder.turn():
            registry = self.registry()
            now = now or clock.now()
            giver = _giver(registry, by, key_id, now)
            if giver is None:
                return Done((), Denial("not_permitted", "The giver is not known."))
            decision = decide(registry, command, giver, now)
            if isinstance(decision, Denial):
                return Done((), decision)
            if not decision:
                return Done(())
            metadata = Metadata(actor=_actor(giver), credential=key_id)
            facts = [NewFact(stream, version + 1, event, metadata) for stream, version, event in decision]
            self.save(*facts)
        self.registry()
        return Done([fact.event for fact in facts])


def _giver(registry: Registry, principal_id: str | None, key_id: str | None, now: datetime) -> Giver | None:
    if principal_id is None:
        return OPERATING_SYSTEM
    principal = registry.principals.get(principal_id)
    if principal is None or key_id is None:
        return giver_of(registry, principal) if principal else None
    key = principal.keys.get(key_id)
    return giver_of(registry, principal, key, now) if key else None


def _actor(giver: Giver) -> str:
    if giver.principal is None:
        return BY_THE_OPERATING_SYSTEM
    return f"{giver.principal.kind}:{giver.principal.principal_id}"
