"""``import``: an order export of the merchant back office into a shop's log."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import TextColumn

from api.cli.terminal import (
    Json,
    identifier,
    out,
    past_moment,
    print_facts,
    print_first,
    print_json,
    reading_file,
    with_program,
)
from api.program import Program
from infrastructure.imports.orders import ImportReport, import_orders
from infrastructure.pinduoduo.exports import ExportReader
from infrastructure.runtime import clock

MORE = "--json lists up to 1,000"


def import_file(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="The export: CSV or XLSX.")
    ],
    shop: Annotated[str, typer.Option("--shop", metavar="SHOP", parser=identifier, help="The shop's id.")],
    exported_at: Annotated[
        datetime | None,
        typer.Option(parser=past_moment, metavar="TIME", help="When the export was made (default: now)."),
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Say what would happen and append nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Import an order export, in any layout the platform is known to have used."""
    report = with_program(
        lambda program: import_export(program, file, shop, exported_at, dry_run=dry_run),
        enrolling=None if dry_run else shop,
    )
    if as_json:
        print_json(report)
    else:
        print_report(report, dry_run=dry_run)


async def import_export(
    program: Program, file: Path, shop: str, exported_at: datetime | None, *, dry_run: bool = False
) -> ImportReport:
    """Read the file with a progress bar; a row that makes no sense is reported, the others go in."""
    now = clock.now()
    report = ImportReport()
    orders = TextColumn("{task.fields[orders]} orders")
    with reading_file(file, lambda: ExportReader(file, seen_at=exported_at or now, now=now), orders, orders=0) as (
        reader,
        show,
    ):
        submit = program.submitter(dry_run=dry_run)
        await import_orders(reader, shop, submit, report, lambda report: show(orders=report.orders))
        report.check(reader.rows_read)
    return report


def print_report(report: ImportReport, *, dry_run: bool = False) -> None:
    print_facts(
        {
            "rows read": report.rows_read,
            "orders new": report.orders_new,
            "orders changed": report.orders_changed,
            "orders unchanged": report.orders_unchanged,
            "events to append" if dry_run else "events appended": report.events_appended,
            "rows rejected": report.rows_rejected,
            "noted": report.rows_noted,
        }
    )
    print_first([f"{row.place}: {row.detail}" for row in report.rejected], report.rows_rejected, MORE)
    if report.notes:
        out.print("Noted, while the rest of each row counts:")
        print_first([f"{row.place}: {row.detail}" for row in report.notes], report.rows_noted, MORE)
    for unknown in report.unknown_words:
        rows = "row" if unknown.rows == 1 else "rows"
        out.print(f"Unknown {unknown.column}: {unknown.word!r} in {unknown.rows:,} {rows}")
