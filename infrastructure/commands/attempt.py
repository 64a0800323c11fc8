"""One attempt to commit a batch of intents: load, decide, append, settle."""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

from msgspec.structs import replace

from domain.order.commands import RequestStockout
from domain.rules.ruleset import RuleBook
from infrastructure.commands.decisions import Decisions, load_related_facts
from infrastructure.commands.drafts import Drafts
from infrastructure.commands.intents import CommandIntent, Intent, OrderCommand, Outcome, SnapshotIntent
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
    key_reused,
    replay,
)
from infrastructure.database.pool import ReadConnection, WriteConnection
from infrastructure.log.columns import Texts
from infrastructure.log.log import Append, Appended, append, ask_histories, read_histories
from infrastructure.queries.related_facts import ReadRelatedFacts

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
        try:
            async with _in_turn(connection, _shops_of_applications(batch)):
                decided, drafts, appended = await self._commit(connection, batch)
        except KeyTaken:
            return [entry for entry in batch if not entry.is_settled]
        if appended:
            self._on_commit()
        return _settle(decided, drafts, appended)

    async def _commit(
        self, connection: WriteConnection, batch: Sequence[QueuedIntent]
    ) -> tuple[Sequence[Decided], Drafts, Mapping[Stream, Appended]]:
        """Decide a batch and append what comes of it. Raises ``KeyTaken`` when another process won a key."""
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
        return decided, drafts, await self._append(connection, decided, drafts, now)

    def _decide_or_replay(
        self,
        batch: Sequence[QueuedIntent],
        receipts: Mapping[tuple[str, str], StoredReceipt],
        decisions: Decisions,
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
        self, connection: WriteConnection, decided: Sequence[Decided], drafts: Drafts, now: datetime
    ) -> Mapping[Stream, Appended]:
        """Append what was drafted, with the receipts. Raises ``KeyTaken``."""
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


_TAKE_TURN = """
SELECT pg_advisory_xact_lock(hashtextextended('stockout applications of ' || shop_id, 0))
FROM unnest(%b) AS w(shop_id)
"""


def _shops_of_applications(batch: Sequence[QueuedIntent]) -> list[str]:
    return sorted(
        {
            entry.intent.shop_id
            for entry in batch
            if isinstance(entry.intent, OrderCommand) and isinstance(entry.intent.command, RequestStockout)
        }
    )


@asynccontextmanager
async def _in_turn(connection: WriteConnection, shop_ids: Sequence[str]) -> AsyncIterator[None]:
    """A transaction in which no other batch applies for stockout in these shops; without shops no transaction.

    The day's limit of applications depends on those that others file (``domain.order.warnings``). So who applies
    waits until the one before is in the log. Shops are locked in the order of their ids.
    """
    if not shop_ids:
        yield
        return
    async with connection.transaction():
        await connection.execute(_TAKE_TURN, (Texts(shop_ids),), binary=True)
        yield


async def _load(
    connection: ReadConnection, batch: Sequence[QueuedIntent], now: datetime
) -> tuple[FoundReceipts, Drafts]:
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


def _receipts(decided: Iterable[Decided], drafts: Drafts) -> Iterator[Receipt]:
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


def _settle(decided: Sequence[Decided], drafts: Drafts, appended: Mapping[Stream, Appended]) -> list[QueuedIntent]:
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
