"""The live worker: it keeps the views at the head of every shop's log.

Any number of workers on any number of machines share the work. Each takes shops that lag, claims them by locking
the rows of their positions, and skips those that another worker has locked. The rows of a batch and the new
positions are committed together, so every event is applied exactly once, whichever process is killed at whatever
time. A wake-up only shortens the wait; nothing depends on it.

Every live build is a reader of every log. Readers at the same position of a shop's log advance together, so the
orders are folded once. A reader that is behind the others catches up first.
"""

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import psycopg
from psycopg_pool import PoolTimeout

from domain.rules.ruleset import RuleBook
from infrastructure.database.pool import Pool, ReadConnection, WriteConnection
from infrastructure.log.columns import Bigints, Texts
from infrastructure.log.histories import read_streams
from infrastructure.log.log import Histories, is_distributed, read_head, read_histories
from infrastructure.log.streams import patterns
from infrastructure.projections import builds, parking
from infrastructure.projections.builds import Build
from infrastructure.projections.rows import REFUSED, RowMaker, copy_rows, copy_stream, delete_rows
from infrastructure.projections.view import Row, View
from infrastructure.runtime import clock

log = logging.getLogger("shiplock.worker")

BATCH = 2_000
"""Positions per transaction: enough to be quick, few enough for shops to take turns."""

CATCH_UP_BATCH = 100_000
"""Positions per transaction when far behind. Most events of an order are then folded together."""

STREAMS_AT_ONCE = 2_000
"""Orders and SKUs in memory at a time. A batch may need several such groups."""

SHOPS_PER_ROUND = 100
ROUND_SECONDS = 0.05
"""The shortest time between two batches, so that a steady trickle of events is written in groups.

A batch after a pause is written at once, and a full batch takes longer than this anyway.
"""

IDLE_SECONDS = 0.25
REST_SECONDS = 30.0
"""How long the worker leaves a shop alone if its log can't be read from the database."""

# Random order, so that no shop starves when more shops lag than a round takes.
_LAGGING = """
SELECT s.shop_id, s.position - min(coalesce(c.position, 0))
FROM shop_log s CROSS JOIN unnest(%s::text[]) AS r(reader)
LEFT JOIN checkpoint c ON c.shop_id = s.shop_id AND c.reader = r.reader
WHERE coalesce(c.position, 0) < s.position
GROUP BY s.shop_id, s.position
ORDER BY random() LIMIT %s
"""

_BEGIN = """
INSERT INTO checkpoint (shop_id, reader, position)
SELECT shop_id, reader, 0 FROM unnest(%s) AS w(shop_id) CROSS JOIN unnest(%s::text[]) AS r(reader)
ORDER BY shop_id, reader
ON CONFLICT DO NOTHING
"""

# Whoever locks the row of a shop's first reader has claimed the shop, and with it all its readers.
_CLAIM = "SELECT FROM checkpoint WHERE shop_id = %s AND reader = %s FOR UPDATE SKIP LOCKED"
_CLAIM_TOGETHER = """
SELECT shop_id FROM checkpoint WHERE shop_id = ANY (%s) AND reader = %s FOR UPDATE SKIP LOCKED
"""

_POSITIONS = """
SELECT shop_id, reader, position FROM checkpoint WHERE shop_id = ANY (%s) AND reader = ANY (%s::text[])
"""

_CHANGED = """
SELECT w.shop_id, t.last, t.streams
FROM unnest(%b, %b, %b) AS w(shop_id, done, up_to)
CROSS JOIN LATERAL (
    SELECT max(e.position) AS last, array_agg(DISTINCT e.stream) FILTER (WHERE e.stream LIKE ANY (%b)) AS streams
    FROM event e WHERE e.shop_id = w.shop_id AND e.position > w.done AND e.position <= w.up_to
) t
WHERE t.last IS NOT NULL
"""

_ADVANCE = """
UPDATE checkpoint c SET position = w.position FROM unnest(%b, %b, %b) AS w(shop_id, reader, position)
WHERE c.shop_id = w.shop_id AND c.reader = w.reader
"""


