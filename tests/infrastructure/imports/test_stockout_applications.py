"""Many applications at once: an answer for every row, and nothing applied for twice."""

from collections.abc import Sequence
from datetime import timedelta

import pytest

from domain.order import commands as c
from infrastructure.commands.committer import CommandPath
from infrastructure.commands.intents import Giver
from infrastructure.commands.preview import Preview
from infrastructure.database.pool import Pool
from infrastructure.files.tables import RejectedRow
from infrastructure.imports import stockout_applications as stockouts
from infrastructure.imports.batches import MiscountedRows
from infrastructure.imports.stockout_applications import (
    ApplicationReport,
    RowOutcome,
    request_stockouts,
)
from infrastructure.imports.stockout_lists import Entry, Reason
from infrastructure.log.log import read_head
from infrastructure.runtime import clock
from infrastructure.runtime.rule_sets import shipped_rules
from tests.orders import LINE, MONDAY_9, SHOP, done, on_database, order_command, order_sn, placed_and_formed

BOOK = shipped_rules()
OTHER = c.OrderedLine("52000302", "520003", "泰国金枕榴莲 2个", 1, 24900)


def request_of(reason: Reason | None = "oversold", sku_ids: tuple[str, ...] = ()) -> stockouts.Request:
    return stockouts.Request(SHOP, Giver("test"), reason, sku_ids)


async def applied(
    path: CommandPath, rows: Sequence[Entry | RejectedRow], request: stockouts.Request | None = None
) -> ApplicationReport:
    return await request_stockouts(rows, request or request_of(), path.submit, BOOK, ApplicationReport())


async def previewed(pool: Pool, rows: Sequence[Entry | RejectedRow]) -> ApplicationReport:
    preview = Preview(pool, BOOK, clock.now)
    return await request_stockouts(rows, request_of(), preview.submit, BOOK, ApplicationReport())


def counts(report: ApplicationReport) -> tuple[int, int, int, int]:
    return report.applied, report.already_under_review, report.refused, report.rejected


