"""The live worker: keeps the views at the head of every shop's log.

Any number of workers on any number of machines share the work: each takes shops that lag, claims them
by their checkpoint rows and skips those that another holds. The rows of a batch and the checkpoints
commit together, so every event is applied exactly once whatever is killed whenever. Being woken only
shortens the wait; nothing depends on it.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow
from psycopg_pool import PoolTimeout

from domain.order.state import fold
from domain.rules.ruleset import RuleBook
from infrastructure import clock
from infrastructure.database.pool import Pool
from infrastructure.log.codec import UnreadableEvent
from infrastructure.log.columns import Bigints, Texts
from infrastructure.log.log import ORDER, is_distributed, read_head, read_histories
from infrastructure.projections.views import VIEWS, Judged, View
from infrastructure.receipts import forget_receipts

log = logging.getLogger("shiplock.worker")

READER = "live"
"""The name of the live views' checkpoint."""

BATCH = 2_000
"""Positions per transaction: large enough to be quick, small enough for shops to take turns."""

SHOPS_PER_ROUND = 100
ROUND_SECONDS = 0.05
"""The least time from one batch to the next: a steady trickle of events is written in handfuls.

A batch that comes after a pause is written at once, and a full one takes longer than this anyway.
"""

IDLE_SECONDS = 0.25
RETRY_SECONDS = 5.0
TIDY_SECONDS = 60.0

_LAGGING = """
SELECT s.shop_id FROM shop_log s
LEFT JOIN checkpoint c ON c.shop_id = s.shop_id AND c.reader = %s
WHERE coalesce(c.position, 0) < s.position
ORDER BY s.position - coalesce(c.position, 0)
LIMIT %s
"""

_BEGIN = """
INSERT INTO checkpoint (shop_id, reader, position)
SELECT shop_id, %s, 0 FROM unnest(%s) AS w(shop_id) ORDER BY shop_id
ON CONFLICT DO NOTHING
"""

_CLAIM = """
SELECT position FROM checkpoint WHERE shop_id = %s AND reader = %s FOR UPDATE SKIP LOCKED
"""

_CLAIM_TOGETHER = """
SELECT shop_id, position FROM checkpoint WHERE shop_id = ANY (%s) AND reader = %s FOR UPDATE SKIP LOCKED
"""

_TOUCHED = """
SELECT w.shop_id, t.last, t.streams
FROM unnest(%b, %b) AS w(shop_id, done)
CROSS JOIN LATERAL (
    SELECT max(e.position) AS last, array_agg(DISTINCT e.stream) FILTER (WHERE e.stream LIKE %b) AS streams
    FROM event e WHERE e.shop_id = w.shop_id AND e.position > w.done AND e.position <= w.done + %b
) t
WHERE t.last IS NOT NULL
"""

_ADVANCE = """
UPDATE checkpoint c SET position = w.position FROM unnest(%b, %b) AS w(shop_id, position)
WHERE c.shop_id = w.shop_id AND c.reader = %b
"""


