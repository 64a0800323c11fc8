"""One attempt to commit a batch of intents: load, decide, append, settle.

Deciding needs no database. ``infrastructure.commands.preview`` decides in the same way and appends nothing.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Generic, Self

from msgspec.structs import replace

from domain.history import Metadata, Recorded, Via
from domain.kernel import Refusal
from domain.order.commands import OrderedLine, Place
from domain.order.decisions.table import decide
from domain.order.events import OrderEvent
from domain.order.observations import observe
from domain.order.state import Order
from domain.order.warnings import NO_RELATED_FACTS, RelatedFacts
from domain.rules.ruleset import RuleBook
from domain.sku import decisions as sku_decisions
from domain.sku.events import SkuEvent
from domain.sku.state import Sku
from infrastructure.commands.intents import (
    CommandIntent,
    Intent,
    OrderCommand,
    OrderOutcome,
    Outcome,
    SkuCommand,
    SkuOutcome,
    SnapshotIntent,
    key_reused,
    replay,
)
from infrastructure.commands.queue import QueuedIntent, Stream
from infrastructure.commands.receipts import (
    NO_RECEIPTS,
    FoundReceipts,
    KeyTaken,
    Receipt,
    StoredReceipt,
    append_with_receipts,
    ask_receipts,
    free_keys,
)
from infrastructure.database.pool import ReadConnection, WriteConnection
from infrastructure.log.log import (
    Append,
    Appended,
    Histories,
    NewEvent,
    append,
    ask_histories,
    new_event,
    read_histories,
)
from infrastructure.log.streams import OF_ORDER, OF_SKU, E, Kind, S
from infrastructure.queries.related_facts import (
    ReadRelatedFacts,
    RelatedFactsIndex,
    RelatedFactsRequest,
    needs_no_related_facts,
    related_facts_request,
    related_sku_ids,
)

ReadHistories = Callable[[ReadConnection, Iterable[Stream]], Awaitable[Histories]]
Render = Callable[[CommandIntent, Outcome], bytes]

Decided = tuple[QueuedIntent, Outcome]
"""An intent of a batch, and what comes of it if its stream can be appended to."""


class Attempt:
    """Attempts batch after batch. What the parameters mean stands at ``CommandPath``."""

    def __init__(
        self,
        book: RuleBook,
        clock: Callable[[], datetime],
        render: Render,
        on_commit: Callable[[], None],
        together: bool,
        read_related_facts: ReadRelatedFacts,
    ) -> None:
        self._book = book
        self._clock = clock
        self._render = render
        self._on_commit = on_commit
        self._together = together
        self._read_related_facts = read_related_facts

    async def __call__(self, connection: WriteConnection, batch: Sequence[QueuedIntent]) -> list[QueuedIntent]:
        """Settle the intents of a batch. The ones returned lost a race against another process."""
        now = self._clock()
        addressed = [(entry.stream, entry.intent) for entry in batch]
        receipts, drafts = await _load(connection, batch, now)
        if receipts.expired:
            await free_keys(connection, receipts.expired, now)
        related_facts = await load_related_facts(
            connection, addressed, drafts, now, self._read_related_facts, read_histories
        )
        decisions = Decisions(self._book, drafts, related_facts, now)
        decided = self._decide_or_replay(batch, receipts.valid, decisions, now)
        try:
            appended = await self._append(connection, decided, drafts, now)
        except KeyTaken:
            return [entry for entry, _ in decided]
        if appended:
            self._on_commit()
        return _settle(decided, drafts, appended)

    def _decide_or_replay(
        self,
        batch: Sequence[QueuedIntent],
        receipts: Mapping[tuple[str, str], StoredReceipt],
        decisions: "Decisions",
        now: datetime,
    ) -> list[Decided]:
        """Settle what was answered before, and decide the rest."""
        decided: list[Decided] = []
        for entry in batch:
            if entry.key and (receipt := receipts.get(entry.key)):
                entry.settle(_replay(entry.intent, receipt, now))
            else:
                outcome = decisions.decide(entry.stream, entry.intent)
                decided.append((entry, self._with_response(entry.intent, outcome)))
        return decided

    def _with_response(self, intent: Intent, outcome: Outcome) -> Outcome:
        """An intent with a key is answered before its position is known, because the receipt commits with it."""
        if isinstance(intent, SnapshotIntent) or not intent.idempotency:
            return outcome
        return replace(outcome, response=self._render(intent, outcome))

    async def _append(
        self, connection: WriteConnection, decided: Sequence[Decided], drafts: "Drafts", now: datetime
    ) -> Mapping[Stream, Appended]:
        """Append what was drafted, with the receipts. Raises ``KeyTaken`` when another process won a key."""
        shops: dict[str, list[Append]] = {}
        for (shop_id, stream), draft in drafts.all.items():
            if draft.drafted:
                shops.setdefault(shop_id, []).append(Append(stream, draft.loaded_version, draft.new_events()))
        receipts = list(_receipts(decided, drafts))
        if not shops and not receipts:
            return {}
        if receipts:
            appended = await append_with_receipts(connection, now, shops, receipts, together=self._together)
        else:
            appended = await append(connection, now, shops, together=self._together)
        return {
            (shop_id, stream_append.stream): result
            for shop_id, appends in shops.items()
            for stream_append, result in zip(appends, appended[shop_id], strict=True)
        }


async def _load(
    connection: ReadConnection, batch: Sequence[QueuedIntent], now: datetime
) -> "tuple[FoundReceipts, Drafts]":
    """The receipts of a batch's keys and the histories of its streams, in one round trip."""
    streams = [entry.stream for entry in batch]
    keys = [entry.key for entry in batch if entry.key]
    if not keys:
        return NO_RECEIPTS, Drafts(await read_histories(connection, streams))
    async with connection.pipeline():
        receipts = await ask_receipts(connection, keys, now)
        histories = await ask_histories(connection, streams)
    return await receipts(), Drafts(await histories())


