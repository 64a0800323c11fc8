"""The one door for all writes: a list of intents in, a list of outcomes out.

A single command is a batch of one; concurrent ones are coalesced. One committer per process takes what
is waiting, loads all histories in one query, decides in memory, and appends events and receipts in one
transaction. Whoever loses a race against another process is loaded and decided again.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Self

import psycopg
from msgspec.structs import replace
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from domain.history import Metadata, Recorded
from domain.order.commands import Command
from domain.order.decisions import Refusal, decide
from domain.order.events import OrderEvent
from domain.order.observations import observe
from domain.order.snapshot import Snapshot
from domain.order.state import Order, evolve, fold
from domain.rules.ruleset import RuleBook
from infrastructure.log.log import (
    ORDER,
    Append,
    Appended,
    NewEvent,
    append,
    append_and_commit,
    new_event,
    read_histories,
)

MAX_WAITING = 10_000
"""Intents that may wait for the committer before callers are told to come back later."""

MAX_BATCH = 512
MAX_ATTEMPTS = 5
RECEIPTS_KEPT = timedelta(days=7)
"""How long the answer to an idempotency key is remembered."""


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A caller's name for one attempt; ``fingerprint`` tells another payload under the same name."""

    key: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Tell:
    """A command to an order. ``if_match`` is the version the caller has seen, if it matters to them."""

    shop_id: str
    order_sn: str
    command: Command
    actor: str
    if_match: int | None = None
    idempotency: IdempotencyKey | None = None


@dataclass(frozen=True, slots=True)
class Observe:
    """A snapshot of an order that the platform showed; it is never refused."""

    shop_id: str
    snapshot: Snapshot
    actor: str

    @property
    def order_sn(self) -> str:
        return self.snapshot.order_sn


Intent = Tell | Observe


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an intent.

    ``order`` is the order afterwards, ``events`` how many were appended for this intent, ``position``
    the place of its last event in the shop's log (without events: of the order's last one) and ``at``
    the moment it was judged. ``receipt`` is set instead of all that when the answer had been given before.
    """

    order: Order
    events: int
    position: int
    at: datetime
    refusal: Refusal | None = None
    receipt: bytes | None = None


class Overloaded(Exception):
    """Too many intents are waiting."""


class Unavailable(Exception):
    """The database can't be reached, or went away before it acknowledged."""


class StillRunning(Exception):
    """An intent with the same idempotency key has not been answered yet."""


class Contended(Exception):
    """Another process kept winning the race for the same order."""


@dataclass(slots=True)
class _Waiting:
    intent: Intent
    answer: "asyncio.Future[Outcome]"


@dataclass(slots=True)
class _Draft:
    """An order while a batch is being decided: its history, its state, and what is to be appended."""

    history: list[Recorded]
    order: Order
    loaded_version: int
    events: list[NewEvent] = field(default_factory=list)

    def add(self, event: OrderEvent, occurred_at: datetime, now: datetime, metadata: Metadata) -> None:
        version = self.order.version + 1
        recorded = Recorded(event, version, self.order.position, occurred_at, now, metadata)
        self.history.append(recorded)
        self.order = evolve(self.order, recorded)
        self.events.append(new_event(event, occurred_at, metadata))


