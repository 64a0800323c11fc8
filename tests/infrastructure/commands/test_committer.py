"""The one door: batches, receipts, races between processes, and callers that go away."""

import asyncio
import json
from datetime import timedelta

import psycopg
import pytest

from domain.history import Metadata
from domain.kernel import Command
from domain.order import commands as c
from domain.order.decisions.table import decide
from domain.order.events import BuyerContacted
from infrastructure.commands import attempt, committer, queue
from infrastructure.commands.committer import CommandPath
from infrastructure.commands.intents import (
    Contended,
    IdempotencyKey,
    OrderCommand,
    OrderOutcome,
    Outcome,
    Overloaded,
    StillRunning,
    Unavailable,
)
from infrastructure.commands.receipts import RECEIPTS_KEPT, forget_receipts
from infrastructure.database.pool import Pool
from infrastructure.log.log import ORDER, Append, append, new_event, read_head, read_stream
from infrastructure.runtime import clock
from tests.orders import LINE, MONDAY_9, SHOP, done, on_database, order_sn, path_on, placed_and_formed, tell

CONTACT = c.ContactBuyer(channel="chat", message="hi")
SHIP = c.UploadTracking(carrier="SF", tracking_number="SF1")


def keyed(command: Command, key: str = "k", fingerprint: bytes = b"f") -> OrderCommand:
    return OrderCommand(SHOP, order_sn(0), command, "test", idempotency=IdempotencyKey(key, fingerprint))


async def types(pool: Pool, number: int = 0) -> list[str]:
    async with pool.connection() as connection:
        return [event.type for event in await read_stream(connection, SHOP, ORDER + order_sn(number))]


def test_a_batch_is_judged_in_order_and_positions_are_those_of_the_log(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        place = c.Place(lines=(LINE,), paid_fen=1)
        outcomes = await done(
            path,
            tell(order_sn(0), place),
            tell(order_sn(1), place),
            tell(order_sn(0), c.FormGroup()),
            tell(order_sn(0), place),
            tell(order_sn(0), SHIP),
        )
        assert [(o.order.version, o.events) for o in outcomes] == [(1, 1), (1, 1), (2, 1), (2, 0), (3, 1)]
        async with pool.connection() as connection:
            stored = await read_stream(connection, SHOP, ORDER + order_sn(0))
        assert [outcomes[n].position for n in (0, 2, 4)] == [event.position for event in stored]

    on_database(database_url, work)


def test_two_processes_never_undo_each_other(database_url: str) -> None:
    """Each has a committer of its own; whoever loses a race is judged again by the newer state."""

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 20)
        async with path_on(pool) as other:
            ships = [path.submit_one(tell(order_sn(n), SHIP)) for n in range(20)]
            stockouts = [
                other.submit_one(tell(order_sn(n), c.RequestStockout(reason="oversold"))) for n in range(20)
            ]
            outcomes = await asyncio.gather(*ships, *stockouts)
        for n in range(20):
            shipped, applied = outcomes[n], outcomes[20 + n]
            assert (shipped.refusal is None) != (applied.refusal is None)
            assert len(await types(pool, n)) == 3

    on_database(database_url, work)


def test_two_processes_with_one_key_do_it_once(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 1)
        async with path_on(pool) as other:
            outcomes = await asyncio.gather(path.submit_one(keyed(CONTACT)), other.submit_one(keyed(CONTACT)))
        assert [outcome.response for outcome in outcomes] == [b"told", b"told"]
        assert sorted(outcome.replayed for outcome in outcomes) == [False, True]
        assert (await types(pool)).count("BuyerContacted") == 1

    on_database(database_url, work)


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
                stored = await read_stream(connection, f"shop-{n % 3}", ORDER + order_sn(n))
                positions = [event.position for event in stored]
                assert [outcome.position for outcome in first[n::9]] == [*positions, positions[1], positions[1]]

    on_database(database_url, work)


