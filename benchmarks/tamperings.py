"""``python -m benchmarks.tamperings``: nine ways to tamper with a log, and what ``audit verify`` says of each.

Each is done in PostgreSQL by a superuser with triggers off, on a copy of a log that was signed at three sizes: once
as it comes, and once made to look right, with positions, versions, head and leaf hashes put in order.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psycopg
from psycopg import Connection, sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow
from rich.console import Console
from rich.table import Table

from benchmarks import lives
from infrastructure.audit.archive import Archive
from infrastructure.audit.checkpoints import Checkpoints
from infrastructure.audit.keys import Keys
from infrastructure.audit.signing import make_checkpoint
from infrastructure.audit.verification import Verified, verify
from infrastructure.database.embedded import EmbeddedServer
from infrastructure.database.migrate import migrate

SHOP = "shop-0"
SIZES = (1500, 3000, 4000)
"""Where the log is signed; the backup that is restored is of the second."""

_HASHES = """
UPDATE event SET leaf_hash = event_leaf_hash(shop_id, position, stream, version, event_id, type, schema_version,
                                             occurred_at, recorded_at, payload, metadata);
DELETE FROM tile;
"""

_FIRST = f"SELECT min(position) FROM event WHERE type = %s AND position > {SIZES[0]} AND position <= {SIZES[1]}"


class Wrong(Exception):
    """A tampering was not detected, or not at its position."""


class Tampering(NamedTuple):
    """Something that is done to a log. ``done`` and ``made_to_look_right`` are SQL, run one after the other.

    ``position`` and ``checkpoint`` are what has to be named: the first after ``done``, the other when it was made
    to look right.
    """

    name: str
    done: str
    made_to_look_right: str
    position: int | None
    checkpoint: int


class Detected(NamedTuple):
    """The first problem that the verification reported, both times."""

    tampering: str
    as_it_comes: str
    made_to_look_right: str


class Signed(NamedTuple):
    """A server with a log that was signed: the names of its database and of a backup made earlier."""

    server_url: str
    archive: Archive
    log: str
    backup: str

    def url(self, name: str) -> str:
        return make_conninfo(self.server_url, dbname=name)

    def drop(self) -> None:
        """Drop both databases."""
        for name in (self.backup, self.log):
            _drop_database(self.server_url, name)


def signed_log(server_url: str, folder: Path, name: str) -> Signed:
    """Fill a database with a log, signed as it grew."""
    signed = Signed(
        server_url, Archive(Keys(folder / "keys"), Checkpoints(folder / "checkpoints")), name, f"{name}_backup"
    )
    _make_database(server_url, name)
    url = signed.url(name)
    migrate(url)
    lives.fill(url, SIZES[-1], 1)
    with _tampering(url) as connection:
        connection.execute("CREATE TABLE written AS SELECT * FROM event")
        connection.execute("TRUNCATE event, shop_log")
    for size in SIZES:
        with _tampering(url) as connection:
            connection.execute(
                "INSERT INTO event SELECT * FROM written w WHERE w.position <= %s ON CONFLICT DO NOTHING", (size,)
            )
            connection.execute(_HEAD)
        make_checkpoint(url, SHOP, signed.archive, whole=True)
        if size == SIZES[1]:
            _make_database(server_url, signed.backup, template=name)
    return signed


_HEAD = """
INSERT INTO shop_log SELECT DISTINCT ON (shop_id) shop_id, position, recorded_at FROM event
ORDER BY shop_id, position DESC
ON CONFLICT (shop_id) DO UPDATE SET position = excluded.position, recorded_at = excluded.recorded_at;
"""


def tamperings(log: str) -> list[Tampering]:
    """The nine, for the log behind a URL."""
    with psycopg.connect(log) as connection:

        def first(kind: str) -> int:
            row = connection.execute(_FIRST, (kind,)).fetchone()
            assert row
            return int(row[0])

        paid, formed, uploaded = first("OrderPaid"), first("GroupFormed"), first("TrackingUploaded")
        row = connection.execute(
            """SELECT a.position, b.position FROM event a JOIN event b USING (shop_id, stream)
               WHERE a.position > %s AND b.position <= %s AND b.version = a.version + 1 ORDER BY 1 LIMIT 1""",
            SIZES[:2],
        ).fetchone()
        assert row
        earlier, later = row
    content = "event_id, type, schema_version, occurred_at, payload, metadata"
    exchange = f"""
        UPDATE event e SET ({content}) = (SELECT {content} FROM written w
                                          WHERE w.position = CASE e.position WHEN {{0}} THEN {{1}} ELSE {{0}} END)
        WHERE position IN ({{0}}, {{1}});
    """
    other = "payload = payload || ' '::bytea, event_id = gen_random_uuid()"
    return [
        Tampering(
            "a payload is altered",
            f"""UPDATE event SET payload = convert_to(
                    replace(convert_from(payload, 'UTF8'), '"paid_fen":', '"paid_fen":9'), 'UTF8')
                WHERE position = {paid};""",
            _HASHES,
            paid,
            SIZES[1],
        ),
        Tampering(
            "a time is altered",
            f"UPDATE event SET occurred_at = occurred_at - interval '3 hours' WHERE position = {uploaded};",
            _HASHES,
            uploaded,
            SIZES[1],
        ),
        Tampering(
            "a type is altered",
            f"UPDATE event SET type = 'GroupFailed' WHERE position = {formed};",
            f"""UPDATE event SET payload = convert_to(
                    replace(convert_from(payload, 'UTF8'), 'GroupFormed', 'GroupFailed'), 'UTF8')
                WHERE position = {formed};"""
            + _HASHES,
            formed,
            SIZES[1],
        ),
        Tampering(
            "two events of an order change places in it",
            f"""UPDATE event SET version = -version WHERE position IN ({earlier}, {later});
                UPDATE event SET version = CASE position WHEN {earlier} THEN -version + 1 ELSE -version - 1 END
                WHERE position IN ({earlier}, {later});""",
            f"""DELETE FROM event WHERE position IN ({earlier}, {later});
                INSERT INTO event SELECT * FROM written WHERE position IN ({earlier}, {later});"""
            + exchange.format(earlier, later)
            + _HASHES,
            earlier,
            SIZES[1],
        ),
        Tampering(
            "two events are swapped",
            f"""UPDATE event SET position = -position WHERE position IN ({paid}, {uploaded});
                UPDATE event SET position = CASE position WHEN -{paid} THEN {uploaded} ELSE {paid} END
                WHERE position < 0;""",
            f"""UPDATE event e SET recorded_at = w.recorded_at FROM written w
                WHERE w.position = e.position AND e.position IN ({paid}, {uploaded});"""
            + _HASHES,
            paid,
            SIZES[1],
        ),
        Tampering(
            "an event is deleted",
            f"DELETE FROM event WHERE position = {uploaded};",
            f"""UPDATE event e SET version = -(e.version - 1) FROM written w
                WHERE w.position = {uploaded} AND e.stream = w.stream AND e.version > w.version;
                UPDATE event SET version = -version WHERE version < 0;
                UPDATE event SET position = -(position - 1) WHERE position > {uploaded};
                UPDATE event SET position = -position WHERE position < 0;"""
            + _HEAD
            + _HASHES,
            uploaded,
            SIZES[1],
        ),
        Tampering(
            "the tail is dropped",
            f"DELETE FROM event WHERE position > {SIZES[1]};",
            _HEAD + "DELETE FROM tile;",
            SIZES[1] + 1,
            SIZES[2],
        ),
        Tampering("the whole table is rewritten", f"UPDATE event SET {other};", _HASHES, 1, SIZES[0]),
        Tampering(
            "an old backup is restored",
            "",
            f"""INSERT INTO event SELECT * FROM written_since;
                UPDATE event SET {other} WHERE position > {SIZES[1]};"""
            + _HEAD
            + _HASHES,
            None,
            SIZES[2],
        ),
    ]


def find_all(signed: Signed) -> Iterator[Detected]:
    """Do the nine, each to a copy, and verify. Raises ``Wrong``."""
    for number, tampering in enumerate(tamperings(signed.url(signed.log))):
        name = f"{signed.log}_{number}"
        _make_database(signed.server_url, name, template=signed.log if tampering.position else signed.backup)
        details = []
        try:
            url = signed.url(name)
            for statements, position in (
                (tampering.done, tampering.position),
                (tampering.made_to_look_right, None),
            ):
                with _tampering(url) as connection:
                    if tampering.position is None:
                        _bring_what_came_since(connection, signed)
                    connection.execute(statements.encode() or b"SELECT")
                (verified,) = verify(url, [SHOP], signed.archive)
                details.append(_expected(tampering, verified, position))
        finally:
            _drop_database(signed.server_url, name)
        yield Detected(tampering.name, *details)


def _bring_what_came_since(connection: Connection[TupleRow], signed: Signed) -> None:
    """Into a restored backup, as a table: who restored it may write something else in the place of that."""
    connection.execute("CREATE TABLE IF NOT EXISTS written_since AS SELECT * FROM event WHERE false")
    connection.execute("DELETE FROM written_since")
    connection.execute("INSERT INTO written_since SELECT * FROM written WHERE position > %s", (SIZES[1],))


def _expected(tampering: Tampering, verified: Verified, position: int | None) -> str:
    if position is not None:
        right = verified.first_bad_position == position
    else:
        right = verified.first_bad_position is None and verified.first_broken_checkpoint == tampering.checkpoint
    if verified.intact or not right:
        raise Wrong(f"{tampering.name}: {verified}")
    problem = verified.problems[0]
    if position is not None:
        return f"position {problem.position}: {problem.detail}"
    return f"checkpoint {problem.checkpoint}: {problem.detail}"


def _tampering(url: str) -> Connection[TupleRow]:
    """A superuser's connection on which no trigger fires."""
    connection = psycopg.connect(url, autocommit=True)
    connection.execute("SET session_replication_role = replica")
    return connection


def _make_database(server_url: str, name: str, template: str = "template1") -> None:
    with psycopg.connect(server_url, autocommit=True) as connection:
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        connection.execute(statement.format(sql.Identifier(name), sql.Identifier(template)))


def _drop_database(server_url: str, name: str) -> None:
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tamperings", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, EmbeddedServer.start(Path(folder) / "data") as server:
        signed = signed_log(server.url_for("postgres"), Path(folder), "signed")
        results = list(find_all(signed))
    if arguments.json:
        print(json.dumps([each._asdict() for each in results], indent=2))
        return
    table = Table("tampering", "report", "report when it was made to look right", show_lines=True)
    for each in results:
        table.add_row(*each)
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
