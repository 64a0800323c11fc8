"""The slices of a rebuild: how logs are cut into them, and what a process does with one.

A slice is some whole small shops, or a range of a big shop's streams, so that it is a bounded piece of work
whatever the shop's size. Its rows and its being done commit together.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import psycopg
from psycopg import Connection
from psycopg.rows import TupleRow

from domain.rules.ruleset import RuleBook
from infrastructure.database.pool import ReadConnection, WriteConnection
from infrastructure.log.histories import cut, read_range
from infrastructure.log.log import read_histories
from infrastructure.log.streams import kind_of
from infrastructure.projections import builds, parking
from infrastructure.projections.builds import Build
from infrastructure.projections.rows import REFUSED, Applied, EncodedRows, copy_statement, copy_stream
from infrastructure.runtime import clock, garbage_collection
from infrastructure.runtime.processes import Child, Send

log = logging.getLogger("shiplock.rebuild")

SLICE_EVENTS = 20_000
"""About so many events are folded at once: a fraction of a second's work, and some ten megabytes."""

_TAKE = """
SELECT number, shop_ids, up_to, from_stream, to_stream FROM slice
WHERE build_id = %s AND NOT done ORDER BY number LIMIT 1 FOR UPDATE SKIP LOCKED
"""

_DISCARDED = "SELECT shop_id, stream FROM parked WHERE state = 'discarded' AND shop_id = ANY (%s)"


class Poison(Exception):
    """An order or SKU that can't be applied or stored; a rebuild stops there."""


async def plan(connection: WriteConnection, build: Build, heads: Mapping[str, int]) -> None:
    """Cut the logs into slices."""
    slices: list[tuple[list[str], list[int], str | None, str | None, int]] = []
    small: dict[str, int] = {}

    def put_small() -> None:
        if small:
            slices.append((list(small), list(small.values()), None, None, sum(small.values())))
            small.clear()

    for shop_id, head in heads.items():
        if head <= SLICE_EVENTS:
            if sum(small.values()) + head > SLICE_EVENTS:
                put_small()
            small[shop_id] = head
            continue
        ranges = await cut(connection, shop_id, head, SLICE_EVENTS)
        slices += [([shop_id], [head], *found) for found in ranges]
    put_small()
    async with connection.cursor() as cursor:
        await cursor.executemany(
            """INSERT INTO slice (build_id, number, shop_ids, up_to, from_stream, to_stream, events)
               VALUES (%s, %s, %s, %s, %s, %s, %s)""",
            [(build.id, number, *found) for number, found in enumerate(slices, start=1)],
        )
    await connection.execute("UPDATE build SET total = %s WHERE id = %s", (sum(heads.values()), build.id))


async def left(connection: ReadConnection, build: Build) -> int:
    """How many slices of a build are still to be done."""
    cursor = await connection.execute("SELECT count(*) FROM slice WHERE build_id = %s AND NOT done", (build.id,))
    row = await cursor.fetchone()
    return row[0] if row else 0


def start(url: str, build: Build, book: RuleBook) -> Child:
    """A process that works on a build's slices."""
    return Child(_serve, (url, build, book))


def _serve(requests: Iterator[Any], send: Send) -> None:
    """What each process does."""
    url, build, book = next(requests)
    garbage_collection.calm()
    with psycopg.connect(url, autocommit=True) as connection:
        work(connection, url, build, book)


def work(
    connection: Connection[TupleRow],
    url: str,
    build: Build,
    book: RuleBook,
    wanted: Callable[[], bool] = lambda: True,
) -> None:
    """Take slices until none is left to take, or no more of this is wanted."""
    connection.execute("SET TIME ZONE 'UTC'")
    try:
        while wanted() and work_once(connection, url, build, book):
            pass
    except Poison as poison:
        asyncio.run(_give_up(url, build, str(poison)))
    except psycopg.errors.UndefinedTable:
        return  # the build was dropped meanwhile


async def _give_up(url: str, build: Build, error: str) -> None:
    async with await WriteConnection.connect(url, autocommit=True) as connection:
        await builds.set_state(connection, build, "failed", error=error, finished_at=clock.now())


def work_once(connection: Connection[TupleRow], url: str, build: Build, book: RuleBook) -> bool:
    """Take a slice that nobody has, fold it and write its rows; whether there was one. Raises ``Poison``."""
    with connection.transaction():
        connection.execute("SET LOCAL synchronous_commit = off")  # what a crash takes back is undone whole
        taken = connection.execute(_TAKE, (build.id,)).fetchone()
        if taken is None:
            return False
        number, shop_ids, up_to, since, until = taken
        heads = dict(zip(shop_ids, up_to, strict=True))
        discarded = set(connection.execute(_DISCARDED, (shop_ids,)))
        rows = {view: EncodedRows(connection, view) for view in build.declared}
        applied = Applied(rows, book)
        suspects = []
        for shop_id, stream, history in read_range(connection, heads, since, until, with_recorded_at=False):
            try:
                if history is not None and (shop_id, stream) not in discarded:
                    kind = kind_of(stream)
                    applied.add(shop_id, kind.fold(kind.id_of(stream), history))
                    continue
            except Exception as error:
                log.warning("%s of shop %s: %s", stream, shop_id, error)
            suspects.append((shop_id, stream))
        if suspects:
            asyncio.run(_look_closer(url, build, book, heads, suspects, applied))
        try:
            with connection.transaction():
                for view, encoded in rows.items():
                    encoded.copy(connection, copy_statement(view, build))
        except REFUSED:
            everyone = [(found.shop_id, found.stream) for found in read_range(connection, heads, since, until)]
            asyncio.run(_look_closer(url, build, book, heads, everyone, Applied({}, book)))
            raise
        connection.execute("UPDATE slice SET done = true WHERE build_id = %s AND number = %s", (build.id, number))
    return True


async def _look_closer(
    url: str,
    build: Build,
    book: RuleBook,
    heads: Mapping[str, int],
    suspects: Sequence[tuple[str, str]],
    applied: Applied,
) -> None:
    """Add orders and SKUs with which something may be wrong, read event by event, each stored alone and taken back.

    What was discarded is passed over. Raises ``Poison``.
    """
    unreadable: dict[tuple[str, str], tuple[int, str]] = {}
    async with await WriteConnection.connect(url, autocommit=True) as connection:
        await connection.execute("SET TIME ZONE 'UTC'")
        histories = await read_histories(connection, suspects, heads, unreadable)
        parked = await parking.waiting_of(connection, list(heads))
        for pair, history in histories.items():
            waits = parked.get(pair)
            if waits and waits.state == "discarded":
                history = [recorded for recorded in history if recorded.position < waits.position]
                unreadable.pop(pair, None)
            async with connection.transaction(force_rollback=True):
                broken = await copy_stream(connection, [build], book, pair, history) or unreadable.get(pair)
            if broken:
                shop_id, stream = pair
                kind = kind_of(stream)
                position, error = broken
                raise Poison(
                    f"{kind.word.replace('o', 'O')} {kind.id_of(stream)} of shop {shop_id} can't be applied "
                    f"from position {position} on: {error}. "
                    f"Put it right, or let it be discarded, and rebuild."
                )
            applied.add_history(*pair, history)
