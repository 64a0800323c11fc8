"""Comparing a build with the log: does it hold every order, each at its version, with just the rows it should?

Counts and versions are compared over all orders. The rows of a sample are compared value by value with those
of histories read and folded another way, event by event, and both sides get a checksum.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import NamedTuple

import msgspec
from psycopg import AsyncConnection, IsolationLevel, sql
from psycopg.rows import TupleRow

from domain.order.state import fold
from domain.rules.ruleset import RuleBook
from infrastructure.log.columns import Texts
from infrastructure.log.log import ORDER, read_histories
from infrastructure.projections import parking
from infrastructure.projections.builds import Build, table_of
from infrastructure.projections.view import THE_ORDER, Judged, Row, View
from infrastructure.projections.views import ORDERS

SAMPLE = 1_000
"""How many events are picked by chance; their orders are compared whole."""

STRETCH = 1_000
"""Orders compared at once."""

MOST_DIFFERENCES = 10
"""How many differences are reported."""

Orders = list[tuple[str, str]]
"""Pairs of shop and order number."""


class Verification(NamedTuple):
    """What was compared. ``checksum`` is of the build's rows, ``expected`` of those that the log gives."""

    orders: int
    compared: int
    checksum: str
    expected: str
    differences: list[str]


_VERSIONS = """
SELECT coalesce(e.shop_id, o.shop_id), coalesce(e.order_sn, o.order_sn), e.version, o.version
FROM (
    SELECT e.shop_id, substr(e.stream, {prefix}) AS order_sn, max(e.version) AS version
    FROM checkpoint c JOIN event e ON e.shop_id = c.shop_id AND e.position <= c.position
    WHERE c.reader = {reader} AND e.stream LIKE {orders}
      AND NOT EXISTS (SELECT FROM parked p WHERE p.shop_id = e.shop_id AND p.stream = e.stream)
    GROUP BY e.shop_id, e.stream
) e
FULL JOIN (
    SELECT * FROM {table} o
    WHERE NOT EXISTS (SELECT FROM parked p WHERE p.shop_id = o.shop_id AND p.stream = {order} || o.order_sn)
) o USING (shop_id, order_sn)
WHERE e.version IS DISTINCT FROM o.version
LIMIT {limit}
"""

_SAMPLE = """
SELECT DISTINCT e.shop_id, substr(e.stream, %(prefix)s)
FROM checkpoint c
CROSS JOIN LATERAL generate_series(1, least(ceil(c.position * %(share)s::float8), %(size)s)::int) AS n
CROSS JOIN LATERAL (SELECT 1 + floor(random() * c.position)::bigint + 0 * n AS position OFFSET 0) r
JOIN event e ON e.shop_id = c.shop_id AND e.position = r.position
WHERE c.reader = %(reader)s AND e.stream LIKE %(orders)s
LIMIT %(size)s
"""

_ALL = """
SELECT e.shop_id, substr(e.stream, %(prefix)s)
FROM event e JOIN checkpoint c ON c.shop_id = e.shop_id AND e.position <= c.position
WHERE c.reader = %(reader)s AND e.stream LIKE %(orders)s
"""


async def verify(
    connection: AsyncConnection[TupleRow], build: Build, book: RuleBook, *, sample: int | None = SAMPLE
) -> Verification:
    """Compare a build with the log as both stand at one moment, whoever writes meanwhile.

    ``sample`` is how many events to pick orders by; without it every order is folded and compared.
    """
    await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
    try:
        async with connection.transaction():
            return await _verify(connection, build, book, sample)
    finally:
        await connection.set_isolation_level(None)


async def _verify(
    connection: AsyncConnection[TupleRow], build: Build, book: RuleBook, sample: int | None
) -> Verification:
    views = build.declared
    differences: list[str] = []
    orders = 0
    if ORDERS in views:
        differences += await _versions(connection, build)
        for view in views:
            differences += await _strays(connection, build, view)
        cursor = await connection.execute(sql.SQL("SELECT count(*) FROM {}").format(table_of(ORDERS, build.id)))
        row = await cursor.fetchone()
        orders = row[0] if row else 0
    cursor = await connection.execute("SELECT shop_id, position FROM checkpoint WHERE reader = %s", (build.reader,))
    positions: dict[str, int] = dict(await cursor.fetchall())
    found, expected = hashlib.sha256(), hashlib.sha256()
    compared = 0
    async for stretch in _stretches(connection, build, positions, sample):
        compared += len(stretch)
        want = await _expected(connection, build, stretch, positions, book)
        for view in views:
            have = await _rows(connection, build, view, stretch)
            for pair in stretch:
                expected.update(_canonical(want[view.name].get(pair, [])))
                found.update(_canonical(have.get(pair, [])))
                if want[view.name].get(pair, []) != have.get(pair, []) and len(differences) < MOST_DIFFERENCES:
                    differences.append(
                        f"{view.name} of order {pair[1]} of shop {pair[0]}: the log gives "
                        f"{want[view.name].get(pair, [])}, the build has {have.get(pair, [])}"
                    )
    return Verification(orders, compared, found.hexdigest(), expected.hexdigest(), differences[:MOST_DIFFERENCES])


