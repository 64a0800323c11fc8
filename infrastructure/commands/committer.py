"""The one door for all writes: intents in, outcomes out.

A single command is a batch of one. Commands that come at the same time are committed together: a committer takes
what is waiting, loads all histories in one query, decides in memory, and appends events and receipts in one
transaction. A second committer loads and decides meanwhile. An intent that loses a race against another process
is loaded and decided again.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Self, overload

import psycopg
from psycopg_pool import PoolTimeout

from domain.rules.ruleset import RuleBook
from infrastructure.commands.attempt import Attempt, Render
from infrastructure.commands.intents import (
    Contended,
    Intent,
    OrderIntent,
    OrderOutcome,
    Outcome,
    Overloaded,
    SkuCommand,
    SkuOutcome,
    StillRunning,
    Unavailable,
)
from infrastructure.commands.queue import PendingOutcomes, Queue, QueuedIntent
from infrastructure.commands.receipts import Key, key_reused, replay
from infrastructure.database.pool import Pool, WriteConnection
from infrastructure.queries.related_facts import ReadRelatedFacts, read_no_related_facts

MAX_BATCH = 1_000
COMMITTERS = 2
"""How many batches of a process may be under way at once: while one commits, another loads and decides."""

WORTH_A_BATCH = 10
"""How many intents must wait for a further batch to begin; a batch costs too much for a handful."""

MAX_ATTEMPTS = 5


class CommandPath:
    """Takes intents from any task of one event loop and commits them in batches.

    ``render`` makes the response that is stored for an intent with an idempotency key, before the position is
    known. The same key used again gets the same bytes. ``on_commit`` is called after each commit that appended
    something. ``together`` is for databases on one server (``infrastructure.log.log``). ``read_related_facts``
    reads the facts of other streams that the decisions of a batch need.
    """

    def __init__(
        self,
        pool: Pool,
        book: RuleBook,
        clock: Callable[[], datetime],
        render: Render,
        on_commit: Callable[[], None] = lambda: None,
        together: bool = True,
        read_related_facts: ReadRelatedFacts = read_no_related_facts,
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._attempt = Attempt(book, clock, render, on_commit, together, read_related_facts)
        self._queue = Queue()
        self._running_keys: set[Key] = set()
        self._wake = asyncio.Event()
        self._under_way = 0
        self._committers: list[asyncio.Task[None]] = []
        self._closing = False

    async def __aenter__(self) -> Self:
        self._committers = [
            asyncio.create_task(self._commit_forever(), name=f"committer {n}") for n in range(COMMITTERS)
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Settle everything that was accepted, then stop."""
        self._closing = True
        self._wake.set()
        await asyncio.gather(*self._committers)

    @overload
    async def submit(self, intents: Sequence[OrderIntent]) -> Sequence[OrderOutcome | Exception]: ...

    @overload
    async def submit(self, intents: Sequence[SkuCommand]) -> Sequence[SkuOutcome | Exception]: ...

    @overload
    async def submit(self, intents: Sequence[Intent]) -> Sequence[Outcome | Exception]: ...

    async def submit(self, intents: Sequence[Intent]) -> Sequence[Outcome | Exception]:
        """Decide and commit intents. Each gets an outcome, or the exception that stopped it, in their order.

        A repeated key in one call gets the first one's answer. Raises ``Overloaded`` when there is no room for all
        of them; then none was taken.
        """
        firsts: dict[Key, int] = {}
        first_of = [
            number if (key := _key(intent)) is None else firsts.setdefault(key, number)
            for number, intent in enumerate(intents)
        ]
        pending = self._enqueue([intent for number, intent in enumerate(intents) if first_of[number] == number])
        decided = iter(await pending.all())
        outcomes: list[Outcome | Exception] = []
        for number, intent in enumerate(intents):
            first = first_of[number]
            if first == number:
                outcomes.append(next(decided))
            else:
                outcomes.append(await self._repeat(intent, intents[first], outcomes[first]))
        return outcomes

    async def _repeat(self, intent: Intent, first: Intent, outcome: Outcome | Exception) -> Outcome | Exception:
        """The outcome of an intent with the key of another one in the same call, whose outcome is known."""
        if isinstance(outcome, Exception):
            return outcome
        is_same_request = intent.idempotency == first.idempotency
        if outcome.response is None:  # the key was another request's before this call
            return outcome if is_same_request else (await self.submit([intent]))[0]
        if is_same_request:
            return replay(intent, outcome.response, outcome.position, self._clock())
        return key_reused(intent, self._clock())

    @overload
    async def submit_one(self, intent: OrderIntent) -> OrderOutcome: ...

    @overload
    async def submit_one(self, intent: SkuCommand) -> SkuOutcome: ...

    @overload
    async def submit_one(self, intent: Intent) -> Outcome: ...

    async def submit_one(self, intent: Intent) -> Outcome:
        """Decide and commit one intent. Raises what stopped it."""
        (outcome,) = await self._enqueue([intent]).all()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _enqueue(self, intents: Sequence[Intent]) -> PendingOutcomes:
        """Put intents in the queue. A caller who goes away only cancels the wait: what was taken is finished."""
        if self._closing or not self._queue.has_room(intents):
            raise Overloaded
        pending = PendingOutcomes(len(intents))
        for number, intent in enumerate(intents):
            key = _key(intent)
            if key:
                if key in self._running_keys:
                    pending.set(number, StillRunning())
                    continue
                self._running_keys.add(key)
            self._queue.put(QueuedIntent(intent, (intent.shop_id, intent.stream), key, pending, number))
        self._wake.set()
        return pending

    async def _commit_forever(self) -> None:
        """Each committer's loop: while there is work, take a connection and commit batch after batch."""
        while await self._has_work():
            try:
                async with self._pool.write() as connection:
                    while batch := self._take():
                        if not await self._commit_batch(connection, batch):
                            break
            except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
                # The pool has no connection, or does not take it back. A committer must survive both.
                if batch := self._take():
                    self._finish(batch, Unavailable(str(error)))

    async def _has_work(self) -> bool:
        """Wait until a batch can be taken. False when everything is settled and nothing more will come."""
        while not self._is_worth_a_batch():
            if self._closing and not self._queue.size:
                self._wake.set()
                return False
            self._wake.clear()
            await self._wake.wait()
        return True

    def _is_worth_a_batch(self) -> bool:
        return self._queue.ready >= (WORTH_A_BATCH if self._under_way else 1)

    def _take(self) -> list[QueuedIntent]:
        if not self._is_worth_a_batch():
            return []
        self._under_way += 1
        return self._queue.take(MAX_BATCH)

    def _finish(self, batch: Sequence[QueuedIntent], error: Exception) -> None:
        """The batch is over. What is not settled by now gets the error."""
        for entry in batch:
            entry.settle(error)
        self._running_keys.difference_update([entry.key for entry in batch if entry.key])
        self._queue.finish(batch)
        self._under_way -= 1
        self._wake.set()

    async def _commit_batch(self, connection: WriteConnection, batch: Sequence[QueuedIntent]) -> bool:
        """Settle all of a batch. Returns whether the connection is still good."""
        error: Exception = Contended()
        try:
            await self._try(connection, batch)
        except (psycopg.OperationalError, psycopg.InterfaceError) as lost:
            error = Unavailable(str(lost))
        except Exception as broken:
            error = broken
            if len(batch) > 1:
                error = await self._commit_one_by_one(connection, batch)
        finally:
            self._finish(batch, error)
        return not connection.closed

    async def _commit_one_by_one(self, connection: WriteConnection, batch: Sequence[QueuedIntent]) -> Exception:
        """Commit a batch that an intent breaks: alone, it breaks only itself. Returns the error for the rest."""
        for entry in batch:
            try:
                if not entry.is_settled:
                    await self._try(connection, [entry])
            except (psycopg.OperationalError, psycopg.InterfaceError) as lost:
                return Unavailable(str(lost))
            except Exception as broken:
                entry.settle(broken)
        return Contended()

    async def _try(self, connection: WriteConnection, batch: Sequence[QueuedIntent]) -> None:
        """Attempt a batch a few times. What is not settled then lost the race for its stream every time."""
        left = batch
        for _ in range(MAX_ATTEMPTS):
            if left:
                left = await self._attempt(connection, left)


def _key(intent: Intent) -> Key | None:
    return (intent.shop_id, intent.idempotency.key) if intent.idempotency else None
