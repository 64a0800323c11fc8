"""The one door for all writes: a list of intents in, a list of outcomes out.

A single command is a batch of one; concurrent ones are coalesced. A committer takes what is waiting, loads
all histories in one query, decides in memory, and appends events and receipts in one transaction; a second
one loads and decides meanwhile. Whoever loses a race against another process is loaded and decided again.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, Self

import psycopg
from msgspec.structs import replace
from psycopg_pool import PoolTimeout

from domain.history import Metadata, Recorded
from domain.kernel import Command, Refusal
from domain.order.commands import Place, RequestStockout
from domain.order.decisions.action import Decision
from domain.order.decisions.table import decide
from domain.order.observations import observe
from domain.order.state import Order
from domain.order.warnings import NO_RELATED_FACTS, RelatedFacts
from domain.rules.ruleset import RuleBook
from domain.sku import decisions as sku_decisions
from domain.sku.state import Sku
from domain.sku.state import fold as fold_sku
from infrastructure.commands.intents import (
    CommandIntent,
    Contended,
    Intent,
    OrderCommand,
    Outcome,
    Overloaded,
    SnapshotIntent,
    StillRunning,
    Unavailable,
)
from infrastructure.commands.queue import PendingOutcomes, Queue, QueuedIntent
from infrastructure.commands.receipts import (
    Key,
    KeyTaken,
    Receipt,
    StoredReceipt,
    append_with_receipts,
    ask_receipts,
    free_keys,
)
from infrastructure.database.pool import Pool, ReadConnection, WriteConnection
from infrastructure.log.codec import AnyEvent
from infrastructure.log.log import (
    Append,
    Appended,
    Histories,
    NewEvent,
    ask_histories,
    new_event,
    read_histories,
)
from infrastructure.log.streams import OF_SKU, Kind, State, kind_of
from infrastructure.queries.related_facts import (
    ReadRelatedFacts,
    RelatedFactsIndex,
    needs_no_related_facts,
    read_no_related_facts,
    related_facts_request,
)

MAX_BATCH = 1_000
COMMITTERS = 2
"""How many batches of a process may be under way at once: while one commits, another loads and decides."""

WORTH_A_BATCH = 10
"""How many intents must wait for a further batch to begin; a batch costs too much for a handful."""

MAX_ATTEMPTS = 5


@dataclass(slots=True)
class _Draft:
    """An order or SKU while a batch is being decided: its history, its state, and what is to be appended."""

    kind: Kind
    history: list[Recorded[Any]]
    state: State
    loaded_version: int
    events: list[NewEvent] = field(default_factory=list)

    def add(self, event: AnyEvent, occurred_at: datetime, now: datetime, metadata: Metadata) -> None:
        version = self.state.version + 1
        recorded = Recorded(event, version, self.state.position, occurred_at, now, metadata)
        self.history.append(recorded)
        self.state = self.kind.evolve(self.state, recorded)
        self.events.append(new_event(event, occurred_at, metadata))


class CommandPath:
    """Takes intents from any task of one event loop and commits them in batches.

    ``render`` makes the answer that is kept for an intent with an idempotency key, before the position is
    known; it comes back untouched when the same key is used again. ``on_commit`` is called after each
    commit that appended something. ``together`` is for databases on one server (``infrastructure.log.log``).
    ``read_related_facts`` reads what lies around the orders of a batch.
    """

    def __init__(
        self,
        pool: Pool,
        book: RuleBook,
        clock: Callable[[], datetime],
        render: Callable[[CommandIntent, Outcome], bytes],
        on_commit: Callable[[], None] = lambda: None,
        together: bool = True,
        read_related_facts: ReadRelatedFacts = read_no_related_facts,
    ) -> None:
        self._pool = pool
        self._book = book
        self._clock = clock
        self._render = render
        self._on_commit = on_commit
        self._together = together
        self._read_related_facts = read_related_facts
        self._queue = Queue()
        self._running_keys: set[tuple[str, str]] = set()
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
        """Answer everything that was accepted, then stop."""
        self._closing = True
        self._wake.set()
        await asyncio.gather(*self._committers)

    async def submit(self, intents: Sequence[Intent]) -> list[Outcome | Exception]:
        """Judge and commit intents; each gets an outcome or the exception that stopped it, in order.

        One with the idempotency key of another before it is that request again, and is answered as one. Raises
        ``Overloaded`` when there is no room for them; then none was taken.
        """
        keys: dict[Key, int] = {}
        same_as = [
            number if (key := _key(intent)) is None else keys.setdefault(key, number)
            for number, intent in enumerate(intents)
        ]
        answers = self._enqueue([intent for number, intent in enumerate(intents) if same_as[number] == number])
        await answers.complete
        given = (answer for answer in answers.given if answer is not None)
        found: list[Outcome | Exception] = []
        for number, intent in enumerate(intents):
            first = same_as[number]
            found.append(
                next(given) if first == number else await self._repeated(intent, intents[first], found[first])
            )
        return found

    async def _repeated(self, intent: Intent, first: Intent, answer: Outcome | Exception) -> Outcome | Exception:
        """What came of an intent with the key of one that was answered."""
        assert not isinstance(intent, SnapshotIntent)
        assert not isinstance(first, SnapshotIntent)
        assert intent.idempotency
        assert first.idempotency
        if isinstance(answer, Exception):
            return answer
        if answer.response is not None:
            kept = StoredReceipt(first.idempotency.fingerprint, answer.response, answer.position)
            return _replayed(intent, kept, self._clock())
        if intent.idempotency.fingerprint == first.idempotency.fingerprint:
            return answer
        (again,) = await self.submit([intent])  # the key was another request's, which may be this one
        return again

    async def submit_one(self, intent: Intent) -> Outcome:
        """Judge and commit one intent; raises what stopped it."""
        answers = self._enqueue([intent])
        await answers.complete
        (answer,) = answers.given
        assert answer
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _enqueue(self, intents: Sequence[Intent]) -> PendingOutcomes:
        """Put intents in the queue. A caller who goes away only cancels the wait: what was taken is finished."""
        if self._closing or not self._queue.has_room(intents):
            raise Overloaded
        answers = PendingOutcomes(len(intents))
        for number, intent in enumerate(intents):
            key = _key(intent)
            if key:
                if key in self._running_keys:
                    answers.give(number, StillRunning())
                    continue
                self._running_keys.add(key)
            self._queue.put(QueuedIntent(intent, answers, number, (intent.shop_id, intent.stream), key))
        self._wake.set()
        return answers

    async def _commit_forever(self) -> None:
        """What each committer does: while there is work, take a connection and commit batch after batch."""
        while await self._has_work():
            try:
                async with self._pool.write() as connection:
                    while batch := self._take():
                        if not await self._commit_batch(connection, batch):
                            break
            except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
                # No connection could be had, or given back; a committer must outlive either.
                if batch := self._take():
                    self._finish(batch, Unavailable(str(error)))

    async def _has_work(self) -> bool:
        """Wait until a batch can be taken; false when everything is answered and no more will come."""
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
        """The batch is over; what has no answer by now gets the error."""
        for entry in batch:
            entry.answers.give(entry.number, error)
        self._running_keys.difference_update([entry.key for entry in batch if entry.key])
        self._queue.finish(batch)
        self._under_way -= 1
        self._wake.set()

    async def _commit_batch(self, connection: WriteConnection, batch: Sequence[QueuedIntent]) -> bool:
        """Answer all of a batch; whether the connection is still good."""
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
        """Something in the batch breaks it; alone, it breaks only itself. What is left has the error returned."""
        for entry in batch:
            try:
                if entry.answers.given[entry.number] is None:
                    await self._try(connection, [entry])
            except (psycopg.OperationalError, psycopg.InterfaceError) as lost:
                return Unavailable(str(lost))
            except Exception as broken:
                entry.answers.give(entry.number, broken)
        return Contended()

    async def _try(self, connection: WriteConnection, batch: Sequence[QueuedIntent]) -> None:
        """Answer a batch in a few attempts; what has no answer then lost the race for its stream every time."""
        left = batch
        for _ in range(MAX_ATTEMPTS):
            if left:
                left = await self._attempt(connection, left)

    async def _attempt(self, connection: WriteConnection, batch: Sequence[QueuedIntent]) -> list[QueuedIntent]:
        """Load, decide, append, answer; what lost a race against another process is returned."""
        now = self._clock()
        keys = [entry.key for entry in batch if entry.key]
        streams = [entry.stream for entry in batch]
        told_before: Mapping[Key, StoredReceipt] = {}
        expired: Sequence[Key] = ()
        if keys:
            async with connection.pipeline():
                receipts_found = await ask_receipts(connection, keys, now)
                histories_read = await ask_histories(connection, streams)
            told_before, expired = await receipts_found()
            drafts = _drafts(await histories_read())
        else:
            drafts = _drafts(await read_histories(connection, streams))
        if expired:
            await free_keys(connection, expired, now)
        about = [
            related_facts_request(entry.intent.shop_id, state, now, entry.intent.command)
            for entry in batch
            if isinstance(entry.intent, OrderCommand) and isinstance(state := drafts[entry.stream].state, Order)
        ]
        related_facts = _Around(
            await _skus(connection, batch, drafts),
            await self._read_related_facts(connection, [each for each in about if each]),
        )
        decided: list[tuple[QueuedIntent, Outcome]] = []
        for entry in batch:
            if entry.key and (kept := told_before.get(entry.key)):
                _answer(entry, _replayed(entry.intent, kept, now))
            else:
                decided.append((entry, self._decide(entry.intent, drafts[entry.stream], now, related_facts)))
        shops: dict[str, list[Append]] = {}
        for (shop_id, stream), draft in drafts.items():
            if draft.events:
                shops.setdefault(shop_id, []).append(Append(stream, draft.loaded_version, draft.events))
        receipts = [
            _receipt(entry.intent, outcome, drafts[entry.stream])
            for entry, outcome in decided
            if outcome.response is not None
        ]
        appended: Mapping[str, Sequence[Appended]] = {}
        if shops or receipts:
            try:
                appended = await append_with_receipts(connection, now, shops, receipts, together=self._together)
            except KeyTaken:
                return [entry for entry, _ in decided]
        settled, lost = _settle(decided, drafts, shops, appended)
        if shops:
            self._on_commit()
        for entry, outcome in settled:
            _answer(entry, outcome)
        return lost

    def _decide(self, intent: Intent, draft: _Draft, now: datetime, related_facts: "_Around") -> Outcome:
        before = len(draft.events)
        refusal = None
        found = NO_RELATED_FACTS
        if isinstance(intent, SnapshotIntent):
            assert isinstance(draft.state, Order)
            snapshot = intent.snapshot
            for seen in observe(draft.state, snapshot, self._book):
                metadata = Metadata(actor=intent.actor, via=snapshot.via, observed=seen.observed)
                draft.add(seen.event, seen.occurred_at, now, metadata)
        elif intent.if_match not in (None, draft.state.version) and _can_be_stale(intent, draft.state):
            detail = f"The {draft.kind.word} is at version {draft.state.version} by now."
            refusal = Refusal("stale_version", detail)
        else:
            found = related_facts.of(intent, draft.state)
            decision, occurred_at = self._judge(intent, draft, now, found)
            if isinstance(decision, Refusal):
                refusal = decision
            else:
                note = intent.command.note if isinstance(intent.command.note, str) else None
                for event in decision:
                    draft.add(event, occurred_at, now, Metadata(actor=intent.actor, note=note))
                    related_facts.learn(intent, event, occurred_at)
        outcome = Outcome(
            draft.state, len(draft.events) - before, draft.state.position, now, refusal, related_facts=found
        )
        if not isinstance(intent, SnapshotIntent) and intent.idempotency:
            return replace(outcome, response=self._render(intent, outcome))
        return outcome

    def _judge(
        self, intent: CommandIntent, draft: _Draft, now: datetime, related_facts: RelatedFacts
    ) -> tuple[Decision | sku_decisions.Decision, datetime]:
        if isinstance(draft.state, Sku):
            return sku_decisions.decide(draft.state, intent.command, now)
        return decide(draft.history, draft.state, intent.command, self._book, now, related_facts)


class _Skus:
    """The SKUs that orders of a batch applied for, or may apply for in it: as they are by then."""

    def __init__(self, loaded: Mapping[tuple[str, str], Sku], drafts: Mapping[tuple[str, str], _Draft]) -> None:
        self._loaded = loaded
        self._drafts = drafts

    def of(self, shop_id: str, sku_id: str) -> Sku:
        stream = (shop_id, OF_SKU.stream(sku_id))
        if (draft := self._drafts.get(stream)) and isinstance(draft.state, Sku):
            return draft.state
        return self._loaded.get(stream) or Sku(sku_id)

    def about(self, shop_id: str, order: Order, command: Command) -> Mapping[str, Sku]:
        names = [sku_id for review in order.reviews for sku_id in order.applied_for(review)]
        if type(command) is RequestStockout:
            names += [line.sku_id for line in order.lines]
        return {sku_id: self.of(shop_id, sku_id) for sku_id in names}


class _Around(NamedTuple):
    """What lies around the orders of a batch."""

    skus: _Skus
    others: RelatedFactsIndex

    def of(self, intent: CommandIntent, state: State) -> RelatedFacts:
        """What lies around an order, and around what the intent may make of it."""
        if not isinstance(state, Order) or needs_no_related_facts(state, intent.command):
            return NO_RELATED_FACTS
        skus = self.skus.about(intent.shop_id, state, intent.command)
        return self.others.facts_of(intent.shop_id, state, intent.command, skus)

    def learn(self, intent: CommandIntent, event: AnyEvent, occurred_at: datetime) -> None:
        if isinstance(intent, OrderCommand):
            self.others.learn(intent.shop_id, intent.order_sn, event, occurred_at)


async def _skus(
    connection: ReadConnection,
    batch: Sequence[QueuedIntent],
    drafts: Mapping[tuple[str, str], _Draft],
) -> _Skus:
    """Few orders ever apply, so for most batches nothing is asked."""
    needed: dict[tuple[str, str], None] = {}
    placed = {
        entry.stream: entry.intent.command.lines
        for entry in batch
        if isinstance(entry.intent, OrderCommand) and type(entry.intent.command) is Place
    }
    for entry in batch:
        state, intent = drafts[entry.stream].state, entry.intent
        if not isinstance(state, Order):
            continue
        if state.reviews:
            names = [sku_id for review in state.reviews for sku_id in state.applied_for(review)]
        elif isinstance(intent, OrderCommand) and type(intent.command) is RequestStockout:
            names = [line.sku_id for line in state.lines or placed.get(entry.stream, ())]
        else:
            continue
        for sku_id in names:
            needed[intent.shop_id, OF_SKU.stream(sku_id)] = None
    missing = [stream for stream in needed if stream not in drafts]
    histories = await read_histories(connection, missing) if missing else {}
    return _Skus(
        {stream: fold_sku(OF_SKU.id_of(stream[1]), history) for stream, history in histories.items()}, drafts
    )


def _drafts(histories: Histories) -> dict[tuple[str, str], _Draft]:
    drafts = {}
    for (shop_id, stream), history in histories.items():
        kind = kind_of(stream)
        state = kind.fold(kind.id_of(stream), history)
        drafts[shop_id, stream] = _Draft(kind, history, state, state.version)
    return drafts


def _can_be_stale(intent: CommandIntent, state: State) -> bool:
    """Whether there is something to have changed; an order that is not there can't be told anything but to be."""
    return state.version > 0 or not isinstance(intent, OrderCommand) or isinstance(intent.command, Place)