async def done_or_refused(path: CommandPath, intents: list[OrderCommand]) -> list[OrderOutcome]:
    outcomes = []
    for outcome in await path.submit(intents):
        assert isinstance(outcome, OrderOutcome), outcome
        outcomes.append(outcome)
    return outcomes


def test_a_damaged_head_is_an_error_and_not_a_race(database_url: str) -> None:
    """A head that lies behind its log, as after a restored backup, must not look like contention."""

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 1)
        async with pool.connection() as connection:
            await connection.execute("UPDATE shop_log SET position = 0")
        for intent in (tell(order_sn(0), CONTACT), keyed(CONTACT)):
            with pytest.raises(psycopg.errors.UniqueViolation):
                await path.submit_one(intent)

    on_database(database_url, work)


def test_one_key_twice_in_a_batch_runs_once(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 1)
        first, second, third = await path.submit(
            [keyed(CONTACT), keyed(CONTACT), keyed(CONTACT, fingerprint=b"other")]
        )
        assert isinstance(first, Outcome)
        assert isinstance(second, Outcome)
        assert isinstance(third, Outcome)
        assert (second.response, second.position, second.replayed) == (b"told", first.position, True)
        assert third.refusal is not None
        assert third.refusal.code == "idempotency_key_reused"
        assert (await types(pool)).count("BuyerContacted") == 1
        assert (await path.submit_one(keyed(CONTACT))).response == b"told"
        refused = (await path.submit_one(keyed(CONTACT, fingerprint=b"other"))).refusal
        assert refused is not None
        assert refused.code == "idempotency_key_reused"

    on_database(database_url, work)


def test_a_key_that_was_another_requests_is_looked_up_for_each_that_has_it(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 1)
        await path.submit_one(keyed(CONTACT))
        other, same = await path.submit([keyed(CONTACT, fingerprint=b"other"), keyed(CONTACT)])
        assert isinstance(other, Outcome)
        assert isinstance(same, Outcome)
        assert other.refusal is not None
        assert (same.response, same.replayed) == (b"told", True)

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


def test_an_expired_receipt_frees_its_key_and_is_forgotten(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 1)
        await path.submit_one(keyed(CONTACT))
        async with pool.connection() as connection:
            assert await forget_receipts(connection, clock.now()) == 0
            await connection.execute("UPDATE receipt SET recorded_at = recorded_at - %s", (RECEIPTS_KEPT,))
        assert not (await path.submit_one(keyed(CONTACT))).replayed
        assert (await types(pool)).count("BuyerContacted") == 2
        async with pool.connection() as connection:
            assert await forget_receipts(connection, clock.now() + RECEIPTS_KEPT + timedelta(seconds=1)) == 1

    on_database(database_url, work)


def test_a_command_that_breaks_its_batch_breaks_only_itself(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)

        def broken(history, order, *told):  # type: ignore[no-untyped-def]
            if order.order_sn == order_sn(1):
                raise ZeroDivisionError
            return decide(history, order, *told)

        monkeypatch.setattr(attempt, "decide", broken)
        outcomes = await path.submit([tell(order_sn(n), SHIP) for n in range(3)])
        assert [type(outcome).__name__ for outcome in outcomes] == [
            "OrderOutcome",
            "ZeroDivisionError",
            "OrderOutcome",
        ]
        assert await types(pool, 2) == ["OrderPlaced", "GroupFormed", "TrackingUploaded"]
        assert await types(pool, 1) == ["OrderPlaced", "GroupFormed"]

    on_database(database_url, work)


def test_a_caller_who_goes_away_takes_nothing_along(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 1)
        leaving = asyncio.create_task(path.submit_one(tell(order_sn(0), SHIP)))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        again = await path.submit_one(tell(order_sn(0), SHIP))
        assert (again.events, again.order.status) == (0, "shipped")

    on_database(database_url, work)


