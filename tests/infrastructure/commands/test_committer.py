"""The one door: batches, repeated keys, callers that go away, and a database that does."""

import asyncio
import json
from collections.abc import Sequence
from typing import NoReturn

import psycopg
import pytest
from psycopg_pool import PoolTimeout

from domain.order import commands as c
from domain.order.decisions.table import decide
from domain.sku import commands as s
from infrastructure.commands import committer, decisions
from infrastructure.commands.committer import CommandPath
from infrastructure.commands.intents import (
    IdempotencyKey,
    Outcome,
    Overloaded,
    SkuCommand,
    StillRunning,
    Unavailable,
)
from infrastructure.commands.queue import QueuedIntent
from infrastructure.database.pool import Pool, WriteConnection
from infrastructure.log.log import ORDER, read_stream
from tests.infrastructure.commands.keyed import CONTACT, SHIP, keyed, types
from tests.orders import LINE, SHOP, done, on_database, order_command, order_sn, path_on, placed_and_formed


def test_one_key_twice_in_a_batch_runs_once(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 1)
        first, second, third = await path.submit(
            [keyed(CONTACT), keyed(CONTACT), keyed(CONTACT, fingerprint=b"other")]
        )
        assert isinstance(first, Outcome)
        assert isinstance(second, Outcome)
        assert isinstance(third, Outcome)
        assert (second.response, second.position, second.replayed) == (b"response", first.position, True)
        assert third.refusal is not None
        assert third.refusal.code == "idempotency_key_reused"
        assert (await types(pool)).count("BuyerContacted") == 1
        assert (await path.submit_one(keyed(CONTACT))).response == b"response"
        reused = await path.submit_one(keyed(CONTACT, fingerprint=b"other"))
        assert reused.refusal is not None
        assert reused.refusal.code == "idempotency_key_reused"
        assert reused.events == 0

    on_database(database_url, work)


def test_a_key_that_was_another_requests_is_looked_up_for_each_that_has_it(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 1)
        await path.submit_one(keyed(CONTACT))
        other, same = await path.submit([keyed(CONTACT, fingerprint=b"other"), keyed(CONTACT)])
        assert isinstance(other, Outcome)
        assert isinstance(same, Outcome)
        assert other.refusal is not None
        assert (same.response, same.replayed) == (b"response", True)

    on_database(database_url, work)


def test_a_key_of_a_sku_that_was_another_requests_changes_nothing(database_url: str) -> None:
    def counting(pieces: int, fingerprint: bytes) -> SkuCommand:
        count = s.CountStock(on_hand=pieces)
        return SkuCommand(SHOP, "52000301", count, "test", idempotency=IdempotencyKey("k", fingerprint))

    async def work(pool: Pool, path: CommandPath) -> None:
        first = await path.submit_one(counting(4, b"one"))
        reused = await path.submit_one(counting(5, b"other"))
        again = await path.submit_one(counting(4, b"one"))
        assert reused.refusal is not None
        assert reused.refusal.code == "idempotency_key_reused"
        assert (first.events, reused.events, again.events) == (1, 0, 0)
        assert reused.position == 0
        assert (again.position, again.replayed) == (first.position, True)

    on_database(database_url, work)


def test_a_key_is_not_answered_while_its_request_runs(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 1)
        running = asyncio.create_task(path.submit_one(keyed(CONTACT)))
        await asyncio.sleep(0)
        with pytest.raises(StillRunning):
            await path.submit_one(keyed(CONTACT))
        assert not (await running).replayed

    on_database(database_url, work)


@pytest.mark.parametrize("after", [0, 1])
def test_a_command_that_breaks_its_batch_breaks_only_itself(
    database_url: str, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)

        def broken(history, order, *arguments):  # type: ignore[no-untyped-def]
            if order.order_sn == order_sn(1):
                raise ZeroDivisionError
            return decide(history, order, *arguments)

        monkeypatch.setattr(decisions, "decide", broken)
        outcomes = await path.submit([order_command(order_sn(n), SHIP) for n in range(2 + after)])
        assert [type(outcome).__name__ for outcome in outcomes] == [
            "OrderOutcome",
            "ZeroDivisionError",
            *["OrderOutcome"] * after,
        ]
        assert await types(pool, 2 * after) == ["OrderPlaced", "GroupFormed", "TrackingUploaded"]
        assert await types(pool, 1) == ["OrderPlaced", "GroupFormed"]

    on_database(database_url, work)


