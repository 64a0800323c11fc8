"""``import-bill``, ``reconcile`` and ``penalties``: what broken rules cost, and what the platform took."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, get_args

import msgspec
import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from api.cli.terminal import (
    PAGE,
    AsOf,
    Failed,
    FirstDay,
    Json,
    KnownAt,
    LastDay,
    ShopArgument,
    err,
    folding,
    identifier,
    moment,
    out,
    period_of,
    print_json,
    read_views,
    with_program,
    yuan,
)
from api.program import Program
from domain.money.reconciliation import Difference, DifferenceKind
from domain.rules.ruleset import RuleBook
from domain.viewpoint import Viewpoint
from infrastructure.database.pool import ReadConnection
from infrastructure.files.sheets import UnreadableSheet
from infrastructure.imports.bills import BillReport, import_bill
from infrastructure.pinduoduo.bills import BillReader
from infrastructure.queries.paging import every_item
from infrastructure.queries.penalties import By, PenaltySum, penalty_sums, penalty_sums_at
from infrastructure.queries.reconciliation import list_differences
from infrastructure.runtime import clock

_SHOWN = 20


class Reconciliation(msgspec.Struct, frozen=True):
    """Every difference, and for each kind how many there are and what they come to."""

    items: list[Difference]
    counts: dict[DifferenceKind, int]
    difference_fen: int


def import_bill_file(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="The bill: CSV or XLSX.")
    ],
    shop: Annotated[str, typer.Option("--shop", metavar="SHOP", parser=identifier, help="The shop's id.")],
    dry_run: Annotated[bool, typer.Option(help="Say what would happen and append nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Record the penalties of a bill, and what appeals brought back, with the orders they are for."""
    report = with_program(lambda program: _imported(program, file, shop, dry_run=dry_run))
    if as_json:
        print_json(report)
        return
    table = Table(show_header=False, box=None)
    table.add_row("lines read", str(report.lines_read))
    table.add_row("penalties to record" if dry_run else "penalties recorded", str(report.charges))
    table.add_row("returns to record" if dry_run else "returns recorded", str(report.returns))
    table.add_row("known already", str(report.known))
    table.add_row("about something else", str(report.other))
    table.add_row("of orders the shop does not have", str(report.unmatched))
    table.add_row("rejected", str(report.rejected))
    table.add_row("charged, given back", f"{yuan(report.charged_fen)}, {yuan(report.returned_fen)}")
    out.print(table)
    for line in report.left_out[:_SHOWN]:
        out.print(f"line {line.line}: {line.order_sn or ''} {line.reason}")
    if report.unmatched + report.rejected > _SHOWN:
        out.print(f"and {report.unmatched + report.rejected - _SHOWN} more; --json lists up to 1,000")


async def _imported(program: Program, file: Path, shop: str, *, dry_run: bool) -> BillReport:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    try:
        with (
            BillReader(file, now=clock.now()) as reader,
            Progress(*columns, console=err, disable=not err.is_terminal) as bar,
        ):
            task = bar.add_task(file.name, total=reader.total_bytes)

            def progress(_: BillReport) -> None:
                bar.update(task, completed=reader.bytes_read)

            report = BillReport()
            await import_bill(reader, shop, program.submitter(dry_run=dry_run), report, progress)
            bar.update(task, completed=reader.total_bytes)
    except UnreadableSheet as error:
        raise Failed(f"{file.name} can't be read: {error}") from error
    return report


def reconcile(
    shop: ShopArgument,
    since: Annotated[
        datetime | None,
        typer.Option(
            "--from", parser=moment, metavar="TIME", help="Orders charged, or with a violation, from then."
        ),
    ] = None,
    until: Annotated[
        datetime | None, typer.Option("--to", parser=moment, metavar="TIME", help="And before then.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Where the platform's bills and the rules disagree: charged or not, and how much."""

    async def read(connection: ReadConnection, book: RuleBook) -> list[Difference]:
        now = clock.now()
        return await every_item(
            lambda after: list_differences(connection, shop, book, now, PAGE, after, since=since, until=until)
        )

    found = read_views(shop, read)
    kinds: tuple[DifferenceKind, ...] = get_args(DifferenceKind)
    counts = {kind: sum(1 for each in found if each.difference == kind) for kind in kinds}
    total = sum(each.difference_fen for each in found)
    if as_json:
        print_json(Reconciliation(found, counts, total))
        return
    table = Table("order", "difference", "of", "by the rules", "by the bill", "too much")
    for each in found:
        table.add_row(
            each.order_sn,
            each.difference.replace("_", " "),
            (each.kind or "given back").replace("_", " "),
            yuan(each.expected_fen),
            yuan(each.billed_fen),
            yuan(each.difference_fen),
        )
    out.print(table)
    said = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in counts.items() if count)
    out.print(f"{said or 'no differences'}; {yuan(total)} too much in all")


def penalties(
    shop: ShopArgument,
    by: Annotated[By, typer.Option(help="Sum up by order, by sku or by day.")] = "day",
    since: FirstDay = None,
    until: LastDay = None,
    as_of: AsOf = None,
    known_at: KnownAt = None,
    as_json: Json = False,
) -> None:
    """What broken rules cost, by order, by SKU or by day."""
    now = clock.now()
    viewpoint = Viewpoint(as_of, known_at)
    period = period_of(since, until, viewpoint.judged_at(now))

    async def fold(program: Program) -> list[PenaltySum]:
        with folding(shop) as on_progress:
            sums = await penalty_sums_at(
                program.url, shop, program.book, by, period, viewpoint, now, on_progress=on_progress
            )
        return sums.items

    async def read(connection: ReadConnection, _: RuleBook) -> list[PenaltySum]:
        return await every_item(lambda after: penalty_sums(connection, shop, by, period, now, PAGE, after))

    found = read_views(shop, read) if viewpoint.is_now else with_program(fold)
    if as_json:
        print_json({"items": found})
        return
    table = Table(by, "violations", "penalties", "of unknown amount")
    for each in found:
        table.add_row(each.key, str(each.violations), yuan(each.penalties_fen), str(each.unknown_penalties))
    out.print(table)
    out.print(f"{yuan(sum(each.penalties_fen for each in found))} in all")
