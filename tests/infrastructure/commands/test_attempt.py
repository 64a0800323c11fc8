"""One attempt: batches, races between processes, If-Match, and what decisions know of other streams."""

import asyncio

import pytest
from msgspec.structs import replace

from domain.history import Metadata
from domain.order import commands as c
from domain.order.events import BuyerContacted
from domain.order.warnings import warnings
from domain.sku import commands as s
from infrastructure.commands import attempt
from infrastructure.commands.committer import CommandPath
from infrastructure.commands.intents import (
    CommandIntent,
    Contended,
    OrderCommand,
    OrderOutcome,
    Outcome,
    SkuCommand,
    SkuOutcome,
)
from infrastructure.database.pool import Pool
from infrastructure.log.log import ORDER, Append, append, new_event, read_stream
from infrastructure.runtime import clock
from infrastructure.runtime.rule_sets import shipped_rules
from tests.infrastructure.commands.keyed import CONTACT, SHIP, keyed, types
from tests.orders import (
    LINE,
    MONDAY_9,
    SHOP,
    done,
    on_database,
    order_command,
    order_sn,
    path_on,
    placed_and_formed,
)


def test_a_batch_is_judged_in_order_and_positions_are_those_of_the_log(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        place = c.Place(lines=(LINE,), paid_fen=1)
        outcomes = await done(
            path,
            order_command(order_sn(0), place),
            order_command(order_sn(1), place),
            order_command(order_sn(0), c.FormGroup()),
            order_command(order_sn(0), place),
            order_command(order_sn(0), SHIP),
        )
        assert [(o.order.version, o.events) for o in outcomes] == [(1, 1), (1, 1), (2, 1), (2, 0), (3, 1)]
        async with pool.connection() as connection:
            events = await read_stream(connection, SHOP, ORDER + order_sn(0))
        assert [outcomes[n].position for n in (0, 2, 4)] == [event.position for event in events]

    on_database(database_url, work)


def test_two_processes_never_undo_each_other(database_url: str) -> None:
    """Each has a committer of its own; whoever loses a race is judged again by the newer state."""

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 20)
        async with path_on(pool) as other:
            ships = [path.submit_one(order_command(order_sn(n), SHIP)) for n in range(20)]
            stockouts = [
                other.submit_one(order_command(order_sn(n), c.RequestStockout(reason="oversold")))
                for n in range(20)
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
        assert [outcome.response for outcome in outcomes] == [b"response", b"response"]
        assert sorted(outcome.replayed for outcome in outcomes) == [False, True]
        assert (await types(pool)).count("BuyerContacted") == 1

    on_database(database_url, work)


def test_an_order_that_others_change_without_end_gives_up(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 1)

        tried = []

        async def always_late(connection, now, shops, together):  # type: ignore[no-untyped-def]
            tried.append(now)
            version = shops[SHOP][0].expected_version
            event = new_event(BuyerContacted("chat", "hi"), MONDAY_9, Metadata())
            await append(connection, now, {SHOP: [Append(ORDER + order_sn(0), version, [event])]})
            return await append(connection, now, shops, together=together)

        monkeypatch.setattr(attempt, "append", always_late)
        with pytest.raises(Contended):
            await path.submit_one(order_command(order_sn(0), SHIP))
        assert len(tried) == 5

    on_database(database_url, work)


def test_an_outcome_knows_its_position_and_new_events_in_its_state_have_none(database_url: str) -> None:
    """A response is made before the append, with position 0 where a new event made the state."""
    rendered: list[int] = []

    def render(intent: CommandIntent, outcome: Outcome) -> bytes:
        rendered.append(outcome.state.position)
        return b""

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 2)
        async with CommandPath(pool, shipped_rules(), clock.now, render) as path:
            apply = c.RequestStockout(reason="oversold")
            applied, again = await path.submit([keyed(apply, "a"), keyed(SHIP, "b")])
            assert isinstance(applied, OrderOutcome)
            assert isinstance(again, OrderOutcome)
            assert (applied.position, again.position) == (5, 5)
            assert [review.position for review in again.order.reviews] == [0]
            known = await path.submit_one(keyed(SHIP, "c"))
            assert (known.events, known.position, known.order.position) == (0, 5, 5)
        assert rendered == [0, 0, 5]

    on_database(database_url, work)