async def _versions(connection: AsyncConnection[TupleRow], build: Build) -> list[str]:
    """Orders that are missing, too many, or at another version than the log's."""
    cursor = await connection.execute(
        sql.SQL(_VERSIONS).format(
            prefix=sql.Literal(len(ORDER) + 1),
            reader=sql.Literal(build.reader),
            orders=sql.Literal(ORDER + "%"),
            order=sql.Literal(ORDER),
            table=table_of(ORDERS, build.id),
            limit=sql.Literal(MOST_DIFFERENCES),
        )
    )
    return [
        f"order {order_sn} of shop {shop_id} is at version {version or 'none'} in the log, "
        f"{built or 'none'} in the build"
        for shop_id, order_sn, version, built in await cursor.fetchall()
    ]


async def _strays(connection: AsyncConnection[TupleRow], build: Build, view: View) -> list[str]:
    """Rows of orders that the build's own list of orders, compared with the log before, does not have."""
    cursor = await connection.execute(
        sql.SQL(
            """SELECT DISTINCT v.shop_id, v.order_sn FROM {} v
               WHERE NOT EXISTS (SELECT FROM {} o WHERE o.order_sn = v.order_sn AND o.shop_id = v.shop_id)
               LIMIT {}"""
        ).format(table_of(view, build.id), table_of(ORDERS, build.id), sql.Literal(MOST_DIFFERENCES))
    )
    return [
        f"{view.name} has rows of order {order_sn} of shop {shop_id}, which orders does not have"
        for shop_id, order_sn in await cursor.fetchall()
    ]


async def _stretches(
    connection: AsyncConnection[TupleRow], build: Build, positions: Mapping[str, int], sample: int | None
) -> AsyncIterator[Orders]:
    """The orders to compare, so many at once; without a sample all of the log's and all of the build's."""
    total = sum(positions.values())
    parameters = {
        "prefix": len(ORDER) + 1,
        "share": min((sample or 0) / total, 1.0) if total else 0.0,
        "size": sample,
        "reader": build.reader,
        "orders": ORDER + "%",
    }
    everything = sql.SQL(" UNION ").join(
        [
            sql.SQL(_ALL),
            *(
                sql.SQL("SELECT shop_id, order_sn FROM {}").format(table_of(view, build.id))
                for view in build.declared
            ),
        ]
    )
    async with connection.cursor("orders_to_compare") as cursor:
        await cursor.execute(everything if sample is None else _SAMPLE, parameters)
        while stretch := await cursor.fetchmany(STRETCH):
            yield [(shop_id, order_sn) for shop_id, order_sn in stretch]


async def _expected(
    connection: AsyncConnection[TupleRow],
    build: Build,
    orders: Orders,
    positions: Mapping[str, int],
    book: RuleBook,
) -> dict[str, dict[tuple[str, str], list[Row]]]:
    """The rows that the log gives, by view and order; a build of the past does not wait for what is parked now."""
    views = build.declared
    parked = await parking.waiting_of(connection, list({shop_id for shop_id, _ in orders}))
    histories = await read_histories(
        connection, ((shop_id, ORDER + order_sn) for shop_id, order_sn in orders), positions, {}
    )
    found: dict[str, dict[tuple[str, str], list[Row]]] = {view.name: {} for view in views}
    for (shop_id, stream), history in histories.items():
        waits = parked.get((shop_id, stream))
        if waits and (not build.scope or waits.state == "discarded"):
            history = [recorded for recorded in history if recorded.position < waits.position]
        if not history:
            continue
        order_sn = stream.removeprefix(ORDER)
        judged = Judged.by(book, fold(order_sn, history))
        for view in views:
            found[view.name][shop_id, order_sn] = sorted((_plain(view, row) for row in view.rows(judged)), key=repr)
    return found


async def _rows(
    connection: AsyncConnection[TupleRow], build: Build, view: View, orders: Orders
) -> dict[tuple[str, str], list[Row]]:
    """The rows that a build has, by order."""
    columns = sql.SQL(", ").join(sql.Identifier("v", column.name) for column in view.columns)
    cursor = connection.cursor(binary=True)
    await cursor.execute(
        sql.SQL(
            "SELECT v.shop_id, v.order_sn, {} FROM unnest(%s, %s) AS w(shop_id, order_sn) JOIN {} v ON {}"
        ).format(columns, table_of(view, build.id), sql.SQL(THE_ORDER)),
        (Texts([shop_id for shop_id, _ in orders]), Texts([order_sn for _, order_sn in orders])),
    )
    found: dict[tuple[str, str], list[Row]] = {}
    for shop_id, order_sn, *row in await cursor.fetchall():
        found.setdefault((shop_id, order_sn), []).append(tuple(row))
    for rows in found.values():
        rows.sort(key=repr)
    return found


def _plain(view: View, row: Row) -> Row:
    """A row as the driver reads it back."""
    return tuple(
        json.loads(value) if column.type == "json" and value is not None else value
        for column, value in zip(view.columns, row, strict=True)
    )


def _canonical(rows: list[Row]) -> bytes:
    return msgspec.msgpack.encode(rows)
