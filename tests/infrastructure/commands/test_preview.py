"""A preview says what submitting would come to, over any number of calls, and appends nothing."""

import pytest
from msgspec.structs import replace

from domain.order import commands as c
from domain.order.events import Line
from domain.order.snapshot import Snapshot
from domain.order.warnings import warnings
from domain.sku import commands as s
from infrastructure.commands.committer import CommandPath
from infrastructure.commands.intents import (
    Intent,
    OrderOutcome,
    Outcome,
    SkuCommand,
    SnapshotIntent,
)
from infrastructure.commands.preview import Preview
from infrastructure.database.pool import Pool
from infrastructure.log.log import read_head
from infrastructure.queries.related_facts import read_related_facts
from infrastructure.runtime import clock
from infrastructure.runtime.rule_sets import shipped_rules
from tests.infrastructure.commands.keyed import CONTACT, SHIP, keyed
from tests.orders import LINE, MONDAY_9, SHOP, on_database, order_command, order_sn, placed_and_formed

PLACE = c.Place(lines=(LINE,), paid_fen=12900)
APPLY = c.RequestStockout(reason="oversold")
SNAPSHOT = SnapshotIntent(
    SHOP,
    Snapshot(
        order_sn=order_sn(5),
        seen_at=MONDAY_9,
        via="export",
        phase="awaiting_shipment",
        lines=(Line("52000301", "520003", "durian", 1, 12900),),
    ),
    "import",
)
INTENTS: list[Intent] = [
    order_command(order_sn(1), PLACE),
    order_command(order_sn(1), c.FormGroup()),
    order_command(order_sn(1), SHIP),
    order_command(order_sn(2), SHIP),
    order_command(order_sn(0), APPLY),
    order_command(order_sn(0), SHIP),
    SkuCommand(SHOP, LINE.sku_id, s.Delist(reason="sold out"), "test"),
    SkuCommand(SHOP, LINE.sku_id, s.Delist(reason="sold out"), "test"),
    order_command(order_sn(3), SHIP),
    replace(order_command(order_sn(3), CONTACT), if_match=2),
    replace(order_command(order_sn(3), CONTACT), if_match=3),
    order_command(order_sn(4), APPLY),
    SNAPSHOT,
    SNAPSHOT,
    order_command(order_sn(5), CONTACT),
]


def shown(outcome: Outcome) -> tuple[object, ...]:
    """All of an outcome that does not depend on the moment."""
    rules = shipped_rules()
    of_order: tuple[object, ...] = ()
    if isinstance(outcome, OrderOutcome):
        order = outcome.order
        of_now = warnings(order, rules.governing(order), outcome.related_facts) if order.version else ()
        of_order = order.status, tuple(warning.code for warning in of_now)
    code = outcome.refusal.code if outcome.refusal else None
    return type(outcome), outcome.events, outcome.state.version, code, *of_order


@pytest.mark.parametrize("batch", [1, 2, 5, 100])
def test_a_preview_comes_to_what_submitting_comes_to(database_url: str, batch: int) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 5)
        previewed: list[Outcome] = []
        preview = Preview(pool, shipped_rules(), clock.now, read_related_facts)
        for begin in range(0, len(INTENTS), batch):
            previewed += await preview.submit(INTENTS[begin : begin + batch])
        async with pool.read() as connection:
            assert await read_head(connection, SHOP) == 10
        outcomes: list[Outcome | Exception] = []
        async with CommandPath(
            pool,
            shipped_rules(),
            clock.now,
            render=lambda intent, outcome: b"",
            read_related_facts=read_related_facts,
        ) as path:
            for begin in range(0, len(INTENTS), batch):
                outcomes += await path.submit(INTENTS[begin : begin + batch])
        assert [shown(outcome) for outcome in previewed] == [
            shown(outcome) for outcome in outcomes if isinstance(outcome, Outcome)
        ]
        assert {outcome.position for outcome in previewed} == {0}
        refused = {outcome.refusal.code for outcome in previewed if outcome.refusal}
        assert refused == {"order_locked", "stale_version"}
        assert sum(outcome.events for outcome in previewed) == 10

    on_database(database_url, work)


def test_a_preview_counts_the_applications_it_would_have_filed(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 12)
        preview = Preview(pool, shipped_rules(), clock.now)
        before = [
            len(outcome.related_facts.filed)
            for n in range(12)
            for outcome in await preview.submit([order_command(order_sn(n), APPLY)])
        ]
        assert before == list(range(12))
        other_shop = await Preview(pool, shipped_rules(), clock.now).submit([order_command(order_sn(0), APPLY)])
        assert len(other_shop[0].related_facts.filed) == 0, "another preview knows nothing of it"

    on_database(database_url, work)


def test_a_preview_needs_no_key_and_makes_no_receipt(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 1)
        (outcome,) = await Preview(pool, shipped_rules(), clock.now).submit([keyed(CONTACT)])
        assert (outcome.events, outcome.response) == (1, None)
        assert not (await path.submit_one(keyed(CONTACT))).replayed

    on_database(database_url, work)
