"""Schema migrations with Alembic: plain SQL files, applied in order, each in one transaction."""

from functools import cache
from importlib.resources import files

import psycopg

SCRIPTS = "infrastructure.database.migrations"
OLDEST_SERVER = 150_000

_LOCK = 7_166_401_946_155_041
"""The advisory lock that lets only one program migrate at a time."""


class WrongDatabase(RuntimeError):
    """The database is too old, or newer than this program."""


@cache
def revisions() -> tuple[str, ...]:
    """Every revision that this program knows, oldest first. The names of the SQL files begin with them."""
    folder = files(SCRIPTS).joinpath("versions")
    return tuple(sorted(entry.name[:4] for entry in folder.iterdir() if entry.name.endswith(".sql")))


def applied(url: str) -> str | None:
    """The revision a database is at, or ``None`` for an empty one."""
    with psycopg.connect(url) as connection:
        if connection.info.server_version < OLDEST_SERVER:
            version = connection.info.server_version // 10_000
            raise WrongDatabase(f"The server is PostgreSQL {version}; 15 or later is needed.")
        if connection.execute("SELECT to_regclass('alembic_version')").fetchone() == (None,):
            return None
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        return row[0] if row else None


def is_current(url: str) -> bool:
    """Whether the database needs no migration. This is cheap enough for every start.

    Raises ``WrongDatabase``.
    """
    revision = applied(url)
    if revision is not None and revision not in revisions():
        raise WrongDatabase(
            f"The database is at revision {revision}, this program knows only up to {revisions()[-1]}: "
            "it was used by a newer program. Update this one."
        )
    return revision == revisions()[-1]


def migrate(url: str, to: str = "head") -> list[str]:
    """Apply the missing revisions and return them. Several programs may call this at the same time.

    Raises ``WrongDatabase``.
    """
    if is_current(url):
        return []
    with psycopg.connect(url, autocommit=True) as guard:
        guard.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        before = applied(url)
        if is_current(url):
            return []
        _upgrade(url, to)
    known = revisions() if to == "head" else revisions()[: revisions().index(to) + 1]
    return list(known[known.index(before) + 1 :] if before else known)


def _upgrade(url: str, to: str) -> None:
    # Imported here because Alembic and SQLAlchemy take longer to load than most commands take to run.
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    config = Config()
    config.set_main_option("script_location", str(files(SCRIPTS)))
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url), poolclass=NullPool)
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, to)
        connection.commit()
