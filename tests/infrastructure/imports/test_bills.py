"""Bills into the log: what a preview says is what then happens."""

import hashlib
import uuid
from collections.abc import Sequence, Set
from datetime import UTC, datetime
from io import BytesIO
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.order.commands import NO_ORDER, RecordBilledCharge
from infrastructure.commands.committer import CommandPath
from infrastructure.commands.preview import Preview
from infrastructure.database.pool import Pool
from infrastructure.imports import batches
from infrastructure.imports.bills import BillReport, import_bill
from infrastructure.log.log import read_head
from infrastructure.pinduoduo.bills import BillReader
from infrastructure.runtime import clock
from infrastructure.runtime.rule_sets import shipped_rules
from tests.orders import SHOP, done, on_database, order_command, order_sn, placed_and_formed

NOW = datetime(2026, 4, 1, tzinfo=UTC)
HEADER = "商户订单号,发生时间,收入金额（+元）,支出金额（-元）,业务描述,流水号"


def bill(*lines: str) -> BillReader:
    return BillReader(BytesIO("\n".join([HEADER, *lines]).encode()), now=NOW)


def charge(number: int, fen: str = "3.00", line_id: str = "", at: str = "2026-03-06 03:00:00") -> str:
    return f"{order_sn(number)},{at},,-{fen},延迟发货,{line_id}"


@pytest.mark.parametrize("batch", [500, 1])
def test_a_preview_knows_of_the_lines_above(database_url: str, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    monkeypatch.setattr(batches, "BATCH", batch)
    lines = [
        charge(0, line_id="Q1"),
        charge(0, line_id="Q1"),
        charge(0, "4.00", line_id="Q1"),
        charge(1),
        charge(1),
        charge(1, line_id="Q2", at="2026-03-05 03:00:00"),
        charge(1, line_id="Q2", at="2026-03-04 03:00:00"),
        charge(7),
        charge(7),
        f"{order_sn(0)},2026-03-07 03:00:00,3.00,,申诉补回,Q1",
        f"{order_sn(0)},2026-03-07 03:00:00,3.00,,申诉补回,Q3",
    ]

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 2)
        for _ in range(2):
            async with pool.connection() as connection:
                head = await read_head(connection, SHOP)
            dry_run = Preview(pool, shipped_rules(), clock.now)
            preview = await import_bill(bill(*lines), SHOP, pool, dry_run.submit, BillReport())
            async with pool.connection() as connection:
                assert await read_head(connection, SHOP) == head
            report = await import_bill(bill(*lines), SHOP, pool, path.submit, BillReport())
            preview.position = report.position
            assert preview == report
            assert (report.charges + report.returns + report.known, report.rejected) == (8, 3)
        assert (report.charges, report.returns) == (0, 0)

    on_database(database_url, work)


def test_what_was_wrong_with_a_line_that_went_in_is_told(database_url: str) -> None:
    lines = [charge(0, line_id="7.80831E+14"), charge(1, line_id='"Q2'), charge(1, "4.00", line_id="Q3")]

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 2)
        report = await import_bill(bill(*lines), SHOP, pool, path.submit, BillReport())
        assert (report.charges, report.rejected, report.lines_noted) == (3, 0, 2)
        assert [(note.line, note.order_sn) for note in report.notes] == [(2, order_sn(0)), (3, order_sn(1))]
        assert "流水号: '7.80831E+14' was rounded" in report.notes[0].reason
        assert "quotation mark" in report.notes[1].reason

    on_database(database_url, work)


@pytest.mark.parametrize("precise_first", [True, False])
@pytest.mark.parametrize("coarse", ["2026-03-06 03:00", "2026/3/6 3:00", "2026-03-06 03:00:00"])
def test_a_copy_that_lost_its_seconds_tells_nothing_new(
    database_url: str, precise_first: bool, coarse: str
) -> None:
    """A spreadsheet drops the seconds of a time, or writes zeros. Its number says that it is the same line."""
    precise = bill(
        charge(0, line_id="Q1", at="2026-03-06 03:00:41"),
        charge(0, line_id="Q2", at="2026-03-06 03:00:42"),
        f"{order_sn(0)},2026-03-06 03:00:43,3.00,,申诉补回,Q3",
    )
    copy = bill(
        charge(0, line_id="Q1", at=coarse),
        charge(0, line_id="Q2", at=coarse),
        f"{order_sn(0)},{coarse},3.00,,申诉补回,Q3",
    )

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 1)
        first, second = (precise, copy) if precise_first else (copy, precise)
        report = await import_bill(first, SHOP, pool, path.submit, BillReport())
        assert (report.charges, report.returns, report.rejected) == (2, 1, 0)
        again = await import_bill(second, SHOP, pool, path.submit, BillReport())
        assert (again.charges, again.returns, again.known, again.rejected) == (0, 0, 3, 0)
        later = bill(charge(0, line_id="Q1", at="2026-03-06 03:01:00"))
        assert (await import_bill(later, SHOP, pool, path.submit, BillReport())).rejected == 1

    on_database(database_url, work)


