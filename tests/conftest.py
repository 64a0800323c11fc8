"""Real PostgreSQL for every storage test: the embedded server, or the one of SHIPLOCK_TEST_DATABASE_URL.

Each worker of a parallel run has a server of its own, or databases of its own on the server that is given.
What the fixtures need is imported when the first test uses them: tests of the domain start without it.
"""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("shiplock", deadline=None)
settings.load_profile("shiplock")


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """A server on which tests may make databases, as the URL of its maintenance database."""
    given = os.environ.get("SHIPLOCK_TEST_DATABASE_URL")
    if given:
        yield given
        return
    from tests.databases import embedded_server

    with embedded_server() as url:
        yield url


@pytest.fixture(scope="session")
def template(server_url: str) -> Iterator[str]:
    """The name of a migrated database that each test's own is copied from."""
    from tests.databases import template_database

    with template_database(server_url) as name:
        yield name


@pytest.fixture
def database_url(server_url: str, template: str) -> Iterator[str]:
    """A fresh, migrated database of the test's own."""
    from tests.databases import copied_database

    with copied_database(server_url, template) as url:
        yield url
