"""Databases for tests, on a server of their own or on one that is given."""

import asyncio
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from infrastructure.database.embedded import EmbeddedServer
from infrastructure.database.migrate import migrate
from infrastructure.database.pool import connection_pool
from infrastructure.projections.rebuild import prepare
from infrastructure.runtime.rule_sets import shipped_rules

ROOT = Path(__file__).parents[1]
MEMORY = Path("/dev/shm")
ENOUGH_MEMORY = 2 << 30
"""Bytes. A server's log alone may grow to a few hundred megabytes."""


@contextmanager
def quick_folder() -> Iterator[Path]:
    """A new folder that anyone may enter, in memory where there is enough of it, as disks are slow.

    Tests kill processes, not machines, so what is in memory survives whatever they do.
    """
    in_memory = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ENOUGH_MEMORY
    with tempfile.TemporaryDirectory(prefix="shiplock-test-", dir=MEMORY if in_memory else None) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@contextmanager
def embedded_server() -> Iterator[str]:
    """A server that lives as long as the context, as the URL of its maintenance database.

    A process beside this one holds it: should this one be killed, it stops the server and deletes its folder.
    """
    with subprocess.Popen(
        [sys.executable, "-m", __name__],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for this process
    ) as holder:
        assert holder.stdout
        url = holder.stdout.readline().strip()
        assert url, "no server was started: its error is shown above"
        yield url


def hold_server() -> None:
    """Start a server, print its URL, and stop it at the end of standard input."""
    with quick_folder() as folder, EmbeddedServer.start(folder / "data") as server:
        url = server.url_for("postgres")
        with psycopg.connect(url, autocommit=True) as connection:
            # Nothing on this server needs to survive the machine.
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("ALTER SYSTEM SET full_page_writes = off")
            connection.execute("SELECT pg_reload_conf()")
        print(url, flush=True)
        sys.stdin.read()


@contextmanager
def template_database(server_url: str, prepare_more: Callable[[str], None] = lambda url: None) -> Iterator[str]:
    """The name of a migrated database to copy others from."""
    with _database(server_url, "template") as name:
        url = make_conninfo(server_url, dbname=name)
        migrate(url)
        asyncio.run(_prepare(url))
        prepare_more(url)
        yield name


@contextmanager
def copied_database(server_url: str, template: str) -> Iterator[str]:
    """The URL of a new database that is like the template."""
    with _database(server_url, "test", f"TEMPLATE {template} STRATEGY FILE_COPY") as name:
        yield make_conninfo(server_url, dbname=name)


@contextmanager
def _database(server_url: str, purpose: str, options: str = "") -> Iterator[str]:
    name = f"shiplock_{purpose}_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} {options}".encode())
        try:
            yield name
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


async def _prepare(url: str) -> None:
    async with connection_pool(url, size=4) as pool:
        await prepare(pool, url, shipped_rules())


if __name__ == "__main__":
    hold_server()
