"""What builds hold, and whether it is what the log gives."""

from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from infrastructure.projections import builds
from infrastructure.projections.verification import verify
from infrastructure.projections.views import VIEWS
from infrastructure.rule_sets import shipped_rules
from tests.orders import SHOP

BOOK = shipped_rules()


async def rows(connection: AsyncConnection[TupleRow], shop: str = SHOP) -> dict[str, list[Any]]:
    """Everything the active builds hold of a shop, by view."""
    found = {}
    for view in VIEWS:
        cursor = await connection.execute(
            f"SELECT * FROM {view.table} WHERE shop_id = %s ORDER BY order_sn, 3", (shop,)
        )
        found[view.name] = await cursor.fetchall()
    return found


async def equal_to_the_log(connection: AsyncConnection[TupleRow]) -> None:
    """Every live build holds, of every order, just the rows that folding all of its events gives."""
    live = await builds.live(connection, BOOK)
    assert live
    for build in live:
        found = await verify(connection, build, BOOK, sample=None)
        assert found.differences == []
        assert found.checksum == found.expected
