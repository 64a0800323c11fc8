"""Histories for tests: orders with commands that went through the real command path."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TypeVar, overload

from domain.kernel import Command
from domain.order import commands as c
from domain.sku import commands as s
from infrastructure.commands.committer import CommandPath
from infrastructure.commands.intents import CommandIntent, OrderCommand, OrderOutcome, Outcome, SkuCommand
from infrastructure.database.pool import Pool, connection_pool
from infrastructure.runtime import clock
from infrastructure.runtime.rule_sets import shipped_rules

T = TypeVar("T")

SHOP = "100000001"
MONDAY_9 = datetime(2026, 3, 2, 1, tzinfo=UTC)
LINE = c.OrderedLine("52000301", "520003", "泰国金枕榴莲 1个", 1, 12900)


def order_sn(n: int) -> str:
    return f"260302-{n:015d}"


@asynccontextmanager
async def path_on(pool: Pool, *, together: bool = True) -> AsyncIterator[CommandPath]:
    async with CommandPath(
        pool, shipped_rules(), clock.now, render=lambda intent, outcome: b"response", together=together
    ) as path:
        yield path


def on_database(url: str, work: Callable[[Pool, CommandPath], Awaitable[T]]) -> T:
    """Run something with a pool and a command path of its own."""

    async def run() -> T:
        async with connection_pool(url, size=8) as pool, path_on(pool) as path:
            return await work(pool, path)

    return asyncio.run(run())


def order_command(number: str, command: Command, shop: str = SHOP) -> OrderCommand:
    return OrderCommand(shop, number, command, "test")


def appeal(number: str, kind: str = "late_shipment", evidence: str | None = None) -> c.AppealViolation:
    """An appeal that the platform still takes, though these orders' violations arose long ago."""
    tomorrow = clock.now() + timedelta(days=1)
    return c.AppealViolation(violation_id=f"{number}:{kind}", evidence=evidence, appeal_by=tomorrow)


async def placed_and_formed(path: CommandPath, count: int, shop: str = SHOP, at: datetime = MONDAY_9) -> None:
    """Orders 0 to ``count``, all with a formed group."""
    place = c.Place(lines=(LINE,), paid_fen=12900, occurred_at=at)
    await done(path, *(order_command(order_sn(n), place, shop) for n in range(count)))
    await done(path, *(order_command(order_sn(n), c.FormGroup(occurred_at=at), shop) for n in range(count)))


async def something_for_every_view(path: CommandPath, count: int, shop: str = SHOP) -> None:
    """Orders 0 to ``count`` that applied for stockout, as many shipped ones, and counted and delisted SKUs."""
    await placed_and_formed(path, count, shop)
    for command in (
        c.Place(lines=(LINE,), paid_fen=12900, occurred_at=MONDAY_9),
        c.FormGroup(occurred_at=MONDAY_9),
        c.UploadTracking(carrier="SF", tracking_number="SF1"),
    ):
        await done(path, *(order_command(order_sn(900 + n), command, shop) for n in range(count)))
    await done(
        path,
        *(order_command(order_sn(n), c.HandToSupplier(supplier_id="S-17"), shop) for n in range(count)),
        *(order_command(order_sn(n), c.RequestStockout(reason="oversold"), shop) for n in range(count)),
        *(
            order_command(
                order_sn(n), c.RecordCharge(kind="late_shipment", amount_fen=300, line_id=f"=17-{n}"), shop
            )
            for n in range(count)
        ),
        *(
            order_command(order_sn(n), c.RecordReturn(amount_fen=300, line_id=f"18-{n}"), shop)
            for n in range(count)
        ),
        *(SkuCommand(shop, f"5200030{n}", s.CountStock(on_hand=n), "test") for n in range(count)),
        *(SkuCommand(shop, f"5200030{n}", s.Delist(reason="缺货"), "test") for n in range(count)),
    )


@overload
async def done(path: CommandPath, *intents: OrderCommand) -> Sequence[OrderOutcome]: ...


@overload
async def done(path: CommandPath, *intents: CommandIntent) -> Sequence[Outcome]: ...


async def done(path: CommandPath, *intents: CommandIntent) -> Sequence[Outcome]:
    """Submit commands none of which may fail or be refused."""
    outcomes = []
    for outcome in await path.submit(intents):
        assert isinstance(outcome, Outcome), outcome
        assert outcome.refusal is None, outcome.refusal
        outcomes.append(outcome)
    return outcomes