def _key(intent: Intent) -> Key | None:
    if isinstance(intent, SnapshotIntent) or not intent.idempotency:
        return None
    return intent.shop_id, intent.idempotency.key


def _receipt(intent: Intent, outcome: Outcome, draft: _Draft) -> Receipt:
    assert not isinstance(intent, SnapshotIntent)
    assert intent.idempotency
    assert outcome.response is not None
    return Receipt(
        intent.shop_id,
        intent.idempotency.key,
        intent.idempotency.fingerprint,
        outcome.response,
        intent.stream if outcome.state.version > draft.loaded_version else None,
        draft.state.version - outcome.state.version,
        outcome.position,
    )


def _replayed(intent: Intent, kept: StoredReceipt, now: datetime) -> Outcome:
    assert not isinstance(intent, SnapshotIntent)
    assert intent.idempotency
    kind = kind_of(intent.stream)
    nothing = kind.fold(kind.id_of(intent.stream), ())
    if kept.fingerprint != intent.idempotency.fingerprint:
        detail = "This idempotency key was used for another request."
        return Outcome(nothing, 0, 0, now, Refusal("idempotency_key_reused", detail))
    return Outcome(nothing, 0, kept.position, now, response=kept.response, replayed=True)


def _settle(
    decided: Sequence[tuple[QueuedIntent, Outcome]],
    drafts: Mapping[tuple[str, str], _Draft],
    shops: Mapping[str, Sequence[Append]],
    appended: Mapping[str, Sequence[Appended]],
) -> tuple[list[tuple[QueuedIntent, Outcome]], list[QueuedIntent]]:
    """What is done, with its real positions, and what lost a race and must be judged again."""
    results = {
        (shop_id, wanted.stream): result
        for shop_id, appends in shops.items()
        for wanted, result in zip(appends, appended[shop_id], strict=True)
    }
    settled = []
    lost = []
    for entry, outcome in decided:
        draft = drafts[entry.stream]
        # What was answered from a stream as it was loaded, before anything of the batch, depends on no append.
        result = results.get(entry.stream) if outcome.state.version > draft.loaded_version else None
        if result is not None and not result.accepted:
            lost.append(entry)
        else:
            settled.append((entry, _placed(outcome, result, draft.loaded_version)))
    return settled, lost


def _placed(outcome: Outcome, appended: Appended | None, loaded_version: int) -> Outcome:
    """The outcome with its real positions: a stream's events of a batch stand together in the log."""
    if appended is None:
        return outcome
    before = appended.position - appended.version
    position = before + outcome.state.version
    state = replace(outcome.state, position=position)
    if isinstance(state, Order) and state.reviews:
        state.reviews = tuple(
            [
                replace(review, position=before + review.version) if review.version > loaded_version else review
                for review in state.reviews
            ]
        )
    return replace(outcome, state=state, position=position)


def _answer(entry: QueuedIntent, outcome: Outcome) -> None:
    entry.answers.give(entry.number, outcome)
