"""``suppliers``: how the suppliers of a shop deliver what is handed to them (一件代发)."""

from datetime import datetime
from typing import Annotated

import typer

from api.cli.terminal import PAGE, Json, ShopArgument, moment, print_items, read_views
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

    print_items(
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
