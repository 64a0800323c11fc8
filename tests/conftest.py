"""Real PostgreSQL for every storage test: the embedded server, or the one of SHIPLOCK_TEST_DATABASE_URL."""

import asyncio
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import settings
from psycopg.conninfo import make_conninfo

from infrastructure.database.embedded import EmbeddedServer
from infrastructure.database.migrate import migrate
from infrastructure.database.pool import connection_pool
from infrastructure.projections.rebuild import prepare
from infrastructure.runtime.rule_sets import shipped_rules

settings.register_profile("shiplock", deadline=None)
settings.load_profile("shiplock")


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server on which tests may make databases, as the URL of its maintenance database."""
    given = os.environ.get("SHIPLOCK_TEST_DATABASE_URL")
    if given:
        yield given
        return
    folder: Path = tmp_path_factory.mktemp("server")
    with EmbeddedServer.start(folder) as server:
        with psycopg.connect(server.url_for("postgres"), autocommit=True) as connection:
            # This server lives for one run: nothing on it needs to survive the machine.
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")
        yield server.url_for("postgres")


async def _prepare(url: str) -> None:
    async with connection_pool(url, size=4) as pool:
        await prepare(pool, url, shipped_rules())


@pytest.fixture(scope="session")
def template(server_url: str) -> Iterator[str]:
    """The name of a migrated database that each test's own is copied from."""
    name = f"shiplock_template_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        url = make_conninfo(server_url, dbname=name)
        migrate(url)
        asyncio.run(_prepare(url))
        yield name
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database_url(server_url: str, template: str) -> Iterator[str]:
    """A fresh, migrated database of the test's own."""
    name = f"shiplock_test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        yield make_conninfo(server_url, dbname=name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
