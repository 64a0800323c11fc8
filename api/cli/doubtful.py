"""``doubtful``: orders whose tracking numbers the platform may take for false ones."""

from datetime import datetime
from typing import Annotated

import typer

from api.cli.terminal import (
    At,
    CommandFailed,
    Json,
    Limit,
    ShopArgument,
    moment,
    page_or_all,
    print_page,
    read_views,
    shown,
)
from domain.rules.ruleset import RuleBook
from infrastructure.database.pool import ReadConnection
from infrastructure.queries.doubtful import DoubtfulShipment, list_doubtful, period
from infrastructure.queries.paging import OrderKey, Page
from infrastructure.runtime import clock


def doubtful(
    shop: ShopArgument,
    since: Annotated[
        datetime | None,
        typer.Option("--from", parser=moment, metavar="TIME", help="Only numbers that went up at or after this."),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option("--to", parser=moment, metavar="TIME", help="Only numbers that went up before this."),
    ] = None,
    limit: Limit = None,
    cursor: At = None,
    as_json: Json = False,
) -> None:
    """Orders whose tracking number another order had shortly before, or whose numbers were replaced often.

    Of the numbers that went up in the last 31 days, unless said otherwise.
    """
    begin, end = period(since, until, clock.now())
    if begin >= end:
        raise CommandFailed("--from must lie before --to.")

    async def read(connection: ReadConnection, book: RuleBook, _: datetime) -> Page[DoubtfulShipment, OrderKey]:
        return await page_or_all(
            lambda size, start: list_doubtful(connection, shop, book, begin, end, size, start),
            OrderKey,
            limit,
            cursor,
        )

    print_page(
        read_views(shop, read),
        ("order", lambda shipment: shipment.order_sn),
        ("status", lambda shipment: shipment.status),
        ("shipped", lambda shipment: shown(shipment.shipped_at)),
        ("doubtful", lambda shipment: "\n".join(warning.detail for warning in shipment.warnings)),
        as_json=as_json,
    )