def test_only_an_intent_with_a_key_has_a_response_and_only_what_was_appended_is_a_commit(database_url: str) -> None:
    rendered: list[str] = []
    commits: list[int] = []

    def render(intent: CommandIntent, outcome: Outcome) -> bytes:
        rendered.append(intent.entity_id)
        return b"response"

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 2)
        async with CommandPath(
            pool, shipped_rules(), clock.now, render, on_commit=lambda: commits.append(len(commits))
        ) as path:
            plain = await path.submit_one(order_command(order_sn(1), CONTACT))
            assert (plain.response, rendered, len(commits)) == (None, [], 1)
            already_so = await path.submit_one(order_command(order_sn(1), c.FormGroup()))
            assert (already_so.refusal, already_so.events) == (None, 0)
            refused = await path.submit_one(order_command(order_sn(1), c.CompleteReview(outcome="rejected")))
            assert refused.refusal is not None
            assert len(commits) == 1, "nothing was appended, so nobody needs to know"
            answered = await path.submit_one(keyed(CONTACT))
            assert (answered.response, rendered, len(commits)) == (b"response", [order_sn(0)], 2)

    on_database(database_url, work)


def expecting(version: int, intent: OrderCommand | SkuCommand) -> OrderCommand | SkuCommand:
    return replace(intent, if_match=version)


@pytest.mark.parametrize(
    ("intent", "code"),
    [
        (expecting(2, order_command(order_sn(0), CONTACT)), None),
        (expecting(1, order_command(order_sn(0), CONTACT)), "stale_version"),
        (expecting(3, order_command(order_sn(0), CONTACT)), "stale_version"),
        (expecting(0, order_command(order_sn(0), c.Place(lines=(LINE,)))), "stale_version"),
        (expecting(1, order_command(order_sn(9), CONTACT)), "unknown_order"),
        (expecting(0, order_command(order_sn(9), CONTACT)), "unknown_order"),
        (expecting(1, order_command(order_sn(9), c.Place(lines=(LINE,)))), "stale_version"),
        (expecting(0, order_command(order_sn(9), c.Place(lines=(LINE,)))), None),
        (expecting(0, SkuCommand(SHOP, "sku", s.CountStock(on_hand=1), "test")), None),
        (expecting(1, SkuCommand(SHOP, "sku", s.CountStock(on_hand=1), "test")), "stale_version"),
    ],
)
def test_if_match_needs_an_existing_stream_and_a_missing_order_accepts_only_place(
    database_url: str, intent: OrderCommand | SkuCommand, code: str | None
) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 1)
        outcome = await path.submit_one(intent)
        assert (outcome.refusal.code if outcome.refusal else None) == code
        assert outcome.events == (0 if code else 1)

    on_database(database_url, work)


def test_a_further_application_is_judged_by_the_skus_it_is_for(database_url: str) -> None:
    """An order of two SKUs applied for one before. Now the other one is delisted and applied for."""
    other = c.OrderedLine("52000302", "520003", "durian", 1, 12900)
    place = c.Place(lines=(LINE, other), paid_fen=25800, occurred_at=MONDAY_9)

    async def work(pool: Pool, path: CommandPath) -> None:
        await done(
            path,
            order_command(order_sn(0), place),
            order_command(order_sn(0), c.FormGroup(occurred_at=MONDAY_9)),
            order_command(order_sn(0), c.RequestStockout(reason="oversold", sku_ids=(LINE.sku_id,))),
            order_command(order_sn(0), c.CompleteReview(outcome="rejected")),
            SkuCommand(SHOP, other.sku_id, s.Delist(reason="sold out"), "test"),
        )
        apply = c.RequestStockout(reason="oversold", sku_ids=(other.sku_id,))
        outcome = await path.submit_one(order_command(order_sn(0), apply))
        assert outcome.refusal is None
        assert not warnings(outcome.order, shipped_rules().governing(outcome.order), outcome.related_facts)
        assert outcome.related_facts.skus.keys() == {LINE.sku_id, other.sku_id}

    on_database(database_url, work)


def test_an_order_knows_of_its_sku_in_the_same_batch(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        delisted, *_, applied = await path.submit(
            [
                SkuCommand(SHOP, LINE.sku_id, s.Delist(reason="sold out"), "test"),
                order_command(order_sn(0), c.Place(lines=(LINE,), paid_fen=12900)),
                order_command(order_sn(0), c.FormGroup()),
                order_command(order_sn(0), c.RequestStockout(reason="oversold")),
            ]
        )
        assert isinstance(delisted, SkuOutcome)
        assert isinstance(applied, OrderOutcome)
        assert not delisted.sku.listed
        assert not applied.related_facts.skus[LINE.sku_id].listed
        assert (delisted.position, applied.position) == (1, 4), "streams stand in the log as the batch names them"

    on_database(database_url, work)
