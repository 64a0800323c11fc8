"""Decides the intents of a batch, in memory. An attempt appends what was decided, a preview appends nothing."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache

from domain.history import Metadata, Via
from domain.kernel import Refusal
from domain.order.commands import OrderedLine, Place
from domain.order.decisions.table import decide
from domain.order.events import OrderEvent
from domain.order.observations import observe
from domain.order.state import Order
from domain.order.warnings import NO_RELATED_FACTS, RelatedFacts
from domain.rules.ruleset import RuleBook
from domain.sku import decisions as sku_decisions
from domain.sku.state import Sku
from infrastructure.commands.drafts import Drafts, OrderDraft, SkuDraft
from infrastructure.commands.intents import (
    CommandIntent,
    Intent,
    OrderCommand,
    OrderOutcome,
    Outcome,
    SkuCommand,
    SkuOutcome,
    SnapshotIntent,
)
from infrastructure.commands.queue import Stream
from infrastructure.database.pool import ReadConnection
from infrastructure.log.log import Histories
from infrastructure.log.streams import OF_SKU
from infrastructure.queries.related_facts import (
    ReadRelatedFacts,
    RelatedFactsIndex,
    RelatedFactsRequest,
    needs_no_related_facts,
    related_facts_request,
    related_sku_ids,
)

ReadHistories = Callable[[ReadConnection, Iterable[Stream]], Awaitable[Histories]]


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


class Decisions:
    """Decides the intents of a batch one after another. Each sees what those before it would append."""

    def __init__(self, book: RuleBook, drafts: Drafts, related_facts: BatchFacts, now: datetime) -> None:
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
            metadata = _observation_metadata(intent.actor, snapshot.via, observation.observed, observation.within)
            draft.add((observation.event,), observation.occurred_at, self._now, metadata)
        return OrderOutcome(draft.state, draft.state.version - before, draft.state.position, self._now)


@lru_cache(maxsize=100)
def _observation_metadata(actor: str, via: Via, observed: bool, within: int) -> Metadata:
    """All rows of an export share a few, because a preview holds the events of all of them."""
    return Metadata(actor=actor, via=via, observed=observed, within=within)


def _metadata(intent: CommandIntent) -> Metadata:
    note = intent.command.note
    return Metadata(
        actor=intent.actor,
        note=note if isinstance(note, str) else None,
        credential=intent.credential,
        on_behalf_of=intent.on_behalf_of,
    )
