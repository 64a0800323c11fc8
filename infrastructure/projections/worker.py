"""The live worker: keeps the views at the head of every shop's log.

Any number of workers on any number of machines share the work: each takes shops that lag, claims them
by their checkpoint rows and skips those that another holds. The rows of a batch and the checkpoints
commit together, so every event is applied exactly once whatever is killed whenever. Being woken only
shortens the wait; nothing depends on it.

Every live build is a reader of every log. Readers of a shop that stand at the same position go on
together, folded once; one that is behind the others catches up first.
"""

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import psycopg
from psycopg_pool import PoolTimeout

from domain.rules.ruleset import RuleBook
from infrastructure.commands.receipts import forget_receipts
from infrastructure.database.pool import Pool, ReadConnection, WriteConnection
from infrastructure.log.columns import Bigints, Texts
from infrastructure.log.histories import read_streams
from infrastructure.log.log import Histories, is_distributed, read_head, read_histories
from infrastructure.log.streams import patterns
from infrastructure.projections import builds, parking
from infrastructure.projections.builds import Build
from infrastructure.projections.rows import REFUSED, Applied, copy_rows, copy_stream, delete_rows
from infrastructure.projections.view import Row, View
from infrastructure.runtime import clock

log = logging.getLogger("shiplock.worker")

BATCH = 2_000
"""Positions per transaction: large enough to be quick, small enough for shops to take turns."""

CATCH_UP_BATCH = 100_000
"""And when far behind: what an order lived through meanwhile is then mostly folded at once."""

STREAMS_AT_ONCE = 2_000
"""Orders and SKUs in memory; a batch has as many of these as it takes."""

SHOPS_PER_ROUND = 100
ROUND_SECONDS = 0.05
"""The least time from one batch to the next: a steady trickle of events is written in handfuls.

A batch that comes after a pause is written at once, and a full one takes longer than this anyway.
"""

IDLE_SECONDS = 0.25
REST_SECONDS = 30.0
"""So long a shop is left alone whose log can't be read as it stands in the database."""

TIDY_SECONDS = 60.0

# By chance: who is left out when more shops lag than a round takes has the same chance in the next one.
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

# The first reader's row of a shop stands for the shop: who holds it holds all of them.
_CLAIM = "SELECT FROM checkpoint WHERE shop_id = %s AND reader = %s FOR UPDATE SKIP LOCKED"
_CLAIM_TOGETHER = """
SELECT shop_id FROM checkpoint WHERE shop_id = ANY (%s) AND reader = %s FOR UPDATE SKIP LOCKED
"""

_STANDS = "SELECT shop_id, reader, position FROM checkpoint WHERE shop_id = ANY (%s) AND reader = ANY (%s::text[])"