class CommandPath:
    """Takes intents from any task of one event loop and commits them in batches.

    ``render`` makes the receipt's bytes from an intent and its outcome; they come back untouched when
    the same key is used again. ``on_commit`` is called after each commit that appended something.
    """

    def __init__(
        self,
        pool: AsyncConnectionPool[AsyncConnection[TupleRow]],
        book: RuleBook,
        clock: Callable[[], datetime],
        render: Callable[[Tell, Outcome], bytes],
        on_commit: Callable[[], None] = lambda: None,
    ) -> None:
        self._pool = pool
        self._book = book
        self._clock = clock
        self._render = render
        self._on_commit = on_commit
        self._waiting: deque[_Waiting] = deque()
        self._running_keys: set[tuple[str, str]] = set()
        self._wake = asyncio.Event()
        self._committer: asyncio.Task[None] | None = None
        self._closing = False

    async def __aenter__(self) -> Self:
        self._committer = asyncio.create_task(self._commit_forever(), name="committer")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Answer everything that was accepted, then stop."""
        self._closing = True
        self._wake.set()
        if self._committer:
            await self._committer

    async def submit(self, intents: Sequence[Intent]) -> list[Outcome | Exception]:
        """Judge and commit intents; each gets an outcome or the exception that stopped it, in order.

        Raises ``Overloaded`` when there is no room for them; then none was taken.
        """
        answers = await asyncio.gather(*self._enqueue(intents), return_exceptions=True)
        return [_outcome(answer) for answer in answers]

    async def tell(self, intent: Intent) -> Outcome:
        """Judge and commit one intent; raises what stopped it."""
        (answer,) = self._enqueue([intent])
        return await answer

    def _enqueue(self, intents: Sequence[Intent]) -> list["asyncio.Future[Outcome]"]:
        """Put intents in the queue. A caller who goes away only cancels the wait: what was taken is finished."""
        if self._closing or len(self._waiting) + len(intents) > MAX_WAITING:
            raise Overloaded
        loop = asyncio.get_running_loop()
        answers = []
        for intent in intents:
            answer: asyncio.Future[Outcome] = loop.create_future()
            answers.append(answer)
            if key := _key(intent):
                if key in self._running_keys:
                    answer.set_exception(StillRunning())
                    continue
                self._running_keys.add(key)
            self._waiting.append(_Waiting(intent, answer))
        self._wake.set()
        return answers

    async def _commit_forever(self) -> None:
        while True:
            if not self._waiting:
                if self._closing:
                    return
                self._wake.clear()
                await self._wake.wait()
                continue
            batch = [self._waiting.popleft() for _ in range(min(MAX_BATCH, len(self._waiting)))]
            try:
                await self._commit_batch(batch)
            except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
                _fail(batch, Unavailable(str(error)))
            except Exception as error:
                if len(batch) == 1:
                    _fail(batch, error)
                else:
                    await self._commit_one_by_one(batch)
            finally:
                self._running_keys.difference_update(key for entry in batch if (key := _key(entry.intent)))

    async def _commit_one_by_one(self, batch: Sequence[_Waiting]) -> None:
        """Something in the batch breaks it; alone, it breaks only itself."""
        for entry in batch:
            if entry.answer.done():
                continue
            try:
                await self._commit_batch([entry])
            except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
                _fail([entry], Unavailable(str(error)))
            except Exception as error:
                _fail([entry], error)

    async def _commit_batch(self, batch: Sequence[_Waiting]) -> None:
        left = list(batch)
        for _ in range(MAX_ATTEMPTS):
            async with self._pool.connection() as connection:
                left = await self._attempt(connection, left)
            if not left:
                return
        _fail(left, Contended())

    async def _attempt(self, connection: AsyncConnection[TupleRow], batch: Sequence[_Waiting]) -> list[_Waiting]:
        """Load, decide, append, answer; what lost a race against another process is returned."""
        now = self._clock()
        told_before = await self._receipts(connection, batch)
        fresh = []
        for entry in batch:
            key = _key(entry.intent)
            if key and (receipt := told_before.get(key)):
                _answer(entry, _replayed(entry.intent, receipt, now))
            else:
                fresh.append(entry)
        drafts = await self._load(connection, fresh)
        decided = [(entry, self._decide(entry.intent, drafts, now)) for entry in fresh]
        shops: dict[str, list[Append]] = {}
        for (shop_id, stream), draft in drafts.items():
            if draft.events:
                shops.setdefault(shop_id, []).append(Append(stream, draft.loaded_version, draft.events))
        if any(_key(entry.intent) for entry in fresh):
            try:
                async with connection.transaction():
                    appended = await append(connection, now, shops) if shops else {}
                    settled, lost = _settle(decided, drafts, shops, appended)
                    await self._remember(connection, settled, now)
            except _KeyTaken:
                return fresh
        else:
            appended = await append_and_commit(connection, now, shops) if shops else {}
            settled, lost = _settle(decided, drafts, shops, appended)
        if shops:
            self._on_commit()
        for entry, outcome in settled:
            _answer(entry, outcome)
        return lost

    async def _load(
        self, connection: AsyncConnection[TupleRow], batch: Sequence[_Waiting]
    ) -> dict[tuple[str, str], _Draft]:
        histories = await read_histories(connection, (_stream(entry.intent) for entry in batch))
        drafts = {}
        for (shop_id, stream), history in histories.items():
            order = fold(stream.removeprefix(ORDER), history)
            drafts[shop_id, stream] = _Draft(history, order, order.version)
        return drafts

    def _decide(self, intent: Intent, drafts: dict[tuple[str, str], _Draft], now: datetime) -> Outcome:
        draft = drafts[_stream(intent)]
        before = len(draft.events)
        refusal = None
        if isinstance(intent, Observe):
            snapshot = intent.snapshot
            for seen in observe(draft.order, snapshot, self._book):
                metadata = Metadata(actor=intent.actor, via=snapshot.via, observed=seen.observed)
                draft.add(seen.event, seen.occurred_at, now, metadata)
        elif intent.if_match is not None and intent.if_match != draft.order.version:
            refusal = Refusal("stale_version", f"The order is at version {draft.order.version} by now.")
        else:
            decision, occurred_at = decide(draft.history, draft.order, intent.command, self._book, now)
            if isinstance(decision, Refusal):
                refusal = decision
            else:
                note = intent.command.note if isinstance(intent.command.note, str) else None
                for event in decision:
                    draft.add(event, occurred_at, now, Metadata(actor=intent.actor, note=note))
        return Outcome(draft.order, len(draft.events) - before, draft.order.position, now, refusal)

    async def _receipts(
        self, connection: AsyncConnection[TupleRow], batch: Sequence[_Waiting]
    ) -> dict[tuple[str, str], tuple[bytes, bytes]]:
        keys = sorted({key for entry in batch if (key := _key(entry.intent))})
        if not keys:
            return {}
        cursor = await connection.execute(
            _FIND_RECEIPTS,
            ([shop for shop, _ in keys], [key for _, key in keys], self._clock() - RECEIPTS_KEPT),
            binary=True,
        )
        return {(shop, key): (fingerprint, outcome) async for shop, key, fingerprint, outcome in cursor}

    async def _remember(
        self,
        connection: AsyncConnection[TupleRow],
        settled: Sequence[tuple[_Waiting, Outcome]],
        now: datetime,
    ) -> None:
        rows = sorted(
            (intent.shop_id, intent.idempotency.key, intent.idempotency.fingerprint, self._render(intent, outcome))
            for entry, outcome in settled
            if isinstance(intent := entry.intent, Tell) and intent.idempotency
        )
        if not rows:
            return
        columns = [list(column) for column in zip(*rows, strict=True)]
        cursor = await connection.execute(
            _KEEP_RECEIPTS,
            dict(zip(("shops", "keys", "fingerprints", "outcomes"), columns, strict=True))
            | {"now": now, "expired": now - RECEIPTS_KEPT},
        )
        if cursor.rowcount < len(rows):
            raise _KeyTaken


class _KeyTaken(Exception):
    """Another process answered one of the keys meanwhile."""


_FIND_RECEIPTS = """
SELECT r.shop_id, r.key, r.fingerprint, r.outcome
FROM unnest(%b::text[], %b::text[]) AS w(shop_id, key)
JOIN receipt r ON r.shop_id = w.shop_id AND r.key = w.key
WHERE r.recorded_at > %b::timestamptz
"""

# An expired receipt gives its key free; a living one keeps it.
_KEEP_RECEIPTS = """
INSERT INTO receipt AS r (shop_id, key, fingerprint, outcome, recorded_at)
SELECT w.*, %(now)b::timestamptz
FROM unnest(%(shops)b::text[], %(keys)b::text[], %(fingerprints)b::bytea[], %(outcomes)b::bytea[]) AS w
ON CONFLICT (shop_id, key) DO UPDATE
SET fingerprint = excluded.fingerprint, outcome = excluded.outcome, recorded_at = excluded.recorded_at
WHERE r.recorded_at <= %(expired)b::timestamptz
"""


# Bounded, so that forgetting many never holds anything up for long.
_FORGET_RECEIPTS = """
DELETE FROM receipt WHERE (shop_id, key) IN (
    SELECT shop_id, key FROM receipt WHERE recorded_at <= %s ORDER BY recorded_at LIMIT 5000
)
"""


async def forget_receipts(connection: AsyncConnection[TupleRow], now: datetime) -> int:
    """Remove some of the receipts that have expired; how many that were."""
    cursor = await connection.execute(_FORGET_RECEIPTS, (now - RECEIPTS_KEPT,))
    return cursor.rowcount


def _stream(intent: Intent) -> tuple[str, str]:
    return intent.shop_id, ORDER + intent.order_sn


def _key(intent: Intent) -> tuple[str, str] | None:
    if isinstance(intent, Tell) and intent.idempotency:
        return intent.shop_id, intent.idempotency.key
    return None


def _replayed(intent: Intent, receipt: tuple[bytes, bytes], now: datetime) -> Outcome:
    fingerprint, answer = receipt
    assert isinstance(intent, Tell)
    assert intent.idempotency
    order = Order(intent.order_sn)
    if fingerprint != intent.idempotency.fingerprint:
        detail = "This idempotency key was used for another request."
        return Outcome(order, 0, 0, now, Refusal("idempotency_key_reused", detail))
    return Outcome(order, 0, 0, now, receipt=answer)


def _settle(
    decided: Sequence[tuple[_Waiting, Outcome]],
    drafts: Mapping[tuple[str, str], _Draft],
    shops: Mapping[str, Sequence[Append]],
    appended: Mapping[str, Sequence[Appended]],
) -> tuple[list[tuple[_Waiting, Outcome]], list[_Waiting]]:
    """What is done, with its real positions, and what lost a race and must be judged again."""
    results = {
        (shop_id, wanted.stream): result
        for shop_id, appends in shops.items()
        for wanted, result in zip(appends, appended[shop_id], strict=True)
    }
    settled = []
    lost = []
    for entry, outcome in decided:
        stream = _stream(entry.intent)
        result = results.get(stream)
        if result is not None and not result.accepted:
            lost.append(entry)
        else:
            settled.append((entry, _placed(outcome, drafts[stream], result)))
    return settled, lost


def _placed(outcome: Outcome, draft: _Draft, appended: Appended | None) -> Outcome:
    """The outcome with its real position: an order's events of a batch stand together in the log."""
    if appended is None or outcome.order.version == draft.loaded_version:
        return outcome
    position = appended.position - (appended.version - outcome.order.version)
    order = replace(outcome.order, position=position)
    return Outcome(order, outcome.events, position, outcome.at, outcome.refusal)


def _answer(entry: _Waiting, outcome: Outcome) -> None:
    if not entry.answer.done():
        entry.answer.set_result(outcome)


def _fail(batch: Sequence[_Waiting], error: Exception) -> None:
    for entry in batch:
        if not entry.answer.done():
            entry.answer.set_exception(error)


def _outcome(answer: Outcome | BaseException) -> Outcome | Exception:
    if isinstance(answer, Outcome | Exception):
        return answer
    raise answer
