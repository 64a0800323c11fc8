"""``import``: an order export of the merchant back office into a shop's log."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from api.cli.terminal import Failed, Json, err, identifier, moment, out, print_json, with_program
from api.program import Program
from infrastructure.imports.orders import ImportReport, import_orders
from infrastructure.pinduoduo.exports import ExportReader, UnreadableExport
from infrastructure.runtime import clock

_SHOWN_REJECTIONS = 20


def import_file(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="The export: CSV or XLSX.")
    ],
    shop: Annotated[str, typer.Option("--shop", metavar="SHOP", parser=identifier, help="The shop's id.")],
    exported_at: Annotated[
        datetime | None,
        typer.Option(parser=moment, metavar="TIME", help="When the export was made (default: now)."),
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Say what would happen and append nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Import an order export, in any layout the platform is known to have used."""
    report = with_program(lambda program: import_export(program, file, shop, exported_at, dry_run=dry_run))
    if as_json:
        print_json(report)
    else:
        print_report(report, dry_run=dry_run)


async def import_export(
    program: Program, file: Path, shop: str, exported_at: datetime | None, *, dry_run: bool = False
) -> ImportReport:
    """Read the file with a progress bar; a row that makes no sense is reported, the others go in."""
    now = clock.now()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[orders]} orders"),
        TimeRemainingColumn(),
    )
    try:
        with (
            ExportReader(file, seen_at=exported_at or now, now=now) as reader,
            Progress(*columns, console=err, disable=not err.is_terminal) as bar,
        ):
            task = bar.add_task(file.name, total=reader.total_bytes, orders=0)

            def progress(report: ImportReport) -> None:
                bar.update(task, completed=reader.bytes_read, orders=report.orders)

            report = ImportReport()
            await import_orders(reader, shop, program.submitter(dry_run=dry_run), report, progress)
            report.rows_read = reader.rows_read
            bar.update(task, completed=reader.total_bytes)
    except UnreadableExport as error:
        raise Failed(f"{file.name} can't be read: {error}") from error
    return report


def print_report(report: ImportReport, *, dry_run: bool = False) -> None:
    table = Table(show_header=False, box=None)
    table.add_row("rows read", str(report.rows_read))
    table.add_row("orders new", str(report.orders_new))
    table.add_row("orders changed", str(report.orders_changed))
    table.add_row("orders unchanged", str(report.orders_unchanged))
    table.add_row("events to append" if dry_run else "events appended", str(report.events_appended))
    table.add_row("rows rejected", str(report.rows_rejected))
    out.print(table)
    for row in report.rejected[:_SHOWN_REJECTIONS]:
        column = f" {row.column}:" if row.column else ""
        out.print(f"line {row.line}:{column} {row.reason}")
    if report.rows_rejected > _SHOWN_REJECTIONS:
        out.print(f"and {report.rows_rejected - _SHOWN_REJECTIONS} more; --json lists up to 1,000")
