"""The embedded PostgreSQL: started by the first program that uses a data folder, stopped by the last.

File locks show who uses the server and whether it lives. The kernel releases them when a process ends, however it
ends. So nothing can become stale, as a list of users or a process number could.

- ``in-use.lock``: a shared lock of every program that uses the server. Whoever can lock it exclusively is the last.
- ``start-stop.lock``: an exclusive lock while a program starts or stops the server.
- ``server.lock``: an exclusive lock of the server. All its processes inherit the open file.
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
"""Generous: after a crash the server reads its write-ahead log again before it answers."""

DATABASE = "shiplock"

__all__ = ["EmbeddedServer", "EmbeddedServerFailed", "binaries"]

log = logging.getLogger("shiplock.database")


class EmbeddedServer:
    """A running server of a data folder, shared with every other program that uses the folder.

    `start` makes it. Call `stop` at the end, or use it as a context manager.
    """

    def __init__(self, data_dir: Path, start_seconds: float = START_SECONDS) -> None:
        self._data_dir = data_dir.resolve()
        self._start_seconds = start_seconds
        self._cluster = Cluster(self._data_dir / "postgresql")
        self._socket_folder = socket_folder(self._data_dir)
        self._use: int | None = None

    @classmethod
    def start(cls, data_dir: Path, *, start_seconds: float = START_SECONDS) -> Self:
        """Start the server of a data folder if it does not run; create the folder and the database if missing.

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
        """Start the server again if it died. Call this regularly while the server is used. After `stop` it does
        nothing. Raises `EmbeddedServerFailed`."""
        if self._use is None or self.is_alive():
            return
        with self._starting_or_stopping():
            if self._use is not None and not self.is_alive():
                log.warning("the embedded database is gone; starting it again")
                self._bring_up()

    def stop(self) -> None:
        """Leave the server; the last user stops it. A second call does nothing."""
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
        """Start the server if it does not run, and wait until it accepts connections."""
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
        """Start the server if none of its processes is alive.

        Some may be alive while another program, killed or not, is starting the server. They may also be for a
        while after the main process died, until they notice.
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
        """Create the program's database if it is missing; false while the server accepts no connections."""
        try:
            with psycopg.connect(self.url_for("postgres"), autocommit=True, connect_timeout=10) as connection:
                cursor = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
                if cursor.fetchone() is None:
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
        """Only one thread of one program at a time is inside."""
        lock = self._open("start-stop.lock")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _open(self, name: str) -> int:
        """Open a lock file. It is closed on exec, so the server gets only the one that is passed to it."""
        return os.open(self._data_dir / "run" / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