_TOUCHED = """
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


class Stretch(NamedTuple):
    """What is next for a shop: which builds go on, from where, and how far at most."""

    builds: tuple[Build, ...]
    done: int
    up_to: int


class Worker:
    """Folds what is new and writes it to the live builds, shop by shop."""

    def __init__(self, pool: Pool, book: RuleBook, *, batch: int = BATCH, together: bool | None = None) -> None:
        self._pool = pool
        self._batch = batch
        self._together = together
        self._book = book
        self._wake = asyncio.Event()
        self._tidy_at = 0.0
        self._stopping = False
        self._quiet_since: str | None = None
        self._resting: dict[str, float] = {}

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
            async with self._pool.write() as connection:
                await forget_receipts(connection, clock.now())

    async def catch_up(self, shop_id: str) -> None:
        """Work, or wait for another worker, until every live build has reached the log's present head."""
        async with self._pool.write() as connection:
            head = await read_head(connection, shop_id)
            while True:
                readers = [build.reader for build in await builds.live(connection, self._book)]
                cursor = await connection.execute(_STANDS, ([shop_id], readers))
                stands = [position for _, _, position in await cursor.fetchall()]
                if head == 0 or not readers or (len(stands) == len(readers) and min(stands) >= head):
                    return
                if not await self.advance(connection, {shop_id: head}):
                    await asyncio.sleep(IDLE_SECONDS)

    async def catch_up_once(self) -> bool:
        """A batch over lagging shops; whether there was any work."""
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
        """Apply the next batch of each of these shops by itself: one that can't be read stops itself alone."""
        advanced = 0
        for shop, lag in lagging.items():
            try:
                advanced += await self.advance(connection, {shop: lag})
            except psycopg.DataError as error:
                log.error("the log of shop %s can't be read, it rests: %s", shop, error)
                self._resting[shop] = asyncio.get_running_loop().time() + REST_SECONDS
        return advanced

    async def _lagging(self, connection: ReadConnection) -> dict[str, int]:
        """Shops that lag, and by how much.

        Nothing can lag while nothing was written since nothing did: an idle worker asks for no more than
        where the server's own log stands.
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
        """Apply the next batch of these shops, by how much each lags; how many had something new.

        Those that another worker holds are left to it. An order that the database refuses is found by
        taking the batch's orders one by one, each in place of whatever rows of it are there: a checkpoint
        that was set back finds rows from beyond it.
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
            # Rows and checkpoints that a crash takes back are taken back together, and made again.
            await connection.execute("SET LOCAL synchronous_commit = off")
            live = await builds.live(connection, self._book, hold=True)
            if not live:
                return 0
            stretches = await self._claim(connection, lagging, live)
            cursor = connection.cursor(binary=True)
            await cursor.execute(
                _TOUCHED,
                (
                    Texts(list(stretches)),
                    Bigints([stretch.done for stretch in stretches.values()]),
                    Bigints([stretch.up_to for stretch in stretches.values()]),
                    Texts(patterns()),
                ),
            )
            touched = {shop_id: (last, streams or []) for shop_id, last, streams in await cursor.fetchall()}
            parked = await parking.waiting_of(connection, list(stretches))
            due = {
                pair
                for pair, waits in parked.items()
                if waits.is_due(now) and len(stretches[pair[0]].builds) == len(live)
            }
            streams = dict.fromkeys((shop, stream) for shop, (_, found) in touched.items() for stream in found)
            streams |= dict.fromkeys(due)
            cut = {pair: waits.position for pair, waits in parked.items() if pair not in due}
            last = {
                shop: touched[shop][0] if shop in touched else stretch.done for shop, stretch in stretches.items()
            }
            tried: dict[tuple[str, str], tuple[int, str] | None] = {}
            pairs = list(streams)
            for first in range(0, len(pairs), STREAMS_AT_ONCE):
                some = pairs[first : first + STREAMS_AT_ONCE]
                tried |= await self._apply(connection, some, stretches, last, cut, one_by_one=one_by_one)
            await parking.settle(connection, tried, parked, now)
            moves = [(shop, build.reader, last[shop]) for shop in touched for build in stretches[shop].builds]
            if moves:
                shops, readers, positions = zip(*moves, strict=True)
                await connection.execute(_ADVANCE, (Texts(shops), Texts(readers), Bigints(positions)))
        return len(touched) + len(due)

    async def _apply(
        self,
        connection: WriteConnection,
        streams: Sequence[tuple[str, str]],
        stretches: Mapping[str, Stretch],
        last: Mapping[str, int],
        cut: Mapping[tuple[str, str], int],
        *,
        one_by_one: bool,
    ) -> dict[tuple[str, str], tuple[int, str] | None]:
        """Fold orders and SKUs and write their rows; for each what could not be applied, if anything.

        Of one that waits only what comes before its ``cut`` is applied, which tries nothing.
        """
        unreadable: dict[tuple[str, str], tuple[int, str]] = {}
        histories = await _histories(connection, streams, last, unreadable)
        for pair in cut.keys() & histories.keys():
            histories[pair] = [recorded for recorded in histories[pair] if recorded.position < cut[pair]]
        groups: dict[tuple[int, ...], list[tuple[str, str]]] = {}
        for pair in histories:
            groups.setdefault(tuple([build.id for build in stretches[pair[0]].builds]), []).append(pair)
        tried: dict[tuple[str, str], tuple[int, str] | None] = {}
        for pairs in groups.values():
            together = stretches[pairs[0][0]].builds
            known = [
                pair
                for pair in pairs
                if one_by_one or not histories[pair] or histories[pair][0].position <= stretches[pair[0]].done
            ]
            for build in together if known else ():
                await delete_rows(connection, build, known)
            if one_by_one:
                for pair in pairs:
                    broken = await copy_stream(connection, together, self._book, pair, histories[pair])
                    tried[pair] = broken or unreadable.get(pair)
                continue
            rows: dict[View, list[Row]] = {view: [] for build in together for view in build.declared}
            applied = Applied(rows, self._book)
            for pair in pairs:
                tried[pair] = applied.add_history(*pair, histories[pair]) or unreadable.get(pair)
            for build in together:
                await copy_rows(connection, build, rows)
        return {pair: broken for pair, broken in tried.items() if pair not in cut}

    async def _claim(
        self, connection: WriteConnection, lagging: Mapping[str, int], live: Sequence[Build]
    ) -> dict[str, Stretch]:
        """Lock the shops that no other worker holds; what is next for each.

        In one statement on one server; where tables are distributed a statement may lock in one shop only.
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
        stands: dict[str, dict[str, int]] = {shop: {} for shop in claimed}
        cursor = await connection.execute(_STANDS, (Texts(claimed), list(readers)))
        for shop, reader, position in await cursor.fetchall():
            stands[shop][reader] = position
        shares = share_out({shop: lagging[shop] for shop in claimed}, self._batch)
        found = {}
        for shop, positions in stands.items():
            done = min(positions.values())
            together = tuple(readers[reader] for reader in readers if positions[reader] == done)
            ahead = min((position for position in positions.values() if position > done), default=None)
            up_to = done + shares[shop]
            found[shop] = Stretch(together, done, up_to if ahead is None else min(up_to, ahead))
        return found

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
    """The histories of these streams; of one that can't be read what comes before that, and what is wrong."""
    found = {(shop, stream): history for shop, stream, history in await read_streams(connection, streams, last)}
    suspects = [pair for pair in streams if found.get(pair) is None]
    closer = await read_histories(connection, suspects, last, unreadable) if suspects else {}
    return {pair: found.get(pair) or closer[pair] for pair in streams}


def share_out(lags: Mapping[str, int], batch: int) -> dict[str, int]:
    """How many positions each shop gets of a batch: who needs little gets that, the others share the rest.

    A batch grows with the lag, up to ``CATCH_UP_BATCH``, and every shop gets at least one position.
    """
    left = max(batch, min(sum(lags.values()) // 2, CATCH_UP_BATCH))
    shares = {}
    waiting = sorted(lags, key=lambda shop: lags[shop])
    for n, shop in enumerate(waiting):
        shares[shop] = max(min(lags[shop], left // (len(waiting) - n)), 1)
        left -= shares[shop]
    return shares