def test_what_was_wrong_with_a_line_about_something_else_is_told(database_url: str) -> None:
    """It may be a penalty whose words were lost with the rest of its row."""
    lines = [f'{order_sn(0)},2026-03-06 03:00:00,43.00,,"交易收入,L1', charge(0, line_id="Q1")]

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 1)
        report = await import_bill(bill(*lines), SHOP, pool, path.submit, BillReport())
        assert (report.lines_read, report.charges, report.other, report.lines_noted) == (2, 1, 1, 1)
        (note,) = report.notes
        assert (note.line, "quotation mark" in note.reason) == (2, True)

    on_database(database_url, work)


# ---- copies of a bill that spreadsheets have saved --------------------------------------------------------------


class Cell(NamedTuple):
    """A line of a bill: which order it names, if any, its amount, and the second of the minute."""

    order: int | None
    fen: str
    second: int


bills_of_any_kind = st.lists(
    st.builds(Cell, st.sampled_from([0, 0, None, None, 7]), st.sampled_from(["3.00", "4.00"]), st.integers(0, 2)),
    min_size=1,
    max_size=6,
)


def copy_of(cells: Sequence[Cell], damaged: Set[int], *, coarse: bool) -> BillReader:
    """A copy in which these lines have lost their numbers, and perhaps all times their seconds."""
    lines = []
    for place, cell in enumerate(cells):
        at = "2026/3/6 3:00" if coarse else f"2026-03-06 03:00:{cell.second:02d}"
        number = order_sn(cell.order) if cell.order is not None else ""
        line_id = "7.80831E+14" if place in damaged else f"Q{place}"
        lines.append(f"{number},{at},,-{cell.fen},延迟发货,{line_id}")
    return bill(*lines)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(bills_of_any_kind, st.lists(st.tuples(st.sets(st.integers(0, 5)), st.booleans()), min_size=2, max_size=3))
def test_copies_of_a_bill_record_each_line_once(
    database_url: str, cells: list[Cell], copies: list[tuple[set[int], bool]]
) -> None:
    """Whichever lines have lost their numbers in each copy, and in whatever order the copies come."""
    shop = f"shop-{uuid.uuid4()}"

    async def work(pool: Pool, path: CommandPath) -> None:
        for n, (damaged, coarse) in enumerate(copies):
            for again in (False, True):
                reader = copy_of(cells, damaged, coarse=coarse)
                report = await import_bill(reader, shop, pool, path.submit, BillReport())
                assert report.rejected == 0
                is_first = n == 0 and not again
                assert (report.charges, report.known) == ((len(cells), 0) if is_first else (0, len(cells)))

    on_database(database_url, work)


def test_a_line_without_an_order_that_stands_alone_by_its_id_is_known(database_url: str) -> None:
    """Lines that name no order once had streams that were named by their ids."""
    line = ",2026-03-06 03:00:00,,-3.00,延迟发货,Q1"
    number = NO_ORDER + hashlib.sha256(b"Q1").hexdigest()[:32]
    told = RecordBilledCharge(
        kind="late_shipment", amount_fen=300, line_id="Q1", occurred_at=datetime(2026, 3, 5, 19, tzinfo=UTC)
    )

    async def work(pool: Pool, path: CommandPath) -> None:
        await done(path, order_command(number, told))
        for preview in (Preview(pool, shipped_rules(), clock.now).submit, path.submit):
            report = await import_bill(bill(line, line.replace("Q1", "Q2")), SHOP, pool, preview, BillReport())
            assert (report.charges, report.known) == (1, 1)

    on_database(database_url, work)
