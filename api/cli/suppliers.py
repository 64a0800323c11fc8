"""``suppliers``: how the suppliers of a shop deliver what is handed to them (一件代发)."""

from datetime import datetime
from typing import Annotated

import typer

from api.cli.terminal import At, Json, Limit, ShopArgument, moment, page_or_all, print_page, read_views
from domain.rules.ruleset import RuleBook
from infrastructure.database.pool import ReadConnection
from infrastructure.queries.paging import Page
from infrastructure.queries.suppliers import SupplierKey, SupplierRecord, list_suppliers
from infrastructure.runtime import clock


def suppliers(
    shop: ShopArgument,
    since: Annotated[
        datetime | None,
        typer.Option("--from", parser=moment, metavar="TIME", help="Only orders handed over at or after this."),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option("--to", parser=moment, metavar="TIME", help="Only orders handed over before this."),
    ] = None,
    limit: Limit = None,
    cursor: At = None,
    as_json: Json = False,
) -> None:
    """The suppliers of a shop: orders handed over, numbers in time, stockouts, and what is open."""

    async def read(connection: ReadConnection, _: RuleBook) -> Page[SupplierRecord, SupplierKey]:
        now = clock.now()
        return await page_or_all(
            lambda size, start: list_suppliers(connection, shop, now, size, start, since=since, until=until),
            SupplierKey,
            limit,
            cursor,
        )

    print_page(
        read_views(shop, read),
        ("supplier", lambda supplier: supplier.supplier_id),
        ("handed over", lambda supplier: str(supplier.handovers)),
        ("tracked", lambda supplier: str(supplier.tracked)),
        ("on time", lambda supplier: str(supplier.on_time)),
        ("late", lambda supplier: str(supplier.late)),
        ("no stock", lambda supplier: str(supplier.out_of_stock)),
        ("open", lambda supplier: str(supplier.open)),
        ("overdue", lambda supplier: str(supplier.overdue)),
        ("on time", lambda supplier: _percent(supplier.on_time_share)),
        ("no stock", lambda supplier: _percent(supplier.stockout_share)),
        as_json=as_json,
    )


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
