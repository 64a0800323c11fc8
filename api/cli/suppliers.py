"""``suppliers`` and ``handovers``: how suppliers deliver what is handed to them (一件代发), and what is open."""

from datetime import datetime
from typing import Annotated

import typer

from api.cli.terminal import (
    AsOf,
    At,
    Json,
    KnownAt,
    Limit,
    ShopArgument,
    moment,
    page_or_all,
    print_page,
    read_views,
    shown,
)
from domain.rules.ruleset import RuleBook
from domain.viewpoint import Viewpoint
from infrastructure.database.pool import ReadConnection
from infrastructure.queries.paging import Page
from infrastructure.queries.suppliers import (
    VIEWS_READ,
    OpenHandover,
    OpenKey,
    SupplierKey,
    SupplierRecord,
    list_suppliers,
    open_handovers,
)


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
    as_of: AsOf = None,
    known_at: KnownAt = None,
    limit: Limit = None,
    cursor: At = None,
    as_json: Json = False,
) -> None:
    """The suppliers of a shop: orders handed over, numbers in time, stockouts, and what is open."""

    async def read(connection: ReadConnection, _: RuleBook, now: datetime) -> Page[SupplierRecord, SupplierKey]:
        return await page_or_all(
            lambda size, start: list_suppliers(connection, shop, now, size, start, since=since, until=until),
            SupplierKey,
            limit,
            cursor,
        )

    print_page(
        read_views(shop, read, viewpoint=Viewpoint(as_of, known_at), views=VIEWS_READ),
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


def handovers(
    shop: ShopArgument,
    supplier: Annotated[str, typer.Argument(metavar="SUPPLIER", help="The supplier's id.")],
    as_of: AsOf = None,
    known_at: KnownAt = None,
    limit: Limit = None,
    cursor: At = None,
    as_json: Json = False,
) -> None:
    """The orders that a supplier is waited for, by when a number is expected; those without a time last."""

    async def read(connection: ReadConnection, _: RuleBook, now: datetime) -> Page[OpenHandover, OpenKey]:
        return await page_or_all(
            lambda size, start: open_handovers(connection, shop, supplier, now, size, start),
            OpenKey,
            limit,
            cursor,
        )

    print_page(
        read_views(shop, read, viewpoint=Viewpoint(as_of, known_at), views=VIEWS_READ),
        ("order", lambda handover: handover.order_sn),
        ("handed over", lambda handover: shown(handover.handed_at)),
        ("number expected by", lambda handover: shown(handover.expected_tracking_at)),
        ("overdue", lambda handover: "yes" if handover.overdue else "no"),
        as_json=as_json,
    )


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
