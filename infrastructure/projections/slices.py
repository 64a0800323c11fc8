"""The slices of a rebuild: dividing logs into slices, and folding a slice.

A slice is several whole small shops, or a range of a big shop's streams, so it is a limited piece of work whatever
the shop's size. Its rows and its flag ``done`` are committed together.
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
from infrastructure.projections.rows import REFUSED, EncodedRows, RowMaker, copy_statement, copy_stream
from infrastructure.runtime import clock, garbage_collection
from infrastructure.runtime.processes import Child, Send

log = logging.getLogger("shiplock.rebuild")

SLICE_EVENTS = 20_000
"""Events of a slice, about: a fraction of a second's work, and about ten megabytes."""

_TAKE = """
SELECT number, shop_ids, up_to, from_stream, to_stream FROM slice
WHERE build_id = %s AND NOT done ORDER BY number LIMIT 1 FOR UPDATE SKIP LOCKED
"""

_DISCARDED = "SELECT shop_id, stream FROM parked WHERE state = 'discarded' AND shop_id = ANY (%s)"


class Poison(Exception):
    """An order or SKU that can't be applied or stored. A rebuild fails at it."""


async def plan(connection: WriteConnection, build: Build, heads: Mapping[str, int]) -> None:
    """Divide the logs into slices."""
    slices: list[tuple[list[str], list[int], str | None, str | None, int]] = []
    small: dict[str, int] = {}

    def add_small() -> None:
        if small:
            slices.append((list(small), list(small.values()), None, None, sum(small.values())))
            small.clear()

    for shop_id, head in heads.items():
        if head <= SLICE_EVENTS:
            if sum(small.values()) + head > SLICE_EVENTS:
                add_small()
            small[shop_id] = head
            continue
        ranges = await cut(connection, shop_id, head, SLICE_EVENTS)
        slices += [([shop_id], [head], *streams) for streams in ranges]
    add_small()
    async with connection.cursor() as cursor:
        await cursor.executemany(
            """INSERT INTO slice (build_id, number, shop_ids, up_to, from_stream, to_stream, events)
               VALUES (%s, %s, %s, %s, %s, %s, %s)""",
            [(build.id, number, *slice) for number, slice in enumerate(slices, start=1)],
        )
    await connection.execute("UPDATE build SET total = %s WHERE id = %s", (sum(heads.values()), build.id))


async def remaining(connection: ReadConnection, build: Build) -> int:
    """How many slices of a build are not done yet."""
    cursor = await connection.execute("SELECT count(*) FROM slice WHERE build_id = %s AND NOT done", (build.id,))
    row = await cursor.fetchone()
    return row[0] if row else 0


def start(url: str, build: Build, book: RuleBook) -> Child:
    """Start a process that works on a build's slices."""
    return Child(_serve, (url, build, book))


def _serve(requests: Iterator[Any], send: Send) -> None:
    """The work of each process."""
    url, build, book = next(requests)
    garbage_collection.tune()
    with psycopg.connect(url, autocommit=True) as connection:
        work(connection, url, build, book)


def work(
    connection: Connection[TupleRow],
    url: str,
    build: Build,
    book: RuleBook,
    keep_going: Callable[[], bool] = lambda: True,
) -> None:
    """Fold slices until there are no more, or ``keep_going`` returns false."""
    connection.execute("SET TIME ZONE 'UTC'")
    try:
        while keep_going() and work_once(connection, url, build, book):
            pass
    except Poison as poison:
        asyncio.run(_give_up(url, build, str(poison)))
    except psycopg.errors.UndefinedTable:
        return  # the build was dropped meanwhile


async def _give_up(url: str, build: Build, error: str) -> None:
    async with await WriteConnection.connect(url, autocommit=True) as connection:
        await builds.set_state(connection, build, "failed", error=error, finished_at=clock.now())


def work_once(connection: Connection[TupleRow], url: str, build: Build, book: RuleBook) -> bool:
    """Fold a slice that nobody else works on, and write its rows. Returns whether there was one.

    Raises ``Poison``.
    """
    with connection.transaction():
        connection.execute("SET LOCAL synchronous_commit = off")  # a crash undoes it as a whole
        row = connection.execute(_TAKE, (build.id,)).fetchone()
        if row is None:
            return False
        number, shop_ids, up_to, since, until = row
        heads = dict(zip(shop_ids, up_to, strict=True))
        discarded = set(connection.execute(_DISCARDED, (shop_ids,)))
        rows = {view: EncodedRows(connection, view) for view in build.declared}
        maker = RowMaker(rows, book)
        suspects = []
        for shop_id, stream, history in read_range(connection, heads, since, until, with_recorded_at=False):
            try:
                if history is not None and (shop_id, stream) not in discarded:
                    kind = kind_of(stream)
                    maker.add(shop_id, kind.fold(kind.id_of(stream), history))
                    continue
            except Exception as error:
                log.warning("%s of shop %s: %s", stream, shop_id, error)
            suspects.append((shop_id, stream))
        if suspects:
            asyncio.run(_add_one_by_one(url, build, book, heads, suspects, maker))
        try:
            with connection.transaction():
                for view, encoded in rows.items():
                    encoded.copy(connection, copy_statement(view, build))
        except REFUSED:
            streams = [(whole.shop_id, whole.stream) for whole in read_range(connection, heads, since, until)]
            asyncio.run(_add_one_by_one(url, build, book, heads, streams, RowMaker({}, book)))
            raise
        connection.execute("UPDATE slice SET done = true WHERE build_id = %s AND number = %s", (build.id, number))
    return True


async def _add_one_by_one(
    url: str,
    build: Build,
    book: RuleBook,
    heads: Mapping[str, int],
    suspects: Sequence[tuple[str, str]],
    maker: RowMaker,
) -> None:
    """Add the rows of orders and SKUs that may be faulty. Their histories are read event by event.

    The rows of each are also stored by themselves, on trial, and rolled back. Discarded events are left out. Raises
    ``Poison``.
    """
    unreadable: dict[tuple[str, str], tuple[int, str]] = {}
    async with await WriteConnection.connect(url, autocommit=True) as connection:
        await connection.execute("SET TIME ZONE 'UTC'")
        histories = await read_histories(connection, suspects, heads, unreadable)
        parked = await parking.waiting_of(connection, list(heads))
        for pair, history in histories.items():
            waiting = parked.get(pair)
            if waiting and waiting.state == "discarded":
                history = [recorded for recorded in history if recorded.position < waiting.position]
                unreadable.pop(pair, None)
            async with connection.transaction(force_rollback=True):
                failure = await copy_stream(connection, [build], book, pair, history) or unreadable.get(pair)
            if failure:
                shop_id, stream = pair
                kind = kind_of(stream)
                position, error = failure
                raise Poison(
                    f"{kind.word.replace('o', 'O')} {kind.id_of(stream)} of shop {shop_id} can't be applied "
                    f"from position {position} on: {error}. "
                    f"Put it right, or let it be discarded, and rebuild."
                )
            maker.add_history(*pair, history)
