"""The embedded PostgreSQL: started by the first program that uses a data folder, stopped by the last.

Who uses it, and whether it lives, is told by file locks, which the kernel lets go of when a process ends
in whatever way. There is nothing to go stale: no list of users, no trusted process number.

- ``in-use.lock``: shared, by every program that uses the server. Who can have it alone is the last user.
- ``start-stop.lock``: alone, while starting or stopping.
- ``server.lock``: alone, by the server and all its processes together, which inherit it open.
"""

import fcntl
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import psycopg
from psycopg import sql

from infrastructure.database.cluster import Cluster, binaries
from infrastructure.database.failure import EmbeddedServerFailed
from infrastructure.database.socket_folder import SOCKET, make_private, socket_folder

START_SECONDS = 300.0
"""Generous: after a crash a long log is read again before the server answers."""

DATABASE = "shiplock"

__all__ = ["EmbeddedServer", "EmbeddedServerFailed", "binaries"]

log = logging.getLogger("shiplock.database")


class EmbeddedServer:
    """A running server of a data folder, shared with every other program that uses the folder.

    Made by `start`; `stop` it, or use it as a context manager.
    """

    def __init__(self, data_dir: Path, start_seconds: float = START_SECONDS) -> None:
        self._data_dir = data_dir.resolve()
        self._start_seconds = start_seconds
        self._cluster = Cluster(self._data_dir / "postgresql")
        self._socket_folder = socket_folder(self._data_dir)
        self._use: int | None = None

    @classmethod
    def start(cls, data_dir: Path, *, start_seconds: float = START_SECONDS) -> Self:
        """Start the server of a data folder, or find it running; create what is missing.

        Raises `EmbeddedServerFailed` if it doesn't answer within ``start_seconds``.
        """
        server = cls(data_dir, start_seconds)
        try:
            server._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (server._data_dir / "run", server._socket_folder):
                make_private(folder, like=server._data_dir)
            with server._starting_or_stopping():
                server._use = server._open("in-use.lock")
                fcntl.flock(server._use, fcntl.LOCK_SH)
                try:
                    server._bring_up()
                except BaseException:
                    server._leave()
                    raise
        except OSError as problem:
            raise EmbeddedServerFailed(
                f"The data folder {data_dir} can't be used ({problem}): run as the user it belongs to, "
                f"make room, or name another folder in SHIPLOCK_DATA_DIR."
            ) from problem
        return server

    @property
    def url(self) -> str:
        """The URL of the program's database, for libpq."""
        return self.url_for(DATABASE)

    def url_for(self, database: str) -> str:
        """The URL of a database on this server, for libpq."""
        host = quote(str(self._socket_folder), safe="/")
        return f"postgresql:///{quote(database, safe='')}?host={host}&port=5432&user=postgres"

    def is_alive(self) -> bool:
        """Whether a server listens at the socket; it may still be starting."""
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1.0)
            try:
                probe.connect(str(self._socket_folder / SOCKET))
            except (FileNotFoundError, ConnectionRefusedError):
                return False
            except (TimeoutError, BlockingIOError):  # it is there, and busy
                return True
        return True

    def ensure_running(self) -> None:
        """Start the server again if it died; to be called now and then while it is used. After `stop`
        it does nothing. Raises `EmbeddedServerFailed`."""
        if self._use is None or self.is_alive():
            return
        with self._starting_or_stopping():
            if self._use is not None and not self.is_alive():
                log.warning("the embedded database is gone; starting it again")
                self._bring_up()

    def stop(self) -> None:
        """Leave the server; the last user stops it. Once left, leaving again does nothing."""
        if self._use is None:
            return
        with self._starting_or_stopping():
            try:
                if self._is_last_user() and self.is_alive():
                    self._cluster.stop(timeout=self._start_seconds)
            finally:
                self._leave()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _bring_up(self) -> None:
        """Start the server unless it is there, and wait until it takes connections."""
        deadline = time.monotonic() + self._start_seconds
        self._cluster.make_sure_it_exists()
        while True:
            if not self.is_alive():
                self._start_unless_alive(deadline)
            if self.is_alive() and self._has_database():
                return
            if time.monotonic() > deadline:
                raise EmbeddedServerFailed(
                    f"PostgreSQL in {self._data_dir} is there but took no connection within "
                    f"{self._start_seconds:.0f} s.{self._cluster.end_of_log()}\n"
                    f"It may still be reading its log after a crash: wait, then start this program again."
                )
            time.sleep(0.05)

    def _start_unless_alive(self, deadline: float) -> None:
        """Start the server if none of its processes is left.

        Some are while another program's start, that of a killed one perhaps, is under way, and after
        the death of the main process, until the others have noticed.
        """
        held = self._open("server.lock")
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        else:
            self._cluster.start(self._socket_folder, held=held, timeout=max(deadline - time.monotonic(), 1.0))
        finally:
            os.close(held)

    def _has_database(self) -> bool:
        """Create the program's database if it is missing; false while the server takes no connections."""
        try:
            with psycopg.connect(self.url_for("postgres"), autocommit=True, connect_timeout=10) as connection:
                found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
                if found.fetchone() is None:
                    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
        except psycopg.OperationalError:
            return False
        return True

    def _is_last_user(self) -> bool:
        assert self._use is not None
        try:
            fcntl.flock(self._use, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _leave(self) -> None:
        use, self._use = self._use, None
        if use is not None:
            os.close(use)

    @contextmanager
    def _starting_or_stopping(self) -> Iterator[None]:
        """One at a time, among threads as among programs."""
        lock = self._open("start-stop.lock")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _open(self, name: str) -> int:
        """A lock file, closed on exec: only what is handed over reaches the server."""
        return os.open(self._data_dir / "run" / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
