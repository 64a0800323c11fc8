"""``skus``, ``sku``, ``at-risk``, ``cases`` and ``case``: what may still be sold, and what ran out."""

from datetime import datetime
from typing import Annotated, Literal

import typer
from rich.text import Text

from api.cli.terminal import (
    PAGE,
    AsOf,
    At,
    Column,
    Json,
    KnownAt,
    Limit,
    ShopArgument,
    out,
    page_or_all,
    print_json,
    print_page,
    print_table,
    read_views,
    shown,
    yuan,
)
from domain.rules.ruleset import RuleBook
from domain.stock.view import SkuView
from domain.stockout.case_view import CaseView, OrderInCase, case_view
from domain.stockout.messages import FilledMessage
from domain.viewpoint import Viewpoint
from infrastructure.database.pool import ReadConnection
from infrastructure.queries.paging import Page, every_item
from infrastructure.queries.stock import VIEWS_READ, SkuKey, find_sku, list_skus, orders_at_risk
from infrastructure.queries.stockout_cases import CaseKey, UrgencyKey, find_case, list_cases, messages_of, orders_of
from infrastructure.runtime.message_templates import shipped_messages

SkuArgument = Annotated[str, typer.Argument(metavar="SKU", help="The SKU's id.")]
CaseArgument = Annotated[str, typer.Argument(metavar="CASE", help="The case's id, such as 52000301:1234.")]


def skus(
    shop: ShopArgument,
    oversold: Annotated[
        bool | None, typer.Option("--oversold/--not-oversold", help="Only SKUs sold beyond what can be shipped.")
    ] = None,
    listed: Annotated[bool | None, typer.Option("--listed/--delisted", help="Only SKUs that are for sale.")] = None,
    as_of: AsOf = None,
    known_at: KnownAt = None,
    limit: Limit = None,
    cursor: At = None,
    as_json: Json = False,
) -> None:
    """The stock board: what is on hand, what is reserved, and what may still be sold."""

    async def read(connection: ReadConnection, book: RuleBook, now: datetime) -> Page[SkuView, SkuKey]:
        return await page_or_all(
            lambda size, start: list_skus(
                connection, shop, book, now, size, start, oversold=oversold, listed=listed
            ),
            SkuKey,
            limit,
            cursor,
        )

    print_page(
        read_views(shop, read, viewpoint=Viewpoint(as_of, known_at), views=VIEWS_READ),
        ("SKU", lambda sku: sku.sku_id),
        ("on hand", lambda sku: _pieces(sku.on_hand)),
        ("reserved", lambda sku: str(sku.reserved)),
        ("pending", lambda sku: str(sku.pending)),
        ("to sell", lambda sku: _pieces(sku.sellable)),
        ("set to", lambda sku: _pieces(sku.suggested_stock)),
        ("oversold by", lambda sku: str(sku.oversold_by or "-")),
        ("at risk", lambda sku: str(sku.at_risk_orders or "-")),
        ("listed", lambda sku: "yes" if sku.listed else "no"),
        as_json=as_json,
    )


def sku(
    shop: ShopArgument, sku_id: SkuArgument, as_of: AsOf = None, known_at: KnownAt = None, as_json: Json = False
) -> None:
    """One SKU: what may still be sold, step by step."""

    async def read(connection: ReadConnection, book: RuleBook, now: datetime) -> SkuView:
        return await find_sku(connection, shop, book, now, sku_id)

    view = read_views(shop, read, viewpoint=Viewpoint(as_of, known_at), views=VIEWS_READ)
    if as_json:
        print_json(view)
        return
    sellable = f"  {_pieces(view.sellable)} to sell  version {view.version}"
    out.print(Text.assemble((view.sku_id, "bold"), sellable))
    for step in view.because:
        out.print(f"  {step.quantity:+6d}  {step.detail}")
    out.print(
        f"set on the platform: {_pieces(view.suggested_stock)} ({view.pending} in groups that may still form)"
    )
    if view.case_id:
        out.print(f"case {view.case_id} is open, {view.at_risk_orders} orders at risk")
    if view.delist_due_at:
        out.print(Text.assemble(("to be off the shelf", "red"), f" since {shown(view.delist_due_at)}"))
    for warning in view.warnings:
        out.print(Text.assemble((warning.code, "yellow"), f" {warning.detail}"))