def test_every_row_is_answered_in_its_place(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        await done(path, order_command(order_sn(1), c.UploadTracking(carrier="SF", tracking_number="SF1")))
        rows: list[Entry | RejectedRow] = [
            Entry(2, order_sn(0)),
            RejectedRow(3, None, "no number"),
            Entry(4, order_sn(1)),
            Entry(5, order_sn(9)),
            Entry(6, order_sn(2), "999"),
            Entry(7, order_sn(2)),
            Entry(9, order_sn(0)),
        ]
        preview = await previewed(pool, rows)
        async with pool.connection() as connection:
            before = await read_head(connection, SHOP)
        report = await applied(path, rows)
        assert [(row.line, row.outcome, row.code) for row in report.rows] == [
            (2, "applied", None),
            (3, "rejected", "invalid_request"),
            (4, "refused", "already_shipped"),
            (5, "refused", "unknown_order"),
            (6, "refused", "invalid_request"),
            (7, "applied", None),
            (9, "already_under_review", "review_already_open"),
        ]
        assert (report.rows_read, *counts(report)) == (7, 2, 1, 3, 1)
        first, last = report.rows[0], report.rows[-1]
        assert (first.order_status, first.version) == ("stockout_review", 3)
        assert first.expected_decision is not None
        assert last.expected_decision == first.expected_decision
        assert report.rows[3] == RowOutcome(
            5, "refused", order_sn(9), "unknown_order", f"There is no order {order_sn(9)} in this shop."
        )
        assert report.position == before + 2
        outcomes = [(row.line, row.outcome, row.code, row.version) for row in report.rows]
        assert [(row.line, row.outcome, row.code, row.version) for row in preview.rows] == outcomes

    on_database(database_url, work)


def test_a_preview_appends_nothing_and_sending_a_list_again_neither(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 2)
        rows = [Entry(n, order_sn(n)) for n in range(2)]
        assert counts(await previewed(pool, rows)) == (2, 0, 0, 0)
        async with pool.connection() as connection:
            assert await read_head(connection, SHOP) == 4
        assert counts(await applied(path, rows)) == (2, 0, 0, 0)
        assert counts(await applied(path, rows)) == (0, 2, 0, 0)
        assert counts(await previewed(pool, rows)) == (0, 2, 0, 0)
        async with pool.connection() as connection:
            assert await read_head(connection, SHOP) == 6

    on_database(database_url, work)


def test_neighbouring_rows_of_an_order_are_one_application_for_their_skus(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        place = c.Place(lines=(LINE, OTHER), paid_fen=37800, occurred_at=MONDAY_9)
        for n in range(3):
            await done(
                path,
                order_command(order_sn(n), place),
                order_command(order_sn(n), c.FormGroup(occurred_at=MONDAY_9)),
            )
        rows = [
            Entry(2, order_sn(0), OTHER.sku_id),
            Entry(3, order_sn(0), LINE.sku_id),
            Entry(4, order_sn(1), OTHER.sku_id, "no_supply"),
            Entry(5, order_sn(2)),
        ]
        report = await applied(path, rows, request_of(sku_ids=(LINE.sku_id,)))
        assert [row.outcome for row in report.rows] == ["applied"] * 4
        assert report.rows[0].version == report.rows[1].version == 3
        orders = [
            (await path.submit_one(order_command(order_sn(n), c.ContactBuyer(channel="chat", message="x")))).order
            for n in range(3)
        ]
        assert [(review.reason, review.sku_ids) for order in orders for review in order.reviews] == [
            ("oversold", (OTHER.sku_id, LINE.sku_id)),
            ("no_supply", (OTHER.sku_id,)),
            ("oversold", (LINE.sku_id,)),
        ]

    on_database(database_url, work)


def test_a_row_without_any_reason_is_rejected(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 2)
        rows = [Entry(1, order_sn(0)), Entry(2, order_sn(1), None, "other")]
        report = await applied(path, rows, request_of(reason=None))
        assert [row.outcome for row in report.rows] == ["rejected", "applied"]

    on_database(database_url, work)


def test_a_list_handed_in_before_an_earlier_decision_is_not_applied_for_anew(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 1)
        handed_in = request_of()._replace(occurred_at=MONDAY_9 + timedelta(hours=1))
        assert (await applied(path, [Entry(1, order_sn(0))], handed_in)).applied == 1
        decided = c.CompleteReview(outcome="rejected", occurred_at=MONDAY_9 + timedelta(days=2))
        await done(path, order_command(order_sn(0), decided))
        assert (await applied(path, [Entry(1, order_sn(0))], handed_in)).refused == 1

    on_database(database_url, work)


def test_a_long_list_goes_in_batches_and_its_report_holds_only_the_first_rows(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 2)
        rows = [Entry(n, order_sn(n % 2)) for n in range(stockouts.MOST_ROWS + 1)]
        outcomes: list[RowOutcome] = []
        report = ApplicationReport()
        await request_stockouts(rows, request_of(), path.submit, BOOK, report, outcomes.extend)
        assert counts(report) == (2, stockouts.MOST_ROWS - 1, 0, 0)
        assert [row.line for row in outcomes] == [row.line for row in rows]
        assert report.rows == outcomes[: stockouts.MOST_ROWS]

    on_database(database_url, work)


def test_a_row_that_is_not_accounted_for_is_a_fault_that_is_told() -> None:
    ApplicationReport(rows_read=4, applied=1, already_under_review=1, refused=1, rejected=1).check()
    with pytest.raises(MiscountedRows, match="5 rows were read but 4 are accounted for"):
        ApplicationReport(rows_read=5, applied=1, already_under_review=1, refused=1, rejected=1).check()


def test_an_answer_says_where_its_row_stands_and_what_was_wrong_with_it(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 1)
        rows: list[Entry | RejectedRow] = [
            Entry(2, order_sn(0), LINE.sku_id, sheet="一", note="a quotation mark that never closes"),
            Entry(2, order_sn(0), LINE.sku_id, sheet="二"),
            RejectedRow(3, None, "a NUL byte", "二"),
        ]
        report = await applied(path, rows)
        assert [(row.sheet, row.line, row.outcome, row.note) for row in report.rows] == [
            ("一", 2, "applied", "a quotation mark that never closes"),
            ("二", 2, "applied", None),
            ("二", 3, "rejected", None),
        ]

    on_database(database_url, work)