def test_a_batch_behind_one_that_lost_its_connection_gets_another(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = CommandPath._try
    connections: list[WriteConnection] = []

    async def lose_the_first(self: CommandPath, connection: WriteConnection, batch: Sequence[QueuedIntent]) -> None:
        connections.append(connection)
        if len(connections) == 1:
            await connection.close()
            raise psycopg.OperationalError("the connection is lost")
        await attempt(self, connection, batch)

    async def work(pool: Pool, _: CommandPath) -> None:
        monkeypatch.setattr(committer, "COMMITTERS", 1)
        monkeypatch.setattr(committer, "MAX_BATCH", 1)
        monkeypatch.setattr(CommandPath, "_try", lose_the_first)
        async with path_on(pool) as path:
            lost, *others = await path.submit(
                [order_command(order_sn(n), c.Place(lines=(LINE,))) for n in range(3)]
            )
        assert isinstance(lost, Unavailable)
        assert [isinstance(other, Outcome) for other in others] == [True, True]
        assert len({id(connection) for connection in connections}) == 2, "a good connection is kept"

    on_database(database_url, work)


def test_a_batch_holds_a_thousand_commands_at_most(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    attempt = CommandPath._try

    async def measured(self: CommandPath, connection: WriteConnection, batch: Sequence[QueuedIntent]) -> None:
        sizes.append(len(batch))
        await attempt(self, connection, batch)

    async def work(pool: Pool, path: CommandPath) -> None:
        monkeypatch.setattr(CommandPath, "_try", measured)
        await path.submit([order_command(order_sn(n), c.Place(lines=(LINE,))) for n in range(1_001)])
        assert max(sizes) == 1_000

    on_database(database_url, work)


def test_a_command_that_breaks_alone_is_tried_once(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def broken(history, order, *arguments):  # type: ignore[no-untyped-def]
        tried.append(order.order_sn)
        raise ZeroDivisionError

    async def work(pool: Pool, path: CommandPath) -> None:
        monkeypatch.setattr(decisions, "decide", broken)
        with pytest.raises(ZeroDivisionError):
            await path.submit_one(order_command(order_sn(0), SHIP))
        assert len(tried) == 1

    on_database(database_url, work)


def test_a_pool_without_a_connection_is_told_to_who_waits(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        def exhausted(_: Pool) -> NoReturn:
            raise PoolTimeout("no connection")

        with monkeypatch.context() as patch:
            patch.setattr(type(pool), "write", exhausted)
            with pytest.raises(Unavailable):
                await asyncio.wait_for(path.submit_one(order_command(order_sn(0), SHIP)), 10)
        placed = await path.submit_one(order_command(order_sn(0), c.Place(lines=(LINE,))))
        assert placed.events == 1

    on_database(database_url, work)


def test_a_caller_who_goes_away_takes_nothing_along(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 1)
        leaving = asyncio.create_task(path.submit_one(order_command(order_sn(0), SHIP)))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        again = await path.submit_one(order_command(order_sn(0), SHIP))
        assert (again.events, again.order.status) == (0, "shipped")

    on_database(database_url, work)


def test_commands_to_one_order_are_judged_as_they_came_over_all_batches(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        monkeypatch.setattr(committer, "MAX_BATCH", 3)
        monkeypatch.setattr(committer, "WORTH_A_BATCH", 1)
        await placed_and_formed(path, 4)
        messages = [c.ContactBuyer(channel="chat", message=str(n)) for n in range(10)]
        outcomes = await done(
            path, *(order_command(order_sn(k), message) for message in messages for k in range(4))
        )
        for k in range(4):
            assert [outcome.order.version for outcome in outcomes[k::4]] == list(range(3, 13))
        async with pool.connection() as connection:
            events = await read_stream(connection, SHOP, ORDER + order_sn(2))
        assert [json.loads(event.payload)["message"] for event in events[2:]] == [str(n) for n in range(10)]

    on_database(database_url, work)


def test_what_was_accepted_is_answered_before_the_door_closes(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        async with path_on(pool) as closing:
            waiting = [
                asyncio.create_task(closing.submit_one(order_command(order_sn(n), c.Place(lines=(LINE,)))))
                for n in range(50)
            ]
            await asyncio.sleep(0)
        assert {outcome.events for outcome in await asyncio.gather(*waiting)} == {1}
        with pytest.raises(Overloaded):
            await closing.submit_one(order_command(order_sn(99), c.Place(lines=(LINE,))))

    on_database(database_url, work)


def test_a_lost_connection_is_reported_as_unknown_and_the_next_command_goes_through(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 1)
        async with pool.connection() as connection:
            cursor = await connection.execute("SELECT pg_backend_pid()")
            own = await cursor.fetchone()
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> %s",
                own,
            )
        outcomes = []
        for n in range(1, 30):
            try:
                outcomes.append(await path.submit_one(order_command(order_sn(n), c.Place(lines=(LINE,)))))
            except Unavailable:
                continue
        assert outcomes
        assert outcomes[-1].order.order_sn == order_sn(29)

    on_database(database_url, work)
