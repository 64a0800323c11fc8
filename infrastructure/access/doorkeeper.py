"""Keeps the directory of a process current, so that a request asks memory who may do what, and no database.

A thread with a connection of its own looks for news of the installation's log twice a second. A pool that is full
of slow queries can't delay a revocation. When nothing is heard of the log for ten seconds, nobody is let in: an old
directory must not hold for ever.
"""

import asyncio
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from time import monotonic

import psycopg
from eventsourcing.persistence import PersistenceError
from psycopg_pool import ConnectionPool, PoolTimeout

from infrastructure.access.buckets import Buckets
from infrastructure.access.directory import Directory
from infrastructure.access.installation import Installation
from infrastructure.access.names import note_uses
from infrastructure.log.recorders import RecorderPool

log = logging.getLogger("shiplock.access")

POLL_SECONDS = 0.5
TOO_OLD_SECONDS = 10.0
REFRESH_SECONDS = 0.1
"""Unknown keys make the log be looked at this often at most, however many of them come."""

NOTE_USES_SECONDS = 60.0


@contextmanager
def opened_installation(url: str) -> Iterator[Installation]:
    """The installation's log on connections of its own."""
    pool: RecorderPool
    kwargs = {"application_name": "shiplock access", "connect_timeout": 3, "options": "-c statement_timeout=5000"}
    with ConnectionPool(url, min_size=1, max_size=3, timeout=3.0, kwargs=kwargs, open=True) as pool:
        yield Installation(pool)


class Doorkeeper:
    """Holds the directory; ``open_doorkeeper`` makes one."""

    def __init__(self, url: str, installation: Installation, processes: int = 1) -> None:
        self.installation = installation
        self._url = url
        self._buckets = Buckets(processes)
        self.directory = Directory(installation.registry(), self._buckets)
        self._swapping = threading.Lock()
        self._heard_at = monotonic()
        self._refreshed_at = 0.0
        self._coming: asyncio.Task[None] | None = None
        self.used: dict[str, datetime] = {}
        """When each key was last used, since the last time that it was noted."""

    @property
    def is_current(self) -> bool:
        return monotonic() - self._heard_at < TOO_OLD_SECONDS

    def look(self) -> None:
        """Fold what is new in the log. A directory that is swapped is never older than the one before."""
        heard_at = monotonic()
        registry = self.installation.registry()
        with self._swapping:
            if registry.position > self.directory.position:
                self.directory = Directory(registry, self._buckets)
            self._heard_at = max(self._heard_at, heard_at)

    async def refresh(self) -> None:
        """Look at the log because a key came that may be a new one.

        All who come before the look begins share it, and it begins a while after the one before. So a key that was
        just made works, and a flood of unknown keys costs a few looks a second.
        """
        if self._coming is None:
            self._coming = asyncio.create_task(self._look_soon())
        await asyncio.shield(self._coming)

    async def _look_soon(self) -> None:
        await asyncio.sleep(self._refreshed_at + REFRESH_SECONDS - monotonic())
        self._refreshed_at, self._coming = monotonic(), None
        try:
            await asyncio.to_thread(self.look)
        except (psycopg.Error, PersistenceError, PoolTimeout):
            log.warning("the installation's log can't be read")

    def watch(self, stopping: threading.Event) -> None:
        """Look again and again until told to stop."""
        noted_at = monotonic()
        is_heard = True
        while not stopping.wait(POLL_SECONDS):
            try:
                self.look()
                if not is_heard:
                    log.warning("the installation's log is read again")
                is_heard = True
                if monotonic() - noted_at >= NOTE_USES_SECONDS:
                    noted_at = monotonic()
                    self.note_uses()
            except (psycopg.Error, PersistenceError, PoolTimeout) as error:
                if is_heard:
                    log.warning("the installation's log can't be read: %s", type(error).__name__)
                is_heard = False
            except Exception:
                log.exception("the directory of keys can't be made")

    def note_uses(self) -> None:
        """Note in the database when keys were last used."""
        used, self.used = self.used, {}
        if used:
            with psycopg.connect(self._url, connect_timeout=3) as connection:
                note_uses(connection, used)


@contextmanager
def open_doorkeeper(url: str, processes: int = 1) -> Iterator[Doorkeeper]:
    """A doorkeeper that watches the log as long as the context lasts."""
    with opened_installation(url) as installation:
        keeper = Doorkeeper(url, installation, processes)
        stopping = threading.Event()
        thread = threading.Thread(target=keeper.watch, args=(stopping,), name="doorkeeper", daemon=True)
        thread.start()
        try:
            yield keeper
        finally:
            stopping.set()
            thread.join()
            try:
                keeper.note_uses()
            except psycopg.Error:
                log.warning("when keys were last used could not be noted")
