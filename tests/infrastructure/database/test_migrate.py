"""Migrations are applied once, by the first program that comes, and never backwards."""

import subprocess
import sys
import uuid
from collections.abc import Iterator

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from infrastructure.database.migrate import WrongDatabase, applied, is_current, migrate, revisions
from tests.infrastructure.database.programs import ROOT

PROGRAM = "import sys; from infrastructure.database.migrate import migrate; print(*migrate(sys.argv[1]))"


@pytest.fixture
def empty_url(server_url: str) -> Iterator[str]:
    """A database with nothing in it."""
    name = f"shiplock_empty_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield make_conninfo(server_url, dbname=name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_an_empty_database_gets_everything_once(empty_url: str) -> None:
    assert applied(empty_url) is None
    assert not is_current(empty_url)
    assert migrate(empty_url) == list(revisions())
    assert is_current(empty_url)
    assert migrate(empty_url) == []


def test_only_missing_revisions_are_applied(empty_url: str) -> None:
    assert migrate(empty_url, "0001") == ["0001"]
    assert migrate(empty_url) == [revision for revision in revisions() if revision > "0001"]
    assert is_current(empty_url)


def test_several_programs_can_migrate_at_the_same_time(empty_url: str) -> None:
    programs = [
        subprocess.Popen([sys.executable, "-c", PROGRAM, empty_url], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    applied_by_each = sorted(program.communicate(timeout=60)[0].split() for program in programs)
    assert [program.returncode for program in programs] == [0, 0, 0]
    assert applied_by_each == [[], [], list(revisions())]


def test_a_database_of_a_newer_program_is_refused_and_left_alone(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    for act in (is_current, migrate):
        with pytest.raises(WrongDatabase, match=r"9999.*Update this one"):
            act(database_url)
    assert applied(database_url) == "9999"


def test_checking_whether_a_database_is_current_loads_no_alembic(database_url: str) -> None:
    program = (
        "import sys; from infrastructure.database.migrate import is_current; assert is_current(sys.argv[1]);"
        "print([name for name in ('alembic', 'sqlalchemy') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, database_url], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