def _replay(intent: Intent, receipt: StoredReceipt, now: datetime) -> Outcome:
    if intent.idempotency and receipt.fingerprint == intent.idempotency.fingerprint:
        return replay(intent, receipt.response, receipt.position, now)
    return key_reused(intent, now)


def _receipts(decided: Iterable[Decided], drafts: "Drafts") -> Iterator[Receipt]:
    for entry, outcome in decided:
        if (idempotency := entry.intent.idempotency) and outcome.response is not None:
            draft = drafts.all[entry.stream]
            yield Receipt(
                entry.intent.shop_id,
                idempotency.key,
                idempotency.fingerprint,
                outcome.response,
                entry.intent.stream if outcome.state.version > draft.loaded_version else None,
                draft.state.version - outcome.state.version,
                outcome.position,
            )


def _settle(
    decided: Sequence[Decided], drafts: "Drafts", appended: Mapping[Stream, Appended]
) -> list[QueuedIntent]:
    """Settle what is in the log now. The ones returned lost the race for their stream."""
    lost = []
    for entry, outcome in decided:
        result = appended.get(entry.stream)
        if result is None or outcome.state.version == drafts.all[entry.stream].loaded_version:
            # It was decided by the stream as it was loaded, so it depends on no append.
            entry.settle(outcome)
        elif result.accepted:
            # A stream's events of one batch stand together in the log.
            position = result.position - (result.version - outcome.state.version)
            entry.settle(replace(outcome, position=position))
        else:
            lost.append(entry)
    return lost


# ---- drafts ----------------------------------------------------------------------------------------


@dataclass(slots=True)
class Draft(Generic[S, E]):
    """An order or SKU while a batch is being decided. ``drafted`` are the events to append.

    A drafted event has position 0 until it is in the log, and so has the state that it leads to.
    """

    kind: Kind[S, E]
    history: list[Recorded[E]]
    state: S
    loaded_version: int
    drafted: list[Recorded[E]] = field(default_factory=list)

    @classmethod
    def of(cls, kind: Kind[S, E], stream: str, history: list[Recorded[E]]) -> Self:
        state = kind.fold(kind.id_of(stream), history)
        return cls(kind, history, state, state.version)

    def add(self, events: Sequence[E], occurred_at: datetime, now: datetime, metadata: Metadata) -> None:
        for event in events:
            recorded = Recorded(event, self.state.version + 1, 0, occurred_at, now, metadata)
            self.history.append(recorded)
            self.drafted.append(recorded)
            self.state = self.kind.evolve(self.state, recorded)

    def refusal_if_stale(self, if_match: int | None) -> Refusal | None:
        if if_match is None or if_match == self.state.version:
            return None
        return Refusal("stale_version", f"The {self.kind.word} is at version {self.state.version} by now.")

    def new_events(self) -> Sequence[NewEvent]:
        return [new_event(recorded.event, recorded.occurred_at, recorded.metadata) for recorded in self.drafted]


OrderDraft = Draft[Order, OrderEvent]
SkuDraft = Draft[Sku, SkuEvent]


class Drafts:
    """The orders and SKUs of a batch, by stream."""

    def __init__(self, histories: Histories) -> None:
        self.orders: dict[Stream, OrderDraft] = {}
        self.skus: dict[Stream, SkuDraft] = {}
        self.all: dict[Stream, OrderDraft | SkuDraft] = {}
        for stream, history in histories.items():
            if stream[1].startswith(OF_SKU.prefix):
                self.all[stream] = self.skus[stream] = SkuDraft.of(OF_SKU, stream[1], history)
            else:
                self.all[stream] = self.orders[stream] = OrderDraft.of(OF_ORDER, stream[1], history)


# ---- decisions -------------------------------------------------------------------------------------


