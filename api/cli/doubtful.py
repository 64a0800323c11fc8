"""``doubtful``: orders whose tracking numbers the platform may take for false ones."""

from datetime import datetime, timedelta
from typing import Annotated

import typer
from rich.table import Table

from api.cli.terminal import Failed, Json, ShopArgument, moment, out, print_json, shown, with_program
from api.program import Program
from infrastructure.projections.worker import Worker
from infrastructure.queries.doubtful import DoubtfulShipment, list_doubtful
from infrastructure.runtime import clock

_DAYS = 31


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
    as_json: Json = False,
) -> None:
    """Orders whose tracking number another order had shortly before, or whose numbers were replaced often.

    Of the numbers that went up in the last 31 days, unless said otherwise.
    """
    end = until or clock.now() + timedelta(days=1)
    begin = since or end - timedelta(days=_DAYS)
    if begin >= end:
        raise Failed("--from must lie before --to.")

    async def read(program: Program) -> list[DoubtfulShipment]:
        await Worker(program.pool, program.book).catch_up(shop)
        found: list[DoubtfulShipment] = []
        async with program.pool.read() as connection:
            after = None
            while True:
                page = await list_doubtful(connection, shop, program.book, begin, end, 500, after)
                found += page.items
                if page.next_key is None:
                    return found
                order_sn, place = page.next_key
                after = (order_sn, place)

    found = with_program(read)
    if as_json:
        print_json({"items": found})
        return
    table = Table("order", "status", "shipped", "doubtful")
    for each in found:
        doubts = "\n".join(warning.detail for warning in each.warnings)
        table.add_row(each.order_sn, each.status, shown(each.shipped_at), doubts)
    out.print(table)
