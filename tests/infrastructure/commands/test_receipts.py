"""Receipts: positions of their events, keys that expire, and a head that lies behind its log."""

from datetime import timedelta

import psycopg
import pytest

from domain.kernel import Command
from domain.order import commands as c
from infrastructure.commands.committer import CommandPath
from infrastructure.commands.intents import (
    IdempotencyKey,
    OrderCommand,
    OrderOutcome,
)
from infrastructure.commands.receipts import RECEIPT_LIFETIME, forget_receipts, free_keys
from infrastructure.database.pool import Pool
from infrastructure.log.log import ORDER, read_stream
from infrastructure.runtime import clock
from tests.infrastructure.commands.keyed import CONTACT, keyed, types
from tests.orders import LINE, SHOP, on_database, order_command, order_sn, path_on, placed_and_formed


@pytest.mark.parametrize("together", [True, False], ids=["one server", "distributed"])
def test_receipts_over_several_shops_keep_the_positions_of_their_events(database_url: str, together: bool) -> None:
    def intents(command: Command, key: str) -> list[OrderCommand]:
        return [
            OrderCommand(
                f"shop-{n % 3}", order_sn(n), command, "test", idempotency=IdempotencyKey(f"{key}-{n}", b"f")
            )
            for n in range(9)
        ]

    async def work(pool: Pool, path: CommandPath) -> None:
        async with path_on(pool, together=together) as path:
            commands = [
                *intents(c.Place(lines=(LINE,), paid_fen=1), "place"),
                *intents(c.FormGroup(), "form"),
                *intents(c.FormGroup(), "form again"),
                *intents(c.RecordPickup(), "too early"),
            ]
            first = await done_or_refused(path, commands)
            again = await done_or_refused(path, commands)
        assert [outcome.events for outcome in first] == [1] * 18 + [0] * 18
        assert [outcome.replayed for outcome in first] == [False] * 36
        assert [outcome.replayed for outcome in again] == [True] * 36
        assert [outcome.position for outcome in first] == [outcome.position for outcome in again]
        async with pool.connection() as connection:
            for n in range(9):
                events = await read_stream(connection, f"shop-{n % 3}", ORDER + order_sn(n))
                positions = [event.position for event in events]
                assert [outcome.position for outcome in first[n::9]] == [*positions, positions[1], positions[1]]

    on_database(database_url, work)


def test_a_damaged_head_is_an_error_and_not_a_race(database_url: str) -> None:
    """A head that lies behind its log, as after a restored backup, must not look like contention."""

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 1)
        async with pool.connection() as connection:
            await connection.execute("UPDATE shop_log SET position = 0")
        for intent in (order_command(order_sn(0), CONTACT), keyed(CONTACT)):
            with pytest.raises(psycopg.errors.UniqueViolation):
                await path.submit_one(intent)

    on_database(database_url, work)


def test_only_expired_receipts_are_removed(database_url: str) -> None:
    """Another process may have used a key again since it was seen to be expired."""

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 1)
        await path.submit_one(keyed(CONTACT))
        async with pool.write() as connection:
            await free_keys(connection, [(SHOP, "k")], clock.now() + timedelta(days=7, seconds=-1))
        assert (await path.submit_one(keyed(CONTACT))).replayed
        async with pool.write() as connection:
            await free_keys(connection, [(SHOP, "k")], clock.now() + timedelta(days=7, seconds=1))
        assert not (await path.submit_one(keyed(CONTACT))).replayed

    on_database(database_url, work)


def test_an_expired_receipt_frees_its_key_and_is_forgotten(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 1)
        await path.submit_one(keyed(CONTACT))
        async with pool.connection() as connection:
            assert await forget_receipts(connection, clock.now()) == 0
            await connection.execute("UPDATE receipt SET recorded_at = recorded_at - %s", (RECEIPT_LIFETIME,))
        assert not (await path.submit_one(keyed(CONTACT))).replayed
        assert (await types(pool)).count("BuyerContacted") == 2
        async with pool.connection() as connection:
            assert await forget_receipts(connection, clock.now() + RECEIPT_LIFETIME + timedelta(seconds=1)) == 1

    on_database(database_url, work)


async def done_or_refused(path: CommandPath, intents: list[OrderCommand]) -> list[OrderOutcome]:
    outcomes = []
    for outcome in await path.submit(intents):
        assert isinstance(outcome, OrderOutcome), outcome
        outcomes.append(outcome)
    return outcomes
