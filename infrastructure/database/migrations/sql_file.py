"""Revisions are SQL files. Their Python files only say which revision follows which."""

from pathlib import Path

from alembic import op


def run_sql_file(revision: str) -> None:
    """Run the SQL file that has the same name as a revision's Python file, all statements in one call."""
    connection = op.get_bind().connection.driver_connection
    assert connection is not None
    connection.execute(Path(revision).with_suffix(".sql").read_text(encoding="utf-8"))