class Worker:
    """Folds what is new and writes it to the views, shop by shop."""

    def __init__(
        self,
        pool: Pool,
        book: RuleBook,
        views: Sequence[View] = VIEWS,
        *,
        batch: int = BATCH,
        together: bool | None = None,
    ) -> None:
        self._pool = pool
        self._batch = batch
        self._together = together
        self._book = book
        self._views = views
        self._wake = asyncio.Event()
        self._resting: dict[str, float] = {}
        self._tidy_at = 0.0
        self._stopping = False

    def wake(self) -> None:
        """Something was appended; to be called in the worker's event loop."""
        self._wake.set()

    def stop(self) -> None:
        """End ``run`` after the batch at hand; to be called in the worker's event loop."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Work until stopped; a database that went away is waited for."""
        loop = asyncio.get_running_loop()
        while not self._stopping:
            began = loop.time()
            try:
                busy = await self.catch_up_once()
                await self._tidy_now_and_then()
            except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
                log.warning("the database can't be reached, trying again: %s", error)
                busy = False
            if not busy:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), IDLE_SECONDS)
                self._wake.clear()
            elif not self._stopping:
                await asyncio.sleep(began + ROUND_SECONDS - loop.time())

    async def _tidy_now_and_then(self) -> None:
        """Forget receipts that have expired: the one thing in the log's database that does not stay."""
        now = asyncio.get_running_loop().time()
        if now >= self._tidy_at:
            self._tidy_at = now + TIDY_SECONDS
            async with self._pool.connection() as connection:
                await forget_receipts(connection, clock.now())

    async def catch_up(self, shop_id: str) -> None:
        """Work, or wait for another worker, until the shop's views have reached its log's present head."""
        async with self._pool.connection() as connection:
            head = await read_head(connection, shop_id)
            while await reached(connection, shop_id) < head:
                if not await self.advance(connection, [shop_id]):
                    await asyncio.sleep(IDLE_SECONDS)

    async def catch_up_once(self) -> bool:
        """A batch over lagging shops, those least behind first; whether there was any work."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_LAGGING, (READER, SHOPS_PER_ROUND))
            now = asyncio.get_running_loop().time()
            lagging = [shop for (shop,) in await cursor.fetchall() if self._resting.get(shop, 0.0) <= now]
            try:
                return bool(lagging) and await self.advance(connection, lagging) > 0
            except UnreadableEvent:
                alone = [await self._advance_or_rest(connection, shop_id) for shop_id in lagging]
                return any(alone)

    async def _advance_or_rest(self, connection: AsyncConnection[TupleRow], shop_id: str) -> bool:
        """A shop whose log can't be read waits a while; the others go on."""
        try:
            return await self.advance(connection, [shop_id]) > 0
        except UnreadableEvent as error:
            log.error("shop %s has an event that can't be applied: %s", shop_id, error)
            self._resting[shop_id] = asyncio.get_running_loop().time() + RETRY_SECONDS
            return False

    async def advance(self, connection: AsyncConnection[TupleRow], shop_ids: Sequence[str]) -> int:
        """Apply the next batch of these shops, each its share of it; how many had something new.

        Those that another worker holds are left to it.
        """
        await connection.execute(_BEGIN, (READER, Texts(shop_ids)))
        async with connection.transaction():
            done = await self._claim(connection, shop_ids)
            share = max(self._batch // max(len(done), 1), 1)
            cursor = connection.cursor(binary=True)
            await cursor.execute(_TOUCHED, (Texts(list(done)), Bigints(list(done.values())), ORDER + "%", share))
            touched = await cursor.fetchall()
            if not touched:
                return 0
            last = {shop_id: position for shop_id, position, _ in touched}
            histories = await read_histories(
                connection,
                ((shop_id, stream) for shop_id, _, streams in touched for stream in streams or ()),
                last,
            )
            orders = [
                (shop_id, Judged.by(self._book, fold(stream.removeprefix(ORDER), history)))
                for (shop_id, stream), history in histories.items()
            ]
            for view in self._views:
                await write_rows(connection, view, orders)
            await connection.execute(_ADVANCE, (Texts(list(last)), Bigints(list(last.values())), READER))
        return len(touched)

    async def _claim(self, connection: AsyncConnection[TupleRow], shop_ids: Sequence[str]) -> dict[str, int]:
        """Lock the shops that no other worker holds; how far each has come.

        In one statement on one server; where tables are distributed a statement may lock in one shop only.
        """
        if self._together is None:
            self._together = not await is_distributed(connection)
        if self._together:
            cursor = await connection.execute(_CLAIM_TOGETHER, (Texts(shop_ids), READER))
            return dict(await cursor.fetchall())
        async with connection.pipeline():
            cursors = {shop_id: await connection.execute(_CLAIM, (shop_id, READER)) for shop_id in shop_ids}
        claimed = {shop_id: await cursor.fetchone() for shop_id, cursor in cursors.items()}
        return {shop_id: row[0] for shop_id, row in claimed.items() if row}


async def reached(connection: AsyncConnection[TupleRow], shop_id: str) -> int:
    """The position up to which the shop's views are current."""
    cursor = await connection.execute(
        "SELECT position FROM checkpoint WHERE shop_id = %s AND reader = %s", (shop_id, READER)
    )
    row = await cursor.fetchone()
    return row[0] if row else 0


async def write_rows(
    connection: AsyncConnection[TupleRow], view: View, orders: Sequence[tuple[str, Judged]]
) -> None:
    """Replace what the view holds of these orders of (shop, order), inside the caller's transaction."""
    table = sql.Identifier(view.table)
    await connection.execute(
        sql.SQL(
            """DELETE FROM {} v USING unnest(%s, %s) AS w(shop_id, order_sn)
               WHERE v.shop_id = w.shop_id AND v.order_sn = w.order_sn"""
        ).format(table),
        (Texts([shop_id for shop_id, _ in orders]), Texts([judged.order.order_sn for _, judged in orders])),
    )
    names = [sql.Identifier(name) for name, _ in view.columns]
    copy_in = sql.SQL("COPY {} (shop_id, order_sn, {}) FROM STDIN (FORMAT BINARY)").format(
        table, sql.SQL(", ").join(names)
    )
    async with connection.cursor() as cursor, cursor.copy(copy_in) as copy:
        copy.set_types(["text", "text", *(kind for _, kind in view.columns)])
        for shop_id, judged in orders:
            for row in view.rows(judged):
                await copy.write_row((shop_id, judged.order.order_sn, *row))
