"""The live worker: keeps the views at the head of every shop's log.

Any number of workers on any number of machines share the work: each takes the shops that lag, claims
one by its checkpoint row and skips those that another holds. The rows of a batch and the checkpoint
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

from domain.order.state import Order, fold
from domain.rules.ruleset import RuleBook
from infrastructure import clock
from infrastructure.command_path import forget_receipts
from infrastructure.database.pool import Pool
from infrastructure.log.codec import UnreadableEvent
from infrastructure.log.log import ORDER, read_head, read_histories
from infrastructure.projections.views import VIEWS, View

log = logging.getLogger("shiplock.worker")

READER = "live"
"""The name of the live views' checkpoint."""

BATCH = 2_000
"""Positions per transaction: large enough to be quick, small enough for shops to take turns."""

SHOPS_PER_ROUND = 100
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
INSERT INTO checkpoint (shop_id, reader, position) VALUES (%s, %s, 0) ON CONFLICT DO NOTHING
"""

_CLAIM = """
SELECT position FROM checkpoint WHERE shop_id = %s AND reader = %s FOR UPDATE SKIP LOCKED
"""

_TOUCHED = """
SELECT max(position), array_agg(DISTINCT stream) FILTER (WHERE stream LIKE %s)
FROM event WHERE shop_id = %s AND position > %s AND position <= %s
"""

_ADVANCE = "UPDATE checkpoint SET position = %s WHERE shop_id = %s AND reader = %s"


class Worker:
    """Folds what is new and writes it to the views, shop by shop."""

    def __init__(self, pool: Pool, book: RuleBook, views: Sequence[View] = VIEWS, *, batch: int = BATCH) -> None:
        self._pool = pool
        self._batch = batch
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
        while not self._stopping:
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
                if not await self.advance(connection, shop_id):
                    await asyncio.sleep(IDLE_SECONDS)

    async def catch_up_once(self) -> bool:
        """One batch for each lagging shop, the least behind first; whether there was any work."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_LAGGING, (READER, SHOPS_PER_ROUND))
            lagging = [shop_id for (shop_id,) in await cursor.fetchall()]
            worked = [await self._advance_or_rest(connection, shop_id) for shop_id in lagging if not self._stopping]
        return any(worked)

    async def _advance_or_rest(self, connection: AsyncConnection[TupleRow], shop_id: str) -> bool:
        """A shop whose log can't be read waits a while; the others go on."""
        now = asyncio.get_running_loop().time()
        if self._resting.get(shop_id, 0.0) > now:
            return False
        try:
            return await self.advance(connection, shop_id)
        except UnreadableEvent as error:
            log.error("shop %s has an event that can't be applied: %s", shop_id, error)
            self._resting[shop_id] = now + RETRY_SECONDS
            return False

    async def advance(self, connection: AsyncConnection[TupleRow], shop_id: str) -> bool:
        """Apply the shop's next batch; false when another worker holds it or nothing is new."""
        await connection.execute(_BEGIN, (shop_id, READER))
        async with connection.transaction():
            cursor = await connection.execute(_CLAIM, (shop_id, READER))
            claimed = await cursor.fetchone()
            if claimed is None:
                return False
            done: int = claimed[0]
            cursor = await connection.execute(_TOUCHED, (ORDER + "%", shop_id, done, done + self._batch))
            row = await cursor.fetchone()
            last, streams = row if row else (None, None)
            if last is None:
                return False
            histories = await read_histories(connection, ((shop_id, s) for s in streams or ()), last)
            orders = [fold(stream.removeprefix(ORDER), history) for (_, stream), history in histories.items()]
            for view in self._views:
                await write_rows(connection, view, shop_id, orders, self._book)
            await connection.execute(_ADVANCE, (last, shop_id, READER))
        return True


async def reached(connection: AsyncConnection[TupleRow], shop_id: str) -> int:
    """The position up to which the shop's views are current."""
    cursor = await connection.execute(
        "SELECT position FROM checkpoint WHERE shop_id = %s AND reader = %s", (shop_id, READER)
    )
    row = await cursor.fetchone()
    return row[0] if row else 0


async def write_rows(
    connection: AsyncConnection[TupleRow], view: View, shop_id: str, orders: Sequence[Order], book: RuleBook
) -> None:
    """Replace what the view holds of these orders, inside the caller's transaction."""
    table = sql.Identifier(view.table)
    await connection.execute(
        sql.SQL("DELETE FROM {} WHERE shop_id = %s AND order_sn = ANY(%s)").format(table),
        (shop_id, [order.order_sn for order in orders]),
    )
    names = [sql.Identifier(name) for name, _ in view.columns]
    copy_in = sql.SQL("COPY {} (shop_id, order_sn, {}) FROM STDIN (FORMAT BINARY)").format(
        table, sql.SQL(", ").join(names)
    )
    async with connection.cursor() as cursor, cursor.copy(copy_in) as copy:
        copy.set_types(["text", "text", *(kind for _, kind in view.columns)])
        for order in orders:
            for row in view.rows(order, book.governing(order)):
                await copy.write_row((shop_id, order.order_sn, *row))
