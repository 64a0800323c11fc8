"""The intents that wait to be committed, by stream. Shops take turns."""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from infrastructure.commands.intents import Intent, Outcome
from infrastructure.commands.receipts import Key

MAX_WAITING = 10_000
"""Intents that may wait for the committer before callers are told to come back later."""

MAX_WAITING_OF_A_SHOP = MAX_WAITING // 2
"""How many of those may be one shop's, so that a flood in one shop leaves room for the others."""

Stream = tuple[str, str]
"""A shop's id and the name of a stream in its log."""


class PendingOutcomes:
    """The outcomes that one caller waits for. An outcome that was set stays as it is."""

    def __init__(self, count: int) -> None:
        self._outcomes: list[Outcome | Exception | None] = [None] * count
        self._missing = count
        self._complete: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not count:
            self._complete.set_result(None)

    def set(self, number: int, outcome: Outcome | Exception) -> None:
        if self._outcomes[number] is not None:
            return
        self._outcomes[number] = outcome
        self._missing -= 1
        # A caller who went away has cancelled the future.
        if not self._missing and not self._complete.done():
            self._complete.set_result(None)

    def is_set(self, number: int) -> bool:
        return self._outcomes[number] is not None

    async def all(self) -> list[Outcome | Exception]:
        """Wait until every outcome is set; they come in the order of the intents."""
        await self._complete
        return [outcome for outcome in self._outcomes if outcome is not None]


@dataclass(slots=True)
class QueuedIntent:
    """An intent that waits, and where its outcome goes."""

    intent: Intent
    stream: Stream
    key: Key | None
    pending: PendingOutcomes
    number: int

    def settle(self, outcome: Outcome | Exception) -> None:
        """Give the caller the outcome, unless there is one already."""
        self.pending.set(self.number, outcome)

    @property
    def is_settled(self) -> bool:
        return self.pending.is_set(self.number)


class Queue:
    """Intents by stream. Shops take turns, and the intents for one stream are decided in the order they came.

    A stream of a batch that is under way is busy. What comes for it meanwhile waits until the batch is done.
    """

    def __init__(self) -> None:
        self._ready: OrderedDict[str, OrderedDict[Stream, list[QueuedIntent]]] = OrderedDict()
        self._busy: dict[Stream, list[QueuedIntent]] = {}
        self._of_shop: Counter[str] = Counter()
        self.ready = 0
        self.size = 0

    def has_room(self, intents: Sequence[Intent]) -> bool:
        if self.size + len(intents) > MAX_WAITING:
            return False
        if self.size + len(intents) <= MAX_WAITING_OF_A_SHOP:
            return True
        of_shop = Counter(intent.shop_id for intent in intents)
        return all(self._of_shop[shop_id] + count <= MAX_WAITING_OF_A_SHOP for shop_id, count in of_shop.items())

    def put(self, entry: QueuedIntent) -> None:
        self.size += 1
        self._of_shop[entry.intent.shop_id] += 1
        if (busy := self._busy.get(entry.stream)) is not None:
            busy.append(entry)
        else:
            self._put_ready(entry.stream, [entry])

    def _put_ready(self, stream: Stream, entries: list[QueuedIntent]) -> None:
        self.ready += len(entries)
        streams = self._ready.get(stream[0])
        if streams is None:
            streams = self._ready[stream[0]] = OrderedDict()
        streams.setdefault(stream, []).extend(entries)

    def take(self, limit: int) -> list[QueuedIntent]:
        """Up to ``limit`` intents. Their streams are busy until ``finish`` is called with them."""
        taken: list[QueuedIntent] = []
        while self._ready and len(taken) < limit:
            shop_id, streams = self._ready.popitem(last=False)
            stream, entries = streams.popitem(last=False)
            if streams:
                self._ready[shop_id] = streams
            room = limit - len(taken)
            taken += entries[:room]
            self._busy[stream] = entries[room:]
            self.ready -= len(entries)
        return taken

    def finish(self, batch: Sequence[QueuedIntent]) -> None:
        self.size -= len(batch)
        for entry in batch:
            shop_id = entry.intent.shop_id
            self._of_shop[shop_id] -= 1
            if not self._of_shop[shop_id]:
                del self._of_shop[shop_id]
            if came_meanwhile := self._busy.pop(entry.stream, None):
                self._put_ready(entry.stream, came_meanwhile)
