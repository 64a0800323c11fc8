"""``demo``: sample orders and the story of a stockout, on a real database."""

import asyncio
from datetime import timedelta
from typing import Annotated

import typer

from api.cli.importing import import_export
from api.cli.serving import Port, leave_on_sigterm, run_server
from api.cli.terminal import book, out, settings, shown
from api.program import Program, database, enrol, prepare_owner
from api.workers import worker_thread
from domain.kernel import Command
from domain.order import commands as c
from domain.order.view import view
from domain.sku import commands as s
from infrastructure.commands.intents import OrderCommand, SkuCommand
from infrastructure.pinduoduo.sample import SAMPLE_EXPORT, SAMPLE_EXPORTED_AT
from infrastructure.projections.worker import Worker
from infrastructure.queries.stock import list_skus
from infrastructure.runtime import clock

SHOP = "100000001"


def demo(
    serve: Annotated[bool, typer.Option(help="Go on serving the API when the story is told.")] = False,
    port: Port = 8000,
) -> None:
    """Import a sample export, tell the story of a stockout, and say where to look."""
    leave_on_sigterm()

    async def run_story(url: str) -> str:
        async with Program.running(url, book(), worker=worker_thread) as program:
            report = await import_export(program, SAMPLE_EXPORT, SHOP, SAMPLE_EXPORTED_AT)
            out.print(f"Shop {SHOP}: {report.orders} orders read, {report.events_appended} events appended.")
            order_sn = await story(program)
            await stock(program)
            return order_sn

    known = settings()
    with database(known) as url:
        prepare_owner(url, known)
        enrol(url, SHOP)
        order_sn = asyncio.run(run_story(url))
        out.print(f"\nSee it again:  shiplock order {SHOP} {order_sn}\n               shiplock violations {SHOP}")
        out.print(f"               shiplock skus {SHOP}\n               shiplock cases {SHOP}")
        if serve:
            key = f'-H "Authorization: Bearer $(cat {known.owner_key_file})"'
            address = f"http://127.0.0.1:{port}/v1/shops/{SHOP}/orders/{order_sn}"
            out.print(f"               curl {key} {address}", soft_wrap=True)
            run_server(url, "127.0.0.1", port)


async def stock(program: Program) -> None:
    """Count every SKU that was never counted: of most there is enough, of every fourth too little."""
    await Worker(program.pool, program.book).catch_up(SHOP)
    async with program.pool.read() as connection:
        board = (await list_skus(connection, SHOP, program.book, clock.now(), 500)).items
    commands: list[SkuCommand] = []
    for n, sku in enumerate(board):
        if sku.counted_at is None:
            on_hand = sku.reserved + sku.pending + 20 if n % 4 else sku.reserved // 2
            capacity = s.SetCapacity(production_per_day=n % 3, shipping_per_day=60)
            commands += [
                SkuCommand(SHOP, sku.sku_id, command, "demo")
                for command in (s.CountStock(on_hand=on_hand), capacity)
            ]
    await program.commands.submit(commands)
    out.print(f"\n{len(board)} SKUs are on the stock board.")


async def story(program: Program) -> str:
    """An order runs out of stock, is locked while the platform decides, and is shipped late after all.

    Each step is printed with the status that the API would answer it with.
    """
    now = clock.now()
    order_sn = f"{now:%y%m%d}-{now:%H%M%S%f}000"
    placed = now - timedelta(hours=51)
    line = c.OrderedLine("52000301", "520003", "泰国金枕榴莲 1个", 1, 12900)
    steps: tuple[tuple[str, Command], ...] = (
        ("The buyer orders a durian and pays.", c.Place(lines=(line,), paid_fen=12900, occurred_at=placed)),
        ("The group forms; 48 hours begin.", c.FormGroup(occurred_at=placed + timedelta(hours=1))),
        (
            "There is no stock: the merchant applies.",
            c.RequestStockout(reason="oversold", occurred_at=placed + timedelta(hours=5)),
        ),
        ("Somebody tries to ship all the same.", c.UploadTracking(carrier="SF", tracking_number="SF7975425451911")),
        ("The platform rejects the application.", c.CompleteReview(outcome="rejected")),
        ("Now the parcel may go.", c.UploadTracking(carrier="SF", tracking_number="SF7975425451911")),
    )
    for sentence, command in steps:
        outcome = await program.commands.submit_one(OrderCommand(SHOP, order_sn, command, "demo"))
        out.print(f"\n{sentence}", style="bold")
        order = view(outcome.order, program.book, outcome.shown_at, outcome.related_facts)
        if outcome.refusal:
            out.print(f"  409 {outcome.refusal.code}: {outcome.refusal.detail}")
            for hold in order.shipment_lock.holds:
                if window := hold.expected_decision:
                    out.print(f"  decision expected {shown(window.earliest)} to {shown(window.latest)}")
            continue
        status = 201 if isinstance(command, c.Place) else 200
        out.print(f"  {status} {order.status}, version {order.version}")
    for violation in order.violations:
        out.print(f"  {violation.kind} since {shown(violation.arose_at)}, {violation.penalty_fen} fen")
    return order_sn
