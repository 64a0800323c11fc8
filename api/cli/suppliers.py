"""``suppliers``: how the suppliers of a shop deliver what is handed to them (一件代发)."""

from datetime import datetime
from typing import Annotated

import typer
from rich.table import Table

from api.cli.terminal import PAGE, Json, ShopArgument, moment, out, print_json, read_views
from domain.rules.ruleset import RuleBook
from infrastructure.database.pool import ReadConnection
from infrastructure.queries.paging import every_item
from infrastructure.queries.suppliers import SupplierRecord, list_suppliers
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
    as_json: Json = False,
) -> None:
    """The suppliers of a shop: orders handed over, numbers in time, stockouts, and what is open."""

    async def read(connection: ReadConnection, _: RuleBook) -> list[SupplierRecord]:
        return await every_item(
            lambda after: list_suppliers(connection, shop, clock.now(), PAGE, after, since=since, until=until)
        )

    found = read_views(shop, read)
    if as_json:
        print_json({"items": found})
        return
    table = Table(
        "supplier",
        "handed over",
        "tracked",
        "on time",
        "late",
        "no stock",
        "open",
        "overdue",
        "on time",
        "no stock",
    )
    for each in found:
        table.add_row(
            each.supplier_id,
            str(each.handovers),
            str(each.tracked),
            str(each.on_time),
            str(each.late),
            str(each.out_of_stock),
            str(each.open),
            str(each.overdue),
            _percent(each.on_time_share),
            _percent(each.stockout_share),
        )
    out.print(table)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
