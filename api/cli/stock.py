"""``skus``, ``sku``, ``cases`` and ``case``: what may still be sold, and what ran out, from the command line."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Literal, TypeVar

import typer
from rich.table import Table
from rich.text import Text

from api.cli.terminal import Failed, Json, ShopArgument, out, print_json, shown, with_program, yuan
from api.program import Program
from domain.rules.ruleset import RuleBook
from domain.stock.view import SkuView
from domain.stockout.case_view import CaseView, OrderInCase, case_view
from domain.stockout.messages import FilledMessage
from infrastructure.database.pool import ReadConnection
from infrastructure.projections.worker import Worker
from infrastructure.queries.stock import find_sku, list_skus
from infrastructure.queries.stockout_cases import CaseKey, find_case, list_cases, messages_of, orders_of
from infrastructure.runtime import clock
from infrastructure.runtime.message_templates import shipped_messages

PAGE = 200

SkuArgument = Annotated[str, typer.Argument(metavar="SKU", help="The SKU's id.")]
CaseArgument = Annotated[str, typer.Argument(metavar="CASE", help="The case's id, such as 52000301:1234.")]

T = TypeVar("T")


def skus(
    shop: ShopArgument,
    oversold: Annotated[
        bool | None, typer.Option("--oversold/--not-oversold", help="Only SKUs sold beyond what can be shipped.")
    ] = None,
    listed: Annotated[bool | None, typer.Option("--listed/--delisted", help="Only SKUs that are for sale.")] = None,
    as_json: Json = False,
) -> None:
    """The stock board: what is on hand, what is reserved, and what may still be sold."""

    async def read(connection: ReadConnection, book: RuleBook) -> list[SkuView]:
        found: list[SkuView] = []
        after = ""
        while True:
            now = clock.now()
            page = await list_skus(connection, shop, book, now, PAGE, after, oversold=oversold, listed=listed)
            found += page.items
            if page.next_key is None:
                return found
            (after,) = page.next_key

    found = _caught_up(shop, read)
    if as_json:
        print_json({"items": found})
        return
    table = Table("SKU", "on hand", "reserved", "pending", "to sell", "set to", "oversold by", "at risk", "listed")
    for sku in found:
        table.add_row(
            sku.sku_id,
            _pieces(sku.on_hand),
            str(sku.reserved),
            str(sku.pending),
            _pieces(sku.sellable),
            _pieces(sku.suggested_stock),
            str(sku.oversold_by or "-"),
            str(sku.at_risk_orders or "-"),
            "yes" if sku.listed else "no",
        )
    out.print(table)


def sku(shop: ShopArgument, sku_id: SkuArgument, as_json: Json = False) -> None:
    """One SKU: what may still be sold, step by step."""

    async def read(connection: ReadConnection, book: RuleBook) -> SkuView:
        found = await find_sku(connection, shop, book, clock.now(), sku_id)
        if found is None:
            raise Failed(f"The shop has no SKU {sku_id}; no order names it, and nothing was told of it.")
        return found

    found = _caught_up(shop, read)
    if as_json:
        print_json(found)
        return
    sellable = f"  {_pieces(found.sellable)} to sell  version {found.version}"
    out.print(Text.assemble((found.sku_id, "bold"), sellable))
    for step in found.because:
        out.print(f"  {step.quantity:+6d}  {step.detail}")
    out.print(
        f"set on the platform: {_pieces(found.suggested_stock)} ({found.pending} in groups that may still form)"
    )
    if found.case_id:
        out.print(f"case {found.case_id} is open, {found.at_risk_orders} orders at risk")
    if found.delist_due_at:
        out.print(Text.assemble(("to be off the shelf", "red"), f" since {shown(found.delist_due_at)}"))
    for warning in found.warnings:
        out.print(Text.assemble((warning.code, "yellow"), f" {warning.detail}"))


def cases(
    shop: ShopArgument,
    only_open: Annotated[bool, typer.Option("--open", help="Only cases that are open.")] = False,
    as_json: Json = False,
) -> None:
    """The stockout cases of a shop, those that are open first."""
    state: Literal["open"] | None = "open" if only_open else None

    async def read(connection: ReadConnection, book: RuleBook) -> list[CaseView]:
        found: list[CaseView] = []
        after: CaseKey | None = None
        while True:
            page = await list_cases(connection, shop, book, clock.now(), PAGE, after, state=state)
            found += page.items
            if page.next_key is None:
                return found
            phase, sku_id, number = page.next_key
            after = (phase, sku_id, number)

    found = _caught_up(shop, read)
    if as_json:
        print_json({"items": found})
        return
    table = Table(
        "case", "state", "opened", "off the shelf", "orders", "decided", "contacted", "at stake", "closed"
    )
    for case in found:
        table.add_row(
            case.case_id,
            case.state,
            shown(case.opened_at),
            case.delist.state,
            str(case.orders),
            str(case.decided),
            str(case.contacted),
            yuan(case.at_stake_fen),
            shown(case.closed_at),
        )
    out.print(table)


def case(shop: ShopArgument, case_id: CaseArgument, as_json: Json = False) -> None:
    """One stockout case: its orders, how they stand, and what to tell the buyers."""

    async def read(
        connection: ReadConnection, book: RuleBook
    ) -> tuple[CaseView, list[OrderInCase], list[FilledMessage]]:
        found = await find_case(connection, shop, case_id)
        if found is None:
            raise Failed(f"The shop has no stockout case {case_id}; `shiplock cases {shop}` lists those there are.")
        now = clock.now()
        orders: list[OrderInCase] = []
        messages: list[FilledMessage] = []
        after = None
        while True:
            page = await orders_of(connection, shop, book, now, found, PAGE, after)
            texts = await messages_of(connection, shop, book, found, shipped_messages(), PAGE, after)
            orders += page.items
            messages += texts.items
            if page.next_key is None:
                return case_view(found, book, now), orders, messages
            since, order_sn = page.next_key
            after = (since, order_sn)

    found, orders, messages = _caught_up(shop, read)
    if as_json:
        print_json({"case": found, "orders": orders, "messages": messages})
        return
    closed = f", closed {shown(found.closed_at)}" if found.closed_at else f", {yuan(found.at_stake_fen)} at stake"
    opened = f"  {found.state}  opened {shown(found.opened_at)} by {found.opened_by}{closed}"
    out.print(Text.assemble((found.case_id, "bold"), opened))
    out.print(
        f"off the shelf: {found.delist.state} (due {shown(found.delist.due_at)}, {shown(found.delist.met_at)})"
    )
    table = Table("order", "stands", "ship by", "price of a stockout", "buyer to be told by", "told")
    for order in orders:
        table.add_row(
            order.order_sn,
            order.standing,
            shown(order.ship_by),
            yuan(order.stockout_fen),
            shown(order.contact.due_at),
            order.contact.state,
        )
    out.print(table)
    for message in messages:
        out.print(f"{message.order_sn} {message.title}: {message.text}")


def _caught_up(shop: str, read: Callable[[ReadConnection, RuleBook], Awaitable[T]]) -> T:
    """Read the views once they show all that is in the shop's log."""

    async def work(program: Program) -> T:
        await Worker(program.pool, program.book).catch_up(shop)
        async with program.pool.read() as connection:
            return await read(connection, program.book)

    return with_program(work)


def _pieces(count: int | None) -> str:
    return "unknown" if count is None else str(count)