def at_risk(
    shop: ShopArgument,
    sku_id: SkuArgument,
    as_of: AsOf = None,
    known_at: KnownAt = None,
    limit: Limit = None,
    cursor: At = None,
    as_json: Json = False,
) -> None:
    """The open orders of a SKU's open stockout case that have not applied: the dearest, then the most urgent."""

    async def read(connection: ReadConnection, book: RuleBook, now: datetime) -> Page[OrderInCase, UrgencyKey]:
        return await page_or_all(
            lambda size, start: orders_at_risk(connection, shop, book, now, sku_id, size, start),
            UrgencyKey,
            limit,
            cursor,
        )

    page = read_views(shop, read, viewpoint=Viewpoint(as_of, known_at), views=VIEWS_READ)
    print_page(page, *_ORDER_IN_CASE, as_json=as_json)


_ORDER_IN_CASE: tuple[Column[OrderInCase], ...] = (
    ("order", lambda order: order.order_sn),
    ("stands", lambda order: order.standing),
    ("ship by", lambda order: shown(order.ship_by)),
    ("price of a stockout", lambda order: yuan(order.stockout_fen)),
    ("buyer to be told by", lambda order: shown(order.contact.due_at)),
    ("told", lambda order: order.contact.state),
)


def cases(
    shop: ShopArgument,
    only_open: Annotated[bool, typer.Option("--open", help="Only cases that are open.")] = False,
    as_of: AsOf = None,
    known_at: KnownAt = None,
    limit: Limit = None,
    cursor: At = None,
    as_json: Json = False,
) -> None:
    """The stockout cases of a shop, those that are open first."""
    state: Literal["open"] | None = "open" if only_open else None

    async def read(connection: ReadConnection, book: RuleBook, now: datetime) -> Page[CaseView, CaseKey]:
        return await page_or_all(
            lambda size, start: list_cases(connection, shop, book, now, size, start, state=state),
            CaseKey,
            limit,
            cursor,
        )

    print_page(
        read_views(shop, read, viewpoint=Viewpoint(as_of, known_at), views=VIEWS_READ),
        ("case", lambda case: case.case_id),
        ("state", lambda case: case.state),
        ("opened", lambda case: shown(case.opened_at)),
        ("off the shelf", lambda case: case.delist.state),
        ("orders", lambda case: str(case.orders)),
        ("decided", lambda case: str(case.decided)),
        ("contacted", lambda case: str(case.contacted)),
        ("at stake", lambda case: yuan(case.at_stake_fen)),
        ("closed", lambda case: shown(case.closed_at)),
        as_json=as_json,
    )


def case(
    shop: ShopArgument, case_id: CaseArgument, as_of: AsOf = None, known_at: KnownAt = None, as_json: Json = False
) -> None:
    """One stockout case: its orders, how they stand, and what to tell the buyers."""

    async def read(
        connection: ReadConnection, book: RuleBook, now: datetime
    ) -> tuple[CaseView, list[OrderInCase], list[FilledMessage]]:
        stockout_case = await find_case(connection, shop, case_id)
        orders = await every_item(lambda after: orders_of(connection, shop, book, now, stockout_case, PAGE, after))
        messages = await every_item(
            lambda after: messages_of(connection, shop, book, stockout_case, shipped_messages(), PAGE, after)
        )
        return case_view(stockout_case, book, now), orders, messages

    view, orders, messages = read_views(shop, read, viewpoint=Viewpoint(as_of, known_at), views=VIEWS_READ)
    if as_json:
        print_json({"case": view, "orders": orders, "messages": messages})
        return
    closed = f", closed {shown(view.closed_at)}" if view.closed_at else f", {yuan(view.at_stake_fen)} at stake"
    opened = f"  {view.state}  opened {shown(view.opened_at)} by {view.opened_by}{closed}"
    out.print(Text.assemble((view.case_id, "bold"), opened))
    out.print(f"off the shelf: {view.delist.state} (due {shown(view.delist.due_at)}, {shown(view.delist.met_at)})")
    print_table(orders, *_ORDER_IN_CASE)
    for message in messages:
        out.print(f"{message.order_sn} {message.title}: {message.text}")


def _pieces(count: int | None) -> str:
    return "unknown" if count is None else str(count)
