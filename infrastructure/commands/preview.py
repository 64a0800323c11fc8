"""What would come of intents if they were submitted. Nothing is appended.

Intents may come in several calls, such as the batches of a file: later ones know what earlier ones would append.
Memory grows with the events that would be appended, and with nothing else.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import overload

from msgspec.structs import replace

from domain.history import Recorded
from domain.rules.ruleset import RuleBook
from infrastructure.commands.decisions import Decisions, load_related_facts
from infrastructure.commands.drafts import Drafts
from infrastructure.commands.intents import Intent, OrderIntent, OrderOutcome, Outcome, SkuCommand, SkuOutcome
from infrastructure.commands.queue import Stream
from infrastructure.database.pool import Pool, ReadConnection
from infrastructure.log.codec import AnyEvent
from infrastructure.log.log import Histories, read_histories
from infrastructure.log.streams import OF_ORDER
from infrastructure.queries.related_facts import (
    ReadRelatedFacts,
    RelatedFactsIndex,
    RelatedFactsRequest,
    read_no_related_facts,
)


class Preview:
    """Stands in for a ``CommandPath`` and appends nothing. Idempotency keys count for nothing here."""

    def __init__(
        self,
        pool: Pool,
        book: RuleBook,
        clock: Callable[[], datetime],
        read_related_facts: ReadRelatedFacts = read_no_related_facts,
    ) -> None:
        self._pool = pool
        self._book = book
        self._clock = clock
        self._read_related_facts = read_related_facts
        self._drafted: dict[Stream, list[Recorded[AnyEvent]]] = {}
        self._drafted_facts = RelatedFactsIndex()
        self._not_indexed: list[Stream] = []

    @overload
    async def submit(self, intents: Sequence[OrderIntent]) -> Sequence[OrderOutcome]: ...

    @overload
    async def submit(self, intents: Sequence[SkuCommand]) -> Sequence[SkuOutcome]: ...

    @overload
    async def submit(self, intents: Sequence[Intent]) -> Sequence[Outcome]: ...

    async def submit(self, intents: Sequence[Intent]) -> Sequence[Outcome]:
        """The outcomes that these intents would have, in their order. Positions are 0: nothing gets one."""
        addressed = [((intent.shop_id, intent.stream), intent) for intent in intents]
        now = self._clock()
        async with self._pool.read() as connection:
            drafts = Drafts(await self._histories(connection, (stream for stream, _ in addressed)))
            related_facts = await load_related_facts(
                connection, addressed, drafts, now, self._related_facts, self._histories
            )
        decisions = Decisions(self._book, drafts, related_facts, now)
        outcomes = [replace(decisions.decide(stream, intent), position=0) for stream, intent in addressed]
        self._keep(drafts)
        return outcomes

    async def _histories(self, connection: ReadConnection, streams: Iterable[Stream]) -> Histories:
        """The histories in the log, each with the events that this preview would have appended to it."""
        histories = await read_histories(connection, streams)
        for stream in histories.keys() & self._drafted.keys():
            histories[stream] += self._drafted[stream]
        return histories

    async def _related_facts(
        self, connection: ReadConnection, requests: Sequence[RelatedFactsRequest]
    ) -> RelatedFactsIndex:
        """The facts in the log and its views, with those of the events that would have been appended."""
        index = await self._read_related_facts(connection, requests)
        if requests:
            self._index_drafted()
            index.include(self._drafted_facts, requests)
        return index

    def _index_drafted(self) -> None:
        """An export needs no related facts, so they take memory only when something asks for them."""
        for shop_id, name in self._not_indexed:
            for recorded in self._drafted[shop_id, name]:
                self._drafted_facts.add_recorded(shop_id, OF_ORDER.id_of(name), recorded)
        self._not_indexed.clear()

    def _keep(self, drafts: Drafts) -> None:
        for stream, draft in drafts.all.items():
            if draft.drafted:
                self._drafted.setdefault(stream, []).extend(draft.drafted)
                if stream in drafts.orders:
                    self._not_indexed.append(stream)
