"""The intents that wait to be committed, by stream; shops take turns."""

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


class PendingOutcomes:
    """What a caller waits for: an answer to each of its intents, and the moment all are there."""

    def __init__(self, count: int) -> None:
        self.given: list[Outcome | Exception | None] = [None] * count
        self._left = count
        self.complete: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not count:
            self.complete.set_result(None)

    def give(self, number: int, answer: Outcome | Exception) -> None:
        if self.given[number] is not None:
            return
        self.given[number] = answer
        self._left -= 1
        # A caller who went away has cancelled it.
        if not self._left and not self.complete.done():
            self.complete.set_result(None)


@dataclass(slots=True)
class QueuedIntent:
    intent: Intent
    answers: PendingOutcomes
    number: int
    stream: tuple[str, str]
    key: Key | None


class Queue:
    """What waits, by stream: shops take turns, and the intents for an order or SKU are judged as they came.

    A stream of a batch that is under way is busy; what comes for it meanwhile waits until the batch is done.
    """

    def __init__(self) -> None:
        self._ready: OrderedDict[str, OrderedDict[tuple[str, str], list[QueuedIntent]]] = OrderedDict()
        self._busy: dict[tuple[str, str], list[QueuedIntent]] = {}
        self._of_shop: Counter[str] = Counter()
        self.ready = 0
        self.size = 0

    def has_room(self, intents: Sequence[Intent]) -> bool:
        if self.size + len(intents) > MAX_WAITING:
            return False
        if self.size + len(intents) <= MAX_WAITING_OF_A_SHOP:
            return True
        asked = Counter(intent.shop_id for intent in intents)
        return all(self._of_shop[shop_id] + count <= MAX_WAITING_OF_A_SHOP for shop_id, count in asked.items())

    def put(self, entry: QueuedIntent) -> None:
        self.size += 1
        self._of_shop[entry.intent.shop_id] += 1
        if (busy := self._busy.get(entry.stream)) is not None:
            busy.append(entry)
        else:
            self._put_ready(entry.stream, [entry])

    def _put_ready(self, stream: tuple[str, str], entries: list[QueuedIntent]) -> None:
        self.ready += len(entries)
        streams = self._ready.get(stream[0])
        if streams is None:
            streams = self._ready[stream[0]] = OrderedDict()
        streams.setdefault(stream, []).extend(entries)

    def take(self, limit: int) -> list[QueuedIntent]:
        """Up to ``limit`` intents; their streams are busy until ``finish`` is called with them."""
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