class Decisions:
    """Decides the intents of a batch one after another. Each sees what those before it would append."""

    def __init__(self, book: RuleBook, drafts: Drafts, related_facts: "BatchFacts", now: datetime) -> None:
        self._book = book
        self._drafts = drafts
        self._related_facts = related_facts
        self._now = now

    def decide(self, stream: Stream, intent: Intent) -> Outcome:
        """Add the events of an intent to its draft; a refused one adds none."""
        if isinstance(intent, OrderCommand):
            return self._decide_order(intent, self._drafts.orders[stream])
        if isinstance(intent, SkuCommand):
            return self._decide_sku(intent, self._drafts.skus[stream])
        return self._observe(intent, self._drafts.orders[stream])

    def _decide_order(self, intent: OrderCommand, draft: OrderDraft) -> OrderOutcome:
        before = draft.state.version
        related_facts = NO_RELATED_FACTS
        # If-Match needs an existing stream; a missing order accepts only place.
        compares = before > 0 or isinstance(intent.command, Place)
        refusal = draft.refusal_if_stale(intent.if_match) if compares else None
        if refusal is None:
            related_facts = self._related_facts.of(intent, draft.state)
            decision, occurred_at = decide(
                draft.history, draft.state, intent.command, self._book, self._now, related_facts
            )
            if isinstance(decision, Refusal):
                refusal = decision
            else:
                draft.add(decision, occurred_at, self._now, _metadata(intent))
                self._related_facts.add(intent, decision, occurred_at)
        return OrderOutcome(
            draft.state,
            draft.state.version - before,
            draft.state.position,
            self._now,
            refusal,
            related_facts=related_facts,
        )

    def _decide_sku(self, intent: SkuCommand, draft: SkuDraft) -> SkuOutcome:
        before = draft.state.version
        refusal = draft.refusal_if_stale(intent.if_match)
        if refusal is None:
            decision, occurred_at = sku_decisions.decide(draft.state, intent.command, self._now)
            if isinstance(decision, Refusal):
                refusal = decision
            else:
                draft.add(decision, occurred_at, self._now, _metadata(intent))
        return SkuOutcome(draft.state, draft.state.version - before, draft.state.position, self._now, refusal)

    def _observe(self, intent: SnapshotIntent, draft: OrderDraft) -> OrderOutcome:
        before = draft.state.version
        snapshot = intent.snapshot
        for observation in observe(draft.state, snapshot, self._book):
            metadata = _observation_metadata(intent.actor, snapshot.via, observation.observed)
            draft.add((observation.event,), observation.occurred_at, self._now, metadata)
        return OrderOutcome(draft.state, draft.state.version - before, draft.state.position, self._now)


@lru_cache(maxsize=100)
def _observation_metadata(actor: str, via: Via, observed: bool) -> Metadata:
    """All rows of an export share a few, because a preview holds the events of all of them."""
    return Metadata(actor=actor, via=via, observed=observed)


def _metadata(intent: CommandIntent) -> Metadata:
    note = intent.command.note
    return Metadata(actor=intent.actor, note=note if isinstance(note, str) else None)


# ---- related facts ---------------------------------------------------------------------------------


class BatchFacts:
    """The facts of other streams that a batch's decisions need: what was read, and what the batch adds."""

    def __init__(self, index: RelatedFactsIndex, skus: Mapping[Stream, Sku], drafts: Drafts) -> None:
        self._index = index
        self._skus = skus
        self._drafts = drafts

    def of(self, intent: OrderCommand, order: Order) -> RelatedFacts:
        if needs_no_related_facts(order, intent.command):
            return NO_RELATED_FACTS
        skus = {
            sku_id: self._sku(intent.shop_id, sku_id)
            for sku_id in related_sku_ids(order, intent.command, order.lines)
        }
        return self._index.facts_of(intent.shop_id, order, intent.command, skus)

    def add(self, intent: OrderCommand, events: Iterable[OrderEvent], occurred_at: datetime) -> None:
        for event in events:
            self._index.add(intent.shop_id, intent.order_sn, event, occurred_at)

    def _sku(self, shop_id: str, sku_id: str) -> Sku:
        stream = (shop_id, OF_SKU.stream(sku_id))
        if draft := self._drafts.skus.get(stream):
            return draft.state
        return self._skus.get(stream) or Sku(sku_id)


async def load_related_facts(
    connection: ReadConnection,
    intents: Iterable[tuple[Stream, Intent]],
    drafts: Drafts,
    now: datetime,
    read_related_facts: ReadRelatedFacts,
    read_histories: ReadHistories,
) -> BatchFacts:
    """Read what the decisions about a batch's orders need of other streams. Most need nothing."""
    requests: list[RelatedFactsRequest] = []
    sku_streams: dict[Stream, None] = {}
    placed: dict[Stream, Sequence[OrderedLine]] = {}
    for stream, intent in intents:
        if not isinstance(intent, OrderCommand):
            continue
        order, command = drafts.orders[stream].state, intent.command
        if type(command) is Place:
            placed[stream] = command.lines
        if needs_no_related_facts(order, command):
            continue
        if request := related_facts_request(intent.shop_id, order, now, command):
            requests.append(request)
        for sku_id in related_sku_ids(order, command, order.lines or placed.get(stream, ())):
            sku_streams[intent.shop_id, OF_SKU.stream(sku_id)] = None
    missing = [stream for stream in sku_streams if stream not in drafts.skus]
    histories = await read_histories(connection, missing) if missing else {}
    skus = {stream: OF_SKU.fold(OF_SKU.id_of(stream[1]), history) for stream, history in histories.items()}
    return BatchFacts(await read_related_facts(connection, requests), skus, drafts)