class Claim(NamedTuple):
    """A shop that this worker has claimed: the builds to advance, their position, and the last one to apply."""

    builds: tuple[Build, ...]
    done: int
    up_to: int


class Worker:
    """Folds orders and SKUs with new events and writes their rows to the live builds."""

    def __init__(self, pool: Pool, book: RuleBook, *, batch: int = BATCH, together: bool | None = None) -> None:
        self._pool = pool
        self._batch = batch
        self._together = together
        self._book = book
        self._wake = asyncio.Event()
        self._stopping = False
        self._quiet_since: str | None = None
        self._resting: dict[str, float] = {}

    def wake(self) -> None:
        """Say that something was appended. Call this in the worker's event loop."""
        self._wake.set()

    def stop(self) -> None:
        """End ``run`` after the current batch. Call this in the worker's event loop."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Work until ``stop``. While the database can't be reached, wait and try again."""
        loop = asyncio.get_running_loop()
        while not self._stopping:
            began = loop.time()
            try:
                busy = await self.catch_up_once()
            except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
                log.warning("the database can't be reached, trying again: %s", error)
                busy = False
            if not busy:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), IDLE_SECONDS)
                self._wake.clear()
            elif not self._stopping:
                await asyncio.sleep(began + ROUND_SECONDS - loop.time())

    async def catch_up(self, shop_id: str) -> None:
        """Work, or wait for another worker, until every live build has reached the head that the log has now."""
        async with self._pool.write() as connection:
            head = await read_head(connection, shop_id)
            while True:
                readers = [build.reader for build in await builds.live(connection, self._book)]
                cursor = await connection.execute(_POSITIONS, ([shop_id], readers))
                positions = [position for _, _, position in await cursor.fetchall()]
                if head == 0 or not readers or (len(positions) == len(readers) and min(positions) >= head):
                    return
                if not await self.advance(connection, {shop_id: head}):
                    await asyncio.sleep(IDLE_SECONDS)

    async def catch_up_once(self) -> bool:
        """Apply one batch of lagging shops. Returns whether there was any work."""
        async with self._pool.write() as connection:
            lagging = await self._lagging(connection)
            retrying = await parking.shops_to_retry(connection, clock.now(), SHOPS_PER_ROUND)
            now = asyncio.get_running_loop().time()
            self._resting = {shop: until for shop, until in self._resting.items() if until > now}
            work = {
                shop: lag
                for shop, lag in (dict.fromkeys(retrying, 0) | lagging).items()
                if shop not in self._resting
            }
            if not work:
                return False
            try:
                return await self.advance(connection, work) > 0
            except psycopg.DataError:
                return await self._advance_each(connection, work) > 0

    async def _advance_each(self, connection: WriteConnection, lagging: Mapping[str, int]) -> int:
        """Apply the next batch of each of these shops by itself. An unreadable log then stops only its own shop."""
        advanced = 0
        for shop, lag in lagging.items():
            try:
                advanced += await self.advance(connection, {shop: lag})
            except psycopg.DataError as error:
                log.error("the log of shop %s can't be read, it rests: %s", shop, error)
                self._resting[shop] = asyncio.get_running_loop().time() + REST_SECONDS
        return advanced

    async def _lagging(self, connection: ReadConnection) -> dict[str, int]:
        """Shops that lag, and by how many positions.

        If none lagged and the server has written nothing since, none can lag now. So an idle worker only reads the
        position of the server's write-ahead log.
        """
        cursor = await connection.execute("SELECT pg_current_wal_insert_lsn()::text")
        row = await cursor.fetchone()
        written = row[0] if row and not await self._is_distributed(connection) else None
        if written is not None and written == self._quiet_since:
            return {}
        readers = [build.reader for build in await builds.live(connection, self._book)]
        cursor = await connection.execute(_LAGGING, (readers, SHOPS_PER_ROUND))
        lagging: dict[str, int] = dict(await cursor.fetchall())
        self._quiet_since = None if lagging else written
        return lagging

    async def advance(self, connection: WriteConnection, lagging: Mapping[str, int]) -> int:
        """Apply the next batch of these shops, given how many positions each lags.

        Returns how many shops had something new. Shops that another worker has claimed are left to it. If the
        database refuses a row, the batch's orders are applied one by one, which shows the order at fault. The old
        rows of each are deleted first: if a position was set back, there are rows from beyond it.
        """
        try:
            return await self._advance(connection, lagging)
        except REFUSED:
            log.exception("a row was refused, taking the batch's orders one by one")
            return await self._advance(connection, lagging, one_by_one=True)

    async def _advance(
        self, connection: WriteConnection, lagging: Mapping[str, int], *, one_by_one: bool = False
    ) -> int:
        now = clock.now()
        async with connection.transaction():
            # A crash may undo the commit, but rows and positions together, and then they are made again.
            await connection.execute("SET LOCAL synchronous_commit = off")
            live = await builds.live(connection, self._book, hold=True)
            if not live:
                return 0
            claims = await self._claim(connection, lagging, live)
            cursor = connection.cursor(binary=True)
            await cursor.execute(
                _CHANGED,
                (
                    Texts(list(claims)),
                    Bigints([claim.done for claim in claims.values()]),
                    Bigints([claim.up_to for claim in claims.values()]),
                    Texts(patterns()),
                ),
            )
            changed = {shop_id: (last, streams or []) for shop_id, last, streams in await cursor.fetchall()}
            parked = await parking.waiting_of(connection, list(claims))
            due = {
                pair
                for pair, waiting in parked.items()
                if waiting.is_due(now) and len(claims[pair[0]].builds) == len(live)
            }
            streams = dict.fromkeys((shop, stream) for shop, (_, names) in changed.items() for stream in names)
            streams |= dict.fromkeys(due)
            ends = {pair: waiting.position for pair, waiting in parked.items() if pair not in due}
            last = {shop: changed[shop][0] if shop in changed else claim.done for shop, claim in claims.items()}
            outcomes: dict[tuple[str, str], tuple[int, str] | None] = {}
            pairs = list(streams)
            for first in range(0, len(pairs), STREAMS_AT_ONCE):
                group = pairs[first : first + STREAMS_AT_ONCE]
                outcomes |= await self._apply(connection, group, claims, last, ends, one_by_one=one_by_one)
            await parking.settle(connection, outcomes, parked, now)
            moves = [(shop, build.reader, last[shop]) for shop in changed for build in claims[shop].builds]
            if moves:
                shops, readers, positions = zip(*moves, strict=True)
                await connection.execute(_ADVANCE, (Texts(shops), Texts(readers), Bigints(positions)))
        return len(changed) + len(due)

    async def _apply(
        self,
        connection: WriteConnection,
        streams: Sequence[tuple[str, str]],
        claims: Mapping[str, Claim],
        last: Mapping[str, int],
        ends: Mapping[tuple[str, str], int],
        *,
        one_by_one: bool,
    ) -> dict[tuple[str, str], tuple[int, str] | None]:
        """Fold orders and SKUs and write their rows. Returns for each the failed event and its error, or ``None``.

        For a parked order that is not due for a retry, ``ends`` has the position of its failed event. Only the
        events before it are applied, and it has no outcome.
        """
        unreadable: dict[tuple[str, str], tuple[int, str]] = {}
        histories = await _histories(connection, streams, last, unreadable)
        for pair in ends.keys() & histories.keys():
            histories[pair] = [recorded for recorded in histories[pair] if recorded.position < ends[pair]]
        groups: dict[tuple[int, ...], list[tuple[str, str]]] = {}
        for pair in histories:
            groups.setdefault(tuple([build.id for build in claims[pair[0]].builds]), []).append(pair)
        outcomes: dict[tuple[str, str], tuple[int, str] | None] = {}
        for pairs in groups.values():
            together = claims[pairs[0][0]].builds
            with_rows = [
                pair
                for pair in pairs
                if one_by_one or not histories[pair] or histories[pair][0].position <= claims[pair[0]].done
            ]
            for build in together if with_rows else ():
                await delete_rows(connection, build, with_rows)
            if one_by_one:
                for pair in pairs:
                    failure = await copy_stream(connection, together, self._book, pair, histories[pair])
                    outcomes[pair] = failure or unreadable.get(pair)
                continue
            rows: dict[View, list[Row]] = {view: [] for build in together for view in build.declared}
            maker = RowMaker(rows, self._book)
            for pair in pairs:
                outcomes[pair] = maker.add_history(*pair, histories[pair]) or unreadable.get(pair)
            for build in together:
                await copy_rows(connection, build, rows)
        return {pair: failure for pair, failure in outcomes.items() if pair not in ends}

    async def _claim(
        self, connection: WriteConnection, lagging: Mapping[str, int], live: Sequence[Build]
    ) -> dict[str, Claim]:
        """Claim the shops that no other worker has claimed.

        On one server this is one statement. Where tables are distributed, a statement may lock only one shop's
        rows.
        """
        readers = {build.reader: build for build in live}
        first = live[0].reader
        await connection.execute(_BEGIN, (Texts(list(lagging)), list(readers)))
        if await self._is_distributed(connection):
            async with connection.pipeline():
                cursors = {shop: await connection.execute(_CLAIM, (shop, first)) for shop in lagging}
            claimed = [shop for shop, cursor in cursors.items() if await cursor.fetchone() is not None]
        else:
            cursor = await connection.execute(_CLAIM_TOGETHER, (Texts(list(lagging)), first))
            claimed = [shop for (shop,) in await cursor.fetchall()]
        positions: dict[str, dict[str, int]] = {shop: {} for shop in claimed}
        cursor = await connection.execute(_POSITIONS, (Texts(claimed), list(readers)))
        for shop, reader, position in await cursor.fetchall():
            positions[shop][reader] = position
        shares = share_out({shop: lagging[shop] for shop in claimed}, self._batch)
        claims = {}
        for shop, by_reader in positions.items():
            done = min(by_reader.values())
            together = tuple(readers[reader] for reader in readers if by_reader[reader] == done)
            ahead = min((position for position in by_reader.values() if position > done), default=None)
            up_to = done + shares[shop]
            claims[shop] = Claim(together, done, up_to if ahead is None else min(up_to, ahead))
        return claims

    async def _is_distributed(self, connection: ReadConnection) -> bool:
        if self._together is None:
            self._together = not await is_distributed(connection)
        return not self._together


async def _histories(
    connection: WriteConnection,
    streams: Sequence[tuple[str, str]],
    last: Mapping[str, int],
    unreadable: dict[tuple[str, str], tuple[int, str]],
) -> Histories:
    """The histories of these streams. One with an unreadable event ends before it, and ``unreadable`` gets it."""
    whole = {(shop, stream): history for shop, stream, history in await read_streams(connection, streams, last)}
    suspects = [pair for pair in streams if whole.get(pair) is None]
    readable = await read_histories(connection, suspects, last, unreadable) if suspects else {}
    return {pair: whole.get(pair) or readable[pair] for pair in streams}


def share_out(lags: Mapping[str, int], batch: int) -> dict[str, int]:
    """How many positions of a batch each shop gets. A shop that needs few gets them; the others share the rest.

    A batch grows with the lag, up to ``CATCH_UP_BATCH``, and every shop gets at least one position.
    """
    remaining = max(batch, min(sum(lags.values()) // 2, CATCH_UP_BATCH))
    shares = {}
    shops = sorted(lags, key=lambda shop: lags[shop])
    for n, shop in enumerate(shops):
        shares[shop] = max(min(lags[shop], remaining // (len(shops) - n)), 1)
        remaining -= shares[shop]
    return shares
