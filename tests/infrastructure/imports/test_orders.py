"""Exports into the log: once, whole, and nothing invented."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from domain.order import commands as c
from domain.order.fold import fold
from domain.order.state import Order
from domain.order.view import OrderView, view
from infrastructure.commands.committer import CommandPath
from infrastructure.commands.preview import Preview
from infrastructure.database.pool import Pool
from infrastructure.imports import batches
from infrastructure.imports.orders import ImportReport, UnknownWords, import_orders
from infrastructure.log.log import ORDER, read_head, read_histories
from infrastructure.pinduoduo.exports import ExportReader
from infrastructure.runtime import clock
from infrastructure.runtime.rule_sets import shipped_rules
from tests.orders import SHOP, done, on_database, order_command

SAMPLES = Path(__file__).parents[1] / "pinduoduo/samples"
EXPORTED = datetime(2026, 3, 20, 10, tzinfo=UTC)
BOOK = shipped_rules()


async def imported(path: CommandPath, file: Path, seen_at: datetime = EXPORTED, shop: str = SHOP) -> ImportReport:
    with ExportReader(file, seen_at=seen_at, now=seen_at) as reader:
        report = await import_orders(reader, shop, path.submit, ImportReport())
        report.check(reader.rows_read)
        return report


async def orders_of(pool: Pool, shop: str = SHOP) -> dict[str, Order]:
    async with pool.connection() as connection:
        cursor = await connection.execute("SELECT DISTINCT stream FROM event WHERE shop_id = %s", (shop,))
        streams: Iterable[Any] = [(shop, row[0]) for row in await cursor.fetchall()]
        histories = await read_histories(connection, streams)
    return {
        stream.removeprefix(ORDER): fold(stream.removeprefix(ORDER), history)
        for (_, stream), history in histories.items()
    }


@pytest.mark.parametrize("name", ["orders_export_2020.csv", "orders_export_2023.csv"])
def test_an_export_goes_in_whole_and_a_second_time_appends_nothing(database_url: str, name: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        first = await imported(path, SAMPLES / name)
        assert (first.rows_read, first.orders_new, first.rows_rejected) == (400, 400, 0)
        async with pool.connection() as connection:
            head = await read_head(connection, SHOP)
        assert first.events_appended == head
        again = await imported(path, SAMPLES / name, EXPORTED + timedelta(days=1))
        assert (again.events_appended, again.orders_unchanged) == (0, 400)
        async with pool.connection() as connection:
            assert await read_head(connection, SHOP) == head

    on_database(database_url, work)


def test_both_layouts_give_the_same_orders(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await imported(path, SAMPLES / "orders_export_2020.csv")
        other = await imported(path, SAMPLES / "orders_export_2023.csv")
        assert other.events_appended == 0
        assert not any(order.anomalies for order in (await orders_of(pool)).values())

    on_database(database_url, work)


def test_what_an_export_does_not_carry_is_not_claimed(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await imported(path, SAMPLES / "orders_export_2020.csv")
        by_status: dict[str, list[OrderView]] = {}
        for order in (await orders_of(pool)).values():
            shown = view(order, BOOK, EXPORTED)
            by_status.setdefault(shown.status, []).append(shown)
        counts = {status: len(orders) for status, orders in by_status.items()}
        assert counts == {
            "shipped": 169,
            "awaiting_shipment": 112,
            "received": 53,
            "stockout_review": 30,
            "refunded": 20,
            "pending_payment": 16,
        }
        assert not any(order.violations for order in by_status["refunded"])
        assert all(order.paid_fen is None for order in by_status["pending_payment"])
        for shown in by_status["shipped"]:
            pickup = next(d for d in shown.deadlines if d.kind == "carrier_pickup")
            assert pickup.state == "unknown"
            assert {violation.kind for violation in shown.violations} <= {"late_shipment", "stockout"}
        for shown in by_status["stockout_review"]:
            (hold,) = shown.shipment_lock.holds
            assert hold.expected_decision is None
            kinds = [violation.kind for violation in shown.violations]
            assert shown.ship_by is not None
            assert kinds == (["late_shipment"] if shown.ship_by < EXPORTED else [])

    on_database(database_url, work)


def test_a_preview_says_the_same_and_appends_nothing(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        file = SAMPLES / "orders_export_2023.csv"
        with ExportReader(file, seen_at=EXPORTED, now=EXPORTED) as reader:
            preview = await import_orders(reader, SHOP, Preview(pool, BOOK, clock.now).submit, ImportReport())
        async with pool.connection() as connection:
            assert await read_head(connection, SHOP) == 0
        real = await imported(path, file)
        assert (preview.orders_new, preview.events_appended) == (real.orders_new, real.events_appended)

    on_database(database_url, work)


HEADER = (
    "订单号,商品,商品数量(件),样式ID,订单状态,用户实付金额(元),支付时间,拼单成功时间,发货时间,快递单号,快递公司"
)


@pytest.mark.parametrize("batch", [500, 2])
def test_a_preview_knows_of_the_rows_above(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(batches, "BATCH", batch)
    waiting = "{0},durian,1,s1,待发货,43.00,2026-03-02 09:00:00,2026-03-02 10:00:00,,,"
    shipped = (
        "{0},durian,1,s1,已发货，待签收,43.00,2026-03-02 09:00:00,2026-03-02 10:00:00,2026-03-03 10:00:00,{1},SF"
    )
    rows = [
        *(waiting.format(number) for number in "abc"),
        waiting.format("a"),
        shipped.format("b", "SF1"),
        shipped.format("b", "SF1"),
        shipped.format("b", "SF2"),
        waiting.format("b"),
    ]
    file = tmp_path / "export.csv"
    file.write_text("\n".join([HEADER, *rows]), encoding="utf-8")

    async def work(pool: Pool, path: CommandPath) -> None:
        for new in (3, 0):
            with ExportReader(file, seen_at=EXPORTED, now=EXPORTED) as reader:
                preview = await import_orders(reader, SHOP, Preview(pool, BOOK, clock.now).submit, ImportReport())
                preview.rows_read = reader.rows_read
            real = await imported(path, file)
            assert preview == real
            assert real.orders_new == new

    on_database(database_url, work)


def test_a_row_that_contradicts_the_history_is_an_anomaly_and_no_fact_is_lost(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await imported(path, SAMPLES / "orders_export_2020.csv")
        waiting = next(n for n, order in (await orders_of(pool)).items() if order.status == "awaiting_shipment")
        await done(path, order_command(waiting, c.UploadTracking(carrier="SF", tracking_number="OURS")))
        later = datetime.now(UTC) + timedelta(minutes=5)
        report = await imported(path, SAMPLES / "orders_export_2020.csv", later)
        assert report.orders_changed == 1
        order = (await orders_of(pool))[waiting]
        assert [anomaly.code for anomaly in order.anomalies] == ["shipment_not_seen"]
        assert order.status == "shipped"
        assert (await imported(path, SAMPLES / "orders_export_2020.csv", later)).events_appended == 0

    on_database(database_url, work)


def test_bad_rows_are_reported_and_the_others_go_in(database_url: str, tmp_path: Path) -> None:
    lines = (SAMPLES / "orders_export_2020.csv").read_text(encoding="utf-8-sig").splitlines()
    lines[3] = lines[3].replace("待发货", "飞走了")
    lines[5] = lines[5].replace("2026-", "3026-")
    broken = tmp_path / "broken.csv"
    broken.write_text("\n".join(lines), encoding="utf-8")

    async def work(pool: Pool, path: CommandPath) -> None:
        report = await imported(path, broken)
        assert (report.orders_new, report.rows_rejected) == (399, 1)
        assert [(row.line, row.column) for row in report.rejected] == [(6, "拼单成功时间")]
        assert [(row.line, row.column) for row in report.notes] == [(4, "订单状态")]
        assert report.unknown_words == [UnknownWords("订单状态", "飞走了", 1)]
        assert (report.rows_new, report.rows_accounted_for) == (399, report.rows_read)

    on_database(database_url, work)
