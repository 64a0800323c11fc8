"""The queue: room for every shop, turns, and the order of intents for one stream."""

import asyncio
from collections.abc import Callable, Sequence

import pytest

from domain.order import commands as c
from infrastructure.commands import committer, queue
from infrastructure.commands.committer import CommandPath
from infrastructure.commands.intents import (
    Contended,
    Overloaded,
    StillRunning,
)
from infrastructure.commands.queue import PendingOutcomes, Queue, QueuedIntent
from infrastructure.database.pool import Pool
from infrastructure.log.log import ORDER, read_head
from tests.orders import LINE, SHOP, on_database, order_command, order_sn

PLACE = c.Place(lines=(LINE,))


def queued(shop: str, n: int) -> QueuedIntent:
    intent = order_command(order_sn(n), PLACE, shop)
    return QueuedIntent(intent, (shop, intent.stream), None, PendingOutcomes(1), 0)


def in_a_loop(work: Callable[[], None]) -> None:
    async def run() -> None:
        work()

    asyncio.run(run())


def named(entries: Sequence[QueuedIntent]) -> list[tuple[str, str]]:
    return [(entry.intent.shop_id, entry.intent.stream.removeprefix(ORDER)) for entry in entries]


def test_shops_take_turns_within_a_batch() -> None:
    def work() -> None:
        waiting = Queue()
        for shop, n in [("big", 1), ("big", 2), ("big", 3), ("small", 1)]:
            waiting.put(queued(shop, n))
        assert waiting.ready == 4
        assert named(waiting.take(3)) == [("big", order_sn(1)), ("small", order_sn(1)), ("big", order_sn(2))]
        assert (waiting.ready, waiting.size) == (1, 4)

    in_a_loop(work)


def test_a_stream_of_a_batch_under_way_is_busy_until_the_batch_is_done() -> None:
    def work() -> None:
        waiting = Queue()
        first, second, other = queued("a", 1), queued("a", 1), queued("a", 2)
        waiting.put(first)
        batch = waiting.take(10)
        waiting.put(second)
        waiting.put(other)
        assert waiting.ready == 1
        assert waiting.take(10) == [other]
        waiting.finish(batch)
        assert waiting.take(10) == [second]

    in_a_loop(work)


def test_what_does_not_fit_into_a_batch_stays_before_what_comes_later() -> None:
    def work() -> None:
        waiting = Queue()
        entries = [queued("a", 1) for _ in range(4)]
        for entry in entries[:3]:
            waiting.put(entry)
        batch = waiting.take(2)
        waiting.put(entries[3])
        assert batch == entries[:2]
        assert waiting.ready == 0
        waiting.finish(batch)
        assert waiting.take(10) == entries[2:]
        waiting.finish(entries[2:])
        assert (waiting.ready, waiting.size) == (0, 0)

    in_a_loop(work)


def test_a_batch_is_never_larger_than_its_limit() -> None:
    def work() -> None:
        waiting = Queue()
        for entry in (queued("a", 1), queued("b", 1), queued("b", 1), queued("b", 1)):
            waiting.put(entry)
        assert [len(waiting.take(3)), len(waiting.take(3))] == [3, 0]

    in_a_loop(work)


def test_room_is_counted_by_shop_and_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "MAX_WAITING", 4)
    monkeypatch.setattr(queue, "MAX_WAITING_OF_A_SHOP", 2)

    def work() -> None:
        waiting = Queue()

        def has_room(*shops: str) -> bool:
            return waiting.has_room([order_command(order_sn(9), PLACE, shop) for shop in shops])

        assert has_room("a", "a")
        assert not has_room("a", "a", "a")
        entries = [queued("a", 1), queued("a", 2)]
        for entry in entries:
            waiting.put(entry)
        assert not has_room("a")
        assert has_room("b", "b")
        assert not has_room("b", "b", "c")
        waiting.finish(waiting.take(1))
        assert has_room("a", "b", "b")
        assert not has_room("a", "a")

    in_a_loop(work)


def test_ten_thousand_intents_may_wait_and_of_one_shop_half_of_them() -> None:
    def work() -> None:
        a, b, c_ = (order_command(order_sn(1), PLACE, shop) for shop in "abc")
        waiting = Queue()
        assert waiting.has_room([a] * 5_000)
        assert not waiting.has_room([a] * 5_001)
        assert waiting.has_room([a] * 5_000 + [b] * 5_000)
        assert not waiting.has_room([a] * 5_000 + [b] * 4_999 + [c_] * 2)

    in_a_loop(work)


def test_what_is_under_way_takes_room_until_it_is_finished() -> None:
    def work() -> None:
        waiting = Queue()
        for n in (1, 2):
            waiting.put(queued("a", n))
        assert len(waiting.take(1)) == 1
        waiting.finish(batch := waiting.take(1))
        assert (len(batch), waiting.ready, waiting.size) == (1, 0, 1)

    in_a_loop(work)


def test_an_outcome_that_was_set_stays() -> None:
    async def run() -> None:
        pending = PendingOutcomes(2)
        pending.set(1, Overloaded())
        pending.set(1, Contended())
        assert (pending.is_set(0), pending.is_set(1)) == (False, True)
        waiting = asyncio.create_task(pending.all())
        await asyncio.sleep(0)
        assert not waiting.done()
        pending.set(0, StillRunning())
        assert [type(outcome) for outcome in await waiting] == [StillRunning, Overloaded]
        assert await PendingOutcomes(0).all() == []

    asyncio.run(run())


def test_a_full_queue_takes_nothing_and_says_so(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        monkeypatch.setattr(queue, "MAX_WAITING", 2)
        with pytest.raises(Overloaded):
            await path.submit([order_command(order_sn(n), c.Place(lines=(LINE,))) for n in range(3)])
        async with pool.connection() as connection:
            assert await read_head(connection, SHOP) == 0

    on_database(database_url, work)


def test_one_shop_may_not_fill_the_queue_of_all(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        monkeypatch.setattr(queue, "MAX_WAITING", 6)
        monkeypatch.setattr(queue, "MAX_WAITING_OF_A_SHOP", 3)
        place = c.Place(lines=(LINE,))
        flood = asyncio.gather(*(path.submit_one(order_command(order_sn(n), place)) for n in range(3)))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await path.submit_one(order_command(order_sn(3), place))
        other = await path.submit_one(order_command(order_sn(0), place, "other"))
        assert other.position == 1
        assert sorted(outcome.position for outcome in await flood) == [1, 2, 3]
        assert (await path.submit_one(order_command(order_sn(3), place))).position == 4

    on_database(database_url, work)


def test_shops_take_turns(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shop with one command is served among the first of a shop with a hundred, not behind them."""

    async def work(pool: Pool, path: CommandPath) -> None:
        monkeypatch.setattr(committer, "MAX_BATCH", 4)
        place = c.Place(lines=(LINE,))
        taken: list[list[str]] = []
        take = Queue.take

        def watched(queue: Queue, most: int) -> list[QueuedIntent]:
            batch = take(queue, most)
            taken.append([entry.intent.shop_id for entry in batch])
            return batch

        monkeypatch.setattr(Queue, "take", watched)
        commands = [order_command(order_sn(n), place, "big") for n in range(100)]
        commands.append(order_command(order_sn(0), place, "small"))
        await asyncio.gather(*map(path.submit_one, commands))
        assert sum(map(len, taken)) == 101
        assert "small" in [shop for batch in taken[: committer.COMMITTERS + 1] for shop in batch]

    on_database(database_url, work)
