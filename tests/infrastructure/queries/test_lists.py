"""Lists page by page: with any filters, exactly the orders that a scan selects, in order, each once."""

from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import product
from typing import Any

from psycopg.rows import dict_row

from domain.kernel import Command
from domain.order import commands as c
from domain.order.filters import DeadlineFilter, OrderFilter
from infrastructure.commands.committer import CommandPath
from infrastructure.database.pool import Pool, WriteConnection
from infrastructure.projections.worker import Worker
from infrastructure.queries.deadlines import list_deadlines
from infrastructure.queries.lists import OrderSort, list_orders
from infrastructure.runtime import clock
from infrastructure.runtime.rule_sets import shipped_rules
from tests.infrastructure.queries.both_ways import every_item_both_ways
from tests.orders import MONDAY_9, SHOP, done, on_database, order_command, order_sn, placed_and_formed

BOOK = shipped_rules()
EARLY = datetime(2026, 3, 5, tzinfo=UTC)

LIVES: tuple[tuple[Command, ...], ...] = (
    (),
    (c.UploadTracking(carrier="SF", tracking_number="1"),),
    (c.UploadTracking(carrier="SF", tracking_number="2", occurred_at=MONDAY_9 + timedelta(hours=110)),),
    (c.UploadTracking(carrier="SF", tracking_number="3"), c.ConfirmReceipt()),
    (c.RequestStockout(reason="oversold", occurred_at=MONDAY_9 + timedelta(hours=50)),),
    (c.RequestStockout(reason="oversold"), c.CompleteReview(outcome="approved")),
    (c.PlaceHold(hold="manual", reason="x"),),
    (c.Refund(initiated_by="merchant", reason="out_of_stock"),),
    (c.Refund(initiated_by="buyer", reason="changed_mind"),),
)


async def a_shop_of_all_kinds(pool: Pool, path: CommandPath) -> None:
    """Each life at three times, and another shop's orders of the same numbers."""
    for day in range(3):
        at = MONDAY_9 + timedelta(days=day)
        for n in range(len(LIVES)):
            number = order_sn(day * 100 + n)
            lines = (c.OrderedLine(f"sku-{n % 2}", "g", "n", 1, 100),)
            await done(path, order_command(number, c.Place(lines=lines, paid_fen=100, occurred_at=at)))
            await done(path, order_command(number, c.FormGroup(occurred_at=at)))
            for command in LIVES[n]:
                await done(path, order_command(number, command))
    await placed_and_formed(path, 5, "another")
    for shop in (SHOP, "another"):
        await Worker(pool, BOOK).catch_up(shop)


def test_orders_are_found_by_any_filters_together(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await a_shop_of_all_kinds(pool, path)
        at = clock.now()
        async with pool.connection() as connection:
            rows = await every_row(connection, "order_list")
            assert {row["status"] for row in rows} >= {
                "awaiting_shipment",
                "stockout_review",
                "shipped",
                "refunded",
            }
            statuses = (None, "awaiting_shipment", "stockout_review", "shipped", "refunded")
            sorts: tuple[OrderSort, ...] = ("ship_by", "-placed_at")
            choices = product(
                sorts,
                statuses,
                (None, True, False),
                (None, "sku-1"),
                (None, EARLY),
                (None, "late_shipment", "stockout", "fraudulent_shipment"),
            )
            for sort, status, locked, sku_id, due_before, violation in choices:
                filters: dict[str, Any] = {
                    "status": status,
                    "locked": locked,
                    "sku_id": sku_id,
                    "due_before": due_before,
                    "violation": violation,
                }
                want = [row for row in rows if fits(row, at, **filters)]
                key = "ship_by_key" if sort == "ship_by" else "placed_at"
                want.sort(key=lambda row: (row[key], row["order_sn"]), reverse=sort != "ship_by")
                numbers = await every_page(connection, at, sort, **filters)
                assert numbers == [row["order_sn"] for row in want], (sort, filters)

    on_database(database_url, work)


def fits(
    row: dict[str, Any],
    at: datetime,
    *,
    status: str | None,
    locked: bool | None,
    sku_id: str | None,
    due_before: datetime | None,
    violation: str | None,
) -> bool:
    waits = row["upload"] is None and row["status"] in ("awaiting_shipment", "stockout_review")
    stands_from = row[f"{violation}_from"] if violation else None
    return (
        status in (None, row["status"])
        and locked in (None, row["locked"])
        and (sku_id is None or sku_id in row["sku_ids"])
        and (due_before is None or (waits and row["ship_by_key"] < due_before))
        and (violation is None or (stands_from is not None and stands_from <= at))
    )


async def every_row(connection: WriteConnection, table: str) -> list[dict[str, Any]]:
    cursor = connection.cursor(row_factory=dict_row)
    await cursor.execute(f"SELECT * FROM {table} WHERE shop_id = %s".encode(), (SHOP,))
    return await cursor.fetchall()


async def every_page(connection: WriteConnection, at: datetime, sort: OrderSort, **filters: Any) -> list[str]:
    filter = OrderFilter(**filters)
    orders = await every_item_both_ways(
        lambda start: list_orders(connection, SHOP, at, filter, 4, start, sort=sort), 4
    )
    return [order.order_sn for order in orders]


def test_deadlines_are_found_by_kind_state_and_due_time(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await a_shop_of_all_kinds(pool, path)
        at = MONDAY_9 + timedelta(days=3)
        async with pool.connection() as connection:
            rows = await every_row(connection, "deadline_list")
            for kind, state, due_before in product(
                (None, "tracking_upload", "carrier_pickup", "contact_buyer"),
                (None, "pending", "met", "missed", "waived", "unknown"),
                (None, EARLY),
            ):
                want = [
                    (row["due_key"], row["order_sn"], row["number"])
                    for row in rows
                    if kind in (None, row["kind"])
                    and state in (None, row["settled"] or ("pending" if row["due_key"] >= at else "missed"))
                    and (due_before is None or row["due_key"] < due_before)
                ]
                filter = DeadlineFilter(kind=kind, state=state, due_before=due_before)  # type: ignore[arg-type]
                every = await every_item_both_ways(
                    partial(list_deadlines, connection, SHOP, at, filter, 7, book=BOOK), 7
                )
                of_rows = [item for item in every if item.kind != "contact_buyer" or item.sku_id is None]
                deadlines = [(item.kind, item.order_sn) for item in of_rows]
                by_key = {(row["due_key"], row["order_sn"], row["number"]): row["kind"] for row in rows}
                assert deadlines == [(by_key[key], key[1]) for key in sorted(want)], (kind, state, due_before)

    on_database(database_url, work)
