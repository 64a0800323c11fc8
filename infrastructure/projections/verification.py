"""Comparing a build with the log: it must have every order and SKU at the right version, with exactly its rows.

The versions of all orders and SKUs are compared. The rows of a sample are compared value by value. The expected
rows come from histories that are read and folded in another way, event by event. Both sides get a checksum.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import NamedTuple

import msgspec
from psycopg import IsolationLevel, sql

from domain.rules.ruleset import RuleBook
from infrastructure.database.pool import ReadConnection
from infrastructure.log.columns import Texts
from infrastructure.log.log import read_histories
from infrastructure.log.streams import kind_of, patterns
from infrastructure.projections import parking
from infrastructure.projections.builds import Build, table_of
from infrastructure.projections.view import Row, View, judged, make_rows
from infrastructure.projections.views import ORDERS, SKUS

SAMPLE = 1_000
"""How many events are picked at random. All rows of their orders and SKUs are compared."""

BATCH = 1_000
"""How many orders and SKUs are compared at a time."""

MOST_DIFFERENCES = 10
"""How many differences are reported."""

Streams = list[tuple[str, str]]
"""Pairs of shop and stream."""

MAIN_VIEWS = (ORDERS, SKUS)
"""The views that have exactly one row, with the version, for each order or each SKU."""


class Verification(NamedTuple):
    """The result: how many ``orders`` the build has, and how many orders and SKUs were ``compared``.

    ``checksum`` is that of the build's rows, ``expected`` that of the rows made from the log.
    """

    orders: int
    compared: int
    checksum: str
    expected: str
    differences: list[str]


_VERSIONS = """
SELECT coalesce(e.shop_id, o.shop_id), coalesce(e.id, o.{id}), e.version, o.version
FROM (
    SELECT e.shop_id, substr(e.stream, {prefix}) AS id, max(e.version) AS version
    FROM checkpoint c JOIN event e ON e.shop_id = c.shop_id AND e.position <= c.position
    WHERE c.reader = {reader} AND e.stream LIKE {streams}
      AND NOT EXISTS (SELECT FROM parked p WHERE p.shop_id = e.shop_id AND p.stream = e.stream)
    GROUP BY e.shop_id, e.stream
) e
FULL JOIN (
    SELECT * FROM {table} o
    WHERE NOT EXISTS (SELECT FROM parked p WHERE p.shop_id = o.shop_id AND p.stream = {kind} || o.{id})
) o ON o.shop_id = e.shop_id AND o.{id} = e.id
WHERE e.version IS DISTINCT FROM o.version
LIMIT {limit}
"""

_SAMPLE = """
WITH pick AS MATERIALIZED (
    SELECT c.shop_id, 1 + floor(random() * c.position)::bigint AS position
    FROM checkpoint c
    CROSS JOIN LATERAL generate_series(1, least(ceil(c.position * %(share)s::float8), %(size)s)::int)
    WHERE c.reader = %(reader)s
)
SELECT DISTINCT e.shop_id, e.stream FROM pick JOIN event e USING (shop_id, position)
WHERE e.stream LIKE ANY (%(streams)s)
LIMIT %(size)s
"""
"""The picks are materialized: in a join the planner may draw them anew for each event, and then all may miss."""

_ALL = """
SELECT e.shop_id, e.stream
FROM event e JOIN checkpoint c ON c.shop_id = e.shop_id AND e.position <= c.position
WHERE c.reader = %(reader)s AND e.stream LIKE ANY (%(streams)s)
"""


async def verify(
    connection: ReadConnection, build: Build, book: RuleBook, *, sample: int | None = SAMPLE
) -> Verification:
    """Compare a build with the log. Both are read in one snapshot, so writers do not disturb it.

    ``sample`` is the number of events that select the orders and SKUs; ``None`` compares all.
    """
    await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
    try:
        async with connection.transaction():
            return await _verify(connection, build, book, sample)
    finally:
        await connection.set_isolation_level(None)


async def _verify(connection: ReadConnection, build: Build, book: RuleBook, sample: int | None) -> Verification:
    views = build.declared
    differences: list[str] = []
    orders = 0
    for main in MAIN_VIEWS:
        if main in views:
            differences += await _versions(connection, build, main)
            for view in views:
                if view.of is main.of and view is not main:
                    differences += await _orphans(connection, build, view, main)
    if ORDERS in views:
        cursor = await connection.execute(sql.SQL("SELECT count(*) FROM {}").format(table_of(ORDERS, build.id)))
        row = await cursor.fetchone()
        orders = row[0] if row else 0
    cursor = await connection.execute("SELECT shop_id, position FROM checkpoint WHERE reader = %s", (build.reader,))
    positions: dict[str, int] = dict(await cursor.fetchall())
    checksum, expected_checksum = hashlib.sha256(), hashlib.sha256()
    compared = 0
    async for batch in _batches(connection, build, positions, sample):
        compared += len(batch)
        expected = await _expected(connection, build, batch, positions, book)
        for view in views:
            rows = await _rows(connection, build, view, batch)
            for pair in batch:
                expected_rows, actual_rows = expected[view.name].get(pair, []), rows.get(pair, [])
                expected_checksum.update(_canonical(expected_rows))
                checksum.update(_canonical(actual_rows))
                if expected_rows != actual_rows and len(differences) < MOST_DIFFERENCES:
                    differences.append(
                        f"{view.name} of {_name_of(pair)}: the log gives {expected_rows}, "
                        f"the build has {actual_rows}"
                    )
    return Verification(
        orders, compared, checksum.hexdigest(), expected_checksum.hexdigest(), differences[:MOST_DIFFERENCES]
    )


async def _versions(connection: ReadConnection, build: Build, main: View) -> list[str]:
    """Orders or SKUs that the build lacks, has in excess, or has at another version than the log."""
    cursor = await connection.execute(
        sql.SQL(_VERSIONS).format(
            id=sql.Identifier(main.of.id_column),
            prefix=sql.Literal(len(main.of.prefix) + 1),
            reader=sql.Literal(build.reader),
            streams=sql.Literal(main.of.prefix + "%"),
            kind=sql.Literal(main.of.prefix),
            table=table_of(main, build.id),
            limit=sql.Literal(MOST_DIFFERENCES),
        )
    )
    return [
        f"{main.of.word} {of} of shop {shop_id} is at version {version or 'none'} in the log, "
        f"{built or 'none'} in the build"
        for shop_id, of, version, built in await cursor.fetchall()
    ]


async def _orphans(connection: ReadConnection, build: Build, view: View, main: View) -> list[str]:
    """Rows of orders or SKUs that are not in the main view, which was compared with the log before."""
    cursor = await connection.execute(
        sql.SQL(
            """SELECT DISTINCT v.shop_id, v.{id} FROM {rows} v
               WHERE NOT EXISTS (SELECT FROM {main} o WHERE o.{id} = v.{id} AND o.shop_id = v.shop_id)
               LIMIT {limit}"""
        ).format(
            id=sql.Identifier(view.of.id_column),
            rows=table_of(view, build.id),
            main=table_of(main, build.id),
            limit=sql.Literal(MOST_DIFFERENCES),
        )
    )
    return [
        f"{view.name} has rows of {view.of.word} {of} of shop {shop_id}, which {main.name} does not have"
        for shop_id, of in await cursor.fetchall()
    ]


async def _batches(
    connection: ReadConnection, build: Build, positions: Mapping[str, int], sample: int | None
) -> AsyncIterator[Streams]:
    """The orders and SKUs to compare, in batches. Without a sample they are all of the log and all of the build."""
    total = sum(positions.values())
    parameters = {
        "share": min((sample or 0) / total, 1.0) if total else 0.0,
        "size": sample,
        "reader": build.reader,
        "streams": patterns(),
    }
    everything = sql.SQL(" UNION ").join(
        [
            sql.SQL(_ALL),
            *(
                sql.SQL("SELECT shop_id, {} || {} FROM {}").format(
                    sql.Literal(view.of.prefix), sql.Identifier(view.of.id_column), table_of(view, build.id)
                )
                for view in build.declared
            ),
        ]
    )
    async with connection.cursor("streams_to_compare") as cursor:
        await cursor.execute(everything if sample is None else _SAMPLE, parameters)
        while batch := await cursor.fetchmany(BATCH):
            yield [(shop_id, stream) for shop_id, stream in batch]


async def _expected(
    connection: ReadConnection,
    build: Build,
    streams: Streams,
    positions: Mapping[str, int],
    book: RuleBook,
) -> dict[str, dict[tuple[str, str], list[Row]]]:
    """The rows made from the log, by view and stream.

    Rows of a parked order end before its failed event. In a build of the past, only those of discarded ones do.
    """
    views = build.declared
    parked = await parking.waiting_of(connection, list({shop_id for shop_id, _ in streams}))
    histories = await read_histories(connection, streams, positions, {})
    expected: dict[str, dict[tuple[str, str], list[Row]]] = {view.name: {} for view in views}
    for (shop_id, stream), history in histories.items():
        waiting = parked.get((shop_id, stream))
        if waiting and (not build.scope or waiting.state == "discarded"):
            history = [recorded for recorded in history if recorded.position < waiting.position]
        if not history:
            continue
        kind = kind_of(stream)
        subject = judged(kind.fold(kind.id_of(stream), history), book)
        for view in views:
            if view.of is kind:
                rows = sorted((_plain(view, row) for row in make_rows(view, subject)), key=repr)
                expected[view.name][shop_id, stream] = rows
    return expected


async def _rows(
    connection: ReadConnection, build: Build, view: View, streams: Streams
) -> dict[tuple[str, str], list[Row]]:
    """The rows that a build has, by stream."""
    ids = [(shop_id, view.of.id_of(stream)) for shop_id, stream in streams if kind_of(stream) is view.of]
    if not ids:
        return {}
    columns = sql.SQL(", ").join(sql.Identifier("v", column.name) for column in view.columns)
    cursor = connection.cursor(binary=True)
    await cursor.execute(
        sql.SQL("SELECT v.shop_id, v.{}, {} FROM unnest(%s, %s) AS w(shop_id, id) JOIN {} v ON {}").format(
            sql.Identifier(view.of.id_column), columns, table_of(view, build.id), sql.SQL(view.rows_of_one)
        ),
        (Texts([shop_id for shop_id, _ in ids]), Texts([of for _, of in ids])),
    )
    by_stream: dict[tuple[str, str], list[Row]] = {}
    for shop_id, of, *row in await cursor.fetchall():
        by_stream.setdefault((shop_id, view.of.stream(of)), []).append(tuple(row))
    for rows in by_stream.values():
        rows.sort(key=repr)
    return by_stream


def _name_of(pair: tuple[str, str]) -> str:
    shop_id, stream = pair
    kind = kind_of(stream)
    return f"{kind.word} {kind.id_of(stream)} of shop {shop_id}"


def _plain(view: View, row: Row) -> Row:
    """A row as the driver returns it."""
    return tuple(
        json.loads(value) if column.type == "json" and value is not None else value
        for column, value in zip(view.columns, row, strict=True)
    )


def _canonical(rows: list[Row]) -> bytes:
    return msgspec.msgpack.encode(rows)