def test_a_full_queue_takes_nothing_and_says_so(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        monkeypatch.setattr(queue, "MAX_WAITING", 2)
        with pytest.raises(Overloaded):
            await path.submit([tell(order_sn(n), c.Place(lines=(LINE,))) for n in range(3)])
        async with pool.connection() as connection:
            assert await read_head(connection, SHOP) == 0

    on_database(database_url, work)


def test_one_shop_may_not_fill_the_queue_of_all(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        monkeypatch.setattr(queue, "MAX_WAITING", 6)
        monkeypatch.setattr(queue, "MAX_WAITING_OF_A_SHOP", 3)
        place = c.Place(lines=(LINE,))
        flood = asyncio.gather(*(path.submit_one(tell(order_sn(n), place)) for n in range(3)))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await path.submit_one(tell(order_sn(3), place))
        other = await path.submit_one(tell(order_sn(0), place, "other"))
        assert other.position == 1
        assert sorted(outcome.position for outcome in await flood) == [1, 2, 3]
        assert (await path.submit_one(tell(order_sn(3), place))).position == 4

    on_database(database_url, work)


def test_shops_take_turns(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shop with one command is served among the first of a shop with a hundred, not behind them."""

    async def work(pool: Pool, path: CommandPath) -> None:
        monkeypatch.setattr(committer, "MAX_BATCH", 4)
        place = c.Place(lines=(LINE,))
        answered: list[str] = []

        async def place_one(shop: str, n: int) -> None:
            await path.submit_one(tell(order_sn(n), place, shop))
            answered.append(shop)

        await asyncio.gather(*(place_one("big", n) for n in range(100)), place_one("small", 0))
        assert answered.index("small") < 4 * (committer.COMMITTERS + 1)

    on_database(database_url, work)


def test_commands_to_one_order_are_judged_as_they_came_over_all_batches(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        monkeypatch.setattr(committer, "MAX_BATCH", 3)
        monkeypatch.setattr(committer, "WORTH_A_BATCH", 1)
        await placed_and_formed(path, 4)
        messages = [c.ContactBuyer(channel="chat", message=str(n)) for n in range(10)]
        outcomes = await done(path, *(tell(order_sn(k), message) for message in messages for k in range(4)))
        for k in range(4):
            assert [outcome.order.version for outcome in outcomes[k::4]] == list(range(3, 13))
        async with pool.connection() as connection:
            stored = await read_stream(connection, SHOP, ORDER + order_sn(2))
        assert [json.loads(event.payload)["message"] for event in stored[2:]] == [str(n) for n in range(10)]

    on_database(database_url, work)


def test_what_was_accepted_is_answered_before_the_door_closes(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        async with path_on(pool) as closing:
            waiting = [
                asyncio.create_task(closing.submit_one(tell(order_sn(n), c.Place(lines=(LINE,)))))
                for n in range(50)
            ]
            await asyncio.sleep(0)
        assert {outcome.events for outcome in await asyncio.gather(*waiting)} == {1}
        with pytest.raises(Overloaded):
            await closing.submit_one(tell(order_sn(99), c.Place(lines=(LINE,))))

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
                outcomes.append(await path.submit_one(tell(order_sn(n), c.Place(lines=(LINE,)))))
            except Unavailable:
                continue
        assert outcomes
        assert outcomes[-1].order.order_sn == order_sn(29)

    on_database(database_url, work)


def test_an_order_that_others_change_without_end_gives_up(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 1)

        async def always_late(connection, now, shops, receipts, together):  # type: ignore[no-untyped-def]
            version = shops[SHOP][0].expected_version
            event = new_event(BuyerContacted("chat", "hi"), MONDAY_9, Metadata())
            await append(connection, now, {SHOP: [Append(ORDER + order_sn(0), version, [event])]})
            return await append(connection, now, shops, together=together)

        monkeypatch.setattr(attempt, "append_with_receipts", always_late)
        with pytest.raises(Contended):
            await path.submit_one(tell(order_sn(0), SHIP))

    on_database(database_url, work)
